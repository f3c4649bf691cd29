"""Where the variance of a mean comes from: training seeds, questions, sampling.

Grades y[s, q] (training seed s, question q) vary with the seed, with the question and beyond both (two-way random
effects; Searle, Casella & McCulloch, "Variance Components", 1992, ch. 4).  A weighted sum of several arms' means, T =
Σ w · mean(y), has the variance

    Var(T) = questions + seeds - rest

    questions: variance of Σ w · mean over seeds, from question to question, divided by their number
    seeds:     Σ w² · variance of an arm's seeds / number of seeds
    rest:      Σ w² · residual variance / (seeds · questions), which stands in both

Arms are paired by question; their seeds are drawn for each arm, so each arm's seeds give degrees of freedom of
their own.  How many they give together depends on how alike their spreads are (``critical``); what is needed
for that, the number of arms, the degrees of one and the evenness of what they show, is kept with the parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

# How far the spreads of arms of little weight count in ``Parts.evenness``: 0 as their parts, 1 as their spreads.
# Between them coverage of unequally weighted arms strays least (scripts/fit_degrees.py).
LEAN = 0.1


@dataclass(frozen=True, slots=True)
class Parts:
    """A weighted sum of means with the parts of its variance, in squared units of the grades.

    Attributes:
        estimate: the sum.
        questions: part of the questions, with what varies beyond seed and question.
        seeds: part of the training seeds, with the same in it; 0 where no arm has two.
        rest: that which stands in both.
        seed_degrees: degrees of freedom of one arm's seeds (of unequal ones a mean by weight); 0 where there is none.
        seed_arms: how many arms with several seeds stand in ``seeds``, were their spreads equal: (Σ c)² / Σ c² of their
            weights' squares over their numbers of seeds.
        evenness: of what their seeds show: 0 if one arm is all of ``seeds``, 1 if the seeds of all arms differ alike.
        num_seeds: the least number of seeds of an arm that has several; 1 where none has.
        num_questions: questions, the same in every arm.
        single_seeds: arms with one seed among others with several.
    """

    estimate: float
    questions: float
    seeds: float
    rest: float
    seed_degrees: float
    seed_arms: float
    evenness: float
    num_seeds: int
    num_questions: int
    single_seeds: int

    @property
    def variance(self) -> float:
        """Of the estimate; at least that of the seeds."""
        return self.seeds + max(self.questions - self.rest, 0.0)

    @property
    def varies(self) -> bool:
        """Whether anything does."""
        return self.questions > 0 or self.seeds > 0


def check_grades(y: Array) -> Array:
    """Grades as a (seeds, questions) array of numbers.

    Raises:
        ValueError: the array is empty, not two-dimensional, or holds NaN.
    """
    grades = np.asarray(y, dtype=np.float64)
    if grades.ndim != 2 or grades.size == 0:
        raise ValueError(f"expected a non-empty (seeds, questions) array, got shape {grades.shape}")
    if not np.isfinite(grades).all():
        raise ValueError("grades must be finite numbers")
    return grades


def parts_of(arms: Sequence[Array] | Array, weights: Sequence[float] | Array) -> Parts:
    """Split the variance of Σ weight · mean(arm).

    Args:
        arms: (seeds, questions) of each arm, the same questions in the same order; numbers of seeds may differ.
        weights: one an arm.

    Raises:
        ValueError: an array is no table of grades, or the arms have other numbers of questions.
    """
    tables = [check_grades(arm) for arm in arms]
    if len(tables) != len(weights) or not tables:
        raise ValueError(f"expected a weight an arm, got {len(weights)} weights and {len(tables)} arms")
    if len({table.shape[1] for table in tables}) > 1:
        raise ValueError("arms must have the same questions")
    num_questions = tables[0].shape[1]
    total = np.zeros(num_questions)
    scale = 0.0
    pieces: list[tuple[float, float, int]] = []  # of each arm with several seeds: part of ``seeds``, weight, degrees
    rest = 0.0
    for weight, y in zip(map(float, weights), tables, strict=True):
        by_question = y.mean(axis=0)
        total += weight * by_question
        scale += abs(weight) * max(1.0, float(np.abs(y).max()))
        num_seeds = y.shape[0]
        if num_seeds > 1 and num_questions > 1:
            by_seed = y.mean(axis=1)
            share = weight**2 / num_seeds
            pieces.append((share * _variance(by_seed, float(np.abs(y).max())), share, num_seeds - 1))
            left = y - by_question[None, :] - by_seed[:, None] + y.mean()
            degrees = (num_seeds - 1) * (num_questions - 1)
            rest += weight**2 * float((left**2).sum()) / degrees / (num_seeds * num_questions)
    degrees_of_one, seed_arms, evenness = together(pieces)
    several = [y.shape[0] for y in tables if y.shape[0] > 1]
    return Parts(
        estimate=float(total.mean()),
        questions=_variance(total, scale) / num_questions if num_questions > 1 else 0.0,
        seeds=sum(part for part, _, _ in pieces), rest=rest, seed_degrees=degrees_of_one, seed_arms=seed_arms,
        evenness=evenness, num_seeds=min(several, default=1),
        num_questions=num_questions, single_seeds=len(tables) - len(several) if several else 0,
    )  # fmt: skip


def together(pieces: Sequence[tuple[float, float, int]]) -> tuple[float, float, float]:
    """(degrees of one arm, number of arms, evenness) of several arms' seeds, as ``Parts`` holds them.

    Args:
        pieces: of each arm: its part of the variance, the weight of its seeds' variance in the sum, its degrees.
    """
    pieces = [piece for piece in pieces if piece[1] > 0]
    if not pieces:
        return 0.0, 1.0, 0.0
    weights = sum(weight for _, weight, _ in pieces)
    arms = weights**2 / sum(weight**2 for _, weight, _ in pieces)
    degrees = weights**2 / sum(weight**2 / degrees for _, weight, degrees in pieces) / arms
    if len(pieces) == 1:
        return degrees, 1.0, 0.0
    squares = sum(part**2 / weight**LEAN for part, weight, _ in pieces)
    if squares == 0:  # seeds agree in every arm
        return degrees, arms, 1.0
    # 1 if all spreads are equal, else less; 1 / arms if of equal arms one shows all.
    most = sum(weight ** (2 - LEAN) for _, weight, _ in pieces) / weights**2
    even = sum(part for part, _, _ in pieces) ** 2 / squares * most
    return degrees, arms, min(max((even * arms - 1) / max(arms - 1, 1e-9), 0.0), 1.0)


def _variance(values: Array, scale: float) -> float:
    """Of a sample; 0 where values differ by rounding only (weighted sums of equal grades do)."""
    return 0.0 if float(np.ptp(values)) <= 1e-9 * max(1.0, scale) else float(values.var(ddof=1))


@dataclass(frozen=True, slots=True)
class Split:
    """One arm's variance of a single output, by where it comes from (squared units of the grades).

    Each is None where the study cannot tell it: ``seed`` and ``seed_by_question`` need two seeds, ``sampling`` two
    outputs a question and seed.  With one output a question and seed, ``seed_by_question`` holds the sampling too;
    with one seed, ``question`` holds that seed's way with each question.
    """

    seed: float | None
    question: float
    seed_by_question: float | None
    sampling: float | None
    num_samples: float

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def split_variance(y_SQ: Array, within_SQ: Array | None = None, samples_SQ: Array | None = None) -> Split | None:
    """Variance components of one arm by the method of moments; negative ones are 0.

    None where a single question was asked: it varies with nothing.

    Args:
        y_SQ: mean grade of every (seed, question).
        within_SQ: variance (divided by n - 1) of the outputs of each cell; None or NaN where there is one only.
        samples_SQ: outputs of each cell; needed with ``within_SQ``.
    """
    y = check_grades(y_SQ)
    num_seeds, num_questions = y.shape
    if num_questions < 2:
        return None
    sampling, a_mean, samples = None, 0.0, 1.0
    if within_SQ is not None and samples_SQ is not None:
        several = np.asarray(samples_SQ) > 1
        samples = float(num_seeds * num_questions / (1.0 / np.asarray(samples_SQ, dtype=np.float64)).sum())
        if several.all():  # a mean of n outputs carries a share 1 / n of it
            sampling = float(np.asarray(within_SQ, dtype=np.float64).mean())
            a_mean = sampling / samples
    by_question, by_seed = y.mean(axis=0), y.mean(axis=1)
    ms_question = num_seeds * float(by_question.var(ddof=1))
    if num_seeds == 1:
        return Split(None, _at_least_0(ms_question - a_mean, ms_question), None, sampling, samples)
    left = y - by_question[None, :] - by_seed[:, None] + y.mean()
    ms_rest = float((left**2).sum()) / ((num_seeds - 1) * (num_questions - 1))
    ms_seed = num_questions * float(by_seed.var(ddof=1))
    return Split(
        seed=_at_least_0((ms_seed - ms_rest) / num_questions, ms_seed),
        question=_at_least_0((ms_question - ms_rest) / num_seeds, ms_question),
        seed_by_question=_at_least_0(ms_rest - a_mean, ms_rest), sampling=sampling, num_samples=samples,
    )  # fmt: skip


def _at_least_0(component: float, of: float) -> float:
    """A component, 0 where it is negative or rounding."""
    return component if component > 1e-12 * of else 0.0
