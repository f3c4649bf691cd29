"""Jobs in local processes, one thread each, that die with their parent."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from typing import Any, TypeVar

from long1k.errors import EngineError, StoppedError
from long1k.progress import SILENT

J = TypeVar("J")
T = TypeVar("T")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS")
_WAITING = 2  # jobs a worker that are sent ahead, so that none idles while the next is read


def _start(threads: int, silent: bool) -> None:
    """Set up a worker: its threads, and its end when the parent is gone (a kill -9 tells nobody)."""
    if silent:
        os.environ[SILENT] = "1"
    for name in THREADS:
        os.environ[name] = str(threads)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    os.environ["HF_HUB_OFFLINE"] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, _leave)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _leave(number: int, _frame: Any) -> None:
    raise SystemExit(128 + number)


def _run(function: Callable[[J], T], job: J) -> T:
    """A job in a worker; one that was stopped ends the worker, which would else take the next job."""
    try:
        return function(job)
    except (StoppedError, SystemExit) as stopped:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stopped.exit_code if isinstance(stopped, StoppedError) else 143)


def _end(processes: list[Any]) -> None:
    """Ask workers to end, and wait until they have: one that trains saves first.  A second signal kills them."""
    try:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
    finally:
        for process in processes:
            process.kill()


@contextmanager
def _inherited(threads: int) -> Iterator[None]:
    """Processes that are started inside know their number of threads before they import anything; ours stays."""
    added = [name for name in THREADS if name not in os.environ]
    os.environ.update(dict.fromkeys(added, str(threads)))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def map_parts(
    function: Callable[[J], T], jobs: Iterable[J], num_workers: int, address: str | None = None
) -> Iterator[tuple[J, T]]:
    """Run every job in local processes, or here if there is one worker only; see ``Executor.map``."""
    del address
    if num_workers == 1:
        for job in jobs:
            yield job, function(job)
    else:
        yield from run_jobs(function, jobs, num_workers)


def run_jobs(
    function: Callable[[J], T], jobs: Iterable[J], num_workers: int, threads: int = 1
) -> Iterator[tuple[J, T]]:
    """Run ``function(job)`` for every job; yields (job, result) as they finish.

    Jobs are taken from their iterable as workers get free, so that a long list of large jobs is never held.

    Args:
        function: importable from a module (it is sent to spawned processes).
        num_workers: processes; 1 still means a process of its own, so that a leak ends with it.
        threads: computing threads of each process.

    Raises:
        Long1kError: the first error of a job, after the running jobs have ended.
        EngineError: a worker died, out of memory most likely.
    """
    source = iter(jobs)
    first = list(islice(source, num_workers * _WAITING))
    if not first:
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(
        min(num_workers, len(first)), mp_context=context, initializer=_start, initargs=(threads, len(first) > 1)
    )
    job = first[0]
    try:
        with _inherited(threads):  # all processes are started with the first job
            futures: dict[Future[Any], J] = {pool.submit(_run, function, one): one for one in first}
        while futures:
            done, _ = wait(futures, return_when=FIRST_COMPLETED)
            for future in done:
                job = futures.pop(future)
                result = future.result()
                futures |= {pool.submit(_run, function, more): more for more in islice(source, 1)}
                yield job, result
    except BrokenProcessPool:
        raise EngineError(f"a worker process died during {job}", "most likely memory: use --workers 1") from None
    except Exception:
        raise
    except BaseException:  # stopped from outside
        _end(list((pool._processes or {}).values()))  # what they had finished is on disk
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
