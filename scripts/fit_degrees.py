"""Finds the constants of long1k.statistics.critical: python -m scripts.fit_degrees (some two minutes).

For few degrees of freedom ν of the training seeds, power, scale and height of the rule

    degrees = ν · (1 + (scale · A / B)^power + height · hump(A / B))

are chosen so that the coverage strays least from the confidence, over all true shares of the seeds in the
variance, and that an interval never narrows as its seeds differ more.  The power is kept below a limit: without it
the rule for ν = 1 would be a jump.  Coverage is an integral over the chi-square distribution of B, taken at its
quantiles; nothing is random.

Then, for several arms, the sharpness of ν · (1.5 · arms)^(evenness^sharpness), over arms of equal, graded and single
spreads, each with and without what varies beyond seed and question.  Equal and graded spreads count in full, a single
arm that alone varies mostly a quarter.  Last, a check on what nothing was fitted to: other numbers of arms and
degrees, and unequal weights, as a slope or two arms of different numbers of seeds have them.
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
SHARES = 1 / (1 + np.exp(-np.linspace(-5, 8, 60)))  # of the seeds in the variance of the mean
POINTS = 2000
STEEPEST = 24.0
_TAIL = np.linspace(1e-6, 1, 1500)
_SPREAD = np.linspace(-9, 9, 800)  # logarithms of B / A at which an interval must not narrow


class OneArm:
    """Coverage of the rule for one arm at every true share; the questions' part is taken as known."""

    def __init__(self, degrees: float, confidence: float) -> None:
        self.confidence = confidence
        quantiles = (np.arange(POINTS) + 0.5) / POINTS
        seeds = SHARES[:, None] * stats.chi2.ppf(quantiles, degrees)[None, :] / degrees
        questions = 1 - SHARES[:, None]
        self.ratio, self.spread = np.log(questions / seeds), np.sqrt(seeds + questions)
        self.quantiles = stats.t.ppf(0.5 + confidence / 2, degrees / _TAIL)

    def t(self, constants: Array, ratio: Array) -> Array:
        """Quantile of the rule at logarithms of A / B."""
        power, scale, height = constants
        return np.asarray(np.interp(critical.share_of(ratio, power, scale, height), _TAIL, self.quantiles))

    def coverages(self, constants: Array) -> Array:
        """At every true share."""
        return np.asarray((2 * special.ndtr(self.t(constants, self.ratio) * self.spread) - 1).mean(axis=1))

    def narrowing(self, constants: Array) -> float:
        """How much the logarithm of the half width falls, all falls together, as the seeds' spread grows."""
        half = np.log(self.t(constants, -_SPREAD) * np.sqrt(1 + np.exp(_SPREAD)))
        return float(-np.minimum(np.diff(half), 0).sum())

    def fit(self) -> tuple[Array, Array]:
        """Constants and the coverages they come to."""

        def constants(free: Array) -> Array:
            return np.array([min(np.exp(free[0]), STEEPEST), np.exp(free[1]), free[2] ** 2])

        def straying(free: Array) -> float:
            off = self.coverages(constants(free)) - self.confidence
            return float(np.abs(off).max() + 3 * self.narrowing(constants(free)))

        found = []
        # A smooth measure first, from several starts; then the largest straying itself.
        for start in ((1.6, -1.5, 0.5), (0.8, -0.1, 0.5), (2.3, -3.5, 0.3), (0.9, 0.3, 0.6)):
            free = np.array(start)
            for norm in (4, 8, 16, 32):

                def smooth(at: Array, norm: int = norm) -> Array:
                    off = 100 * np.abs(self.coverages(constants(at)) - self.confidence)
                    return np.append(off ** (norm / 2), 30 * self.narrowing(constants(at)))

                free = optimize.least_squares(smooth, free, max_nfev=40, diff_step=1e-4).x
            options = {"maxiter": 400, "xatol": 1e-3, "fatol": 1e-6}
            found.append(optimize.minimize(straying, free, method="Nelder-Mead", options=options))
        best = constants(min(found, key=lambda one: one.fun).x)
        return best, self.coverages(best)


# --- several arms ---------------------------------------------------------------------------------------------

