"""AMC: competition problems asked without their choices; published golds are floats, 42.0 for 42."""

from __future__ import annotations

from long1k.benchmarks import golds
from long1k.benchmarks.stored import Row, StoredBenchmark
from long1k.benchmarks.stored_config import StoredConfig


class AmcConfig(StoredConfig):
    """AMC 12 of 2022 and 2023."""

    default_repo = "AI-MO/aimo-validation-amc"
    default_split = "train"


class Amc23Config(AmcConfig):
    """AMC 12 of 2023, the 40 problems that are often reported."""

    default_repo = "math-ai/amc23"
    default_split = "test"


class AmcBenchmark(StoredBenchmark):
    """AMC with the math grader."""

    Config = AmcConfig

    def gold(self, row: Row, where: str) -> str | None:
        """The answer, as a whole number where it is one."""
        found = golds.plain(self.field(row, "answer"))
        return None if found is None else golds.whole(found)


class Amc23Benchmark(AmcBenchmark):
    """The 40 problems of 2023 with the math grader."""

    Config = Amc23Config
