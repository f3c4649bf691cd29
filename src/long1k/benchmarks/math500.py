"""MATH500: the 500 test problems of MATH chosen for PRM800K, from a local JSON Lines file."""

from __future__ import annotations

from long1k.benchmarks.jsonl import JsonlBenchmark, JsonlBenchmarkConfig


class Math500Config(JsonlBenchmarkConfig):
    """As for jsonl; the field names are those of the published file."""

    question: str = "problem"
    answer: str = "answer"


class Math500Benchmark(JsonlBenchmark):
    """MATH500 with the math grader."""

    Config = Math500Config
