import gc
import json
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from monosemy.data import streams
from monosemy.data.capture import LiveSource
from monosemy.data.streams import ActivationStream, TokenStream
from monosemy.foundation.errors import UserError
from monosemy.models import sites
from monosemy.tensors.compute import Compute


def take(stream, count):
    return [next(stream) for _ in range(count)]


def same(left, right):
    return len(left) == len(right) and all(map(torch.equal, left, right))


def numbers(batches):
    return torch.cat(list(batches))[:, 0].long().tolist()


class TestTokenStream:
    def test_every_context_once_an_epoch_in_another_order(self, contexts):
        stream = TokenStream(contexts, 7, Compute())
        dealt = torch.cat(take(stream, len(contexts)))  # seven epochs
        epochs = dealt.view(7, len(contexts), -1)
        wanted = sorted(contexts.ids.tolist())
        assert all(sorted(epoch.tolist()) == wanted for epoch in epochs)
        assert not torch.equal(epochs[0], epochs[1])
        assert not torch.equal(epochs[0], contexts.ids)

    @pytest.mark.parametrize("before", [0, 1, 11, 12, 13, 30])
    def test_resumed_equals_uninterrupted(self, contexts, before):
        whole = take(TokenStream(contexts, 8, Compute(seed=3)), before + 20)
        first = TokenStream(contexts, 8, Compute(seed=3))
        take(first, before)
        state = json.loads(json.dumps(first.state_dict()))
        second = TokenStream(contexts, 8, Compute(seed=3))
        take(second, 5)
        second.load_state_dict(state)
        assert same(take(second, 20), whole[before:])

    def test_seed_decides_the_order(self, contexts):
        streams = [take(TokenStream(contexts, 8, Compute(seed=seed)), 3) for seed in (0, 0, 1)]
        assert same(streams[0], streams[1])
        assert not same(streams[0], streams[2])

    def test_a_batch_may_be_larger_than_an_epoch(self, contexts):
        batch = next(TokenStream(contexts[:3], 7, Compute()))
        assert batch.shape == (7, 16)

    def test_state_of_other_settings_is_refused_with_all_reasons(self, contexts):
        state = TokenStream(contexts, 8, Compute(seed=0)).state_dict()
        other = TokenStream(contexts[:-1], 9, Compute(seed=1))
        with pytest.raises(UserError, match="3 problems") as caught:
            other.load_state_dict(state)
        assert "batch was 8 where the state was saved and is 9 here" in str(caught.value)
        assert "seed was 0" in str(caught.value)

    def test_nothing_to_deal_is_refused(self, contexts):
        with pytest.raises(UserError, match="batch of 0 contexts"):
            TokenStream(contexts, 0, Compute())
        with pytest.raises(UserError, match="no contexts"):
            TokenStream(contexts[:0], 1, Compute())


