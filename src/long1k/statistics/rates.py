"""Means and their intervals when the same questions are put to models of several seeds.

An interval that resamples seeds or questions only is too narrow; ``variance`` splits what varies into B, the part of
the seeds, and A, that of the questions.  The half width is t · sqrt(A + B), with t at a number of degrees of freedom
that follows B / A (``critical``).  Rates take Wilson's shape (1927) at the same half width: it never leaves 0 to
1 and keeps its promise near them, also where answers come in clusters (Franco, Little, Louis & Slud, "Comparative
Study of Confidence Intervals for Proportions in Complex Sample Surveys", 2019).  Right and wrong of one output a
question, paired, take Tango's score interval (1998).  What they cover was simulated: docs/statistics.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from scipy import optimize, special, stats

from long1k.statistics.critical import HIGHEST, LOWEST, degrees_of
from long1k.statistics.variance import Array, Parts, check_grades, parts_of

__all__ = [
    "FLOOR",
    "Array",
    "Interval",
    "crossed_mean",
    "interval_of",
    "p_value",
    "standard_error",
    "tango",
    "weighted_mean",
]

# Where seeds happen to agree, what they show can be near 0: at least so much of what questions alone give is kept.
FLOOR = 0.3
# Squared number of questions at which their own scatter counts half in ``_ratio_degrees``: about 17.
_OWN = 300.0


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate with its confidence interval and what it stands on.

    ``low`` and ``high`` are None where no honest interval exists (a single question).
    ``over`` says which sources of variation it covers.
    """

    estimate: float
    low: float | None
    high: float | None
    confidence: float
    over: str
    num_seeds: int
    num_questions: int

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)

    def excludes(self, value: float) -> bool:
        """Whether the interval exists and does not hold the value."""
        return self.low is not None and self.high is not None and not self.low <= value <= self.high


def crossed_mean(y_SQ: Array, confidence: float = 0.95, bounds: tuple[float, float] | None = None) -> Interval:
    """The mean of y[s, q] with an interval over seeds and questions.

    Args:
        y_SQ: shape (seeds, questions), no NaN.
        confidence: of the two-sided interval.
        bounds: what the grades lie between (0 and 1 for a rate); the interval stays within.

    Raises:
        ValueError: the array is empty, not two-dimensional, or holds NaN.
    """
    y = check_grades(y_SQ)
    parts = parts_of([y], [1.0])
    if bounds is None or parts.num_questions < 2:
        return interval_of(parts, confidence)
    least, most = bounds
    if not parts.varies:
        if parts.estimate not in bounds:
            return interval_of(parts, confidence)
        # All right or all wrong: the variance says nothing, so the exact binomial bound does
        # (Clopper & Pearson, 1934), on the questions alone, since seeds agree on every one.
        right = parts.num_questions if parts.estimate == most else 0
        exact = stats.binomtest(right, parts.num_questions).proportion_ci(confidence, "exact")
        low, high = least + float(exact.low) * (most - least), least + float(exact.high) * (most - least)
        return _interval(parts, low, high, confidence)
    share = min(max((parts.estimate - least) / (most - least), 0.0), 1.0)
    spread = share * (1 - share)
    if spread == 0:  # by rounding
        return interval_of(parts, confidence)
    binary = bool(np.isin(y, bounds).all())
    wilson = float(special.ndtri(0.5 + confidence / 2)) ** 2 / y.size
    if len(y) == 1 and binary:  # one output a question: Wilson's own interval
        ratio = wilson
    else:
        degrees = _ratio_degrees((y.mean(axis=0) - least) / (most - least))
        ratio = (_half_width(parts, confidence, degrees) / (most - least)) ** 2 / spread
        # However much seeds and questions agree by chance, so many outputs do not know their rate better than
        # twice as many independent ones.
        ratio = max(ratio, wilson / 2) if binary else ratio
    centre = (share + ratio / 2) / (1 + ratio)
    half = float(np.sqrt(ratio * spread + ratio**2 / 4)) / (1 + ratio)
    low, high = (least + (most - least) * min(max(edge, 0.0), 1.0) for edge in (centre - half, centre + half))
    return _interval(parts, low, high, confidence)


def weighted_mean(
    arms: Sequence[Array] | Array, weights: Sequence[float] | Array, confidence: float = 0.95
) -> Interval:
    """Σ weight · mean(arm) with its interval: a difference, a slope, any contrast of arms on the same questions.

    Questions are paired across arms.  Seeds are not: each arm was trained with seeds of its own, and
    counts with its own degrees of freedom (``critical``), so that two arms of two seeds know more than one.

    Args:
        arms: shape (seeds, questions) each; numbers of seeds may differ. Or one array (arms, seeds, questions).

    Raises:
        ValueError: no tables of grades of the same questions.
    """
    return interval_of(parts_of(arms, weights), confidence)


def interval_of(parts: Parts, confidence: float = 0.95) -> Interval:
    """The interval of an estimate from the parts of its variance."""
    if parts.num_questions < 2:
        return _without(parts, confidence, "a single question: no interval")
    if not parts.varies:
        return _without(parts, confidence, "every value is the same: no interval")
    half = _half_width(parts, confidence)
    return _interval(parts, parts.estimate - half, parts.estimate + half, confidence)


