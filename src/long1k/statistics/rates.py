"""Means and their intervals when the same questions are put to models of several seeds.

Grades y[s, q] (training seed s, question q; the mean over samples if there are several) vary
with the seed, with the question, and beyond both.  An interval that resamples one of them
only is too narrow.  Here the variance is split by the two-way random-effects analysis of
variance (Searle, Casella & McCulloch, "Variance Components", 1992, ch. 4):

    Var(mean) = MS_seed / SQ + MS_question / SQ - MS_rest / SQ

and the t quantile has Satterthwaite's degrees of freedom.  Slopes and differences are means of
other numbers per (seed, question), so one function serves them all.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

Array = NDArray[np.float64]


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
        bounds: clip the interval to these (0 and 1 for a rate).

    Raises:
        ValueError: the array is empty, not two-dimensional, or holds NaN.
    """
    y = np.asarray(y_SQ, dtype=np.float64)
    if y.ndim != 2 or y.size == 0:
        raise ValueError(f"expected a non-empty (seeds, questions) array, got shape {y.shape}")
    if not np.isfinite(y).all():
        raise ValueError("grades must be finite numbers")
    num_seeds, num_questions = y.shape
    mean = float(y.mean())
    over = "training seeds and questions" if num_seeds > 1 else "questions (one training seed: none over seeds)"
    if num_questions < 2:
        return Interval(mean, None, None, confidence, "a single question: no interval", num_seeds, num_questions)
    variance, freedom = _variance_of_mean(y)
    if variance <= 0 and bounds is None:
        return Interval(mean, None, None, confidence, "every value is the same: no interval", num_seeds, num_questions)
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom) * np.sqrt(variance)) if variance > 0 else 0.0
    low, high = mean - half, mean + half
    if bounds is not None and variance <= 0 and mean in bounds:
        # All right or all wrong: the variance says nothing, so the exact binomial bound does
        # (Clopper & Pearson, 1934), on the questions alone, since seeds agree on every one.
        exact = stats.binomtest(round(mean * num_questions), num_questions).proportion_ci(confidence, "exact")
        low, high = float(exact.low), float(exact.high)
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(mean, low, high, confidence, over, num_seeds, num_questions)


def _variance_of_mean(y: Array) -> tuple[float, float]:
    """Variance of the grand mean and Satterthwaite's degrees of freedom."""
    num_seeds, num_questions = y.shape
    mean = y.mean()
    by_question = y.mean(axis=0)
    ms_question = float(num_seeds * ((by_question - mean) ** 2).sum() / (num_questions - 1))
    if num_seeds == 1:
        return ms_question / num_questions, float(num_questions - 1)
    by_seed = y.mean(axis=1)
    ms_seed = float(num_questions * ((by_seed - mean) ** 2).sum() / (num_seeds - 1))
    rest = y - by_question[None, :] - by_seed[:, None] + mean
    ms_rest = float((rest**2).sum() / ((num_seeds - 1) * (num_questions - 1)))
    size = num_seeds * num_questions
    variance = (ms_seed + ms_question - ms_rest) / size
    # A variance component cannot be negative: the larger single source is the least it can be.
    variance = max(variance, ms_seed / size, ms_question / size)
    weights = (
        ms_seed**2 / (num_seeds - 1)
        + ms_question**2 / (num_questions - 1)
        + ms_rest**2 / ((num_seeds - 1) * (num_questions - 1))
    )
    freedom = (variance * size) ** 2 / weights if weights > 0 else float(num_seeds - 1)
    return variance, max(1.0, min(freedom, num_seeds + num_questions - 2.0))
