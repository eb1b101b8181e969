"""From text (or from captured shards) to a trained dictionary, by a recipe of ours."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path

import torch

from peers.worker import peak_mib, private_answers


def main() -> None:
    order = json.loads(sys.argv[1])
    torch.set_num_threads(order["threads"])
    answer = private_answers()
    answer({"capture": capture, "train": train}[order["do"]](order))


def capture(order: dict) -> dict:
    """Shards for the runs from cached activations, and the held-out rows that all are judged by."""
    from monosemy.data import capture as data
    from monosemy.data.capture import LiveSource
    from monosemy.recipes.setting import open_setting

    recipe = recipe_of(order | {"shards": None})
    held = open_setting(recipe, "heldout", tokens=order["heldout"])
    source = LiveSource(held.loaded, held.site, held.contexts)
    torch.save(source.rows(0, source.tokens).float(), order["rows"])
    kept = open_setting(recipe, "train")
    began = time.perf_counter()
    if order["shards"]:
        data.capture(kept.loaded, [kept.site], kept.contexts, order["shards"])
    documents = [document.text for document in kept.corpus.documents]
    Path(order["documents"]).write_text(json.dumps(documents), encoding="utf-8")
    return {"width": held.site.width, "capture_seconds": round(time.perf_counter() - began, 2)}


def train(order: dict) -> dict:
    from monosemy.recipes.dictionary import train_dictionary

    recipe = recipe_of(order)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        dictionary = train_dictionary(recipe, folder)
        seconds = time.perf_counter() - began
    peak = peak_mib()
    with torch.no_grad():
        rows = torch.load(order["rows"], weights_only=True)
        code = dictionary.code(rows)
        back = dictionary.decode(code)
    return {
        "seconds": seconds,
        "tokens": recipe.steps * recipe.batch,
        "peak_mib": peak,
        "l0": float(code.counts.float().mean()),
        "explained_variance": explained(rows, back),
    }


def recipe_of(order: dict):
    from monosemy.recipes.config import override
    from monosemy.recipes.recipe import DictionaryRecipe

    names = ("model", "site", "text", "shards", "tokens", "context", "latents", "selection", "k")
    changes = {name: order[name] for name in (*names, "batch") if order[name] is not None}
    return override(DictionaryRecipe(block=order["buffer"]), changes | order["settings"])


def explained(rows: torch.Tensor, back: torch.Tensor) -> float:
    """``1 - sum |x - x̂|² / sum |x - mean|²``."""
    spread = (rows - rows.mean(0)).square().sum()
    return float(1 - (rows - back).square().sum() / spread)


if __name__ == "__main__":
    main()
