"""The scaling law: accuracy = a + b · log2(length), with intervals over seeds and questions.

Every coefficient of a least-squares fit is a weighted sum of the rungs' accuracies, hence a
mean over (seed, question) of the same weighted sum of grades.  ``crossed_mean`` then gives
its interval, questions paired across rungs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from long1k.statistics.rates import Array, Interval, crossed_mean


@dataclass(frozen=True, slots=True)
class Law:
    """A fitted line.  ``slope`` is the gain a doubling of length; ``bend`` the quadratic term in log2.

    ``r2`` is that of the rungs' mean accuracies, ``r2_pooled`` that of every seed's.
    ``band`` holds (length, low, fitted, high).
    """

    intercept: float
    slope: Interval
    bend: Interval | None
    r2: float
    r2_pooled: float
    band: list[tuple[float, float | None, float, float | None]]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "intercept": self.intercept, "slope": self.slope.as_dict(),
            "bend": None if self.bend is None else self.bend.as_dict(),
            "r2": self.r2, "r2_pooled": self.r2_pooled, "band": [list(point) for point in self.band],
        }  # fmt: skip


def fit_law(lengths: Sequence[float], grades_RSQ: Array, confidence: float = 0.95) -> Law:
    """Fit accuracy against log2(length) by least squares.

    Args:
        lengths: tokens of each rung, all different, at least two.
        grades_RSQ: shape (rungs, seeds, questions); the same questions in every cell.

    Raises:
        ValueError: fewer than two different lengths, or shapes that do not agree.
    """
    y = np.asarray(grades_RSQ, dtype=np.float64)
    x = np.log2(np.asarray(lengths, dtype=np.float64))
    if y.ndim != 3 or y.shape[0] != len(x):
        raise ValueError(f"expected (rungs, seeds, questions) for {len(x)} rungs, got {y.shape}")
    if len(np.unique(x)) < 2:
        raise ValueError("a law needs at least two different lengths")
    rung_means = y.mean(axis=(1, 2))
    design = np.column_stack([np.ones_like(x), x])
    weights = np.linalg.pinv(design)  # coefficients = weights @ accuracies
    intercept, slope = weights @ rung_means
    fitted = design @ np.array([intercept, slope])
    cells = y.mean(axis=2)
    bend = None
    if len(x) >= 4:
        quadratic = np.linalg.pinv(np.column_stack([np.ones_like(x), x, x**2]))[2]
        bend = crossed_mean(np.tensordot(quadratic, y, 1), confidence)
    band = []
    for point in np.linspace(x.min(), x.max(), 25):
        interval = crossed_mean(np.tensordot(np.array([1.0, point]) @ weights, y, 1), confidence)
        band.append((float(2**point), interval.low, interval.estimate, interval.high))
    return Law(
        intercept=float(intercept),
        slope=crossed_mean(np.tensordot(weights[1], y, 1), confidence),
        bend=bend,
        r2=_r2(rung_means, fitted),
        r2_pooled=_r2(cells.ravel(), np.repeat(fitted, cells.shape[1])),
        band=band,
    )


def _r2(observed: Array, fitted: Array) -> float:
    total = float(((observed - observed.mean()) ** 2).sum())
    # Rungs that are equal up to rounding leave nothing to explain.
    return 0.0 if total < 1e-20 else 1.0 - float(((observed - fitted) ** 2).sum()) / total
