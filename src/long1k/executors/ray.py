"""Jobs as Ray tasks, on a running cluster or on one started on this machine.

Tasks read their part from, and write their result to, paths: on several machines these must be
on a file system that all of them see.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from long1k.errors import EngineError, Long1kError
from long1k.plugins import need

J = TypeVar("J")
T = TypeVar("T")
_WAITING = 2  # jobs a worker that are sent ahead, so that none idles while the next is read
_KNOCK_SECONDS = 5


def map_parts(
    function: Callable[[J], T], jobs: Iterable[J], num_workers: int, address: str | None
) -> Iterator[tuple[J, T]]:
    """Run every job as a Ray task; yields (job, result) as they finish.

    Raises:
        Long1kError: the first error of a job.
        EngineError: the cluster cannot be reached, or a task's process died.
    """
    ray = need("ray")
    ours = not ray.is_initialized()
    if ours:
        _connect(ray, num_workers, address)
    # One task, one thread: what runs beside it on a node is Ray's to decide.
    remote = ray.remote(num_cpus=1, max_retries=0)(_run)
    here = str(Path.cwd())
    source = iter(jobs)
    waiting: dict[Any, J] = {}
    try:
        while True:
            for job in islice(source, num_workers * _WAITING - len(waiting)):
                waiting[remote.remote(here, function, job)] = job
            if not waiting:
                return
            done, _ = ray.wait(list(waiting), num_returns=1)
            for reference in done:
                job = waiting.pop(reference)
                yield job, _result(ray, reference, job)
    finally:
        for reference in waiting:
            ray.cancel(reference, force=True)
        if ours:
            ray.shutdown()


def _run(folder: str, function: Callable[[J], T], job: J) -> T:
    """A job where relative paths mean what they mean to whoever gave them, as in a local process."""
    if Path(folder).is_dir():
        os.chdir(folder)
    return function(job)


def _connect(ray: Any, num_workers: int, address: str | None) -> None:
    settings: dict[str, Any] = {"log_to_driver": False, "include_dashboard": False, "logging_level": "error"}
    if address is None:
        settings["num_cpus"] = num_workers
    else:
        settings = {"address": address, "log_to_driver": False, "logging_level": "error"}
    # Workers import this package as this process does, installed or not.
    paths = os.pathsep.join(p for p in (_root(), os.environ.get("PYTHONPATH", "")) if p)
    settings["runtime_env"] = {"env_vars": {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}}
    if address is not None and address != "auto":
        _knock(address)
    try:
        ray.init(**settings)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"the Ray cluster at {address}" if address else "a local Ray"
        raise EngineError(f"cannot reach {where}: {error}", "check --address; `ray status` shows a cluster") from None


def _knock(address: str) -> None:
    """Fail in seconds where nobody listens; Ray itself would go on trying for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=_KNOCK_SECONDS).close()
    except (OSError, ValueError) as error:
        raise EngineError(
            f"no Ray cluster at {address}: {error}", "give host:port as `ray start --head` prints it, or auto"
        ) from None


def _root() -> str:
    return str(Path(__file__).resolve().parents[2])


def _result(ray: Any, reference: Any, job: object) -> Any:
    try:
        return ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, Long1kError):
            raise cause from None
        raise
    except ray.exceptions.RayError as error:
        raise EngineError(f"a Ray task was lost during {job}: {error}", "run the same command again") from None
