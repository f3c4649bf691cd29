"""Finds the constants of long1k.statistics.critical: python -m scripts.fit_degrees (two minutes).

For few degrees of freedom ν of the training seeds, power and scale of the rule

    degrees = ν · (1 + (scale · A / B)^power)

are chosen so that the coverage strays least from the confidence, over all true shares of the seeds in the
variance.  Coverage is an integral over the chi-square distribution of B, taken at its quantiles; nothing is random.

Then, for several arms, the sharpness of ν · (1.5 · arms)^(evenness^sharpness), over arms of equal, graded and single
spreads, each with and without what varies beyond seed and question.  Equal and graded spreads count in full, a single
arm that alone varies a third.  Last, a check on what nothing was fitted to: other numbers of arms and degrees, and
unequal weights, as a slope or two arms of different numbers of seeds have them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special, stats
from scipy.stats import qmc

from long1k.statistics import critical, variance
from long1k.statistics.rates import FLOOR

Array = NDArray[np.float64]

CONFIDENCES = (0.8, 0.9, 0.95, 0.99)
DEGREES = (1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
SHARES = 1 / (1 + np.exp(-np.linspace(-5, 8, 40)))  # of the seeds in the variance of the mean
POINTS = 2000


def coverages(power: float, scale: float, degrees: float, confidence: float) -> Array:
    """Of the rule, at every true share; the questions' part is taken as known."""
    quantiles = (np.arange(POINTS) + 0.5) / POINTS
    seeds = SHARES[:, None] * stats.chi2.ppf(quantiles, degrees)[None, :] / degrees
    questions = 1 - SHARES[:, None]
    share = 1 / (1 + (scale * questions / seeds) ** power)
    grid = np.linspace(1e-6, 1, 1000)
    critical = np.interp(share, grid, stats.t.ppf(0.5 + confidence / 2, degrees / grid))
    return np.asarray((2 * stats.norm.cdf(critical * np.sqrt(seeds + questions)) - 1).mean(axis=1))


def fit(degrees: float, confidence: float) -> tuple[float, float, float, float]:
    """Power, scale, and the least and largest coverage they come to."""

    def straying(logarithms: Array) -> float:
        off = coverages(*np.exp(logarithms), degrees, confidence) - confidence
        return float(max(off.max(), -1.06 * off.min()))  # too narrow is worse than too wide

    starts = [np.array(start) for start in ((0.3, 0.3), (1.6, -1.5), (0.8, -0.3))]
    found = [
        optimize.minimize(straying, start, method="Nelder-Mead", options={"maxiter": 200, "xatol": 1e-3, "fatol": 1e-6})
        for start in starts
    ]
    power, scale = np.exp(min(found, key=lambda one: one.fun).x)
    covered = coverages(power, scale, degrees, confidence)
    return float(power), float(scale), float(covered.min()), float(covered.max())


# --- several arms ---------------------------------------------------------------------------------------------

SINGLE = 0.35  # weight of spreads of which one arm has all
EACH, ARMS = (1, 2, 4), (2, 4, 10)
SEED_SHARES = (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.97)
REST_SHARES = (0.0, 0.5, 0.95)  # of the questions' part: what varies beyond seed and question
_GRID = np.linspace(1e-6, 1, 4000)


def spreads(weights: Array) -> dict[str, Array]:
    """Which arms' seeds differ: shares of the seeds' variance."""
    graded = weights * np.arange(1, len(weights) + 1) ** 2
    one = np.zeros(len(weights))
    one[weights.argmax()] = 1
    return {"equal": weights / weights.sum(), "graded": graded / graded.sum(), "single": one}


