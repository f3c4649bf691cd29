"""Which shape the curve of accuracy over length has, and which shapes these rungs cannot tell apart.

Each shape is judged in three ways: AICc, from the rungs' scatter about it (Hurvich & Tsai, 1989; the scatter
itself counts as a parameter); how well it foretells a rung from the others; and, where there are grades, whether it
misses the rungs by more than questions and seeds explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from scipy import stats

from long1k.statistics.draws import percentiles
from long1k.statistics.forms import SHAPES, Array, fit
from long1k.statistics.scaling import r_squared

NEAR = 4.0
"""Difference in AICc up to which a shape is not told apart from the best (Burnham & Anderson, 2002, sec. 2.6)."""
_PLACES = 25


@dataclass(frozen=True, slots=True)
class ShapeFit:
    """One shape over the rungs.

    ``parameters`` are those of the formula, accuracy as a share. ``delta`` is its AICc less the least;
    ``left_out_points`` the root mean squared error, in points, of rungs that were foretold from the others;
    ``lack_of_fit_p`` the chance of missing the rungs so much if the shape were true. None where there are too few
    rungs, or nothing to judge by.  ``curve`` holds (length, low, fitted, high).
    """

    name: str
    formula: str
    num_parameters: int
    parameters: dict[str, float]
    r2: float
    aicc: float | None
    delta: float | None
    left_out_points: float | None
    lack_of_fit_p: float | None
    curve: list[tuple[float, float | None, float, float | None]]


def compare_shapes(
    lengths: Sequence[float],
    means_R: Array,
    weights_R: Array,
    *,
    drawn_BR: Array | None = None,
    covariance: tuple[Array, int] | None = None,
    confidence: float = 0.95,
    names: Sequence[str] = tuple(SHAPES),
) -> list[ShapeFit]:
    """Fit shapes, by default all, in the order of SHAPES.

    Args:
        weights_R: of the rungs, for the fits.
        drawn_BR: draws of the rungs' accuracies, for the bands.
        covariance: of the rungs' accuracies with its degrees of freedom, for the test of lack of fit.
    """
    x = np.asarray(lengths, dtype=np.float64)
    y, weights = np.asarray(means_R, dtype=np.float64), np.asarray(weights_R, dtype=np.float64)
    whiten, exact = np.diag(np.sqrt(weights)), None if covariance is None else _whitener(covariance[0])
    places = np.geomspace(x.min(), x.max(), _PLACES)
    made = []
    for shape in (SHAPES[name] for name in names):
        if shape.num_parameters > len(np.unique(x)):
            continue
        found = fit(shape.name, x, y, whiten)
        fitted = found.at(x)[0]
        curve = found.at(places)[0]
        bands: Array | None = None
        if drawn_BR is not None:
            bands = fit(shape.name, x, drawn_BR, whiten).at(places)
        made.append(
            ShapeFit(
                shape.name, shape.formula, shape.num_parameters, found.formula_parameters(),
                r_squared(y, fitted, weights),
                _aicc(float(found.squares_B[0]) / weights.mean(), len(x), shape.num_parameters), None,
                _left_out(shape.name, x, y, weights),
                None if exact is None or covariance is None else _lack_of_fit(shape.name, x, y, exact, covariance[1]),
                _curve(places, curve, bands, confidence),
            )
        )  # fmt: skip
    least = min((one.aicc for one in made if one.aicc is not None), default=None)
    return [one if one.aicc is None or least is None else _with_delta(one, one.aicc - least) for one in made]


def _curve(
    places: Array, values: Array, bands_BM: Array | None, confidence: float
) -> list[tuple[float, float | None, float, float | None]]:
    made = []
    for at, (place, value) in enumerate(zip(places, values, strict=True)):
        low, high = (None, None) if bands_BM is None else percentiles(bands_BM[:, at], confidence)
        made.append((float(place), low, float(value), high))
    return made


def _with_delta(one: ShapeFit, delta: float) -> ShapeFit:
    return ShapeFit(**{**{name: getattr(one, name) for name in ShapeFit.__slots__}, "delta": delta})


def as_dicts(shapes: Sequence[ShapeFit]) -> list[dict[str, Any]]:
    """Plain values, for JSON."""
    return [{**asdict(one), "curve": [list(point) for point in one.curve]} for one in shapes]


def _aicc(squares: float, num_rungs: int, num_parameters: int) -> float | None:
    """AICc of a least-squares fit; None where the rungs are too few for it, or the fit is exact."""
    if num_rungs - num_parameters - 2 <= 0 or squares < 1e-20:
        return None
    return num_rungs * float(np.log(squares / num_rungs)) + charge(num_rungs, num_parameters)


def extra_charge(num_rungs: int, parameters: int) -> float | None:
    """What AICc adds for the last of so many parameters; None where it is not defined."""
    if num_rungs - parameters - 2 <= 0:
        return None
    return charge(num_rungs, parameters) - charge(num_rungs, parameters - 1)


def charge(num_rungs: int, num_parameters: int) -> float:
    """What AICc adds for a shape's parameters and the scatter."""
    k = num_parameters + 1
    return 2 * k + 2 * k * (k + 1) / (num_rungs - k - 1)


