"""MATH500: the 500 test problems of MATH chosen for PRM800K, with subject, level and worked solution."""

from __future__ import annotations

from long1k.benchmarks.stored import StoredBenchmark
from long1k.benchmarks.stored_config import StoredConfig


class Math500Config(StoredConfig):
    """As for jsonl; the field names are those of the published file."""

    default_repo = "HuggingFaceH4/MATH-500"


class Math500Benchmark(StoredBenchmark):
    """MATH500 with the math grader."""

    Config = Math500Config