class TestActivationStream:
    # 1,000 rows; blocks of 300; the last of 100; batches of 30: 3 rows a block... see each test.
    def test_every_row_once_an_epoch_but_the_stated_tail(self, counting):
        stream = ActivationStream(counting(1000), 30, Compute(), epochs=3, block=300)
        dealt = list(stream)
        assert len(dealt) == len(stream) == 3 * 33
        for epoch in range(3):
            rows = numbers(dealt[epoch * 33 : (epoch + 1) * 33])
            assert len(set(rows)) == len(rows) == 990
            assert set(range(900)) <= set(rows)

    def test_all_rows_are_dealt_where_batches_fit(self, counting):
        assert sorted(numbers(ActivationStream(counting(1000), 50, Compute(), block=300))) == list(
            range(1000)
        )

    def test_a_last_block_below_one_batch_is_left_out(self, counting):
        rows = numbers(ActivationStream(counting(610), 30, Compute(), block=300))
        assert sorted(rows) == list(range(600))

    def test_rows_and_blocks_are_shuffled_anew_each_epoch(self, counting):
        stream = ActivationStream(counting(1200), 30, Compute(), epochs=None, block=300)
        epochs = torch.tensor(numbers(take(stream, 4 * 40))).view(4, 1200)
        blocks = epochs.view(4, 4, 300) // 300
        assert (blocks == blocks[:, :, :1]).all()  # blocks stay together
        assert len({tuple(order) for order in blocks[:, :, 0].tolist()}) > 1
        first = [epoch[epoch < 300] for epoch in epochs]
        assert not torch.equal(first[0], first[1])
        assert not torch.equal(first[0], first[0].sort().values)

    @pytest.mark.parametrize("before", [0, 1, 9, 10, 11, 32, 33, 34, 70])
    def test_resumed_equals_uninterrupted(self, counting, before):
        def stream():
            return ActivationStream(counting(1000), 30, Compute(seed=5), epochs=None, block=300)

        whole = take(stream(), before + 50)
        first = stream()
        take(first, before)
        state = json.loads(json.dumps(first.state_dict()))
        second = stream()
        take(second, 4)
        second.load_state_dict(state)
        assert same(take(second, 50), whole[before:])

    def test_resuming_gathers_only_the_block_it_stands_in(self, counting):
        first = ActivationStream(counting(1000), 30, Compute(), block=300)
        take(first, 15)
        source = counting(1000)
        second = ActivationStream(source, 30, Compute(), block=300)
        second.load_state_dict(first.state_dict())
        next(second)
        assert len(source.asked) == 1

    def test_first_rows_are_the_first_dealt_and_consume_nothing(self, counting):
        source = counting(1000)
        stream = ActivationStream(source, 30, Compute(), block=300)
        rows = stream.first_rows(90)
        assert rows.dtype == torch.float32
        assert torch.equal(rows, torch.cat(take(stream, 3)))
        assert len(source.asked) == 1
        take(stream, 20)
        assert torch.equal(stream.first_rows(90), rows)
        whole = take(ActivationStream(counting(1000), 30, Compute(), block=300), 24)
        assert torch.equal(next(stream), whole[23])

    def test_block_stays_in_the_dtype_of_the_source(self, counting):
        class Largest(TorchDispatchMode):
            """Elements of the largest float32 tensor made while it watches."""

            elements = 0

            def __torch_dispatch__(self, function, types, args=(), kwargs=None):
                out = function(*args, **kwargs or {})
                if isinstance(out, torch.Tensor) and out.dtype == torch.float32:
                    self.elements = max(self.elements, out.numel())
                return out

        stream = ActivationStream(counting(1000, torch.bfloat16), 30, Compute(), block=300)
        with Largest() as largest:
            batch = next(stream)
        assert batch.dtype == torch.float32
        assert largest.elements == batch.numel()
        with Largest() as largest:  # the watch is able to see a whole block
            torch.zeros(300, 3, dtype=torch.bfloat16).float()
        assert largest.elements == 900

    @pytest.mark.parametrize("overlap", [False, True])
    def test_one_block_is_held_and_a_slice_on_its_way(self, counting, monkeypatch, overlap):
        monkeypatch.setattr(streams, "SLICE", 60)
        rings, alive, lock = [], [], threading.Lock()

        class Watched(type(counting(1))):
            def rows(self, start, stop):
                rows = super().rows(start, stop)
                with lock:
                    alive[:] = [reference for reference in alive if reference() is not None]
                    alive.append(weakref.ref(rows))
                    assert len(alive) <= 2  # one may be on its way out
                return rows

        class Seen(streams.Ring):
            def put(self, rows):
                slots = super().put(rows)
                rings.append((self._rows.data_ptr(), len(self._rows)))
                return slots

        monkeypatch.setattr(streams, "Ring", Seen)
        stream = ActivationStream(Watched(1000), 30, Compute(), block=300, overlap=overlap)
        assert len(list(stream)) == 33
        assert len(rings) == 17
        assert {size for _, size in rings} == {300}
        assert len(set(rings)) == 1  # one allocation for all blocks

    def test_where_the_time_goes(self, counting):
        class Slow(type(counting(1))):
            waits_for = "model"

            def rows(self, start, stop):
                time.sleep(0.01)
                return super().rows(start, stop)

        for overlap in (False, True):
            stream = ActivationStream(Slow(1000), 30, Compute(), block=300, overlap=overlap)
            assert stream.seconds == {}
            began = time.perf_counter()
            assert len(list(stream)) == 33
            passed = time.perf_counter() - began
            assert set(stream.seconds) == {"model", "buffer"}
            assert sum(stream.seconds.values()) <= passed
            assert stream.seconds["model"] >= (0.01 if overlap else 0.04)
        tokens = counting(1000)
        assert tokens.waits_for == "input"
        stream = ActivationStream(tokens, 30, Compute(), block=300)
        next(stream)
        assert set(stream.seconds) == {"input", "buffer"}

    def test_length(self, counting):
        assert len(ActivationStream(counting(1000), 30, Compute(), epochs=2, block=300)) == 66
        with pytest.raises(TypeError, match="no length"):
            len(ActivationStream(counting(1000), 30, Compute(), epochs=None))

    def test_block_is_whole_batches(self, counting):
        assert ActivationStream(counting(1000), 30, Compute(), block=100).block == 90
        assert ActivationStream(counting(1000), 30, Compute(), block=10).block == 30

    def test_state_of_other_settings_is_refused_with_all_reasons(self, counting):
        state = ActivationStream(counting(1000), 30, Compute(seed=0), block=300).state_dict()
        other = ActivationStream(counting(1001), 40, Compute(seed=1), block=400)
        with pytest.raises(UserError, match="4 problems") as caught:
            other.load_state_dict(state)
        assert "block was 300 where the state was saved and is 400 here" in str(caught.value)
        longer = ActivationStream(counting(1000), 30, Compute(seed=0), epochs=9, block=300)
        longer.load_state_dict(state)  # more epochs are no other stream

    def test_bad_counts_are_refused_with_all_reasons(self, counting):
        with pytest.raises(UserError, match="3 problems") as caught:
            ActivationStream(counting(10), 0, Compute(), epochs=0, block=0)
        assert "epochs is 0; wanted at least 1" in str(caught.value)
        with pytest.raises(
            UserError, match="a batch of 11 rows is more than the 10 activations there are"
        ):
            ActivationStream(counting(10), 11, Compute())


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "reading ahead"]


