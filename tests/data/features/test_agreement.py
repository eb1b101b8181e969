"""Our worlds beside SAELens' synthetic models: same parameters, distribution by distribution.

``tests/reference/saelens_synthetic/record.py`` recorded a small model with every piece on (hierarchy,
exclusive siblings, compensated chances, scaled children, copula, folded normal spreads, orthogonalised
directions, bias), what it drew, and how SynthSAEBench-16k fires. Every comparison is between two
random samples, so each has a false-alarm level, 1e-3 over all its numbers (Bonferroni), and laws with
one thing wrong that it must tell apart.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from scipy import stats

from monosemy.data.features import compiled, plain
from monosemy.data.features.building import described
from monosemy.data.features.compensation import first_order_chances
from monosemy.data.features.directions import orthogonalised
from monosemy.data.features.frequencies import forest_parents, zipf_rates
from monosemy.data.features.law import Law, Rule
from monosemy.data.features.rates import rates
from monosemy.data.features.world import World
from monosemy.tensors.codes import SparseCode

RECORDED = Path(__file__).parents[2] / "reference" / "saelens_synthetic"
FALSE_ALARM = 1e-3
COUNT = 200_000


@pytest.fixture(scope="module")
def theirs() -> dict[str, torch.Tensor]:
    return load_file(RECORDED / "small.safetensors")


@pytest.fixture(scope="module")
def law(theirs) -> Law:
    """The law of the model that was recorded."""
    parents, mean = theirs["parents"].long(), theirs["mean"]
    return Law(
        features=len(parents),
        parents=parents,
        chance=theirs["chance"].double(),
        rules=torch.full_like(parents, int(Rule.CONTEST)),
        mean=mean,
        spread=theirs["spread"],
        gain=torch.where(parents >= 0, 1 / mean[parents.clamp(min=0)], 0.0),
        factor=theirs["factor"],
    )


@pytest.fixture(scope="module")
def wrong(law) -> dict[str, Law]:
    """The same with one thing wrong each."""
    flat = torch.zeros_like(law.factor)
    return {
        "chance": replace(law, chance=0.95 * law.chance),
        "factor": replace(law, factor=flat),
        "contest": replace(law, rules=torch.zeros_like(law.rules)),
        "gain": replace(law, gain=0 * law.gain),
        "spread": replace(law, spread=1.3 * law.spread),
        "mean": replace(law, mean=law.mean + 0.1),
    }


@pytest.fixture(scope="module", params=[compiled, plain], ids=["compiled", "plain"])
def drawn(request) -> Callable[[Law], SparseCode]:
    @cache
    def of(law: Law) -> SparseCode:
        return request.param.draw(law, COUNT, torch.Generator().manual_seed(0))

    return of


def truth_of(theirs) -> SparseCode:
    rows = theirs["truth_rows"].long()
    counts = torch.bincount(rows, minlength=4000)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return SparseCode(offsets, theirs["truth_indices"].long(), theirs["truth_values"], 60)


def together(code: SparseCode) -> torch.Tensor:
    """On how many samples each pair of features is active; on the diagonal, each by itself."""
    on = (code.dense() > 0).float()
    return (on.T @ on).double()


def least_p(ours: torch.Tensor, theirs: torch.Tensor, n: int, m: int) -> float:
    """The smallest p-value of two-sample tests of proportions, times their number."""
    share = (ours + theirs) / (n + m)
    used = share * min(n, m) > 10
    error = (share * (1 - share) * (1 / n + 1 / m)).sqrt()
    z = ((ours / n - theirs / m) / error)[used].abs()
    return float(2 * stats.norm.sf(float(z.max())) * len(z))


def test_construction_is_theirs(theirs):
    """What follows from the configuration alone, without a random draw."""
    parents = forest_parents(60, roots=4, branching=3, depth=2)
    assert torch.equal(parents, theirs["parents"].long())
    wanted = zipf_rates(60, 0.5, 0.4, 0.02)
    chance = first_order_chances(wanted, parents, exclusive=True)
    torch.testing.assert_close(chance.float(), theirs["chance"], rtol=1e-6, atol=0)
    torch.testing.assert_close(torch.linspace(5, 4, 60), theirs["mean"])
    found = orthogonalised(theirs["begun"], 20, 3e-3)
    torch.testing.assert_close(found, theirs["directions"], rtol=1e-4, atol=1e-5)


def test_activations_follow_from_the_truth_as_theirs_do(theirs, law):
    directions = theirs["directions"]
    features = described("theirs", law, directions, torch.full((60,), -1))
    world = World(features, law, theirs["bias"])
    truth = truth_of(theirs)[:200]
    torch.testing.assert_close(world._written(truth, torch.Generator()), theirs["x"])


def test_features_are_active_as_often_alone_and_in_pairs(theirs, law, wrong, drawn):
    """Marginal rates, parent and child, siblings, and every other pair."""
    counts, many = theirs["active_together"].double(), int(theirs["samples"])

    def p(of: Law) -> float:
        return least_p(together(drawn(of)), counts, COUNT, many)

    assert p(law) > FALSE_ALARM
    for name in ("chance", "factor", "contest"):
        assert p(wrong[name]) < FALSE_ALARM, name


def test_rates_are_those_that_theirs_were_measured_to_have(theirs, law, wrong):
    """No sampling on our side: the analytic rates against their counts."""
    counts, many = theirs["active_together"].diagonal().double(), int(theirs["samples"])

    def p(of: Law) -> float:
        found = rates(of)
        z = (counts - found * many) / (found * (1 - found) * many).sqrt()
        return float(2 * stats.norm.sf(float(z.abs().max())) * 60)

    assert p(law) > FALSE_ALARM
    for name in ("chance", "factor", "contest"):
        assert p(wrong[name]) < FALSE_ALARM, name


def test_as_many_features_are_active_at_once(theirs, law, wrong, drawn):
    counts = theirs["l0_counts"].double()

    def p(of: Law) -> float:
        ours = torch.bincount(drawn(of).counts, minlength=61).double()
        table = torch.stack([ours, counts])
        kept = table.sum(0) > 50
        return float(stats.chi2_contingency(table[:, kept].numpy()).pvalue)

    assert p(law) > FALSE_ALARM
    for name in ("chance", "factor", "contest"):
        assert p(wrong[name]) < FALSE_ALARM, name


def test_activations_have_the_same_distribution_feature_by_feature(theirs, law, wrong, drawn):
    """Kolmogorov and Smirnov, for each feature that was recorded a hundred times."""
    recorded = truth_of(theirs)

    def p(of: Law) -> float:
        ours, found = drawn(of), []
        for feature in range(60):
            a = ours.values[ours.indices == feature].numpy()
            b = recorded.values[recorded.indices == feature].numpy()
            if len(b) >= 100:
                found.append(stats.ks_2samp(a, b, method="asymp").pvalue)
        assert len(found) >= 35
        return min(found) * len(found)

    assert p(law) > FALSE_ALARM
    for name in ("gain", "spread", "mean"):
        assert p(wrong[name]) < FALSE_ALARM, name


def test_mean_and_covariance_of_activations_agree(theirs, law, wrong, drawn):
    """First and second moments of x, in standard errors of the difference."""
    many, fewer = int(theirs["samples"]), COUNT // 4

    def p(of: Law) -> float:
        x = drawn(of)[:fewer].dense() @ theirs["directions"] + theirs["bias"]
        products = torch.cat([x, (x[:, :, None] * x[:, None]).flatten(1)], 1).double()
        recorded = torch.cat([theirs["x_moments"][:, 0], theirs["x_moments"][:, 1:].flatten()])
        error = products.std(0) * (1 / fewer + 1 / many) ** 0.5
        z = (products.mean(0) - recorded / many) / error
        return float(2 * stats.norm.sf(float(z.abs().max())) * len(z))

    assert p(law) > FALSE_ALARM
    for name in ("chance", "contest", "mean"):
        assert p(wrong[name]) < FALSE_ALARM, name


# --- the published size -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full() -> dict[str, torch.Tensor]:
    return load_file(RECORDED / "full.safetensors")


@pytest.fixture(scope="module")
def published(full) -> Law:
    """SynthSAEBench-16k from its configuration, spreads and loadings from the seeds it has."""
    parents = forest_parents(16_384, 128, 4, 3)
    wanted = zipf_rates(16_384, 0.5, 0.4, 5e-4)
    mean = torch.linspace(5, 4, 16_384)
    spread = torch.randn(16_384, generator=torch.Generator().manual_seed(43)) * 0.5 + 0.5
    factor = 0.1 * torch.randn(16_384, 25, generator=torch.Generator().manual_seed(46))
    return Law(
        features=16_384,
        parents=parents,
        chance=first_order_chances(wanted, parents, exclusive=True),
        rules=torch.full((16_384,), int(Rule.CONTEST)),
        mean=mean,
        spread=spread.abs(),
        gain=torch.where(parents >= 0, 1 / mean[parents.clamp(min=0)], 0.0),
        factor=factor,
    )


def test_tables_of_the_published_configuration_agree(full, published):
    # Theirs are sums and quotients in float32; those at the limit of 1 are exact.
    torch.testing.assert_close(published.chance.float(), full["chance"], rtol=2e-5, atol=0)
    assert torch.equal(published.parents[::16], full["parents_every_16th"].long())
    torch.testing.assert_close(published.mean[::16], full["mean_every_16th"])
    torch.testing.assert_close(published.spread[::16], full["spread_every_16th"])
    torch.testing.assert_close(published.factor[::1024], full["factor_every_1024th"])


@pytest.mark.slow
def test_the_published_configuration_fires_as_it_does_there(full, published):
    many = int(full["samples"])
    counts = full["active"].double()
    found = rates(published)
    often = found * many > 30
    z = ((counts - found * many) / (found * (1 - found) * many).sqrt())[often]
    assert 2 * stats.norm.sf(float(z.abs().max())) * len(z) > FALSE_ALARM
    assert z.std() == pytest.approx(1, abs=0.05)
    l0 = torch.arange(257.0).double()
    mean = float((full["l0_counts"] * l0).sum() / many)
    error = float(((full["l0_counts"] * (l0 - mean) ** 2).sum()) ** 0.5) / many
    assert abs(float(found.sum()) - mean) < 4 * error
    alone = rates(replace(published, rules=torch.zeros_like(published.rules)))
    assert abs(float(alone.sum()) - mean) > 4 * error
