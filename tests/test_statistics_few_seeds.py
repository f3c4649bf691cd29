"""Few seeds, rates near 0 and 1, paired flips: intervals that cover what they say; and where variance comes from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, special, stats
from scripts.fit_degrees import arms_coverage, few_questions
from scripts.measures import counted as _counted
from scripts.measures import covers_difference, covers_rate, covers_slope, family
from scripts.worlds import CLUSTERED, FLAT, POWERS, SEEDS, World, design_of

from long1k.statistics.critical import constants, degrees_of, pooled
from long1k.statistics.equivalence import tost_of
from long1k.statistics.paired import mcnemar
from long1k.statistics.power import Design, detectable_after
from long1k.statistics.rates import crossed_mean, interval_of, p_value, standard_error, tango, weighted_mean
from long1k.statistics.variance import parts_of, split_variance, together

# --- degrees of freedom -----------------------------------------------------------------------------------


def test_degrees_are_those_of_the_part_that_is_alone() -> None:
    assert degrees_of(0.0, 1.0, 1.0, 199) == 199
    assert degrees_of(1.0, 0.0, 3.0, 199) == pytest.approx(3.0)
    assert degrees_of(1.0, 1.0, 0.0, 29) == 29
    assert degrees_of(1e-300, 1.0, 1.0, 29) == pytest.approx(29)  # no overflow


@given(
    st.floats(0.01, 100), st.floats(0.01, 100), st.floats(1, 40), st.floats(1, 6), st.floats(0, 1),
    st.sampled_from([0.8, 0.9, 0.95, 0.97, 0.99]), st.floats(1.001, 3),
)  # fmt: skip
def test_an_interval_widens_with_the_spread_of_seeds_and_with_its_confidence_where_questions_are_known(
    seeds: float, questions: float, nu: float, arms: float, even: float, confidence: float, times: float
) -> None:
    def half(seeds: float, confidence: float) -> float:
        degrees = degrees_of(seeds, questions, nu, 1e12, confidence, arms=arms, evenness=even)
        assert degrees >= nu * 0.999
        return float(special.stdtrit(degrees, 0.5 + confidence / 2) * np.sqrt(seeds + questions))

    assert half(times * seeds, confidence) >= half(seeds, confidence) * 0.999
    assert half(seeds, min(confidence * times, 0.99)) >= half(seeds, confidence) * (1 - 1e-9)
    assert all(value > 0 for value in constants(nu, confidence))


@pytest.mark.parametrize("confidence", [0.8, 0.9, 0.95, 0.99])
@pytest.mark.parametrize(("nu", "off"), [(1.0, 0.0095), (1.7, 0.004), (2.0, 0.0025), (3.5, 0.0015), (8.0, 0.001)])
def test_coverage_strays_little_whatever_the_share_of_seeds(nu: float, off: float, confidence: float) -> None:
    shown = stats.chi2.ppf((np.arange(400) + 0.5) / 400, nu) / nu
    for share in (0.02, 0.1, 0.3, 0.6, 0.9, 0.99):
        seeds = share * shown
        degrees = [degrees_of(float(one), 1 - share, nu, 1e9, confidence) for one in seeds]
        half = stats.t.ppf(0.5 + confidence / 2, degrees) * np.sqrt(seeds + 1 - share)
        covered = float((2 * stats.norm.cdf(half) - 1).mean())
        assert abs(covered - confidence) < off


@pytest.mark.parametrize(("nu", "off"), [(1.0, 0.0022), (2.0, 0.0018), (5.0, 0.0012)])
def test_few_questions_cover_as_many_do(nu: float, off: float) -> None:
    beside_known = few_questions(nu, 29, 0.95, np.array([0.05, 0.3, 0.6]))
    assert beside_known == pytest.approx(np.zeros(3), abs=off)


@given(
    st.floats(1, 8), st.floats(1, 12), st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.8, 0.9, 0.95, 0.97, 0.99])
)
def test_arms_that_look_alike_have_more_degrees_together(
    nu: float, arms: float, one: float, other: float, confidence: float
) -> None:
    low, high = (pooled(nu, arms, even, confidence) for even in sorted((one, other)))
    assert nu * 0.999 <= low <= high * 1.001
    assert high <= max(1.5, arms) * 1.5 * nu * 1.001
    assert pooled(nu, 1.0, one, confidence) == nu


@given(st.lists(st.tuples(st.floats(1e-6, 1), st.floats(1e-3, 9), st.integers(1, 4)), min_size=1, max_size=8))
def test_what_seeds_show_together_does_not_depend_on_order_or_units(pieces: list[tuple[float, float, int]]) -> None:
    degrees, arms, even = together(pieces)
    assert 0 <= even <= 1
    assert 1 <= arms <= len(pieces) + 1e-9
    assert min(one[2] for one in pieces) - 1e-9 <= degrees <= max(one[2] for one in pieces) + 1e-9
    turned = together([(7 * part, 3 * weight, each) for part, weight, each in reversed(pieces)])
    assert turned == pytest.approx((degrees, arms, even), abs=1e-9)
    alike = together([(weight, weight, each) for _, weight, each in pieces])
    assert len(pieces) == 1 or arms < 1.001 or alike[2] == pytest.approx(1)


@pytest.mark.parametrize("weights", [[1, 1], [1, 1, 1, 1], [4, 1, 1, 4], [3, 2]])
@pytest.mark.parametrize(("each", "low", "high"), [(1, 0.945, 0.9685), (2, 0.945, 0.96), (4, 0.945, 0.957)])
def test_seeds_of_several_arms_that_differ_alike_are_covered(
    weights: list[float], each: int, low: float, high: float
) -> None:
    covered = arms_coverage(np.array(weights, dtype=float), each, 0.95)
    assert low <= covered["equal"].min()
    assert covered["equal"].max() <= high
    assert covered["graded"].min() >= 0.925


# --- weighted sums ----------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 9999), seeds=st.integers(1, 4), confidence=st.floats(0.5, 0.999))
def test_one_arm_is_the_crossed_mean_and_p_says_what_the_interval_says(
    seed: int, seeds: int, confidence: float
) -> None:
    rng = np.random.default_rng(seed)
    y = rng.normal(0.03, 0.2, (seeds, 30)) + rng.normal(0, 0.05, (seeds, 1))
    assert weighted_mean([y], [1.0], confidence) == crossed_mean(y, confidence)
    parts = parts_of([y], [1.0])
    p = p_value(parts)
    assert p is not None
    assert (p < 1 - confidence) == interval_of(parts, confidence).excludes(0.0)
    again = parts_of([2 * y], [0.5])
    assert p_value(again) == pytest.approx(p)


def test_two_arms_of_one_seed_are_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((1, 25)), rng.random((1, 25))
    parts = parts_of([a, b], [1.0, -1.0])
    known = stats.ttest_rel(a[0], b[0])
    assert p_value(parts) == pytest.approx(known.pvalue)
    assert (interval_of(parts).low, interval_of(parts).high) == pytest.approx(known.confidence_interval(0.95))
    assert parts.seed_degrees == 0


def test_seeds_of_each_arm_count_for_themselves() -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.normal(0, 1, (2, 1)) + np.zeros((1, 40)) for _ in range(2))
    equal = parts_of([a, a + 1], [1.0, -1.0])
    assert (equal.seed_degrees, equal.seed_arms, equal.evenness) == pytest.approx((1, 2, 1))
    assert 0 <= parts_of([a, b], [1.0, -1.0]).evenness < 1
    lone = parts_of([a, np.zeros((2, 40))], [1.0, -1.0])  # one arm's seeds do not differ
    assert (lone.seed_degrees, lone.seed_arms, lone.evenness) == pytest.approx((1, 2, 0))
    uneven = parts_of([a, np.vstack([b, b])], [1.0, -1.0])
    assert uneven.num_seeds == 2
    alone = parts_of([a, b[:1]], [1.0, -1.0])
    assert alone.single_seeds == 1
    assert "none over the seeds of an arm that has one" in interval_of(alone).over


@pytest.mark.parametrize("arms", [[np.ones((1, 3)), np.ones((1, 4))], [np.full((1, 3), np.nan)], [], [np.ones((2, 0))]])
def test_what_cannot_be_summed_is_an_error(arms: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"same questions|finite|a weight an arm|non-empty"):
        weighted_mean(arms, [1.0] * len(arms))


def test_tied_arms_have_no_interval_and_no_p() -> None:
    y = np.random.default_rng(3).integers(0, 2, (3, 20)).astype(float)
    parts = parts_of([y, y], [1.0, -1.0])
    assert parts.estimate == 0
    constant = parts_of([np.ones((2, 20)), np.zeros((2, 20))], [1.0, -1.0])
    assert p_value(constant) is None
    assert interval_of(constant).low is None
    assert "every value is the same" in interval_of(constant).over
    assert detectable_after(constant) is None
    assert p_value(parts_of([y[:, :1]], [1.0])) is None


def test_the_ratio_of_wilsons_shape_is_known_better_the_less_rates_scatter_beside_their_mean() -> None:
    def degrees(rates: np.ndarray) -> float:
        # What t stands for in the interval, read back from its edges: they solve (p - x)^2 = ratio * x * (1 - x).
        found = crossed_mean(rates[None, :], bounds=(0.0, 1.0))
        assert found.low is not None
        ratio = (found.estimate - found.low) ** 2 / (found.low * (1 - found.low))
        t = np.sqrt(ratio * found.estimate * (1 - found.estimate) * len(rates) / rates.var(ddof=1))
        return float(optimize.brentq(lambda log: stats.t.ppf(0.975, np.exp(log)) - t, -1, 12))

    normal = 0.5 + 0.05 * stats.norm.ppf((np.arange(300) + 0.5) / 300)
    assert np.exp(degrees(normal)) == pytest.approx(299, rel=0.05)
    halves = np.repeat([0.0, 0.5, 1.0], [14, 2, 14])
    assert np.exp(degrees(halves)) > 60  # nearly right or wrong: the variance follows from the mean
    one_apart = np.array([0.5] * 299 + [1.0])
    assert np.exp(degrees(one_apart)) < 6
    few = np.array([0.2, 0.6, 0.9])
    assert np.exp(degrees(few)) == pytest.approx(2, rel=0.05)  # three questions say little of how they scatter


def test_seeds_that_agree_by_chance_do_not_make_the_interval_vanish() -> None:
    y = np.array([[1.0] * 5 + [0.0] * 55, [0.0] * 55 + [1.0] * 5])
    found = crossed_mean(y)
    alone = crossed_mean(y.mean(axis=0, keepdims=True))
    assert found.high is not None
    assert alone.high is not None
    inside = crossed_mean(y, bounds=(0.0, 1.0))
    wilson = stats.binomtest(20, 240).proportion_ci(0.95, "wilson")
    assert (inside.low, inside.high) == pytest.approx((wilson.low, wilson.high))
    assert found.high - found.estimate >= 0.299 * (alone.high - alone.estimate)


def test_detectable_after_the_run_is_half_the_interval_and_the_power() -> None:
    y = np.random.default_rng(4).normal(0, 1, (1, 4000))
    parts = parts_of([y], [1.0])
    assert detectable_after(parts) == pytest.approx(2.8016 * standard_error(parts), rel=2e-3)


def test_many_outputs_of_one_seed_are_planned_with_the_t_quantile() -> None:
    few, many = Design(30, 16, between=0.7, correlation=0.7), Design(3000, 16, between=0.7, correlation=0.7)
    normal = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert few.detectable() / few.standard_error() == pytest.approx(2.045 + 0.842, abs=0.02)  # t of 29 degrees
    assert many.detectable() / many.standard_error() == pytest.approx(normal, abs=0.005)
    assert few.power(few.detectable()) == pytest.approx(0.8, abs=0.02)
    one = Design(30, between=0.7)
    assert one.detectable() == pytest.approx(normal * one.standard_error())


# --- rates and flips --------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 9999), seeds=st.integers(1, 3), samples=st.integers(1, 5))
def test_intervals_of_rates_stay_within_0_and_1_and_hold_the_rate(seed: int, seeds: int, samples: int) -> None:
    rng = np.random.default_rng(seed)
    y = rng.binomial(samples, rng.random() ** 3, (seeds, 15)) / samples
    found = crossed_mean(y, bounds=(0.0, 1.0))
    if found.low is not None and found.high is not None:
        assert 0 <= found.low <= found.estimate <= found.high <= 1


@pytest.mark.parametrize("counts", [(43, 0, 1, 0), (10, 6, 2, 12), (5, 9, 9, 7), (200, 14, 3, 281)])
def test_tango_is_where_the_score_reaches_its_limit(counts: tuple[int, int, int, int]) -> None:
    both, only_a, only_b, neither = counts
    total = sum(counts)

    def score(truth: float) -> float:
        """The score with the likelihood's maximum searched for, not calculated."""

        def minus_likelihood(q: float) -> float:
            left = 1 - 2 * q - truth
            return -float(
                special.xlogy(only_b, q) + special.xlogy(only_a, q + truth) + special.xlogy(both + neither, left)
            )

        q = optimize.minimize_scalar(
            minus_likelihood, bounds=(max(0, -truth), (1 - truth) / 2), method="bounded", options={"xatol": 1e-12}
        ).x
        return float((only_a - only_b - total * truth) / np.sqrt(total * (2 * q + truth * (1 - truth))))

    low, high = tango(*counts)
    assert score(low) == pytest.approx(1.95996, abs=2e-3)
    assert score(high) == pytest.approx(-1.95996, abs=2e-3)
    assert tango(both, only_b, only_a, neither) == pytest.approx((-high, -low))
    assert tango(0, 12, 0, 0)[1] == 1.0


