"""Finds the constants of long1k.statistics.critical: python scripts/fit_degrees.py (half a minute).

For few degrees of freedom ν of the training seeds, power and scale of the rule

    degrees = ν · (1 + (scale · A / B)^power)

are chosen so that the coverage strays least from the confidence, over all true shares of the seeds in the
variance.  Coverage is an integral over the chi-square distribution of B, taken at its quantiles; nothing is random.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

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


if __name__ == "__main__":
    for confidence in CONFIDENCES:
        for degrees in DEGREES:
            power, scale, low, high = fit(degrees, confidence)
            print(
                f"confidence {confidence:4.2f}  degrees {degrees:5.2f}  power {power:.3f}  scale {scale:.3f}  "
                f"covers {100 * low:.2f} to {100 * high:.2f} %",
                flush=True,
            )
