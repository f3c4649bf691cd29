"""How many degrees of freedom an interval has whose variance is that of few seeds and of many questions.

The variance of a mean is A + B: A of the questions, well known, and B of the training seeds, known with ν degrees of
freedom only (ν = 1 for two seeds).  Satterthwaite's rule, ν · (1 + A/B)², takes the estimated B at its word; where B is
by chance small it promises too much, and 95 % intervals cover 87 % (ν = 1) to 94 % (ν = 4).  A t quantile for each part
covers 95 % to 98.8 %.  Between them lies

    degrees = ν · (1 + (scale · A / B)^power)

with power and scale found by scripts/fit_degrees.py, such that coverage strays least from the confidence, whatever
the true B is: 94.0 to 96.1 % for ν = 1, 94.7 to 95.3 % for ν = 2, nearer for more.
"""

from __future__ import annotations

import math
from functools import cache

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


def constants(seed_degrees: float, confidence: float) -> tuple[float, float]:
    """Power and scale, between the tabled ones: straight in 1/ν, and in the logarithm of 1 - confidence."""
    inverse, powers, scales = _at(confidence)
    at = 1 / max(seed_degrees, 1.0)
    return math.exp(float(np.interp(at, inverse, powers))), math.exp(float(np.interp(at, inverse, scales)))


@cache
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


def degrees_of(
    seeds: float, questions: float, seed_degrees: float, question_degrees: float, confidence: float = 0.95
) -> float:
    """Degrees of freedom of the t quantile for a variance of ``seeds`` + ``questions``.

    Args:
        seeds, questions: the two parts, not negative, not both 0.
        seed_degrees: ν of the seeds' part; 0 where there is none.
        question_degrees: of the questions' part.
    """
    if seed_degrees == 0 or seeds == 0:
        return question_degrees
    power, scale = constants(seed_degrees, confidence)
    share = seeds / (seeds + questions)
    # The rule as a share of 1/ν; in logarithms, as the ratio to a power of ten may leave what a float holds.
    exponent = power * (math.log(scale) + math.log(questions) - math.log(seeds)) if questions > 0 else -math.inf
    ours = 1 / (1 + math.exp(exponent)) if exponent < 700 else 0.0
    return 1 / (ours / seed_degrees + (1 - share) ** 2 / question_degrees) if ours or share < 1 else question_degrees
