"""Means and their intervals when the same questions are put to models of several seeds.

Grades y[s, q] (training seed s, question q; the mean over samples if there are several) vary
with the seed, with the question, and beyond both.  An interval that resamples one of them
only is too narrow.  The variance is split by the two-way random-effects analysis of variance
(Searle, Casella & McCulloch, "Variance Components", 1992, ch. 4):

    Var(mean) = MS_seed / SQ + (MS_question - MS_rest) / SQ

and each part takes the t quantile of its own degrees of freedom, S - 1 and Q - 1.  A common number
of degrees of freedom (Satterthwaite) is too many where few seeds differ much: coverage then
falls to 88-94 % with two to four seeds, where this form keeps 94.7-98.8 % (simulated; it
is wide rather than wrong with two seeds).  Slopes and differences are means of other numbers per
(seed, question), so one function serves them all.
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
    half = _half_width(y, confidence)
    low, high = mean - half, mean + half
    if half == 0:
        if bounds is None or mean not in bounds:
            over = "every value is the same: no interval"
            return Interval(mean, None, None, confidence, over, num_seeds, num_questions)
        # All right or all wrong: the variance says nothing, so the exact binomial bound does
        # (Clopper & Pearson, 1934), on the questions alone, since seeds agree on every one.
        exact = stats.binomtest(round(mean * num_questions), num_questions).proportion_ci(confidence, "exact")
        low, high = float(exact.low), float(exact.high)
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(mean, low, high, confidence, over, num_seeds, num_questions)


def _half_width(y: Array, confidence: float) -> float:
    """Half the width of the interval for the grand mean; 0 if nothing varies."""
    num_seeds, num_questions = y.shape
    # Weighted sums of equal grades differ by rounding: that is no variation.
    if float(np.ptp(y)) <= 1e-9 * max(1.0, float(np.abs(y).max())):
        return 0.0
    mean = y.mean()
    by_question = y.mean(axis=0)
    ms_question = float(num_seeds * ((by_question - mean) ** 2).sum() / (num_questions - 1))
    t_question = float(stats.t.ppf(0.5 + confidence / 2, num_questions - 1))
    if num_seeds == 1:
        return t_question * float(np.sqrt(ms_question / num_questions))
    by_seed = y.mean(axis=1)
    ms_seed = float(num_questions * ((by_seed - mean) ** 2).sum() / (num_seeds - 1))
    rest = y - by_question[None, :] - by_seed[:, None] + mean
    ms_rest = float((rest**2).sum() / ((num_seeds - 1) * (num_questions - 1)))
    t_seed = float(stats.t.ppf(0.5 + confidence / 2, num_seeds - 1))
    # Where no seed effect shows at all, MS_seed can be near 0 by chance: the questions alone are the floor.
    squared = max(t_seed**2 * ms_seed + t_question**2 * max(ms_question - ms_rest, 0.0), t_question**2 * ms_question)
    return float(np.sqrt(squared / (num_seeds * num_questions)))
