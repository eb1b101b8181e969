"""The specimen's model card, written from what its training measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from monosemy.foundation import storage
from monosemy.reports import figures

FIGURE = "specimen.svg"


def write_card(card: Mapping[str, Any], folder: Path) -> Path:
    """Write ``specimen.md`` and its figure into `folder`; returns the page's path."""
    storage.write_text(folder / FIGURE, figures.cross_entropy(card) + "\n")
    storage.write_text(folder / "specimen.md", markdown(card))
    return folder / "specimen.md"


def markdown(card: Mapping[str, Any]) -> str:
    """The card as Markdown; every number comes from `card`."""
    parts = (_what(card), _text(card), _numbers(card), _longer(card), _samples(card), _again(card))
    return "\n".join(parts)


def _what(card: Mapping[str, Any]) -> str:
    recipe = card["recipe"]
    return f"""# The specimen: model card

The language model that ships inside monosemy: the one-layer transformer of "Towards Monosemanticity"
(Bricken et al. 2023) in miniature, small enough to travel with the package and real enough to hold
more features than it has neurons.

| | |
| --- | --- |
| class | `GPT2LMHeadModel`: one layer, {recipe["heads"]} heads, width {recipe["width"]} |
| neurons | {recipe["neurons"]}, ReLU |
| vocabulary | {recipe["vocabulary"]:,} tokens, byte-level BPE trained on the same text |
| context | {recipe["context"]} |
| parameters | {card["parameters"]:,} (float32; embedding and unembedding are not tied) |
"""


def _text(card: Mapping[str, Any]) -> str:
    text = card["text"]
    train, heldout = text["train"], text["heldout"]
    return f"""## What it read

The source and documentation of the standard library of Python {text["python"]}: modules that every
build carries, without tests and without tables of encodings. Files are split by the hash of their
name; no file is on both sides.

| split | documents | characters | tokens | fingerprint |
| --- | ---: | ---: | ---: | --- |
| train | {train["documents"]:,} | {train["characters"]:,} | {card["train_tokens"]:,} | `{train["fingerprint"][:16]}` |
| held-out | {heldout["documents"]:,} | {heldout["characters"]:,} | {card["heldout_tokens"]:,} | `{heldout["fingerprint"][:16]}` |

It saw {card["seen_tokens"]:,} tokens: {card["recipe"]["steps"]:,} updates of {card["recipe"]["batch"]}
windows, {card["seen_tokens"] / card["train_tokens"]:.1f} passes over the training text.
"""  # noqa: E501


def _numbers(card: Mapping[str, Any]) -> str:
    nats = card["cross_entropy"]
    return f"""## How well it predicts

Cross-entropy on the held-out files, in nats a token, with the same tokenizer for all three. The
bigram model is smoothed towards the unigram with the strength that is best on the held-out text
itself, which favours it.

| model | nats a token |
| --- | ---: |
| unigram | {nats["unigram"]:.3f} |
| bigram | {nats["bigram"]:.3f} |
| **the specimen** | **{nats["specimen"]:.3f}** |
| the specimen, on training text | {nats["specimen_on_train"]:.3f} |
"""


def _longer(card: Mapping[str, Any]) -> str:
    curve = card["curve"]
    best = min(curve, key=lambda line: line["heldout"])
    last = curve[-1]
    quarter = curve[len(curve) * 3 // 4]
    slope = quarter["heldout"] - last["heldout"]
    words = "still falls" if best is last else f"is lowest at step {best['step']:,}"
    return f"""## Would longer training help?

Held-out cross-entropy {words}: over the last quarter of training it changed by {-slope:+.3f} nats
(measured on the first windows of the held-out text, every {curve[0]["step"]} updates). Longer and
faster runs predict better, and turn the neurons so sparse that little superposition is left to study;
[the log](log.md#training-the-specimen-longer-or-faster) has their numbers, and why this one stops here.

![Held-out cross-entropy over training]({FIGURE})
"""


def _samples(card: Mapping[str, Any]) -> str:
    blocks = "\n\n".join(f"````python\n{text.rstrip()}\n````" for text in card["samples"])
    return f"""## What it writes

Temperature 0.8 among the 40 likeliest tokens, first draw, not chosen.

{blocks}
"""


def _again(card: Mapping[str, Any]) -> str:
    seed = card["recipe"]["seed"]
    return f"""## Making it again

```bash
monosemy specimen train --out runs/specimen
```

The seed is {seed}; a stopped run goes on where it was. The text depends on the version of Python, so
another version makes a slightly different specimen.
"""
