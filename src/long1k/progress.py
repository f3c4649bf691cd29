"""Progress on long work: a bar on a terminal, a word to whoever watches a whole study, nothing elsewhere.

A study's processes say where they are (``doing``) and how far (``progress``).  The process that runs the study listens
to itself with ``listen``, and to its workers on a socket of datagrams: nobody waits for a listener, and one that is
gone is not missed.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal, Protocol

from long1k.errors import StoppedError

SILENT = "LONG1K_NO_PROGRESS"  # set in processes that work side by side: their bars would overwrite each other
TELL = "LONG1K_TELL"  # the path of the socket that hears how far a worker is
_PAUSE_SECONDS = 0.2  # between two words on the same work
_LONGEST_NOTE = 200

What = Literal["begin", "step", "end", "failed", "stopped"]
Event = dict[str, Any]
"""place, what, and for a step: done, total (None: unknown), note."""
Listener = Callable[[Event], None]

_place: ContextVar[str | None] = ContextVar("place", default=None)
_listener: Listener | None = None
_sockets: dict[int, socket.socket] = {}  # by process, so that a forked one opens its own


class Step(Protocol):
    """Tells a progress bar how far the work is."""

    def __call__(self, done: int, note: str = "") -> None:
        """Add ``done`` units; ``note`` replaces the text at the end of the bar."""
        ...


def listen(listener: Listener | None) -> None:
    """From now on ``listener`` is told what happens in this process; None: nobody is."""
    global _listener
    _listener = listener


@contextmanager
def doing(place: str) -> Iterator[None]:
    """While the block runs, its progress is that of ``place``, e.g. ``arms/L32/seed-0/train``."""
    token = _place.set(place)
    _tell({"place": place, "what": "begin"})
    try:
        yield
    except BaseException as error:
        failed = isinstance(error, Exception) and not isinstance(error, StoppedError)
        _tell({"place": place, "what": "failed" if failed else "stopped"})
        raise
    else:
        _tell({"place": place, "what": "end"})
    finally:
        _place.reset(token)


def _tell(event: Event) -> None:
    """Hand a word to the listener of this process, or send it; whatever goes wrong there is not the work's matter."""
    try:
        if _listener is not None:
            _listener(event)
        elif path := os.environ.get(TELL):
            here = _sockets.get(os.getpid())
            if here is None:
                here = _sockets[os.getpid()] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            here.settimeout(0.0 if event["what"] == "step" else 1.0)
            here.sendto(json.dumps(event).encode(), path)
    except Exception:
        return


def _silent(done: int, note: str = "") -> None:
    del done, note


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Step]:
    """A bar titled ``title`` over ``total`` units (None: unknown) while the block runs."""
    told = _telling(total)
    if not sys.stderr.isatty() or os.environ.get(SILENT):
        yield told
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, note="")

        def step(done: int, note: str = "") -> None:
            bar.update(task, advance=done, note=note)
            told(done, note)

        yield step


def _telling(total: int | None) -> Step:
    """A step that tells the study's listener, if this work belongs to a study and somebody listens."""
    place = _place.get()
    if place is None or (_listener is None and not os.environ.get(TELL)):
        return _silent
    at, last = 0, 0.0

    def step(done: int, note: str = "") -> None:
        nonlocal at, last
        at += done
        now = time.monotonic()
        if now - last >= _PAUSE_SECONDS or at == total:
            last = now
            _tell({"place": place, "what": "step", "done": at, "total": total, "note": note[:_LONGEST_NOTE]})

    step(0)
    return step
