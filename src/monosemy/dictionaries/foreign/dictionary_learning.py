"""dictionary_learning (Marks, Karvonen, Mueller): ``ae.pt`` beside ``config.json``, a folder each.

``config.json`` names the class in ``trainer.dict_class``. With ``pre = W_enc (x - b) + b_enc``:

=======================  =====================  ====================================================
class                    subtracted first       code
=======================  =====================  ====================================================
AutoEncoder              ``bias``               ``ReLU(pre)``
AutoEncoderNew           nothing                ``ReLU(pre)``
GatedAutoEncoder         ``decoder_bias``       ``[u + gate_bias > 0] ReLU(exp(r_mag) u + mag_bias)``
AutoEncoderTopK          ``b_dec``              the k largest of ``ReLU(pre)``; its threshold is idle
BatchTopKSAE             ``b_dec``              ``pre`` where above the threshold and zero
JumpReluAutoEncoder      nothing                ``pre`` where above its threshold and zero
MatryoshkaBatchTopKSAE   ``b_dec``              as BatchTopKSAE; ``group_sizes`` end at the prefixes
=======================  =====================  ====================================================

A threshold of -1 is one that was never set: every positive latent is active, as in the library. The
library's ``load_dictionary`` scales an AutoEncoder's decoder rows to length one and its codes up;
here, as in training, the file's own numbers stand, which reconstruct the same.

``norm_factor``: training divides activations by it. The library multiplies it into the biases when
it saves, so in a config it says nothing about the weights; only a backup (``{step, ae, optimizer,
config, norm_factor}``, also called ae.pt) holds unscaled ones, which are scaled here the same way.

Read and written; facts of version 0.1.0, whose arithmetic is float32.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

import torch

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.foreign import parts
from monosemy.dictionaries.foreign.dictionary_learning_reading import CONFIG, LIBRARY, read_one
from monosemy.dictionaries.foreign.dictionary_learning_writing import against, config_of, state_of
from monosemy.dictionaries.foreign.format import Collection, Format
from monosemy.foundation import storage
from monosemy.foundation.errors import UserError, refuse

WEIGHTS = "ae.pt"
_DEPTH = 4
_CHECKPOINT = re.compile(r"ae(_\w+)?\.pt")


def recognises(path: Path) -> bool:
    """Whether `path` is an ``ae*.pt``, or there is an ``ae.pt`` or a checkpoint at or below it."""
    path = Path(path)
    return path.is_file() and bool(_CHECKPOINT.fullmatch(path.name)) or bool(_files(path))


def read(path: Path) -> dict[str, Dictionary]:
    """Every dictionary at `path`: one file, one trainer's folder, its checkpoints, or a run.

    Errors
    ------
    `UserError` with every reason: files missing or not whole, a class that is unknown or that the
    tensors do not have, numbers that disagree between the file and its configuration.
    """
    path = Path(path)
    files = {"": path} if path.is_file() else _files(path)
    if not files:
        raise UserError(f"no dictionary_learning dictionary at {path}: wanted an {WEIGHTS}")
    return {part: read_one(file) for part, file in files.items()}


def cannot_say(collection: Collection) -> list[str]:
    """Why dictionary_learning has no form for `collection`."""
    reasons = parts.name_reasons(collection)
    for part, dictionary in collection.items():
        reasons += [f"{part}: {why}" if part else why for why in against(dictionary)]
    return reasons


def write(collection: Collection, folder: Path) -> None:
    """Each part into ``folder/<part>``, weights first; `UserError` with what `cannot_say` finds."""
    refuse(cannot_say(collection), "what is to be written as dictionary_learning")
    for part, dictionary in collection.items():
        at, data = Path(folder) / part, io.BytesIO()
        torch.save(state_of(dictionary), data)
        storage.write_bytes(at / WEIGHTS, data.getvalue())
        storage.write_json(at / CONFIG, config_of(dictionary))


def _files(root: Path) -> dict[str, Path]:
    """The files below the folder `root` by the name of their part."""
    if not root.is_dir():
        return {}
    folders = parts.folders_with(root, WEIGHTS, _DEPTH)
    if folders:
        names = [folder.relative_to(root).as_posix() for folder in folders]
        return {"" if name == "." else name: folder / WEIGHTS
                for name, folder in zip(names, folders, strict=True)}  # fmt: skip
    checkpoints = (file for file in root.glob("*.pt") if _CHECKPOINT.fullmatch(file.name))
    return {file.stem: file for file in sorted(checkpoints, key=lambda f: parts.natural(f.name))}


FORMAT = Format(LIBRARY, LIBRARY, recognises, read, cannot_say, write)
