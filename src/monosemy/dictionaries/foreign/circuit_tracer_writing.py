"""circuit-tracer's files: from dictionaries to what they are called there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import save as format_safetensors

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.foreign.circuit_tracer_layers import by_layer, layer_reasons
from monosemy.dictionaries.foreign.circuit_tracer_reading import (
    ACROSS,
    CONFIG,
    HOOKS,
    SET,
    SKIP,
    THRESHOLD,
)
from monosemy.dictionaries.foreign.format import Collection
from monosemy.dictionaries.foreign.plain import threshold_reasons, thresholds, unsayable
from monosemy.foundation import storage
from monosemy.foundation.errors import refuse
from monosemy.tensors.axes import Tensor

_FORM = "circuit-tracer's form"


def cannot_say(collection: Collection) -> list[str]:
    """Why circuit-tracer has no form for `collection`."""
    dictionaries = list(collection.values())
    if not dictionaries:
        return ["there is no dictionary in it"]
    if len(dictionaries) == 1 and isinstance(dictionaries[0], CrossLayerTranscoder):
        return _against_across(dictionaries[0])
    return _against_set(collection)


def renamed(collection: Collection) -> dict[str, Dictionary]:
    """`collection` as it is read back: ``layer_{i}`` in order, or one across layers."""
    first = next(iter(collection.values()))
    if isinstance(first, CrossLayerTranscoder):
        return {"": first}
    return {f"layer_{layer}": found for layer, found in by_layer(collection).items()}


def write(collection: Collection, folder: Path) -> None:
    """A set or a transcoder across layers into `folder`, the configuration last.

    A threshold below zero is written as zero: here, where activations are positive, the two select
    the same, there they would not.

    Errors
    ------
    `UserError` with what `cannot_say` finds.
    """
    refuse(cannot_say(collection), f"what is to be written in {_FORM}")
    folder, first = Path(folder), next(iter(collection.values()))
    if isinstance(first, CrossLayerTranscoder):
        for name, tensors in _across_tensors(first).items():
            storage.write_bytes(folder / name, format_safetensors(tensors))
    else:
        for layer, dictionary in by_layer(collection).items():
            tensors = _layer_tensors(dictionary)
            storage.write_bytes(folder / f"layer_{layer}.safetensors", format_safetensors(tensors))
    storage.write_text(folder / CONFIG, yaml.safe_dump(_settings(collection), sort_keys=False))


def _against_set(collection: Collection) -> list[str]:
    reasons = []
    for part, dictionary in collection.items():
        against = unsayable(dictionary, _FORM)
        if dictionary.autoencodes:
            against.append(
                "it is an autoencoder, and circuit-tracer replaces what a layer computes"
            )
        if dictionary.width != dictionary.written:
            against.append(f"it reads {dictionary.width} numbers and writes {dictionary.written}")
        reasons += [f"{part}: {why}" if part else why for why in against]
    reasons += layer_reasons(collection)
    for what, sizes in (
        ("numbers of latents", {d.latents for d in collection.values()}),
        ("widths", {d.width for d in collection.values()}),
    ):
        if len(sizes) > 1:
            reasons.append(f"layers have different {what} ({sorted(sizes)}); wanted one")
    if len({getattr(d, SKIP, None) is None for d in collection.values()}) > 1:
        reasons.append("some layers have a skip and some have none; wanted all or none")
    return reasons + _hook_reasons(collection)


def _against_across(clt: CrossLayerTranscoder) -> list[str]:
    reasons = [
        f"layer {layer}: {reason}"
        for layer, selection in enumerate(clt.selection)
        for reason in threshold_reasons(selection, _FORM)
    ]
    if len(set(clt.sizes)) > 1:
        reasons.append(f"layers have different numbers of latents ({list(clt.sizes)}); wanted one")
    return reasons + _hook_reasons({"": clt})


def _hook(collection: Collection, key: str) -> set[str]:
    """The names within a block that the metadata of all parts give."""
    found = set()
    for dictionary in collection.values():
        names = dictionary.metadata.get(key) or []
        names = names if isinstance(names, list | tuple) else str(names).split(",")
        found |= {re.sub(r"^blocks\.[^.]+\.", "", str(name).strip()) for name in names}
    return found


def _hook_reasons(collection: Collection) -> list[str]:
    return [
        f"{theirs} has to be one name for all layers, and metadata {ours!r} says "
        f"{', '.join(sorted(_hook(collection, ours))) or 'nothing'}"
        for ours, theirs in HOOKS.items()
        if len(_hook(collection, ours)) != 1
    ]


def _settings(collection: Collection) -> dict[str, Any]:
    first = next(iter(collection.values()))
    model = first.metadata.get("model_name")
    return {
        "model_kind": ACROSS if isinstance(first, CrossLayerTranscoder) else SET,
        **({"model_name": str(model)} if model else {}),
        **{theirs: _hook(collection, ours).pop() for ours, theirs in HOOKS.items()},
        # circuit-tracer asks for the key; it names dashboards of the features.
        "scan": str(first.metadata.get("scan") or model or ""),
    }


def _layer_tensors(dictionary: Dictionary) -> dict[str, Tensor]:
    names = ["W_enc", "b_enc", "W_dec", "b_dec"]
    tensors = {name: getattr(dictionary, name) for name in names}
    if getattr(dictionary, SKIP, None) is not None:
        tensors[SKIP] = dictionary.W_skip
    return _plain(tensors, THRESHOLD, thresholds(dictionary.selection, dictionary.b_enc))


def _across_tensors(clt: CrossLayerTranscoder) -> dict[str, dict[str, Tensor]]:
    files = {}
    offsets = clt.b_dec.unflatten(0, (clt.layers, -1))
    for layer, selection in enumerate(clt.selection):
        encoder = {
            f"W_enc_{layer}": clt.encoders[layer],
            f"b_enc_{layer}": clt.biases[layer],
            f"b_dec_{layer}": offsets[layer],
        }
        least = thresholds(selection, clt.biases[layer])
        files[f"W_enc_{layer}.safetensors"] = _plain(encoder, f"threshold_{layer}", least)
        decoder = {f"W_dec_{layer}": clt.decoder(layer)}
        files[f"W_dec_{layer}.safetensors"] = _plain(decoder, "", None)
    return files


def _plain(tensors: Mapping[str, Tensor], name: str, least: Tensor | None) -> dict[str, Tensor]:
    given = dict(tensors) | ({} if least is None else {name: least.clamp_min(0)})
    return {key: value.detach().cpu().contiguous().clone() for key, value in given.items()}