@given(st.integers(0, 20), st.integers(0, 20), st.integers(0, 20), st.integers(1, 20))
def test_tango_holds_the_estimate_and_widens_with_confidence(both: int, a: int, b: int, neither: int) -> None:
    low, high = tango(both, a, b, neither)
    assert -1 <= low <= (a - b) / (both + a + b + neither) + 1e-12
    assert low < high <= 1
    wider = tango(both, a, b, neither, 0.99)
    assert wider[0] <= low + 1e-9
    assert wider[1] >= high - 1e-9


def test_tango_and_mcnemar_see_the_same_flips() -> None:
    a, b = np.array([1.0] * 30 + [0.0] * 20), np.array([1.0] * 15 + [0.0] * 32 + [1.0] * 3)
    flips = mcnemar(a, b)
    low, _ = tango(flips.both, flips.only_a, flips.only_b, flips.neither)
    assert (flips.only_a, flips.only_b) == (15, 3)
    assert low > 0
    assert flips.mid_p < 0.05


# --- where variance comes from ----------------------------------------------------------------------------


def test_the_split_finds_the_parts_that_went_in() -> None:
    rng = np.random.default_rng(5)
    shape, samples = (40, 400), 4
    cell = (
        0.3 * rng.standard_normal((shape[0], 1)) + 0.5 * rng.standard_normal((1, shape[1])) + 0.2 * rng.standard_normal(shape)
    )  # fmt: skip
    y = cell[..., None] + 0.7 * rng.standard_normal((*shape, samples))
    found = split_variance(y.mean(axis=2), y.var(axis=2, ddof=1), np.full(shape, samples))
    assert found is not None
    assert found.seed == pytest.approx(0.09, rel=0.5)
    assert found.question == pytest.approx(0.25, rel=0.15)
    assert found.seed_by_question == pytest.approx(0.04, rel=0.1)
    assert found.sampling == pytest.approx(0.49, rel=0.05)
    assert found.num_samples == samples


