"""AIME 2024 and 2025 (30 problems each), from a local JSON Lines file.

Thirty questions carry little: one run of one model is known to about ±18 points.
"""

from __future__ import annotations

from long1k.benchmarks.jsonl import JsonlBenchmark, JsonlBenchmarkConfig


class AimeConfig(JsonlBenchmarkConfig):
    """As for jsonl; the question's field is ``prompt``, which already ends with the instruction."""

    question: str = "prompt"
    answer: str = "answer"


class AimeBenchmark(JsonlBenchmark):
    """AIME with the math grader."""

    Config = AimeConfig
