"""Drawing from a law on a processor: compiled loops, shared out over threads."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import torch

from monosemy.data.features.law import Law
from monosemy.data.features.tables import Tables, tables_of
from monosemy.data.features.walking import walk
from monosemy.tensors import workers
from monosemy.tensors.codes import SparseCode

# Samples of a share: where they are fewer, waking a thread takes as long as drawing them.
LEAST, LEAST_ALONE = 128, 1024
# Samples of a law are many and laws are few: each is laid out once.
_laid_out: WeakKeyDictionary[Law, Tables] = WeakKeyDictionary()


def draw(law: Law, count: int, generator: torch.Generator) -> SparseCode:
    """The features of `count` samples, whatever the number of threads."""
    if law not in _laid_out:
        _laid_out[law] = tables_of(law)
    tables = _laid_out[law]
    seed = int(torch.randint(2**62, (), generator=generator))
    parts: dict[int, tuple[np.ndarray, ...]] = {}

    def work(start: int, stop: int) -> None:
        parts[start] = walk(tables, seed, start, stop)

    workers.run(work, workers.share_out(count, LEAST if law.rank else LEAST_ALONE))
    counts, indices, values = (
        torch.from_numpy(np.concatenate([parts[start][column] for start in sorted(parts)]))
        for column in range(3)
    )
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return SparseCode(offsets, indices, values, law.features)
