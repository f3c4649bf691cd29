"""Shapes of a curve of accuracy over length, fitted to many draws of the rungs' accuracies at once.

Shapes: B draws, R rungs, M places.  Least squares on accuracy for every shape, so that their residuals compare.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Shape:
    """A shape: its formula (L: length in tokens) and how many parameters it has."""

    name: str
    formula: str
    num_parameters: int


SHAPES: dict[str, Shape] = {
    shape.name: shape
    for shape in (
        Shape("flat", "a", 1),
        Shape("log-linear", "a + b·log2(L)", 2),
        Shape("logit-linear", "1 / (1 + exp(-(a + b·log2(L))))", 2),
        Shape("quadratic", "a + b·log2(L) + c·log2(L)²", 3),
        Shape("saturating-power", "a - b·L^-c", 3),
        Shape("saturating-exponential", "a - b·exp(-L/c)", 3),
    )
}
LINE, CURVE = "log-linear", "quadratic"
_POWERS = np.geomspace(0.03, 8.0, 160)
_SCALES = np.geomspace(0.05, 20.0, 160)  # of the exponential, as a share of the range of lengths
_STEPS = 40


@dataclass(frozen=True, slots=True)
class Fitted:
    """A shape fitted to B draws; lengths are taken relative to ``origin`` (log2) for the sake of rounding.

    ``squares_B``: the sum of squared whitened residuals.
    """

    shape: Shape
    origin: float
    spread: float
    parameters_BK: Array
    squares_B: Array

    def at(self, lengths: Array) -> Array:
        """Fitted accuracies, shape (B, M)."""
        u = np.log2(np.asarray(lengths, dtype=np.float64)) - self.origin
        p = self.parameters_BK
        if self.shape.name in _LINEAR:
            return np.asarray(p @ _design(self.shape.name, u).T)
        if self.shape.name == "logit-linear":
            return np.asarray(special.expit(p @ _design(LINE, u).T))
        basis = _basis(self.shape.name, u[None, :], p[:, 2:], self.spread)
        return np.asarray(p[:, :1] - p[:, 1:2] * basis)

    def formula_parameters(self, draw: int = 0) -> dict[str, float]:
        """a, b and c as they stand in the shape's formula, for one draw."""
        p, x = [float(value) for value in self.parameters_BK[draw]], self.origin
        if self.shape.name == "flat":
            return {"a": p[0]}
        if self.shape.num_parameters == 2:
            return {"a": p[0] - p[1] * x, "b": p[1]}
        if self.shape.name == CURVE:
            return {"a": p[0] - p[1] * x + p[2] * x**2, "b": p[1] - 2 * p[2] * x, "c": p[2]}
        if self.shape.name == "saturating-power":
            return {"a": p[0], "b": p[1] * 2.0 ** (p[2] * x), "c": p[2]}
        scale = p[2] * self.spread * 2.0**x
        return {"a": p[0], "b": p[1] * float(np.exp(2.0**x / scale)), "c": scale}


_LINEAR = ("flat", LINE, CURVE)


def fit(name: str, lengths: Array, y_BR: Array, whiten_RR: Array) -> Fitted:
    """Fit one shape to every draw.

    Args:
        lengths: tokens of each rung.
        whiten_RR: what residuals are multiplied with before they are squared: the square root of the weights
            on a diagonal, or the inverse of a Cholesky factor of the rungs' covariance.

    Raises:
        KeyError: an unknown shape.
    """
    shape = SHAPES[name]
    x = np.log2(np.asarray(lengths, dtype=np.float64))
    # The saturating shapes are measured from the shortest rung; the others from the middle.
    origin = float(x.min()) if name.startswith("saturating") else float(x.mean())
    spread = float(2.0 ** (x.max() - x.min()) - 1)
    u = x - origin
    y_BR = np.atleast_2d(np.asarray(y_BR, dtype=np.float64))
    if name in _LINEAR:
        parameters, squares = _least_squares(_design(name, u), y_BR, whiten_RR)
    elif name == "logit-linear":
        parameters, squares = _logit(u, y_BR, whiten_RR)
    else:
        parameters, squares = _saturating(name, u, spread, y_BR, whiten_RR)
    return Fitted(shape, origin, spread, parameters, squares)


