"""An axis of one's own in a toy: what it does for the feature, and for those that stay behind."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from monosemy.data.toys import SparseFeatures, densities
from monosemy.foundation.errors import refuse
from monosemy.foundation.progress import SILENT, Progress
from monosemy.growth.toys import reserved, turn, widen
from monosemy.models.toy import TiedToy
from monosemy.recipes.laboratory.toys import RUNS, Found, ToySettings, train_toys
from monosemy.reports.laboratory import HEAT, MAIN, MUTED, Picture, drawn
from monosemy.superposition.claims import MEASURED, NULL, Finding
from monosemy.superposition.geometry import dimensionality, norms
from monosemy.tensors.axes import Float, Int, Tensor
from monosemy.tensors.compute import Compute

if TYPE_CHECKING:
    from matplotlib.figure import Figure

TITLE = "An axis of one's own ends superposition"
# Fixed before the first run: dimensionality counted as 1, and the share of a feature's mean square by
# which losses may differ and count as equal. In that run axes were given and not reserved, and failed
# both (0.41, 0.087); reserving them was added then, and the first form stays beside it.
WHOLE, EQUAL = 0.95, 0.01
OWN, FREE = "own axes, reserved", "own axes, then free"
_SAMPLES = 65_536


@dataclass(frozen=True)
class AllocationSettings:
    """Sizes, density, and how the models learn and move."""

    features: int = 20
    """n."""
    hidden: int = 5
    """m."""
    chosen: int = 3
    """Features that get an axis: the most superposed of those that are kept."""
    density: float = 0.05
    """Of every feature."""
    instances: int = 12
    """Models that differ in their first weights."""
    moves: int = 5
    """Steps in which features go to their axes."""
    between: int = 100
    """Updates after each of them."""
    training: ToySettings = field(default_factory=lambda: ToySettings(3000, 256, 5e-3))
    after: ToySettings = field(default_factory=lambda: ToySettings(2000, 256, 2e-3))

    def __post_init__(self) -> None:
        reasons = []
        if not 1 <= self.hidden < self.features:
            reasons.append(f"hidden = {self.hidden} for {self.features} features; wanted fewer, and at "
                           "least 1")  # fmt: skip
        if not 1 <= self.chosen <= self.hidden:
            reasons.append(f"chosen = {self.chosen}; wanted 1 to hidden = {self.hidden}")
        if self.instances < 2:
            reasons.append(f"instances = {self.instances}; intervals need at least 2")
        if self.moves < 1 or self.between < 1:
            reasons.append(f"moves = {self.moves}, between = {self.between}; wanted at least 1")
        refuse(reasons, "this allocation")


def run(
    settings: AllocationSettings | None = None, compute: Compute | None = None, runs: Path = RUNS,
    progress: Progress = SILENT,
) -> Found:  # fmt: skip
    """Train crowded toys, give chosen features axes, train on; beside controls and a roomy toy."""
    s, compute = settings or AllocationSettings(), compute or Compute()
    law = SparseFeatures(densities((s.density,), s.features, s.instances))
    draw = compute.generator("first weights of allocation")
    crowded = TiedToy(s.instances, s.features, s.hidden, draw)
    roomy = TiedToy(s.instances, s.features, s.features, draw)
    ones = torch.ones(1, s.features)

    def learn(name: str, toy: TiedToy, how: ToySettings) -> TiedToy:
        train_toys(f"allocation-{name}", toy, law, ones, how, compute, runs, progress)
        return toy

    learn("crowded", crowded, s.training)
    learn("roomy", roomy, s.training)
    chosen = _most_superposed(crowded.weights.detach(), s.chosen)
    start = _like(crowded, widen(crowded.W.detach(), s.chosen))
    arms = {
        OWN: _moved(start, chosen, s, learn, keep=True),
        FREE: _moved(start, chosen, s, learn, keep=False),
        "wider only": learn("wider", _free(start, s, compute), _whole(s)),
        "random directions": learn("random", _turned(start, s, compute), _whole(s)),
        "as it is": learn("as it is", _like(crowded, crowded.W.detach()), _whole(s)),
    }
    before = _measured(crowded, law, compute, chosen)
    alone = float(_losses(roomy, law, compute).mean())
    square = s.density / 3  # of a feature that is uniform on [0, 1] where it is there
    after = {name: _measured(toy, law, compute, chosen) for name, toy in arms.items()}
    same = float((_losses(start, law, compute) - _losses(crowded, law, compute)).abs().max())
    numbers = _numbers(s, before, after, alone, square)
    findings = _findings(s, before, after, alone, square, same)
    picture = Picture("superposition-allocation", CAPTION, drawn(_draw(numbers), (9, 3.4)), numbers)
    lost = ", ".join(f"{name} {one['chosen_loss'] / square:.1%}"
                     for name, one in numbers["after"].items())  # fmt: skip
    back = numbers["after"][FREE]["dimensionality"]
    words = (
        f"Before, the chosen features have {numbers['before']['dimensionality']:.2f} dimensions each, "
        f"and {numbers['before']['chosen_loss'] / square:.1%} of their mean square is lost. After: "
        f"{lost}. An axis stays a feature's own only where it is reserved: left free, optimisation "
        f"squeezes other features onto it within {s.after.steps:,} updates, and the dimensionality is "
        f"{back:.2f}."
    )
    return Found("allocation", TITLE, numbers, findings, [picture], words, asdict(s))


CAPTION = (
    "Dimensionality and loss (as a share of a feature's mean square) of the features that got an axis, "
    "and the loss of all others; bars are 95 % intervals over instances."
)
Learn = Any


def _whole(s: AllocationSettings) -> ToySettings:
    """As many updates as the arm that moves."""
    return ToySettings(s.after.steps + s.moves * s.between, s.after.batch, s.after.learning_rate)


def _moved(
    start: TiedToy, chosen: Int[Tensor, "instance chosen"], s: AllocationSettings, learn: Learn,
    keep: bool,
) -> TiedToy:  # fmt: skip
    """Step by step onto the axes; with `keep`, nothing else may ever use them."""
    short = ToySettings(s.between, s.after.batch, s.after.learning_rate)
    name = "reserved" if keep else "free"

    def placed(weights: Tensor, gone: bool) -> TiedToy:
        new = _like(toy, weights)
        if keep:  # Adam leaves a number alone whose gradient has always been 0
            mask = reserved(weights, chosen, s.hidden, gone)
            new.W.register_hook(lambda gradient: gradient * mask)
        return new

    toy = start
    for move in range(1, s.moves + 1):
        turned = turn(toy.W.detach(), chosen, s.hidden, move / s.moves)
        toy = learn(f"{name}-{move}", placed(turned, move == s.moves), short)
    return learn(name, placed(toy.W.detach(), True), s.after)


def _free(start: TiedToy, s: AllocationSettings, compute: Compute) -> TiedToy:
    """New rows begin small and random: rows of zeros would get no gradient."""
    w = start.W.detach().clone()
    draw = compute.generator("free rows of allocation")
    w[:, s.hidden :] = 0.1 * w.std() * torch.randn(w[:, s.hidden :].shape, generator=draw)
    return _like(start, w)


def _turned(start: TiedToy, s: AllocationSettings, compute: Compute) -> TiedToy:
    """Random directions of the crowd, all features' parts in them, turned onto the new axes."""
    draw = compute.generator("random directions of allocation")
    w = start.W.detach().clone()
    u = torch.linalg.qr(torch.randn(len(w), s.hidden, s.chosen, generator=draw))[0]
    part = u.transpose(1, 2) @ w[:, : s.hidden]
    w[:, : s.hidden] -= u @ part
    w[:, s.hidden :] = part
    return _like(start, w)