def test_the_split_says_what_it_cannot_tell() -> None:
    y = np.random.default_rng(6).integers(0, 2, (1, 50)).astype(float)
    one = split_variance(y, np.full((1, 50), np.nan), np.ones((1, 50)))
    assert one is not None
    assert (one.seed, one.seed_by_question, one.sampling) == (None, None, None)
    assert one.question == pytest.approx(y.var(ddof=1))
    two = split_variance(np.vstack([y, y]))
    assert two is not None
    assert (two.seed, two.seed_by_question, two.sampling) == (0.0, 0.0, None)
    assert split_variance(np.ones((3, 1))) is None


# --- simulated studies: a part of scripts/simulate_statistics.py -------------------------------------------


@pytest.mark.parametrize("name", list(FLAT | CLUSTERED) + [n for n in SEEDS if "× 1" in n and "0.1" in n])
def test_intervals_of_rates_cover(name: str) -> None:
    covered, *_ = _counted(700, 11, covers_rate((FLAT | CLUSTERED | SEEDS)[name]))
    assert 0.92 <= covered <= 0.98


@pytest.mark.parametrize(
    "name", ["flat, 198 questions, 1 output", "198 questions × 4 outputs", "3 seeds, 200 questions × 1, luck 0.1"]
)
def test_intervals_of_differences_cover_and_tests_keep_their_level(name: str) -> None:
    world = (FLAT | CLUSTERED | SEEDS)[name]
    covered, _, excluded, small = _counted(700, 12, covers_difference(world, 0.0))
    assert 0.925 <= covered <= 0.98
    assert small <= 0.075
    assert covered == pytest.approx(1 - excluded)
    assert _counted(300, 13, covers_difference(world, 0.15))[3] > 0.5


