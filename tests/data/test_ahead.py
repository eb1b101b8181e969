import gc
import subprocess
import sys
import textwrap
import threading
import time

import pytest
import torch

from monosemy.data.ahead import Ahead


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "reading ahead"]


def nothing():
    pass


def test_things_come_in_their_order_and_end():
    ahead = Ahead(iter(range(100)), nothing)
    assert list(ahead) == list(range(100))
    assert list(ahead) == []  # and stay ended
    ahead.close()
    assert not threads()


def test_things_are_made_by_another_thread_and_ahead():
    made = []

    def things():
        for number in range(3):
            made.append((number, threading.get_ident()))
            yield number

    ahead = Ahead(things(), nothing)
    assert next(ahead) == 0
    for thread in threads():
        thread.join(10)
    assert [number for number, _ in made] == [0, 1, 2]
    assert threading.get_ident() not in {who for _, who in made}


def test_torch_uses_as_many_threads_there_as_here():
    before, started, changed = torch.get_num_threads(), threading.Event(), threading.Event()

    def things():
        yield torch.get_num_threads()
        started.set()
        changed.wait()
        yield torch.get_num_threads()

    torch.set_num_threads(2)
    try:
        ahead = Ahead(things(), changed.set)
        assert next(ahead) == 2
        started.wait()
        torch.set_num_threads(1)  # a step may want fewer for a while
        changed.set()
        assert next(ahead) == 2
    finally:
        torch.set_num_threads(before)


def test_what_is_raised_there_is_raised_here_in_its_turn():
    error = ValueError("what went wrong")

    def things():
        yield 1
        raise error

    ahead = Ahead(things(), nothing)
    assert next(ahead) == 1
    for _ in range(2):  # again and again, so that it cannot pass for an end
        with pytest.raises(ValueError, match="what went wrong") as caught:
            next(ahead)
        assert caught.value is error


class Waiting:
    """Gives one thing and then waits until it is told to stop."""

    def __init__(self):
        self.told = threading.Event()

    def __iter__(self):
        yield 1
        self.told.wait()
        raise RuntimeError("nobody hears this")


def test_close_ends_a_thread_that_waits():
    waiting = Waiting()
    ahead = Ahead(iter(waiting), waiting.told.set)
    assert next(ahead) == 1
    assert threads()  # the test could fail
    ahead.close()
    assert not threads()


def test_a_thread_ends_with_its_owner():
    waiting = Waiting()
    ahead = Ahead(iter(waiting), waiting.told.set)
    assert next(ahead) == 1
    del ahead
    gc.collect()
    assert waiting.told.is_set()
    assert not threads()


@pytest.mark.parametrize("last", ["", "raise ValueError('the end')"])
def test_a_process_ends_while_a_thread_waits(last):
    script = textwrap.dedent(f"""
        import threading
        from monosemy.data.ahead import Ahead
        told = threading.Event()
        def things():
            yield 1
            told.wait()
        ahead = Ahead(things(), told.set)
        next(ahead)
        {last}
    """)
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", script], timeout=60, capture_output=True, text=True
    )
    assert ended.returncode == bool(last)
    assert ("the end" in ended.stderr) == bool(last)
    assert "Fatal" not in ended.stderr
    assert time.monotonic() - began < 50