EACH, ARMS = (1, 2, 4), (2, 4, 10)
# Weight of spreads of which one arm has all, and where the 95 % intervals of simulated studies set it, by (degrees,
# arms).  With a quarter there, arms of two seeds that are alike came to 96.2 % (simulate_statistics.py) and slopes of
# three seeds over 30 questions to 96.1 % (simulate_law.py), and a steady arm beside one of three seeds brought 5.6 % of
# false alarms.
SINGLE = 0.25
SINGLES = {(1, 2): 0.1, (2, 2): 0.5, (2, 4): 0.1}
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
    tabled = np.array([critical.constants(float(np.exp(at)), confidence) for at in logs])
    tabled[:, :2] = np.log(tabled[:, :2])
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
                powers, scales, heights = (np.interp(np.log(together), logs, column) for column in tabled.T)
                share = critical.share_of(np.log(known / seeds), np.exp(powers), np.exp(scales), heights)
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
        single = SINGLES.get((degrees, arms), SINGLE)
        off = [(single if kind == "single" else 1) * np.abs(one - confidence) for kind, one in covered.items()]
        return float((np.concatenate(off) ** 8).sum() ** 0.125)  # nearly the largest, and smooth

    grid = np.log([0.15, 0.2, 0.25, 0.32, 0.4, 0.5, 0.63, 0.8, 1.0, 1.25, 1.6, 2.0, 2.5, 3.2])
    at = int(np.argmin([straying(one) for one in grid]))
    near = (grid[max(at - 1, 0)], grid[min(at + 1, len(grid) - 1)])
    found = optimize.minimize_scalar(straying, bounds=near, method="bounded", options={"xatol": 0.02})
    sharpness = float(np.exp(found.x))
    return sharpness, arms_coverage(weights, degrees, confidence, sharpness)


def few_questions(degrees: float, question_degrees: float, confidence: float, shares: Array = SHARES[::4]) -> Array:
    """By how much one arm's coverage differs from that with A known, at shares of the seeds; by the package's rule."""
    seeds = stats.chi2.ppf((np.arange(500) + 0.5) / 500, degrees) / degrees
    drawn = stats.chi2.ppf((np.arange(16) + 0.5) / 16, question_degrees) / question_degrees

    def coverage(share: float, questions: Array, known_with: float) -> float:
        b, a = (part.ravel() for part in np.meshgrid(share * seeds, (1 - share) * questions))
        pairs = zip(b.tolist(), a.tolist(), strict=True)
        found = np.array([critical.degrees_of(one, other, degrees, known_with, confidence) for one, other in pairs])
        t = special.stdtrit(found, 0.5 + confidence / 2)
        return float((2 * special.ndtr(t * np.sqrt(a + b)) - 1).mean())

    return np.array([coverage(one, drawn, question_degrees) - coverage(one, np.ones(1), 1e9) for one in shares])


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
            (power, scale, height), one_arm = OneArm(degrees, confidence).fit()
            print(
                f"confidence {confidence:4.2f}  degrees {degrees:5.2f}  power {power:.3f}  scale {scale:.3f}  "
                f"height {height:.3f}  covers {100 * one_arm.min():.2f} to {100 * one_arm.max():.2f} %",
                flush=True,
            )
    for confidence in CONFIDENCES:
        for each in EACH:
            for arms in ARMS:
                value, covered = fit_sharpness(arms, each, confidence)
                print(
                    f"confidence {confidence:4.2f}  degrees {each}  arms {arms}  sharpness {value:.2f}  {said(covered)}"
                )
    for question_degrees in (29, 9, 4):
        for each in (1, 2, 5, 10):
            off = 100 * few_questions(each, question_degrees, 0.95)
            print(
                f"check at 95 %: {question_degrees} degrees of questions, {each} of seeds: "
                f"{off.min():+.2f} to {off.max():+.2f} points beside known questions",
                flush=True,
            )
    for name, weights in CHECKS.items():
        for each in (1, 2, 3, 6):
            covered = arms_coverage(np.array([one for one in weights if one]), each, 0.95)
            print(f"check at 95 %: {name}, {each} degrees each: {said(covered)}", flush=True)
