"""What is analyzed: arms, and the grades of each on each benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from long1k.errors import DataError
from long1k.rows import STATUSES, Prediction, Score
from long1k.statistics.rates import Array
from long1k.tables import read_manifest, read_table


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm and seed on one benchmark: where its tables lie."""

    arm: str
    seed: int
    benchmark: str
    predictions: Path
    scores: Path
    examples: Path | None
    checkpoint: Path | None


@dataclass(frozen=True, slots=True)
class ArmInfo:
    """What an arm is, for the analysis."""

    name: str
    role: str
    kind: str
    target_tokens: int | None
    of: str | None
    short: str | None = None
    against: str | None = None
    description: str = ""


@dataclass(frozen=True, slots=True)
class Grades:
    """Grades of one arm on one benchmark, shape (seeds, questions), and what else was seen."""

    y_SQ: Array
    seeds: list[int]
    questions: list[str]
    statuses: dict[str, int]
    mean_tokens: float
    cut: float
    untrained: bool


def grades_of(cells: Sequence[Cell]) -> Grades:
    """Share correct of every (seed, question), over parts and samples."""
    table: dict[tuple[int, str], list[float]] = {}
    statuses = dict.fromkeys(STATUSES, 0)
    lengths: list[int] = []
    cut = 0
    for cell in cells:
        question_of: dict[str, str] = {}
        for prediction in read_table(cell.predictions, Prediction):
            question_of[prediction.prediction_id] = prediction.problem_id
            lengths.append((prediction.num_thinking_tokens or 0) + (prediction.num_answer_tokens or 0))
            cut += prediction.finish_reason == "length"
        for score in read_table(cell.scores, Score):
            statuses[score.status] += 1
            table.setdefault((cell.seed, question_of[score.prediction_id]), []).append(float(score.status == "correct"))
    seeds = sorted({seed for seed, _ in table})
    questions = sorted({question for _, question in table})
    missing = [(seed, question) for seed in seeds for question in questions if (seed, question) not in table]
    if missing:
        raise DataError(
            f"{cells[0].benchmark}, arm {cells[0].arm}: {len(missing)} cells without grades, the first is seed "
            f"{missing[0][0]}, question {missing[0][1]}",
            "predict and score all seeds on the same benchmark",
        )
    y = np.array([[np.mean(table[seed, question]) for question in questions] for seed in seeds])
    share = cut / len(lengths)
    kept = {status: count for status, count in statuses.items() if count}
    untrained = all(cell.checkpoint is None for cell in cells)
    return Grades(y, seeds, questions, kept, float(np.mean(lengths)), share, untrained)


def describe(arm: ArmInfo) -> dict[str, Any]:
    """An arm as plain values, for JSON."""
    names = ("name", "role", "kind", "target_tokens", "of", "short", "against", "description")
    return {name: getattr(arm, name) for name in names}


def training_of(cell: Cell) -> dict[str, Any]:
    """What the arm was trained on, from the manifests of its first seed."""
    found: dict[str, Any] = {}
    if cell.examples is not None:
        groups = read_manifest(cell.examples).info["groups"]
        found |= {"samples": sum(g["made"] for g in groups), "problems": sum(g["problems"] for g in groups)}
        found["unique_problems"] = sum(g["unique_problems"] for g in groups)
        if found["samples"] and all("tokens" in g for g in groups):
            found["mean_sample_tokens"] = sum(g["tokens"] for g in groups) / found["samples"]
        found["sample_tokens"] = [min(g["min_tokens"] for g in groups), max(g["max_tokens"] for g in groups)]
    if cell.checkpoint is not None:
        info = read_manifest(cell.checkpoint).info
        found |= {key: info[key] for key in ("steps", "tokens", "supervised_tokens", "final_loss") if key in info}
    return found
