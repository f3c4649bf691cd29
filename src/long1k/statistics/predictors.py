"""What accuracy follows: total length, length a problem, tokens or steps trained, and whether the arms can tell.

Every quantity is taken in doublings (log2).  Two quantities that rise together in all arms explain the same
accuracies, and no fit can say which of them does; the correlation, the variance inflation and the condition number of
the design say how far arms pull them apart (Belsley, Kuh & Welsch, 1980).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from long1k.statistics.rates import Array, Interval
from long1k.statistics.scaling import r_squared, solver, weighted_sum

SAME = 0.999
"""Correlation from which two quantities are one and the same to these arms."""
STILL = 0.1
"""Share of the main quantity's range, in doublings, up to which another counts as not varied: no gain can be read."""
APART = 10.0
"""Variance inflation up to which two quantities are told apart (the usual rule of thumb)."""


@dataclass(frozen=True, slots=True)
class Alone:
    """One quantity on its own: gain a doubling with its interval, R², and the error of an arm that is left out."""

    name: str
    slope: Interval
    r2: float
    left_out_points: float | None


@dataclass(frozen=True, slots=True)
class Pair:
    """Two quantities in one fit; gains a doubling of each at an equal amount of the other, None if not told apart.

    ``condition`` is the condition number of the two, centred and brought to one length.
    """

    first: str
    second: str
    correlation: float
    inflation: float | None
    condition: float
    slope_first: Interval | None
    slope_second: Interval | None
    r2: float | None = None


@dataclass(frozen=True, slots=True)
class Predictors:
    """``constant``: quantities that do not vary, or too little to speak of."""

    num_arms: int
    constant: list[str]
    alone: list[Alone]
    pairs: list[Pair]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""

        def plain(value: Any) -> Any:
            return value.as_dict() if isinstance(value, Interval) else value

        return {
            "num_arms": self.num_arms, "constant": self.constant,
            "alone": [{key: plain(getattr(one, key)) for key in Alone.__slots__} for one in self.alone],
            "pairs": [{key: plain(getattr(one, key)) for key in Pair.__slots__} for one in self.pairs],
        }  # fmt: skip


def compare_predictors(
    amounts: Mapping[str, Sequence[float]], grades_ASQ: Array, main: str, confidence: float = 0.95
) -> Predictors:
    """Fit accuracy to each quantity alone, and to ``main`` beside every other.

    Args:
        amounts: quantity -> its value in each arm, positive.
        grades_ASQ: shape (arms, seeds, questions), the same questions in every cell.
        main: the quantity that the study varies.

    Raises:
        ValueError: amounts that are not positive, or not one for each arm.
    """
    y = np.asarray(grades_ASQ, dtype=np.float64)
    logs = {name: np.log2(_positive(name, values, len(y))) for name, values in amounts.items()}
    least = STILL * float(np.ptp(logs[main])) if main in logs else 0.0
    constant = [name for name, x in logs.items() if np.ptp(x) <= max(1e-6, least if name != main else 0.0)]
    varied = {name: x for name, x in logs.items() if name not in constant}
    alone = [_alone(name, x, y, confidence) for name, x in varied.items()]
    pairs = []
    if main in varied:
        pairs = [_pair(main, name, varied[main], x, y, confidence) for name, x in varied.items() if name != main]
    return Predictors(len(y), constant, alone, pairs)


def _positive(name: str, values: Sequence[float], num_arms: int) -> Array:
    made = np.asarray(values, dtype=np.float64)
    if len(made) != num_arms or not np.isfinite(made).all() or not (made > 0).all():
        raise ValueError(f"{name}: a positive number for each of {num_arms} arms is needed, not {list(values)}")
    return made


