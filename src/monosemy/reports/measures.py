"""What each measurement is called, what it means in plain words, and which way is better.

The terminal and the page take their words from here, so that they never disagree.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Report = Mapping[str, Any]
"""A report as `report.json` holds it."""

HIGH, LOW, ONE = "high", "low", "one"


@dataclass(frozen=True)
class Measure:
    """One row of the table of measurements."""

    name: str
    """Its key in the report."""
    label: str
    """What a table calls it."""
    meaning: str
    """What it says, and between what it lies."""
    better: str = ""
    """``high``, ``low``, ``one`` (near 1), or empty where no way is better in itself."""
    form: str = ".3f"
    """Format of the number."""
    main: bool = False
    """Whether a short table shows it."""


@dataclass(frozen=True)
class Group:
    """Measurements that answer one question."""

    title: str
    measures: tuple[Measure, ...]


GROUPS = (
    Group(
        "How sparse",
        (
            Measure("l0", "active latents (L0)",
                    "how many latents are active on a token, on average", form=".2f", main=True),
            Measure("dead_fraction", "dead latents",
                    "share of latents that never fire on the held-out text", form=".1%", main=True),
            Measure("dense_fraction", "dense latents",
                    "share of latents that fire on more than a tenth of all tokens", form=".1%"),
        ),
    ),
    Group(
        "How close the reconstruction is",
        (
            Measure("explained_variance", "explained variance",
                    "1 - total squared error / total variance about the mean; 1 is perfect, "
                    "0 is no better than the mean", HIGH, main=True),
            Measure("explained_variance_per_token", "… mean over tokens",
                    "the same ratio for each token, then averaged; weighs quiet tokens more", HIGH),
            Measure("explained_variance_uncentred", "… uncentred",
                    "1 - total squared error / total squared length; flatters every method where "
                    "the mean is large", HIGH),
            Measure("cosine", "cosine",
                    "cosine between activation and reconstruction, averaged over tokens", HIGH,
                    main=True),
            Measure("mse", "squared error",
                    "mean squared error of a token's activation, in the site's own units", LOW,
                    "#.3g"),
            Measure("l2_ratio", "length ratio",
                    "length of the reconstruction over length of the activation; below 1 is "
                    "shrinkage", ONE),
            Measure("relative_reconstruction_bias", "reconstruction bias",
                    "E|x̂|² / E⟨x̂, x⟩; below 1 the reconstruction is too short", ONE),
        ),
    ),
    Group(
        "What it keeps of the model's work",
        (
            Measure("ce_recovered_zero", "loss recovered, from zero",
                    "how much of the rise in next-token loss the reconstruction undoes, where the "
                    "activation was set to zero; 1 is all of it", HIGH, main=True),
            Measure("ce_recovered_mean", "loss recovered, from mean",
                    "the same, where the activation was set to its mean: the stricter question",
                    HIGH, main=True),
            Measure("kl_recovered_zero", "KL recovered, from zero",
                    "the same for the distance between next-token distributions, from zero", HIGH,
                    main=True),
            Measure("kl_recovered_mean", "KL recovered, from mean",
                    "the same, from the mean", HIGH, main=True),
            Measure("ce_clean", "loss, untouched",
                    "the model's own loss on the held-out text, in nats a token"),
            Measure("ce_spliced", "loss, reconstruction",
                    "its loss with the reconstruction in the activation's place", LOW),
            Measure("ce_zero", "loss, zero", "its loss with the activation set to zero"),
            Measure("ce_mean", "loss, mean", "its loss with the activation set to its mean"),
        ),
    ),
)  # fmt: skip
MEASURES = tuple(measure for group in GROUPS for measure in group.measures)


@dataclass(frozen=True)
class Column:
    """A dictionary that was measured: the one reported, or a control."""

    name: str
    """``dictionary``, or the control's key in the report."""
    label: str
    meaning: str
    contest: bool = True
    """Whether its numbers compare with the dictionary's: same model, equal L0 (or no latent)."""


COLUMNS = (
    Column("dictionary", "dictionary", "the dictionary this report is about"),
    Column("linear", "affine map",
           "the best affine map of what the transcoder reads: no latent is active"),
    Column("neurons", "neurons",
           "the site's own axes: for each token, the same number of largest neurons"),
    Column("pca", "PCA", "principal components: for each token, the same number of largest"),
    Column("ica", "ICA", "independent components: for each token, the same number of largest"),
    Column("random", "random", "random directions, the best matching ones, scaled to fit"),
    Column("random_model", "random model",
           "the same method trained on the same architecture with random weights: what a "
           "dictionary finds where nothing was learned", contest=False),
)  # fmt: skip

RANDOM_MODEL_NOTE = (
    "The random model predicts next to nothing, so its loss and KL do not compare with the others; "
    "its reconstruction and firing do."
)


def columns(report: Report) -> list[Column]:
    """The columns this report has numbers for, the dictionary first."""
    controls = report.get("controls") or {}
    return [c for c in COLUMNS if c.name == "dictionary" or controls.get(c.name)]


def entry(report: Report, column: Column, measure: Measure) -> Mapping[str, Any] | None:
    """``{"value", "low", "high"[, "note"]}``, or nothing where there is no number."""
    found = _numbers(report, column).get(measure.name)
    return found if found and found.get("value") is not None else None


def missing(report: Report, column: Column, measure: Measure) -> str:
    """Why there is no number."""
    found = _numbers(report, column).get(measure.name) or {}
    return found.get("note") or "not measured"


def _numbers(report: Report, column: Column) -> Mapping[str, Any]:
    if column.name == "dictionary":
        return report.get("metrics") or {}
    return (report.get("controls") or {}).get(column.name) or {}


def note(column: Column, measure: Measure, found: Mapping[str, Any]) -> str:
    """What to know of a number before believing it: its own note, or that it does not compare."""
    of_model = measure in GROUPS[-1].measures and not column.contest
    return found.get("note") or (RANDOM_MODEL_NOTE if of_model else "")


def written(measure: Measure, value: float | None) -> str:
    """The number as tables show it; a dash where there is none."""
    if value is None:
        return "–"
    return format(value, measure.form).replace("%", " %").replace("-", "\N{MINUS SIGN}")


def interval(measure: Measure, found: Mapping[str, Any], form: str = "[{}, {}]") -> str:
    """Both ends, written into `form`, or nothing where no interval was measured."""
    if found.get("low") is None or found.get("high") is None:
        return ""
    low, high = written(measure, found["low"]), written(measure, found["high"])
    return form.format(low.removesuffix(" %"), high)


def best(report: Report, measure: Measure) -> str | None:
    """The name of the best column at equal L0 on the same model; none where no way is better."""
    loss = {HIGH: lambda v: -v, LOW: lambda v: v, ONE: lambda v: abs(v - 1)}.get(measure.better)
    values = {
        column.name: found["value"]
        for column in columns(report)
        if column.contest and (found := entry(report, column, measure))
    }
    if loss is None or len(values) < 2:
        return None
    return min(values, key=lambda name: loss(values[name]))


def best_control(report: Report, measure: Measure) -> tuple[Column, float] | None:
    """The strongest control at equal L0 on the same model, and its value (larger is better)."""
    found = [
        (column, float(number["value"]))
        for column in columns(report)[1:]
        if column.contest and (number := entry(report, column, measure))
    ]
    return max(found, key=lambda pair: pair[1], default=None)


def measure(name: str) -> Measure:
    """The measure whose key is `name`."""
    return next(one for one in MEASURES if one.name == name)
