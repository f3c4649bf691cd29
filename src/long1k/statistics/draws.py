"""Draws of the rungs' accuracies as they might have been with other training seeds and other questions.

Questions are resampled with replacement, the same ones for every rung.  Seeds are too few for that (of two, half of
all resamples would hold one twice): the part of the seeds is drawn from the multivariate t distribution that their
spread gives, with S - 1 degrees of freedom, so that for any weighted sum of rungs it has the width of the t interval.
Both parts hold the noise that is left beyond seed and question, which makes the bands a little wide.
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
        apart_RS = y.mean(axis=2) - mean_R[:, None]
        normal_BS = rng.standard_normal((num_draws, num_seeds))
        chi_B = np.sqrt(rng.chisquare(num_seeds - 1, size=num_draws) / (num_seeds - 1))
        spread = np.sqrt(num_seeds * (num_seeds - 1))
        drawn_BR = drawn_BR + (normal_BS / chi_B[:, None]) @ apart_RS.T / spread
    return np.asarray(drawn_BR)


def percentiles(values: Array, confidence: float) -> tuple[float, float]:
    """The middle part of the draws that holds ``confidence`` of them."""
    low, high = np.quantile(values, [0.5 - confidence / 2, 0.5 + confidence / 2])
    return float(low), float(high)


def rung_variances(grades_RSQ: Array) -> Array:
    """Variance of each rung's accuracy over questions and seeds, shape (rungs,); the weights are its inverse.

    The part of the questions is each rung's own, as if two more questions had been asked, one right and one wrong: a
    rung that is all right would else have no variance and all the weight.  The part of the seeds is too uncertain for
    one rung alone; it is the mean over rungs.
    """
    y = np.asarray(grades_RSQ, dtype=np.float64)
    num_rungs, num_seeds, num_questions = y.shape
    low, high = float(y.min()), float(y.max())
    by_question_RQ = np.concatenate(
        [y.mean(axis=1), np.full((num_rungs, 1), low), np.full((num_rungs, 1), high)], axis=1
    )
    variance_R = by_question_RQ.var(axis=1, ddof=1) / num_questions
    if num_seeds > 1:
        variance_R = variance_R + y.mean(axis=2).var(axis=1, ddof=1).mean() / num_seeds
    return np.asarray(variance_R) if high - low > 1e-9 * max(1.0, abs(high)) else np.ones(num_rungs)


def rung_covariance(grades_RSQ: Array) -> tuple[Array, int | None]:
    """Covariance of the rungs' accuracies, shape (rungs, rungs), and the degrees of freedom of its part of the seeds.

    The part of the questions is their covariance over questions; what a seed adds beyond it is taken to be of one size
    in all rungs and independent between them.
    """
    y = np.asarray(grades_RSQ, dtype=np.float64)
    num_rungs, num_seeds, num_questions = y.shape
    by_question_RQ = y.mean(axis=1)
    covariance = np.atleast_2d(np.cov(by_question_RQ, ddof=1)) / num_questions
    if num_seeds == 1:
        return covariance, None
    rest = y - y.mean(axis=2, keepdims=True) - by_question_RQ[:, None, :] + y.mean(axis=(1, 2))[:, None, None]
    noise = (rest**2).sum(axis=(1, 2)).mean() / ((num_seeds - 1) * (num_questions - 1))
    between = y.mean(axis=2).var(axis=1, ddof=1).mean()
    seeds = max(0.0, float(between) - float(noise) / num_questions) / num_seeds
    return covariance + seeds * np.eye(num_rungs), num_rungs * (num_seeds - 1)
