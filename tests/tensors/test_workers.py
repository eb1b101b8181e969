import threading
import time

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from monosemy.tensors import workers


@given(count=st.integers(0, 5000), least=st.integers(1, 100))
def test_shares_are_even_and_cover_everything(count, least):
    shares = workers.share_out(count, least)
    assert 1 <= len(shares) <= 3
    assert [start for start, _ in shares] == [0, *(stop for _, stop in shares[:-1])]
    assert shares[-1][1] == count
    sizes = [stop - start for start, stop in shares]
    assert max(sizes) - min(sizes) <= 1
    assert len(shares) == 1 or min(sizes) >= least
    assert len(shares) == 3 or count < 3 * least


def test_shares_run_side_by_side_on_threads_of_their_own():
    together = threading.Barrier(3, timeout=10)
    seen = {}

    def work(start, stop):
        together.wait()  # passes only if all are under way at once
        seen[start, stop] = threading.current_thread().name, torch.get_num_threads()

    workers.run(work, [(0, 2), (2, 4), (4, 5)])
    assert sorted(seen) == [(0, 2), (2, 4), (4, 5)]
    assert len({name for name, _ in seen.values()}) == 3
    assert {threads for _, threads in seen.values()} == {1}


def test_one_share_needs_no_other_thread():
    seen = []
    workers.run(
        lambda start, stop: seen.append((start, stop, threading.current_thread())), [(3, 9)]
    )
    assert seen == [(3, 9, threading.main_thread())]


@pytest.mark.parametrize("shares", [[(0, 1)], [(0, 1), (1, 2), (2, 3)]])
def test_an_error_in_a_share_is_raised_here(shares):
    def work(start, stop):
        if stop == shares[-1][1]:
            raise ValueError(f"share {start} to {stop}")

    with pytest.raises(ValueError, match=f"share {shares[-1][0]} to {shares[-1][1]}"):
        workers.run(work, shares)
    done = []
    workers.run(lambda start, stop: done.append(start), shares)
    assert sorted(done) == [start for start, _ in shares], "the threads still serve"


def test_a_new_pool_leaves_the_number_of_threads_alone():
    before = torch.get_num_threads()
    workers._pool.cache_clear()
    workers.run(lambda start, stop: None, [(0, 1), (1, 2)])
    assert torch.get_num_threads() == before == 3
    elsewhere = []
    new = threading.Thread(target=lambda: elsewhere.append(torch.get_num_threads()))
    new.start()
    new.join()
    assert elsewhere == [3], "nor that of threads that begin later"


def test_threads_are_kept_from_call_to_call():
    names = [set(), set()]
    for seen in names:
        workers.run(
            lambda start, stop, seen=seen: (time.sleep(0.01), seen.add(threading.get_ident())),
            [(0, 1), (1, 2), (2, 3)],
        )
    assert names[0] == names[1]


def test_undisturbed_keeps_torch_to_one_thread_and_shares_out_as_before():
    with workers.undisturbed():
        assert torch.get_num_threads() == 1
        assert len(workers.share_out(300)) == 3
        with workers.undisturbed():
            assert len(workers.share_out(300)) == 3
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 3
    torch.set_num_threads(2)
    assert len(workers.share_out(300)) == 2, "what held inside is forgotten"
    torch.set_num_threads(3)


def _fail():
    raise ValueError("inside")


def test_undisturbed_restores_the_threads_after_an_error_too():
    with pytest.raises(ValueError, match="inside"), workers.undisturbed():
        _fail()
    assert torch.get_num_threads() == 3
    assert workers._own.threads is None


def test_scratch_memory_is_kept_and_grows():
    first = workers.scratch("a test", torch.float32, 10)
    assert workers.scratch("a test", torch.float32, 6).data_ptr() == first.data_ptr()
    assert len(workers.scratch("a test", torch.float32, 6)) == 6
    assert workers.scratch("another", torch.float32, 6).data_ptr() != first.data_ptr()
    assert workers.scratch("a test", torch.float64, 6).dtype == torch.float64
    larger = workers.scratch("a test", torch.float32, 1000)
    assert len(larger) == 1000
    assert workers.scratch("a test", torch.float32, 10).data_ptr() == larger.data_ptr()
    elsewhere = []
    other = threading.Thread(
        target=lambda: elsewhere.append(workers.scratch("a test", torch.float32, 10).data_ptr())
    )
    other.start()
    other.join()
    assert elsewhere != [larger.data_ptr()], "each thread has its own"


@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize("rows", [1, 100, 300])
def test_a_product_is_shared_out(rows, add):
    draw = torch.Generator().manual_seed(0)
    left, right = torch.randn(rows, 7, generator=draw), torch.randn(7, 5, generator=draw)
    before = torch.randn(rows, 5, generator=draw) if add else torch.full((rows, 5), torch.nan)
    out = before.clone()
    assert workers.product(left, right, out, add) is out
    torch.testing.assert_close(out, left @ right + (before if add else 0))


def test_shares_are_in_inference_mode_where_their_caller_is():
    modes = []
    shares = [(0, 1), (1, 2)]
    with torch.inference_mode():
        workers.run(lambda start, stop: modes.append(torch.is_inference_mode_enabled()), shares)
    workers.run(lambda start, stop: modes.append(torch.is_inference_mode_enabled()), shares)
    assert modes == [True, True, False, False]


def test_a_product_in_inference_mode_is_written(monkeypatch):
    monkeypatch.setattr(workers, "share_out", lambda count, least=1: [(0, 1), (1, count)])
    left, right = torch.randn(4, 3), torch.randn(3, 2)
    with torch.inference_mode():
        found = workers.product(left, right, torch.empty(4, 2))
    assert torch.allclose(found, left @ right)


def test_scratch_made_in_inference_mode_can_be_written_to_outside():
    with torch.inference_mode():
        workers.scratch("of a test in inference mode", torch.float32, 3)
    workers.scratch("of a test in inference mode", torch.float32, 3).fill_(1.0)
