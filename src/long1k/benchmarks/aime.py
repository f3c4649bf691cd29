r"""AIME: 30 problems a year, answers from 0 to 999.

Thirty questions carry little: one run of one model is known to about ±18 points.  Ask each many times
(``sampling: {samples: 64}``).
"""

from __future__ import annotations

import re

from long1k.benchmarks import golds
from long1k.benchmarks.stored import Row, StoredBenchmark
from long1k.benchmarks.stored_config import StoredConfig
from long1k.errors import DataError


class AimeConfig(StoredConfig):
    """As for jsonl; a prompt that already ends with the instruction does not get it twice."""


class Aime24Config(AimeConfig):
    """AIME 2024, I and II."""

    default_repo = "HuggingFaceH4/aime_2024"
    default_split = "train"


class Aime25Config(AimeConfig):
    """AIME 2025, I and II."""

    default_repo = "math-ai/aime25"


class AimeBenchmark(StoredBenchmark):
    """AIME of any year with the math grader."""

    Config = AimeConfig

    def gold(self, row: Row, where: str) -> str | None:
        """The answer's field, or the box of the solution where a file has no such field.

        Raises:
            DataError: it is no whole number from 0 to 999.
        """
        found = golds.plain(self.field(row, "answer"))
        if found is None and isinstance(solution := self.field(row, "solution"), str):
            found = golds.of_solution(solution)
        if found is not None and not re.fullmatch(r"\d{1,3}", found := golds.whole(found)):
            raise DataError(
                f"{where}: '{found[:40]}' is no answer of the AIME (0 to 999)", "mend the row, or use type: jsonl"
            )
        return found


class Aime24Benchmark(AimeBenchmark):
    """AIME 2024 with the math grader."""

    Config = Aime24Config


class Aime25Benchmark(AimeBenchmark):
    """AIME 2025 with the math grader."""

    Config = Aime25Config
