"""Findings from grades on disk: every gap in them becomes a sentence, never a crash or a made-up interval."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from long1k.errors import DataError, RecipeError
from long1k.observations import prompt_units
from long1k.plan_power import designs, power_lines
from long1k.recipe import load_recipe
from long1k.rows import Prediction, Score
from long1k.stages.analyze import ArmInfo, Cell, analyze
from long1k.stages.analyze.cells import grades_of
from long1k.stages.analyze.tests import correct, family_words
from long1k.statistics.verdict import contrast_lines, p_words
from long1k.study_plan import plan_study
from long1k.tables import TableWriter, read_table

Answers = Mapping[str, Sequence[int]]  # question -> one verdict a sample


def put(root: Path, arm: str, seed: int, answers: Answers, benchmark: str = "bench", trained: bool = False) -> Cell:
    """Tables of one arm and seed."""
    cell = root / "arms" / arm / f"seed-{seed}"
    predictions, scores = [], []
    for question, verdicts in answers.items():
        for sample, right in enumerate(verdicts):
            name = f"{benchmark}-{arm}-{seed}-{question}-{sample}"
            predictions.append(
                Prediction(
                    name, question, benchmark, "1 + 1?", ("2",), (question,), arm, seed, "train", sample, 1, (1, 2), "2",
                    (5, 6), (), None, "2", "stop", None, None, 3, 2, "test", None,
                )
            )  # fmt: skip
            scores.append(Score(name, 0, "math", "1", "correct" if right else "wrong", "2", None, None))
    folders = cell / "predict" / benchmark, cell / "score" / benchmark / "math"
    for folder, kind, rows in ((folders[0], Prediction, predictions), (folders[1], Score, scores)):
        writer = TableWriter(folder, kind, stage="test/1", config={}, inputs={})
        writer.write_part(0, rows, [])
        writer.commit(1, {})
    if trained:  # a manifest is all that the analysis reads of a checkpoint
        writer = TableWriter(cell / "train", Score, stage="test/1", config={}, inputs={})
        writer.write_part(0, [], [])
        writer.commit(1, {"steps": 5})
    return Cell(arm, seed, benchmark, *folders, None, cell / "train" if trained else None)


def asked(right: Sequence[int], samples: int = 1) -> dict[str, list[int]]:
    return {f"q{number:03}": [value] * samples for number, value in enumerate(right)}


def found(root: Path, cells: Sequence[Cell], margin: float | None = None, **more: Any) -> dict[str, Any]:
    """Findings of two arms, b against a."""
    infos = [
        ArmInfo("a", "baseline", "samples", None, None),
        ArmInfo("b", "arm", "samples", None, None, against="a", description="b", margin=margin),
    ]
    analyze(root / "analyze", cells, infos, study={"name": "s"}, root=root, **more)
    findings: dict[str, Any] = json.loads((root / "analyze" / "findings.json").read_text())
    return findings


HALF = [1, 0] * 15
MORE = [1, 1, 1, 0] * 7 + [1, 0]


def test_one_output_a_question_is_mcnemars_test(tmp_path: Path) -> None:
    findings = found(tmp_path, [put(tmp_path, "a", 0, asked(HALF)), put(tmp_path, "b", 0, asked(MORE))])
    (contrast,) = findings["benchmarks"][0]["contrasts"]
    test, difference = contrast["test"], contrast["difference"]
    assert (test["name"], test["only_a"], test["only_b"]) == ("McNemar (mid-p)", 7, 0)
    assert test["p"] == pytest.approx(2 * 0.5**7 - 0.5**7)
    assert test["p_exact"] == pytest.approx(2 * 0.5**7)
    assert (test["p_holm"], test["comparisons"]) == (test["p"], 1)
    assert difference["low"] > 0
    said = "\n".join(findings["verdict"])
    assert "b is higher than a (+23.3 points" in said
    assert "p 0.008)" in said
    assert "every arm was trained once" not in said  # these arms have no training at all
    json.dumps(findings, allow_nan=False)


def test_several_outputs_are_tested_by_the_interval_and_the_bootstrap(tmp_path: Path) -> None:
    findings = found(tmp_path, [put(tmp_path, "a", 0, asked(HALF, 3)), put(tmp_path, "b", 0, asked(MORE, 3))])
    (contrast,) = findings["benchmarks"][0]["contrasts"]
    assert contrast["test"]["name"] == "t over questions"
    assert contrast["test"]["p"] < 0.01
    assert contrast["test"]["p_bootstrap"] < 0.05
    variance = findings["benchmarks"][0]["arms"][0]["variance"]
    assert variance["sampling"] == 0
    assert variance["seed"] is None
    assert variance["share"]["question"] == 1


def test_seeds_of_the_arms_need_not_be_the_same(tmp_path: Path) -> None:
    cells = [put(tmp_path, "a", seed, asked(HALF)) for seed in (0, 1)]
    cells += [put(tmp_path, "b", seed, asked(MORE[::-1] if seed % 2 else MORE)) for seed in (5, 6, 7)]
    findings = found(tmp_path, cells, margin=0.5)
    (contrast,) = findings["benchmarks"][0]["contrasts"]
    assert contrast["test"]["name"] == "t over training seeds and questions"
    assert contrast["difference"]["over"] == "training seeds and questions"
    assert contrast["could_see"] > 0
    assert contrast["equivalence"]["interval"]["confidence"] == pytest.approx(0.9)
    assert any("±50 points" in line for line in findings["verdict"])


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ([1] * 30, [1] * 30, "no difference found (+0.0 points, 95 % interval [-11.4, +11.4], p 1.00)"),
        ([0] * 30, [0] * 30, "no difference found (+0.0 points, 95 % interval [-11.4, +11.4], p 1.00)"),
        ([0] * 30, [1] * 30, "b is higher than a (+100.0 points"),
        (HALF, HALF, "no difference found (+0.0 points"),
        ([1], [0], "no interval: a single question"),
    ],
    ids=["all right", "all wrong", "opposite", "tied", "one question"],
)
@pytest.mark.parametrize("seeds", [1, 2])
def test_grades_without_variation(tmp_path: Path, a: list[int], b: list[int], said: str, seeds: int) -> None:
    cells = [put(tmp_path, arm, seed, asked(y)) for arm, y in (("a", a), ("b", b)) for seed in range(seeds)]
    findings = found(tmp_path, cells, margin=0.02)
    text = "\n".join(findings["verdict"])
    (contrast,) = findings["benchmarks"][0]["contrasts"]
    json.dumps(findings, allow_nan=False)
    assert said in text
    if len(a) == 1:
        assert contrast["test"]["p"] is None
        assert "p_holm" not in contrast["test"]
        assert "nothing can be said" in text
    if sum(b) > sum(a) + 20:
        assert "b and a differ, and not shown to lie within ±2 points" in text
    else:
        assert "equivalent within ±2 points is undecided" in text


def test_missing_cells_questions_and_arms_are_said(tmp_path: Path) -> None:
    cells = [put(tmp_path, "a", 0, asked(HALF)), put(tmp_path, "b", 0, {})]
    findings = found(tmp_path, cells)
    assert findings["benchmarks"][0]["contrasts"] == []
    assert any("there are no usable grades of b; nothing is compared with it" in line for line in findings["verdict"])

    other = tmp_path / "other"
    cells = [put(other, "a", seed, asked(HALF)) for seed in (0, 1)]
    cells += [put(other, "b", 0, asked(MORE)), put(other, "b", 1, asked(MORE[:20]))]
    findings = found(other, cells)
    text = "\n".join(findings["verdict"])
    assert "10 questions of b have no grades of some seed and are left out" in text
    assert "b and a are compared on the 20 questions both answered" in text
    assert findings["benchmarks"][0]["contrasts"][0]["difference"]["num_questions"] == 20

    third = tmp_path / "third"
    cells = [
        put(third, "a", 0, asked(HALF)),
        put(third, "b", 0, asked(MORE)),
        put(third, "a", 0, asked(HALF), "second"),
    ]
    findings = found(third, cells)
    assert any(line.startswith("second: there are no usable grades of b") for line in findings["verdict"])


def test_nothing_at_all_and_seeds_that_share_nothing(tmp_path: Path) -> None:
    findings = found(tmp_path, [put(tmp_path, "a", 0, {}), put(tmp_path, "b", 0, {})])
    assert findings["benchmarks"] == []
    assert "bench: there are no grades of any arm." in findings["verdict"]
    other = tmp_path / "other"
    cells = [put(other, "a", 0, {"q1": [1]}), put(other, "a", 1, {"q2": [1]})]
    with pytest.raises(DataError, match="no question has grades of all 2 seeds"):
        grades_of(cells)
    findings = found(other, cells)
    assert findings["benchmarks"] == []
    assert "no question has grades of all 2 seeds; it is left out" in "\n".join(findings["verdict"])
    cells += [put(other, "b", 0, asked(HALF), "second"), put(other, "b", 1, {}, "second")]
    said = "\n".join(found(other, cells)["verdict"])  # one benchmark does not take the other
    assert "second: there are no grades of b with seed 1; it stands on the others." in said
    third = tmp_path / "third"
    findings = found(third, [put(third, "a", 0, {"q1": [1], "q2": [0]}), put(third, "b", 0, {"q3": [1], "q4": [0]})])
    assert any("no question in common" in line for line in findings["verdict"])


def test_an_output_of_several_parts_is_one_output(tmp_path: Path) -> None:
    cell = put(tmp_path, "a", 0, asked(HALF, 2))
    rows = list(read_table(cell.scores, Score))
    writer = TableWriter(tmp_path / "parts", Score, stage="test/1", config={}, inputs={})
    writer.write_part(0, [replace(row, part=part) for row in rows for part in (0, 1, 2)], [])
    writer.commit(1, {})
    grades = grades_of([replace(cell, scores=tmp_path / "parts")])
    assert grades is not None
    assert (grades.samples_SQ == 2).all()
    assert grades.y_SQ.mean() == pytest.approx(0.5)
    once = put(tmp_path / "once", "a", 0, {"q1": [1], "q2": [0]})
    mixed = [replace(row, part=part, status="correct" if part else "wrong")
             for row in read_table(once.scores, Score) for part in (0, 1)]  # fmt: skip
    writer = TableWriter(tmp_path / "mixed", Score, stage="test/1", config={}, inputs={})
    writer.write_part(0, mixed, [])
    writer.commit(1, {})
    half = grades_of([replace(once, scores=tmp_path / "mixed")])
    assert half is not None
    assert (half.y_SQ == 0.5).all()
    assert not half.flat  # neither right nor wrong: no McNemar's test


def test_prompts_that_share_a_problem_are_one_question(tmp_path: Path) -> None:
    # Two sets of problems, each asked in two orders: two observations, not four.
    cell = put(tmp_path, "a", 0, {"p1": [1], "p2": [0], "p3": [1], "p4": [1]})
    parts = {"p1": ("x", "y"), "p2": ("y", "x"), "p3": ("u", "v"), "p4": ("v", "u")}
    rows = [replace(row, part_ids=parts[row.problem_id]) for row in read_table(cell.predictions, Prediction)]
    writer = TableWriter(tmp_path / "rotated", Prediction, stage="test/1", config={}, inputs={})
    writer.write_part(0, rows, [])
    writer.commit(1, {})
    grades = grades_of([replace(cell, predictions=tmp_path / "rotated")])
    assert grades is not None
    assert grades.questions == ["p1", "p3"]
    assert grades.y_SQ.tolist() == [[0.5, 1.0]]
    assert grades.samples_SQ.tolist() == [[2.0, 2.0]]


@given(st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=4, unique=True), max_size=12))
def test_units_of_prompts_are_the_connected_ones(asked: list[list[int]]) -> None:
    parts = {f"q{at:02}": tuple(map(str, problems)) for at, problems in enumerate(asked)}
    unit_of = prompt_units(parts)
    assert set(unit_of) == set(parts)
    for one in parts:
        for other in parts:
            if {*parts[one]} & {*parts[other]}:
                assert unit_of[one] == unit_of[other]
    for name in {*unit_of.values()}:
        inside = [prompt for prompt in parts if unit_of[prompt] == name]
        assert name == min(inside)
        reached = {*parts[name]}
        for _ in inside:
            reached |= {problem for prompt in inside if {*parts[prompt]} & reached for problem in parts[prompt]}
        assert all({*parts[prompt]} <= reached for prompt in inside)  # no unit holds strangers


def test_without_a_ladder_the_reference_arm_stands_against_the_untrained_model(tmp_path: Path) -> None:
    infos = [
        ArmInfo("first", "arm", "samples", None, None), ArmInfo("other", "arm", "samples", None, "first", against="first"),
        ArmInfo("untrained", "baseline", "untrained", None, None),
    ]  # fmt: skip
    cells = [put(tmp_path, name, 0, asked(y)) for name, y in (("first", MORE), ("other", MORE), ("untrained", HALF))]
    analyze(tmp_path / "analyze", cells, infos, study={"name": "s"}, root=tmp_path)
    findings = json.loads((tmp_path / "analyze" / "findings.json").read_text())
    pairs = [(one["a"], one["b"]) for one in findings["benchmarks"][0]["contrasts"]]
    assert pairs == [("first", "untrained"), ("other", "first")]
    assert "first against the untrained model: first is higher than untrained" in "\n".join(findings["verdict"])


def test_rungs_that_cannot_be_laid_together_are_said(tmp_path: Path) -> None:
    infos = [ArmInfo(f"L{n}", "rung", "ladder", n, None) for n in (1000, 2000, 4000)]

    def verdict_of(folder: str, seeds: Sequence[Sequence[int]], names: Sequence[str]) -> str:
        root = tmp_path / folder
        cells = [
            put(root, arm.name, seed, {f"{name}{at}": [value] for at, value in enumerate(HALF)})
            for arm, own, name in zip(infos, seeds, names, strict=True) for seed in own
        ]  # fmt: skip
        analyze(root / "analyze", cells, infos, study={"name": "s"}, root=root)
        return "\n".join(json.loads((root / "analyze" / "findings.json").read_text())["verdict"])

    other = verdict_of("questions", [[0], [0], [0]], ["q", "q", "r"])
    assert "no law is fitted to the 3 rungs: they have no question in common" in other
    assert "no training seed in common" in verdict_of("seeds", [[0], [0], [1]], ["q", "q", "q"])
    part = verdict_of("part", [[0], [0, 1], [0, 1]], ["q", "q", "q"])
    assert "the law stands on the training seeds that all rungs have: 0." in part
    assert "nothing can be said of an effect of length" in part  # the rungs are tied


def test_training_once_is_said_and_an_untrained_model_is_no_seed(tmp_path: Path) -> None:
    base = put(tmp_path, "a", 0, asked(HALF))
    findings = found(tmp_path, [base, put(tmp_path, "b", 0, asked(MORE), trained=True)])
    assert any("every arm was trained once; no interval here says what another" in line for line in findings["verdict"])
    cells = [base, *(put(tmp_path, "b", seed, asked(y), trained=True) for seed, y in ((1, MORE), (2, HALF)))]
    findings = found(tmp_path, cells)
    difference = findings["benchmarks"][0]["contrasts"][0]["difference"]
    assert (difference["over"], difference["num_seeds"]) == ("training seeds and questions", 2)
    assert not any("trained once" in line for line in findings["verdict"])
    cells[0] = put(tmp_path / "other", "a", 0, asked(HALF), trained=True)
    difference = found(tmp_path, cells)["benchmarks"][0]["contrasts"][0]["difference"]
    assert difference["over"].endswith("(none over the seeds of an arm that has one)")


def test_holm_spans_the_benchmarks_of_a_study(tmp_path: Path) -> None:
    cells = [put(tmp_path, arm, 0, asked(y), name) for name in ("one", "two") for arm, y in (("a", HALF), ("b", MORE))]
    findings = found(tmp_path, cells)
    tests = [entry["contrasts"][0]["test"] for entry in findings["benchmarks"]]
    assert [test["comparisons"] for test in tests] == [2, 2]
    assert tests[0]["p_holm"] == pytest.approx(2 * tests[0]["p"])
    assert any("corrected for 2 comparisons" in line for line in findings["verdict"])
    assert "Holm's over the 2 tests of two arms on one, two: one family" in findings["notes"][-1]
    assert correct([]) == 0
    assert family_words(findings["benchmarks"], 1, []) == ""
    said = family_words(findings["benchmarks"], 2, ["two", "three"])
    assert "on one, two (two under a budget, counted like any other): one family" in said


def test_a_difference_that_correction_takes_back_is_said_to_be_perhaps_chance() -> None:
    difference = {
        "estimate": 0.1, "low": 0.01, "high": 0.19, "confidence": 0.95, "over": "", "num_seeds": 1, "num_questions": 9,
    }  # fmt: skip
    contrast: dict[str, Any] = {
        "a": "A", "b": "B", "why": "w", "difference": difference,
        "test": {"name": "t", "p": 0.03, "p_holm": 0.3, "comparisons": 10},
    }  # fmt: skip
    (line,) = contrast_lines("bench", contrast, 0.95)
    assert line.endswith("p 0.030, 0.30 corrected for 10 comparisons). Among so many comparisons that may be chance.")
    contrast["test"] |= {"p": 0.06, "p_holm": 0.06, "comparisons": 1}
    assert contrast_lines("bench", contrast, 0.95)[0].endswith("the test does not find it: take it as undecided.")
    contrast["difference"] = difference | {"low": -0.001}
    contrast["test"] |= {"p": 0.049}
    assert contrast_lines("bench", contrast, 0.95)[0].endswith("the test finds a difference: take it as undecided.")
    contrast["difference"] = difference
    contrast["test"]["p_holm"] = 0.04
    assert "chance" not in contrast_lines("bench", contrast, 0.95)[0]
    for finding, said in (
        ("equivalent", "A and B are equivalent within ±2 points (90 % interval [+1.0, +19.0])."),
        ("different, but within the margin", "A and B differ, by less than ±2 points"),
        ("different", "not shown to lie within ±2 points"),
    ):
        contrast["equivalence"] = {"finding": finding, "margin": 0.02, "interval": difference | {"confidence": 0.9}}
        assert said in contrast_lines("bench", contrast, 0.95)[1]
    assert [p_words(p) for p in (0.0001, 0.0123, 0.4)] == ["p < 0.001", "p 0.012", "p 0.40"]


# --- before the run ---------------------------------------------------------------------------------------


def test_a_plan_says_what_the_study_can_see(tmp_path: Path) -> None:
    recipe = load_recipe("quickstart", ["margin=2", "margins.L527=5", "expected.single={rate: 0.6, seed_points: 0}"])
    study = plan_study(recipe, runs=tmp_path)
    lines = power_lines(recipe, study.questions, study.samplings)
    paired, apart = designs(recipe, study.questions, study.samplings)["single"]
    assert (paired.num_questions, paired.num_seeds, paired.rate, paired.seed_sd) == (500, 4, 0.6, 0.0)
    assert paired.detectable() < apart.detectable()
    assert f"{100 * paired.detectable():.1f}" in lines[2]
    said = " ".join(" ".join(lines).split())
    assert "margin of equivalence 2 points, 5 points for L527; the least that shows truly equal arms to be so" in said
    # Each of the two one-sided tests at 5 % misses in at most 10 %, both together in 20 %.
    assert f"with 80% power: {100 * paired.detectable(0.9, 0.1):.1f} on single" in said
    assert any(line.startswith("  expected of single: ") for line in lines)
    assert any(line.startswith("  assumed of ") for line in lines)
    assert not any("with one seed" in line for line in lines)
    assert power_lines(recipe, {}, {}) == []


def test_the_figures_for_one_run_without_pairing(tmp_path: Path) -> None:
    leaves = [f"expected.{name}.seed_points=0" for name in ("math500", "aime24", "aime25")]
    leaves += [f"benchmarks.{name}.sampling.samples=1" for name in ("aime24", "aime25")]
    recipe = load_recipe("long1k-32b", [*leaves, "expected.math500.rate=0.95"])
    study = plan_study(recipe, runs=tmp_path)
    found = {
        name: 100 * apart.detectable() for name, (_, apart) in designs(recipe, study.questions, study.samplings).items()
    }
    assert found["math500"] == pytest.approx(3.9, abs=0.05)
    assert found["aime24"] == pytest.approx(36, abs=0.5)
    assert any("with one seed" in line for line in power_lines(recipe, study.questions, study.samplings))


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        ("margins.L9=2", "margins names the arm 'L9'"),
        ("expected.math.rate=0.5", "expected names the benchmark 'math'"),
        ("margin=-1", "margin"),
        ("margins.L527=0", "margins.L527 is 0"),
        ("expected.single.rate=1.5", "rate"),
    ],
)
def test_margins_and_expectations_are_checked(leaf: str, said: str) -> None:
    with pytest.raises(RecipeError, match=r".") as caught:
        load_recipe("quickstart", [leaf])
    assert said in str(caught.value)


def test_margins_go_to_the_comparison_made_for_an_arm() -> None:
    recipe = load_recipe("quickstart", ["margin=2", "margins.L527=5"])
    assert (recipe.margin_of("L527"), recipe.margin_of("L32")) == (0.05, 0.02)
    assert load_recipe("quickstart").margin_of("L32") is None
