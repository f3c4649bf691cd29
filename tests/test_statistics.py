"""Intervals that hold what they promise, laws that find a known slope, and sentences that follow from intervals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from long1k.stages.analyze import ArmInfo
from long1k.statistics.rates import Interval, crossed_mean
from long1k.statistics.scaling import fit_law
from long1k.statistics.verdict import verdict as _verdict

# --- means ------------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(
    y=st.lists(st.floats(-5, 5), min_size=3, max_size=30).filter(lambda v: np.var(v) > 1e-6),
    confidence=st.sampled_from([0.8, 0.95, 0.99]),
)
def test_one_seed_gives_the_textbook_t_interval(y: list[float], confidence: float) -> None:
    found = crossed_mean(np.array([y]), confidence)
    low, high = stats.t.interval(confidence, len(y) - 1, np.mean(y), stats.sem(y))
    assert found.estimate == pytest.approx(np.mean(y))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert (found.num_seeds, found.num_questions) == (1, len(y))
    assert "one training seed" in found.over


def test_questions_without_variation_leave_the_t_interval_of_seeds() -> None:
    seeds = np.array([0.2, 0.5, 0.9, 0.4])
    found = crossed_mean(np.repeat(seeds[:, None], 50, axis=1))
    low, high = stats.t.interval(0.95, 3, seeds.mean(), stats.sem(seeds))
    assert (found.low, found.high) == pytest.approx((low, high))
    assert found.over == "training seeds and questions"


def _coverage(y_NSQ: np.ndarray, truth: float) -> float:
    """Share of studies whose interval holds the truth."""
    found = [crossed_mean(y) for y in y_NSQ]
    return float(np.mean([i.low is not None and i.high is not None and i.low <= truth <= i.high for i in found]))


def _studies(count: int, num_seeds: int, seed_sd: float, question_sd: float, rest_sd: float) -> np.ndarray:
    """Grades of many two-way studies of 200 questions, mean 0.6."""
    rng = np.random.default_rng(20 + num_seeds)
    return np.asarray(
        0.6
        + seed_sd * rng.standard_normal((count, num_seeds, 1))
        + question_sd * rng.standard_normal((count, 1, 200))
        + rest_sd * rng.standard_normal((count, num_seeds, 200))
    )


@pytest.mark.parametrize("num_seeds", [3, 4])
@pytest.mark.parametrize("spread", [(0.03, 0.4, 0.3), (0.05, 0.3, 0.3), (0.0, 0.4, 0.2), (0.05, 0.05, 0.4)])
def test_intervals_cover_the_truth_as_often_as_they_say(num_seeds: int, spread: tuple[float, float, float]) -> None:
    covered = _coverage(_studies(1500, num_seeds, *spread), 0.6)
    assert 0.92 <= covered <= 0.985, f"coverage {covered:.4f}"


@pytest.mark.parametrize("num_seeds", [2, 3])
def test_few_seeds_that_differ_much_are_covered_too(num_seeds: int) -> None:
    covered = _coverage(_studies(3000, num_seeds, 0.08, 0.3, 0.3), 0.6)
    assert covered >= 0.94, f"coverage {covered:.4f}"


def test_intervals_of_right_and_wrong_cover_too() -> None:
    def rate(seed: np.ndarray, question: np.ndarray) -> np.ndarray:
        return np.asarray(1 / (1 + np.exp(-(0.4 + 0.15 * seed + 1.5 * question))))

    rng = np.random.default_rng(7)
    truth = float(rate(rng.standard_normal(400_000), rng.standard_normal(400_000)).mean())
    chance = rate(rng.standard_normal((1500, 4, 1)), rng.standard_normal((1500, 1, 200)))
    covered = _coverage((rng.random((1500, 4, 200)) < chance).astype(float), truth)
    assert 0.92 <= covered <= 0.985, f"coverage {covered:.4f}"


def test_bounds_clip_and_all_right_or_wrong_is_the_exact_binomial() -> None:
    y = np.array([[1.0] * 19 + [0.0]])
    assert crossed_mean(y).high > 1  # type: ignore[operator]
    # One output a question: Wilson's interval.
    found = crossed_mean(y, bounds=(0, 1))
    exact = stats.binomtest(19, 20).proportion_ci(0.95, "wilson")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))
    mirrored = crossed_mean(1 - y, bounds=(0, 1))
    assert (1 - mirrored.high, 1 - mirrored.low) == pytest.approx((found.low, found.high))  # type: ignore[operator]
    twice = crossed_mean(10 * y - 5, bounds=(-5, 5))
    assert (twice.low, twice.high) == pytest.approx((10 * exact.low - 5, 10 * exact.high - 5))
    for seeds in (1, 3):
        right = crossed_mean(np.ones((seeds, 20)), bounds=(0.0, 1.0))
        assert (right.estimate, right.high) == (1.0, 1.0)
        assert right.low == pytest.approx(0.025 ** (1 / 20))  # Clopper and Pearson for n of n
        wrong = crossed_mean(np.zeros((seeds, 20)), 0.9, bounds=(0.0, 1.0))
        assert (wrong.estimate, wrong.low) == (0.0, 0.0)
        assert wrong.high == pytest.approx(1 - 0.05 ** (1 / 20))


def test_where_nothing_varies_there_is_no_interval() -> None:
    for y in (np.zeros((2, 9)), np.full((1, 9), 0.25)):
        found = crossed_mean(y)
        assert (found.low, found.high) == (None, None)
        assert "no interval" in found.over
        assert not found.excludes(99.0)


def test_constant_grades_between_the_bounds_have_no_interval_of_no_width() -> None:
    found = crossed_mean(np.full((2, 9), 0.5), bounds=(0.0, 1.0))
    assert found.low is None or found.low < 0.5


@pytest.mark.parametrize("shape", [(1, 1), (4, 1)])
def test_a_single_question_has_no_interval(shape: tuple[int, int]) -> None:
    found = crossed_mean(np.arange(shape[0], dtype=float).reshape(shape), bounds=(0, 9))
    assert (found.low, found.high, found.over) == (None, None, "a single question: no interval")


@pytest.mark.parametrize(
    "y", [np.array([[0.0, np.nan]]), np.array([[0.0, np.inf]]), np.zeros((0, 3)), np.zeros((3, 0)), np.zeros(3), np.zeros((1, 2, 3))]
)  # fmt: skip
def test_what_is_no_table_of_grades_is_an_error(y: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"finite|non-empty"):
        crossed_mean(y)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 9999), seeds=st.integers(1, 4), shift=st.floats(-3, 3), scale=st.floats(0.1, 9))
def test_intervals_move_and_stretch_with_the_grades(seed: int, seeds: int, shift: float, scale: float) -> None:
    y = np.random.default_rng(seed).random((seeds, 12))
    a, b = crossed_mean(y), crossed_mean(shift + scale * y[::-1, ::-1])
    assert (b.estimate, b.low, b.high) == pytest.approx([shift + scale * v for v in (a.estimate, a.low, a.high)])  # type: ignore[operator]
    wider = crossed_mean(y, 0.99)
    assert wider.low < a.low < a.estimate < a.high < wider.high  # type: ignore[operator]


def test_an_interval_knows_what_it_excludes() -> None:
    interval = Interval(1.0, 0.5, 1.5, 0.95, "", 1, 2)
    assert interval.excludes(0.0)
    assert interval.excludes(2.0)
    assert not interval.excludes(0.5)
    assert interval.as_dict()["low"] == 0.5


# --- the law ----------------------------------------------------------------------------------------------

LENGTHS = [1000, 1500, 2000, 3000, 6000, 12000]


def _grades(slope: float, bend: float = 0.0, noise: float = 0.02) -> np.ndarray:
    rng = np.random.default_rng(3)
    x = np.log2(LENGTHS)
    mean = 0.1 + slope * x + bend * (x - x.mean()) ** 2
    question = 0.1 * rng.standard_normal((1, 1, 150))
    return mean[:, None, None] + question + noise * rng.standard_normal((len(x), 3, 150))


def test_the_law_finds_a_known_slope() -> None:
    law = fit_law(LENGTHS, _grades(0.04))
    assert law.slope.estimate == pytest.approx(0.04, abs=0.002)
    assert law.slope.low < 0.04 < law.slope.high  # type: ignore[operator]
    assert law.slope.excludes(0.0)
    assert law.bend is not None
    assert not law.bend.excludes(0.0)
    assert not fit_law(LENGTHS, _grades(0.0)).slope.excludes(0.0)
    assert fit_law(LENGTHS, _grades(-0.04)).slope.high < 0  # type: ignore[operator]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 9999), rungs=st.integers(2, 6), seeds=st.integers(1, 3))
def test_slope_and_fit_are_those_of_polyfit(seed: int, rungs: int, seeds: int) -> None:
    y = np.random.default_rng(seed).random((rungs, seeds, 8))
    law = fit_law(LENGTHS[:rungs], y)
    x, means = np.log2(LENGTHS[:rungs]), y.mean(axis=(1, 2))
    weights = np.array(law.weights)
    slope, intercept = np.polyfit(x, means, 1, w=np.sqrt(weights))
    assert (law.slope.estimate, law.intercept) == pytest.approx((slope, intercept), abs=1e-9)
    middle = np.average(means, weights=weights)
    unexplained = (weights * (means - intercept - slope * x) ** 2).sum() / (weights * (means - middle) ** 2).sum()
    assert law.r2 == pytest.approx(1 - unexplained, abs=1e-9)
    assert law.slope_equal_weights == pytest.approx(np.polyfit(x, means, 1)[0], abs=1e-9)
    cells = y.mean(axis=2)
    residual = cells - (intercept + slope * x)[:, None]
    assert law.r2_pooled == pytest.approx(1 - (residual**2).sum() / ((cells - cells.mean()) ** 2).sum(), abs=1e-9)
    assert (law.bend is None) == (rungs < 4)
    if law.bend is not None:
        assert law.bend.estimate == pytest.approx(np.polyfit(x, means, 2, w=np.sqrt(weights))[0], abs=1e-7)


def test_the_band_follows_the_line_and_ends_at_the_rungs() -> None:
    law = fit_law(LENGTHS, _grades(0.04))
    lengths = [point[0] for point in law.band]
    assert (lengths[0], lengths[-1]) == pytest.approx((1000, 12000))
    for length, low, fitted, high in law.band:
        assert fitted == pytest.approx(law.intercept + law.slope.estimate * np.log2(length))
        assert low < fitted < high  # type: ignore[operator]
    assert law.as_dict()["slope"]["estimate"] == law.slope.estimate


def test_a_bend_is_seen_with_its_sign() -> None:
    for bend in (0.02, -0.02):
        found = fit_law(LENGTHS, _grades(0.04, bend)).bend
        assert found is not None
        assert found.estimate == pytest.approx(bend, abs=0.004)
        assert found.excludes(0.0)


@pytest.mark.parametrize(
    ("lengths", "shape"), [([1000], (1, 2, 3)), ([1000, 1000], (2, 2, 3)), ([1, 2, 3], (2, 2, 3)), ([1, 2], (2, 3))]
)
def test_what_is_no_ladder_is_an_error(lengths: list[float], shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"two different lengths|expected"):
        fit_law(lengths, np.zeros(shape))


def test_missing_grades_are_an_error_in_the_law_too() -> None:
    y = np.zeros((2, 2, 3))
    y[0, 0, 0] = np.nan
    with pytest.raises(ValueError, match="finite"):
        fit_law([1, 2], y)


def test_equal_rungs_have_no_wild_fit() -> None:
    for seed in range(4):
        y = np.tile(np.random.default_rng(seed).integers(0, 2, (1, 1, 20)).astype(float), (3, 2, 1))
        assert not fit_law(LENGTHS[:3], y).r2 < 0  # an R² of least squares with an intercept; NaN is honest


# --- sentences --------------------------------------------------------------------------------------------


def _interval(estimate: float, low: float | None, high: float | None) -> dict[str, Any]:
    return Interval(estimate, low, high, 0.95, "a single question: no interval" if low is None else "", 3, 9).as_dict()


def _law(slope: dict[str, Any], bend: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"intercept": 0.1, "slope": slope, "bend": bend, "r2": 0.987, "r2_pooled": 0.9, "band": []}


RUNGS = [ArmInfo(f"L{n}", "rung", "ladder", n, None) for n in (1000, 2000)]


@pytest.mark.parametrize(
    ("slope", "said", "unsaid"),
    [
        (
            (0.03, 0.01, 0.05),
            ["longer samples give higher accuracy", "+3.0 points", "[+1.0, +5.0]", "R² 0.99"],
            "no effect",
        ),
        ((-0.03, -0.05, -0.01), ["longer samples give lower accuracy", "-3.0 points", "[-5.0, -1.0]"], "higher"),
        ((0.03, -0.01, 0.07), ["no effect of length found", "+3.0 points", "[-1.0, +7.0]"], "higher"),
        ((-0.03, -0.07, 0.01), ["no effect of length found"], "lower"),
        ((0.03, 0.0, 0.06), ["no effect of length found"], "higher"),
        ((0.03, None, None), ["nothing can be said of an effect of length", "[no interval: a single"], "no effect"),
    ],
)
def test_the_verdict_on_length_follows_from_the_interval(
    slope: tuple[float, float | None, float | None], said: list[str], unsaid: str
) -> None:
    (line,) = _verdict("bench", _law(_interval(*slope)), [], RUNGS, 0.95)
    assert line.startswith("bench: ")
    assert "95 % interval" in line
    for words in said:
        assert words in line
    assert unsaid not in line


def test_a_slope_that_is_not_found_says_how_small_a_one_would_have_been() -> None:
    law = _law(_interval(0.03, -0.01, 0.07)) | {"could_see": 0.057}
    (line,) = _verdict("bench", law, [], RUNGS, 0.95)
    assert line.endswith(" It could have seen 5.7 points a doubling (power 80 %).")
    (line,) = _verdict("bench", law | {"slope": _interval(0.08, 0.04, 0.12)}, [], RUNGS, 0.95)
    assert "could have seen" not in line


@pytest.mark.parametrize(
    ("bend", "said"),
    [
        ((0.02, 0.01, 0.03), "steeper at the long end"),
        ((-0.02, -0.03, -0.01), "flatter, or falling"),
        ((0.02, -0.1, 0.2), None),
    ],
)
def test_a_bend_is_said_only_if_its_interval_excludes_none(bend: tuple[float, float, float], said: str | None) -> None:
    lines = _verdict("bench", _law(_interval(0.03, 0.01, 0.05), _interval(*bend)), [], RUNGS, 0.9)
    assert len(lines) == (1 if said is None else 2)
    if said is not None:
        assert said in lines[1]
    assert "90 % interval" in lines[0]


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        ((0.03, 0.01, 0.05), "why: A is higher than B (+3.0 points, 95 % interval [+1.0, +5.0])."),
        ((-0.03, -0.05, -0.01), "why: A is lower than B"),
        ((0.03, -0.01, 0.05), "why (A − B): no difference found"),
        ((0.03, None, None), "nothing can be said (+3.0 points, 95 % interval [no interval"),
    ],
)
def test_contrasts_are_said_by_their_intervals(difference: tuple[float, float | None, float | None], said: str) -> None:
    contrast = {"a": "A", "b": "B", "why": "why", "difference": _interval(*difference)}
    (line,) = _verdict("bench", None, [contrast], RUNGS, 0.95)
    assert said in line


def test_one_rung_says_nothing_about_length() -> None:
    assert _verdict("bench", None, [], RUNGS[:1], 0.95) == ["bench: one rung only; nothing can be said about length."]
    assert _verdict("bench", None, [], [], 0.95) == []
    assert _verdict("bench", None, [], RUNGS, 0.95) == []  # why there is no law is said elsewhere


def test_rounding_is_no_variation() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        lengths = sorted(rng.choice(np.arange(20, 9000), 4, replace=False).tolist())
        y = np.tile(rng.integers(0, 2, (1, 3, 30)).astype(float), (4, 1, 1))
        law = fit_law(lengths, y[:, :1])
        assert law.slope.low is None
        assert not law.slope.excludes(0.0)
        assert law.bend is not None
        assert law.bend.low is None
        assert not fit_law(lengths, y).slope.excludes(0.0)  # runs of other seeds might have come out otherwise
