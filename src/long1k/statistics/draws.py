"""Draws of the rungs' accuracies as they might have been with other training seeds and other questions.

Questions are resampled with replacement, the same ones for every rung.  Seeds are too few for that (of two, half of
all resamples would hold one twice): what they add to a rung is drawn from a normal distribution of that rung's spread,
widened to a t distribution.  Runs of different rungs are independent, so that the spreads of all rungs together
decide its degrees of freedom; what a seed adds to all rungs alike would only make the bands too wide.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def draw_rungs(grades_RSQ: Array, num_draws: int, seed: int) -> Array:
    """Accuracies of the rungs in ``num_draws`` studies like this one, shape (draws, rungs).

    Args:
        grades_RSQ: shape (rungs, seeds, questions), the same questions in every cell.
        seed: of the drawing; equal seeds, equal draws.
    """
    y = np.asarray(grades_RSQ, dtype=np.float64)
    _, num_seeds, num_questions = y.shape
    rng = np.random.default_rng(seed)
    mean_R = y.mean(axis=(1, 2))
    by_question_RQ = y.mean(axis=1)
    counts_BQ = rng.multinomial(num_questions, np.full(num_questions, 1 / num_questions), size=num_draws)
    # A resample of Q questions varies by (Q - 1) / Q of what it should.
    widen = np.sqrt(num_questions / max(1, num_questions - 1))
    drawn_BR = mean_R + widen * ((counts_BQ / num_questions) @ by_question_RQ.T - mean_R)
    if num_seeds > 1:
        shown_R = y.mean(axis=2).var(axis=1, ddof=1) / num_seeds
        freedom = freedom_of(shown_R, num_seeds)
        # What is left beyond seed and question is in the resampled questions already.
        variance_R = np.maximum(0.0, shown_R - rest_variances(y) / (num_seeds * num_questions))
        normal_BR = rng.standard_normal((num_draws, len(y)))
        chi_B1 = np.sqrt(rng.chisquare(freedom, size=(num_draws, 1)) / freedom)
        drawn_BR = drawn_BR + normal_BR * np.sqrt(variance_R) / chi_B1
    return np.asarray(drawn_BR)


def rest_variances(y_RSQ: Array) -> Array:
    """Variance beyond seed and question in each rung, shape (rungs,); at least two seeds and two questions."""
    _, num_seeds, num_questions = y_RSQ.shape
    rest = (
        y_RSQ
        - y_RSQ.mean(axis=2, keepdims=True)
        - y_RSQ.mean(axis=1, keepdims=True)
        + y_RSQ.mean(axis=(1, 2), keepdims=True)
    )
    return np.asarray((rest**2).sum(axis=(1, 2)) / ((num_seeds - 1) * (num_questions - 1)))


def freedom_of(variances: Array, num_seeds: int) -> float:
    """Degrees of freedom of a sum of variances that were each estimated from so many seeds.

    Welch's (1947) are too few, since estimated variances look more unequal than the true ones; with each square of a
    variance replaced by its unbiased estimate they are too many. Their geometric mean is between (simulated in
    ``scripts/simulate_law.py``).
    """
    squares = float((np.asarray(variances) ** 2).sum())
    if squares <= 0:
        return max(1.0, num_seeds - 1.0)
    most = len(variances) * (num_seeds - 1)
    ratio = float(np.asarray(variances).sum()) ** 2 / squares
    few, many = ratio * (num_seeds - 1), min(most, ratio * (num_seeds + 1) - 2)
    return float(max(1.0, np.sqrt(few * max(1.0, many))))


def percentiles(values: Array, confidence: float) -> tuple[float, float]:
    """The middle part of the draws that holds ``confidence`` of them."""
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def rung_variances(grades_RSQ: Array) -> Array:
    """Variance of each rung's accuracy over questions and seeds, shape (rungs,), as the weights take it.

    The part of the questions is each rung's own, as if two more questions had been asked, one right and one wrong,
    halfway to the mean over rungs: a rung that is all right or all wrong would else have hardly any variance and all
    the weight.  The part of the seeds is too uncertain for one rung alone; it is the mean over rungs.
    """
    y = np.asarray(grades_RSQ, dtype=np.float64)
    num_rungs, num_seeds, num_questions = y.shape
    low, high = float(y.min()), float(y.max())
    by_question_RQ = np.concatenate(
        [y.mean(axis=1), np.full((num_rungs, 1), low), np.full((num_rungs, 1), high)], axis=1
    )
    variance_R = by_question_RQ.var(axis=1, ddof=1) / num_questions
    variance_R = (variance_R + variance_R.mean()) / 2
    if num_seeds > 1:
        variance_R = variance_R + y.mean(axis=2).var(axis=1, ddof=1).mean() / num_seeds
    return np.asarray(variance_R) if high - low > 1e-9 * max(1.0, abs(high)) else np.ones(num_rungs)


def spare_variance(grades_RSQ: Array) -> float:
    """What one more question for each rung, which only that rung solves, adds to the variance of its accuracy.

    Of rates near 0 or 1 few questions tell rungs apart, and where by chance fewer do, their differences look surer
    than they are; one flip more makes up for it (as Bonett & Price, 2012, add to each kind of flip).  Means of several
    outputs vary less than right and wrong, and are given so much less.
    """
    y = np.asarray(grades_RSQ, dtype=np.float64)
    num_questions = y.shape[2]
    low, high = float(y.min()), float(y.max())
    if num_questions < 2 or high - low <= 1e-9 * max(1.0, abs(high)):
        return 0.0
    means = y.mean(axis=(1, 2))
    most = float(((means - low) * (high - means)).mean())
    own = float(y.mean(axis=1).var(axis=1, ddof=1).mean())
    return min(own / most, 1.0) * (high - low) ** 2 / num_questions**2 if most > 0 else 0.0


def rung_covariance(grades_RSQ: Array) -> tuple[Array, int] | None:
    """Covariance of the rungs' accuracies, shape (rungs, rungs), and its degrees of freedom; None of too few questions.

    The part of the questions is their covariance over questions, enlarged so that an F distribution fits what is
    computed with it (Hotelling, 1931); what a seed adds beyond it is taken to be of one size in all rungs and
    independent between them.
    """
    y = np.asarray(grades_RSQ, dtype=np.float64)
    num_rungs, num_seeds, num_questions = y.shape
    freedom = num_questions - num_rungs
    if freedom < 2:
        return None
    by_question_RQ = y.mean(axis=1)
    covariance = np.atleast_2d(np.cov(by_question_RQ, ddof=1)) / num_questions * (num_questions - 1) / freedom
    covariance = covariance + spare_variance(y) * np.eye(num_rungs)
    if num_seeds == 1:
        return covariance, freedom
    noise = rest_variances(y).mean()
    between = y.mean(axis=2).var(axis=1, ddof=1).mean()
    seeds = max(0.0, float(between) - float(noise) / num_questions) / num_seeds
    return covariance + seeds * np.eye(num_rungs), min(freedom, num_rungs * (num_seeds - 1))
