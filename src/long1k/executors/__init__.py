"""Where the parts of a table are worked on: here, in local processes, or as Ray tasks.

What a part becomes is decided by the part alone, so that every executor and every number of
workers gives the same tables.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from long1k.errors import RecipeError
from long1k.plugins import load_plugin

J = TypeVar("J")
T = TypeVar("T")

EXECUTORS = {
    "local": "long1k.executors.local:map_parts",
    "ray": "long1k.executors.ray:map_parts",
}


@dataclass(frozen=True, slots=True)
class Executor:
    """How many workers, and where.

    Args:
        workers: processes (local) or tasks at a time (Ray).
        kind: a key of EXECUTORS.
        address: of a running Ray cluster; None starts one on this machine.
    """

    workers: int = 1
    kind: str = "local"
    address: str | None = None

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise RecipeError(f"{self.workers} workers", "give at least one")
        if self.kind not in EXECUTORS:
            raise RecipeError(f"unknown executor '{self.kind}'", f"known: {', '.join(EXECUTORS)}")
        if self.address is not None and self.kind != "ray":
            raise RecipeError("only the executor ray has an address", "add --executor ray, or leave --address out")

    def map(self, function: Callable[[J], T], jobs: Iterable[J]) -> Iterator[tuple[J, T]]:
        """Yield (job, ``function(job)``) as they finish; at most a few jobs a worker wait at any time.

        Args:
            function: importable from a module, as are the jobs' types: both travel to other processes.

        Raises:
            Long1kError: the first error of a job.
            EngineError: a worker died.
        """
        mapped: Iterator[tuple[J, T]] = load_plugin(self.kind, EXECUTORS, "executor")(
            function, jobs, self.workers, self.address
        )
        return mapped
