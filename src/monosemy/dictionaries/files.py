"""Save and load. The native form is the one that SAELens and what is built on it already read.

A folder with ``cfg.json`` and ``sae_weights.safetensors`` (``W_enc`` (width, latent), ``W_dec``
(latent, width), ``b_enc``, ``b_dec``, ``threshold`` for JumpReLU; gated dictionaries have
``b_gate``, ``r_mag`` and ``b_mag`` in the place of ``b_enc``). BatchTopK is written in its
inference form, JumpReLU with one threshold for all latents. What SAELens has no architecture for
lies in the same two files under a name of our own, see `foreign.own_reading`.
"""

from __future__ import annotations

from pathlib import Path

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.foreign import formats, saelens

CONFIG, WEIGHTS = saelens.CONFIG, saelens.WEIGHTS


def save(dictionary: Dictionary, folder: str | Path) -> None:
    """Write `dictionary` into `folder` in the native form, its configuration last."""
    saelens.write_folder(dictionary, Path(folder))


def load(source: str | Path, format: str | None = None, part: str | None = None) -> Dictionary:
    """The dictionary at `source`, in evaluation mode.

    Parameters
    ----------
    source : a folder or file in any form of `foreign.formats`, or ``hf://owner/repo/path``, which
        is downloaded.
    format : the form's name, where it is not to be told from the files.
    part : which one, where `source` holds several.

    Errors
    ------
    `UserError` naming the file and every reason: missing or cut-off files, missing tensors, shapes
    that disagree, an architecture or a setting this reader does not know.
    """
    return formats.load(source, format, part)
