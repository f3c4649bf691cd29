"""A run's tree on the terminal while it goes on; what libraries print becomes lines above it."""

from __future__ import annotations

import os
import sys
import termios
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from long1k.captured import Captured, captured
from long1k.resources import Resources
from long1k.study_state import RunState
from long1k.study_tree import Node, estimate
from long1k.study_view import clock, drawn, head, lines
from long1k.wide import WIDTH

_PIECES = 100  # of what is still to be printed at the end; a child that never stops must not hold up the run


@contextmanager
def _quiet_keys(terminal: int) -> Iterator[None]:
    """Ctrl-C is not written as ^C into the middle of the tree; nothing else about the terminal changes."""
    if not in_front(terminal):
        yield
        return
    try:
        before = termios.tcgetattr(terminal)
        quiet = termios.tcgetattr(terminal)
        quiet[3] &= ~termios.ECHOCTL
        termios.tcsetattr(terminal, termios.TCSANOW, quiet)
    except (termios.error, OSError):
        yield
        return
    try:
        yield
    finally:
        # In the background by now it would be stopped for that, and the terminal's settings are another's.
        with suppress(termios.error, OSError):
            if in_front(terminal):
                termios.tcsetattr(terminal, termios.TCSANOW, before)


def in_front(terminal: int) -> bool:
    """Whether this process is in the foreground of a terminal; of one that controls no process everybody is."""
    try:
        return os.tcgetpgrp(terminal) == os.getpgrp()
    except OSError:
        return True


def can_draw() -> bool:
    """Whether standard output is a terminal that can move its cursor, and others do not write to at the same time."""
    if not sys.stdout.isatty() or os.environ.get("TERM", "").lower() in ("", "dumb", "unknown"):
        return False
    return in_front(sys.stdout.fileno())


class SteadyConsole(Console):
    """A console that leaves the cursor where it is seen: a process that is killed could not show it again."""

    def show_cursor(self, show: bool = True) -> bool:
        """Do nothing."""
        del show
        return False


class Screen:
    """Draws on the terminal while its block lasts; the last drawing stays.

    Args:
        name: of the run.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self._stack = ExitStack()

    def __enter__(self) -> Screen:
        encoding = sys.stdout.encoding or "utf-8"
        with ExitStack() as opened:  # which is undone if it cannot be opened whole
            self._caught: Captured = opened.enter_context(captured())
            file = opened.enter_context(
                os.fdopen(os.dup(self._caught.terminal), "w", encoding=encoding, errors="replace")
            )
            self.console = SteadyConsole(file=file, highlight=False, markup=False, emoji=False)
            self._fit()
            opened.enter_context(_quiet_keys(self._caught.terminal))
            self._live = opened.enter_context(
                Live(console=self.console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
            )
            self._stack = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._stack.close()

    def pause(self, seconds: float) -> None:
        """Wait; what is printed meanwhile goes above the tree."""
        self._print(self._caught.lines(seconds))

    def draw(
        self, nodes: Sequence[Node], state: RunState, resources: Resources | None, now: float, *, last: bool
    ) -> None:
        """The tree as it is now."""
        self._fit()
        left = estimate(nodes, state.workers, now) if state.life == "running" and not last else None
        life = "finished" if last and state.life == "running" else state.life
        ended = f"after {clock(now - state.started)}" if life != "running" else ""
        first = head(self.name, nodes, life, now - state.started, left, ended)
        after = (resources.line() if resources is not None and not last else "", "" if last else self._caught.bar)
        # One line for the first, two beneath, and one where the cursor stands.
        found = lines(nodes, state.details, now, height=max(3, self.console.size.height - 4))
        if last:
            for _ in range(_PIECES):
                if not (some := self._caught.lines(0.0)):
                    break
                self._print(some)
            self._print(self._caught.rest())
        self._live.update(drawn(first, found, *after), refresh=True)

    def _print(self, found: Sequence[str]) -> None:
        for line in found:
            self.console.print(Text(line), soft_wrap=True)

    def _fit(self) -> None:
        """To the window as it is now: standard output is a pipe for rich, which would not find it."""
        try:
            columns, rows = os.get_terminal_size(self._caught.terminal)
        except OSError:
            columns, rows = 80, 24
        self.console.size = (min(columns or 80, WIDTH), rows or 24)
