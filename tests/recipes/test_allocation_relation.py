"""Relations: pairs from a file, a direction and values, the offset on one coordinate."""

import pytest
import torch

from monosemy.foundation.errors import UserError
from monosemy.recipes.allocation_ground import open_ground
from monosemy.recipes.allocation_relation import (
    offset_on_axis,
    open_relation,
    read_pairs,
    relation_chosen,
)


@pytest.fixture(scope="module")
def ground(allocation_run):
    return open_ground(allocation_run, 2000, 1000)


@pytest.fixture
def pairs(tmp_path):
    path = tmp_path / "letters.txt"
    path.write_text("# letters are the tiny model's words\nd e\nr t\nq z\n", encoding="utf-8")
    return path


def test_pairs_that_do_not_come_up_are_left_out(ground, pairs):
    relation = open_relation(pairs, ground)
    assert relation.pairs == (("d", "e"), ("r", "t"))
    assert relation.name == "letters"


def test_the_value_is_one_on_second_words_and_the_direction_their_offset(ground, pairs):
    relation = open_relation(pairs, ground)
    chosen = relation_chosen(relation, ground)
    ids = ground.seen.contexts.ids[ground.seen.contexts.kept]
    second = torch.isin(ids.long(), relation.ids[:, 1])
    assert torch.equal(chosen.values[:, 0] > 0, second)
    offsets = [ground.seen.site[ids == b].mean(0) - ground.seen.site[ids == a].mean(0)
               for a, b in relation.ids.tolist()]  # fmt: skip
    torch.testing.assert_close(chosen.directions[0], torch.stack(offsets).mean(0))


def test_an_offset_on_one_coordinate_in_closed_form(ground, pairs):
    relation = open_relation(pairs, ground)
    ids = ground.heldout.contexts.ids[ground.heldout.contexts.kept].long()
    planted = 3.0 * torch.isin(ids, relation.ids[:, 1]).double()
    found = offset_on_axis(relation, ground, planted)
    assert found["offsets"] == [3.0, 3.0]
    assert found["apart"] == 1.0
    draw = torch.Generator().manual_seed(0)
    noise = torch.randn(len(ids), generator=draw, dtype=torch.float64)
    null = offset_on_axis(relation, ground, noise)
    assert abs(null["apart"] - 0.5) < 0.15
    assert abs(null["d_prime"]) < 0.6


def test_mistakes_are_told_with_their_lines(ground, tmp_path):
    path = tmp_path / "wrong.txt"
    path.write_text("he she\nalone\nsame same\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"(?s)line 2: 'alone'; wanted two different words.*line 3"):
        read_pairs(path)
    path.write_text("king queen\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"(?s)0 pairs are left.*'king' is no single token"):
        open_relation(path, ground)
    path.write_text("\n", encoding="utf-8")
    with pytest.raises(UserError, match="holds no pair"):
        read_pairs(path)
    with pytest.raises(UserError, match="cannot be read"):
        read_pairs(tmp_path / "absent.txt")
