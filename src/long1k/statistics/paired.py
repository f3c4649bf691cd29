"""Two arms on the same questions: McNemar's test, the paired bootstrap, and Holm's correction for several tests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy import stats

from long1k.statistics.rates import Array


@dataclass(frozen=True, slots=True)
class Flips:
    """Questions that one arm solves and the other does not, with McNemar's exact p (two-sided; McNemar, 1947).

    ``mid_p`` counts half of the probability of what was observed: the exact test keeps its level by being wide, this
    one is closer to it (Lancaster, 1961; Fagerland, Lydersen & Laake, 2013).  Both are 1 where nothing flips.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    p: float
    mid_p: float


def mcnemar(a_Q: Array, b_Q: Array) -> Flips:
    """Compare one output a question of each of two arms.

    Args:
        a_Q, b_Q: shape (questions,): 1 correct, 0 not.

    Raises:
        ValueError: shapes differ, nothing is there, or a value is neither 0 nor 1 (then take ``bootstrap``).
    """
    a, b = np.asarray(a_Q, dtype=np.float64), np.asarray(b_Q, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or a.size == 0:
        raise ValueError(f"expected two equal lists of questions, got shapes {a.shape} and {b.shape}")
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise ValueError("McNemar's test takes one output a question: 0 or 1")
    only_a, only_b = int(((a == 1) & (b == 0)).sum()), int(((a == 0) & (b == 1)).sum())
    p, mid = _flip_p(only_a, only_b)
    return Flips(int(((a == 1) & (b == 1)).sum()), only_a, only_b, int(((a == 0) & (b == 0)).sum()), p, mid)


@lru_cache(4096)
def _flip_p(only_a: int, only_b: int) -> tuple[float, float]:
    """Exact and mid-p of so many flips either way."""
    flipped = only_a + only_b
    if only_a == only_b:  # none, or the middle value, which lies in both tails
        return 1.0, 1.0
    p = float(stats.binomtest(only_a, flipped).pvalue)
    return p, min(1.0, p - float(stats.binom.pmf(only_a, flipped, 0.5)))


@dataclass(frozen=True, slots=True)
class Resampled:
    """A difference b - a with its bootstrap interval and a two-sided p from the same resamples."""

    estimate: float
    low: float
    high: float
    p: float
    resamples: int


def bootstrap(
    a_SQ: Array, b_SQ: Array, *, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Resampled | None:
    """Mean difference b - a of two arms; questions are resampled in pairs, training seeds of each arm for themselves.

    With one seed an arm the bootstrap is the studentised one over questions (Davison & Hinkley, "Bootstrap Methods and
    their Application", 1997, ch. 5.2.1).  With more it is the plain one over both levels (ch. 3.8 and 5.2), what
    is lost by resampling few brought back by S / (S - 1) and what stands in both levels counted once; it knows no
    degrees of freedom, so with few seeds that differ it covers less than it says (docs/statistics.md) and
    ``rates.weighted_mean`` is to be preferred.  None where nothing could vary: a single question.

    Args:
        a_SQ, b_SQ: shape (seeds, questions), the same questions; numbers of seeds may differ.
        seed: of the random numbers.

    Raises:
        ValueError: other shapes, or values that are no finite numbers.
    """
    a, b = np.asarray(a_SQ, dtype=np.float64), np.asarray(b_SQ, dtype=np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1] or 0 in (*a.shape, *b.shape):
        raise ValueError(f"expected (seeds, questions) of the same questions, got {a.shape} and {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("grades must be finite numbers")
    questions = a.shape[1]
    if questions < 2:
        return None
    rng = np.random.default_rng(seed)
    estimate = float(b.mean() - a.mean())
    # Over questions: one difference a question.  Over seeds: one deviation a seed.  The levels are crossed, so their
    # deviations add.
    by_question = b.mean(axis=0) - a.mean(axis=0) - estimate
    by_seed = [deviation for deviation in (_of_seeds(b), -_of_seeds(a)) if deviation.size > 1]
    studentised = len(a) == len(b) == 1
    error = float(by_question.std(ddof=1)) / np.sqrt(questions)
    if studentised and error < 1e-12 * max(1.0, abs(estimate)):
        return Resampled(estimate, estimate, estimate, float(estimate == 0), resamples)
    drawn = np.empty(resamples)
    for start in range(0, resamples, 1000):  # bounds the memory of the indices
        stop = min(start + 1000, resamples)
        picked = by_question[rng.integers(0, questions, (stop - start, questions))]
        if studentised:
            spread = picked.std(axis=1, ddof=1) / np.sqrt(questions)
            # A resample of equal values has no spread: it lies as far out as there is.
            with np.errstate(divide="ignore", invalid="ignore"):
                total = np.nan_to_num(error * picked.mean(axis=1) / spread, nan=0.0, posinf=1e9, neginf=-1e9)
        else:
            total = np.sqrt(questions / (questions - 1)) * picked.mean(axis=1)
            for deviations in by_seed:
                total += deviations[rng.integers(0, len(deviations), (stop - start, len(deviations)))].mean(axis=1)
        drawn[start:stop] = total
    # The same distance to both sides, so that interval and p say the same.
    half = float(np.quantile(np.abs(drawn), confidence))
    beyond = int((np.abs(drawn) >= abs(estimate) - 1e-12).sum())
    return Resampled(estimate, estimate - half, estimate + half, (beyond + 1) / (resamples + 1), resamples)


def _of_seeds(arm: Array) -> Array:
    """Deviations of an arm's seeds, of the variance that seeds alone add: what varies beyond seed and question is in
    the questions' part already."""
    seeds, questions = arm.shape
    deviation = np.asarray(arm.mean(axis=1) - arm.mean())
    if seeds < 2:
        return deviation
    left = arm - arm.mean(axis=0) - deviation[:, None]
    shown = float((deviation**2).sum()) / (seeds - 1)
    rest = float((left**2).sum()) / ((seeds - 1) * (questions - 1)) / questions
    own = max(shown - rest, 0.0) / shown if shown > 0 else 0.0
    return np.asarray(np.sqrt(own * seeds / (seeds - 1)) * deviation)


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """p values corrected for their number, by Holm's step-down method (Holm, 1979): names in the order given.

    Raises:
        ValueError: a value is no probability.
    """
    if any(not 0 <= p <= 1 for p in p_values.values()):
        raise ValueError("a p value lies from 0 to 1")
    adjusted: dict[str, float] = {}
    worst = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda pair: pair[1])):
        worst = max(worst, min(1.0, p * (len(p_values) - rank)))
        adjusted[name] = worst
    return {name: adjusted[name] for name in p_values}
