"""The scaling law: accuracy = a + b · log2(length), with intervals over seeds and questions.

Rungs are weighted by the inverse of their variances, and of what the line itself misses: if rungs lie further from it
than questions and seeds explain, they weigh more alike, so that no rung near 0 or 1 decides the fit alone.  Every
coefficient of a least-squares fit is a weighted sum
of the rungs' accuracies; ``weighted_sum`` gives its interval, to which every rung's seeds are runs of its own and
questions are paired across rungs.  Other shapes are compared with the line in ``shapes``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy import optimize

from long1k.statistics.draws import draw_rungs, percentiles, rung_variances, spare_variance
from long1k.statistics.power import detectable_after
from long1k.statistics.rates import Array, Interval, interval_of
from long1k.statistics.variance import Parts, parts_of

NUM_DRAWS = 2000
_PLACES = 25  # at which the band is given


@dataclass(frozen=True, slots=True)
class Top:
    """Where a curve of the second degree turns, if it does.

    ``slope_short`` and ``slope_long`` are its gains a doubling at the shortest and at the longest rung: an inverted U
    needs the first above and the second below zero, both beyond doubt (Lind & Mehlum, 2010).  ``tokens`` is the
    length of the turn, ``low`` and ``high`` its interval (of the draws that turn the same way), ``inside_frac``
    the share of all draws that have a top between the shortest and the longest rung.
    """

    slope_short: Interval
    slope_long: Interval
    tokens: float | None
    low: float | None
    high: float | None
    inside_frac: float | None

    @property
    def finding(self) -> str:
        """What may be said: inverted U, U, or neither."""
        short, long = self.slope_short, self.slope_long
        if not (short.excludes(0.0) and long.excludes(0.0)) or short.estimate * long.estimate > 0:
            return "neither"
        return "inverted U" if short.estimate > 0 else "U"

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "slope_short": self.slope_short.as_dict(), "slope_long": self.slope_long.as_dict(), "tokens": self.tokens,
            "low": self.low, "high": self.high, "inside_frac": self.inside_frac, "finding": self.finding,
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Law:
    """A fitted line.  ``slope`` is the gain a doubling of length; ``bend`` the quadratic term in log2.
    ``could_see`` is the least true slope that this study would have found, with the power of ``power.POWER``.

    ``slope_drawn`` is the slope's interval from the draws, ``slope_equal_weights`` the slope where all rungs weigh
    alike.  ``r2`` is that of the rungs' mean accuracies, weighted; ``r2_pooled`` that of every seed's.  ``misfit_sd``
    is by how much rungs miss the line beyond questions and seeds (a standard deviation), as it stands in the weights.
    ``band`` holds (length, low, fitted, high), from the draws.
    """

    intercept: float
    slope: Interval
    could_see: float | None
    bend: Interval | None
    r2: float
    r2_pooled: float
    band: list[tuple[float, float | None, float, float | None]]
    slope_drawn: tuple[float, float] | None
    slope_equal_weights: float
    weights: list[float]
    misfit_sd: float
    top: Top | None

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "intercept": self.intercept, "slope": self.slope.as_dict(), "could_see": self.could_see,
            "bend": None if self.bend is None else self.bend.as_dict(),
            "r2": self.r2, "r2_pooled": self.r2_pooled, "band": [list(point) for point in self.band],
            "slope_drawn": None if self.slope_drawn is None else list(self.slope_drawn),
            "slope_equal_weights": self.slope_equal_weights, "weights": self.weights, "misfit_sd": self.misfit_sd,
            "top": None if self.top is None else self.top.as_dict(),
        }  # fmt: skip


def fit_law(
    lengths: Sequence[float], grades_RSQ: Array, confidence: float = 0.95, *, seed: int = 0, num_draws: int = NUM_DRAWS
) -> Law:
    """Fit accuracy against log2(length) by weighted least squares.

    Args:
        lengths: tokens of each rung, all different, at least two.
        grades_RSQ: shape (rungs, seeds, questions); the same questions in every cell.
        seed: of the draws that the band is made of.
        num_draws: how many; 0: no band.

    Raises:
        ValueError: fewer than two different lengths, shapes that do not agree, or grades that are not finite.
    """
    y = np.asarray(grades_RSQ, dtype=np.float64)
    x = np.log2(np.asarray(lengths, dtype=np.float64))
    if y.ndim != 3 or y.shape[0] != len(x) or y.size == 0:
        raise ValueError(f"expected (rungs, seeds, questions) for {len(x)} rungs, got {y.shape}")
    if len(np.unique(x)) < 2:
        raise ValueError("a law needs at least two different lengths")
    if not np.isfinite(y).all():
        raise ValueError("grades must be finite numbers")
    rung_means = y.mean(axis=(1, 2))
    design = np.column_stack([np.ones_like(x), x])
    variances = rung_variances(y)
    misfit = misfit_variance(design, rung_means, variances)
    weights = 1 / (variances + misfit)
    weights /= weights.mean()
    solve = solver(design, weights)  # coefficients = solve @ accuracies
    intercept, slope_value = solve @ rung_means
    fitted = design @ np.array([intercept, slope_value])
    parts = _parts(y, solve[1])
    slope = interval_of(parts, confidence)
    drawn = draw_rungs(y, num_draws, seed) if slope.low is not None and num_draws else None
    cells = y.mean(axis=2)
    return Law(
        intercept=float(intercept),
        slope=slope,
        could_see=detectable_after(parts, confidence=confidence),
        bend=_bend(x, weights, y, confidence) if len(np.unique(x)) >= 4 else None,
        r2=r_squared(rung_means, fitted, weights),
        r2_pooled=r_squared(cells.ravel(), np.repeat(fitted, cells.shape[1])),
        band=_band(x, solve, rung_means, drawn, confidence),
        slope_drawn=None if drawn is None else percentiles(drawn @ solve[1], confidence),
        slope_equal_weights=float((np.linalg.pinv(design) @ rung_means)[1]),
        weights=[float(weight) for weight in weights],
        misfit_sd=misfit**0.5,
        top=_top(x, weights, y, drawn, confidence) if len(np.unique(x)) >= 4 else None,
    )


def weighted_sum(grades_RSQ: Array, weights_R: Array, confidence: float = 0.95) -> Interval:
    """A weighted sum of the rungs' accuracies with an interval over seeds and questions.

    ``weighted_mean``, with the variance of the questions as if every second rung had solved one question more than
    the others (``spare_variance``).
    """
    return interval_of(_parts(grades_RSQ, weights_R), confidence)


def _parts(grades_RSQ: Array, weights_R: Array) -> Parts:
    y, weights = np.asarray(grades_RSQ, dtype=np.float64), np.asarray(weights_R, dtype=np.float64)
    parts = parts_of(y, weights)
    if not parts.varies or parts.num_questions < 2:
        return parts
    return replace(parts, questions=parts.questions + spare_variance(y) * float((weights**2).sum()) / 2)


def misfit_variance(design: Array, observed_R: Array, variances_R: Array) -> float:
    """Variance of rungs about a line beyond their own variances, 0 if those explain the scatter.

    Paule & Mandel's (1982) estimate, as used in meta-regression: the weighted squares of the residuals then come to
    their number less the coefficients'.  Shape of ``design``: (rungs, coefficients).
    """
    rest = len(observed_R) - design.shape[1]

    def excess(misfit: float) -> float:
        weights = 1 / (variances_R + misfit)
        residuals = observed_R - design @ (solver(design, weights) @ observed_R)
        return float((weights * residuals**2).sum() - rest)

    if rest < 1 or excess(0.0) <= 0:
        return 0.0
    # Where the misfit is the whole spread of the rungs, squares over it are fewer than the residuals by far.
    most = float(((observed_R - observed_R.mean()) ** 2).sum()) / rest
    return float(optimize.brentq(excess, 0.0, most, xtol=1e-12))


def solver(design: Array, weights: Array) -> Array:
    """The matrix that takes accuracies to coefficients by weighted least squares, shape (coefficients, rungs)."""
    root = np.sqrt(np.asarray(weights, dtype=np.float64))
    return np.asarray(np.linalg.pinv(design * root[:, None]) * root[None, :])


def r_squared(observed: Array, fitted: Array, weights: Array | None = None) -> float:
    """Share of the (weighted) squared deviations from the (weighted) mean that a fit explains; 0 if there are none."""
    w = np.ones_like(observed) if weights is None else np.asarray(weights, dtype=np.float64)
    total = float((w * (observed - np.average(observed, weights=w)) ** 2).sum())
    # Rungs that are equal up to rounding leave nothing to explain.
    return 0.0 if total < 1e-20 else 1.0 - float((w * (observed - fitted) ** 2).sum()) / total


def _bend(x: Array, weights: Array, y: Array, confidence: float) -> Interval:
    squared = solver(_parabola(x), weights)[2]
    return weighted_sum(y, squared, confidence)


def _parabola(x: Array) -> Array:
    u = x - x.mean()  # the squared term does not change, and rounding is less
    return np.column_stack([np.ones_like(u), u, u**2])


def _band(
    x: Array, solve: Array, means: Array, drawn: Array | None, confidence: float
) -> list[tuple[float, float | None, float, float | None]]:
    band = []
    for point in np.linspace(x.min(), x.max(), _PLACES):
        row = np.array([1.0, point]) @ solve
        low, high = (None, None) if drawn is None else percentiles(drawn @ row, confidence)
        band.append((float(2**point), low, float(row @ means), high))
    return band


def _top(x: Array, weights: Array, y: Array, drawn: Array | None, confidence: float) -> Top:
    solve = solver(_parabola(x), weights)
    middle, ends = x.mean(), (x.min(), x.max())
    slopes = [weighted_sum(y, solve[1] + 2 * (end - middle) * solve[2], confidence) for end in ends]
    _, b, c = solve @ y.mean(axis=(1, 2))
    tokens = low = high = inside = None
    if drawn is not None and abs(c) > 1e-12:
        turns = drawn @ solve.T
        alike = turns[:, 2] * c > 0
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            places = np.clip(middle - turns[:, 1] / (2 * turns[:, 2]), -60, 60)
        tops = (turns[:, 2] < 0) & (places > ends[0]) & (places < ends[1])
        inside = float(tops.mean())
        tokens = float(2.0 ** np.clip(middle - b / (2 * c), -60, 60))
        bend = weighted_sum(y, solve[2], confidence)
        if bend.excludes(0.0):  # else the turn may lie anywhere, and has no interval
            low, high = (float(2.0**end) for end in percentiles(places[alike], confidence))
    return Top(slopes[0], slopes[1], tokens, low, high, inside)