def _like(toy: TiedToy, weights: Float[Tensor, "instance hidden feature"]) -> TiedToy:
    new = TiedToy(len(weights), weights.shape[2], weights.shape[1], torch.Generator())
    new.W.data, new.b.data = weights.clone(), toy.b.detach().clone()
    return new


def _most_superposed(
    weights: Float[Tensor, "instance hidden feature"], many: int
) -> Int[Tensor, "instance chosen"]:
    """Of the columns at least half as long as the longest, those of least dimensionality."""
    length = norms(weights)
    kept = length >= 0.5 * length.amax(1, keepdim=True)
    score = torch.where(kept, dimensionality(weights), 2.0)
    return score.topk(many, dim=1, largest=False).indices.sort(1).values


@torch.no_grad()
def _losses(
    toy: TiedToy, law: SparseFeatures, compute: Compute
) -> Float[Tensor, "instance feature"]:
    draw = compute.generator("fresh samples for allocation")
    parts = []
    for _ in range(_SAMPLES // 4096):
        x = law.draw(4096, draw)
        parts.append((toy(x) - x).square().mean(1))
    return torch.stack(parts).mean(0)


def _measured(
    toy: TiedToy, law: SparseFeatures, compute: Compute, chosen: Int[Tensor, "instance chosen"]
) -> dict[str, Float[Tensor, "instance"]]:
    loss = _losses(toy, law, compute)
    own = torch.zeros_like(loss, dtype=torch.bool).scatter(1, chosen, True)
    d = dimensionality(toy.weights.detach())
    others = (loss * ~own).sum(1) / (~own).sum(1)
    return {"dimensionality": d.gather(1, chosen).mean(1), "chosen": loss.gather(1, chosen).mean(1),
            "others": others}  # fmt: skip


def _interval(values: Float[Tensor, "instance"]) -> tuple[float, float, float]:
    from scipy import stats

    mean = float(values.mean())
    half = float(stats.t.ppf(0.975, len(values) - 1)) * float(values.std()) / len(values) ** 0.5
    return mean, mean - half, mean + half


def _numbers(
    s: AllocationSettings, before: dict[str, Tensor], after: dict[str, dict[str, Tensor]],
    alone: float, square: float,
) -> dict[str, Any]:  # fmt: skip
    def told(one: dict[str, Tensor]) -> dict[str, Any]:
        names = {
            "dimensionality": "dimensionality",
            "chosen_loss": "chosen",
            "others_loss": "others",
        }
        parts = {name: _interval(one[key]) for name, key in names.items()}
        return {name: value[0] for name, value in parts.items()} | {
            f"{name}_interval": list(value[1:]) for name, value in parts.items()
        }

    return {"features": s.features, "hidden": s.hidden, "axes": s.chosen, "instances": s.instances,
            "unsuperposed_loss": alone, "mean_square": square, "before": told(before),
            "after": {name: told(one) for name, one in after.items()}}  # fmt: skip


def _findings(
    s: AllocationSettings, before: dict[str, Tensor], after: dict[str, dict[str, Tensor]],
    alone: float, square: float, same: float,
) -> list[Finding]:  # fmt: skip
    own, n = after[OWN], f"{s.instances} instances, {s.chosen} features each"
    d, first = _interval(own["dimensionality"]), float(before["dimensionality"].mean())
    gap = _interval((own["chosen"] - alone) / square)
    others = _interval((own["others"] - before["others"]) / square)
    found = [
        Finding("largest change of a feature's loss by widening alone", same, n, "0", NULL, same == 0),
        Finding("dimensionality of chosen features before", first, n, f"below {WHOLE}",
                holds=first < WHOLE),
        Finding("dimensionality with own axes, reserved", d[0], n, f"at least {WHOLE}",
                holds=d[0] >= WHOLE, low=d[1], high=d[2]),
        Finding("loss above that of an unsuperposed feature, share of its mean square", gap[0], n,
                f"at most {EQUAL}", holds=gap[0] <= EQUAL, low=gap[1], high=gap[2]),
        Finding("loss of the others, after less before, share of their mean square", others[0], n,
                f"at most {EQUAL}", holds=others[0] <= EQUAL, low=others[1], high=others[2]),
    ]  # fmt: skip
    back = _interval(after[FREE]["dimensionality"])
    found.append(Finding("dimensionality once others may use the axes", back[0], n, kind=MEASURED,
                         low=back[1], high=back[2]))  # fmt: skip
    for name in ("wider only", "random directions"):
        more = _interval((after[name]["chosen"] - own["chosen"]) / square)
        found.append(Finding(f"loss of the same features, {name} less reserved axes", more[0], n,
                             "more than 0", holds=more[1] > 0, low=more[1], high=more[2]))  # fmt: skip
        rest = _interval((after[name]["others"] - own["others"]) / square)
        found.append(Finding(f"loss of the others, {name} less reserved axes", rest[0], n,
                             kind=MEASURED, low=rest[1], high=rest[2]))  # fmt: skip
    return found


def _draw(numbers: dict[str, Any]) -> Any:
    bars = {"before": numbers["before"], **numbers["after"]}
    square = numbers["mean_square"]

    def draw(figure: Figure) -> None:
        panels = figure.subplots(1, 3)
        shown = (("dimensionality", "dimensionality, chosen features", 1.0),
                 ("chosen_loss", "loss, chosen features", square),
                 ("others_loss", "loss, all others", square))  # fmt: skip
        for axes, (key, title, unit) in zip(panels, shown, strict=True):
            for place, (name, one) in enumerate(bars.items()):
                low, high = one[f"{key}_interval"]
                colour = MAIN if name == OWN else HEAT if name == "before" else MUTED
                axes.barh(place, one[key] / unit, color=colour, height=0.7)
                axes.plot([low / unit, high / unit], [place, place], color="#374151", lw=1.2)
            axes.set_title(title, fontsize=10)
            axes.set_yticks(range(len(bars)), list(bars) if axes is panels[0] else [""] * len(bars))
            axes.invert_yaxis()

    return draw
