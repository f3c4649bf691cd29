"""What every measurement shares: the data, the clock, and the row of the table."""

from __future__ import annotations

import gc
import gzip
import json
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
DATA = Path(os.environ.get("LONG1K_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
TRACES = ("limo_multi_source", "math_4problems_many_rollouts", "math_r1_distill_uzaymacar", "aime_journey_shortcut")


@dataclass(frozen=True)
class Row:
    """One line of the table: ours and the peer on the same data in the same run.

    ``equal`` says in words how the results compare, ``met`` whether ratio and equality reach the target.
    """

    what: str
    data: str
    ours_seconds: float
    peer: str
    peer_seconds: float
    target: str
    equal: str
    met: bool
    note: str = ""

    @property
    def ratio(self) -> float:
        """How many times faster ours is."""
        return self.peer_seconds / self.ours_seconds


def timed(function: Callable[[], T], repeats: int = 1) -> tuple[float, T]:
    """(least wall seconds of ``repeats`` runs, last result)."""
    seconds, results = [], []
    for _ in range(repeats):
        gc.collect()
        results.clear()
        started = time.perf_counter()
        results.append(function())
        seconds.append(time.perf_counter() - started)
    return min(seconds), results[0]


def real_responses() -> list[str]:
    """The responses of all real trace files, in order."""
    texts = []
    for name in TRACES:
        with gzip.open(DATA / "traces" / f"{name}.jsonl.gz", "rt", encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                texts.append(next(row[key] for key in ("response", "output", "solution", "reasoning") if row.get(key)))
    return texts


def megabytes(texts: list[str]) -> float:
    """Size in UTF-8, in millions of bytes."""
    return sum(len(text.encode()) for text in texts) / 1e6
