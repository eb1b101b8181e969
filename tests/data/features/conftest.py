"""A law with every rule in it, small enough to work out by hand, and how far counts may be off."""

from collections.abc import Callable

import pytest
import torch

from monosemy.data.features.law import Law, Rule
from monosemy.tensors.codes import SparseCode


def _small_law(**changes) -> Law:
    """Fifteen features and three gates.

    0: a root whose children 1 and 2 contest; 3: a child of 1, alone; gate 15 chooses among 4 and 5;
    6: a root by itself; gate 16 has a circle, 7 and 8; 9: a feature with a curve, 10, 11 and 12; gate
    17 chooses 13 or, less often, 14.
    """
    parents = [-1, 0, 0, 1, 15, 15, -1, 16, 16, -1, 9, 9, 9, 17, 17, -1, -1, -1]
    chance = [0.5, 0.8, 0.6, 0.5, 0.2, 0.7, 0.01, 1, 1, 0.3, 1, 1, 1, 0.9, 0.1, 0.4, 0.25, 1.0]
    rules = {0: Rule.CONTEST, 9: Rule.CURVE, 15: Rule.CHOICE, 16: Rule.CIRCLE, 17: Rule.CHOICE}
    mean = [2.0, 1.0, 1.0, 3.0, 1.0, 1.0, 1.0, 0, 0, 1.5, 0, 0, 0, 1.0, 1.0, 1.0, 2.0, 1.0]
    spread = [0.5, 1.0, 0, 0.1, 0.2, 0.2, 0.3, 0, 0, 0.5, 0, 0, 0, 0.1, 0.1, 0, 0.5, 0]
    gain = [0, 0.5, 0.5, 0, 0, 0, 0, 1.0, 1.0, 0, 0.6, 0.6, 0.6, 0, 0, 0, 0, 0]
    columns = {
        "features": 15,
        "parents": torch.tensor(parents),
        "chance": torch.tensor(chance, dtype=torch.float64),
        "rules": torch.tensor([int(rules.get(node, Rule.ALONE)) for node in range(18)]),
        "mean": torch.tensor(mean),
        "spread": torch.tensor(spread),
        "gain": torch.tensor(gain, dtype=torch.float32),
        "factor": torch.zeros(18, 0),
    }
    return Law(**(columns | changes))


@pytest.fixture
def make_law() -> Callable[..., Law]:
    """The law above, with changes."""
    return _small_law


@pytest.fixture
def law() -> Law:
    return _small_law()


@pytest.fixture
def correlated() -> Law:
    """The same with nodes that have four numbers in common (five, padded, where it is compiled)."""
    draw = torch.Generator().manual_seed(0)
    factor = 0.35 * torch.randn(18, 4, generator=draw)
    factor[3] *= 2  # as large as it can be, nearly
    return _small_law(factor=factor / (factor.norm(dim=1, keepdim=True) / 0.98).clamp(min=1))


@pytest.fixture(scope="session")
def deviations() -> Callable[[SparseCode, torch.Tensor], torch.Tensor]:
    """How many standard errors each feature's count is from what its rate predicts."""

    def of(code: SparseCode, rates: torch.Tensor) -> torch.Tensor:
        counts = torch.bincount(code.indices, minlength=code.latents).double()
        expected = rates[: code.latents].double() * code.tokens
        error = (expected * (1 - rates[: code.latents].double())).sqrt()
        return (counts - expected) / error.clamp(min=1e-9)

    return of
