"""Writes with monosemy what `record.py` then opens with SAELens.

python tests/reference/gemma_scope/write.py
"""

from pathlib import Path

import torch

from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.foreign.gemma_scope import FORMAT
from monosemy.dictionaries.selection import BatchTopK, JumpReLU, ReLU
from monosemy.dictionaries.transcoders import Transcoder

HERE = Path(__file__).parent
WIDTH, LATENTS = 6, 12


def dictionaries():
    """What is written, by folder."""
    draw = torch.Generator().manual_seed(20)

    def parts():
        shapes = (LATENTS, WIDTH), (LATENTS,), (LATENTS, WIDTH), (WIDTH,)
        return [torch.randn(shape, generator=draw) for shape in shapes]

    batch = BatchTopK(3)
    batch.threshold.fill_(0.75)
    return {
        "gemma-scope-2b-pt-res/layer_7/width_16k/average_l0_7": {
            "": FlatDictionary(*parts(), JumpReLU(torch.linspace(-0.5, 2, LATENTS)), centred=False)
        },
        "gemma-scope-2b-pt-res/layer_8/width_16k/average_l0_8": {
            "": FlatDictionary(*parts(), ReLU(), centred=False)
        },
        "gemma-scope-2b-pt-transcoders/layer_9/width_16k/average_l0_9": {
            "": Transcoder(*parts(), batch)
        },
    }


if __name__ == "__main__":
    for folder, collection in dictionaries().items():
        FORMAT.write(collection, HERE / "written" / folder)
