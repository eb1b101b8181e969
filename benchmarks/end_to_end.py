"""Tokens a second from text to a trained dictionary: our recipe against SAELens' runner.

Both read the same layer of the same model over the same text with the same number of latents, k,
tokens, tokens a step, context and buffer, and are judged by explained variance on the same held-out
activations. What is timed begins with the model's files and ends with the dictionary on disk;
imports are left out. ``saelens.cut`` is given a model without the head and the layers above, which
its runner would otherwise compute. From cached activations each reads the cache it wrote itself.

    python benchmarks/end_to_end.py --model FOLDER --text FILE --saelens PYTHON [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from capture import machine
from step import Worker, show

from monosemy.foundation.storage import write_json

# For a model's type: our name of a layer's output, its module, and the module within its body.
PLACES = {
    "llama": ("blocks.{}.hook_resid_post", "model.layers.{}", "layers.{}"),
    "bert": (
        "blocks.{}.hook_normalized_resid_post",
        "bert.encoder.layer.{}",
        "encoder.layer.{}",
    ),
}


def orders(options: argparse.Namespace, folder: Path) -> dict:
    """What every worker is told."""
    config = json.loads((options.model / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] not in PLACES:
        sys.exit(f"models of type {config['model_type']!r} are not known here: {', '.join(PLACES)}")
    layer = config["num_hidden_layers"] // 2 if options.layer is None else options.layer
    site, module, body_module = (name.format(layer) for name in PLACES[config["model_type"]])
    names = ("tokens", "context", "latents", "selection", "k", "batch", "buffer", "dtype")
    return {
        **{name: getattr(options, name) for name in names},
        "model": str(options.model.resolve()), "text": str(options.text.resolve()),
        "layer": layer, "site": site, "module": module, "body_module": body_module,
        "heldout": options.heldout, "rows": str(folder / "rows.pt"),
        "documents": str(folder / "documents.json"), "shards": None, "cache": None,
        "settings": dict(text.split("=", 1) for text in options.settings), "cut": False,
        "rate": options.rates[0],
    }  # fmt: skip


def contestants(options: argparse.Namespace, common: dict, folder: Path) -> dict[str, tuple]:
    """Name -> (python, module, order)."""
    ours = common | {"settings": {"dtype": options.dtype} | common["settings"]}
    found = {"ours": (sys.executable, "peers.whole_ours", ours)}
    if not options.saelens:
        return found
    cached = bool(options.cached)
    for rate in options.rates:
        for name, changes in {"saelens": {}, "saelens.cut": {"cut": True}}.items():
            if cached and name != "saelens":
                continue  # no model runs
            label = name if len(options.rates) == 1 else f"{name}, rate {rate:g}"
            order = common | changes | {"rate": rate}
            found[label] = (options.saelens, "peers.whole_saelens", order)
    return found


def once(python: str, module: str, order: dict, threads: int) -> dict:
    worker = Worker(python, module, order, threads)
    try:
        return worker.answer()
    finally:
        worker.close()


def prepare(options: argparse.Namespace, common: dict, folder: Path) -> dict:
    """Held-out rows, the text's documents, and the caches where they are wanted."""
    show("preparing: held-out activations")
    shards, cache = (str(folder / name) if options.cached else None for name in ("ours", "saelens"))
    first = common | {"do": "capture", "shards": shards}
    captured = once(sys.executable, "peers.whole_ours", first, options.threads)
    common |= {"width": captured["width"], "shards": shards}
    if options.cached and options.saelens:
        show("preparing: SAELens' cache")
        order = common | {"do": "capture", "cache": cache}
        once(options.saelens, "peers.whole_saelens", order, options.threads)
    return common | {"cache": cache}


def measure(options: argparse.Namespace, folder: Path) -> list[dict]:
    common = prepare(options, orders(options, folder), folder)
    chosen = contestants(options, common, folder)
    results: dict[str, list[dict]] = {name: [] for name in chosen}
    for turn in range(options.rounds):
        for name, (python, module, order) in chosen.items():
            show(f"round {turn + 1} of {options.rounds}: {name}")
            results[name].append(once(python, module, order | {"do": "train"}, options.threads))
    show("")
    return [row(name, found, common, options) for name, found in results.items()]


def row(name: str, found: list[dict], common: dict, options: argparse.Namespace) -> dict:
    rates = [run["tokens"] / run["seconds"] for run in found]
    last = found[-1]
    return {
        "name": name,
        "from": "cached activations" if options.cached else "text",
        "model": options.model.name,
        **{key: common[key] for key in ("site", "width", "latents", "selection", "k", "tokens")},
        **{key: common[key] for key in ("batch", "context", "buffer", "dtype")},
        "tokens_per_second": round(statistics.median(rates)),
        "range": [round(min(rates)), round(max(rates))],
        "peak_mib": max(run["peak_mib"] for run in found),
        "l0": round(last["l0"], 2),
        "explained_variance": round(last["explained_variance"], 4),
    }


def line(found: dict, ours: dict) -> str:
    ratio = ours["tokens_per_second"] / found["tokens_per_second"]
    cells = f"{found['tokens_per_second']:>11,}{ratio:>9.2f}{found['explained_variance']:>12.4f}"
    return f"{found['name']:<28}" + cells + f"{found['l0']:>8.1f}{found['peak_mib']:>10,}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--model", type=Path, required=True, help="a Hugging Face folder (llama or bert)")
    add("--text", type=Path, required=True, help="text or JSONL file")
    add("--saelens", metavar="PYTHON", help="the Python that has sae-lens; without it ours alone")
    add("--layer", type=int, help="whose output is read [the middle one]")
    add("--cached", action="store_true", help="train from cached activations")
    add("--tokens", type=int, default=500_000)
    add("--latents", type=int, default=4096)
    add("--selection", choices=("topk", "batchtopk"), default="topk")
    add("--k", type=int, default=32)
    add("--batch", type=int, default=2048)
    add("--context", type=int, default=128)
    add("--buffer", type=int, default=32_768, help="activations shuffled together")
    add("--dtype", choices=("float32", "bfloat16"), default="float32")
    add("--rates", type=float, nargs="+", default=[3e-4], help="learning rates of SAELens' runs")
    add("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE",
        help="a field of our recipe")  # fmt: skip
    add("--heldout", type=int, default=16_384, help="held-out activations")
    add("--rounds", type=int, default=3)
    add("--threads", type=int, default=len(os.sched_getaffinity(0)))
    add("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def main() -> None:
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(options, Path(folder))
    head = f"{'':<28}{'tokens/s':>11}{'ours / x':>9}{'explained':>12}{'l0':>8}{'peak MiB':>10}"
    print("\n".join([head, *(line(found, rows[0]) for found in rows)]))
    if options.json:
        command = [Path(sys.argv[0]).name, *sys.argv[1:]]
        described = {"machine": machine() | {"threads": options.threads}, "command": command}
        write_json(options.json, described | {"rounds": options.rounds, "rows": rows})


if __name__ == "__main__":
    main()
