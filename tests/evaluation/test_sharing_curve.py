"""Knees, S90 and verdicts of curves whose shape is known."""

import torch

from monosemy.evaluation.sharing_curve import (
    Curve,
    Findings,
    bend,
    charts_for_most,
    heights,
    verdict,
)

PARENTS, PLANTED = 40, 5


def curve(sums, total=2.0):
    """A curve whose energy is spread evenly over parents."""
    sums = torch.tensor(sums)
    return Curve(sums[:, None].expand(-1, len(sums)) / len(sums), total)


def saturating(at, parents=PARENTS):
    """Rises evenly to one at `at` charts, and stays."""
    return curve([min(s / at, 1.0) for s in range(1, parents + 1)])


def found(own, null=PARENTS):
    return Findings(own, [saturating(null, own.parents) for _ in range(5)])


def test_the_knee_is_where_the_curve_saturates():
    findings = found(saturating(PLANTED))
    knee = findings.knee()
    assert (knee.value, knee.low, knee.high) == (PLANTED, PLANTED, PLANTED)
    assert findings.s90().value == PLANTED
    assert findings.height > 0.8


def test_a_straight_curve_has_no_knee_and_says_how_high_it_is():
    findings = found(saturating(PARENTS))
    assert findings.knee().value is None
    assert findings.knee().note == "no knee: 0.00 above the chord; wanted more than 0.70"
    assert findings.s90().value == 36


def test_a_bend_that_the_null_has_too_is_no_knee():
    own = saturating(PLANTED)
    assert found(own, null=PARENTS).knee().value == PLANTED
    assert found(own, null=3).knee().value is None, "the null bends higher"


def test_of_equal_heights_the_fewest_charts():
    # On a plateau that wavers upwards, the highest point is not where it begins.
    sums = torch.tensor([0.0, 0.5, 1.0, 1.0, 1.055, 1.06, 1.0, 1.0, 1.0, 1.0, 1.0])
    above = heights(sums)
    assert int(above.argmax()) + 1 == 3
    wavering = torch.cat([sums[:3], torch.linspace(1.0, 1.2, 8)])
    assert int(bend(wavering)[0]) == 3


def test_a_curve_that_falls_again_is_as_high_as_its_highest_point():
    sums = torch.tensor([0.0, 1.0, 1.3, 1.2, 1.1, 1.0])
    assert bool((heights(sums).diff() >= -0.2 - 1e-6).all())
    assert int(charts_for_most(sums)) == 3  # 90 % of 1.3 is 1.17
    assert int(charts_for_most(torch.tensor([0.95, 1.0, 1.0]))) == 1


def test_many_curves_at_once_are_each_alone():
    one, two = torch.rand(2, 7, generator=torch.Generator().manual_seed(0)).cumsum(1)
    both = torch.stack([one, two])
    assert bend(both)[0].tolist() == [int(bend(one)[0]), int(bend(two)[0])]
    assert charts_for_most(both).tolist() == [int(charts_for_most(one)), int(charts_for_most(two))]


def test_intervals_come_from_parents_drawn_again():
    energies = torch.zeros(4, 4)
    energies[1:, 0], energies[3:] = 8.0, torch.tensor([8.0, 1.0, 1.0, 1.0])
    drawn = Curve(energies, 11.0).resampled(0)
    assert drawn.shape == (2000, 4)
    torch.testing.assert_close(drawn.mean(0), energies.double().sum(1), atol=0.5, rtol=0)
    # A resample without the first parent has no energy at two charts.
    assert abs(float((drawn[:, 1] == 0).float().mean()) - 0.75**4) < 0.04
    assert torch.equal(drawn, Curve(energies, 11.0).resampled(0))


def test_where_nothing_is_captured_there_is_nothing_to_share():
    findings = found(curve([0.0] * PARENTS))
    assert not findings.clear
    assert findings.knee().note == "what parents leave over hardly depends on the parent"
    said = verdict(findings, {})
    assert said["used"] is False
    assert said["words"].startswith("nothing to share")
    assert findings.to_json()["curve"] is None


def test_a_verdict_asks_for_half_of_every_null():
    shared, straight = found(saturating(4)), found(saturating(PARENTS))
    name = "a random model"
    used = verdict(shared, {name: straight})
    assert used["used"] is True
    assert used["words"] == (
        "local superposition is used: 90 % of the energy takes 10.0% as many charts as parents "
        "(independently turned covariances 90.0%; a random model 90.0%), at most half of every null's"
    )
    also = verdict(shared, {name: found(saturating(6))})
    assert also["used"] is False, "a random model shares nearly as much"
    assert "more than half of what a random model take" in also["words"]
    assert verdict(straight, {name: straight})["used"] is False
    without = verdict(shared, {name: None})
    assert without["used"] is True
    assert without["words"].endswith("; without a random model, which there is none of here")


def test_as_json():
    said = found(saturating(PLANTED)).to_json()
    assert set(said) == {"parents", "curve", "captured", "height", "knee", "s90", "rotated"}
    assert said["parents"] == PARENTS
    assert said["curve"][PLANTED - 1] == said["curve"][-1] == 1.0
    assert said["captured"][-1] == 0.5
    rotated = said["rotated"]
    assert rotated["draws"] == 5
    assert rotated["s90"] == {"value": 36.0, "low": 36.0, "high": 36.0}
    assert len(rotated["curve"]["median"]) == PARENTS
