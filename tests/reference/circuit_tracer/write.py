"""Writes with monosemy what `record.py` then opens with circuit-tracer.

python tests/reference/circuit_tracer/write.py
"""

from pathlib import Path

import torch

from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.foreign.circuit_tracer import FORMAT
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU
from monosemy.dictionaries.transcoders import Transcoder

HERE = Path(__file__).parent
WIDTH, LATENTS, LAYERS = 6, 12, 3


def dictionaries():
    """What is written, by folder."""
    draw = torch.Generator().manual_seed(30)

    def normal(*shape):
        return torch.randn(shape, generator=draw)

    def transcoder(selection, skip=False):
        shapes = (LATENTS, WIDTH), (LATENTS,), (LATENTS, WIDTH), (WIDTH,)
        skipped = normal(WIDTH, WIDTH) if skip else None
        return Transcoder(*(normal(*shape) for shape in shapes), selection, W_skip=skipped)

    def across(selections):
        clt = CrossLayerTranscoder(
            [normal(LATENTS, WIDTH) for _ in range(LAYERS)],
            [normal(LATENTS) for _ in range(LAYERS)],
            [normal(LATENTS, LAYERS - layer, WIDTH) for layer in range(LAYERS)],
            normal(LAYERS, WIDTH),
            selections,
        )
        return _placed({"": clt}, "blocks.*.")

    batch = BatchTopK(3)
    batch.threshold.fill_(0.75)
    some = torch.linspace(-0.5, 2, LATENTS)
    return {
        "relu-skips": _placed({f"layer_{i}": transcoder(ReLU(), True) for i in range(LAYERS)}),
        "jumprelu": _placed({"layer_0": transcoder(JumpReLU(some)), "layer_1": transcoder(batch)}),
        "across-relu": across([ReLU() for _ in range(LAYERS)]),
        "across-jumprelu": across([JumpReLU(some + i) for i in range(LAYERS)]),
    }


def _placed(collection, block="blocks.{}."):
    for layer, dictionary in enumerate(collection.values()):
        dictionary.metadata = {
            "model_name": "some/model",
            "hook_name": block.format(layer) + "mlp.hook_in",
            "hook_name_out": block.format(layer) + "hook_mlp_out",
        }
    return collection


if __name__ == "__main__":
    for folder, collection in dictionaries().items():
        FORMAT.write(collection, HERE / "written" / folder)
