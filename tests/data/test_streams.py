import json

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from monosemy.data.streams import ActivationStream, TokenStream
from monosemy.foundation.errors import UserError
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

    def test_old_block_is_freed_before_the_next_is_gathered(self, counting):
        import weakref

        class Watched(type(counting(1))):
            alive: list = []

            def rows(self, start, stop):
                assert not any(reference() is not None for reference in self.alive)
                rows = super().rows(start, stop)
                self.alive.append(weakref.ref(rows))
                return rows

        source = Watched(1000)
        for batch in ActivationStream(source, 30, Compute(), block=300):
            del batch
        assert len(source.alive) == 4

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