class TestOverlap:
    """Whether the next block is read meanwhile decides nothing but the time."""

    @pytest.fixture(autouse=True)
    def nobody_stays(self):
        yield
        gc.collect()
        assert not readers()

    @pytest.mark.parametrize("block", [30, 300, 5000])
    @pytest.mark.parametrize("tokens", [610, 1000])
    def test_batches_are_the_same_bit_for_bit(self, counting, monkeypatch, tokens, block):
        monkeypatch.setattr(streams, "SLICE", 70)
        options = {"epochs": 3, "block": block}
        plain, overlapped = (
            ActivationStream(counting(tokens), 30, Compute(seed=2), overlap=overlap, **options)
            for overlap in (False, True)
        )
        dealt = list(overlapped)
        assert same(dealt, list(plain))
        assert len(dealt) == len(plain) == 3 * (tokens // 30)

    def test_so_they_are_from_a_model_with_several_threads(self, loaded, contexts):
        site = sites.resolve(loaded.model, "blocks.1.hook_resid_pre")
        before = torch.get_num_threads()
        torch.set_num_threads(2)
        try:
            batches = [
                list(
                    ActivationStream(
                        LiveSource(loaded, site, contexts, group=8), 32, Compute(), 2, 200, overlap
                    )
                )
                for overlap in (False, True)
            ]
        finally:
            torch.set_num_threads(before)
        assert same(*batches)
        assert len(batches[0]) > 20

    @pytest.mark.parametrize("before", [0, 1, 9, 10, 11, 33, 70])
    def test_resumed_equals_uninterrupted(self, counting, before):
        def stream(overlap):
            compute = Compute(seed=5)
            return ActivationStream(counting(1000), 30, compute, None, 300, overlap=overlap)

        whole = take(stream(False), before + 50)
        first = stream(True)
        take(first, before)
        second = stream(True)
        take(second, 4)
        second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        assert same(take(second, 50), whole[before:])
        first.load_state_dict({**first.state_dict(), "dealt": 0})  # back in the block that is held
        assert same(take(first, 12), whole[:12])

    def test_first_rows_disturb_nothing(self, counting):
        stream = ActivationStream(counting(1000), 30, Compute(), block=300, overlap=True)
        rows = stream.first_rows(90)
        whole = take(ActivationStream(counting(1000), 30, Compute(), block=300, overlap=False), 33)
        assert torch.equal(rows, torch.cat(whole[:3]))
        assert same(take(stream, 20), whole[:20])
        assert torch.equal(stream.first_rows(90), rows)
        assert same(list(stream), whole[20:])

    def test_the_next_block_is_read_while_this_one_is_dealt(self, counting, monkeypatch):
        monkeypatch.setattr(streams, "SLICE", 30)
        source = counting(600)
        stream = ActivationStream(source, 30, Compute(), block=300, overlap=True)

        def read_of_the_second():
            return sum(stop - start for start, stop in source.asked[10:])

        for dealt in range(1, 10):
            next(stream)
            until = time.monotonic() + 10
            # As far as there is room, and the slice that waits for it.
            while read_of_the_second() < min(30 * (dealt + 1), 300) and time.monotonic() < until:
                time.sleep(0.001)
            assert read_of_the_second() == min(30 * (dealt + 1), 300)
        plain = ActivationStream(counting(600), 30, Compute(), block=300, overlap=False)
        take(plain, 9)
        assert len(plain.source.asked) == 10  # the other way waits until it is needed

    @pytest.mark.parametrize("overlap", [False, True])
    def test_what_the_source_raises_reaches_the_caller_each_time(self, counting, overlap):
        class Sick(type(counting(1))):
            healthy = False

            def rows(self, start, stop):
                if not self.healthy and start:
                    raise UserError(f"rows from {start} cannot be read")
                return super().rows(start, stop)

        source = Sick(1000)
        stream = ActivationStream(source, 30, Compute(seed=1), block=300, overlap=overlap)
        first = [place.block for place in stream._schedule.blocks_from(stream._schedule.place(0))]
        assert first[0] != 0  # or nothing would be raised at once
        for _ in range(2):
            with pytest.raises(UserError) as caught:
                next(stream)
            assert str(caught.value) == f"rows from {300 * first[0]} cannot be read"
        source.healthy = True  # the disk is back
        whole = ActivationStream(counting(1000), 30, Compute(seed=1), block=300)
        assert same(list(stream), list(whole))

    def test_no_thread_stays(self, counting):
        stream = ActivationStream(counting(1000), 30, Compute(), None, 300, overlap=True)
        next(stream)
        assert readers()  # the test could fail
        stream.close()
        assert not readers()
        next(stream)
        assert readers()
        del stream
        gc.collect()
        assert not readers()
        stream = ActivationStream(counting(1000), 30, Compute(), 1, 300, overlap=True)
        list(stream)
        assert not readers()

    def test_it_is_on_where_something_is_idle(self, counting, monkeypatch):
        def chosen():
            return ActivationStream(counting(60), 30, Compute()).overlap

        monkeypatch.setattr(streams, "_cores", lambda: 4 * torch.get_num_threads())
        assert chosen()
        monkeypatch.setattr(streams, "_cores", lambda: 4 * torch.get_num_threads() - 1)
        assert not chosen()
        monkeypatch.undo()
        assert 1 <= streams._cores() <= os.cpu_count()

    @pytest.mark.parametrize("how", ["ends", "fails", "is interrupted"])
    def test_a_process_never_hangs(self, how):
        script = textwrap.dedent(
            """
            import os, signal, sys, threading, torch
            from monosemy.data.streams import ActivationStream
            from monosemy.tensors.compute import Compute

            class Source:
                site, waits_for, fingerprint, contexts = "", "input", "", None
                tokens, width, dtype = 400_000, 64, torch.float32
                def rows(self, start, stop):
                    return torch.ones(stop - start, 64) @ torch.ones(64, 64)

            stream = ActivationStream(Source(), 100, Compute(), None, 200_000, overlap=True)
            next(stream)
            if sys.argv[1] == "fails":
                raise ValueError("the step failed")
            if sys.argv[1] == "is interrupted":
                signal.signal(signal.SIGINT, signal.default_int_handler)
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
                while True:
                    next(stream)
            """
        )
        ended = subprocess.run(
            [sys.executable, "-c", script, how], timeout=60, capture_output=True, text=True
        )
        assert ended.returncode == {"ends": 0, "fails": 1}.get(how, ended.returncode)
        said = {"ends": "", "fails": "ValueError: the step failed"}.get(how, "KeyboardInterrupt")
        assert ended.stderr.strip().endswith(said)
        assert "Fatal" not in ended.stderr
