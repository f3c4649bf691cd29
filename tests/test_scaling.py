"""Shapes that find themselves, draws of the right width, quantities told apart or not, and laws through published points."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from long1k.statistics.draws import draw_rungs, freedom_of, percentiles, rung_covariance, rung_variances, spare_variance
from long1k.statistics.forms import SHAPES, fit
from long1k.statistics.predictors import compare_predictors, predictor_lines
from long1k.statistics.published import find_turn, fit_points, fit_two, points_words
from long1k.statistics.rates import weighted_mean
from long1k.statistics.scaling import fit_law, misfit_variance, solver, weighted_sum
from long1k.statistics.shapes import NEAR, as_dicts, compare_shapes, extra_charge, told_apart

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))
from simulate_law import measure

LENGTHS = np.array([1000.0, 1500, 2000, 3000, 6000, 12000, 24000])
EQUAL = np.eye(len(LENGTHS))
CURVES = {
    "flat": np.full(7, 0.6),
    "log-linear": 0.1 + 0.05 * np.log2(LENGTHS),
    "logit-linear": 1 / (1 + np.exp(-(-4 + 0.5 * np.log2(LENGTHS)))),
    "quadratic": 0.8 - 0.03 * (np.log2(LENGTHS) - 12) ** 2,
    "saturating-power": 0.9 - 20 * LENGTHS**-0.6,
    "saturating-exponential": 0.9 - 0.4 * np.exp(-LENGTHS / 4000),
}


def grades(curve: np.ndarray, seeds: int = 3, questions: int = 200, seed: int = 0, seed_sd: float = 0.01) -> np.ndarray:
    """Numbers about a curve, with a question's, a seed's, and a remaining part."""
    rng = np.random.default_rng(seed)
    n = len(curve)
    question = 0.3 * rng.standard_normal((1, 1, questions))
    by_seed = seed_sd * rng.standard_normal((n, seeds, 1))
    return np.asarray(curve[:, None, None] + question + by_seed + 0.2 * rng.standard_normal((n, seeds, questions)))


# --- shapes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_finds_itself(name: str) -> None:
    found = fit(name, LENGTHS, CURVES[name], EQUAL)
    assert found.squares_B[0] < 2e-6  # the saturating ones search a grid
    assert found.at(LENGTHS)[0] == pytest.approx(CURVES[name], abs=1e-3)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 9999), draws=st.integers(1, 4))
def test_many_draws_are_fitted_as_each_alone(seed: int, draws: int) -> None:
    y_BR = np.random.default_rng(seed).uniform(0.2, 0.9, (draws, 7))
    for name in SHAPES:
        together = fit(name, LENGTHS, y_BR, EQUAL)
        for at, row in enumerate(y_BR):
            alone = fit(name, LENGTHS, row, EQUAL)
            assert together.squares_B[at] == pytest.approx(alone.squares_B[0], rel=1e-6)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 9999))
def test_more_parameters_never_fit_worse(seed: int) -> None:
    y = np.random.default_rng(seed).uniform(0.2, 0.9, 7)
    squares = {name: float(fit(name, LENGTHS, y, EQUAL).squares_B[0]) for name in SHAPES}
    assert squares["quadratic"] <= squares["log-linear"] + 1e-12 <= squares["flat"] + 2e-12
    assert squares["logit-linear"] <= squares["flat"] + 1e-9
    assert squares["saturating-power"] <= squares["flat"] + 1e-12


def test_the_logit_fit_is_least_squares_on_accuracy() -> None:
    y = np.array([0.86, 0.87, 0.9, 0.91, 0.93, 0.95, 0.94])
    found = fit("logit-linear", LENGTHS, y, EQUAL)
    p = found.parameters_BK[0]
    for step in ([1e-4, 0], [-1e-4, 0], [0, 1e-4], [0, -1e-4]):
        u = np.log2(LENGTHS) - found.origin
        other = 1 / (1 + np.exp(-(p[0] + step[0] + (p[1] + step[1]) * u)))
        assert ((y - other) ** 2).sum() >= found.squares_B[0]


def test_aicc_and_left_out_errors_are_those_of_the_textbook() -> None:
    y = CURVES["log-linear"] + 0.01 * np.array([1, -1, 0.5, 0, -0.5, 1, -1])
    by_name = {one.name: one for one in compare_shapes(LENGTHS.tolist(), y, np.ones(7))}
    x = np.log2(LENGTHS)
    squares = ((y - np.polyval(np.polyfit(x, y, 1), x)) ** 2).sum()
    assert by_name["log-linear"].aicc == pytest.approx(7 * np.log(squares / 7) + 6 + 24 / 3)
    errors = [100 * (np.polyval(np.polyfit(np.delete(x, at), np.delete(y, at), 1), x[at]) - y[at]) for at in range(7)]
    assert by_name["log-linear"].left_out_points == pytest.approx(np.sqrt(np.mean(np.square(errors))))
    assert min(one.delta for one in by_name.values() if one.delta is not None) == 0


def test_a_plain_curve_is_told_apart_and_a_short_ladder_is_not() -> None:
    bent = compare_shapes(LENGTHS.tolist(), CURVES["quadratic"] + 1e-4 * np.array([1, -1, 1, 0, -1, 1, -1]), np.ones(7))
    lines = told_apart(bent, 7)
    assert any("best shape is quadratic" in line for line in lines)
    assert next(one for one in bent if one.name == "log-linear").delta > NEAR  # type: ignore[operator]
    short = compare_shapes(LENGTHS[:4].tolist(), np.array([0.5, 0.55, 0.6, 0.62]), np.ones(4))
    assert any("too few" in line for line in told_apart(short, 4))
    assert not any("best shape" in line for line in told_apart(short, 4))
    assert extra_charge(6, 3) == pytest.approx(30)
    assert extra_charge(4, 2) is None


def test_few_rungs_do_not_crash() -> None:
    for count in (2, 3):
        shapes = compare_shapes(LENGTHS[:count].tolist(), np.linspace(0.5, 0.6, count), np.ones(count))
        assert all(one.num_parameters <= count for one in shapes)
        assert all(one.aicc is None for one in shapes if one.num_parameters > 1)
        assert as_dicts(shapes)
    assert told_apart([], 0) == []


def test_lack_of_fit_rejects_as_often_as_it_says() -> None:
    # The true curve is a straight line: the test may reject it in 5 % of studies, and must see a plain bend.
    for seeds in (1, 3):
        refuted = bent = 0
        for seed in range(300):
            sd = 0.02 if seeds > 1 else 0.0
            y = grades(CURVES["log-linear"], seeds, 150, seed, sd)
            refuted += _line_p(y) < 0.05
            bent += _line_p(y + (CURVES["quadratic"] - CURVES["log-linear"])[:, None, None]) < 0.05
        assert refuted <= 0.08 * 300
        assert bent >= 0.95 * 300


def _line_p(y: np.ndarray) -> float:
    shapes = compare_shapes(
        LENGTHS.tolist(),
        y.mean(axis=(1, 2)),
        1 / rung_variances(y),
        covariance=rung_covariance(y),
        names=["log-linear"],
    )
    return float(next(one.lack_of_fit_p for one in shapes if one.name == "log-linear"))  # type: ignore[arg-type]


FORMULAS = {
    "flat": lambda x, a: a + 0 * x,
    "log-linear": lambda x, a, b: a + b * np.log2(x),
    "logit-linear": lambda x, a, b: 1 / (1 + np.exp(-(a + b * np.log2(x)))),
    "quadratic": lambda x, a, b, c: a + b * np.log2(x) + c * np.log2(x) ** 2,
    "saturating-power": lambda x, a, b, c: a - b * x**-c,
    "saturating-exponential": lambda x, a, b, c: a - b * np.exp(-x / c),
}


@pytest.mark.parametrize("name", SHAPES)
def test_the_formula_with_its_parameters_gives_what_was_fitted(name: str) -> None:
    y = CURVES["saturating-power"] + 0.01 * np.array([1, -1, 0.5, 0, -0.5, 1, -1])
    found = fit(name, LENGTHS, y, EQUAL)
    assert FORMULAS[name](LENGTHS, **found.formula_parameters()) == pytest.approx(found.at(LENGTHS)[0], abs=1e-6)


# --- draws ------------------------------------------------------------------------------------------------


def test_too_few_questions_have_no_test_of_fit() -> None:
    assert rung_covariance(grades(CURVES["flat"], questions=8)) is None
    assert rung_covariance(grades(CURVES["flat"], questions=9)) is not None


def test_draws_of_one_rungs_seeds_have_the_t_interval() -> None:
    # Nothing varies but the seeds of one rung: its accuracy has their t interval.
    y = np.repeat(np.array([[0.1, 0.4, 0.2]])[:, :, None], 30, axis=2)
    low, high = percentiles(draw_rungs(y, 60_000, 0)[:, 0], 0.95)
    values = y.mean(axis=2)[0]
    assert (low, high) == pytest.approx(stats.t.interval(0.95, 2, values.mean(), stats.sem(values)), rel=0.05)


@given(values=st.lists(st.floats(0.01, 9), min_size=1, max_size=8), seeds=st.integers(2, 6))
def test_degrees_of_freedom_lie_between_one_rungs_and_all_of_them(values: list[float], seeds: int) -> None:
    found = freedom_of(np.array(values), seeds)
    assert seeds - 1 - 1e-9 <= found <= len(values) * (seeds - 1) + 1e-9
    assert freedom_of(np.array([4.0]), seeds) == pytest.approx(seeds - 1)
    assert freedom_of(np.full(5, 2.0), seeds) == pytest.approx(5 * (seeds - 1))
    assert freedom_of(np.zeros(3), seeds) == seeds - 1


def test_the_spreads_of_all_rungs_count() -> None:
    y = grades(CURVES["flat"], seeds=2, questions=3000, seed_sd=0.05)
    weights = np.array([-1.0, 0.4, -0.4, 0.5, -0.5, 0, 1.0])
    found = weighted_sum(y, weights)
    assert found.estimate == pytest.approx(weights @ y.mean(axis=(1, 2)))
    spread = np.sqrt((weights**2 * y.mean(axis=2).var(axis=1, ddof=1) / 2).sum())
    assert 1.96 * spread < found.high - found.estimate < 6 * spread  # type: ignore[operator]  # of one arm: 12.7


def test_a_spare_question_widens_sums_of_rare_flips_and_hardly_others() -> None:
    weights = np.array([-1.0, 0, 0, 0, 0, 0, 1.0])

    def wider(rate: float, samples: int = 1) -> float:
        rng = np.random.default_rng(5)
        y = rng.binomial(samples, rate, (7, 1, 200)) / samples
        found, plain = weighted_sum(y, weights), weighted_mean(y, weights)
        return (found.high - found.low) / (plain.high - plain.low)  # type: ignore[operator]

    assert 1.0 < wider(0.5) < 1.02
    assert 1.03 < wider(0.03) < 1.15
    assert 1.0 < wider(0.03, samples=16) < 1.02 * wider(0.03)
    assert spare_variance(np.ones((7, 1, 200))) == 0.0
    assert spare_variance(np.zeros((7, 1, 1))) == 0.0


def test_the_law_covers_with_few_seeds_and_says_so_no_more_than_it_may() -> None:
    for case in (
        "slope, 2 seeds, they differ by 2 points",
        "slope, 2 seeds, only the longest rung differs, by 5 points",
    ):
        found = measure(case, 120, seed=3)
        assert found["slope"] >= 0.88
        assert found["slope from draws"] >= 0.9
        assert found["bend excludes 0"] <= 0.13
        assert found["lack of fit p < 0.05"] <= 0.1
        assert found["inverted U"] <= 0.04


def test_draws_of_questions_have_their_standard_error() -> None:
    y = np.random.default_rng(2).random((3, 1, 40))
    drawn = draw_rungs(y, 40_000, 0)
    assert drawn.mean(axis=0) == pytest.approx(y.mean(axis=(1, 2)), abs=0.003)
    assert np.cov(drawn.T) == pytest.approx(np.cov(y[:, 0]) / 40, abs=1e-4)
    assert (draw_rungs(y, 5, 3) == draw_rungs(y, 5, 3)).all()
    assert (draw_rungs(y, 5, 3) != draw_rungs(y, 5, 4)).any()


def test_the_slope_of_draws_covers() -> None:
    covered = 0
    x = np.log2(LENGTHS)
    slope = np.linalg.pinv(np.column_stack([np.ones(7), x]))[1]
    for seed in range(400):
        low, high = percentiles(draw_rungs(grades(CURVES["log-linear"], 3, 100, seed, 0.03), 400, seed) @ slope, 0.95)
        covered += low <= 0.05 <= high
    assert 0.92 * 400 <= covered <= 0.99 * 400


def test_a_rung_that_is_all_right_does_not_take_all_the_weight() -> None:
    rng = np.random.default_rng(0)
    y = np.stack([(rng.random((2, 50)) < p).astype(float) for p in (0.5, 0.8, 1.1)])
    variances = rung_variances(y)
    assert variances[2] > 0
    assert variances[2] < variances[1] < variances[0]
    assert (rung_variances(np.ones((3, 2, 9))) == 1).all()
    law = fit_law([10, 20, 40], y)
    assert max(law.weights) / min(law.weights) < 60
    assert np.isfinite(law.slope.estimate)


def test_rungs_at_zero_do_not_decide_the_law_alone() -> None:
    # 0, 0 and 19 %: by their own variances alone the two rungs at zero weigh thirty times the third.
    y = np.zeros((3, 1, 200))
    y[2, 0, :38] = 1
    law = fit_law([1000, 2000, 4000], y)
    assert max(law.weights) / min(law.weights) < 1.5
    assert law.slope.estimate == pytest.approx(law.slope_equal_weights, rel=0.05)
    assert law.r2 > 0.7
    assert law.misfit_sd > 0.03


@given(st.lists(st.floats(0, 1), min_size=3, max_size=7), st.floats(1e-6, 0.01))
def test_misfit_is_what_brings_the_squares_to_their_number(means: list[float], variance: float) -> None:
    x, y = np.arange(float(len(means))), np.array(means)
    design, variances = np.column_stack([np.ones_like(x), x]), variance * (1 + x)
    misfit = misfit_variance(design, y, variances)
    weights = 1 / (variances + misfit)
    squares = float((weights * (y - design @ (solver(design, weights) @ y)) ** 2).sum())
    assert misfit >= 0
    assert squares == pytest.approx(len(y) - 2, rel=1e-3) if misfit > 1e-9 else squares <= (len(y) - 2) * 1.001


def test_rungs_on_a_line_have_no_misfit() -> None:
    assert fit_law(LENGTHS[:2].tolist(), grades(CURVES["flat"])[:2]).misfit_sd == 0
    x = np.arange(4.0)
    design = np.column_stack([np.ones_like(x), x])
    assert misfit_variance(design, 0.1 + 0.2 * x, np.full(4, 1e-4)) == 0
    # Equal variances: the mean square of the residuals less a rung's variance.
    bent = np.array([0.1, 0.4, 0.4, 0.5])
    squares = ((bent - np.polyval(np.polyfit(x, bent, 1), x)) ** 2).sum()
    assert misfit_variance(design, bent, np.full(4, 1e-4)) == pytest.approx(squares / 2 - 1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_all_wrong_and_all_right_give_a_law_without_an_interval(value: float) -> None:
    law = fit_law(LENGTHS.tolist(), np.full((7, 2, 9), value))
    assert law.slope.low is None
    assert law.slope_drawn is None
    assert all(point[1] is None for point in law.band)
    assert law.top is not None
    assert law.top.finding == "neither"


# --- the turn ---------------------------------------------------------------------------------------------


def test_an_inverted_u_is_found_with_its_top_and_a_line_has_none() -> None:
    top = fit_law(LENGTHS.tolist(), grades(CURVES["quadratic"])).top
    assert top is not None
    assert top.finding == "inverted U"
    assert 3300 < top.low < top.tokens < top.high < 5200  # type: ignore[operator]
    assert top.inside_frac is not None
    assert top.inside_frac > 0.95
    for shape, seed in (("log-linear", 0), ("log-linear", 1), ("saturating-power", 0)):
        other = fit_law(LENGTHS.tolist(), grades(CURVES[shape], seed=seed)).top
        assert other is not None
        assert other.finding == "neither"
    upside = fit_law(LENGTHS.tolist(), grades(1 - CURVES["quadratic"])).top
    assert upside is not None
    assert upside.finding == "U"


def test_one_seed_and_a_single_question() -> None:
    law = fit_law(LENGTHS.tolist(), grades(CURVES["log-linear"], seeds=1))
    assert "one training seed" in law.slope.over
    assert law.slope_drawn is not None
    single = fit_law(LENGTHS.tolist(), grades(CURVES["log-linear"], seeds=1, questions=1))
    assert (single.slope.low, single.slope_drawn) == (None, None)


# --- what length stands for -------------------------------------------------------------------------------

NAMES = {"a": "length", "b": "tokens", "c": "steps"}


def test_quantities_that_rise_as_one_are_not_told_apart() -> None:
    y = grades(CURVES["log-linear"])
    found = compare_predictors({"a": LENGTHS, "b": 32 * LENGTHS, "c": np.full(7, 100.0)}, y, "a")
    assert found.constant == ["c"]
    (pair,) = found.pairs
    assert (pair.inflation, pair.slope_first) == (None, None)
    lines = predictor_lines(found, "a", NAMES)
    assert any("no fit can say" in line for line in lines)
    assert any("equal in all" in line and "steps" in line for line in lines)
    assert found.as_dict()["alone"][0]["slope"]["estimate"] == pytest.approx(0.05, abs=0.02)


def test_quantities_that_vary_apart_get_their_own_gains() -> None:
    length = np.array([1000.0, 1000, 1000, 4000, 4000, 4000, 16000, 16000])
    tokens = np.array([1.0, 4, 16, 1, 4, 16, 4, 16]) * 1e6
    curve = 0.1 + 0.01 * np.log2(length) + 0.02 * np.log2(tokens)
    found = compare_predictors({"a": length, "b": tokens}, grades(curve, questions=400), "a")
    (pair,) = found.pairs
    assert pair.slope_first is not None
    assert pair.slope_second is not None
    assert pair.slope_first.estimate == pytest.approx(0.01, abs=0.006)
    assert pair.slope_second.estimate == pytest.approx(0.02, abs=0.006)
    assert any(line.startswith("at equal tokens:") for line in predictor_lines(found, "a", NAMES))
    assert all(one.left_out_points is not None for one in found.alone)


def test_a_quantity_that_hardly_varies_counts_as_equal() -> None:
    found = compare_predictors({"a": LENGTHS, "b": np.linspace(32, 33, 7)}, grades(CURVES["flat"]), "a")
    assert found.constant == ["b"]


@pytest.mark.parametrize("values", [[1, 2, 0, 4, 5, 6, 7], [1, 2, 3], [1, 2, 3, 4, 5, 6, float("nan")]])
def test_amounts_that_cannot_be_are_an_error(values: list[float]) -> None:
    with pytest.raises(ValueError, match="positive number for each"):
        compare_predictors({"a": values}, grades(CURVES["flat"]), "a")


# --- published points -------------------------------------------------------------------------------------


def test_points_on_a_line_give_the_line() -> None:
    law = fit_points(LENGTHS.tolist(), CURVES["log-linear"].tolist(), 500, error=0.001)
    assert (law.slope, law.r2) == pytest.approx((0.05, 1.0))
    assert law.slope_weighted == pytest.approx(0.05)
    assert law.from_questions[0] < 0.05 < law.from_questions[1]
    assert law.reading > 0
    assert "points a doubling" in points_words(law)
    two = fit_points([1000, 2000], [0.5, 0.6], 30)
    assert two.from_scatter is None
    assert "no interval from two points" in points_words(two)


def test_the_interval_from_the_scatter_is_the_textbooks() -> None:
    rng = np.random.default_rng(5)
    y = CURVES["log-linear"] + 0.01 * rng.standard_normal(7)
    law, book = fit_points(LENGTHS.tolist(), y.tolist(), 500), stats.linregress(np.log2(LENGTHS), y)
    half = stats.t.ppf(0.975, 5) * book.stderr
    assert law.from_scatter == pytest.approx((book.slope - half, book.slope + half))


@pytest.mark.parametrize(("lengths", "rates"), [([1000], [0.5]), ([1000, 1000], [0.5, 0.6]), ([1000, 2000], [0.5])])
def test_points_without_a_line_are_an_error(lengths: list[float], rates: list[float]) -> None:
    with pytest.raises(ValueError, match="two different lengths"):
        fit_points(lengths, rates, 30)


def test_two_gains_and_their_product() -> None:
    length = [1500.0, 1500, 1500, 12000, 12000, 12000]
    steps = [100.0, 200, 300, 100, 200, 300]
    noise = 0.0005 * np.array([1, -1, 0.5, -0.5, 1, -1])
    both = 0.1 + 0.02 * np.log2(length) + 0.02 * np.log2(steps) + noise
    found = fit_two(length, steps, both.tolist())
    assert found.first[0] == pytest.approx(0.02, abs=0.001)
    assert found.p_equal > 0.05
    only = 0.1 + 0.02 * np.log2(length) + noise
    assert fit_two(length, steps, only.tolist()).p_equal < 0.01
    with pytest.raises(ValueError, match="vary apart"):
        fit_two(length, [2 * value for value in length], only.tolist())


def test_a_turn_through_points_is_found_or_left_open() -> None:
    x = [1.0, 2, 3, 4, 5, 6]
    hill = [0.3, 0.5, 0.6, 0.6, 0.5, 0.3]
    found = find_turn(x, hill, 2000)
    assert found.finding == "an inverted U"
    assert found.top == pytest.approx(3.5)
    assert "cannot be said" in find_turn(x, hill, 5).finding
    rising = find_turn(x, [0.1, 0.2, 0.3, 0.4, 0.5, 0.6], 2000)
    assert rising.finding == "still rising at the last point"
    assert rising.slope_last[0] == pytest.approx(0.1)
    with pytest.raises(ValueError, match="four different places"):
        find_turn([1, 2, 3], [0.1, 0.2, 0.3], 30)


# --- what a slope could have been seen by --------------------------------------------------------------------


def test_a_true_slope_as_large_as_could_be_seen_is_found_four_times_in_five() -> None:
    flat = np.full(4, 0.5)
    least = np.mean([fit_law(LENGTHS[:4], grades(flat, seed=at), num_draws=0).could_see for at in range(40)])
    steps = np.log2(LENGTHS[:4] / LENGTHS[0])
    laws = [fit_law(LENGTHS[:4], grades(flat + least * steps, seed=at), num_draws=0) for at in range(900)]
    found = np.mean([law.slope.excludes(0.0) for law in laws])
    assert found == pytest.approx(0.8, abs=0.06)


def test_without_an_interval_nothing_could_be_seen() -> None:
    assert fit_law(LENGTHS[:3], np.ones((3, 2, 20))).could_see is None