def _left_out(name: str, x: Array, y: Array, weights: Array) -> float | None:
    """Root mean squared error in points over the rungs, each foretold by a fit to the others."""
    if len(np.unique(x)) - 1 < SHAPES[name].num_parameters:
        return None
    errors = []
    for at in range(len(x)):
        rest = np.arange(len(x)) != at
        found = fit(name, x[rest], y[rest], np.diag(np.sqrt(weights[rest])))
        errors.append(100 * (float(found.at(x[at : at + 1])[0, 0]) - y[at]))
    return float(np.sqrt(np.mean(np.square(errors))))


def _whitener(covariance_RR: Array) -> Array | None:
    """The inverse of a Cholesky factor; None of a matrix that has no inverse worth the name."""
    values = np.linalg.eigvalsh(covariance_RR)
    if values[-1] <= 0 or values[0] < 1e-10 * values[-1]:
        return None
    return np.asarray(np.linalg.inv(np.linalg.cholesky(covariance_RR)))


def _lack_of_fit(name: str, x: Array, y: Array, whiten_RR: Array, freedom: int) -> float | None:
    """Chance of so large a generalised sum of squared residuals; None of a shape that goes through every rung."""
    rest = len(np.unique(x)) - SHAPES[name].num_parameters
    if rest < 1:
        return None
    squares = float(fit(name, x, y, whiten_RR).squares_B[0])
    return float(stats.f.sf(squares / rest, rest, freedom))


# --- what may be said ---------------------------------------------------------------------------------------------


def told_apart(shapes: Sequence[ShapeFit], num_rungs: int, confidence: float = 0.95) -> list[str]:
    """Sentences: which shapes these rungs rule out, and which they cannot tell apart."""
    if not shapes:
        return []
    lines = []
    judged = [one for one in shapes if one.lack_of_fit_p is not None]
    refuted = [one for one in judged if one.lack_of_fit_p is not None and one.lack_of_fit_p < 1 - confidence]
    if judged:
        kept = [one.name for one in judged if one not in refuted]
        said = ", ".join(f"{one.name} ({_p(one.lack_of_fit_p)})" for one in refuted)
        lines.append(
            f"shapes that miss the rungs by more than questions and seeds explain: {said or 'none'}; "
            f"shapes that agree with them: {', '.join(kept) or 'none'}"
        )
    ranked = sorted((one for one in shapes if one.delta is not None), key=lambda one: one.delta or 0.0)
    if not any(one.num_parameters > 1 for one in ranked):
        ranked = []
        lines.append(f"{num_rungs} rungs are too few, or too exactly on a shape, for AICc to compare shapes")
    far = [one for one in ranked if (one.delta or 0.0) >= NEAR]
    if ranked:
        near = [one for one in ranked[1:] if (one.delta or 0.0) < NEAR]
        words = f"by AICc the best shape is {ranked[0].name}"
        if near:
            words += f"; these rungs cannot tell it from {_listed(near)}"
        if far:
            words += f"; behind by {NEAR:g} or more: {_listed(far)}"
        lines.append(words)
    without = [one.name for one in shapes if one.aicc is None]
    if without and ranked:
        lines.append(f"too few rungs for an AICc of {', '.join(without)}, or they lie on it exactly")
    for parameters, word in ((2, "second"), (3, "third")):
        more = extra_charge(num_rungs, parameters)
        if more is not None and more > 2 * NEAR and any(one.num_parameters == parameters for one in far):
            lines.append(
                f"over {num_rungs} rungs AICc charges a {word} parameter with {more:.0f}, whatever it explains: "
                "see how well a shape foretells a rung that is left out"
            )
            break
    foretold = sorted(
        (one for one in shapes if one.left_out_points is not None), key=lambda one: one.left_out_points or 0
    )
    if foretold:
        lines.append(
            "a rung that is left out is foretold from the others within (root mean square, points): "
            + ", ".join(f"{one.name} {one.left_out_points:.2f}" for one in foretold)
        )
    return lines


def _listed(shapes: Sequence[ShapeFit]) -> str:
    return ", ".join(f"{one.name} (+{one.delta:.1f})" for one in shapes)


def _p(value: float | None) -> str:
    return "" if value is None else "p < 0.001" if value < 0.001 else f"p = {value:.3f}"
