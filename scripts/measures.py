"""What one simulated study of a world shows: whether an interval holds the truth, whether a test finds something."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scripts.worlds import World

from long1k.statistics.equivalence import tost_of
from long1k.statistics.paired import bootstrap, holm, mcnemar
from long1k.statistics.rates import crossed_mean, interval_of, p_value, tango, weighted_mean
from long1k.statistics.variance import parts_of


def counted(studies: int, seed: int, one: Callable[[np.random.Generator], tuple[float, ...]]) -> list[float]:
    """Mean of each figure over studies."""
    rng = np.random.default_rng(seed)
    return [float(value) for value in np.mean([one(rng) for _ in range(studies)], axis=0)]


def covers_rate(
    world: World, means: tuple[float, float] | None = None
) -> Callable[[np.random.Generator], tuple[float, ...]]:
    """Whether the interval of one arm's accuracy holds the truth; its width; whether the truth is above it.

    The truth is the world's, or drawn evenly between two accuracies, anew for every study.
    """

    def one(rng: np.random.Generator) -> tuple[float, ...]:
        truth = world.mean if means is None else round(rng.uniform(*means), 3)
        found = crossed_mean(world.arms(rng, [truth])[0], bounds=(0.0, 1.0))
        if found.low is None or found.high is None:  # no interval, and so no false one
            return 1.0, 0.0, 0.0
        inside, above = found.low <= truth <= found.high, truth > found.high
        return float(inside), 100 * (found.high - found.low), float(above)

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
