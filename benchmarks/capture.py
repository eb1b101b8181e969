"""Tokens a second of `tap.read` against a plain Hugging Face forward pass with a hook.

Both read the same site of the same model for the same batch, in turns, without gradients and
without a key-value cache; the median round of each counts. The plain pass computes what the model
computes when it is called, as transformers writes it: every block and the logits. `body` is the
plain pass with the head left off by hand, so that the gain from logits and the gain from stopping
early can be told apart.

    python benchmarks/capture.py [--contexts 16] [--rounds 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import copy
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from monosemy.foundation.errors import UserError
from monosemy.foundation.storage import write_json
from monosemy.models import sites, tap
from monosemy.models.fused import fuse
from monosemy.models.loading import load, without_notices

SPECIMEN_SITES = ("blocks.0.hook_resid_pre", "blocks.0.mlp.hook_post", "blocks.0.hook_resid_post")
DEEP_SITES = ("blocks.0.mlp.hook_post", "blocks.2.hook_resid_post", "blocks.5.hook_resid_post")


def specimen() -> tuple[str, GPT2LMHeadModel]:
    try:
        return "specimen", load("specimen").model
    except UserError:
        return "specimen-sized, random", random_model(128, 1, 4, 512, "relu")


def random_model(
    width: int, layers: int, heads: int, inner: int, activation: str
) -> GPT2LMHeadModel:
    config = GPT2Config(
        vocab_size=4096, n_positions=256, n_embd=width, n_layer=layers, n_head=heads,
        n_inner=inner, activation_function=activation, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    torch.manual_seed(0)
    return GPT2LMHeadModel(config).eval().requires_grad_(False)


@torch.no_grad()
def plain(runner: torch.nn.Module, module: torch.nn.Module, side: str, ids: torch.Tensor) -> None:
    kept = []
    if side == "input":
        handle = module.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    else:
        handle = module.register_forward_hook(lambda _, args, output: kept.append(output))
    runner(ids, use_cache=False)
    handle.remove()


def medians(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Seconds of the median round of each way; the ways take turns, so that all see the same load."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds + 1):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            if turn:  # the first turn warms up
                seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in seconds.items()}


def measure(name: str, model: GPT2LMHeadModel, site_name: str, contexts: int, rounds: int) -> dict:
    site = sites.resolve(model, site_name)
    module = model.get_submodule(site.module)
    ids = torch.randint(2, model.config.vocab_size, (contexts, model.config.n_positions))
    ready = copy.deepcopy(model)
    fuse(ready)  # as `load` does to every model
    ways = {
        "ours": lambda: tap.read(ready, [site], ids),
        "plain": lambda: plain(model, module, site.side, ids),
        "body": lambda: plain(model.base_model, module, site.side, ids),
    }
    rate = {way: ids.numel() / spent for way, spent in medians(ways, rounds).items()}
    return {
        "model": name,
        "site": site_name,
        **{f"{way}_tokens_per_second": round(value) for way, value in rate.items()},
        "ratio": round(rate["ours"] / rate["plain"], 3),
    }


def machine() -> dict:
    names = ["monosemy", "torch", "transformers"]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "versions": {"python": platform.python_version(), **{n: version(n) for n in names}},
    }


def processor() -> str:
    described = Path("/proc/cpuinfo")
    lines = described.read_text().splitlines() if described.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def line(row: dict) -> str:
    numbers = [row[f"{way}_tokens_per_second"] for way in ("ours", "plain")]
    cells = [f"{numbers[0]:>11,}", f"{numbers[1]:>11,}", f"{row['ratio']:>7.2f}"]
    cells.append(f"{row['body_tokens_per_second']:>11,}")
    return f"{row['model']:<24}{row['site']:<28}" + "".join(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--contexts", type=int, default=16, help="contexts in the batch")
    parser.add_argument("--rounds", type=int, default=5, help="rounds; the median one counts")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows here as well")
    options = parser.parse_args()
    with without_notices():
        deep = random_model(384, 6, 6, 1536, "gelu_new")
        jobs = [(*specimen(), site) for site in SPECIMEN_SITES]
        jobs += [("6 layers, width 384", deep, site) for site in DEEP_SITES]
    print(f"{'model':<24}{'site':<28}{'ours':>11}{'plain':>11}{'ratio':>7}{'body':>11}  tokens/s")
    rows = []
    for name, model, site in jobs:
        rows.append(measure(name, model, site, options.contexts, options.rounds))
        print(line(rows[-1]), flush=True)
    if options.json:
        batch = {"contexts": options.contexts, "positions": 256, "rounds": options.rounds}
        write_json(options.json, {"machine": machine(), "batch": batch, "rows": rows})


if __name__ == "__main__":
    main()
