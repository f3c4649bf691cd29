"""What the ranks of a run and the process that started them tell each other: files in ``work/ranks``.

progress.jsonl   a line for each logged step, written by rank 0, read by the starter as it grows
error-N.json     why rank N failed: the message and how to mend it, or the end of a traceback
pid-N            the process of rank N
log.txt          whatever ranks and torchrun write to their standard outputs
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import shutil
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import long1k.errors
from long1k.errors import EngineError, Long1kError, StoppedError
from long1k.tables import write_atomic

OnLog = Callable[[int, int, dict[str, float]], None]
PROGRESS = "progress.jsonl"
PARENT, NODE = "LONG1K_PARENT", "LONG1K_NODE"  # in the environment: who starts whom, on which machine
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def die_with_parent() -> None:
    """Be killed when the process that started this one dies, so that no rank trains on unseen (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    stated = os.environ.get(PARENT)
    if stated is not None and int(stated) != os.getppid():  # it died before the line above
        os._exit(1)
    os.environ[PARENT] = str(os.getpid())


def log_file(folder: Path, node: int) -> Path:
    """Where the standard outputs of a machine's ranks go."""
    return folder / f"log-{node}.txt"


def make_rank_folder(work: Path) -> Path:
    """An empty folder for the messages of one start."""
    folder = work / "ranks"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@contextmanager
def speaking(folder: Path, rank: int) -> Iterator[OnLog]:
    """Inside, this rank tells of its process and of its failure; the value writes a logged step down."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"pid-{os.environ.get(NODE, '0')}-{rank}").write_text(str(os.getpid()))
    path = folder / PROGRESS

    def on_log(step: int, steps: int, entry: dict[str, float]) -> None:
        with path.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps([step, steps, entry]) + "\n")

    try:
        yield on_log
    except Long1kError as error:
        known: dict[str, Any] = {"kind": type(error).__name__, "what": error.what, "mend": error.mend}
        if isinstance(error, StoppedError):
            known["signal"] = error.signal_number
        _write_error(folder, rank, known)
        sys.exit(error.exit_code)
    except Exception as error:
        trace = traceback.format_exc()
        print(trace, file=sys.stderr, flush=True)
        _write_error(folder, rank, {"kind": None, "what": f"{type(error).__name__}: {error}", "mend": None})
        sys.exit(1)


def _write_error(folder: Path, rank: int, error: dict[str, Any]) -> None:
    write_atomic(folder / f"error-{rank}.json", json.dumps(error).encode())


def follow(folder: Path, offset: int, on_log: OnLog | None) -> int:
    """Pass on the steps that were logged since ``offset`` (bytes); the new offset."""
    path = folder / PROGRESS
    if not path.is_file():
        return offset
    with path.open("rb") as handle:
        handle.seek(offset)
        new = handle.read()
    whole = new[: new.rfind(b"\n") + 1]
    for line in whole.splitlines():
        if on_log is not None:
            on_log(*json.loads(line))
    return offset + len(whole)


def rank_pids(folder: Path, node: int) -> list[int]:
    """The processes of the ranks on this machine that are known so far and still run."""
    pids = []
    for path in sorted(folder.glob(f"pid-{node}-*")):
        text = path.read_text()
        if text.isdecimal() and Path(f"/proc/{text}").exists():
            pids.append(int(text))
    return pids


def failure(folder: Path, exit_code: int, node: int = 0) -> Long1kError:
    """The error of the rank that failed first, as that rank saw it.

    When one rank fails, the others fail too, of a lost connection: an error of ours, whatever its rank,
    tells more than any of theirs, and of the others the first one.
    """
    found = [
        (json.loads(path.read_text()), path)
        for path in sorted(folder.glob("error-*.json"), key=_written)
        if path.is_file()
    ]
    ours = [(error, path) for error, path in found if error["kind"] is not None]
    log = f"all messages stand in {log_file(folder, node)}"
    for error, _ in ours:
        if "signal" in error:
            return StoppedError(error["what"], error["mend"], error["signal"])
        kind = getattr(long1k.errors, error["kind"], EngineError)
        made: Long1kError = Long1kError.__new__(kind)
        Long1kError.__init__(made, error["what"], error["mend"])
        return made
    for error, path in found:
        return EngineError(f"rank {path.stem.removeprefix('error-')} failed: {error['what']}", log)
    return EngineError(f"the ranks stopped with exit code {exit_code}{_killed(log_file(folder, node))}", log)


def _written(path: Path) -> int:
    return path.stat().st_mtime_ns


def _killed(log: Path) -> str:
    """A rank that was killed says nothing itself; the one that started it noted the signal."""
    text = log.read_text(errors="replace") if log.is_file() else ""
    if re.search(r"exitcode\s*: -9\b", text):
        return ": a rank was killed (signal 9), as happens when the machine's memory is full"
    return ""
