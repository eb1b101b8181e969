"""Milliseconds that an archive of a million features takes to answer, and its bytes a feature.

The archive is drawn from a seed (`archive_synthetic.py`): layout and sizes are those of a real one.
*Warm* reads random features one after the other through one opened archive. *Cold* tells the system
before every page to forget the archive's files (`posix_fadvise`) and opens the archive anew, so that a
page comes from the disk, a hundred small reads. Between the two: opened anew, files still in memory.
A page is the feature's record and all its examples, as JSON text.

    python benchmarks/archive.py [--features 1000000] [--folder FOLDER] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from capture import machine

from monosemy.explanation.archive import Archive
from monosemy.explanation.archive_notes import Notes
from monosemy.explanation.archive_synthetic import synthetic_archive
from monosemy.foundation.storage import write_json

PATTERNS = {
    "a word": r"\bdisneren\b",
    "a part of many words": r"ka(lo|mi)",
    "two words in a row": r" the [a-z]+ren",
    "found nowhere": r"zebra",
}


def page(archive: Archive, feature: int) -> str:
    record = archive.feature(feature).to_json()
    examples = [example.to_json() for example in archive.examples(feature)]
    return json.dumps({"feature": record, "examples": examples})


def milliseconds(ask: Callable[[], object]) -> float:
    start = time.perf_counter()
    ask()
    return (time.perf_counter() - start) * 1000


def spread(times: list[float]) -> dict[str, float | int]:
    found = dict(zip(("p50", "p95", "max"), np.percentile(times, [50, 95, 100]), strict=True))
    return {"times": len(times), **{name: round(float(value), 3) for name, value in found.items()}}


def forget(folder: Path) -> None:
    """Have the system drop what it keeps of the archive's files in memory."""
    for path in (folder / "arrays").iterdir():
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def cold(folder: Path, features: list[int]) -> tuple[list[float], list[float]]:
    """Milliseconds of opening, and of the page after it."""
    opening, pages = [], []
    for feature in features:
        forget(folder)
        start = time.perf_counter()
        archive = Archive.open(folder)
        opening.append((time.perf_counter() - start) * 1000)
        pages.append(milliseconds(lambda: page(archive, feature)))  # noqa: B023
    return opening, pages


def selections(archive: Archive, rounds: int) -> dict[str, dict]:
    asked: dict[str, dict] = {
        "sort": {"sort": "max"},
        "sort, rising": {"sort": "logit_kurtosis", "descending": False},
        "sort, page from the middle": {"sort": "max", "offset": archive.features // 2},
        "filter": {"filters": {"density": (1e-3, 1e-2)}},
        "filter and sort": {"filters": {"density": (1e-3, 1e-2)}, "sort": "max"},
        "two filters, two flags, sort": {
            "filters": {"density": (1e-4, None), "single_token_share": (None, 0.9)},
            "sort": "mean_active",
            "unwanted": ["dead", "dense"],
        },
    }
    return {
        name: spread([milliseconds(lambda: archive.select(**how)) for _ in range(rounds)][1:])  # noqa: B023
        for name, how in asked.items()
    }


def searches(archive: Archive, rounds: int) -> dict[str, dict]:
    found = {"decoding, once": {"p50": round(milliseconds(lambda: archive.search("zebra")), 1)}}
    for name, pattern in PATTERNS.items():
        hits = archive.search(pattern, seconds=30)
        times = [milliseconds(lambda: archive.search(pattern, seconds=30)) for _ in range(rounds)]  # noqa: B023
        about = {"pattern": pattern, "hits": len(hits.hits), "more": hits.more}
        found[name] = about | spread(times)
    return found


def labels(archive: Archive, rounds: int) -> dict[str, dict]:
    """Full-text search over a label for every feature: its three commonest tokens."""
    tokens = archive.arrays["profile.token_ids"]
    with tempfile.TemporaryDirectory() as folder, Notes(Path(folder) / "notes.sqlite") as notes:
        texts = (
            (feature, "tokens " + " ".join(archive.text(int(token)) for token in row[:3]))
            for feature, row in enumerate(tokens)
        )
        start = time.perf_counter()
        count = notes.label_many(texts)
        found: dict[str, dict] = {
            "written": {"labels": count, "seconds": round(time.perf_counter() - start, 1)}
        }
        for name, words in (("rare words", "disneren vellota"), ("in every label", "tokens")):
            times = [milliseconds(lambda: notes.search(words)) for _ in range(rounds)]  # noqa: B023
            found[name] = {"words": words, "hits": len(notes.search(words))} | spread(times)
        ids = list(range(0, archive.features, max(1, archive.features // 100)))
        times = [milliseconds(lambda: notes.best_labels(ids)) for _ in range(rounds)]
        found["labels of a hundred features"] = spread(times)
    return found


def measure(folder: Path, features: int, contexts: int, rounds: int) -> dict:
    made = None  # where the archive is there already
    if not (folder / "archive.json").exists():
        start = time.perf_counter()
        synthetic_archive(folder, features, contexts=contexts, hierarchical=True)
        made = round(time.perf_counter() - start, 1)
    archive = Archive.open(folder)
    draw = np.random.default_rng(0)
    chosen = draw.integers(0, archive.features, 20 * rounds).tolist()
    opening, pages = cold(folder, chosen[: 5 * rounds])
    page(archive, 0)
    first = [milliseconds(lambda: page(Archive.open(folder), f)) for f in chosen[: 5 * rounds]]  # noqa: B023
    warm = [milliseconds(lambda: page(archive, feature)) for feature in chosen]  # noqa: B023
    sizes = {name: entry["bytes"] for name, entry in archive.manifest["arrays"].items()}
    groups: dict[str, float] = {}
    for name, size in sizes.items():
        groups[name.split(".")[0]] = groups.get(name.split(".")[0], 0) + size / archive.features
    return {
        "counts": archive.manifest["counts"],
        "seconds_to_make": made,
        "bytes": archive.bytes,
        "bytes_per_feature_beyond_corpus": round(archive.bytes_per_feature, 1),
        "bytes_per_feature": {name: round(size, 1) for name, size in sorted(groups.items())},
        "bytes_of_a_page": round(float(np.mean([len(page(archive, f)) for f in chosen[:50]]))),
        "milliseconds": {
            "open, cold": spread(opening),
            "page, cold": spread(pages),
            "open and page, files in memory": spread(first),
            "page, warm": spread(warm),
            "select": selections(archive, rounds + 1),
            "search": searches(archive, rounds),
            "labels": labels(archive, rounds),
        },
    }


def show(found: dict, indent: str = "") -> None:
    for name, value in found.items():
        if isinstance(value, dict) and "p50" not in value and "seconds" not in value:
            print(f"{indent}{name}")
            show(value, indent + "  ")
        else:
            print(f"{indent}{name:<32}{value}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--contexts", type=int, default=24_576)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--folder", type=Path, help="where the archive is, or is put and stays")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = given.folder or Path(folder) / "archive"
        found = measure(place, given.features, given.contexts, given.rounds)
    # No folder of this machine: what decides the numbers are the sizes.
    command = (
        f"python benchmarks/archive.py --features {given.features} --contexts {given.contexts}"
    )
    report = {"machine": machine(), "command": f"{command} --rounds {given.rounds}"}
    show(found)
    if given.json:
        write_json(given.json, report | found)


if __name__ == "__main__":
    main()
