"""A polite stop: SIGTERM and SIGINT let the running step end and be saved; a second one stops at once."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM)
_NOTICE = b"\nstopping after this step, and saving it; once more: stop at once, without saving\n"


class Stop:
    """Whether somebody asked this process to stop.

    ``asked`` is the signal's number.  Only an ``armed`` stop waits for the step's end: while nothing trains,
    there is nothing to save, and a signal does what it did before.
    """

    def __init__(self) -> None:
        self.asked: int | None = None
        self.armed = False
        self.before: dict[int, Any] = {}

    def act(self) -> None:
        """Let a signal do what it would have done; for one that came while a finished model was being saved."""
        if self.asked is not None:
            _deliver(self.before[self.asked], self.asked, None)


_current: ContextVar[Stop | None] = ContextVar("current_stop", default=None)


def current_stop() -> Stop | None:
    """The stop of the ``stoppable`` block that runs, if one does."""
    return _current.get()


@contextmanager
def stoppable() -> Iterator[Stop]:
    """Inside, once the stop is armed, the first signal is only noted; ``act`` on it when all is in order.

    A signal that this process ignores stays ignored (a study's workers leave Ctrl-C to their parent).
    Outside the main thread no signal can be caught, and nothing changes.
    """
    stop = Stop()
    before = stop.before

    def handle(number: int, frame: Any) -> None:
        if stop.armed and stop.asked is None:
            stop.asked = number
            os.write(2, _NOTICE)  # print is not safe where a print may be going on
        elif stop.asked is None or multiprocessing.parent_process() is None:
            # A worker's pool repeats its request when another worker has gone; in earnest, it kills.
            _deliver(before[number], number, frame)

    if threading.current_thread() is threading.main_thread():
        for number in map(int, SIGNALS):
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                before[number] = signal.getsignal(number)
                signal.signal(number, handle)
    token = _current.set(stop)
    try:
        yield stop
    finally:
        _current.reset(token)
        for number, handler in before.items():
            signal.signal(number, handler)


def _deliver(handler: Any, number: int, frame: Any) -> None:
    """Let a signal do what it would have done without us."""
    if callable(handler):
        handler(number, frame)
    else:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)


def asked_by_any_rank(stop: Stop | None, device: Any) -> int | None:
    """The signal that any rank was sent, None if there was none; every rank must call it, and gets the same answer."""
    import torch.distributed as distributed

    asked = 0 if stop is None or stop.asked is None else stop.asked
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        import torch

        flag = torch.tensor([asked], device=device)
        distributed.all_reduce(flag, op=distributed.ReduceOp.MAX)
        asked = int(flag.item())
    return asked or None
