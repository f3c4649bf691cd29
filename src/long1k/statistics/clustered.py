"""Means, medians and ratios of outputs, with intervals that take a question's outputs as one observation.

Two outputs to one question are alike, so that intervals over outputs are too narrow.  Everything here is a ratio of
two sums over questions (a mean is the sum of the values over their number), whose variance follows from the
questions' residuals (Cochran, "Sampling Techniques", 1977, ch. 9: single-stage cluster sampling), each as large as it
were if the question had been left out of the sum (the jackknife; a question pulls the sum towards itself).

Lengths are skewed, so that an interval of one width to both sides lies too low, and their variance is itself
uncertain.  Means therefore take Hall's transformation of t (Journal of the Royal Statistical Society B 54, 1992) and
the degrees of freedom that the residuals' kurtosis leaves to their variance, 2 n / (excess + 2 n / (n - 1)).
What that covers was simulated: scripts/simulate_outputs.py.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from long1k.statistics.rates import Interval

Array = NDArray[np.float64]
OVER = "questions"
_SKEW = 0.25  # of a mean, at most: from 1/3 on Hall's transformation grows without bound at usual quantiles
_DEGREES = 4.0  # at least: a single output that differs would leave next to none


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


def left_out(residuals: Array, shares: Array) -> Array:
    """Residuals as they were without their own question, which has this share of the sum."""
    return np.asarray(residuals / np.maximum(1 - shares, 1e-9))


def limits(residuals: Array, confidence: float) -> tuple[float, float]:
    """How far below and how far above an estimate its interval goes, in standard errors; residuals may be skewed."""
    count = len(residuals)
    centred = residuals - residuals.mean()
    variance = float((centred**2).mean())
    if count < 4 or variance <= 0:
        return (quantile_of(count, confidence),) * 2
    excess = float((centred**4).mean()) / variance**2 - 3
    excess = (count - 1) / ((count - 2) * (count - 3)) * ((count + 1) * excess + 6)
    degrees = max(2 * count / (max(excess, 0.0) + 2 * count / (count - 1)), min(_DEGREES, count - 1.0))
    quantile = float(special.stdtrit(degrees, 0.5 + confidence / 2))
    skew = float((centred**3).mean()) / variance**1.5 * math.sqrt(count - 1) / (count - 2)
    skew = min(max(skew, -_SKEW), _SKEW)
    if abs(skew) < 1e-6:
        return quantile, quantile
    upper, lower = (3 / skew * (math.cbrt(1 + skew * (at - skew / 6)) - 1) for at in (quantile, -quantile))
    return upper, -lower  # a large t means an estimate above the truth


def made(
    estimate: float,
    error: float,
    questions: int,
    confidence: float,
    bounds: tuple[float, float] | None = None,
    sides: tuple[float, float] | None = None,
) -> Interval:
    """An interval from a standard error, so many of them to either side; none where there is no honest one."""
    if questions < 2 or not math.isfinite(error) or not math.isfinite(estimate):
        why = "a single question: no interval" if questions < 2 else "no interval"
        return Interval(estimate, None, None, confidence, why, 1, questions)
    if error == 0:
        return Interval(estimate, None, None, confidence, "every value is the same: no interval", 1, questions)
    below, above = sides or (quantile_of(questions, confidence),) * 2
    low, high = estimate - below * error, estimate + above * error
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
    residuals = (top - estimate * bottom) / total
    if len(bottom) < 2 or float(spread(residuals)) <= 1e-12 * abs(estimate):  # rounding is no variation
        return made(estimate, 0.0, len(bottom), confidence, bounds)
    residuals = left_out(residuals, bottom / total)
    return made(
        estimate, _jackknife(residuals), len(bottom), confidence, bounds, limits(residuals, confidence)
    )  # fmt: skip


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
    low, high = np.quantile(ordered, [max(0.0, 0.5 - half), min(1.0, 0.5 + half)], method="hazen")
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
    plain, residuals = np.zeros(len(names)), np.zeros(len(names))
    means = []
    for sign, values, questions in ((1.0, a, a_questions), (-1.0, b, b_questions)):
        top, bottom = sums(values, questions, names)
        middle = top.sum() / bottom.sum()
        means.append(middle)
        share = bottom / bottom.sum()
        plain += sign * (top - middle * bottom) / top.sum()
        # A kind that a single question has all of gives no variance of its own.
        residuals += sign * left_out((top - middle * bottom) / top.sum(), np.where(share < 1, share, 0.0))
    varies = len(names) > 1 and float(spread(plain)) > 0
    found = made(math.log(means[0] / means[1]), _jackknife(residuals) if varies else 0.0, len(names), confidence)
    low, high = (None if end is None else math.exp(end) for end in (found.low, found.high))
    return Interval(math.exp(found.estimate), low, high, confidence, found.over, 1, len(names))


def _jackknife(residuals: Array) -> float:
    """Standard error of an estimate from residuals without their own question."""
    count = len(residuals)
    return float(spread(residuals)) * (count - 1) / count if count > 1 else math.nan


def sums(values: Sequence[float], questions: Sequence[str], names: Sequence[str] | None = None) -> tuple[Array, Array]:
    """(sum of the values, their number) of every question, in the order of ``names`` (default: sorted)."""
    if not len(questions):
        return np.zeros(len(names or ())), np.zeros(len(names or ()))
    place = {name: at for at, name in enumerate(names or sorted(set(questions)))}
    where = np.array([place[name] for name in questions])
    size = len(place)
    totals = np.bincount(where, np.asarray(values, dtype=np.float64), size)
    return totals.astype(np.float64), np.bincount(where, minlength=size).astype(np.float64)
