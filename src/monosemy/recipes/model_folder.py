"""A model that was changed, as an ordinary folder: whole or absent, and what it is compared on."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from monosemy.data.text import open_corpus
from monosemy.data.tokens import Packing, pack
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.growth.double import build
from monosemy.models.loading import LoadedModel, without_bars, without_notices
from monosemy.tensors.axes import Int, Tensor
from monosemy.tensors.compute import DTYPES, Compute

# Positions of a context that is compared: errors of norms and heads show from the first on.
_CONTEXT = 128
_COPIED = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json", "special_tokens_map.json",
           "added_tokens.json", "vocab.json", "merges.txt", "vocab.txt",
           "chat_template.jinja")  # fmt: skip


def proof_contexts(
    loaded: LoadedModel, text: str, tokens: int, seed: int, progress: Progress = SILENT
) -> dict[str, Int[Tensor, "context position"]]:
    """`tokens` of real held-out text, and as many that are drawn evenly."""
    length = min(loaded.context, _CONTEXT, tokens)
    many = -(-tokens // length)
    compute = Compute(seed=seed)
    corpus = open_corpus(text, "heldout")
    packing = Packing(context=length, tokens=many * length, drop_bos=False)
    real = pack(corpus, loaded.tokenizer, packing, compute, progress).ids[:many]
    draw = compute.generator("random tokens")
    drawn = torch.randint(loaded.vocabulary, (many, length), generator=draw)
    return {"text": real.long(), "random": drawn}


def write_model(larger: Any, loaded: LoadedModel, dtype: str, folder: Path) -> Any:
    """Weights, configuration, and the tokenizer of `loaded`; returns the model that was written."""
    attention = larger.config._attn_implementation
    final = build(type(larger), larger.config, larger.state_dict(), DTYPES[dtype], attention)
    final.generation_config = larger.generation_config
    with without_notices(), without_bars():
        final.save_pretrained(folder)
    source = Path(loaded.tokenizer.name_or_path)
    for name in _COPIED:
        if (source / name).exists():
            shutil.copyfile(source / name, folder / name)
    return final


def refuse_altered(final: Any, again: Any, out: Path) -> None:
    """The files have to hold what was proved, bit for bit."""
    wanted, came = final.state_dict(), again.state_dict()
    wrong = [name for name in wanted if not torch.equal(wanted[name].float(), came[name].float())]
    if wrong:
        raise UserError(f"{out} was not written: opened again, {wrong[0]} (and {len(wrong) - 1} more) "
                        "differs from what was saved")  # fmt: skip


def taken(out: Path | None) -> list[str]:
    """Why `out` cannot be a new folder."""
    if out is None or not (out.exists() or out.is_symlink()):
        return []
    return [
        f"{out} exists already and nothing is overwritten; name a folder that does not exist yet"
    ]


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder that takes the name `out` when the block ends well, and is gone otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        yield folder
        mask = os.umask(0)
        os.umask(mask)
        folder.chmod(0o777 & ~mask)
        for path in folder.iterdir():
            path.chmod(0o666 & ~mask)
        # On POSIX an empty folder would be replaced without a word.
        refuse(taken(out), out.name)
        folder.rename(out)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
