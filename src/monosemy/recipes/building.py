"""The dictionary that a recipe names, as it stands before the first step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.cross_layer import CrossLayerTranscoder
from monosemy.dictionaries.crosscoders import Crosscoder
from monosemy.dictionaries.flat import FlatDictionary, random_unit_rows
from monosemy.dictionaries.gated import GatedDictionary
from monosemy.dictionaries.hierarchical import HierarchicalDictionary
from monosemy.dictionaries.local import LocalDictionary
from monosemy.dictionaries.refined import MatchingPursuit, RefinedDictionary
from monosemy.dictionaries.selection import Selection, TopK, build_selection
from monosemy.dictionaries.transcoders import Transcoder
from monosemy.recipes.recipe import (
    BRANCHING,
    CROSS_LAYER,
    CROSSCODER,
    GATED,
    LISTA,
    LOCAL,
    MATCHING_PURSUIT,
    TRANSCODERS,
    DictionaryRecipe,
)
from monosemy.tensors import kernels
from monosemy.tensors.axes import Activations, Float, Tensor, Written
from monosemy.tensors.kernels import PreActivations
from monosemy.training.local import first_charts
from monosemy.training.start import Start, sample_directions

# How far what a transcoder's latents write at first is turned out of what they would write on
# average, so that no two begin alike.
_NOISE = 0.1
# Rows that lengths are fitted on.
_FITTED = 4096


def build(
    recipe: DictionaryRecipe,
    rows: Activations,
    start: Start,
    reads: Sequence[int],
    writes: Sequence[int],
) -> Dictionary:
    """Untrained, in the units of `start`.

    Directions are random, or point at sampled activations (``recipe.directions``); an autoencoder's
    encoder begins as their transpose. A transcoder's latent begins by writing what is written on
    average where its direction is read: ``W_dec[i] ∝ sum_t <x_t, W_enc[i]> y_t``.

    Parameters
    ----------
    rows : a sample of activations, all places side by side.
    reads, writes : widths of the places; the same for an autoencoder.
    """
    draw = recipe.compute.generator("dictionary weights")
    centred = start.centred(rows)
    x = centred[:, : sum(reads)]
    if recipe.structure == CROSS_LAYER:
        return _cross_layer(recipe, x, centred[:, sum(reads) :], start, reads, draw)
    directions = _directions(recipe, x, draw)
    selection = _selection(recipe)
    if recipe.structure in TRANSCODERS:
        y, offset = centred[:, sum(reads) :], start.offset[sum(reads) :]
        W_dec, nothing = _written(directions, x, y, draw), torch.zeros(recipe.latents)
        skip = torch.zeros(sum(writes), sum(reads)) if "skip" in recipe.structure else None
        begun = directions * _fitting(recipe, directions, W_dec, x, y)
        return Transcoder(begun, nothing, W_dec, offset, selection, skip)
    if recipe.structure == CROSSCODER:
        nothing = torch.zeros(recipe.latents)
        encoder = directions.clone(), nothing
        return Crosscoder(*encoder, directions, start.offset, selection, tuple(reads))
    return _autoencoder(recipe, directions, start.offset, selection)


def parameters(recipe: DictionaryRecipe, reads: Sequence[int], writes: Sequence[int]) -> int:
    """How many numbers such a dictionary learns."""
    m, read, written = recipe.latents, sum(reads), sum(writes)
    if recipe.structure == CROSS_LAYER:
        layers, d = len(reads), reads[0]
        encoders = layers * m * (d + (2 if recipe.selection == "jumprelu" else 1))
        return encoders + m * d * layers * (layers + 1) // 2 + layers * d
    if recipe.encoder in BRANCHING:
        return m * (2 * read + 1) + read + _branch_parameters(recipe, read)
    encoder = 0 if recipe.encoder == MATCHING_PURSUIT else m * (read + 1)
    beside = 2 * m if recipe.encoder == GATED else 0
    if recipe.selection == "jumprelu":
        beside += m * (2 if recipe.encoder == LISTA else 1)
    beside += read * written if recipe.structure == "skip_transcoder" else 0
    return encoder + m * written + written + beside


def _autoencoder(
    recipe: DictionaryRecipe, directions: Tensor, b_dec: Tensor, selection: Selection
) -> Dictionary:
    if recipe.encoder == GATED:
        return GatedDictionary.tied(directions, b_dec)
    if recipe.encoder == MATCHING_PURSUIT:
        return MatchingPursuit(directions, b_dec, recipe.k)
    kind = RefinedDictionary if recipe.encoder == LISTA else FlatDictionary
    flat = kind.tied(directions, b_dec, selection)
    if recipe.encoder not in BRANCHING:
        return flat
    assert isinstance(flat, FlatDictionary)
    return _with_children(recipe, flat)


def _with_children(recipe: DictionaryRecipe, flat: FlatDictionary) -> Dictionary:
    """Levels of children that point at no chart yet; or H-SAE's, which begin at random."""
    draw, config = recipe.compute.generator("children"), recipe.local
    dictionary: FlatDictionary | LocalDictionary = flat
    if recipe.encoder != LOCAL:
        return HierarchicalDictionary.random(flat, config.rank, config.children, draw)
    for bearers in config.bearers(recipe.latents):
        charts = first_charts(config, bearers)
        V = torch.linalg.qr(torch.randn(charts, flat.width, config.rank, generator=draw))[0]
        C = torch.randn(bearers, config.children, config.rank, generator=draw)
        dictionary = LocalDictionary(
            dictionary, V.transpose(1, 2).contiguous(), torch.full((bearers,), -1),
            nn.functional.normalize(C, dim=2), config.rounds,
        )  # fmt: skip
    return dictionary


