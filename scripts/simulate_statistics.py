"""Do intervals cover, tests keep their level, and planned powers come true?  python scripts/simulate_statistics.py

Studies are drawn from a model, analysed by the project's own functions, and counted.  A rate is the logistic
function of a question's difficulty, the seed's luck and their meeting, all normal; answers are drawn from it, right or
wrong.  The truth is the mean over all questions and seeds there could be.  Prints the tables of docs/statistics.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, special

from long1k.statistics.equivalence import tost_of
from long1k.statistics.paired import bootstrap, holm, mcnemar
from long1k.statistics.power import Design
from long1k.statistics.rates import crossed_mean, interval_of, p_value, tango, weighted_mean
from long1k.statistics.variance import parts_of

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


def counted(studies: int, seed: int, one: Callable[[np.random.Generator], tuple[float, ...]]) -> list[float]:
    """Mean of each figure over studies."""
    rng = np.random.default_rng(seed)
    return [float(value) for value in np.mean([one(rng) for _ in range(studies)], axis=0)]


def covers_rate(world: World) -> Callable[[np.random.Generator], tuple[float, ...]]:
    """Whether the interval of one arm's accuracy holds the truth; its width."""

    def one(rng: np.random.Generator) -> tuple[float, ...]:
        found = crossed_mean(world.arms(rng, [world.mean])[0], bounds=(0.0, 1.0))
        assert found.low is not None
        assert found.high is not None
        return float(found.low <= world.mean <= found.high), 100 * (found.high - found.low)

    return one


def covers_difference(world: World, gap: float) -> Callable[[np.random.Generator], tuple[float, ...]]:
    """Whether the interval of a difference holds the truth; its width; whether zero is excluded; how often p agrees."""
    high, low = world.mean + gap / 2, world.mean - gap / 2

    def one(rng: np.random.Generator) -> tuple[float, ...]:
        a, b = world.arms(rng, [high, low])
        if world.seeds == world.samples == 1:
            flips = mcnemar(a[0], b[0])
            left, right = tango(flips.both, flips.only_a, flips.only_b, flips.neither)
            return float(left <= gap <= right), 100 * (right - left), float(not left <= 0 <= right), flips.mid_p <= 0.05
        parts = parts_of([a, b], [1.0, -1.0])
        found, p = interval_of(parts), p_value(parts)
        if found.low is None or found.high is None or p is None:
            return 1.0, 0.0, 0.0, 0.0
        return (
            float(found.low <= gap <= found.high), 100 * (found.high - found.low), float(found.excludes(0.0)),
            float(p <= 0.05),
        )  # fmt: skip

    return one


def covers_slope(world: World, rungs: int, slope: float) -> Callable[[np.random.Generator], tuple[float, ...]]:
    """Whether the interval of a slope over rungs holds the truth; its width."""
    x = np.arange(rungs) - (rungs - 1) / 2
    weights = x / (x**2).sum()
    means = [world.mean + slope * float(at) for at in x]

    def one(rng: np.random.Generator) -> tuple[float, ...]:
        found = weighted_mean(world.arms(rng, means), weights)
        assert found.low is not None
        assert found.high is not None
        return float(found.low <= slope <= found.high), 100 * (found.high - found.low)

    return one


def bootstraps(world: World) -> Callable[[np.random.Generator], tuple[float, ...]]:
    """Whether the bootstrap's interval holds no difference, where there is none; whether its p is at most 5 %."""

    def one(rng: np.random.Generator) -> tuple[float, ...]:
        a, b = world.arms(rng, [world.mean, world.mean])
        found = bootstrap(a, b, seed=int(rng.integers(2**31)), resamples=999)
        assert found is not None
        return float(found.low <= 0 <= found.high), float(found.p <= 0.05)

    return one


def family(world: World, arms: int) -> Callable[[np.random.Generator], tuple[float, ...]]:
    """Whether any of several comparisons with one arm is found where none differs: uncorrected, and by Holm."""

    def one(rng: np.random.Generator) -> tuple[float, ...]:
        first, *others = world.arms(rng, [world.mean] * (arms + 1))
        p = {
            str(at): (
                mcnemar(other[0], first[0]).mid_p
                if world.seeds == world.samples == 1
                else p_value(parts_of([other, first], [1.0, -1.0])) or 1.0
            )
            for at, other in enumerate(others)
        }
        return float(min(p.values()) <= 0.05), float(min(holm(p).values()) <= 0.05)

    return one


def equivalence(world: World, gap: float, margin: float) -> Callable[[np.random.Generator], tuple[float, ...]]:
    """Whether two arms are called equivalent within a margin."""

    def one(rng: np.random.Generator) -> tuple[float, ...]:
        a, b = world.arms(rng, [world.mean + gap / 2, world.mean - gap / 2])
        found = tost_of(parts_of([a, b], [1.0, -1.0]), margin).finding
        return (float(found in ("equivalent", "different, but within the margin")),)

    return one


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


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.1f} %"


