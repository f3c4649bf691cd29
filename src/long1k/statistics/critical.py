"""How many degrees of freedom an interval has whose variance is that of few seeds and of many questions.

The variance of a mean is A + B: A of the questions, well known, and B of the training seeds, known with ν degrees of
freedom only (ν = 1 for two seeds).  Satterthwaite's rule, ν · (1 + A/B)², takes the estimated B at its word; where B is
by chance small it promises too much, and 95 % intervals cover 87 % (ν = 1) to 94 % (ν = 4).  A t quantile for each part
covers 95 % to 98.8 %.  Between them lies

    degrees = ν · (1 + (scale · A / B)^power)

with power and scale found by scripts/fit_degrees.py, such that coverage strays least from the confidence, whatever
the true B is: 94.0 to 96.1 % for ν = 1, 94.7 to 95.3 % for ν = 2, nearer for more.  For ν = 1 a richer rule
does little better: with a curve of twelve knots over B / A in place of power and scale, 94.4 to 95.6 % remain.

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

Array = NDArray[np.float64]

# (power, scale) by confidence and degrees of freedom of the seeds.
_DEGREES = (1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
_CONSTANTS: dict[float, tuple[tuple[float, float], ...]] = {
    0.80: ((2.577, 1.067), (2.067, 1.332), (1.824, 1.522), (1.596, 1.769), (1.430, 2.026),
           (1.327, 2.227), (1.265, 2.384), (1.227, 2.488)),
    0.90: ((3.790, 0.482), (2.702, 0.730), (2.225, 0.942), (1.815, 1.262), (1.536, 1.640),
           (1.377, 1.977), (1.284, 2.251), (1.232, 2.444)),
    0.95: ((5.380, 0.205), (3.462, 0.380), (2.714, 0.560), (2.070, 0.876), (1.655, 1.310),
           (1.431, 1.746), (1.304, 2.122), (1.239, 2.399)),
    0.99: ((10.361, 0.023), (5.642, 0.072), (4.023, 0.148), (2.734, 0.344), (1.971, 0.743),
           (1.567, 1.280), (1.358, 1.838), (1.253, 2.295)),
}  # fmt: skip

LOWEST, HIGHEST = min(_CONSTANTS), max(_CONSTANTS)

# Of several arms with ν degrees each: ν · (1.5 · arms)^(evenness^sharpness).
# Sharpness by confidence, ν (_EACH) and number of arms (_ARMS).
_MOST = 1.5
_EACH = (1.0, 2.0, 4.0)
_ARMS = (2.0, 4.0, 10.0)
_SHARPNESS: dict[float, tuple[tuple[float, ...], ...]] = {
    0.80: ((0.38, 0.38, 0.40),
           (0.75, 0.55, 0.50),
           (1.25, 0.74, 0.58)),
    0.90: ((0.44, 0.42, 0.42),
           (0.81, 0.58, 0.53),
           (1.35, 0.77, 0.59)),
    0.95: ((0.51, 0.47, 0.48),
           (0.89, 0.63, 0.56),
           (1.48, 0.80, 0.62)),
    0.99: ((0.95, 0.76, 0.82),
           (1.30, 0.81, 0.71),
           (1.95, 0.93, 0.68)),
}  # fmt: skip


def constants(seed_degrees: float, confidence: float) -> tuple[float, float]:
    """Power and scale, between the tabled ones: straight in 1/ν, and in the logarithm of 1 - confidence."""
    inverse, powers, scales = _at(confidence)
    at = 1 / max(seed_degrees, 1.0)
    return math.exp(float(np.interp(at, inverse, powers))), math.exp(float(np.interp(at, inverse, scales)))


@lru_cache(4096)
def _at(confidence: float) -> tuple[Array, Array, Array]:
    """1/ν, and the logarithms of power and scale at one confidence; logarithms, since both grow without bound."""
    levels = sorted(_CONSTANTS)
    places, at = [-math.log(1 - level) for level in levels], -math.log(1 - confidence)
    found = [
        [
            float(np.interp(at, places, [math.log(_CONSTANTS[level][row][part]) for level in levels]))
            for row in reversed(range(len(_DEGREES)))
        ]
        for part in (0, 1)
    ]
    return np.array([1 / degrees for degrees in reversed(_DEGREES)]), np.array(found[0]), np.array(found[1])


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
        question_degrees: of the questions' part.
        arms, evenness: of arms with several seeds, as in ``pooled``.
    """
    if seed_degrees == 0 or seeds == 0:
        return question_degrees
    together = pooled(seed_degrees, arms, evenness, confidence)
    power, scale = constants(together, confidence)
    share = seeds / (seeds + questions)
    # The rule as a share of 1/ν; in logarithms, as the ratio to a power of ten may leave what a float holds.
    exponent = power * (math.log(scale) + math.log(questions) - math.log(seeds)) if questions > 0 else -math.inf
    ours = 1 / (1 + math.exp(exponent)) if exponent < 700 else 0.0
    return 1 / (ours / together + (1 - share) ** 2 / question_degrees) if ours or share < 1 else question_degrees
