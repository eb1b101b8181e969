"""Work done ahead: a thread of its own makes the next things while this one uses the last."""

from __future__ import annotations

import queue
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

import torch

Thing = TypeVar("Thing")


class Ahead(Iterator[Thing], Generic[Thing]):
    """The things of an iterator, in their order, made by a thread of its own.

    How far it runs ahead is for the iterator to say: it waits where it has to. What it raises is
    raised here, where its next thing would have come. torch uses as many threads there as here,
    because the last bit of a sum can depend on it.

    Parameters
    ----------
    things : used by the thread alone from now on; it must not lead back to this object, or nobody
        could tell that it is no longer needed.
    stop : makes an iterator that waits give up; called by `close`, and when this object is gone or
        the process ends, so that no thread outlives its use.
    """

    def __init__(self, things: Iterator[Thing], stop: Callable[[], None]):
        made: queue.SimpleQueue = queue.SimpleQueue()
        asked = threading.Event()
        # A daemon, because Python waits for any other kind before it calls what would stop it.
        thread = threading.Thread(
            target=_make,
            args=(things, made, asked, torch.get_num_threads()),
            name="reading ahead",
            daemon=True,
        )
        self._made = made
        self._end: BaseException | None = None
        self.close = weakref.finalize(self, _end, thread, asked, stop)
        """Stop the thread and wait until it has stopped; again does nothing."""
        thread.start()

    def __next__(self) -> Thing:
        if self._end is None:
            thing, self._end = self._made.get()
            if self._end is None:
                return thing
        raise self._end


def _make(things: Iterator, made: queue.SimpleQueue, asked: threading.Event, threads: int) -> None:
    try:
        torch.get_num_threads()  # a thread's first look would undo what is set before it
        torch.set_num_threads(threads)
        for thing in things:
            made.put((thing, None))
            if asked.is_set():
                return
        made.put((None, StopIteration()))
    except BaseException as error:  # whatever it is, it belongs to whoever waits for the next thing
        made.put((None, error))


def _end(thread: threading.Thread, asked: threading.Event, stop: Callable[[], None]) -> None:
    asked.set()
    stop()
    if thread is not threading.current_thread():
        thread.join()
