"""A small file in the folder of a run that says what works on it: for ``long1k status``, and for nothing else.

It is written by a rename, at most once a second, and removed when the run is finished.  A run that failed or was
stopped leaves it with the reason; one that was killed leaves it as it was, and is known by its process, which is gone.
No stage reads it, and no digest knows it.
"""

from __future__ import annotations

import json
import os
import shlex
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from long1k.resources import Resources, is_alive, started_at
from long1k.study_tree import Node
from long1k.tables import read_json

FILE = ".state.json"
VERSION = 1
SILENT_SECONDS = 60.0
"""After so long without a word from another machine nothing is known of a run there."""

Life = Literal["running", "failed", "stopped", "killed", "silent"]


@dataclass(frozen=True, slots=True)
class Process:
    """What works on a run: enough to know it again, and to start it again."""

    pid: int
    host: str
    began: float | None
    command: str
    folder: str

    @classmethod
    def this(cls) -> Process:
        """The process that asks; the command is that of its command line."""
        words = ["long1k", *sys.argv[1:]]
        try:
            folder = str(Path.cwd())
        except OSError:  # it was removed
            folder = "/"
        return cls(os.getpid(), socket.gethostname(), started_at(os.getpid()), shlex.join(words), folder)


@dataclass(slots=True)
class RunState:
    """The content of the file.

    Args:
        life: ``running`` as long as the process has not said otherwise.
        nodes: of stages that this run has touched, by key: state, started, seconds, done, total, note, rows.
        details: what a stage or a cell said at its end, by place.
    """

    process: Process
    started: float
    workers: int
    life: Life = "running"
    message: str = ""
    updated: float = 0.0
    nodes: dict[str, dict[str, Any]] = field(default_factory=dict)
    details: dict[str, str] = field(default_factory=dict)
    resources: dict[str, Any] | None = None


_KEPT = ("state", "started", "seconds", "rows", "done", "total", "note", "paced")


def write_state(root: Path, state: RunState, nodes: Sequence[Node], resources: Resources | None) -> None:
    """Write the file of a run; it is not forced to the disk, as a lost one costs nothing."""
    state.updated = time.time()
    state.nodes = {node.key: {name: getattr(node, name) for name in _KEPT} for node in nodes if node.state != "waiting"}
    state.resources = None if resources is None else asdict(resources)
    temporary = root / f"{FILE}.{os.getpid()}.tmp"
    try:
        temporary.write_text(json.dumps({"version": VERSION, **asdict(state)}), encoding="utf-8")
        os.replace(temporary, root / FILE)
    finally:
        temporary.unlink(missing_ok=True)  # half of one, on a full disk


def remove_state(root: Path) -> None:
    """A finished run needs none."""
    (root / FILE).unlink(missing_ok=True)
    for path in root.glob(f"{FILE}.*.tmp"):  # of one that was killed while it wrote
        path.unlink(missing_ok=True)


def read_state(root: Path) -> RunState | None:
    """The file of a run, with ``life`` as it is now; None if there is none, or none that can be read."""
    found = read_json(root / FILE)
    if found.pop("version", None) != VERSION:
        return None
    try:
        state = RunState(**{**found, "process": Process(**found["process"])})
        if state.life == "running":
            state.life = _life(state)
    except (KeyError, TypeError, ValueError):
        return None
    return state


def _life(state: RunState) -> Life:
    """Whether the process that last wrote still lives: a number is given again, its beginning tells them apart."""
    process = state.process
    if process.host != socket.gethostname():
        return "running" if time.time() - state.updated < SILENT_SECONDS else "silent"
    if process.began is None:  # where the beginning of a process cannot be read: the number must do
        return "running" if is_alive(process.pid) else "killed"
    began = started_at(process.pid)
    return "running" if began is not None and abs(began - process.began) <= 1.0 else "killed"
