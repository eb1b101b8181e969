"""Which layer each transcoder of a set is of, as circuit-tracer wants every layer from 0 on."""

from __future__ import annotations

import re

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.foreign.format import Collection


def by_layer(collection: Collection) -> dict[int, Dictionary]:
    """The transcoders by their layers, in order; there must be no `layer_reasons`."""
    layers = _layers(collection)
    found = {layer: collection[part] for part, layer in layers.items() if layer is not None}
    return dict(sorted(found.items()))


def layer_reasons(collection: Collection) -> list[str]:
    """Why the parts are not one transcoder for each layer from 0 on."""
    layers = _layers(collection)
    unknown = [part for part, layer in layers.items() if layer is None]
    if unknown:
        return [
            f"{_said(unknown)}: no layer is known, as the metadata names no site of a layer "
            "(hook_name = 'blocks.3. ...'); name each part by its layer, as layer_3, or give it "
            "the metadata"
        ]
    contradictions = _contradictions(collection, layers)
    if contradictions:
        return contradictions
    reasons = []
    for layer in sorted(set(layers.values()) - {None}, key=int):  # type: ignore[arg-type]
        same = [part for part, other in layers.items() if other == layer]
        if len(same) > 1:
            reasons.append(
                f"{_said(same)} are all of layer {layer}, and circuit-tracer has one transcoder a "
                "layer; put one of each layer into the folder"
            )
    return reasons + _gaps({layer for layer in layers.values() if layer is not None})


def _layers(collection: Collection) -> dict[str, int | None]:
    """What the metadata say of each part, or else the one number in its name."""
    return {part: _told(found) if _told(found) is not None else _named(part)
            for part, found in collection.items()}  # fmt: skip


def _told(dictionary: Dictionary) -> int | None:
    site = dictionary.metadata.get("hook_name")
    found = re.findall(r"(?:^|\.)(\d+)(?=\.|$)", site) if isinstance(site, str) else []
    return int(found[0]) if len(found) == 1 else None


def _named(part: str) -> int | None:
    numbers = re.findall(r"\d+", part)
    return int(numbers[0]) if len(numbers) == 1 else None


def _contradictions(collection: Collection, layers: dict[str, int | None]) -> list[str]:
    """Names that read as one layer each, where the metadata say others."""
    named = {part: _named(part) for part in collection}
    if set(named.values()) != set(range(len(collection))):
        return []  # numbers of something else: of active latents, of a seed
    return [
        f"{_said([part])} is of layer {layers[part]} by its metadata (hook_name = "
        f"{collection[part].metadata.get('hook_name')!r}); rename it, or correct the metadata"
        for part in collection
        if layers[part] != named[part]
    ]


def _gaps(layers: set[int]) -> list[str]:
    missing = sorted(set(range(max(layers) + 1)) - layers)
    if not missing:
        return []
    count = len(layers)
    what = f"the {'layer' if count == 1 else 'layers'} {', '.join(map(str, sorted(layers)))}"
    return [
        f"circuit-tracer wants a transcoder for every layer from 0 on, and here {what} "
        f"{'is' if count == 1 else 'are'} without {', '.join(map(str, missing))}; convert a folder "
        "that holds the dictionaries of all layers"
    ]


def _said(parts: list[str]) -> str:
    if parts == [""]:
        return "the transcoder"
    what = "part" if len(parts) == 1 else "parts"
    return f"the {what} {', '.join(map(repr, parts))}"
