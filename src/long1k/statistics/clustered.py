"""Means, medians and ratios of outputs, with intervals that take a question's outputs as one observation.

Two outputs to one question are alike, so that intervals over outputs are too narrow.  Everything here is a ratio of
two sums over questions (a mean is the sum of the values over their number), whose variance follows from the
questions' residuals (Cochran, "Sampling Techniques", 1977, ch. 9: single-stage cluster sampling), with the t
quantile of one less than the number of questions.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from long1k.statistics.rates import Interval

Array = NDArray[np.float64]
OVER = "questions"


def spread(residuals: Any) -> Any:
    """Standard error of a sum of residuals of independent questions; along the first axis."""
    count = residuals.shape[0]
    centred = residuals - residuals.mean(axis=0)
    return (
        np.sqrt(count / (count - 1) * (centred**2).sum(axis=0)) if count > 1 else np.full(residuals.shape[1:], np.nan)
    )


def quantile_of(count: int, confidence: float) -> float:
    """The t quantile of so many questions."""
    return float(stats.t.ppf(0.5 + confidence / 2, max(1, count - 1)))


def made(
    estimate: float, error: float, questions: int, confidence: float, bounds: tuple[float, float] | None = None
) -> Interval:
    """An interval from a standard error; none where there is no honest one."""
    if questions < 2 or not math.isfinite(error) or not math.isfinite(estimate):
        why = "a single question: no interval" if questions < 2 else "no interval"
        return Interval(estimate, None, None, confidence, why, 1, questions)
    if error == 0:
        return Interval(estimate, None, None, confidence, "every value is the same: no interval", 1, questions)
    half = quantile_of(questions, confidence) * error
    low, high = estimate - half, estimate + half
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(estimate, low, high, confidence, OVER, 1, questions)


def ratio(
    numerators: Sequence[float] | Array,
    denominators: Sequence[float] | Array,
    confidence: float = 0.95,
    bounds: tuple[float, float] | None = None,
) -> Interval | None:
    """Sum of the numerators over sum of the denominators, one pair a question.

    Questions whose denominator is 0 had no output of this kind and are left out; None if all are.
    """
    top, bottom = np.asarray(numerators, dtype=np.float64), np.asarray(denominators, dtype=np.float64)
    top, bottom = top[bottom > 0], bottom[bottom > 0]
    if not len(bottom):
        return None
    total = float(bottom.sum())
    estimate = float(top.sum()) / total
    return made(estimate, float(spread((top - estimate * bottom) / total)), len(bottom), confidence, bounds)


def mean(values: Sequence[float], questions: Sequence[str], confidence: float = 0.95) -> Interval | None:
    """The mean of values that belong to questions; None without values."""
    top, bottom = sums(values, questions)
    return ratio(top, bottom, confidence)


def median(values: Sequence[float], questions: Sequence[str], confidence: float = 0.95) -> Interval | None:
    """The median, its interval by reading off quantiles (Woodruff 1952): those of the share below it, plus and minus.

    None without values.
    """
    if not len(values):
        return None
    ordered = np.asarray(values, dtype=np.float64)
    middle = float(np.median(ordered))
    share = mean([float(value <= middle) for value in values], questions, confidence)
    count = len(set(questions))
    if share is None or share.low is None or share.high is None:
        return made(middle, math.nan if count > 1 else 0.0, count, confidence)
    half = (share.high - share.low) / 2
    low, high = np.quantile(ordered, [max(0.0, 0.5 - half), min(1.0, 0.5 + half)], method="inverted_cdf")
    return Interval(middle, float(min(low, middle)), float(max(high, middle)), confidence, OVER, 1, count)


def ratio_of_means(
    a: Sequence[float], a_questions: Sequence[str], b: Sequence[float], b_questions: Sequence[str],
    confidence: float = 0.95,
) -> Interval | None:  # fmt: skip
    """The mean of a over the mean of b, both positive; the interval is that of its logarithm, over questions of either.

    A question may have outputs of both kinds: their means then vary together, which is taken into account.
    """
    if not len(a) or not len(b) or sum(a) <= 0 or sum(b) <= 0:
        return None
    names = sorted({*a_questions, *b_questions})
    residuals = np.zeros(len(names))
    means = []
    for sign, values, questions in ((1.0, a, a_questions), (-1.0, b, b_questions)):
        top, bottom = sums(values, questions, names)
        middle = top.sum() / bottom.sum()
        means.append(middle)
        residuals += sign * (top - middle * bottom) / top.sum()
    found = made(math.log(means[0] / means[1]), float(spread(residuals)), len(names), confidence)
    low, high = (None if end is None else math.exp(end) for end in (found.low, found.high))
    return Interval(math.exp(found.estimate), low, high, confidence, found.over, 1, len(names))


def sums(values: Sequence[float], questions: Sequence[str], names: Sequence[str] | None = None) -> tuple[Array, Array]:
    """(sum of the values, their number) of every question, in the order of ``names`` (default: sorted)."""
    if not len(questions):
        return np.zeros(len(names or ())), np.zeros(len(names or ()))
    place = {name: at for at, name in enumerate(names or sorted(set(questions)))}
    where = np.array([place[name] for name in questions])
    size = len(place)
    totals = np.bincount(where, np.asarray(values, dtype=np.float64), size)
    return totals.astype(np.float64), np.bincount(where, minlength=size).astype(np.float64)
