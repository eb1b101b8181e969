"""What decides a measurement of absorption; the defaults are SAEBench's."""

from __future__ import annotations

from dataclasses import dataclass

from monosemy.foundation.errors import refuse


@dataclass(frozen=True)
class AbsorptionConfig:
    """Thresholds of Chanin et al. 2024 (arXiv:2409.14507) as coded in SAEBench."""

    probe_f1: float = 0.6
    """A label counts where its probe on activations has a larger F1 than this."""
    l1: float = 0.01
    """Weight of the L1 penalty by which latents are ranked, on activations of typical size one a
    number, so that it means the same at every site."""
    most_splits: int = 10
    """Latents that a label may be split into, at most."""
    f1_jump: float = 0.03
    """A further latent is part of a label where it raises F1 by more than this."""
    absorber_cosine: float = 0.1
    """Least cosine with the probe of a latent that absorbs a part (fraction)."""
    absorbers: int = 3
    """How many latents may absorb together (fraction)."""
    full_cosine: float = 0.025
    """Least cosine with the probe of a latent that absorbs alone (full absorption)."""
    share: float = 0.4
    """Least part of the activation's projection that absorbers must hold."""
    silent: float = 1e-8
    """A latent below this is silent."""
    centred: bool = False
    """Measure projections from what is decoded when no latent is active rather than from zero; see
    `projections.absorbed`. Not SAEBench's."""
    examples: int = 10
    """Tokens of a label that both halves must have, in at least two documents of the held-out one;
    and of a child that means over children are to count."""

    def __post_init__(self) -> None:
        shares = ("probe_f1", "f1_jump", "absorber_cosine", "full_cosine", "share")
        reasons = [
            f"{name} = {getattr(self, name)}; wanted 0 to 1"
            for name in shares
            if not 0 <= getattr(self, name) <= 1
        ]
        reasons += [
            f"{name} = {getattr(self, name)}; wanted at least 1"
            for name in ("most_splits", "absorbers", "examples")
            if getattr(self, name) < 1
        ]
        if not self.l1 > 0:
            reasons.append(f"l1 = {self.l1}; wanted more than 0")
        refuse(reasons, "this measurement of absorption")
