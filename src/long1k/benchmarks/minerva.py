"""Minerva (OCWCourses): 272 university problems of physics and mathematics, answers with units in the problem."""

from __future__ import annotations

from long1k.benchmarks import golds
from long1k.benchmarks.stored import Row, StoredBenchmark
from long1k.benchmarks.stored_config import StoredConfig


class MinervaConfig(StoredConfig):
    """As for jsonl."""

    default_repo = "math-ai/minervamath"


class MinervaBenchmark(StoredBenchmark):
    """Minerva with the math grader."""

    Config = MinervaConfig

    def gold(self, row: Row, where: str) -> str | None:
        r"""The answer's field; where a file has none, the last box or closing statement of the solution.

        Powers of ten stand there as programs write them; 4.5e33 becomes 4.5 \times 10^{33}, as models write it.
        """
        found = golds.listed(self.field(row, "answer"))
        solution = self.field(row, "solution")
        if found is None and isinstance(solution, str):
            found = golds.of_solution(solution)
        return None if found is None else golds.powers(found)
