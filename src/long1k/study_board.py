"""The board of a run: every stage of a study with its state, as told by the run's processes; drawn, and written down.

A thread of its own listens to the workers, writes the state file and draws.  Nothing that goes wrong there reaches the
run: what cannot be heard, written or drawn is left out.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import tempfile
import textwrap
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

from long1k.errors import StoppedError
from long1k.progress import SILENT, TELL, Event, listen
from long1k.resources import Measured, Resources
from long1k.study_layout import Layout
from long1k.study_screen import Screen, can_draw
from long1k.study_state import Process, RunState, remove_state, write_state
from long1k.study_tree import FINISHED, Node, look, plan_nodes
from long1k.tables import Manifest
from long1k.wide import WIDTH

_TICK_SECONDS = 0.25
_WRITE_SECONDS = 1.0
_LOOK_SECONDS = 2.0  # at the machine


class Board:
    """Follows a run while its block lasts.

    Args:
        live: draw the tree, if standard output is a terminal that can and bars are not switched off.
    """

    def __init__(self, layout: Layout, *, workers: int, live: bool) -> None:
        self.root, self.workers = layout.root, workers
        self.nodes = {node.key: node for node in plan_nodes(layout)}
        self.state = RunState(Process.this(), time.time(), workers)
        self.live = live and can_draw() and not os.environ.get(SILENT)
        self.lock = threading.RLock()
        self.resources: Resources | None = None
        self._changed, self._ended = True, threading.Event()
        self._stack = ExitStack()
        self._thread = threading.Thread(target=self._work, name="board", daemon=True)
        self._screen: Screen | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Board:
        with ExitStack() as opened:  # which is undone if it cannot be opened whole
            self._stack = opened
            with suppress(OSError):
                self._open_socket()
            listen(self.hear)
            opened.callback(listen, None)
            if self.live:
                self._open_screen()
            self._write(time.time())
            self._thread.start()
            self._stack = opened.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        now = time.time()
        try:
            self._ended.set()
            self._thread.join(timeout=30)
            with self.lock:
                failed = isinstance(error, Exception) and not isinstance(error, StoppedError)
                for node in self.nodes.values():
                    if error is not None and node.state == "running":
                        node.state = "failed" if failed else "stopped"
                if error is not None:
                    self.state.life = "failed" if failed else "stopped"
                    self.state.message = str(error).split("\n")[0][:300] if failed else ""
            self._draw(now, last=True)
            with suppress(Exception):
                if error is None:
                    remove_state(self.root)
                else:
                    self._changed = True
                    self._write(now)
        finally:
            with suppress(Exception):  # a terminal that was closed meanwhile: the run is what it is
                self._stack.close()

    def hear(self, event: Event) -> None:
        """A word of ``progress``: of this process, or of a worker."""
        with self.lock:
            node = self.nodes.get(str(event.get("place")))
            if node is None:
                return
            what = event.get("what")
            self._changed = True
            if what == "begin":
                node.state, node.started, node.paced = "running", time.time(), None
                node.done, node.total, node.note = 0, None, ""
            elif what == "step" and node.state == "running":
                total = event.get("total")
                node.done, node.note = int(event.get("done") or 0), str(event.get("note") or "")
                node.total = None if total is None else int(total)
                if node.done and (node.paced is None or node.done < node.paced[1]):  # or another bar of the same stage
                    node.paced = time.time(), node.done
            elif what == "end":
                self._settle(node)
            elif what in ("failed", "stopped"):
                node.state = what

    def kept(self, place: str) -> None:
        """All stages below a place are finished already, and current."""
        with self.lock:
            for node in self._below(place):
                if node.state not in FINISHED:
                    look(node)
                    node.state, self._changed = "kept", True

    def settle(self, place: str) -> None:
        """All stages below a place have ended: what a lost word did not say is read from their folders."""
        with self.lock:
            for node in self._below(place):
                if node.state not in FINISHED:
                    self._settle(node)

    def detail(self, place: str, text: str) -> None:
        """What a stage or a cell says of its result."""
        with self.lock:
            self.state.details[place] = text
            self._changed = True

    def _below(self, place: str) -> Iterable[Node]:
        return [node for key, node in self.nodes.items() if key == place or key.startswith(f"{place}/")]

    def _settle(self, node: Node) -> None:
        started, self._changed = node.started, True
        created = look(node)
        node.started = started
        if created is None:  # analyzed in memory, say: it took what it took
            node.state, node.seconds = "done", None if started is None else time.time() - started
        elif not self.is_fresh(created):
            node.state = "kept"

    def is_fresh(self, created: str) -> bool:
        """Whether what was made then was made by this run."""
        return created >= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.state.started))

    def _open_socket(self) -> None:
        folder = tempfile.mkdtemp(prefix="long1k-")
        self._stack.callback(shutil.rmtree, folder, ignore_errors=True)
        heard = self._stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        heard.setblocking(False)
        path = str(Path(folder) / "told")
        heard.bind(path)  # too long a name, say: then nobody listens
        self._socket = heard
        self._set(TELL, path)

    def _open_screen(self) -> None:
        """Draw from now on; lines are said instead where that cannot begin."""
        try:
            screen = self._stack.enter_context(Screen(self.root.name))
        except Exception:
            self.live = False
            return
        self._screen = screen
        self._set(SILENT, "1")

    def _set(self, name: str, value: str) -> None:
        """A variable that the workers inherit; afterwards it is as it was."""
        before = os.environ.get(name)
        os.environ[name] = value
        if before is None:
            self._stack.callback(os.environ.pop, name, None)
        else:
            self._stack.callback(os.environ.__setitem__, name, before)

    def _work(self) -> None:
        """The thread: listen, look, write, draw; each may fail, and is tried again."""
        measured, looked, written = Measured(self.root), 0.0, time.time()
        while not self._ended.is_set():
            if self._screen is None:
                self._ended.wait(_TICK_SECONDS)
            else:
                started = time.monotonic()
                with suppress(Exception):
                    self._screen.pause(_TICK_SECONDS)  # reads what is printed while it waits
                self._ended.wait(max(0.0, started + _TICK_SECONDS - time.monotonic()))
            with suppress(Exception):
                self._listen()
            now = time.time()
            if now - looked >= _LOOK_SECONDS:
                with suppress(Exception):
                    self.resources = measured.look()
                looked = now
            if now - written >= _WRITE_SECONDS:
                self._write(now)
                written = now
            self._draw(now)
        with suppress(Exception):
            self._listen()

    def _listen(self) -> None:
        if self._socket is None:
            return
        while True:
            try:
                event: Any = json.loads(self._socket.recv(1 << 16))
            except (BlockingIOError, InterruptedError):
                return
            except ValueError:
                continue
            if isinstance(event, dict):
                self.hear(event)

    def _write(self, now: float) -> None:
        with suppress(Exception), self.lock:
            if self._changed or now - self.state.updated > 10:
                write_state(self.root, self.state, list(self.nodes.values()), self.resources)
                self._changed = False

    def _draw(self, now: float, last: bool = False) -> None:
        if self._screen is None:
            return
        with suppress(Exception):
            with self.lock:
                nodes = [replace(node) for node in self.nodes.values()]
                state = replace(self.state, details=dict(self.state.details))
            # Outside of the lock, for which the run would wait: a terminal may take nothing for a while (Ctrl-S).
            self._screen.draw(nodes, state, self.resources, now, last=last)


class Told:
    """What a run says as its steps end: on the board, and in lines where no tree is drawn."""

    def __init__(self, board: Board, say: Callable[[str], None]) -> None:
        self.board, self.say = board, say

    def __call__(self, place: str, title: str, manifest: Manifest, detail: str) -> None:
        """A stage or a cell has ended."""
        self.board.detail(place, detail)
        self.line(title, detail, self.board.is_fresh(manifest.created))

    def line(self, title: str, detail: str, fresh: bool) -> None:
        """A line of its own, unless a tree shows what it says."""
        if not self.board.live:
            spent = time.time() - self.board.state.started
            start, kept = f"[{spent:6.1f} s] {title:<34} ", "" if fresh else "  (kept)"
            first, *more = textwrap.wrap(
                detail, WIDTH - len(start) - len(kept), break_long_words=False, break_on_hyphens=False
            ) or [""]
            self.say("\n".join((f"{start}{first}{kept}", *(" " * len(start) + line for line in more))))
