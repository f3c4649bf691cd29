"""Power, paired tests, equivalence: against published figures, brute force and simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from long1k.statistics.equivalence import tost
from long1k.statistics.paired import bootstrap, holm, mcnemar
from long1k.statistics.power import Design


@pytest.mark.parametrize(
    ("questions", "rate", "points"), [(30, 0.5, 36), (198, 0.65, 13), (500, 0.95, 3.9)], ids=["AIME", "GPQA", "MATH500"]
)
def test_detectable_differences_of_one_unpaired_run(questions: int, rate: float, points: float) -> None:
    found = 100 * Design(questions, rate=rate).detectable()
    assert abs(found - points) < (0.05 if points < 10 else 0.5)


def test_power_of_the_detectable_difference_is_the_power_asked_for() -> None:
    # The arms' variances are smaller on both sides of the rate than at it, so power is a little above what was asked.
    for design in (Design(30), Design(500, 16, 3, 0.8, 0.4, 0.01, 0.7), Design(200, 4, 2, 0.5, 0.4, 0.03, 0.5)):
        assert 0.79 <= design.power(design.detectable(0.8)) < 0.86
        assert design.power(0.0) == pytest.approx(0.05, abs=0.012)
    assert Design(30).power(0.0) == pytest.approx(0.05, abs=1e-9)


def test_more_of_anything_sees_more() -> None:
    base = Design(100, 2, 3, 0.6, 0.5, 0.02, 0.3).detectable()
    assert Design(200, 2, 3, 0.6, 0.5, 0.02, 0.3).detectable() < base
    assert Design(100, 4, 3, 0.6, 0.5, 0.02, 0.3).detectable() < base
    assert Design(100, 2, 4, 0.6, 0.5, 0.02, 0.3).detectable() < base
    assert Design(100, 2, 3, 0.6, 0.5, 0.02, 0.6).detectable() < base
    assert Design(100, 2, 3, 0.6, 0.5, 0.02).detectable() > base


def test_power_is_that_of_simulated_studies() -> None:
    rng = np.random.default_rng(0)
    design = Design(200, 4, 1, 0.5, 0.5)
    # A question's rate from a beta distribution whose variance is between · rate · (1 - rate).
    shape = (1 / 0.5 - 1) / 2
    gap = design.detectable()

    def arm(shift: float) -> np.ndarray:
        rates = np.clip(rng.beta(shape, shape, (4000, 200)) + shift, 0, 1)
        return rng.binomial(4, rates).mean(axis=1) / 4

    difference = arm(0.0) - arm(0.0)
    assert difference.std() == pytest.approx(design.standard_error(), rel=0.05)
    limit = stats.norm.ppf(0.975) * design.standard_error()
    assert (np.abs(difference) > limit).mean() == pytest.approx(0.05, abs=0.012)
    assert (np.abs(difference + gap) > limit).mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(
    "values", [{"num_questions": 0}, {"rate": 1.0}, {"between": 2}, {"seed_sd": -1}, {"correlation": 2}]
)
def test_a_design_that_cannot_be_is_refused(values: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"."):
        Design(**{"num_questions": 10, **values})  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=60))
def test_mcnemar_is_the_sign_test_of_the_flips(pairs: list[tuple[bool, bool]]) -> None:
    a, b = np.array([float(x) for x, _ in pairs]), np.array([float(y) for _, y in pairs])
    found = mcnemar(a, b)
    assert found.both + found.only_a + found.only_b + found.neither == len(pairs)
    flipped, least = found.only_a + found.only_b, min(found.only_a, found.only_b)
    tail = sum(math.comb(flipped, i) for i in range(least + 1)) / 2**flipped
    assert found.p == pytest.approx(min(1.0, 2 * tail))
    assert 0 < found.mid_p <= found.p + 1e-12
    swapped = mcnemar(b, a)
    assert (swapped.only_a, swapped.p) == (found.only_b, pytest.approx(found.p))


def test_mcnemar_takes_one_output_a_question() -> None:
    with pytest.raises(ValueError, match="one output"):
        mcnemar(np.array([0.5]), np.array([1.0]))
    with pytest.raises(ValueError, match="shapes"):
        mcnemar(np.array([1.0]), np.array([1.0, 0.0]))


def test_paired_bootstrap_keeps_its_level_and_covers() -> None:
    rng = np.random.default_rng(1)
    inside = rejected = 0
    studies = 600
    for number in range(studies):
        difficulty = rng.normal(0, 0.3, 80)
        a, b = (0.5 + difficulty + rng.normal(0, 0.03, (5, 1)) + rng.normal(0, 0.2, (5, 80)) for _ in range(2))
        found = bootstrap(a, b, seed=number, resamples=600)
        assert found is not None
        inside += found.low <= 0 <= found.high
        rejected += found.p <= 0.05
    assert 0.91 <= inside / studies <= 0.98
    assert rejected / studies <= 0.09


def test_bootstrap_of_nothing_that_varies() -> None:
    same = np.ones((2, 10))
    found = bootstrap(same, same, seed=0, resamples=100)
    assert found is not None
    assert (found.estimate, found.low, found.high, found.p) == (0, 0, 0, 1.0)
    assert bootstrap(np.ones((2, 1)), np.zeros((2, 1)), seed=0) is None
    with pytest.raises(ValueError, match="finite"):
        bootstrap(np.full((1, 3), np.nan), np.ones((1, 3)), seed=0)


def test_holm_by_hand() -> None:
    assert holm({"a": 0.04, "b": 0.01, "c": 0.03}) == pytest.approx({"a": 0.06, "b": 0.03, "c": 0.06})
    assert holm({}) == {}
    with pytest.raises(ValueError, match="p value"):
        holm({"a": 1.5})


@given(st.dictionaries(st.text(max_size=3), st.floats(0, 1), max_size=12))
def test_holm_never_makes_smaller_and_keeps_order(values: dict[str, float]) -> None:
    found = holm(values)
    assert list(found) == list(values)
    for one in values:
        assert values[one] <= found[one] + 1e-12 <= 1 + 1e-9
        for other in values:
            if values[one] < values[other]:
                assert found[one] <= found[other]


def test_equivalence_needs_a_margin_and_an_interval_inside_it() -> None:
    rng = np.random.default_rng(2)
    close = rng.normal(0, 0.1, (3, 400))
    assert tost(close, 0.05).finding == "equivalent"
    assert tost(close[:, :6], 0.02).finding == "undecided"
    assert tost(close + 0.2, 0.05).finding == "different"
    assert tost(close + 0.04, 0.2).finding == "different, but within the margin"
    assert tost(np.array([[0.0]]), 0.1).finding == "undecided"  # one question: no interval
    with pytest.raises(ValueError, match="margin"):
        tost(close, 0.0)


def test_equivalence_is_claimed_wrongly_at_most_as_often_as_said() -> None:
    rng = np.random.default_rng(3)
    margin = 0.05
    claimed = sum(
        tost(margin + rng.normal(0, 0.25, (1, 150)), margin).finding
        in ("equivalent", "different, but within the margin")
        for _ in range(1500)
    )
    assert claimed / 1500 <= 0.065
