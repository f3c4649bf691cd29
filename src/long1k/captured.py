"""What this process and its children print, caught below Python, so that it does not break what is drawn."""

from __future__ import annotations

import os
import re
import select
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress

_CODES = re.compile(
    r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.)|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]"
)
_LONGEST = 1 << 16


class Captured:
    """Standard output and error of this process and its children, read from a pipe.

    Args:
        terminal: a descriptor of what standard output was before.
        bar: the last line that was ended by a carriage return alone, as progress bars do.
    """

    def __init__(self, terminal: int, source: int) -> None:
        self.terminal, self.source = terminal, source
        self.bar = ""
        self._rest = b""

    def lines(self, wait_seconds: float) -> list[str]:
        """Whole lines printed since the last call, without control codes; waits so long for a first one."""
        found: list[str] = []
        while select.select([self.source], [], [], wait_seconds)[0]:
            data = os.read(self.source, 1 << 16)
            if not data:
                break
            found += self._split(data)
            wait_seconds = 0.0
            if len(found) > 1000:  # a flood is shown in pieces
                break
        return found

    def rest(self) -> list[str]:
        """What was printed without an end of line."""
        left, self._rest = _plain(self._rest), b""
        return [left] if left else []

    def _split(self, data: bytes) -> Iterator[str]:
        *whole, self._rest = (self._rest + data).split(b"\n")
        for line in whole:
            # Of a line that was written over and over only the last writing counts.
            yield _plain(line.rstrip(b"\r").rpartition(b"\r")[2])
            self.bar = ""
        if b"\r" in self._rest:
            *_, before, last = self._rest.split(b"\r")
            self.bar = _plain(last or before)
            self._rest = b"\r" + last
        elif len(self._rest) > _LONGEST:
            yield _plain(self._rest)
            self._rest = b""


def _plain(text: bytes) -> str:
    return _CODES.sub("", text.decode("utf-8", "replace").replace("\r", "").expandtabs()).rstrip()


@contextmanager
def captured() -> Iterator[Captured]:
    """While this lasts whatever is printed goes into a pipe; somebody must read it."""
    sys.stdout.flush()
    sys.stderr.flush()
    with ExitStack() as opened:
        before = []
        for number in (1, 2):  # one that is closed already is an error here
            before.append(os.dup(number))
            opened.callback(os.close, before[-1])
        source, sink = os.pipe()
        opened.pop_all()
    try:
        os.dup2(sink, 1)
        os.dup2(sink, 2)
        os.close(sink)
        yield Captured(before[0], source)
    finally:
        with suppress(OSError, ValueError):
            os.set_blocking(1, False)  # nobody reads any more: what does not fit is lost, and holds up nothing
            sys.stdout.flush()
            sys.stderr.flush()
        for number, kept in enumerate(before, start=1):
            os.dup2(kept, number)
            os.close(kept)
        os.close(source)
