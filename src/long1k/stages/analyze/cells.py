"""What is analyzed: arms, and the grades of each on each benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from long1k.errors import DataError
from long1k.observations import prompt_units
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
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Grades:
    """Grades of one arm on one benchmark, shape (seeds, questions), and what else was seen.

    ``within_SQ`` is the variance of a cell's outputs (NaN where there is one), ``samples_SQ`` their number;
    ``left_out`` counts questions that some seed has no grades of, ``empty_seeds`` are those without any.
    """

    y_SQ: Array
    within_SQ: Array
    samples_SQ: Array
    seeds: list[int]
    questions: list[str]
    statuses: dict[str, int]
    mean_tokens: float
    cut: float
    untrained: bool
    left_out: int = 0
    empty_seeds: tuple[int, ...] = ()

    @property
    def flat(self) -> bool:
        """Whether it is one output a question, right or wrong as a whole, of one training seed."""
        single = len(self.seeds) == 1 and bool((self.samples_SQ == 1).all())
        return single and bool(np.isin(self.y_SQ, (0.0, 1.0)).all())


class NothingSharedError(DataError):
    """No question has grades of every seed."""


def grades_of(cells: Sequence[Cell]) -> Grades | None:
    """Share correct of every (seed, question), over parts and samples; None where there are no grades.

    An output of several parts counts with the share of them that is right; prompts that share a problem (one set of
    problems in several orders) are one question.  Questions that some seed has no grades of are left out for all,
    and counted.

    Raises:
        NothingSharedError: no question has grades of every seed.
    """
    statuses = dict.fromkeys(STATUSES, 0)
    lengths: list[int] = []
    cut = 0
    prompt_of: list[dict[str, str]] = []
    parts: dict[str, tuple[str, ...]] = {}
    for cell in cells:
        asked_here: dict[str, str] = {}
        for prediction in read_table(cell.predictions, Prediction):
            asked_here[prediction.prediction_id] = prediction.problem_id
            parts.setdefault(prediction.problem_id, prediction.part_ids)
            lengths.append((prediction.num_thinking_tokens or 0) + (prediction.num_answer_tokens or 0))
            cut += prediction.finish_reason == "length"
        prompt_of.append(asked_here)
    question_of = prompt_units(parts)
    table: dict[tuple[int, str], dict[tuple[str, str], list[float]]] = {}
    for cell, asked_here in zip(cells, prompt_of, strict=True):
        for score in read_table(cell.scores, Score):
            statuses[score.status] += 1
            prompt = asked_here[score.prediction_id]
            outputs = table.setdefault((cell.seed, question_of[prompt]), {})
            outputs.setdefault((prompt, score.prediction_id), []).append(float(score.status == "correct"))
    if not table:
        return None
    seeds = sorted({seed for seed, _ in table})
    asked = sorted({question for _, question in table})
    questions = [question for question in asked if all((seed, question) in table for seed in seeds)]
    if not questions:
        raise NothingSharedError(
            f"{cells[0].benchmark}, arm {cells[0].arm}: no question has grades of all {len(seeds)} seeds",
            "predict and score all seeds on the same benchmark",
        )
    found = [
        [[float(np.mean(parts)) for parts in table[seed, question].values()] for question in questions]
        for seed in seeds
    ]
    y = np.array([[np.mean(cell) for cell in row] for row in found])
    within = np.array([[np.var(cell, ddof=1) if len(cell) > 1 else np.nan for cell in row] for row in found])
    samples = np.array([[float(len(cell)) for cell in row] for row in found])
    share = cut / len(lengths)
    left_out = len(asked) - len(questions)
    kept = {status: count for status, count in statuses.items() if count}
    untrained = all(cell.checkpoint is None for cell in cells)
    empty = tuple(sorted({cell.seed for cell in cells} - set(seeds)))
    return Grades(
        y, within, samples, seeds, questions, kept, float(np.mean(lengths)), share, untrained, left_out, empty,
    )  # fmt: skip


def describe(arm: ArmInfo) -> dict[str, Any]:
    """An arm as plain values, for JSON."""
    names = ("name", "role", "kind", "target_tokens", "of", "short", "against", "description", "margin")
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
