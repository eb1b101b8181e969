import threading

import pytest
import torch

from monosemy.data.ring import Closed, Ring


def rows(start, stop):
    return torch.arange(start, stop).float().unsqueeze(1).expand(-1, 3).contiguous()


def test_what_was_put_in_is_taken_out_until_it_is_freed():
    ring = Ring(10)
    held: dict[int, torch.Tensor] = {}
    draw = torch.Generator().manual_seed(0)
    for turn in range(200):
        new = ring.put(rows(10 * turn, 10 * turn + 3))
        held |= {10 * turn + i: slot for i, slot in enumerate(new)}
        kept = list(held)
        assert torch.equal(
            ring.take(torch.stack([held[k] for k in kept]))[:, 0].long(), torch.tensor(kept)
        )
        order = torch.randperm(len(kept), generator=draw)[: max(0, len(kept) - 7)]
        ring.free(torch.stack([held.pop(kept[i]) for i in order]) if len(order) else new[:0])


def test_dtype_is_that_of_the_rows():
    ring = Ring(2)
    slots = ring.put(rows(0, 2).bfloat16())
    assert ring.take(slots).dtype == torch.bfloat16


def test_rows_wait_for_room():
    ring = Ring(4)
    first, done = ring.put(rows(0, 4)), threading.Event()
    second = []
    thread = threading.Thread(target=lambda: (second.append(ring.put(rows(4, 7))), done.set()))
    thread.start()
    ring.free(first[:2])
    assert not done.wait(0.05)  # two are not enough for three
    ring.free(first[2:3])
    assert done.wait(10)
    thread.join()
    taken = ring.take(torch.cat([second[0], first[3:]]))
    assert taken[:, 0].tolist() == [4, 5, 6, 3]


def test_whoever_waits_is_told_when_nobody_will_make_room():
    ring = Ring(2)
    ring.put(rows(0, 2))
    caught = []

    def work():
        with pytest.raises(Closed) as error:
            ring.put(rows(2, 3))
        caught.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    ring.close()
    thread.join(10)
    assert caught
