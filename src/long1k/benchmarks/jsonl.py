"""A benchmark of one's own: a question and a gold answer a row, in JSON Lines, JSON, CSV or Parquet."""

from __future__ import annotations

from long1k.benchmarks.stored import StoredBenchmark
from long1k.benchmarks.stored_config import StoredConfig


class JsonlBenchmarkConfig(StoredConfig):
    """Which file or data set to read, what its fields are called, and how to ask."""


class JsonlBenchmark(StoredBenchmark):
    """Every row is one item; a row that cannot be read stops the benchmark, since all must be asked."""

    Config = JsonlBenchmarkConfig