def _design(name: str, u: Array) -> Array:
    columns = [np.ones_like(u), u, u**2]
    return np.column_stack(columns[: SHAPES[name].num_parameters])


def _least_squares(design: Array, y_BR: Array, whiten_RR: Array) -> tuple[Array, Array]:
    target = y_BR @ whiten_RR.T
    whitened = whiten_RR @ design
    parameters = target @ np.linalg.pinv(whitened).T
    return parameters, ((target - parameters @ whitened.T) ** 2).sum(axis=1)


def _logit(u: Array, y_BR: Array, whiten_RR: Array) -> tuple[Array, Array]:
    """Least squares on accuracy by Levenberg-Marquardt, all draws at once, from the line through the logits."""
    design = _design(LINE, u)
    start = special.logit(np.clip(y_BR, 0.005, 0.995))
    parameters = start @ np.linalg.pinv(design).T

    def squares_of(p: Array) -> tuple[Array, Array, Array]:
        fitted = special.expit(p @ design.T)
        rest = (y_BR - fitted) @ whiten_RR.T
        return fitted, rest, (rest**2).sum(axis=1)

    fitted, rest, squares = squares_of(parameters)
    damping = np.full(len(parameters), 1e-3)
    for _ in range(_STEPS):
        slope_BR = fitted * (1 - fitted)
        jacobian = np.einsum("sr,br,rk->bsk", whiten_RR, slope_BR, design)
        normal = np.einsum("bsk,bsl->bkl", jacobian, jacobian)
        gradient = np.einsum("bsk,bs->bk", jacobian, rest)
        diagonal = np.einsum("bkk->bk", normal)
        lifted = normal + np.einsum("bk,kl->bkl", damping[:, None] * diagonal + 1e-12, np.eye(2))
        step = np.linalg.solve(lifted, gradient[:, :, None])[:, :, 0]
        moved = np.clip(parameters + step, -60, 60)
        new_fitted, new_rest, new_squares = squares_of(moved)
        better = new_squares < squares
        damping = np.where(better, damping * 0.3, damping * 10)
        done = np.max(np.where(better[:, None], np.abs(step), 0.0), initial=0.0) < 1e-10
        parameters = np.where(better[:, None], moved, parameters)
        fitted, rest = np.where(better[:, None], new_fitted, fitted), np.where(better[:, None], new_rest, rest)
        squares = np.where(better, new_squares, squares)
        if done:
            break
    return parameters, squares


def _basis(name: str, u: Array, c: float | Array, spread: float) -> Array:
    """What b is multiplied with; u is log2 of the length over that of the shortest rung."""
    if name == "saturating-power":
        return np.asarray(2.0 ** (-c * u))
    return np.asarray(np.exp(-(2.0**u - 1) / (c * spread)))


def _saturating(name: str, u: Array, spread: float, y_BR: Array, whiten_RR: Array) -> tuple[Array, Array]:
    """For each value of c the rest is a line: the best of many values of c, for each draw."""
    grid_G = _POWERS if name == "saturating-power" else _SCALES
    design_GRK = np.stack([np.column_stack([np.ones_like(u), -_basis(name, u, float(c), spread)]) for c in grid_G])
    whitened_GRK = whiten_RR @ design_GRK
    target_BR = y_BR @ whiten_RR.T
    parameters_GBK = target_BR @ np.linalg.pinv(whitened_GRK).transpose(0, 2, 1)
    squares_GB = ((target_BR - parameters_GBK @ whitened_GRK.transpose(0, 2, 1)) ** 2).sum(axis=2)
    best_B = squares_GB.argmin(axis=0)
    draws = np.arange(len(y_BR))
    parameters = np.column_stack([parameters_GBK[best_B, draws], grid_G[best_B]])
    return parameters, squares_GB[best_B, draws]