def test_two_seeds_are_enough_for_a_slope_over_five_rungs() -> None:
    covered, width = _counted(500, 14, covers_slope(SEEDS["2 seeds, 200 questions × 1, luck 0.1"], 5, 0.03))
    assert 0.915 <= covered <= 0.98
    assert width < 10  # pairing seed with seed, with one degree of freedom, gave 30


def test_holm_keeps_the_whole_study_at_its_level() -> None:
    plain, corrected = _counted(400, 15, family(World(100), 6))
    assert plain > 0.1
    assert corrected <= 0.08


@pytest.mark.parametrize("name", ["198 questions, 1 output", "198 questions × 4 outputs", "3 seeds, 200 questions × 4"])
def test_planned_power_comes_true(name: str) -> None:
    world, gap = POWERS[name]
    assert _counted(700, 16, covers_difference(world, gap))[3] == pytest.approx(design_of(world).power(gap), abs=0.06)


def test_equivalence_of_arms_with_several_seeds() -> None:
    world = World(400, 4, 3, luck=0.02, alike=0.95)
    a, b = world.arms(np.random.default_rng(7), [0.6, 0.6])
    assert tost_of(parts_of([a, b], [1.0, -1.0]), 0.08).finding == "equivalent"
    assert tost_of(parts_of([a, b], [1.0, -1.0]), 0.001).finding == "undecided"
    assert Design(400, 4, 3).power(0.9) > 0.99
