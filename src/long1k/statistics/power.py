"""What a study can see at all: power and minimum detectable effect, before the run and after it.

An accuracy is the mean of N questions with n samples each, over S training seeds.  Its variance has a part of
the questions, one of the samples and one of the seeds (crossed, as in ``rates``):

    Var = v_question / N + v_sample / (N n S) + v_seed / S

Two arms that answer the same questions are compared question by question, and what both share
cancels: of v_question only 1 - r stays, with r the correlation of the arms over questions.  The approximation is
the normal one (Fleiss, Levin & Paik, "Statistical Methods for Rates and Proportions", 2003, ch. 4); the far tail of the
two-sided test is left out, which matters below 20 % power only.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy import stats


@dataclass(frozen=True, slots=True)
class Design:
    """One comparison of two arms on one benchmark.

    Attributes:
        num_questions: N of the benchmark.
        num_samples: n outputs a question and training seed.
        num_seeds: S training seeds an arm.
        rate: expected accuracy (0 to 1) of both arms if they do not differ.
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

    def standard_error(self) -> float:
        """Of the difference of the two arms' accuracies, if they do not differ."""
        one = self.rate * (1 - self.rate)
        question = one * self.between / self.num_questions
        drawn = one * (1 - self.between) / (self.num_questions * self.num_samples * self.num_seeds)
        shared = 0.0 if self.correlation is None else self.correlation
        each = question * (1 - shared) + drawn + self.seed_sd**2 / self.num_seeds
        return float((2 * each) ** 0.5)

    def detectable(self, power: float = 0.8, alpha: float = 0.05) -> float:
        """The least true difference (0 to 1) that the two-sided test finds with this power.

        Raises:
            ValueError: power does not lie between alpha and 1.
        """
        if not alpha < power < 1:
            raise ValueError(f"power {power} does not lie between {alpha} and 1")
        return float((stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power)) * self.standard_error())

    def power(self, difference: float, alpha: float = 0.05) -> float:
        """The chance that the two-sided test finds a true difference."""
        error = self.standard_error()
        if error == 0:
            return float(difference != 0)
        limit = stats.norm.ppf(1 - alpha / 2)
        return float(stats.norm.sf(limit - abs(difference) / error) + stats.norm.cdf(-limit - abs(difference) / error))
