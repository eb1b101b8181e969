"""Single-feature probing: every latent against every concept, in one pass over active entries.

Against scikit-learn's ``roc_auc_score``, one latent and one concept at a time, and against a careful
dense way: one sort a latent, and its ranks times all concepts. Both are timed on a sample of latents
(and of concepts) and multiplied up, and are held to the same AUCs. Codes and concepts are drawn: each
token has `active` latents and `carried` concepts, at Zipf's frequencies.

    python benchmarks/probing.py [--tokens N] [--latents N] [--concepts N] [--json FILE]
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import numpy as np
import scipy.sparse
import torch
from capture import machine
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

from monosemy.evaluation.probing.single import by_latent, single
from monosemy.foundation.storage import write_json
from monosemy.tensors.codes import SparseCode


def drawn(options: argparse.Namespace) -> tuple[SparseCode, scipy.sparse.csr_array]:
    draw = np.random.default_rng(0)
    shape = (options.tokens, options.active)
    latents = _zipf(draw, options.latents, shape)
    values = draw.exponential(size=shape).astype(np.float32)
    offsets = torch.arange(options.tokens + 1) * options.active
    code = SparseCode(
        offsets,
        torch.from_numpy(latents.ravel()),
        torch.from_numpy(values.ravel()),
        options.latents,
    )
    carried = _zipf(draw, options.concepts, (options.tokens, options.carried))
    rows = np.repeat(np.arange(options.tokens), options.carried)
    keys = np.unique(rows * options.concepts + carried.ravel())
    pairs = keys // options.concepts, keys % options.concepts
    ones = np.ones(len(keys), dtype=bool)
    return code, scipy.sparse.csr_array((ones, pairs), shape=(options.tokens, options.concepts))


def _zipf(draw: np.random.Generator, size: int, shape: tuple[int, int]) -> np.ndarray:
    weights = 1 / (10 + np.arange(size))
    return np.searchsorted(np.cumsum(weights / weights.sum()), draw.random(shape)).clip(
        max=size - 1
    )


def without_repeats(code: SparseCode) -> SparseCode:
    """A token's second entry for the same latent is dropped."""
    keys = code.rows * code.latents + code.indices
    _, first = np.unique(keys.numpy(), return_index=True)
    chosen = torch.zeros(len(keys), dtype=torch.bool)
    chosen[torch.from_numpy(first)] = True
    return code.keep(chosen)


def timed(work):
    start = time.perf_counter(), time.process_time()
    found = work()
    return found, time.perf_counter() - start[0], time.process_time() - start[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    sizes = {"tokens": 500_000, "latents": 16_384, "concepts": 300, "active": 16, "carried": 16,
             "sample": 4}  # fmt: skip
    for name, size in sizes.items():
        parser.add_argument(f"--{name}", type=int, default=size)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    code, has = drawn(options)
    code = without_repeats(code)
    labels = has, scipy.sparse.csr_array(has.shape, dtype=bool)
    few = np.arange(3)
    single(by_latent(code[:1000]), (has[:1000], labels[1][:1000]))  # compiled before the clock runs
    sorted_, sort_s, sort_cpu = timed(lambda: by_latent(code))
    found, pass_s, pass_cpu = timed(lambda: single(sorted_, labels))
    sample = np.linspace(0, options.latents - 1, options.sample).astype(int)
    columns = sorted_.columns(sample)
    truth = has.toarray()
    numbers = truth.astype(np.float64)
    peer, peer_s, peer_cpu = timed(
        lambda: [[roc_auc_score(truth[:, c], columns[:, i]) for c in few]
                 for i in range(len(sample))]
    )  # fmt: skip
    ranked, ranks_s, ranks_cpu = timed(
        lambda: [dense_ranks(columns[:, i], numbers) for i in range(len(sample))]
    )
    np.testing.assert_allclose(found.auc[sample][:, few], peer, atol=1e-5)
    np.testing.assert_allclose(found.auc[sample], ranked, atol=1e-5)
    each = options.latents / len(sample)
    ours = sort_cpu + pass_cpu
    report = {
        "machine": machine(), "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0], "sizes": {name: getattr(options, name) for name in sizes},
        "entries": len(sorted_.value), "concept_entries": int(has.nnz),
        "ours": {"sort_s": sort_s, "pass_s": pass_s, "cpu_s": ours},
        "scikit_learn": {
            "timed": f"{len(sample)} latents x {len(few)} concepts, multiplied up",
            "cpu_s": peer_cpu * each * options.concepts / len(few),
            "times_slower": peer_cpu * each * options.concepts / len(few) / ours,
            "wall_of_sample_s": peer_s,
        },
        "dense_ranks": {
            "timed": f"{len(sample)} latents x all concepts, multiplied up",
            "cpu_s": ranks_cpu * each, "times_slower": ranks_cpu * each / ours,
            "wall_of_sample_s": ranks_s,
        },
    }  # fmt: skip
    print(f"one sparse pass {ours:.1f} s of processor ({sort_s + pass_s:.1f} s by the clock)")
    for name in ("scikit_learn", "dense_ranks"):
        print(
            f"{name}: {report[name]['cpu_s']:,.0f} s, {report[name]['times_slower']:,.0f} times slower"
        )
    if options.json:
        write_json(options.json, report)


def dense_ranks(column: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """AUC of one latent for all concepts: ranks once, then one product."""
    ups = truth.sum(0)
    ranks = rankdata(column) @ truth
    return (ranks - ups * (ups + 1) / 2) / (ups * (len(truth) - ups))


if __name__ == "__main__":
    main()
