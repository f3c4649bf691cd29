"""The law in the findings and on the page: from grades to sentences, tables and drawings."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from long1k.reporting.figures import Album
from long1k.reporting.laws import law_context, paper_context, paper_figure, shapes_figure
from long1k.stages.analyze.beside import beside_of
from long1k.stages.analyze.cells import ArmInfo, Grades
from long1k.stages.analyze.law import (
    amount,
    law_lines,
    law_of,
    num_terms,
    predictors_of,
    quantities_of,
    series_of,
)
from long1k.stages.report import report
from pages import without_own_scripts
from test_report import HOSTILE, Page, built, put_findings

LENGTHS = (1000, 2000, 4000, 8000, 16000, 32000, 64000)
CURVES = {
    "line": [0.2 + 0.05 * k for k in range(7)],
    "inverted": [0.2, 0.4, 0.5, 0.55, 0.5, 0.4, 0.2],
    "right": [1.0] * 7,
    "wrong": [0.0] * 7,
    "tied": [0.5] * 7,
}


def grades_at(rate: float, seeds: int = 2, questions: int = 200, draw: int = 0) -> Grades:
    hard = np.random.default_rng(7).random(questions)
    noise = np.random.default_rng(draw).normal(0, 0.05, (seeds, questions))
    y = (hard + noise < rate).astype(float)
    names = [f"q{n}" for n in range(questions)]
    return put_together(y, list(range(seeds)), names)


def put_together(y: np.ndarray, seeds: list[int], names: list[str]) -> Grades:
    return Grades(y, np.full(y.shape, np.nan), np.ones(y.shape), seeds, names, {"correct": 1}, 10.0, 0.0, False)


def study(
    curve: str, seeds: int = 2, rungs: int = 7
) -> tuple[list[ArmInfo], dict[str, Grades], dict[str, dict[str, Any]]]:
    """A ladder and a control with as many tokens in short samples."""
    arms = [ArmInfo(f"L{n}", "rung", "ladder", n, None) for n in LENGTHS[:rungs]]
    arms.append(ArmInfo("short", "control", "token_matched", 1000, f"L{LENGTHS[rungs - 1]}", "L1000"))
    arms.append(ArmInfo("untrained", "baseline", "untrained", None, None))
    grades = {arm.name: grades_at(CURVES[curve][at], seeds, draw=at) for at, arm in enumerate(arms[:rungs])}
    grades["short"] = grades_at(0.3, seeds, draw=20)
    training: dict[str, dict[str, Any]] = {
        arm.name: {"samples": 100, "problems": 300, "unique_problems": 250 + at, "mean_sample_tokens": float(n),
                   "steps": 50, "tokens": 400 * n, "supervised_tokens": 350 * n}
        for at, (arm, n) in enumerate(zip(arms[:rungs], LENGTHS, strict=False))
    }  # fmt: skip
    longest = LENGTHS[rungs - 1]
    training["short"] = training["L1000"] | {"tokens": 400 * longest, "supervised_tokens": 350 * longest}
    training["untrained"] = {}
    return arms, grades, training


def entry_of(curve: str, name: str = "bench", seeds: int = 2, rungs: int = 7) -> dict[str, Any]:
    """One benchmark of the findings, as the analysis makes it."""
    arms, grades, training = study(curve, seeds, rungs)
    series = series_of(arms, training)
    law = law_of(series, grades, 0.95, name)
    predictors = predictors_of(series, arms, grades, training, 0.95)
    tokens = {arm.name: length for arm, length in series}
    shown = [
        {"name": arm.name, "role": arm.role, "target_tokens": arm.target_tokens, "law_tokens": tokens.get(arm.name),
         "accuracy": {"estimate": float(grades[arm.name].y_SQ.mean()), "low": None, "high": None, "over": "x"}}
        for arm in arms if arm.name in grades
    ]  # fmt: skip
    lines = law_lines(name, law, predictors)
    return {"benchmark": name, "questions": 200, "arms": shown, "law": law, "predictors": predictors, "contrasts": [],
            "verdict": lines}  # fmt: skip


def test_a_line_is_said_to_be_one_and_rungs_do_not_tell_length_from_tokens() -> None:
    entry = entry_of("line")
    text = "\n".join(entry["verdict"])
    assert "bench: By AICc the best shape is" in text
    assert "tokens a sample and tokens a problem, tokens trained on, supervised tokens trained on rise and fall" in text
    assert "no fit can say which of them" in text
    assert "At equal tokens trained on:" in text  # the control pulls them apart
    assert "inverted U" not in text
    assert entry["law"]["turn"].startswith("no turn found")
    assert num_terms(entry["law"], entry["predictors"]) == 4
    assert entry["predictors"]["rungs"]["constant"][-2:] == ["steps", "unique_problems"]
    assert json.loads(json.dumps(entry)) == entry


def test_an_inverted_u_is_said_with_its_top() -> None:
    entry = entry_of("inverted")
    assert any("inverted U with its top at" in line for line in entry["verdict"])
    top = entry["law"]["top"]
    assert 4000 < top["low"] < top["tokens"] < top["high"] < 16000


@pytest.mark.parametrize("curve", ["right", "wrong", "tied"])
@pytest.mark.parametrize(("seeds", "rungs"), [(1, 2), (2, 3), (1, 5), (2, 7)])
def test_nothing_that_varies_is_no_crash_and_no_claim(curve: str, seeds: int, rungs: int, tmp_path: Path) -> None:
    entry = entry_of(curve, seeds=seeds, rungs=rungs)
    text = "\n".join(entry["verdict"])
    assert "inverted U" not in text
    assert "nan" not in json.dumps(entry, allow_nan=False).split()
    put_findings(tmp_path, {"name": "n", "benchmarks": [entry], "paper": [beside_of("A", [entry], 0.95)]})
    report(tmp_path / "report", tmp_path)


def test_what_cannot_be_laid_together_has_no_law() -> None:
    arms, grades, training = study("line")
    series = series_of(arms, training)
    first = grades["L1000"]
    other = grades | {"L1000": put_together(first.y_SQ, first.seeds, [f"other {name}" for name in first.questions])}
    assert law_of(series, other, 0.95) is None
    assert predictors_of(series, arms, other, training, 0.95) is None
    assert law_of(series[:1], grades, 0.95) is None
    apart = grades | {"L1000": put_together(first.y_SQ, [8, 9], first.questions)}
    assert law_of(series, apart, 0.95) is None
    fewer = grades | {"L1000": put_together(first.y_SQ[:, 20:], first.seeds, first.questions[20:])}
    law = law_of(series, fewer, 0.95)
    assert law is not None
    assert (law["questions"], law["slope"]["num_questions"]) == (180, 180)
    assert predictors_of(series[:2], arms[:2], grades, training, 0.95) is None
    assert law_lines("bench", None, None) == []
    assert num_terms(None) == 0


def test_what_the_rungs_have_alike_is_said_only_if_it_is_known() -> None:
    arms = [ArmInfo(f"L{n}", "rung", "ladder", n, None) for n in (1000, 2000)]

    def said(*training: dict[str, Any]) -> str:
        return amount(arms, {arm.name: one for arm, one in zip(arms, training, strict=True)})

    assert said({"samples": 5, "steps": 9}, {"samples": 5, "steps": 9}) == "at an equal number of samples and steps"
    assert said({"samples": 5}, {"samples": 5}) == "at an equal number of samples"
    assert (
        said({"samples": 5, "steps": 9}, {"samples": 5, "steps": 1900}) == "with 5 samples and 9 to 1,900 steps a rung"
    )
    assert said({}, {}) == "with amounts of data that are not known"
    assert said({"samples": 5}, {}) == "with amounts of data that are not known"
    assert amount([], {}) == ""


def test_a_control_of_other_seeds_is_said_to_be_missing_from_what_length_stands_for() -> None:
    arms, grades, training = study("line")
    control = grades["short"]
    grades["short"] = put_together(control.y_SQ, [8, 9], control.questions)
    found = predictors_of(series_of(arms, training), arms, grades, training, 0.95)
    assert found is not None
    assert "all" not in found
    assert "cannot be asked over all arms" in "\n".join(law_lines("bench", None, found))


def test_arms_without_a_ladder_are_asked_what_accuracy_follows_too() -> None:
    arms = [ArmInfo(f"{n}-{s}", "arm", "steps", None, None) for n in (1000, 8000) for s in (100, 200, 300)]
    training = {
        arm.name: {"mean_sample_tokens": float(n), "samples": 10, "problems": 10, "steps": s, "tokens": n * s}
        for arm, (n, s) in zip(arms, [(n, s) for n in (1000, 8000) for s in (100, 200, 300)], strict=True)
    }
    grades = {arm.name: grades_at(0.3 + 0.08 * at, draw=at) for at, arm in enumerate(arms)}
    found = predictors_of([], arms, grades, training, 0.95)
    assert found is not None
    assert "rungs" not in found
    pairs = {pair["second"]: pair for pair in found["all"]["pairs"]}
    assert pairs["steps"]["correlation"] == pytest.approx(0, abs=1e-9)
    assert pairs["steps"]["slope_second"]["estimate"] > 0
    assert any(line.startswith("bench: At equal optimiser steps") for line in law_lines("bench", None, found))
    one_length = {name: values | {"mean_sample_tokens": 500.0} for name, values in training.items()}
    assert predictors_of([], arms, grades, one_length, 0.95) is None


def test_sets_of_the_same_problems_are_a_series_by_their_mean_length() -> None:
    arms = [ArmInfo(f"set-{n}", "arm", "same_problems", None, None) for n in (2, 1, 3)]
    training = {"set-1": {"mean_sample_tokens": 500.0}, "set-2": {"mean_sample_tokens": 900.0}, "set-3": {}}
    assert [(arm.name, length) for arm, length in series_of(arms, training)] == [("set-1", 500.0), ("set-2", 900.0)]
    assert quantities_of({"mean_sample_tokens": 600.0, "samples": 10, "problems": 20})["problem_tokens"] == 300
    assert quantities_of({}) == {}


def test_the_page_shows_shapes_quantities_and_the_paper(tmp_path: Path) -> None:
    entry = entry_of("line")
    put_findings(
        tmp_path, {"name": "n", "benchmarks": [entry], "paper": [beside_of(name, [entry], 0.95) for name in "CEG"]}
    )
    page = Page(built(tmp_path))
    assert "built-in method" not in page.text
    assert re.search(r"a = \S+, b = \S+", page.text)  # the parameters of the shapes
    assert not page.open
    for words in (
        "The shape of the law on bench", "logit-linear", "What length stands for on bench, over the rungs",
        "over all arms that differ in amounts", "The paper beside us: experiment C", "+2.32 points a doubling",
        "Diamonds: the paper", "therefore 0.56", "budget forcing",
    ):  # fmt: skip
        assert words in page.text, words


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    entry = entry_of("line", name=HOSTILE)
    put_findings(tmp_path, {"name": "n", "benchmarks": [entry], "paper": [beside_of("C", [entry], 0.95)]})
    html = built(tmp_path)
    assert "<script" not in without_own_scripts(html)
    assert "<img" not in without_own_scripts(html)
    assert not Page(html).open


def test_drawings_need_something_to_draw() -> None:
    assert shapes_figure({"arms": [], "law": None}) is None
    assert paper_figure({"rows": [], "ours": []}) is None
    assert law_context({"arms": [], "law": None}, Album()) is None
    assert paper_context(beside_of("G", [], 0.95), Album())["figure"] is None
    drawn = shapes_figure(entry_of("line"))
    assert drawn is not None
    assert "Shapes fitted to accuracy on bench: flat, log-linear" in drawn.still(620)
    steps = paper_figure(beside_of("D-steps", [], 0.95))
    assert steps is None  # points by steps have no place on an axis of lengths
