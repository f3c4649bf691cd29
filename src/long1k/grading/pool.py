"""Worker processes for work that cannot be trusted to end, or to stay small.

Symbolic algebra on model output can run for years (`2003^{2002^{2001}}`), take all memory, or crash its
interpreter. A thread cannot be stopped, a process can: each worker is a Python process of its own that speaks
JSON lines over pipes, has a cap on its memory, and is killed and replaced when an answer takes too long.
"""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from long1k.grading.normalize import MAX_ANSWER_CHARS
from long1k.grading.worker import WALL_FACTOR

Status = Literal["correct", "wrong", "timeout", "error"]

START_SECONDS = 120.0
"""How long a worker may take to import its libraries (about a second on an idle machine)."""
_MAX_REPLY_CHARS = 100_000


@dataclass(frozen=True)
class Verdict:
    """What a grader says of one answer; `note` says why in a few words, and may be empty."""

    status: Status
    note: str = ""


class GraderPool:
    """Up to `num_workers` persistent processes that each compare one (gold, answer) pair at a time.

    Processes start at the first use. Each pair is tried exactly once: a worker that takes longer than
    `timeout_seconds` of computing is killed (status "timeout"), one that dies or exceeds `memory_mib` is
    replaced (status "error"). `check` names the "module:function" that workers call as `check(gold, answer)` for a
    (status, note). Use it as a context manager, or call `close`.
    """

    def __init__(
        self,
        num_workers: int = 1,
        timeout_seconds: float = 5.0,
        memory_mib: int = 2048,
        check: str = "long1k.grading.worker:check",
    ) -> None:
        if num_workers < 1 or timeout_seconds <= 0 or memory_mib < 64:
            raise ValueError(
                "GraderPool needs num_workers >= 1, timeout_seconds > 0 and memory_mib >= 64, "
                f"got {num_workers}, {timeout_seconds} and {memory_mib}"
            )
        self.num_workers = num_workers
        self.timeout_seconds = timeout_seconds
        self.memory_mib = memory_mib
        self._check = check
        self._workers: list[_Worker] = []
        self._closed = False

    def start(self) -> None:
        """Start all workers now, and wait until they are ready; else they start with the first pairs."""
        self._workers = [worker for worker in self._workers if not worker.is_gone()]
        while len(self._workers) < self.num_workers:
            self._workers.append(_Worker(self._check, self.memory_mib, self.timeout_seconds))
        while not all(worker.ready for worker in self._workers):
            self._wait()
            for worker in self._workers:
                worker.poll()

    def run(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """Return one verdict for each (gold, answer), in the order of `pairs`.

        Raises RuntimeError when no worker can be started: that is the machine's fault, not an answer's.
        """
        if self._closed:
            raise RuntimeError("this GraderPool is closed")
        verdicts: dict[int, Verdict] = {}
        waiting: deque[int] = deque()
        for index, (gold, answer) in enumerate(pairs):
            if max(len(gold), len(answer)) > MAX_ANSWER_CHARS:
                verdicts[index] = Verdict("error", f"longer than {MAX_ANSWER_CHARS} characters")
            else:
                waiting.append(index)
        try:
            self._drain(pairs, waiting, verdicts)
        except BaseException:
            # A worker left in the middle of a pair would answer the next question with this one's verdict.
            self._stop_workers()
            raise
        return [verdicts[index] for index in range(len(pairs))]

    def _drain(self, pairs: Sequence[tuple[str, str]], waiting: deque[int], verdicts: dict[int, Verdict]) -> None:
        while waiting or any(worker.job is not None for worker in self._workers):
            self._workers = [worker for worker in self._workers if not worker.is_gone()]
            while waiting and len(self._workers) < min(self.num_workers, len(waiting) + self._num_busy()):
                self._workers.append(_Worker(self._check, self.memory_mib, self.timeout_seconds))
            for worker in self._workers:
                if waiting and worker.ready and worker.job is None:
                    index = waiting.popleft()
                    failure = worker.send(index, *pairs[index])
                    if failure is not None:
                        verdicts[index] = failure
            self._wait()
            for worker in self._workers:
                index_or_none = worker.job
                verdict = worker.poll()
                if verdict is not None and index_or_none is not None:
                    verdicts[index_or_none] = verdict

    def _num_busy(self) -> int:
        return sum(1 for worker in self._workers if worker.job is not None)

    def _wait(self) -> None:
        """Sleep until a worker has something to say or one's time is over."""
        active = [worker for worker in self._workers if not worker.dead and worker.deadline is not None]
        if not active:
            return
        nearest = min(worker.deadline for worker in active if worker.deadline is not None)
        with selectors.DefaultSelector() as selector:
            for worker in active:
                selector.register(worker.stdout_fd, selectors.EVENT_READ)
            selector.select(max(0.0, nearest - time.monotonic()))

    def _stop_workers(self) -> None:
        for worker in self._workers:
            worker.kill()
        self._workers = []

    def close(self) -> None:
        """End all workers. A closed pool cannot be used again."""
        self._closed = True
        self._stop_workers()

    def __enter__(self) -> GraderPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Worker:
    """One process: starting (`ready` false), idle (`job` None), busy, or dead."""

    def __init__(self, check: str, memory_mib: int, timeout_seconds: float) -> None:
        self.timeout_seconds = timeout_seconds
        self.memory_mib = memory_mib
        self.ready = False
        self.dead = False
        self.job: int | None = None
        self.deadline: float | None = time.monotonic() + START_SECONDS
        self._buffer = b""
        # The package may be importable here only through sys.path: hand its folder on. -P keeps the working
        # directory, where a hostile sympy.py could lie, off the worker's path.
        package_root = str(Path(__file__).resolve().parents[2])
        paths = [package_root, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONWARNINGS": "ignore"}
        arguments = [check, str(memory_mib), str(timeout_seconds)]
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "long1k.grading.worker", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        assert self._process.stdout is not None
        self.stdout_fd = self._process.stdout.fileno()
        os.set_blocking(self.stdout_fd, False)

    def is_gone(self) -> bool:
        """True for a worker that cannot take a job; reaps one that died while it was idle."""
        if not self.dead and self.ready and self.job is None and self._process.poll() is not None:
            self.kill()
        return self.dead

    def send(self, index: int, gold: str, answer: str) -> Verdict | None:
        """Give the worker one pair; returns a verdict only when it could not be handed over."""
        assert self._process.stdin is not None
        line = json.dumps({"id": index, "gold": gold, "answer": answer}) + "\n"
        try:
            self._process.stdin.write(line.encode("ascii"))
            self._process.stdin.flush()
        except OSError:
            return self._died()
        self.job = index
        self.deadline = time.monotonic() + self.timeout_seconds * WALL_FACTOR
        return None

    def poll(self) -> Verdict | None:
        """Read what has arrived; returns the verdict of the current job if it is decided."""
        if self.dead or self.deadline is None:
            return None
        at_end = False
        with contextlib.suppress(BlockingIOError):
            while chunk := os.read(self.stdout_fd, 65536):
                self._buffer += chunk
            at_end = True
        if b"\n" in self._buffer:
            line, self._buffer = self._buffer.split(b"\n", 1)
            return self._receive(line)
        if at_end or len(self._buffer) > _MAX_REPLY_CHARS:
            return self._died()
        if time.monotonic() >= self.deadline:
            if not self.ready:
                self.kill()
                raise RuntimeError(f"a grading worker did not start within {START_SECONDS:.0f} seconds")
            self.kill()
            return Verdict("timeout", f"no verdict within {self.timeout_seconds:g} seconds")
        return None

    def _receive(self, line: bytes) -> Verdict | None:
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError:
            return self._died()
        self.deadline = None
        if not self.ready:
            if reply.get("ready") is not True:
                self.kill()
                raise RuntimeError(f"a grading worker cannot start: {reply.get('note', 'unknown reason')}")
            self.ready = True
            return None
        if reply.get("id") != self.job or reply.get("status") not in ("correct", "wrong", "error"):
            return self._died()
        self.job = None
        if reply.get("retire"):
            self.kill()
        return Verdict(reply["status"], str(reply.get("note", ""))[:300])

    def _died(self) -> Verdict:
        code = self._process.poll()
        started = self.ready
        self.kill()
        code = self._process.returncode if code is None else code
        if not started:
            raise RuntimeError(f"a grading worker ended while it was starting (exit status {code})")
        if code < 0 and -code in (signal.SIGPROF, signal.SIGALRM):
            # Its computing time was used up; or the clock's, which normally ends behind our own deadline.
            return Verdict("timeout", f"no verdict within {self.timeout_seconds:g} seconds")
        cap = f"memory cap {self.memory_mib} MiB"
        return Verdict("error", f"the grading worker died (exit status {code}, {cap})")

    def kill(self) -> None:
        """End the process now; nothing of value is lost, it holds no state."""
        self.dead = True
        self.job = None
        self.deadline = None
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._process.wait()
