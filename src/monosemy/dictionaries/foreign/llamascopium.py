"""llamascopium (lm-saes before): autoencoders, transcoders, crosscoders, transcoders across layers.

``config.json`` and ``sae_weights.safetensors`` (or ``.pt``, or below ``checkpoints``), with, for a
``sae_type`` of

* ``sae``: ``W_E`` (d, m), ``b_E`` (m), ``W_D`` (m, d), ``b_D`` (d): a transcoder where
  ``hook_point_in`` is not ``hook_point_out``;
* ``crosscoder``: ``W_E`` (parts, d, m), ``b_E`` (parts, m), ``W_D`` (parts, m, d), ``b_D`` (parts, d);
* ``clt``: ``W_E`` (layers, d, m), ``b_E`` (layers, m), and for each *target* ``W_D.{t}``
  (t + 1, m, d) and ``b_D.{t}`` (d);

and ``activation_function.log_jumprelu_threshold``. Under ``norm_activation: dataset-wise`` what is
at a site is multiplied by ``sqrt(d) / dataset_average_activation_norm.{site}`` before, and what is
written divided by it; `b_D` is never subtracted. ``sparsity_include_decoder_norm`` shows the
selection ``|W_D[i]| pre_i``, of a ``clt`` with the length over all targets; thresholds are strict,
``topk`` takes the k largest positive of each token (of each layer).

A crosscoder selects in every part by that part's own ``|W_D[p, i]|``, so with thresholds a latent
can be active in one part and not in another. It is read with ``parts · m`` latents, counted part
after part as in llamascopium, each writing into its own part; with ``relu`` parts agree and
latents are shared. Crosscoders and ``clt`` are read with their norms folded into the weights.

Not read, with the reason: gated linear encoders, a top-k of a whole batch or across layers or in
every part of a crosscoder, norms of single batches, other kinds (``lorsa``, ``molt``), ``.dcp``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.foreign.format import Format
from monosemy.dictionaries.foreign.llamascopium_kinds import KINDS
from monosemy.dictionaries.foreign.llamascopium_settings import NORMS, Settings
from monosemy.dictionaries.foreign.names import header_names
from monosemy.dictionaries.foreign.plain import in_one_type
from monosemy.dictionaries.foreign.reading import (
    read_pickle,
    read_safetensors,
    tensor_reasons,
)
from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, refuse

CONFIG = "config.json"
WEIGHTS = ("sae_weights", "checkpoints/pruned", "checkpoints/final")


def recognises(path: Path) -> bool:
    """Whether there is a configuration beside weights under llamascopium's names."""
    path = Path(path)
    weights = _weights(path)
    if not (path / CONFIG).is_file() or weights is None:
        return False
    # Llama Scope's files can be called the same.
    return weights.suffix != ".safetensors" or "W_E" in header_names(weights)


def read(path: Path) -> dict[str, Dictionary]:
    """The dictionary in the folder `path`.

    Errors
    ------
    `UserError` with every reason: files missing or not whole, settings or tensors that do not fit,
    what no dictionary here can do.
    """
    path = Path(path)
    config = storage.read_json(path / CONFIG, "llamascopium's configuration")
    if not isinstance(config, dict):
        raise UserError(f"{path / CONFIG} holds a {type(config).__name__}, wanted an object")
    kind, named = KINDS.get(str(config.get("sae_type"))), config.get("sae_type")
    if kind is None:
        raise UserError(f"{path / CONFIG} names the sae_type {named!r}; known: {', '.join(KINDS)}")
    settings = Settings(config)
    given = _read_weights(path)
    settings.find_norms(given)
    tensors = {name: t for name, t in given.items() if not name.startswith(f"{NORMS}.")}
    reasons = settings.reasons() + kind.reasons(settings)
    what = f"the llamascopium dictionary at {path}"
    # The tensors that are wanted depend on settings.
    refuse(reasons or tensor_reasons(tensors, kind.shapes(settings)), what)
    dictionary = kind.built(settings, in_one_type(tensors))
    dictionary.metadata |= settings.metadata()
    return {"": dictionary.eval()}


FORMAT = Format("llamascopium", "llamascopium", recognises, read)


def _weights(folder: Path) -> Path | None:
    """The file that llamascopium would open."""
    for name in WEIGHTS:
        for suffix in (".safetensors", ".pt", ".dcp"):
            if (folder / f"{name}{suffix}").exists():
                return folder / f"{name}{suffix}"
    return None


def _read_weights(folder: Path) -> Mapping[str, Any]:
    path = _weights(folder)
    if path is None:
        raise UserError(f"{folder} has no {WEIGHTS[0]}.safetensors")
    if path.suffix == ".safetensors":
        return read_safetensors(path)
    if path.suffix == ".dcp":
        raise UserError(
            f"{path} is a distributed checkpoint; load it with llamascopium and save it again with "
            "save_pretrained on one device"
        )
    found: Any = read_pickle(path)
    if not isinstance(found, dict) or not isinstance(found.get("sae"), dict):
        raise UserError(f"{path} holds no tensors under 'sae'")
    return {str(name): value for name, value in found["sae"].items()}
