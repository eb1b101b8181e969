"""What a dictionary is asked for beside a good reconstruction, and what goes together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

from monosemy.dictionaries.base import Dictionary
from monosemy.dictionaries.penalties import L0_FORMS, QUADRATIC, TANH
from monosemy.dictionaries.selection import Selection
from monosemy.foundation.errors import nearest, refuse
from monosemy.training.nesting import NUMBER, ORDERS
from monosemy.training.resampling import resamples
from monosemy.training.sparsity import single_selections

UNIT, FREE = "unit", "free"
DECODERS = (UNIT, FREE)


@dataclass(frozen=True)
class ObjectiveConfig:
    """What a dictionary is asked for beside a good reconstruction."""

    l1: float = 0.0
    """Weight of the sparsity penalty (ReLU dictionaries need one)."""
    l0: float = 0.0
    """Weight of the mean number of active latents (JumpReLU dictionaries need one)."""
    l0_form: str = "step"
    """How active latents are counted: ``step`` (exactly; JumpReLU lends it a gradient), ``tanh``
    (softly, any selection), or ``quadratic`` (the step's squared distance from `target_l0`)."""
    tanh_slope: float = 4.0
    """How steeply ``tanh`` counts: an activation well above its inverse counts as one."""
    target_l0: float | None = None
    """Active latents a token to end with: a controller steers the weight of the penalty there
    (under ``quadratic`` the penalty itself pulls); `None` leaves weights as they are."""
    warmup: int = 0
    """Steps over which either penalty climbs linearly to its weight."""
    decoder: str = "unit"
    """``unit``: decoder rows have length one while learning; ``free``: they have the length that
    they learn, which the penalties count in."""
    prefixes: tuple[float, ...] = ()
    """Shares of the latents that must reconstruct without the rest (Matryoshka); none for none."""
    prefixes_sampled: int = 0
    """Instead, this many prefixes drawn anew at each step, the whole dictionary among them."""
    prefixes_by: str = "number"
    """The order that prefixes are taken from: ``number``, or ``frequency`` (latents that fire most
    often first; the finished dictionary is put in that order)."""
    prefixes_detached: bool = False
    """Whether a prefix short of the whole teaches only the latents that it adds to the one before."""
    tilt: float = 0.0
    """How much more tokens with a large error count: by ``exp(tilt · error / mean error)``."""
    k_start: int | None = None
    """Active latents a token at the first step, where the selection has a k; `None` starts at k."""
    k_fall: float = 0.5
    """Share of all steps over which `k_start` falls linearly to k."""
    aux: float = 1 / 32
    """Weight of AuxK, by which dead latents learn from the residual; 0 turns it off."""
    aux_k: int | None = None
    """Dead latents a token may use in AuxK; `None` takes half the width."""
    dead_after: int = 200_000
    """A latent that was silent for this many tokens counts as dead."""
    resample_every: int = 0
    """Steps between occasions at which dead latents begin anew where the error is large; 0 for
    never."""
    resample_until: float = 0.5
    """Share of all steps after which none begins anew."""

    def __post_init__(self) -> None:
        refuse(
            [*_range_reasons(self), *_prefix_reasons(self), *_penalty_reasons(self)],
            "the objective's configuration",
        )

    @property
    def nested(self) -> bool:
        """Whether prefixes are to reconstruct."""
        return bool(self.prefixes or self.prefixes_sampled)

    def refuse_for(self, selection: Selection) -> list[str]:
        """Reasons why a dictionary with this selection cannot be asked for this."""
        kind, reasons = selection.kind, list[str]()
        counts = all(one.counts for one in single_selections(selection))
        if self.target_l0 is not None and selection.k:
            reasons.append(
                f"target_l0 = {self.target_l0:g}, but {kind} keeps k = {selection.k} active "
                "latents; set k, or choose relu or jumprelu"
            )
        if (self.l0 or self.l0_form == QUADRATIC) and self.l0_form != TANH and not counts:
            reasons.append(
                f"l0 = {self.l0:g} has no gradient: {kind} lends a count none; wanted jumprelu, "
                "or l0_form = tanh, or l1 instead"
            )
        return reasons


def _range_reasons(config: ObjectiveConfig) -> list[str]:
    least = {"l1": 0, "l0": 0, "warmup": 0, "prefixes_sampled": 0, "k_start": 1, "k_fall": 0,
             "aux": 0, "aux_k": 1, "dead_after": 1, "resample_every": 0,
             "resample_until": 0, "tilt": 0}  # fmt: skip
    given = {name: getattr(config, name) for name in least}
    reasons = [
        f"{name} = {given[name]}; wanted at least {lowest}"
        for name, lowest in least.items()
        if given[name] is not None and not lowest <= given[name] < math.inf
    ]
    for name in ("tanh_slope", "target_l0"):
        value = getattr(config, name)
        if value is not None and not 0 < value < math.inf:
            reasons.append(f"{name} = {value}; wanted more than 0")
    for name, known in (
        ("l0_form", L0_FORMS), ("decoder", DECODERS), ("prefixes_by", ORDERS),
    ):  # fmt: skip
        value = getattr(config, name)
        if value not in known:
            hint = nearest(value, known)
            reasons.append(f"{name} = {value!r}; known: {', '.join(known)}{hint}")
    return reasons


def _prefix_reasons(config: ObjectiveConfig) -> list[str]:
    reasons, ends = [], (0.0, *config.prefixes)
    rising = all(a < b for a, b in pairwise(ends))
    if config.prefixes and not (rising and config.prefixes[-1] == 1):
        reasons.append(f"prefixes = {config.prefixes}; wanted rising shares, the last of them 1")
    if config.prefixes_sampled == 1:
        reasons.append("prefixes_sampled = 1 is the whole dictionary alone; wanted 0, or 2 or more")
    if config.prefixes and config.prefixes_sampled:
        reasons.append("prefixes are fixed or sampled; give prefixes or prefixes_sampled, not both")
    if not config.nested and (config.prefixes_by != NUMBER or config.prefixes_detached):
        reasons.append(
            "prefixes_by and prefixes_detached say how prefixes are learned, and there are none; "
            "give prefixes or prefixes_sampled, or leave both out"
        )
    return reasons


def _penalty_reasons(config: ObjectiveConfig) -> list[str]:
    reasons, steered = [], config.target_l0 is not None
    if config.l0_form == QUADRATIC and not (steered and config.l0 > 0):
        reasons.append(
            "l0_form = quadratic pulls L0 to a target: give it target_l0 and a weight l0"
        )
    if config.l0_form == TANH and not config.l0 and (config.l1 or not steered):
        reasons.append("l0_form = tanh has no weight; give it l0 or target_l0")
    if steered and config.l1 and config.l0 and config.l0_form != QUADRATIC:
        reasons.append("target_l0 steers one penalty; give a weight to l1 or to l0, not both")
    return reasons


def misfits(dictionary: Dictionary, config: ObjectiveConfig, steps: int) -> list[str]:
    """Why `dictionary` cannot be asked for this."""
    name, reasons = type(dictionary).__name__, config.refuse_for(dictionary.selection)
    if config.nested and not dictionary.nests:
        reasons.append(f"prefixes of a {name} are not defined; train it without")
    if config.resample_every and not resamples(dictionary):
        reasons.append(
            f"resample_every = {config.resample_every}: a {name} has no encoder and decoder row of "
            "its own for each latent; leave it 0, and dead latents to aux"
        )
    if config.decoder == FREE and not any(not unit for _, unit in dictionary.row_matrices()):
        reasons.append(f"decoder = free: a {name} encodes with its decoder; wanted unit")
    for option in ("target_l0", "resample_every"):
        if getattr(config, option) and steps < 1:
            reasons.append(f"{option} works by shares of the run; its steps are {steps}")
    return reasons
