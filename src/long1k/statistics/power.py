"""What a study can see at all: power and minimum detectable effect, before the run and after it.

An accuracy is the mean of N questions with n samples each, over S training seeds.  Its variance has a part of
the questions, one of the samples and one of the seeds (crossed, as in ``variance``):

    Var = v_question / N + v_sample / (N n S) + v_seed / S

Two arms that answer the same questions are compared question by question, and what both share
cancels: of v_question only 1 - r stays, with r the correlation of the arms over questions.  Power is that of the
tests which the analysis makes: McNemar's for one output a question (counted out), else the interval of ``rates`` with
its degrees of freedom, integrated over the chi-square distribution of what the seeds (or of one seed the questions)
show.  The least detectable effect of one run with one output a question is the usual one, with the variance at
equal rates (Fleiss, Levin & Paik, "Statistical Methods for Rates and Proportions", 2003, ch. 4).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from long1k.statistics.critical import degrees_of
from long1k.statistics.rates import FLOOR, interval_of, standard_error
from long1k.statistics.variance import Array, Parts

POWER = 0.8  # at which "could have seen" is meant
_POINTS = 40  # quantiles of the chi-square distribution, for each arm


@dataclass(frozen=True, slots=True)
class Design:
    """One comparison of two arms on one benchmark.

    Attributes:
        num_questions: N of the benchmark.
        num_samples: n outputs a question and training seed.
        num_seeds: S training seeds an arm.
        rate: expected accuracy (0 to 1): both arms' if they do not differ, else midway between them.
        between: share of the variance of one output, rate · (1 - rate), that lies between questions (0: every
            output is a new draw of the same coin; 1: a question is always or never solved).
        seed_sd: standard deviation (0 to 1) of an arm's accuracy over training seeds.
        correlation: of the two arms' rates over questions, where they answer the same ones; None: unpaired.
    """

    num_questions: int
    num_samples: int = 1
    num_seeds: int = 1
    rate: float = 0.5
    between: float = 1.0
    seed_sd: float = 0.0
    correlation: float | None = None

    def __post_init__(self) -> None:
        if min(self.num_questions, self.num_samples, self.num_seeds) < 1:
            raise ValueError("a design has at least one question, sample and seed")
        if not 0 < self.rate < 1 or not 0 <= self.between <= 1 or self.seed_sd < 0:
            raise ValueError("rate lies between 0 and 1, between from 0 to 1, seed_sd is not negative")
        if self.correlation is not None and not -1 <= self.correlation <= 1:
            raise ValueError("a correlation lies from -1 to 1")

    def standard_error(self, difference: float = 0.0) -> float:
        """Of the difference of the two arms' accuracies, if it is truly this."""
        return float(sum(self._parts(difference)) ** 0.5)

    def detectable(self, power: float = 0.8, alpha: float = 0.05) -> float:
        """The least true difference (0 to 1) that the two-sided test finds with this power, at equal variances.

        More than 1 where no difference of rates is large enough.

        Raises:
            ValueError: power does not lie between alpha and 1.
        """
        if not alpha < power < 1:
            raise ValueError(f"power {power} does not lie between {alpha} and 1")
        error = self.standard_error()
        plain = float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) * error
        if self.num_seeds == self.num_samples == 1 or error == 0:
            return plain
        limits, most = self._limits(self._parts(0.0), alpha), plain
        while _share_beyond(limits, most, error) < power:
            most *= 2
        return float(optimize.brentq(lambda gap: _share_beyond(limits, gap, error) - power, 0.0, most, xtol=1e-7))

    def power(self, difference: float, alpha: float = 0.05) -> float:
        """The chance that the two-sided test finds a true difference; the arms lie at rate ± difference / 2."""
        if self.correlation is not None and self.num_samples == self.num_seeds == 1 and self.seed_sd == 0:
            return self._mcnemar(difference, alpha)
        parts = self._parts(difference)
        error = float(sum(parts) ** 0.5)
        if error == 0:
            return float(difference != 0)
        return _share_beyond(self._limits(parts, alpha), abs(difference), error)

    def _rates(self, difference: float) -> tuple[float, float]:
        half = abs(difference) / 2
        return min(self.rate + half, 1.0), max(self.rate - half, 0.0)

    def _parts(self, difference: float) -> tuple[float, float, float]:
        """Variance of the difference: of the questions, of the drawn samples, of the seeds."""
        one, two = (rate * (1 - rate) for rate in self._rates(difference))
        shared = 0.0 if self.correlation is None else self.correlation
        questions = (one + two - 2 * shared * (one * two) ** 0.5) * self.between / self.num_questions
        drawn = (one + two) * (1 - self.between) / (self.num_questions * self.num_samples * self.num_seeds)
        return questions, drawn, 2 * self.seed_sd**2 / self.num_seeds

    def _limits(self, parts: tuple[float, float, float], alpha: float) -> Array:
        """Half widths of the interval of ``rates`` as studies of this design show them, each as likely as any other."""
        questions, drawn, seeds = parts
        each = max(self.num_questions - 1, 1)
        places = (np.arange(_POINTS) + 0.5) / _POINTS
        if self.num_seeds == 1:
            error = sum(parts) ** 0.5
            if self.num_samples == 1:
                return np.array([stats.norm.ppf(1 - alpha / 2) * error])
            each = each if self.correlation is not None else 2 * each
            return np.asarray(stats.t.ppf(1 - alpha / 2, each) * error * np.sqrt(stats.chi2.ppf(places, each) / each))
        if seeds + drawn == 0:
            return np.array([stats.t.ppf(1 - alpha / 2, each) * questions**0.5])
        # What each arm's seeds show is chi-square around their part and the residual one; the questions' is as known.
        nu = self.num_seeds - 1
        one = (seeds + drawn) / 2 * stats.chi2.ppf(places, nu) / nu
        first, second = (side.ravel() for side in np.meshgrid(one, one))
        shown = first + second
        evenness = np.clip(shown**2 / (first**2 + second**2) - 1, 0, 1)
        degrees = [
            degrees_of(float(at), questions, float(nu), each, 1 - alpha, arms=2.0, evenness=float(even))
            for at, even in zip(shown, evenness, strict=True)
        ]
        limit = stats.t.ppf(1 - alpha / 2, degrees) * np.sqrt(shown + questions)
        least = FLOOR * stats.t.ppf(1 - alpha / 2, each) * (questions + drawn) ** 0.5
        return np.asarray(np.maximum(limit, least))

    def _mcnemar(self, difference: float, alpha: float) -> float:
        """Power of McNemar's mid-p test, counted out over all numbers of flips."""
        high, low = self._rates(difference)
        spread = (high * (1 - high) * low * (1 - low)) ** 0.5
        both = high * low + (self.correlation or 0.0) * self.between * spread
        only_high, only_low = max(high - both, 0.0), max(low - both, 0.0)
        flipping = only_high + only_low
        if flipping == 0:
            return 0.0
        total = 0.0
        for flips in range(1, self.num_questions + 1):
            chance = float(stats.binom.pmf(flips, self.num_questions, min(flipping, 1.0)))
            if chance < 1e-9:
                continue
            ones = np.arange(flips + 1)
            tail = 2 * stats.binom.cdf(np.minimum(ones, flips - ones), flips, 0.5)
            mid = np.where(2 * ones == flips, 1.0, tail - stats.binom.pmf(ones, flips, 0.5))
            total += chance * float(stats.binom.pmf(ones, flips, only_high / flipping)[mid <= alpha].sum())
        return total


def _share_beyond(limits: Array, gap: float, error: float) -> float:
    """How often a difference of this standard error lies beyond its limits on either side, if it is truly ``gap``."""
    return float(np.mean(stats.norm.sf((limits - gap) / error) + stats.norm.cdf((-limits - gap) / error)))


def detectable_after(parts: Parts, power: float = POWER, confidence: float = 0.95) -> float | None:
    """The least true difference that a test with this interval finds with this power; None without an interval.

    It follows from the variance that was seen, not from the difference that was: half the interval and
    the normal quantile of the power, times the standard error.
    """
    interval = interval_of(parts, confidence)
    if interval.high is None:
        return None
    return interval.high - interval.estimate + float(stats.norm.ppf(power)) * standard_error(parts)