def _times(name: str) -> int:
    """Flat studies are quick, and coverage jumps with their counts: more of them."""
    return 10 if name in FLAT else 1


def rate_table(studies: int) -> Iterator[str]:
    """Intervals of an accuracy."""
    yield "| accuracy of one arm | covered | mean width, points |\n|---|---|---|"
    for name, world in (FLAT | CLUSTERED | SEEDS).items():
        covered, width = counted(_times(name) * studies, 1, covers_rate(world))
        yield f"| {name} | {percent(covered)} | {width:.1f} |"


def difference_table(studies: int) -> Iterator[str]:
    """Intervals and tests of a difference."""
    yield "| difference of two arms | truly | covered | mean width, points | found at 5 % |\n|---|---|---|---|---|"
    for name, world in (FLAT | CLUSTERED | SEEDS | ODD).items():
        for gap in (0.0, 0.05):
            covered, width, excluded, small = counted(_times(name) * studies, 2, covers_difference(world, gap))
            yield f"| {name} | {100 * gap:g} points | {percent(covered)} | {width:.1f} | {percent(small)} |"
            assert world.seeds == world.samples == 1 or excluded == small  # interval and p say the same


def slope_table(studies: int) -> Iterator[str]:
    """Intervals of a slope over five arms."""
    yield "| slope over five rungs | covered | mean width, points a rung |\n|---|---|---|"
    for name, world in SEEDS.items():
        covered, width = counted(studies, 3, covers_slope(world, 5, 0.03))
        yield f"| {name} | {percent(covered)} | {width:.1f} |"


def bootstrap_table(studies: int) -> Iterator[str]:
    """The bootstrap, which the analysis shows beside its own p where there is one seed."""
    yield "| bootstrap of a difference | covered | false alarms at 5 % |\n|---|---|---|"
    several = {
        f"{seeds} seeds, 200 questions × 1, luck {luck:g}": World(200, 1, seeds, 0.6, 1.5, luck)
        for luck in (0.1, 0.5)
        for seeds in (2, 3, 5, 10)
    }
    for name, world in {**CLUSTERED, **several}.items():
        covered, alarms = counted(studies, 4, bootstraps(world))
        yield f"| {name} | {percent(covered)} | {percent(alarms)} |"


def family_table(studies: int) -> Iterator[str]:
    """Several comparisons in one study."""
    yield "| six comparisons with one arm, none differs | any found at 5 % | any found after Holm |\n|---|---|---|"
    for name in ("flat, 198 questions, 1 output", "3 seeds, 200 questions × 1, luck 0.1"):
        plain, corrected = counted(studies, 5, family((FLAT | SEEDS)[name], 6))
        yield f"| {name} | {percent(plain)} | {percent(corrected)} |"


def equivalence_table(studies: int) -> Iterator[str]:
    """Two one-sided tests, at the margin and at no difference."""
    yield "| equivalence, margin 5 points | called so at a true difference of 5 points | of 0 points |\n|---|---|---|"
    for name, world in {
        "198 questions × 16": World(198, 16, difficulty=1.0, alike=0.95),
        "3 seeds, 500 questions × 4": World(500, 4, 3, 0.6, 1.5, 0.03),
    }.items():
        (edge,), (none,) = (counted(studies, 6, equivalence(world, gap, 0.05)) for gap in (0.05, 0.0))
        yield f"| {name} | {percent(edge)} | {percent(none)} |"


def power_table(studies: int) -> Iterator[str]:
    """Planned power and what came of it."""
    yield "| power | true difference | planned | simulated |\n|---|---|---|---|"
    for name, (world, gap) in POWERS.items():
        found = counted(studies, 7, covers_difference(world, gap))[3]
        yield f"| {name} | {100 * gap:g} points | {percent(design_of(world).power(gap))} | {percent(found)} |"


TABLES = {
    "rates": rate_table, "differences": difference_table, "slopes": slope_table, "bootstrap": bootstrap_table,
    "family": family_table, "equivalence": equivalence_table, "power": power_table,
}  # fmt: skip


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=4000, help="simulated studies a case (default 4000)")
    parser.add_argument("--only", choices=TABLES, action="append", help="one of the tables; repeatable")
    given = parser.parse_args()
    error = 100 * (0.0475 / given.studies) ** 0.5
    print(f"{given.studies:,} studies a case (flat ones of rates and differences: ten times as many); the standard")
    print(f"error of a share near 95 % is {error:.2f} points ({error / 10**0.5:.2f}).")
    for name in given.only or TABLES:
        print()
        for line in TABLES[name](given.studies):
            print(line, flush=True)


if __name__ == "__main__":
    main()
