import pytest
import torch

from monosemy.data.schedule import Place, Schedule
from monosemy.tensors.compute import Compute


def schedule(tokens=1000, batch=30, block=300, epochs=2, seed=0):
    return Schedule(tokens, batch, block, epochs, Compute(seed=seed))


def walk(made, count):
    """The places of the first batches, counted the slow way."""
    found = []
    for place in made.blocks_from(made.place(0)):
        found += [
            Place(place.epoch, place.block, index) for index in range(made.batches(place.block))
        ]
    return found[:count]


@pytest.mark.parametrize("tokens", [30, 299, 300, 329, 330, 610, 1000, 1200])
def test_places_are_those_of_a_walk(tokens):
    made = schedule(tokens, epochs=4)
    count = 4 * (tokens // 30)
    assert [made.place(dealt) for dealt in range(count)] == walk(made, count)
    assert made.batches_per_epoch == tokens // 30


def test_blocks_go_on_from_any_place():
    made = schedule()
    everything = list(made.blocks_from(made.place(0)))
    assert len(everything) == 2 * 4
    for dealt in range(2 * 33):
        place = made.place(dealt)
        blocks = list(made.blocks_from(place))
        assert blocks == everything[-len(blocks) :]
        assert (blocks[0].epoch, blocks[0].block) == (place.epoch, place.block)


def test_rows_of_a_block_are_drawn_for_each_epoch():
    made = schedule()
    orders = [made.order(Place(epoch, block)) for epoch in (0, 1) for block in (0, 1)]
    assert all(torch.equal(order.sort().values, torch.arange(300)) for order in orders)
    assert len({tuple(order.tolist()) for order in orders}) == 4
    assert len(made.order(Place(0, 3))) == 100


def test_the_seed_decides():
    same, again, other = (schedule(seed=seed, epochs=None) for seed in (0, 0, 1))
    places = [[made.place(dealt) for dealt in range(0, 330, 10)] for made in (same, again, other)]
    assert places[0] == places[1] != places[2]
