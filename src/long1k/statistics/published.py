"""Laws through published points: one accuracy a rung, no answers, no seeds.

Two intervals are given for a slope, since neither is right alone: from the scatter of the points about the line (t with
n - 2 degrees of freedom; it is too narrow where rungs share what makes them miss), and from the sampling of questions
as if every rung had been asked others (too wide for rungs that were asked the same ones).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from long1k.statistics.forms import Array
from long1k.statistics.scaling import r_squared, solver
from long1k.statistics.shapes import ShapeFit, as_dicts, compare_shapes


@dataclass(frozen=True, slots=True)
class PointsLaw:
    """A line through published points; slopes are gains in share a doubling, intervals are (low, high).

    ``reading`` is by how much the slope can be wrong if every point was misread as far as can be.
    ``slope_weighted`` is weighted by the inverse of the binomial variances.
    """

    intercept: float
    slope: float
    r2: float
    from_scatter: tuple[float, float] | None
    from_questions: tuple[float, float]
    reading: float
    slope_weighted: float
    r2_weighted: float
    shapes: list[ShapeFit]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        made = {name: getattr(self, name) for name in PointsLaw.__slots__ if name != "shapes"}
        return {**made, "shapes": as_dicts(self.shapes)}


def fit_points(
    lengths: Sequence[float],
    accuracies: Sequence[float],
    num_questions: int,
    *,
    error: float = 0.0,
    confidence: float = 0.95,
) -> PointsLaw:
    """Least squares of accuracy on log2(length), all points alike, with the shapes beside it.

    Args:
        accuracies: as shares.
        error: how far an accuracy can be from what was published, as a share.

    Raises:
        ValueError: fewer than two different lengths, or not one accuracy for each.
    """
    x, y = np.log2(np.asarray(lengths, dtype=np.float64)), np.asarray(accuracies, dtype=np.float64)
    if x.shape != y.shape or len(np.unique(x)) < 2:
        raise ValueError("a law needs one accuracy for each of at least two different lengths")
    design = np.column_stack([np.ones_like(x), x])
    equal = np.ones(len(x))
    solve = solver(design, equal)
    intercept, slope = (float(value) for value in solve @ y)
    fitted = design @ np.array([intercept, slope])
    variance = binomial_variances(y, num_questions)
    weighted = solver(design, 1 / variance)
    z = float(stats.norm.ppf(0.5 + confidence / 2)) * float(np.sqrt((solve[1] ** 2 * variance).sum()))
    scatter = None
    if len(x) > 2:
        error_of_slope = np.sqrt(((y - fitted) ** 2).sum() / (len(x) - 2) * (solve[1] ** 2).sum())
        half = float(stats.t.ppf(0.5 + confidence / 2, len(x) - 2) * error_of_slope)
        scatter = (slope - half, slope + half)
    return PointsLaw(
        intercept, slope, r_squared(y, fitted), scatter, (slope - z, slope + z), error * float(np.abs(solve[1]).sum()),
        float((weighted @ y)[1]), r_squared(y, design @ (weighted @ y), 1 / variance),
        compare_shapes(lengths, y, equal, confidence=confidence),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Turn:
    """A parabola through published points: does it turn, and where?

    ``slope_first`` and ``slope_last`` are its gains a step of x at the two ends, each as (estimate, low, high): an
    inverted U needs the first above and the last below zero beyond doubt. The intervals are the wider ones of
    those from the scatter and from the questions, as of ``PointsLaw``. ``top`` is where it is highest, None if nowhere.
    """

    slope_first: tuple[float, float, float]
    slope_last: tuple[float, float, float]
    top: float | None

    @property
    def finding(self) -> str:
        """What may be said of the two ends."""
        rises, falls = self.slope_first[1] > 0, self.slope_last[2] < 0
        if rises and falls:
            return "an inverted U"
        if self.slope_last[1] > 0:
            return "still rising at the last point"
        return "whether it still rises at the last point, or falls already, cannot be said"


def find_turn(x: Sequence[float], accuracies: Sequence[float], num_questions: int, confidence: float = 0.95) -> Turn:
    """Fit a parabola and look at its ends (Lind & Mehlum, 2010).

    Raises:
        ValueError: fewer than four different places.
    """
    u, y = np.asarray(x, dtype=np.float64), np.asarray(accuracies, dtype=np.float64)
    if len(np.unique(u)) < 4 or u.shape != y.shape:
        raise ValueError("a turn needs one accuracy at each of at least four different places")
    middle = u.mean()
    design = np.column_stack([np.ones_like(u), u - middle, (u - middle) ** 2])
    solve = np.linalg.pinv(design)
    scatter = float(((y - design @ (solve @ y)) ** 2).sum()) / (len(u) - 3)
    t = float(stats.t.ppf(0.5 + confidence / 2, len(u) - 3))
    z = float(stats.norm.ppf(0.5 + confidence / 2))
    variances = binomial_variances(y, num_questions)
    slopes = []
    for end in (u.min(), u.max()):
        row = solve[1] + 2 * (end - middle) * solve[2]
        half = max(t * np.sqrt(scatter * (row**2).sum()), z * np.sqrt((row**2 * variances).sum()))
        slopes.append((float(row @ y), float(row @ y - half), float(row @ y + half)))
    _, b, c = solve @ y
    return Turn(slopes[0], slopes[1], float(middle - b / (2 * c)) if c < -1e-12 else None)


def binomial_variances(rates: Array, num_questions: int) -> Array:
    """Variances of rates over so many questions, as if two more had been asked, one right and one wrong."""
    shrunk = (np.asarray(rates, dtype=np.float64) * num_questions + 1) / (num_questions + 2)
    return np.asarray(shrunk * (1 - shrunk) / num_questions)


@dataclass(frozen=True, slots=True)
class TwoWay:
    """Gains a doubling of two quantities from one fit, with intervals from the scatter, and of their product alone.

    ``p_equal`` is the chance of gains so different if accuracy followed the product of the two alone.
    """

    first: tuple[float, float, float]
    second: tuple[float, float, float]
    r2: float
    product: tuple[float, float, float]
    r2_product: float
    p_equal: float


def fit_two(
    first: Sequence[float], second: Sequence[float], accuracies: Sequence[float], confidence: float = 0.95
) -> TwoWay:
    """Accuracy on log2 of two quantities, and on log2 of their product; each gain as (estimate, low, high).

    Raises:
        ValueError: fewer than four points, or quantities that do not vary apart.
    """
    y = np.asarray(accuracies, dtype=np.float64)
    a, b = (np.log2(np.asarray(values, dtype=np.float64)) for values in (first, second))
    both = np.column_stack([np.ones_like(a), a, b])
    if len(y) < 4 or np.linalg.matrix_rank(both) < 3:
        raise ValueError("two gains need at least four points in which the quantities vary apart")
    gains, errors, fitted, scatter = _gains(both, y)
    one = np.column_stack([np.ones_like(a), a + b])
    gain, error, along, scatter_one = _gains(one, y)
    rest = len(y) - 3
    squares = scatter_one * (len(y) - 2) - scatter * rest
    p_equal = 1.0 if scatter <= 0 else float(stats.f.sf(squares / scatter, 1, rest))
    t_both, t_one = (float(stats.t.ppf(0.5 + confidence / 2, freedom)) for freedom in (rest, rest + 1))

    def interval(value: float, half: float) -> tuple[float, float, float]:
        return float(value), float(value - half), float(value + half)

    return TwoWay(
        interval(gains[1], t_both * errors[1]), interval(gains[2], t_both * errors[2]), r_squared(y, fitted),
        interval(gain[1], t_one * error[1]), r_squared(y, along), p_equal,
    )  # fmt: skip


def _gains(design: Array, y: Array) -> tuple[Array, Array, Array, float]:
    """Coefficients, their standard errors, what is fitted, and the variance of the scatter."""
    inverse = np.linalg.pinv(design)
    coefficients = inverse @ y
    fitted = design @ coefficients
    scatter = float(((y - fitted) ** 2).sum()) / (len(y) - design.shape[1])
    return coefficients, np.sqrt(scatter * (inverse**2).sum(axis=1)), fitted, scatter


def points_words(law: PointsLaw, confidence: float = 0.95, unit: str = "a doubling") -> str:
    """Slope, fit and both intervals of a law through published points in one line."""
    level = f"{round(100 * confidence)} %"
    scatter = (
        "no interval from two points" if law.from_scatter is None
        else f"{level} interval {_bounds(law.from_scatter)} from the scatter"
    )  # fmt: skip
    return (
        f"{100 * law.slope:+.2f} points {unit} (R² {law.r2:.3f}; {scatter}, "
        f"{_bounds(law.from_questions)} if every rung had been asked other questions)"
    )


def _bounds(interval: tuple[float, float]) -> str:
    return f"[{100 * interval[0]:+.2f}, {100 * interval[1]:+.2f}]"
