"""What a measurement of absorption says: of each label, and of all that count."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from monosemy.evaluation.results import Estimate


@dataclass(frozen=True)
class Child:
    """A child of a label: how often its tokens are absorbed, and mostly by which latent."""

    name: str
    tokens: int
    absorption_fraction: float
    full_absorption: float
    absorber: int | None
    """The latent that most often absorbs it fully; `None` where none does."""


@dataclass(frozen=True)
class Label:
    """One parent label.

    Attributes
    ----------
    name : of the parent.
    probe_f1 : of the probe on activations, held out.
    tokens : held-out tokens of the label that the probe sees: what is looked at.
    latents : the split features, the strongest first.
    f1 : of probes on the first 1, 2, ... latents, held out.
    absorption_fraction, full_absorption : means over the tokens.
    children : the commonest first.
    """

    name: str
    probe_f1: float
    tokens: int
    latents: tuple[int, ...]
    f1: tuple[float, ...]
    absorption_fraction: Estimate
    full_absorption: Estimate
    children: tuple[Child, ...]

    @property
    def latents_f1(self) -> float:
        """F1 of the probe on the split features."""
        return self.f1[len(self.latents) - 1] if self.latents else 0.0


@dataclass(frozen=True)
class Absorption:
    """How much of a labelled hierarchy is absorbed, and how it is split.

    Attributes
    ----------
    hierarchy : its name.
    labels : those that count.
    left_out : the others, with the reason.
    estimates : means over labels. ``absorption_fraction`` and ``full_absorption``, over tokens and
        (``_by_child``) over children, so that rarer ones weigh as much as common ones: closer to the
        original, which has every word once; ``split_latents``, how many latents a label is split
        into; ``latents_f1``, what they see together; ``probe_f1``, what activations show. Lower
        absorption is better, where `latents_f1` is high: what no latent stands for, none absorbs.
    """

    hierarchy: str
    labels: tuple[Label, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    estimates: Mapping[str, Estimate] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON: ``{hierarchy, counted, left_out, metrics, labels}``."""
        return {
            "hierarchy": self.hierarchy,
            "counted": len(self.labels),
            "left_out": dict(self.left_out),
            "metrics": {name: one.to_json() for name, one in self.estimates.items()},
            "labels": [_label_json(label) for label in self.labels],
        }


def _label_json(label: Label) -> dict[str, Any]:
    return {
        "label": label.name,
        "probe_f1": label.probe_f1,
        "tokens": label.tokens,
        "latents": list(label.latents),
        "f1": list(label.f1),
        "absorption_fraction": label.absorption_fraction.to_json(),
        "full_absorption": label.full_absorption.to_json(),
        "children": [vars(child) for child in label.children],
    }
