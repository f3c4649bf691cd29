"""The paper's published figures as data (``assets/paper.yaml``): a loader and look-ups.

Accuracies are in per cent, as printed; ``Point.accuracy`` is a share.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

from long1k.errors import RecipeError

FILE = Path(__file__).resolve().parent / "assets" / "paper.yaml"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Benchmark(_Strict):
    """A benchmark of the paper."""

    questions: int
    ours: tuple[str, ...] = Field(
        description="names of the same benchmark here, in lower case, letters and digits only"
    )


class PaperArm(_Strict):
    """One trained model and its published accuracies, in per cent."""

    arm: str
    accuracy: dict[str, float]
    tokens: int | None = Field(default=None, description="mean tokens of a training trace")
    steps: int | None = Field(default=None, description="optimiser steps")
    level: int | None = Field(default=None, description="place in an order of lengths that are not known")
    samples: int | None = None
    model: str | None = None
    spread: dict[str, tuple[float, float]] = Field(default_factory=dict, description="least and most over the seeds")


class Writing(_Strict):
    """What one model writes in outputs of one outcome."""

    arm: str
    outcome: Literal["correct", "wrong"]
    mean_output_tokens: float
    words_percent: dict[str, float] = Field(description="share of all words, the ten most frequent")


class Experiment(_Strict):
    """One experiment: where its figures come from, how exactly they are known, and the figures."""

    title: str
    question: str
    origin: str
    error_points: float = Field(description="how far a figure can be from what was drawn, in points")
    caveat: str | None = None
    benchmark_notes: dict[str, str] = Field(default_factory=dict)
    arms: tuple[PaperArm, ...] = ()
    writing: tuple[Writing, ...] = ()
    claims: tuple[str, ...] = ()

    @property
    def benchmarks(self) -> list[str]:
        """Benchmarks with a figure, in order."""
        return list(dict.fromkeys(name for arm in self.arms for name in arm.accuracy))


class Later(_Strict):
    """A later finding that a user may want to test."""

    source: str
    side: Literal["for", "against", "structure", "statistics"]
    finding: str
    figures: dict[str, dict[str, float]] = Field(default_factory=dict)


class Paper(_Strict):
    """All of it."""

    source: str
    benchmarks: dict[str, Benchmark]
    experiments: dict[str, Experiment]
    later: tuple[Later, ...]


@dataclass(frozen=True, slots=True)
class Point:
    """One published accuracy, as a share, with what it belongs to."""

    arm: str
    benchmark: str
    accuracy: float
    num_questions: int
    tokens: int | None
    steps: int | None
    level: int | None
    model: str | None


@cache
def load_paper() -> Paper:
    """The paper's figures, checked against their model."""
    return Paper.model_validate(yaml.safe_load(FILE.read_text(encoding="utf-8")))


def experiment(name: str) -> Experiment:
    """One experiment by its name.

    Raises:
        RecipeError: there is no such experiment.
    """
    known = load_paper().experiments
    if name not in known:
        raise RecipeError(f"the paper has no experiment '{name}'", f"one of {', '.join(known)}")
    return known[name]


def experiments_named(names: Sequence[str]) -> list[str]:
    """The experiments that names stand for, in capitals or not: B is both B-a and B-b; "C,F" is C and F.

    Raises:
        ValueError: a name that no experiment has.
    """
    known = load_paper().experiments
    made: list[str] = []
    for name in (part.strip() for text in names for part in text.split(",")):
        asked = name.lower()
        found = [one for one in known if asked in (one.lower(), one.lower().split("-")[0])]
        if not found:
            raise ValueError(f"the paper has no experiment '{name}'; its experiments are {', '.join(known)}")
        made += [one for one in found if one not in made]
    return made


def published_points(name: str, benchmark: str) -> list[Point]:
    """The published accuracies of an experiment on one benchmark, in the order of its arms.

    Raises:
        RecipeError: there is no such experiment.
    """
    questions = load_paper().benchmarks[benchmark].questions
    return [
        Point(arm.arm, benchmark, arm.accuracy[benchmark] / 100, questions, arm.tokens, arm.steps, arm.level, arm.model)
        for arm in experiment(name).arms
        if benchmark in arm.accuracy
    ]


def same_benchmark(ours: str) -> str | None:
    """The paper's benchmark that one of ours is by its name (math500, MATH-500, …); None if it has no such one."""
    plain = re.sub(r"[^a-z0-9]", "", ours.lower())
    for name, benchmark in load_paper().benchmarks.items():
        if plain in benchmark.ours:
            return name
    return None
