"""Intervals for published rates, of which only the percentage and the number of questions are known.

Whether two models were right on the same questions is not published.  So a difference has three intervals: for
answers that are independent of each other, and for the two extremes of agreement that the rates allow (Fréchet's
bounds).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from scipy import stats


def wilson(rate: float, num_questions: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a rate (Wilson, 1927).

    Raises:
        ValueError: no questions, or a rate outside 0 to 1.
    """
    _check(rate, num_questions)
    z = _z(confidence)
    n = num_questions
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def clopper_pearson(rate: float, num_questions: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact interval (Clopper & Pearson, 1934); a mean over runs may give a count that is not whole."""
    _check(rate, num_questions)
    right, tail = rate * num_questions, (1 - confidence) / 2
    wrong = num_questions - right
    low = 0.0 if right <= 0 else float(stats.beta.ppf(tail, right, wrong + 1))
    high = 1.0 if wrong <= 0 else float(stats.beta.ppf(1 - tail, right + 1, wrong))
    return low, high


@dataclass(frozen=True, slots=True)
class Difference:
    """A difference of two published rates on the same questions, with intervals by how much the answers agree.

    ``independent`` is Newcombe's (1998, method 10) for independent answers; ``closest`` and ``widest`` are for the most
    and the least agreement that the two rates allow.  ``p_independent`` and ``p_closest`` are of the pooled z test and
    of the exact McNemar test where every disagreement goes one way.
    """

    estimate: float
    independent: tuple[float, float]
    closest: tuple[float, float]
    widest: tuple[float, float]
    p_independent: float
    p_closest: float

    @property
    def holds(self) -> str:
        """``always``, ``if independent``, ``if paired closely`` or ``never``."""
        apart = [low > 0 or high < 0 for low, high in (self.closest, self.independent, self.widest)]
        if all(apart):
            return "always"
        # The intervals are made by different methods: one that holds zero speaks for all wider pairings.
        return "never" if not apart[0] else "if independent" if apart[1] else "if paired closely"


def difference(first: float, second: float, num_questions: int, confidence: float = 0.95) -> Difference:
    """First rate minus second, on the same questions, pairing unknown."""
    _check(first, num_questions)
    _check(second, num_questions)
    d, n, z = first - second, num_questions, _z(confidence)
    low_1, high_1 = wilson(first, n, confidence)
    low_2, high_2 = wilson(second, n, confidence)
    below = math.hypot(first - low_1, high_2 - second)
    above = math.hypot(high_1 - first, second - low_2)
    # Questions on which the two disagree, as a share: the fewest, and the most that the rates allow.
    fewest = abs(d)
    most = min(first + second, 2 - first - second)
    pooled = (first + second) / 2
    spread = math.sqrt(2 * pooled * (1 - pooled) / n)
    return Difference(
        d, (max(-1.0, d - below), min(1.0, d + above)), _paired(d, fewest, n, z), _paired(d, most, n, z),
        1.0 if spread == 0 else float(2 * stats.norm.sf(abs(d) / spread)),
        float(min(1.0, 2 * 0.5 ** round(abs(d) * n))),
    )  # fmt: skip


def _paired(d: float, disagree: float, n: int, z: float) -> tuple[float, float]:
    """Wald's interval of a paired difference with a disagreement added on either side (Bonett & Price, 2012)."""
    m = n + 2
    d, disagree = d * n / m, (disagree * n + 2) / m
    half = z * math.sqrt(max(0.0, disagree - d * d) / m)
    return max(-1.0, d - half), min(1.0, d + half)


def possible_runs(percent: float, num_questions: int, decimals: int = 1, most: int = 16) -> list[int]:
    """Numbers of runs whose mean can be printed so: a whole number of right answers must come to it."""
    found = []
    for runs in range(1, most + 1):
        total = runs * num_questions
        nearest = round(percent / 100 * total)
        shown = {round(100 * right / total, decimals) for right in (nearest - 1, nearest, nearest + 1)}
        if round(percent, decimals) in shown:
            found.append(runs)
    return found


def _z(confidence: float) -> float:
    return float(stats.norm.ppf(0.5 + confidence / 2))


def _check(rate: float, num_questions: int) -> None:
    if num_questions < 1 or not 0 <= rate <= 1:
        raise ValueError(f"a rate between 0 and 1 of at least one question, not {rate} of {num_questions}")
