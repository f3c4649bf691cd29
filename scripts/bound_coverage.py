"""How near to 95 % any interval of two seeds can cover: python -m scripts.bound_coverage (two minutes).

The half width of an interval over questions and ν + 1 seeds is some function of the seeds' spread, in units of the
questions' part, which is taken as known.  Here that function is free, but for never falling: thirty steps, none
negative, moved until coverage strays least over all true shares of the seeds.  What that comes to is the best that was
found for any rule, whatever its formula; the rule of ``long1k.statistics.critical`` stands beside it.
"""

from __future__ import annotations

import argparse

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special
from scripts.fit_degrees import SHARES, OneArm

from long1k.statistics import critical

Array = NDArray[np.float64]

KNOTS = np.linspace(-4, 3.5, 31)  # logarithms of B / A


class Free:
    """Coverage of a free rule at every true share of the seeds."""

    def __init__(self, rule: OneArm) -> None:
        self.confidence = rule.confidence
        self.spread = -rule.ratio
        self.questions = np.sqrt(1 - SHARES[:, None])

    def coverages(self, steps: Array) -> Array:
        """Of a half width that starts at exp(steps[0]) and whose logarithm grows by the other steps."""
        half = np.cumsum(steps)
        logarithm = np.interp(self.spread, KNOTS, half)
        # Beyond the last knot questions hardly count, and the half width is in proportion to the seeds' spread.
        logarithm += 0.5 * np.maximum(self.spread - KNOTS[-1], 0)
        return np.asarray((2 * special.ndtr(np.exp(logarithm) * self.questions) - 1).mean(axis=1))

    def fit(self, steps: Array) -> Array:
        """The steps of the rule that strays least, from a start."""
        for norm in (4, 8, 16, 32, 64, 128):

            def straying(at: Array, norm: int = norm) -> Array:
                return np.asarray(100 * np.abs(self.coverages(at) - self.confidence)) ** (norm / 2)

            bounds = (np.zeros(len(steps)), np.full(len(steps), 8.0))
            steps = optimize.least_squares(straying, steps, bounds=bounds, max_nfev=40, diff_step=1e-5).x
        return steps


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--degrees", type=float, default=1.0, help="of the seeds: their number less one (default 1)")
    parser.add_argument("--confidence", type=float, default=0.95)
    given = parser.parse_args()
    rule = OneArm(given.degrees, given.confidence)
    constants = np.array(critical.constants(given.degrees, given.confidence))
    half = np.log(rule.t(constants, -KNOTS) * np.sqrt(1 + np.exp(KNOTS)))
    start = np.concatenate([half[:1], np.maximum(np.diff(half), 1e-3)])
    free = Free(rule)
    steps = free.fit(start)
    for name, covered in (("the rule in use", rule.coverages(constants)), ("free", free.coverages(steps))):
        print(f"{name}: {100 * covered.min():.2f} to {100 * covered.max():.2f} %")
    at = int(steps[1:].argmax()) + 1
    before, after = np.exp(np.cumsum(steps)[at - 1 : at + 1])
    print(
        f"largest step of the free one: from a half width of {before:.1f} to {after:.1f} standard errors of the "
        f"questions, at seeds' spreads of {np.exp(KNOTS[at - 1] / 2):.2f} to {np.exp(KNOTS[at] / 2):.2f} of them"
    )


if __name__ == "__main__":
    main()
