import numpy as np
import pytest

from monosemy.explanation.running import NO_ROW, RunningHistogram, RunningTop

LATENTS, KEEP, GROUP = 7, 5, 10


@pytest.fixture
def entries():
    draw = np.random.default_rng(0)
    rows = np.sort(draw.integers(0, 400, 900))
    latents = draw.integers(0, LATENTS - 1, 900)  # the last latent never fires
    keys = np.unique(rows * LATENTS + latents)  # a latent fires once on a token
    values = draw.gamma(1.0, 2.0, len(keys)).astype(np.float32)
    return keys % LATENTS, values, keys // LATENTS


def strongest(latents, values, rows, latent):
    """The plain answer: sort everything, keep the first of each group."""
    found, seen = [], set()
    chosen = sorted(((-v, r) for i, v, r in zip(latents, values, rows, strict=True) if i == latent))
    for value, row in chosen:
        if row // GROUP not in seen:
            seen.add(row // GROUP)
            found.append((-value, row))
    return found[:KEEP]


def in_batches(entries, size):
    """Batches that end between two groups, as contexts do."""
    latents, values, rows = entries
    for start in range(0, 400, size):
        here = (rows >= start) & (rows < start + size)
        yield latents[here], values[here], rows[here]


@pytest.mark.parametrize("size", [10, 50, 400])
def test_the_largest_of_every_latent_are_those_of_a_plain_sort(entries, size):
    top = RunningTop(LATENTS, KEEP)
    for latents, values, rows in in_batches(entries, size):
        top.add(latents, values, rows, rows // GROUP)
    for latent in range(LATENTS):
        wanted = strongest(*entries, latent)
        found = [(v, r) for v, r in zip(top.values[latent], top.rows[latent], strict=True) if v > 0]
        assert found == wanted


def test_the_order_inside_a_batch_does_not_matter(entries):
    straight, mixed = RunningTop(LATENTS, KEEP), RunningTop(LATENTS, KEEP)
    latents, values, rows = entries
    straight.add(latents, values, rows, rows // GROUP)
    order = np.random.default_rng(1).permutation(len(rows))
    mixed.add(latents[order], values[order], rows[order], rows[order] // GROUP)
    assert np.array_equal(straight.rows, mixed.rows)


def test_of_equal_values_the_earlier_row_stays():
    top = RunningTop(1, 2)
    for rows in ([30, 10], [20, 40]):
        top.add(np.zeros(2, int), np.ones(2, np.float32), np.array(rows), np.array(rows))
    assert top.rows.tolist() == [[10, 30]]


def test_a_latent_that_never_fires_has_no_rows(entries):
    latents, values, rows = entries
    top = RunningTop(LATENTS, KEEP)
    top.add(latents, values, rows, rows // GROUP)
    assert (top.rows[-1] == NO_ROW).all()
    assert not top.values[-1].any()


@pytest.mark.parametrize("size", [10, 50, 400])
def test_counts_are_those_of_numpys_histogram(entries, size):
    running = RunningHistogram(LATENTS, bins=8)
    for latents, values, _ in in_batches(entries, size):
        running.add(latents, values)
    for latent in range(LATENTS - 1):
        own = entries[1][entries[0] == latent]
        edges = np.linspace(0, running.ranges[latent], 9)
        assert running.counts[latent].tolist() == np.histogram(own, edges)[0].tolist()
        assert running.ranges[latent] / 2 <= own.max() < running.ranges[latent]
    assert running.counts[-1].sum() == 0


def test_a_value_at_an_edge_goes_into_the_bin_above_and_stays_there():
    running = RunningHistogram(1, bins=4)
    for value in (1.0, 1.5, 2.0, 3.999, 4.0):
        running.add(np.zeros(1, int), np.array([value], np.float32))
    # Bins of two: [0, 2), [2, 4), [4, 6), [6, 8).
    assert running.ranges.tolist() == [8.0]
    assert running.counts.tolist() == [[2, 2, 1, 0]]
