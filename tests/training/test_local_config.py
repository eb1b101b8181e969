"""What a local dictionary is made of: sizes by hand, and what cannot be."""

import pytest

from monosemy.foundation.errors import UserError
from monosemy.training.local_config import LocalConfig


def test_sizes_of_three_levels_by_hand():
    config = LocalConfig(children=3, depth=3, share=0.5)
    assert config.bearers(10) == (10, 30)
    assert config.latents(10) == 10 + 30 + 90
    assert config.active(12) == (6, 3, 3)
    assert LocalConfig(l0=4, share=0.25).active(12) == (3, 1)
    assert LocalConfig(share=0.5, proposals=1.5).proposed(12) == 9
    assert LocalConfig(l0=0.1).proposed(12) == 1


def test_everything_wrong_is_said_at_once():
    with pytest.raises(UserError) as caught:
        LocalConfig(
            children=0, charts=-2, rank=0, depth=1, l0=-1, share=1.0, proposals=0.5, rounds=-1,
            begin=0.5, until=0.4, times=0, samples=1,
        )  # fmt: skip
    text = str(caught.value)
    for reason in (
        "children = 0; wanted at least 1",
        "charts = -2; wanted a number, 0 for one each, or -1 to find it",
        "rank = 0; wanted at least 1",
        "depth = 1; wanted at least 2",
        "l0 = -1; wanted at least 0",
        "share = 1.0; wanted 0 to below 1",
        "proposals = 0.5; wanted at least 1",
        "rounds = -1; wanted at least 0",
        "until = 0.4; wanted 0.5 (begin) to 1",
        "times = 0; wanted at least 1",
        "samples = 1; wanted at least 2",
    ):
        assert reason in text
    assert "the local dictionary's configuration" in text
    with pytest.raises(UserError, match="l0 = nan"):
        LocalConfig(l0=float("nan"))


def test_what_does_not_fit_its_parents_is_said_at_once():
    config = LocalConfig(charts=9, rank=5, share=0.5, proposals=2)
    assert config.refuse_for(8, 10, width=4) == [
        "local.charts = 9 for 8 parents; wanted at most one each",
        "k = 10 with local.share = 0.5 and local.proposals = 2 proposes 10 of 8 parents; wanted at "
        "most all",
        "local.rank = 5 where activations have 4 numbers; a chart has at most as many dimensions",
    ]
    assert config.refuse_for(10, 10, width=5) == []
    assert len(config.refuse_for(8, 10)) == 2  # before the width is known


def test_what_was_changed_is_named():
    config = LocalConfig(children=8, rank=2)
    assert config.changed() == {"children": 8, "rank": 2}
    assert config.changed(besides=("rank",)) == {"children": 8}
    assert LocalConfig().changed() == {}