def _alone(name: str, x: Array, y: Array, confidence: float) -> Alone:
    means, weights = y.mean(axis=(1, 2)), np.ones(len(x))
    design = np.column_stack([np.ones_like(x), x])
    solve = solver(design, weights)
    errors = []
    for at in range(len(x)):
        rest = np.arange(len(x)) != at
        if np.ptp(x[rest]) < 1e-6 or rest.sum() < 2:
            continue
        foretold = design[at] @ (solver(design[rest], weights[rest]) @ means[rest])
        errors.append(100 * (foretold - means[at]))
    return Alone(
        name, weighted_sum(y, solve[1], confidence), r_squared(means, design @ (solve @ means)),
        float(np.sqrt(np.mean(np.square(errors)))) if len(errors) == len(x) else None,
    )  # fmt: skip


def _pair(first: str, second: str, x: Array, z: Array, y: Array, confidence: float) -> Pair:
    correlation = float(np.corrcoef(x, z)[0, 1])
    design = np.column_stack([np.ones_like(x), x, z])
    centred = design[:, 1:] - design[:, 1:].mean(axis=0)
    condition = min(float(np.linalg.cond(centred / np.linalg.norm(centred, axis=0))), 1e6)
    inflation = None if abs(correlation) > SAME else 1 / (1 - correlation**2)
    if inflation is None or inflation > APART or len(x) < 4:
        return Pair(first, second, correlation, inflation, condition, None, None)
    solve = solver(design, np.ones(len(x)))
    slopes = [weighted_sum(y, solve[at], confidence) for at in (1, 2)]
    means = y.mean(axis=(1, 2))
    return Pair(
        first, second, correlation, inflation, condition, slopes[0], slopes[1], r_squared(means, design @ solve @ means)
    )


# --- what may be said ---------------------------------------------------------------------------------------------


def predictor_lines(found: Predictors, main: str, names: Mapping[str, str]) -> list[str]:
    """Sentences on what these arms can and cannot tell apart.

    Args:
        names: quantity -> what it is called.
    """
    lines = []
    same = [names[pair.second] for pair in found.pairs if pair.inflation is None]
    hard = [pair for pair in found.pairs if pair.inflation is not None and pair.slope_first is None]
    if same:
        lines.append(
            f"over these {found.num_arms} arms {names[main]} and {', '.join(same)} rise and fall as one "
            f"(correlation above {SAME}): no fit can say which of them accuracy follows"
        )
    for pair in hard:
        few = "too few arms" if (pair.inflation or 0) <= APART else f"variance inflation {pair.inflation:.0f}"
        lines.append(
            f"{names[main]} and {names[pair.second]} are hardly told apart (correlation {pair.correlation:.2f}, {few})"
        )
    for pair in found.pairs:
        if pair.slope_first is not None and pair.slope_second is not None:
            lines.append(
                f"at equal {names[pair.second]}: {_gain(pair.slope_first)} a doubling of {names[main]}; at equal "
                f"{names[main]}: {_gain(pair.slope_second)} a doubling of {names[pair.second]} "
                f"({found.num_arms} arms, correlation {pair.correlation:.2f}, variance inflation {pair.inflation:.1f}, "
                f"condition number {pair.condition:.0f}, R² {pair.r2:.2f}; "
                "the intervals do not cover that the fit may be the wrong one)"
            )
    if found.constant:
        lines.append(f"equal in all of these arms, or nearly: {', '.join(names[name] for name in found.constant)}")
    ranked = sorted(
        (one for one in found.alone if one.left_out_points is not None), key=lambda one: one.left_out_points or 0
    )
    if len(ranked) > 1 and found.num_arms > 3:
        said = ", ".join(f"{names[one.name]} {one.r2:.2f} ({one.left_out_points:.1f})" for one in ranked)
        lines.append(f"each quantity alone, R² and the error of an arm left out in points: {said}")
    return lines


def _gain(slope: Interval) -> str:
    bounds = (
        "no interval" if slope.low is None or slope.high is None else f"{100 * slope.low:+.1f}, {100 * slope.high:+.1f}"
    )
    return f"{100 * slope.estimate:+.1f} points [{bounds}]"