def standard_error(parts: Parts) -> float:
    """Of an estimate; not below the floor that its interval keeps."""
    return float(np.sqrt(max(parts.variance, FLOOR**2 * parts.questions)))


def p_value(parts: Parts) -> float | None:
    """Two-sided p of "the truth is 0": below 1 - confidence exactly where the interval of that confidence excludes 0.

    The degrees of freedom follow the confidence, so p is where the interval just reaches 0, not a tail at one of them;
    outside of the confidences that ``critical`` knows, they are those of its lowest and highest.
    None where there is no interval: nothing varies, or a single question was asked.
    """
    if parts.num_questions < 2 or not parts.varies:
        return None
    found = []
    if parts.variance > 0:
        distance = abs(parts.estimate) / float(np.sqrt(parts.variance))

        def tails(p: float) -> float:
            return 2 * float(special.stdtr(_degrees(parts, 1 - p, parts.num_questions - 1), -distance))

        least, most = 1 - HIGHEST, 1 - LOWEST
        if tails(least) <= least:
            found.append(tails(least))
        elif tails(most) >= most:
            found.append(tails(most))
        else:
            found.append(float(optimize.brentq(lambda p: tails(p) - p, least, most, xtol=1e-7)))
    if parts.questions > 0:
        floor = FLOOR * np.sqrt(parts.questions)
        found.append(2 * float(special.stdtr(parts.num_questions - 1, -abs(parts.estimate) / floor)))
    return max(found)


@lru_cache(4096)
def tango(both: int, only_a: int, only_b: int, neither: int, confidence: float = 0.95) -> tuple[float, float]:
    """Score interval of a difference of paired proportions, a - b (Tango, Statistics in Medicine 17, 1998).

    Args:
        both, only_a, only_b, neither: questions that both arms, one of them or none solves.
    """
    total = both + only_a + only_b + neither
    limit = float(special.ndtri(0.5 + confidence / 2))

    def score(truth: float) -> float:
        # The likelihood's maximum under this truth is the root of a quadratic.
        linear = -only_b - only_a + truth * (2 * total - only_a + only_b)
        constant = -only_b * truth * (1 - truth)
        q = (math.sqrt(max(linear**2 - 8 * total * constant, 0.0)) - linear) / (4 * total)
        variance = total * (2 * q + truth * (1 - truth))
        distance = only_a - only_b - total * truth
        return distance / math.sqrt(variance) if variance > 1e-12 else math.copysign(math.inf, distance)

    estimate = (only_a - only_b) / total

    def edge(inside: float, outside: float, sign: float) -> float:
        if abs(score(outside)) <= limit:
            return outside
        for _ in range(45):  # halving: the score falls steadily with the truth
            middle = (inside + outside) / 2
            inside, outside = (middle, outside) if sign * score(middle) <= limit else (inside, middle)
        return (inside + outside) / 2

    return edge(estimate, -1.0, 1.0), edge(estimate, 1.0, -1.0)


def _ratio_degrees(rates: Array) -> float:
    """Degrees of freedom with which questions' rates know the ratio of their variance to p · (1 - p).

    Wilson's shape needs that ratio, not the variance, and what moves with p does not make it uncertain: of one right or
    wrong output a question nothing does.  By linearisation; few questions hardly show how their rates scatter, so that
    the less of them there are, the more a normal distribution stands in, which gives questions less one.

    Args:
        rates: shape (questions,), 0 to 1, their mean neither 0 nor 1.
    """
    mean, count = float(rates.mean()), len(rates)
    variance = float(rates.var())
    if variance < 1e-24:  # by rounding: there is nothing to learn from
        return count - 1
    off = rates - mean
    moved = off**2 / variance - 1 - off * (1 - 2 * mean) / (mean * (1 - mean))
    own = count**2 / (count**2 + _OWN)
    return (count - 1) / (own * float((moved**2).mean()) / 2 + 1 - own)


def _degrees(parts: Parts, confidence: float, question_degrees: float) -> float:
    known = max(parts.questions - parts.rest, 0.0)
    return degrees_of(
        parts.seeds, known, parts.seed_degrees, question_degrees, confidence,
        arms=parts.seed_arms, evenness=parts.evenness,
    )  # fmt: skip


def _half_width(parts: Parts, confidence: float, question_degrees: float | None = None) -> float:
    quantile = 0.5 + confidence / 2
    if question_degrees is None:
        question_degrees = parts.num_questions - 1
    half = 0.0
    if parts.variance > 0:
        half = float(special.stdtrit(_degrees(parts, confidence, question_degrees), quantile))
        half *= float(np.sqrt(parts.variance))
    return max(half, FLOOR * float(special.stdtrit(question_degrees, quantile) * np.sqrt(parts.questions)))


def _interval(parts: Parts, low: float, high: float, confidence: float) -> Interval:
    over = "questions (one training seed: none over seeds)"
    if parts.seed_degrees > 0:
        over = "training seeds and questions"
        if parts.single_seeds:
            over += " (none over the seeds of an arm that has one)"
    return Interval(parts.estimate, low, high, confidence, over, parts.num_seeds, parts.num_questions)


def _without(parts: Parts, confidence: float, why: str) -> Interval:
    return Interval(parts.estimate, None, None, confidence, why, parts.num_seeds, parts.num_questions)
