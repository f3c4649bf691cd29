"""Minerva (OCWCourses): 272 university problems of physics and mathematics, answers with units in the problem."""

from __future__ import annotations

from long1k.benchmarks import golds
from long1k.benchmarks.stored import Row, StoredBenchmark, StoredConfig


class MinervaConfig(StoredConfig):
    """As for jsonl."""

    default_repo = "math-ai/minervamath"


class MinervaBenchmark(StoredBenchmark):
    """Minerva with the math grader."""

    Config = MinervaConfig

    def gold(self, row: Row, where: str) -> str | None:
        """The answer's field; where a file has none, the last box or closing statement of the solution."""
        found = golds.listed(self.field(row, "answer"))
        solution = self.field(row, "solution")
        return golds.of_solution(solution) if found is None and isinstance(solution, str) else found
