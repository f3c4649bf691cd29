"""The worlds that simulated studies are drawn from, for scripts/simulate_statistics.py.

A rate is the logistic function of a question's difficulty, the seed's luck and their meeting, all normal; answers are
drawn from it, right or wrong.  The truth is the mean over all questions and seeds there could be.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from long1k.statistics.power import Design

Array = NDArray[np.float64]
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(80)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


@dataclass(frozen=True)
class World:
    """How answers come about.  Spreads are standard deviations of log-odds.

    Attributes:
        questions, samples, seeds: of one arm.
        mean: true accuracy of arms that do not differ.
        difficulty: spread of questions; 0: all alike.
        luck: spread of training seeds.
        meeting: spread of a seed's own way with a question.
        alike: correlation of two arms' difficulties.
        steady: the first arm's seeds do not differ.
    """

    questions: int
    samples: int = 1
    seeds: int = 1
    mean: float = 0.6
    difficulty: float = 1.5
    luck: float = 0.0
    meeting: float = 0.0
    alike: float = 0.8
    steady: bool = False

    def intercept(self, mean: float, luck: float | None = None) -> float:
        """The mean of the log-odds that gives this accuracy."""
        luck = self.luck if luck is None else luck
        return _intercept(mean, float(np.sqrt(self.difficulty**2 + luck**2 + self.meeting**2)))

    def arms(self, rng: np.random.Generator, means: list[float]) -> list[Array]:
        """Grades (seeds, questions) of arms with these true accuracies on the same questions."""
        common = rng.standard_normal(self.questions)
        made = []
        for number, mean in enumerate(means):
            luck = 0.0 if self.steady and number == 0 else self.luck
            own = np.sqrt(self.alike) * common + np.sqrt(1 - self.alike) * rng.standard_normal(self.questions)
            odds = self.intercept(mean, luck) + self.difficulty * own[None, :]
            odds = odds + luck * rng.standard_normal((self.seeds, 1))
            odds = odds + self.meeting * rng.standard_normal((self.seeds, self.questions))
            made.append(rng.binomial(self.samples, special.expit(odds)) / self.samples)
        return made


@cache
def _intercept(mean: float, spread: float) -> float:
    return float(optimize.brentq(lambda at: accuracy(at, spread) - mean, -20, 20))


def accuracy(intercept: float, spread: float) -> float:
    """Mean of the logistic function of a normal variable."""
    return float((_WEIGHTS * special.expit(intercept + spread * _NODES)).sum())


def seed_sd(world: World) -> float:
    """Standard deviation of an arm's accuracy over its seeds."""
    at = world.intercept(world.mean)
    rest = float(np.sqrt(world.difficulty**2 + world.meeting**2))
    rates = np.array([accuracy(at + world.luck * node, rest) for node in _NODES])
    return float(np.sqrt((_WEIGHTS * (rates - world.mean) ** 2).sum()))


FLAT = {
    "flat, 30 questions, 1 output": World(30, difficulty=1.5),
    "flat, 198 questions, 1 output": World(198, mean=0.65),
    "flat, 500 questions, 1 output, 95 %": World(500, mean=0.95),
}
CLUSTERED = {
    "30 questions × 16 outputs": World(30, 16, mean=0.5, difficulty=2.5),
    "30 questions × 64 outputs, 80 %": World(30, 64, mean=0.8, difficulty=2.0),
    "198 questions × 4 outputs": World(198, 4, mean=0.65, difficulty=2.0),
    "500 questions × 4 outputs, 95 %": World(500, 4, mean=0.95, difficulty=1.5),
}
# Very few questions, or nearly all of them solved: most of what varies stands in a handful.
CEILING = {
    "5 questions × 16 outputs, 50 %": World(5, 16, mean=0.5),
    "5 questions × 16 outputs, 85 %": World(5, 16, mean=0.85),
    "10 questions × 16 outputs, 85 %": World(10, 16, mean=0.85),
    "30 questions × 16 outputs, 80 %": World(30, 16, mean=0.8),
    "30 questions × 16 outputs, 90 %": World(30, 16, mean=0.9),
    "30 questions × 16 outputs, 95 %": World(30, 16, mean=0.95, difficulty=2.0),
    "100 questions × 16 outputs, 95 %": World(100, 16, mean=0.95, difficulty=2.0),
    "3 seeds, 5 questions × 8, 60 %": World(5, 8, 3, 0.6, 1.5, 0.1, 0.3),
    "3 seeds, 10 questions × 8, 60 %": World(10, 8, 3, 0.6, 1.5, 0.1, 0.3),
    "3 seeds, 30 questions × 8, 90 %": World(30, 8, 3, 0.9, 1.5, 0.1, 0.3),
}
SEEDS = {
    f"{seeds} seeds, {questions} questions × {samples}, luck {luck:g}": World(
        questions, samples, seeds, 0.6, 1.5, luck, 0.3
    )
    for seeds in (2, 3, 5)
    for questions, samples in ((30, 8), (200, 1))
    for luck in (0.0, 0.1, 0.3)
}


# One arm's seeds differ, the other's do not; and a study in which only seeds and sampling vary.
ODD = {
    "2 seeds, one arm steady, 200 questions × 1": World(200, 1, 2, luck=0.3, steady=True),
    "3 seeds, one arm steady, 200 questions × 1": World(200, 1, 3, luck=0.3, steady=True),
    "2 seeds, questions all alike, 200 × 1": World(200, 1, 2, difficulty=0.0),
    "3 seeds, questions all alike, 200 × 1": World(200, 1, 3, difficulty=0.0),
}


def design_of(world: World) -> Design:
    """The plan of a world: its variance shares and correlation, from one large draw."""
    rng = np.random.default_rng(9)
    large = replace(world, questions=200_000, samples=1, seeds=1, luck=0.0)
    at = world.intercept(world.mean)
    common = rng.standard_normal(large.questions)
    rates = []
    for _ in range(2):
        own = np.sqrt(world.alike) * common + np.sqrt(1 - world.alike) * rng.standard_normal(large.questions)
        # What stays of a question when its seeds' own ways with it are averaged.
        met = [special.expit(at + world.difficulty * own + world.meeting * node) for node in _NODES[30:50]]
        rates.append(np.average(met, axis=0, weights=_WEIGHTS[30:50]))
    between = float(rates[0].var() / (world.mean * (1 - world.mean)))
    correlation = float(np.corrcoef(rates[0], rates[1])[0, 1])
    if world.samples > 1 and world.meeting:  # a seed's own way with a question is not averaged by more samples
        raise ValueError("the plan knows no meeting of seed and question beyond the samples")
    return Design(world.questions, world.samples, world.seeds, world.mean, between, seed_sd(world), correlation)


POWERS = {
    "30 questions, 1 output": (World(30, mean=0.5), 0.3),
    "198 questions, 1 output": (World(198, mean=0.65, difficulty=2.0), 0.1),
    "500 questions, 1 output": (World(500, mean=0.9, difficulty=1.5), 0.04),
    "30 questions × 16 outputs": (World(30, 16, mean=0.5, difficulty=2.5), 0.15),
    "198 questions × 4 outputs": (World(198, 4, mean=0.65, difficulty=2.0), 0.06),
    "2 seeds, 200 questions × 4": (World(200, 4, 2, 0.6, 1.5, 0.05), 0.1),
    "3 seeds, 200 questions × 4": (World(200, 4, 3, 0.6, 1.5, 0.1), 0.08),
    "5 seeds, 500 questions × 1": (World(500, 1, 5, 0.6, 1.5, 0.1), 0.06),
}
