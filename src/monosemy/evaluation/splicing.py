"""What the model loses when the reconstruction takes the activation's place.

Cross-entropies (CE) are in nats a predicted token; KL is ``KL(p_clean || p_edited)`` of the
distribution that predicts it, in nats. "Recovered" places a reconstruction between ablation (0) and
the clean model (1); zero ablation is the usual reference and the kinder one, mean ablation the
stricter.
"""

from __future__ import annotations

import numpy as np

from monosemy.evaluation.results import Metric
from monosemy.evaluation.sums import Totals, positive

# Nats a token: harm below it is the rounding error of float32 logits, not harm.
_ROUNDING = 1e-5
HARMLESS = "ablating the site does not hurt this model, so there is nothing to recover"


def ce_clean(t: Totals) -> np.ndarray:
    """Mean cross-entropy of the model as it is."""
    return t["ce_clean"] / positive(t["predicted"])


def ce_spliced(t: Totals) -> np.ndarray:
    """Mean cross-entropy with the reconstruction in the activation's place."""
    return t["ce_spliced"] / positive(t["predicted"])


def ce_zero(t: Totals) -> np.ndarray:
    """Mean cross-entropy with zero in the activation's place."""
    return t["ce_zero"] / positive(t["predicted"])


def ce_mean(t: Totals) -> np.ndarray:
    """Mean cross-entropy with the mean activation in the activation's place."""
    return t["ce_mean"] / positive(t["predicted"])


def ce_recovered_zero(t: Totals) -> np.ndarray:
    """``(CE_zero - CE_spliced) / (CE_zero - CE_clean)``."""
    return (t["ce_zero"] - t["ce_spliced"]) / _harm(t["ce_zero"] - t["ce_clean"], t)


def ce_recovered_mean(t: Totals) -> np.ndarray:
    """``(CE_mean - CE_spliced) / (CE_mean - CE_clean)``."""
    return (t["ce_mean"] - t["ce_spliced"]) / _harm(t["ce_mean"] - t["ce_clean"], t)


def kl_recovered_zero(t: Totals) -> np.ndarray:
    """``(KL_zero - KL_spliced) / KL_zero``."""
    return 1 - t["kl_spliced"] / _harm(t["kl_zero"], t)


def kl_recovered_mean(t: Totals) -> np.ndarray:
    """``(KL_mean - KL_spliced) / KL_mean``."""
    return 1 - t["kl_spliced"] / _harm(t["kl_mean"], t)


METRICS = {
    "ce_clean": Metric(ce_clean, "no token has a position before it"),
    "ce_spliced": Metric(ce_spliced, "no token has a position before it"),
    "ce_zero": Metric(ce_zero, "no token has a position before it"),
    "ce_mean": Metric(ce_mean, "no token has a position before it"),
    "ce_recovered_zero": Metric(ce_recovered_zero, HARMLESS),
    "ce_recovered_mean": Metric(ce_recovered_mean, HARMLESS),
    "kl_recovered_zero": Metric(kl_recovered_zero, HARMLESS),
    "kl_recovered_mean": Metric(kl_recovered_mean, HARMLESS),
}


def _harm(by_ablation: np.ndarray, t: Totals) -> np.ndarray:
    return positive(by_ablation, above=_ROUNDING * t["predicted"])
