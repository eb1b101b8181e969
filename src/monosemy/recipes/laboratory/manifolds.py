"""Manifolds and dictionaries: how many features tile a circle, which families of features make one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from monosemy.data.features.manifolds import ManifoldConfig, manifold_world
from monosemy.data.features.world import World
from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.flat import FlatDictionary
from monosemy.dictionaries.selection import BatchTopK
from monosemy.evaluation.residuals import check_autoencodes
from monosemy.foundation.errors import UserError, refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.recipes.sharing import heldout, open_run
from monosemy.superposition.manifolds import FEWEST, shape, two_nn
from monosemy.superposition.tiling import (
    COSINE,
    FIRING,
    INSIDE,
    captured,
    families,
    gaussian_like,
    of_chance,
    tiles,
)
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.compute import Compute
from monosemy.training.loop import advance_program
from monosemy.training.objectives import LearnDictionary, ObjectiveConfig
from monosemy.training.optim import OptimConfig, Optimiser
from monosemy.training.start import look, sample_directions

# A family's plane is a circle's where they share this much: mean squared cosine of their angles.
_SAME = 0.9
_CLOUD = 2000
_POOL = 40_000
_ENERGY = 0.99
# Of the length that is exceeded on a tenth of the tokens.
_LEAST_LOUD = 0.3


@dataclass(frozen=True)
class PlantedConfig:
    """Circles and plain features in one space, and dictionaries that learn them."""

    circles: int = 6
    """Manifolds to be found."""
    discrete: int = 12
    """Features that have nothing continuous about them."""
    width: int = 48
    """Numbers in an activation."""
    rate: float = 0.1
    """Probability that each is active."""
    latents: tuple[int, ...] = (64, 128, 256)
    """Sizes of dictionaries; families are looked for in the middle one."""
    k: int = 3
    """Active latents a sample; 1.8 features are active."""
    steps: int = 1000
    """Updates of each."""
    batch: int = 256
    """Samples in an update."""
    samples: int = 8000
    """Fresh samples to measure on."""

    def __post_init__(self) -> None:
        reasons = [f"{name} is {getattr(self, name)}; wanted at least {least}"
                   for name, least in {"circles": 1, "k": 1, "steps": 1, "samples": 1000}.items()
                   if getattr(self, name) < least]  # fmt: skip
        small = [size for size in self.latents if size <= 2 * self.k]
        if small or not self.latents:
            reasons.append(f"latents are {self.latents}; wanted each above {2 * self.k}")
        refuse(reasons, "these manifolds")

    def world(self, seed: int) -> World:
        """With directions of this seed."""
        config = ManifoldConfig(
            width=self.width, discrete=self.discrete, circles=self.circles, rate=self.rate
        )
        return manifold_world(config, seed)


@dataclass(frozen=True)
class RunConfig:
    """How the dictionary of a run is looked at."""

    tokens: int = 20_000
    """Held-out activations to read."""
    latents: int = 512
    """At most so many are looked at: those of most energy."""
    cosine: float = COSINE
    """Cosine of directions from which two latents belong to one family."""
    firing: float = FIRING
    """Correlation of firing from which they do."""
    neighbourhoods: int = 24
    """Latents whose neighbourhood gets a dimension."""
    clusters: int = 16
    """Clusters of contexts."""
    rank: int = 4
    """Dimensions of their subspaces."""

    def __post_init__(self) -> None:
        wanted = {"tokens": 1000, "latents": 8, "neighbourhoods": 0, "clusters": 2,
                  "rank": 1}  # fmt: skip
        refuse([f"{name} is {getattr(self, name)}; wanted at least {least}"
                for name, least in wanted.items() if getattr(self, name) < least],
               "this look at manifolds")  # fmt: skip


# --- planted -------------------------------------------------------------------------------------


def examine_planted(
    config: PlantedConfig, compute: Compute, progress: Progress = SILENT
) -> dict[str, Any]:
    """How many latents tile a circle at every size, and which families are circles, with nulls."""
    world = config.world(compute.seed)
    planes = planes_of(world)
    x = world.activations(config.samples, compute.generator("samples of manifolds"))
    found: dict[str, Any] = {
        "planted": dict(vars(config)) | {"latents": list(config.latents)}, "samples": len(x),
        "sizes": [], "chance_share": of_chance(INSIDE, config.width),
    }  # fmt: skip
    middle = config.latents[len(config.latents) // 2]
    with progress.task("dictionaries", len(config.latents), "dictionaries") as task:
        for size in config.latents:
            learned = _learn(world, size, config, compute)
            random = FlatDictionary.random(
                config.width, size, BatchTopK(config.k), compute.generator(f"random/{size}")
            )
            found["sizes"].append({
                "latents": size, "explained": _explained(learned, x),
                "tiles": _tiles(learned, planes), "random": _tiles(random, planes),
            })  # fmt: skip
            if size == middle:
                for name, one in (("learned", learned), ("random", random)):
                    found[name] = _planted_families(one, x, planes)
            task.advance(1, f"{size} latents")
    return found


def planes_of(world: World) -> Float[Tensor, "circle 2 width"]:
    """The plane of every circle of a world."""
    charts = world.features.charts
    numbers = [int(c) for c in charts.unique() if c >= 0 and int((charts == c).sum()) == 2]
    return torch.stack([world.features.directions[charts == c] for c in numbers])


def _learn(world: World, size: int, config: PlantedConfig, compute: Compute) -> Dictionary:
    draw = compute.generator(f"learn/{size}")
    pool = world.activations(_POOL, draw)
    start = look(pool[:4096])
    directions = sample_directions(start.centred(pool[:4096]), size, draw)
    dictionary = FlatDictionary.tied(directions, start.offset, BatchTopK(config.k))
    objective = ObjectiveConfig(dead_after=20_000)
    program = LearnDictionary(dictionary.train(), start, objective)
    optimiser = Optimiser(dictionary.parameters(), OptimConfig(learning_rate=3e-3), config.steps)
    for step in range(config.steps):
        chosen = torch.randint(_POOL, (config.batch,), generator=draw)
        advance_program(program, optimiser, pool[chosen], step)
    return program.result().eval()


@torch.no_grad()
def _explained(dictionary: Dictionary, x: Float[Tensor, "point width"]) -> float:
    return 1 - float((x - dictionary(x)).square().sum() / (x - x.mean(0)).square().sum())


def _tiles(dictionary: Dictionary, planes: Float[Tensor, "circle 2 width"]) -> dict[str, Any]:
    each = [tiles(dictionary.directions(), plane) for plane in planes]
    counts = [one.count for one in each]
    return {"counts": counts, "mean": sum(counts) / len(counts), "gaps": [one.gap for one in each]}


def _planted_families(
    dictionary: Dictionary, x: Float[Tensor, "point width"],
    planes: Float[Tensor, "circle 2 width"],
) -> dict[str, Any]:  # fmt: skip
    """Families, their shapes, and which planted circle each is."""
    codes = _code(dictionary, x)
    chosen = loudest(codes, dictionary.latents)
    shapes = shapes_of(dictionary, codes, chosen)
    taken = set[int]()
    for one in shapes:
        axes = one.pop("axes")
        overlaps = ((planes @ axes.T).square().sum((1, 2)) / 2).tolist()
        best = max(range(len(overlaps)), key=overlaps.__getitem__)
        one["circle"] = best if overlaps[best] >= _SAME else None
        if one["circular"] and one["circle"] is not None:
            taken.add(best)
    circular = [one for one in shapes if one["circular"]]
    return {
        "latents": len(chosen), "with_shape": len(shapes), "circular": len(circular),
        "found": len(taken), "circles": len(planes),
        "wrong": sum(one["circle"] is None for one in circular), "shapes": shapes,
    }  # fmt: skip


# --- families ------------------------------------------------------------------------------------


@torch.no_grad()
def _code(dictionary: Dictionary, x: Float[Tensor, "point width"]) -> SparseCode:
    return dictionary.code(x.to(dictionary.b_dec)).to("cpu")


def loudest(code: SparseCode, most: int) -> Int[Tensor, "chosen"]:
    """At most so many latents of most energy, of those that hold 99 % of all and fire often enough."""
    energy = torch.zeros(code.latents).index_add(0, code.indices, code.values.float().square())
    often = torch.bincount(code.indices, minlength=code.latents)
    order = energy.argsort(descending=True)
    before = energy[order].cumsum(0) - energy[order]
    kept = order[before < _ENERGY * energy.sum()]
    return kept[often[kept] >= FEWEST][:most]


def shapes_of(
    dictionary: Dictionary, code: SparseCode, chosen: Int[Tensor, "chosen"],
    bounds: tuple[float, float] = (COSINE, FIRING),
) -> list[dict[str, Any]]:  # fmt: skip
    """Of each family of the chosen latents: the shape of what it writes where any of it is active.

    Families of one latent, of too few tokens and of one line have no shape and are left out. The
    axes of the plane are given as ``axes``.
    """
    directions = dictionary.directions().float().cpu()
    active = code.dense()[:, chosen] != 0
    owner = families(directions[chosen], active, *bounds)
    place = torch.full((code.latents,), -1)
    place[chosen] = owner
    rows = dictionary.W_dec.detach().float().cpu()
    found = []
    for family in owner.unique().tolist():
        own = code.keep(place[code.indices] == family)
        there = torch.nonzero(own.counts > 0).flatten()
        if len(chosen[owner == family]) < 2 or len(there) < 2 * FEWEST:
            continue
        cloud = _loud(_written(own, rows, there[:_CLOUD]))
        try:
            one, axes, plane = shape(cloud)
        except UserError:  # on one line
            continue
        found.append({
            "family": family, "latents": chosen[owner == family].tolist(), **one.to_json(),
            "axes": axes, "plane": [[round(value, 3) for value in row] for row in plane[:300].tolist()],
        })  # fmt: skip
    return sorted(found, key=lambda one: -one["separability"])


def _loud(cloud: Float[Tensor, "point width"]) -> Float[Tensor, "_ width"]:
    """Without tokens on which a family writes next to nothing: it answers to something else there."""
    far = cloud.norm(dim=1)
    return cloud[far >= _LEAST_LOUD * far.quantile(0.9)]


def _written(
    own: SparseCode, rows: Float[Tensor, "latent width"], there: Int[Tensor, "chosen"]
) -> Float[Tensor, "chosen width"]:
    """What a family writes on some tokens."""
    place = torch.full((own.tokens,), -1)
    place[there] = torch.arange(len(there))
    at = place[own.rows]
    kept = at >= 0
    written = torch.zeros(len(there), rows.shape[1])
    return written.index_add(0, at[kept], own.values[kept, None].float() * rows[own.indices[kept]])


# --- a run ---------------------------------------------------------------------------------------


def examine_run(
    run: str | Path, config: RunConfig, compute: Compute, progress: Progress = SILENT
) -> dict[str, Any]:
    """Families of a run's latents, dimensions of neighbourhoods, local subspaces, with nulls.

    Errors
    ------
    `UserError` for a folder without a run or a dictionary that writes elsewhere, and where fewer than
    eight latents fire.
    """
    recipe, dictionary, _ = open_run(Path(run))
    check_autoencodes(dictionary)
    source = heldout(recipe, config.tokens, progress)
    dictionary.check_width(source.width, recipe.place)
    with progress.task("manifolds", 4, "steps") as task:
        x = source.rows(0, source.tokens).float().cpu()
        code = _code(dictionary, x)
        task.advance(1, "read")
        chosen = loudest(code, config.latents)
        if len(chosen) < 8:
            raise UserError(
                f"{len(chosen)} latents of {run} fire on {FEWEST} of {len(x):,} tokens; wanted at "
                "least 8. Read more tokens: --tokens"
            )
        shapes = shapes_of(dictionary, code, chosen, (config.cosine, config.firing))
        for one in shapes:
            del one["axes"]
        task.advance(1, "families")
        dimensions = _neighbourhoods(x, code, chosen[: config.neighbourhoods], compute)
        task.advance(1, "neighbourhoods")
        subspaces = local_subspaces(x, config.clusters, config.rank, compute)
        task.advance(1, "subspaces")
    return {
        "run": str(run), "model": recipe.model if not recipe.world else None, "place": recipe.place,
        "tokens": len(x), "width": x.shape[1], "latents": dictionary.latents,
        "looked_at": len(chosen), "with_shape": len(shapes),
        "circular": sum(one["circular"] for one in shapes), "shapes": shapes,
        "neighbourhoods": dimensions, "subspaces": subspaces,
    }  # fmt: skip


def _neighbourhoods(
    x: Float[Tensor, "point width"], code: SparseCode, chosen: Int[Tensor, "chosen"],
    compute: Compute,
) -> list[dict[str, Any]]:  # fmt: skip
    """Dimension of the activations on which a latent fires, beside as many tokens drawn at random."""
    draw = compute.generator("neighbourhoods")
    found = []
    for latent in chosen.tolist():
        there = code.rows[code.indices == latent]
        there = there[torch.randperm(len(there), generator=draw)[:_CLOUD]]
        others = torch.randperm(len(x), generator=draw)[: len(there)]
        try:
            own, null = two_nn(x[there], draw), two_nn(x[others], draw)
        except UserError:  # the same activation again and again
            continue
        found.append({"latent": latent, **own.to_json(), "random_tokens": null.to_json()})
    return found


def local_subspaces(
    x: Float[Tensor, "point width"], clusters: int, rank: int, compute: Compute
) -> dict[str, Any]:
    """What subspaces of their own are worth to clusters, beside a Gaussian cloud clustered likewise."""
    draw = compute.generator("clusters")
    own = captured(x, clusters, rank, draw)
    null = captured(gaussian_like(x, draw), clusters, rank, draw)
    return {**own.to_json(), "gaussian": null.to_json()}
