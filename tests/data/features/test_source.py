import pytest
import torch

from monosemy.data.features.conditional import ConditionalConfig, conditional_world
from monosemy.data.features.source import CHUNK, WorldSource
from monosemy.data.streams import ActivationStream, Source
from monosemy.foundation.errors import UserError
from monosemy.tensors.compute import Compute

WORLD = conditional_world(ConditionalConfig(groups=2, parents=2, width=8))


def source(tokens: int = 3 * CHUNK, seed: int = 0) -> WorldSource:
    return WorldSource(WORLD, tokens, Compute(seed=seed))


def test_it_is_a_source():
    one = source()
    assert isinstance(one, Source)
    assert (one.site, one.width, one.dtype) == ("conditional-rotated", 8, torch.float32)
    assert one.contexts.tokens == one.tokens


@pytest.mark.parametrize(
    ("start", "stop"),
    [(0, 1), (5, 5), (CHUNK - 3, CHUNK + 3), (10, 2 * CHUNK + 10), (CHUNK, 2 * CHUNK)],
)  # fmt: skip
def test_rows_are_the_same_however_they_are_asked_for(start, stop):
    whole = source().rows(0, 3 * CHUNK)
    assert torch.equal(source().rows(start, stop), whole[start:stop])
    samples = source().samples(start, stop)
    assert torch.equal(samples.x, whole[start:stop])
    assert samples.truth.tokens == stop - start


def test_rows_come_with_their_own_truth():
    samples = source().samples(CHUNK - 100, CHUNK + 100)
    rest = samples.x - samples.truth.dense() @ WORLD.features.directions
    assert rest.std() == pytest.approx(WORLD.noise, rel=0.1)


def test_a_longer_source_begins_with_a_shorter_one():
    assert torch.equal(source(100).rows(0, 100), source(5 * CHUNK).rows(0, 100))


def test_chunks_differ_and_so_do_seeds():
    rows = source().rows(0, 2 * CHUNK)
    assert not torch.equal(rows[:CHUNK], rows[CHUNK:])
    assert not torch.equal(rows[:10], source(seed=1).rows(0, 10))


def test_fingerprints_are_equal_where_rows_are():
    assert source().fingerprint == source().fingerprint
    other = WorldSource(conditional_world(ConditionalConfig(groups=2)), 3 * CHUNK, Compute())
    apart = {source().fingerprint, source(5).fingerprint, source(seed=1).fingerprint}
    assert len(apart | {other.fingerprint}) == 4


def test_a_stream_of_it_resumes_exactly():
    def stream():
        return ActivationStream(source(), 512, Compute(seed=3), epochs=2)

    straight, stopped = stream(), stream()
    batches = list(straight)
    for _ in range(4):
        next(stopped)
    resumed = stream()
    resumed.load_state_dict(stopped.state_dict())
    assert all(torch.equal(a, b) for a, b in zip(batches[4:], resumed, strict=True))
    assert len(batches) == 24


def test_an_empty_source_is_refused():
    with pytest.raises(UserError, match="0 rows: wanted at least 1"):
        source(0)