def arms_coverage(weights: Array, degrees: int, confidence: float, sharpness: float | None = None) -> dict[str, Array]:
    """Coverages over seed and rest shares, by kind of spread; with a given sharpness or the package's."""
    drawn = qmc.Sobol(len(weights), seed=0).random(512)
    shown = stats.chi2.ppf(np.clip(drawn, 1e-9, 1 - 1e-9), degrees) / degrees
    critical_t = np.log(stats.t.ppf(0.5 + confidence / 2, 1 / _GRID))
    normal = stats.norm.ppf(0.5 + confidence / 2)
    logs = np.linspace(0, 6, 200)
    tabled = np.log([critical.constants(float(np.exp(at)), confidence) for at in logs])
    found: dict[str, Array] = {}
    for kind, shares in spreads(weights).items():
        covered = []
        for rest in REST_SHARES:
            for seed_share in SEED_SHARES:
                questions = 1 - seed_share
                parts = (seed_share * shares + rest * questions * weights / weights.sum()) * shown
                seeds, known = parts.sum(axis=1), questions * (1 - rest)
                count, even = evenness(np.maximum(parts, 1e-300), weights)
                power = critical.sharpness(float(degrees), count, confidence) if sharpness is None else sharpness
                together = degrees * np.exp(critical.most(count) * even**power)
                powers, scales = (np.interp(np.log(together), logs, column) for column in tabled.T)
                share = 1 / (1 + np.exp(np.clip(np.exp(powers) * (scales + np.log(known / seeds)), -600, 600)))
                t = np.exp(np.interp(share / together, _GRID, critical_t))
                half = np.maximum(t * np.sqrt(known + seeds), FLOOR * normal * np.sqrt(questions))
                covered.append(float((2 * special.ndtr(half) - 1).mean()))
        found[kind] = np.array(covered)
    return found


def evenness(parts: Array, weights: Array) -> tuple[float, Array]:
    """Number of arms and evenness of each row of parts, as ``variance.together`` has them, of many at once."""
    lean, count = variance.LEAN, float(weights.sum() ** 2 / (weights**2).sum())
    most = (weights ** (2 - lean)).sum() / weights.sum() ** 2
    even = parts.sum(axis=1) ** 2 / (parts**2 / weights**lean).sum(axis=1) * most
    return count, np.clip((even * count - 1) / (count - 1), 0, 1)


def fit_sharpness(arms: int, degrees: int, confidence: float) -> tuple[float, dict[str, Array]]:
    """Sharpness, and the coverages it comes to."""
    weights = np.ones(arms)

    def straying(logarithm: float) -> float:
        covered = arms_coverage(weights, degrees, confidence, float(np.exp(logarithm)))
        off = [(SINGLE if kind == "single" else 1) * np.abs(one - confidence) for kind, one in covered.items()]
        return float((np.concatenate(off) ** 8).sum() ** 0.125)  # nearly the largest, and smooth

    grid = np.log([0.15, 0.2, 0.25, 0.32, 0.4, 0.5, 0.63, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5])
    at = int(np.argmin([straying(one) for one in grid]))
    near = (grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)])
    found = optimize.minimize_scalar(straying, bounds=near, method="bounded", options={"xatol": 0.02})
    sharpness = float(np.exp(found.x))
    return sharpness, arms_coverage(weights, degrees, confidence, sharpness)


CHECKS: dict[str, list[float]] = {
    "two arms": [1, 1], "three arms": [1, 1, 1], "six arms": [1] * 6, "two and three seeds": [3, 2],
    "slope over five rungs": [4, 1, 1, 4], "slope of the law's six rungs": [3.3, 1.5, 0.6, 0, 1.1, 5.4],
}  # fmt: skip


def said(covered: dict[str, Array]) -> str:
    """Least and largest coverage by kind of spread."""
    return ", ".join(f"{kind} {100 * one.min():.1f} to {100 * one.max():.1f}" for kind, one in covered.items())


if __name__ == "__main__":
    for confidence in CONFIDENCES:
        for degrees in DEGREES:
            power, scale, low, high = fit(degrees, confidence)
            print(
                f"confidence {confidence:4.2f}  degrees {degrees:5.2f}  power {power:.3f}  scale {scale:.3f}  "
                f"covers {100 * low:.2f} to {100 * high:.2f} %",
                flush=True,
            )
    for confidence in CONFIDENCES:
        for each in EACH:
            for arms in ARMS:
                value, covered = fit_sharpness(arms, each, confidence)
                print(
                    f"confidence {confidence:4.2f}  degrees {each}  arms {arms}  sharpness {value:.2f}  {said(covered)}"
                )
    for name, weights in CHECKS.items():
        for each in (1, 2, 3, 6):
            covered = arms_coverage(np.array([one for one in weights if one]), each, 0.95)
            print(f"check at 95 %: {name}, {each} degrees each: {said(covered)}", flush=True)
