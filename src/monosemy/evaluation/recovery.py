"""The main road where the truth is known: a dictionary and samples -> which features it found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from monosemy.data.features.truth import Features, Samples
from monosemy.dictionaries.base import Dictionary
from monosemy.evaluation import detection, kinship, reconstruction
from monosemy.evaluation.firing import dead_fraction
from monosemy.evaluation.readers import DictionaryReader, Reader
from monosemy.evaluation.results import Estimate, Metric, estimate
from monosemy.evaluation.sums import PieceSums, Sums, Totals
from monosemy.foundation.errors import UserError, refuse
from monosemy.tensors.axes import Activations, Float, Int, Tensor
from monosemy.tensors.codes import SparseCode
from monosemy.tensors.compute import Compute
from monosemy.tensors.firings import Firings, firing, pattern_counts
from monosemy.tensors.matching import Cosines, Matching, match

# Samples of the smallest block, and how many blocks an interval is made of at most.
_PIECE, _BLOCKS = 500, 100
OF_WEIGHTS = "of the weights alone, so it has no interval over samples"
NOT_WRITTEN = "nothing is reconstructed"


@dataclass(frozen=True, eq=False)
class Recovery:
    """Which features of a world a dictionary found.

    Every number that is made of samples has a 95 % bootstrap interval over blocks of samples, the
    pairing of latents and features held as it is on all of them.

    Attributes
    ----------
    estimates : by metric. Of directions: ``mcc`` (mean ``|cos|`` of the one-to-one matching of
        latents and features with the largest sum), ``uniqueness`` (features that are nearest to
        some latent, over latents), ``hedging``. By direction: ``f1``, ``precision``, ``recall``,
        ``accuracy``, means over latents. By one-to-one assignment on activations: ``assigned_f1``
        over pairs; ``parent_f1``, ``child_f1``, ``level_n_f1`` over features, those without a
        latent counting 0. ``silent_parent_rate``, ``absorption``, ``parent_miss_rate``: see
        `kinship`. ``fvu``, ``l0``, ``true_l0``, ``dead_fraction``, ``l2_ratio``.
    assignment : latents and features, one to one, with their F1.
    nearest : the feature nearest to each latent's direction.
    feature_f1 : of each feature with the latent assigned to it.
    tokens : how many samples.
    """

    estimates: dict[str, Estimate]
    assignment: Matching
    nearest: Int[Tensor, "latent"]
    feature_f1: Float[Tensor, "feature"]
    tokens: int

    def value(self, name: str) -> float | None:
        """The number called `name`; `None` where it is not defined."""
        return self.estimates[name].value

    def to_json(self) -> dict[str, dict[str, Any]]:
        """Metric to ``{value, low, high}``, and ``note`` where there is one."""
        return {name: one.to_json() for name, one in self.estimates.items()}


def recovery(
    dictionary: Dictionary | Reader,
    samples: Samples | Iterable[Samples],
    features: Features,
    compute: Compute | None = None,
) -> Recovery:
    """Measure which of the `features` a dictionary found, on `samples` of their world.

    Samples are read once, piece by piece. Kept are which latents and features fired on each (four
    bytes an entry, twice), never a table of samples by features.

    Parameters
    ----------
    dictionary : or any `Reader`: an oracle, a probe.
    samples : all at once, or one piece after another.
    compute : the seed of the bootstrap.

    Errors
    ------
    `UserError` where widths or the number of features disagree, and for no samples.
    """
    reader = DictionaryReader(dictionary) if isinstance(dictionary, Dictionary) else dictionary
    tally = RecoveryTally(reader, features)
    for piece in [samples] if isinstance(samples, Samples) else samples:
        tally.add(piece)
    return tally.recovery(compute or Compute())


class RecoveryTally:
    """Gathers firings and sums of samples; `recovery` turns them into results."""

    def __init__(self, reader: Reader, features: Features):
        self.reader, self.features = reader, features
        self._codes: list[SparseCode] = []
        self._truths: list[SparseCode] = []
        self._fit = PieceSums(_PIECE)

    def add(self, samples: Samples) -> None:
        """Count in some samples."""
        refuse(_unfit(self.reader, samples, self.features), "these samples")
        code, written = self.reader.read(samples)
        self._writes = written is not None
        # A coordinate along a manifold is active below zero too.
        self._codes.append(_support(code))
        self._truths.append(_support(samples.truth))
        self._fit.add(_fit_terms(samples.x, written))

    def recovery(self, compute: Compute) -> Recovery:
        """What was gathered, as a result."""
        if not any(code.tokens for code in self._codes):
            raise UserError("no sample was measured; wanted at least 1")
        latents, features = Firings.of(self._codes), Firings.of(self._truths)
        directions = self.reader.directions.float().cpu()
        truth = self.features.directions.float().cpu()
        f1_table = detection.F1Table(latents, features)
        nearest = detection.nearest(Cosines(directions, truth), f1_table)
        assignment = match(f1_table)
        ever = assignment.scores > 0
        owned = Matching(assignment.rows[ever], assignment.columns[ever], assignment.scores[ever])
        latent_of = owned.of_columns(features.columns)
        held = nearest if self.reader.told is None else self.reader.told
        size = _block_size(latents.tokens)
        sums = self._sums(latents, features, held, latent_of, size)
        estimates = estimate(sums, self._metrics(assignment), _seed(compute))
        estimates["dead_fraction"] = dead_fraction(sums["fires"] > 0)
        estimates |= self._of_weights(directions, truth, nearest, latent_of)
        found = torch.zeros(features.columns, dtype=torch.float64)
        found[assignment.columns] = assignment.scores
        return Recovery(estimates, assignment, nearest, found, latents.tokens)

    def _sums(
        self, latents: Firings, features: Firings, held: Int[Tensor, "latent"],
        latent_of: Int[Tensor, "feature"], size: int,
    ) -> Sums:  # fmt: skip
        every = torch.arange(features.columns)
        near = pattern_counts([(latents, torch.arange(latents.columns)), (features, held)], size)
        own = pattern_counts([(latents, latent_of), (features, every)], size)
        counted = {
            "tp": firing(near, 0, 1), "fires": firing(near, 0), "on": firing(near, 1),
            "hit": firing(own, 0, 1), "fired": firing(own, 0), "true": firing(own, 1),
        }  # fmt: skip
        found = {name: values.numpy() for name, values in counted.items()}
        found |= kinship.sums(latents, features, latent_of, self.features.parents, size)
        found |= self._fit.by_block(size)
        found["active"] = _by_block(latents.offsets.diff().double(), size)
        found["truly_active"] = _by_block(features.offsets.diff().double(), size)
        return found

    def _metrics(self, assignment: Matching) -> dict[str, Metric]:
        levels, parents = self.features.levels.cpu(), self.features.parents.cpu()
        metrics = {
            **detection.BY_DIRECTION,
            "assigned_f1": detection.mean_over_pairs(len(assignment.rows)),
            **detection.by_level(levels, parents),
            **kinship.METRICS,
            "l0": Metric(reconstruction.l0),
            "true_l0": Metric(lambda t: t["truly_active"] / t["tokens"]),
        }
        fit = {"fvu": Metric(_fvu, "activations do not vary"),
               "l2_ratio": reconstruction.METRICS["l2_ratio"]}  # fmt: skip
        return metrics | (fit if self._writes else {})

    def _of_weights(
        self, directions: Float[Tensor, "latent width"], truth: Float[Tensor, "feature width"],
        nearest: Int[Tensor, "latent"], latent_of: Int[Tensor, "feature"],
    ) -> dict[str, Estimate]:  # fmt: skip
        hedged = kinship.hedging(directions, truth, latent_of, self.features.parents.cpu())
        found = {
            "mcc": Estimate(
                float(match(Cosines(directions, truth)).scores.mean()), note=OF_WEIGHTS
            ),
            "uniqueness": Estimate(len(nearest.unique()) / len(nearest), note=OF_WEIGHTS),
            "hedging": Estimate(float(hedged.mean()), note=OF_WEIGHTS)
            if len(hedged)
            else Estimate(None, note="no feature with relatives has a latent"),
        }
        if not self._writes:
            found |= {name: Estimate(None, note=NOT_WRITTEN) for name in ("fvu", "l2_ratio")}
        return found


def _fvu(t: Totals) -> np.ndarray:
    """Fraction of variance unexplained: ``Σ|x - x̂|² / Σ|x - mean|²``."""
    return 1 - reconstruction.explained_variance(t)


def _fit_terms(x: Activations, written: Activations | None) -> dict[str, Tensor]:
    terms = reconstruction.spread_terms(x)
    if written is None:
        return terms
    length, size = written.norm(dim=1), x.norm(dim=1)
    return terms | {
        "squared_error": (x - written).square().sum(1),
        "nonzero": (size > 0).float(),
        "l2_ratio": torch.where(size > 0, length / size, 0.0),
    }


def _support(code: SparseCode) -> SparseCode:
    """What fires, in as little memory as it takes."""
    kept = code.detach().keep(code.values != 0)
    one = torch.ones(1, device=kept.values.device).expand(len(kept.indices))
    return SparseCode(kept.offsets, kept.indices.int(), one, kept.latents).to("cpu")


def _block_size(tokens: int) -> int:
    """Tokens of a block: whole pieces, so many that there are at most a hundred blocks."""
    return _PIECE * max(1, -(-tokens // (_PIECE * _BLOCKS)))


def _by_block(values: Tensor, size: int) -> np.ndarray:
    """Sums of each `size` tokens, in float64."""
    return torch.stack([part.double().sum(0) for part in values.split(size)]).numpy()


def _seed(compute: Compute) -> int:
    return compute.generator("bootstrap").initial_seed()


def _unfit(reader: Reader, samples: Samples, features: Features) -> list[str]:
    reasons, width = [], reader.directions.shape[1]
    if samples.x.shape[1] != width:
        reasons.append(
            f"samples have {samples.x.shape[1]:,} numbers, the dictionary {width:,}; "
            "measure it on the world that it was trained on"
        )
    if samples.truth.latents != features.count or samples.x.shape[1] != features.width:
        reasons.append(
            f"samples are of {samples.truth.latents:,} features in {samples.x.shape[1]:,} "
            f"dimensions, {features.name} has {features.count:,} in {features.width:,}"
        )
    return reasons
