"""Record what EleutherAI's sparsify computes, for `test_sparsify.py`.

In an environment with this package and ``eai-sparsify==1.3.3``: ``python record_sparsify.py``.
``library/<case>`` is written by sparsify, ``ours/<case>`` by this package and read by sparsify;
``recorded.safetensors`` beside each holds inputs and what sparsify makes of them.
"""

import json
import shutil
from importlib.metadata import version
from pathlib import Path

import torch
from safetensors.torch import save_file
from sparsify import SparseCoder, SparseCoderConfig

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign import sparsify
from monosemy.dictionaries.selection import GroupMax, TopK
from monosemy.dictionaries.transcoders import Transcoder

HERE = Path(__file__).parent / "sparsify"
WIDTH, LATENTS, TOKENS = 6, 12, 24
CASES = {
    "topk": {"k": 5, "expansion_factor": 2},
    "groupmax": {"k": 4, "num_latents": LATENTS, "activation": "groupmax"},
    "skip": {"k": 5, "num_latents": LATENTS, "skip_connection": True},
    "transcoder": {"k": 5, "num_latents": LATENTS, "transcode": True},
    "skip_transcoder": {"k": 5, "expansion_factor": 2, "transcode": True, "skip_connection": True},
}


def library_file(name: str) -> Path:
    """A coder of sparsify with no parameter at zero; some tokens have fewer than k positives."""
    coder = SparseCoder(WIDTH, SparseCoderConfig.from_dict(CASES[name]))
    with torch.no_grad():
        for parameter in coder.parameters():
            parameter.copy_(torch.randn_like(parameter))
        coder.encoder.bias -= 1
    coder.save_to_disk(HERE / "library" / name)
    return HERE / "library" / name


def drawn(selection, skip=None):
    shapes = (LATENTS, WIDTH), (LATENTS,), (LATENTS, WIDTH), (WIDTH,)
    W_enc, b_enc, W_dec, b_dec = (torch.randn(shape) for shape in shapes)
    parts = W_enc, b_enc - 1, W_dec, b_dec
    if skip is None:
        return FlatDictionary(*parts, selection)
    return Transcoder(*parts, selection, torch.randn(WIDTH, WIDTH) if skip else None)


def our_files() -> list[Path]:
    made = {
        "topk": drawn(TopK(5)),
        "groupmax": drawn(GroupMax(3)),
        "transcoder": drawn(TopK(4), skip=False),
        "skip_transcoder": drawn(GroupMax(6), skip=True),
    }
    made["topk"].metadata = {"hook_name": "blocks.0.mlp.hook_post"}
    sparsify.write(made, HERE / "ours")
    return [HERE / "ours" / name for name in made]


def record(folder: Path) -> None:
    coder = SparseCoder.load_from_disk(folder)
    x = 2 * torch.randn(TOKENS, WIDTH)
    with torch.no_grad():
        values, latents, _ = coder.encode(x)
        code = torch.zeros(TOKENS, coder.num_latents).scatter_(1, latents, values)
        seen = {"x": x, "code": code, "out": coder(x).sae_out}
    save_file(seen, folder / "recorded.safetensors")


if __name__ == "__main__":
    torch.manual_seed(0)
    shutil.rmtree(HERE, ignore_errors=True)
    for folder in [library_file(name) for name in CASES] + our_files():
        record(folder)
    facts = {"eai-sparsify": version("eai-sparsify"), "torch": torch.__version__}
    (HERE / "facts.json").write_text(json.dumps(facts, indent=2) + "\n")