def _branch_parameters(recipe: DictionaryRecipe, width: int) -> int:
    config, total = recipe.local, 0
    for bearers in config.bearers(recipe.latents):
        inside = bearers * config.children * config.rank
        if recipe.encoder == LOCAL:
            total += first_charts(config, bearers) * config.rank * width + inside
        else:
            total += 2 * (bearers * config.rank * width + inside)
    return total


def _cross_layer(
    recipe: DictionaryRecipe, x: Tensor, y: Tensor, start: Start, reads: Sequence[int],
    draw: torch.Generator,
) -> CrossLayerTranscoder:  # fmt: skip
    layers, width = len(reads), reads[0]
    encoders, decoders = [], []
    for layer in range(layers):
        seen = x[:, layer * width : (layer + 1) * width]
        encoders.append(_directions(recipe, seen, draw))
        outputs = y[:, layer * width :]
        later = _written(encoders[-1], seen, outputs, draw)
        encoders[-1] *= _fitting(recipe, encoders[-1], later, seen, outputs) / layers
        decoders.append(later.unflatten(1, (layers - layer, width)))
    biases = [torch.zeros(recipe.latents) for _ in range(layers)]
    offsets = start.offset[sum(reads) :].unflatten(0, (layers, width))
    selections = [_selection(recipe) for _ in range(layers)]
    return CrossLayerTranscoder(encoders, biases, decoders, offsets, selections)


def _selection(recipe: DictionaryRecipe) -> Selection:
    if recipe.encoder == LOCAL:
        return build_selection("batchtopk", recipe.local.proposed(recipe.k), recipe.latents)
    if recipe.encoder in BRANCHING:
        parents = max(round(recipe.local.active(recipe.k)[0]), 1)
        return build_selection("batchtopk", parents, recipe.latents)
    return build_selection(recipe.selection, recipe.k, recipe.latents)


def _directions(
    recipe: DictionaryRecipe, centred: Activations, draw: torch.Generator
) -> Float[Tensor, "latent width"]:
    if recipe.directions == "data":
        return sample_directions(centred, recipe.latents, draw)
    return random_unit_rows(recipe.latents, centred.shape[1], draw)


def _written(
    W_enc: Float[Tensor, "latent width"], x: Activations, y: Written, draw: torch.Generator
) -> Float[Tensor, "latent written"]:
    noise = random_unit_rows(len(W_enc), y.shape[1], draw)
    average = nn.functional.normalize(W_enc @ (x.T @ y), dim=1)
    return nn.functional.normalize(average + _NOISE * noise, dim=1)


@torch.no_grad()
def _fitting(
    recipe: DictionaryRecipe, W_enc: Float[Tensor, "latent width"],
    W_dec: Float[Tensor, "latent written"], x: Activations, y: Written,
) -> float:  # fmt: skip
    """``<y, ŷ> / |ŷ|²``: how long the encoder's rows should be, so that all latents do not overshoot.

    Overshooting, every gradient pushes activations down, below zero, where they learn no more.
    """
    sample = slice(None, None, -(-len(x) // _FITTED))
    k = min(max(recipe.k, recipe.objective.k_start or 0), recipe.latents)
    nothing = torch.zeros_like(W_enc[:, 0])
    code = TopK(k).support(PreActivations(x[sample], W_enc, nothing))
    guess = kernels.decode(code, W_dec, torch.zeros_like(W_dec[0]))
    return float((y[sample] * guess).sum() / guess.square().sum().clamp_min(1e-12))
