"""How many degrees of freedom an interval has whose variance is that of few seeds and of many questions.

The variance of a mean is A + B: A of the questions, well known, and B of the training seeds, known with ν degrees of
freedom only (ν = 1 for two seeds).  Satterthwaite's rule, ν · (1 + A/B)², takes the estimated B at its word; where B is
by chance small it promises too much, and 95 % intervals cover 87 % (ν = 1) to 94 % (ν = 4).  A t quantile for each part
covers 95 % to 98.8 %.  Between them lies

    degrees = ν · (1 + (scale · A / B)^power + height · hump(A / B)),   hump(r) = exp(-ln(r)² / (2 · 1.5²))

with power, scale and height found by scripts/fit_degrees.py, such that coverage strays least from the confidence,
whatever the true B is: 94.1 to 95.9 % for ν = 1, 94.9 to 95.1 % for ν = 2, nearer for more.

Few questions, d degrees of them, do not know A well either: to 1/degrees comes (A / (A + B))² / d, as Satterthwaite
has it.  But where A is small by chance, B / A is large and the interval wide anyhow, so that A / B counts (1 + z² / d)
times in the rule, z the normal quantile.  The 95 % interval's coverage then stays within 0.2 points of what it is with
A known (d = 29; without, it is up to 0.4 more); fit_degrees.py prints it for other d.

Where several arms have seeds of their own, B is a sum of parts with ν degrees each, and what they have together
depends on how alike the true parts are, which so few seeds hardly tell.  Welch's rule, cut off at their sum, is too
wide where they are equal.  Instead the degrees grow with the evenness e of the parts as they show, from ν (one is all
of B) upwards,

    ν · (1.5 · arms)^(e^sharpness)

with sharpness found by the same script over equal, graded and single parts, with and without what varies beyond seed
and question.  Were the degrees larger where parts are even and smaller where they are not, coverage would be nearer to
the confidence where one arm alone varies, but intervals half as wide again where all do.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import special

Array = NDArray[np.float64]

# (power, scale, height) by confidence and degrees of freedom of the seeds.
_DEGREES = (1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_CONSTANTS: dict[float, tuple[tuple[float, float, float], ...]] = {
    0.80: ((7.052, 0.864, 0.173), (3.568, 1.091, 0.189), (2.884, 1.213, 0.234), (2.503, 1.314, 0.323),
           (2.284, 1.386, 0.428), (2.149, 1.431, 0.523), (1.907, 1.492, 0.567), (1.998, 1.500, 0.641)),
    0.90: ((24.000, 0.378, 0.135), (12.526, 0.539, 0.209), (5.437, 0.712, 0.220), (2.988, 0.986, 0.225),
           (2.439, 1.179, 0.338), (2.129, 1.343, 0.437), (2.051, 1.433, 0.544), (1.996, 1.487, 0.624)),
    0.95: ((24.000, 0.169, 0.089), (24.000, 0.276, 0.171), (11.631, 0.396, 0.221), (4.263, 0.652, 0.230),
           (2.636, 0.986, 0.276), (2.234, 1.221, 0.383), (2.054, 1.389, 0.502), (1.991, 1.476, 0.606)),
    0.99: ((19.752, 0.022, 0.033), (10.685, 0.063, 0.063), (11.169, 0.114, 0.123), (10.511, 0.228, 0.243),
           (3.583, 0.545, 0.239), (2.413, 0.954, 0.287), (2.091, 1.266, 0.420), (1.983, 1.448, 0.567)),
}  # fmt: skip
_HUMP = 1.5  # width of the hump, in logarithms of A / B

LOWEST, HIGHEST = min(_CONSTANTS), max(_CONSTANTS)

# Of several arms with ν degrees each: ν · (1.5 · arms)^(evenness^sharpness).
# Sharpness by confidence, ν (_EACH) and number of arms (_ARMS).
_MOST = 1.5
_EACH = (1.0, 2.0, 4.0)
_ARMS = (2.0, 4.0, 10.0)
_SHARPNESS: dict[float, tuple[tuple[float, ...], ...]] = {
    0.80: ((0.40, 0.36, 0.36),
           (0.80, 0.47, 0.47),
           (1.27, 0.72, 0.56)),
    0.90: ((0.43, 0.38, 0.38),
           (0.89, 0.49, 0.49),
           (1.39, 0.75, 0.57)),
    0.95: ((0.47, 0.43, 0.42),
           (1.04, 0.51, 0.52),
           (1.54, 0.78, 0.59)),
    0.99: ((0.59, 0.66, 0.68),
           (1.80, 0.58, 0.64),
           (2.08, 0.90, 0.65)),
}  # fmt: skip


def constants(seed_degrees: float, confidence: float) -> tuple[float, float, float]:
    """Power, scale and height, between the tabled ones: straight in 1/ν, and in the logarithm of 1 - confidence."""
    inverse, powers, scales, heights = _at(confidence)
    at = 1 / max(seed_degrees, 1.0)
    return (
        math.exp(float(np.interp(at, inverse, powers))), math.exp(float(np.interp(at, inverse, scales))),
        float(np.interp(at, inverse, heights)),
    )  # fmt: skip


@lru_cache(4096)
def _at(confidence: float) -> tuple[Array, Array, Array, Array]:
    """1/ν; logarithms of power and scale, which grow without bound, and the height, at one confidence."""
    levels = sorted(_CONSTANTS)
    places, at = [-math.log(1 - level) for level in levels], -math.log(1 - confidence)
    table = np.array([_CONSTANTS[level] for level in levels])[:, ::-1]  # (levels, degrees from many to few, constants)
    table[..., :2] = np.log(table[..., :2])
    found = np.array([[np.interp(at, places, column) for column in row] for row in table.transpose(2, 1, 0)])
    return np.array([1 / degrees for degrees in reversed(_DEGREES)]), found[0], found[1], found[2]


def share_of(ratio: Array, power: float | Array, scale: float | Array, height: float | Array) -> Array:
    """ν / degrees by the rule, 0 to 1, at logarithms of A / B."""
    rise = np.exp(np.clip(power * (np.log(scale) + ratio), -700, 700))
    return np.asarray(1 / (1 + rise + height * np.exp(-0.5 * (ratio / _HUMP) ** 2)))


def pooled(degrees: float, arms: float, evenness: float, confidence: float) -> float:
    """Degrees of freedom of several arms' seeds together, from those of one arm.

    Args:
        degrees: of one arm.
        arms: their number (of unequal weights: were they of one size, as ``variance.Parts`` counts).
        evenness: 0 if one arm shows all of the seeds' variance, 1 if all arms show the same.
    """
    if arms <= 1 or evenness <= 0:
        return degrees
    return degrees * math.exp(most(arms) * evenness ** sharpness(degrees, arms, confidence))


def most(arms: float) -> float:
    """Logarithm of what the degrees of one arm are multiplied with where all arms show the same.

    Below two arms' worth of weight it falls to that of one.
    """
    return math.log(_MOST * arms if arms >= 2 else 1 + 2 * (_MOST - 0.5) * (arms - 1))


@lru_cache(4096)
def sharpness(degrees: float, arms: float, confidence: float) -> float:
    """The exponent of evenness; between the tabled ones straight in 1/degrees, 1/(arms - 1) and log(1 - confidence)."""
    at_levels, at_degrees, at_arms = _sharpness_axes()
    table = _sharpness_table()
    place = 1 / (min(max(arms, 2.0), _ARMS[-1]) - 1)
    one = 1 / max(degrees, 1.0)
    found = [
        float(np.interp(one, at_degrees, [float(np.interp(place, at_arms, row)) for row in level])) for level in table
    ]
    return math.exp(float(np.interp(-math.log(1 - confidence), at_levels, found)))


@cache
def _sharpness_axes() -> tuple[Array, Array, Array]:
    levels = np.array([-math.log(1 - level) for level in sorted(_SHARPNESS)])
    return levels, np.array([1 / one for one in reversed(_EACH)]), np.array([1 / (one - 1) for one in reversed(_ARMS)])


@cache
def _sharpness_table() -> Array:
    """Logarithms, (levels, degrees from many to few, arms from many to few)."""
    return np.asarray(np.log(np.array([_SHARPNESS[level] for level in sorted(_SHARPNESS)]))[:, ::-1, ::-1])


def degrees_of(
    seeds: float, questions: float, seed_degrees: float, question_degrees: float, confidence: float = 0.95, *,
    arms: float = 1.0, evenness: float = 0.0,
) -> float:  # fmt: skip
    """Degrees of freedom of the t quantile for a variance of ``seeds`` + ``questions``.

    Args:
        seeds, questions: the two parts, not negative, not both 0.
        seed_degrees: ν of one arm's seeds; 0 where there is none.
        question_degrees: of the questions' part, positive.
        confidence: outside of the tabled ones (LOWEST to HIGHEST) the nearest of them counts.
        arms, evenness: of arms with several seeds, as in ``pooled``.
    """
    if seed_degrees == 0 or seeds == 0:
        return question_degrees
    confidence = min(max(confidence, LOWEST), HIGHEST)
    together = pooled(seed_degrees, arms, evenness, confidence)
    share = seeds / (seeds + questions)
    # The rule as a share of 1/ν, of the logarithm of the ratio, whose powers may leave what a float holds.
    ratio = math.log(questions) - math.log(seeds) if questions > 0 else -math.inf
    # An A that is small by chance makes the interval wide by itself, which pays for a part of how uncertain A is.
    ratio += math.log1p(float(special.ndtri(0.5 + confidence / 2)) ** 2 / question_degrees)
    ours = float(share_of(np.array(ratio), *constants(together, confidence)))
    return 1 / (ours / together + (1 - share) ** 2 / question_degrees)
