"""The paper's figures as data, what they say by themselves, and how they stand beside ours."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner

from long1k.cli import app
from long1k.errors import RecipeError
from long1k.paper import experiment, experiments_named, load_paper, published_points, same_benchmark
from long1k.recipe import load_recipe
from long1k.stages.analyze.beside import beside_of
from long1k.stages.paper import findings_of, later_findings
from long1k.statistics.proportions import Difference, clopper_pearson, difference, possible_runs, wilson
from long1k.statistics.rates import Interval

DOCS = Path(__file__).resolve().parents[1] / "docs"

# --- rates ------------------------------------------------------------------------------------------------


@given(right=st.integers(0, 60), more=st.integers(0, 60), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_intervals_of_whole_counts_are_scipys(right: int, more: int, confidence: float) -> None:
    n = right + more
    if n == 0:
        return
    book = stats.binomtest(right, n)
    for ours, method in ((wilson, "wilson"), (clopper_pearson, "exact")):
        wanted = book.proportion_ci(confidence, method)
        assert ours(right / n, n, confidence) == pytest.approx((wanted.low, wanted.high), abs=1e-9)


@given(rate=st.floats(0.01, 0.99), n=st.integers(5, 500))
def test_counts_that_are_not_whole_lie_between(rate: float, n: int) -> None:
    low, high = clopper_pearson(rate, n)
    below, above = math.floor(rate * n), math.ceil(rate * n)
    assert clopper_pearson(below / n, n)[0] - 1e-12 <= low < rate < high <= clopper_pearson(above / n, n)[1] + 1e-12


@given(first=st.floats(0, 1), second=st.floats(0, 1), n=st.integers(2, 600))
def test_a_difference_turns_with_its_arms_and_the_pairings_are_ordered(first: float, second: float, n: int) -> None:
    one, two = difference(first, second, n), difference(second, first, n)
    for kind in ("independent", "closest", "widest"):
        low, high = getattr(one, kind)
        assert getattr(two, kind) == pytest.approx((-high, -low), abs=1e-9)
        assert -1 <= low <= high <= 1
    assert one.closest[1] - one.closest[0] <= one.widest[1] - one.widest[0] + 1e-9
    assert 0 <= one.p_independent <= 1
    assert 0 <= one.p_closest <= 1


def test_newcombes_own_example() -> None:
    # 56 of 70 against 48 of 80, Newcombe 1998, table II, method 10; the two groups there differ in size.
    found = difference(0.8, 0.6, 75)
    assert found.independent == pytest.approx((0.0524, 0.3339), abs=0.012)
    assert found.holds == "always"
    assert difference(0.5, 0.5, 30).holds == "never"


@pytest.mark.parametrize(
    ("closest", "independent", "widest", "said"),
    [
        ((0.1, 0.3), (0.1, 0.3), (0.1, 0.3), "always"),
        ((0.1, 0.3), (-0.1, 0.3), (0.1, 0.3), "if paired closely"),
        ((-0.3, -0.1), (-0.3, -0.1), (-0.3, 0.1), "if independent"),
        ((-0.1, 0.1), (-0.2, 0.2), (-0.3, 0.3), "never"),
    ],
)
def test_a_difference_holds_only_as_far_as_every_closer_pairing(
    closest: tuple[float, float], independent: tuple[float, float], widest: tuple[float, float], said: str
) -> None:
    assert Difference(0.2, independent, closest, widest, 0.5, 0.5).holds == said


def test_bonett_and_price_by_hand() -> None:
    # 16 and 10 of 20, as close as can be: six flips one way, none the other; one is added on either side.
    low, high = difference(0.8, 0.5, 20).closest
    assert (low + high) / 2 == pytest.approx(6 / 22)  # (7 - 1) / 22
    assert (high - low) / 2 == pytest.approx(1.959964 * math.sqrt((8 / 22 - (6 / 22) ** 2) / 22), rel=1e-5)


def test_pairing_bounds_hold_what_pairings_give() -> None:
    # Between the two extremes of agreement lies every paired interval.
    n, right_1, right_2 = 100, 80, 70
    found = difference(right_1 / n, right_2 / n, n)
    for both in range(50, 71):
        disagree = (right_1 - both + right_2 - both) / n
        half = 1.96 * math.sqrt((disagree - 0.01) / n)
        assert found.closest[1] - found.closest[0] <= 2 * half + 0.05
        assert found.widest[1] - found.widest[0] >= 2 * half - 0.05


@pytest.mark.parametrize(("rate", "n"), [(0.5, 0), (1.2, 9), (float("nan"), 9)])
def test_what_is_no_rate_is_an_error(rate: float, n: int) -> None:
    with pytest.raises(ValueError, match="rate between 0 and 1"):
        wilson(rate, n)


def test_numbers_of_runs() -> None:
    assert 1 in possible_runs(26.7, 30)
    assert 1 not in possible_runs(50.7, 30)
    assert 5 in possible_runs(50.7, 30)  # 76 of 150
    assert possible_runs(27.67, 30, decimals=2)[0] == 10  # 83 of 300


# --- the figures ------------------------------------------------------------------------------------------


def test_the_ladder_gives_its_published_slopes() -> None:
    laws = findings_of("C")["laws"]
    assert 100 * laws["MATH500"]["slope"] == pytest.approx(2.32, abs=0.005)
    assert laws["MATH500"]["r2"] == pytest.approx(0.975, abs=0.0005)
    assert 100 * laws["GPQA Diamond"]["slope"] == pytest.approx(1.91, abs=0.005)
    assert laws["GPQA Diamond"]["r2"] == pytest.approx(0.970, abs=0.0005)
    x, y = zip(*((math.log2(p.tokens or 0), p.accuracy) for p in published_points("C", "MATH500")), strict=True)
    assert laws["MATH500"]["slope"] == pytest.approx(stats.linregress(x, y).slope)


def test_every_figure_stands_for_questions_and_a_benchmark() -> None:
    paper = load_paper()
    for name, found in paper.experiments.items():
        assert set(found.benchmarks) <= set(paper.benchmarks)
        assert found.arms or found.writing or found.claims
        for benchmark in found.benchmarks:
            for point in published_points(name, benchmark):
                assert 0 < point.accuracy < 1
        for arm in found.arms:
            for benchmark, (low, high) in arm.spread.items():
                assert low <= arm.accuracy[benchmark] <= high
    assert all(len(one.words_percent) == 10 for one in paper.experiments["E"].writing)
    assert {one.side for one in paper.later} == {"for", "against", "structure", "statistics"}


def test_spreads_fall_on_whole_counts() -> None:
    questions = {name: one.questions for name, one in load_paper().benchmarks.items()}
    (ours,) = (arm for arm in experiment("F").arms if arm.spread)
    for benchmark, ends in ours.spread.items():
        for percent in ends:
            assert 1 in possible_runs(percent, questions[benchmark])


def test_names() -> None:
    assert experiments_named(["B", "C"]) == ["B-a", "B-b", "C"]
    assert same_benchmark("MATH-500") == "MATH500"
    assert same_benchmark("gpqa") == "GPQA Diamond"
    assert same_benchmark("single") is None
    with pytest.raises(ValueError, match="no experiment 'H'"):
        experiments_named(["H"])
    with pytest.raises(RecipeError, match="no experiment 'B'"):
        experiment("B")


def test_which_differences_of_the_main_table_hold() -> None:
    rows = {(row["benchmark"], row["model"]): row for row in findings_of("F")["differences"]}
    assert len(rows) == 20
    assert rows["MATH500", "s1.1-32B"]["holds"] == "always"
    assert rows["MATH500", "LIMO"]["holds"] == "never"
    assert all(row["holds"] in ("never", "if paired closely") for key, row in rows.items() if key[0] == "AIME2024")
    assert all(row["p_holm"] >= row["p_independent"] for row in rows.values())
    held = [key for key, row in rows.items() if row["p_holm"] <= 0.05]
    assert held == [("MATH500", "s1.1-32B"), ("MATH500", "OpenThinker-32B"), ("GPQA Diamond", "s1-32B")]


def test_equal_steps_do_not_tell_length_from_tokens() -> None:
    fit = findings_of("D-steps")["fit"]
    assert fit["p_equal"] > 0.05
    assert fit["first"][1] > 0
    assert fit["second"][1] > 0


@pytest.mark.parametrize("name", load_paper().experiments)
def test_every_experiment_has_lines_and_plain_figures(name: str) -> None:
    found = findings_of(name)
    assert found["lines"][0].startswith(f"{name}. ")
    assert json.loads(json.dumps(found))["experiment"] == name
    assert not any("nan" in line.lower().split() for line in found["lines"])


# --- the command ------------------------------------------------------------------------------------------


def test_the_command_prints_and_gives_json() -> None:
    runner = CliRunner()
    done = runner.invoke(app, ["paper"])
    assert done.exit_code == 0
    assert "+2.32 points a doubling" in done.stdout
    assert all(len(line) <= 100 for line in done.stdout.splitlines())
    assert len(later_findings()) == len(load_paper().later)
    found = json.loads(runner.invoke(app, ["paper", "B", "--json"]).stdout)
    assert [entry["experiment"] for entry in found] == ["B-a", "B-b"]
    assert (
        runner.invoke(app, ["paper", "b", "C,d-steps"]).stdout
        == runner.invoke(app, ["paper", "B", "C", "D-steps"]).stdout
    )
    with pytest.raises(RecipeError, match="no experiment 'Z'"):
        runner.invoke(app, ["paper", "Z"], catch_exceptions=False)


def test_the_page_of_the_docs_is_what_the_command_prints() -> None:
    page = (DOCS / "paper.md").read_text(encoding="utf-8")
    printed = CliRunner().invoke(app, ["paper"]).stdout
    assert printed.rstrip() in page


# --- beside us --------------------------------------------------------------------------------------------


def entry(name: str, slope: float | None, half: float | None = 0.005) -> dict[str, Any]:
    ends = (None, None) if slope is None or half is None else (slope - half, slope + half)
    law = None if slope is None else {"slope": Interval(slope, *ends, 0.95, "no interval", 2, 9).as_dict()}
    accuracy = {"estimate": 0.5, "low": 0.4, "high": 0.6}
    arms = [{"name": f"L{n}", "law_tokens": float(n), "accuracy": accuracy} for n in (2000, 1000)]
    return {"benchmark": name, "arms": [*arms, {"name": "untrained", "accuracy": accuracy}], "law": law}


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (entry("math500", 0.025), "lie inside this interval"),
        (entry("math500", 0.1), "lie outside this interval"),
        (entry("math500", 0.1, None), "without an interval it cannot be compared"),
        (entry("single", 0.1), "the direction is that of the paper"),
        (entry("single", -0.1), "the direction is not that of the paper"),
        (entry("single", 0.001), "no effect of length was found here"),
    ],
)
def test_our_slope_beside_the_papers(ours: dict[str, Any], said: str) -> None:
    found = beside_of("C", [ours], 0.95)
    assert said in found["said"][-1]
    assert [point["tokens"] for point in found["ours"][0]["points"]] == [1000, 2000]
    assert found["laws"]["MATH500"]["slope"] == pytest.approx(0.0232, abs=1e-4)
    assert json.dumps(found)


@pytest.mark.parametrize("name", load_paper().experiments)
def test_every_experiment_can_stand_beside_us(name: str) -> None:
    for benchmarks in ([], [entry("single", None)], [entry("math500", 0.02)]):
        found = beside_of(name, benchmarks, 0.95)
        assert found["experiment"] == name
        assert all(row["low"] < row["accuracy"] < row["high"] for row in found["rows"])


def test_a_recipe_names_experiments() -> None:
    assert load_recipe("quickstart", ["paper=C"]).paper == ["C"]
    assert load_recipe("quickstart", ["paper=[A, B]"]).paper == ["A", "B-a", "B-b"]
    assert load_recipe("quickstart").paper == []
    with pytest.raises(RecipeError, match="no experiment 'Q'"):
        load_recipe("quickstart", ["paper=Q"])


def test_accuracies_are_shares() -> None:
    assert np.mean([point.accuracy for point in published_points("C", "MATH500")]) == pytest.approx(0.899)
