"""Two runs side by side: every difference in how they were made, the paired effect, the questions that turned."""

from __future__ import annotations

import json
import math
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from long1k.cli import app
from long1k.compare import differences, only, same_places, score_groups, tables_of
from long1k.compare_effects import effects
from long1k.errors import DataError
from long1k.rows import Prediction
from long1k.stages.analyze.cells import Cell, grades_of
from long1k.stages.analyze.tests import compare
from long1k.stages.score import score
from long1k.statistics.rates import tango
from long1k.tables import MANIFEST, TableWriter, finish
from test_outputs import prediction

Right = Callable[[int, int], bool]


def cell(folder: Path, right: Right, *, seed: int | None = 0, arm: str = "L64", questions: int = 40, samples: int = 1,
         config: Mapping[str, Any] | None = None, answered: int | None = None) -> Path:  # fmt: skip
    """Predictions and scores of one arm and seed: right(question, sample) decides each verdict."""
    rows = [
        prediction(
            at * samples + n, f"q{at:02d}", f"so \\boxed{{{5 if right(at, n) else 6}}}", arm=arm, train_seed=seed,
            prediction_id=f"y-{arm}-{seed}-{at}-{n}", sample_index=n, question=f"What is {at}?",
        )
        for at in range(questions if answered is None else answered)
        for n in range(samples)
    ]  # fmt: skip
    settings = {"arm": arm, **(config or {"sampling": {"temperature": 0.0}})}
    writer = TableWriter(folder / "predict" / "b", Prediction, stage="predict/9", config=settings, inputs={})
    writer.write_part(0, rows)
    writer.commit(1, {"items": len(rows)})
    score(folder / "score" / "b" / "math", folder / "predict" / "b")
    return folder / "score" / "b" / "math"


def run_of(root: Path, right: Right, *, rate: float = 1e-5, seeds: tuple[int, ...] = (0, 1), arm: str = "L64") -> Path:
    """A run of one arm: recipe, training folders, predictions, scores."""
    for seed in seeds:
        folder = root / "arms" / arm / f"seed-{seed}"
        cell(folder, lambda at, n, seed=seed: right(at + 7 * seed, n), seed=seed, arm=arm)
        (folder / "train").mkdir()
        finish(
            folder / "train", stage="train/1", config={"train": {"learning_rate": rate}, "seed": 100 + seed},
            inputs={"examples": "e" * 64}, digest=f"{rate}{seed}", files=[], started=0.0, info={"steps": 12},
        )  # fmt: skip
    (root / "recipe.json").write_text(
        json.dumps({"name": root.name, "train": {"learning_rate": rate}, "seeds": [0, 1]})
    )
    return root


def keys(rows: list[dict[str, Any]], category: str) -> dict[str, tuple[Any, Any]]:
    return {f"{row['stage']}:{row['key']}": (row["a"], row["b"]) for row in rows if row["category"] == category}


def test_every_difference_is_told_once(tmp_path: Path) -> None:
    a = run_of(tmp_path / "one", lambda at, n: at % 2 == 0)
    b = run_of(tmp_path / "two", lambda at, n: at % 2 == 0, rate=2e-5)
    for path in b.rglob(MANIFEST):
        made = json.loads(path.read_text())
        made["versions"]["torch"] = "99"
        made["config"]["chat"] = {"template_text": "x"}
        path.write_text(json.dumps(made))
    found = differences(a, b, tables_of(a), tables_of(b))
    assert keys(found, "recipe") == {"recipe:name": ("one", "two"), "recipe:train.learning_rate": (1e-5, 2e-5)}
    assert keys(found, "configuration") == {"train:config.train.learning_rate": (1e-5, 2e-5)}
    assert keys(found, "template") == {
        f"{stage}:config.chat.template_text": (None, "x") for stage in ("predict", "score", "train")
    }
    assert {value[1] for value in keys(found, "versions").values()} == {"99"}
    (rate,) = [row for row in found if row["key"] == "config.train.learning_rate"]
    assert (len(rate["places"]), rate["of_tables"], rate["same"]) == (2, 2, True)
    (content,) = [row for row in found if row["stage"] == "train" and row["key"] == "content"]
    assert content["same"] is False


def test_a_run_and_its_copy_do_not_differ(tmp_path: Path) -> None:
    a = run_of(tmp_path / "one", lambda at, n: at % 2 == 0)
    b = Path(shutil.copytree(a, tmp_path / "elsewhere" / "one"))
    assert differences(a, b, tables_of(a), tables_of(b)) == []
    text = CliRunner().invoke(app, ["compare", str(a), str(b)], catch_exceptions=False).output
    assert "No difference in how 6 tables were made, nor in their content." in text
    assert "b: L64, b − a\n  40 questions on both sides\n  accuracy 50.0 % → 50.0 %, +0.0 points [" in text
    assert (
        "[no interval: every value is the same] (95 %)\n  paired by question; 2 training seeds on each side\n" in text
    )


def test_what_is_not_set_on_one_side_and_null_on_the_other_is_no_difference(tmp_path: Path) -> None:
    a, b = (run_of(tmp_path / name / "run", lambda at, n: True) for name in ("one", "two"))
    for root, more in ((a, {"extends": None}), (b, {})):
        made = json.loads((root / "recipe.json").read_text())
        (root / "recipe.json").write_text(json.dumps({**made, **more}))
    assert differences(a, b, tables_of(a), tables_of(b)) == []


def test_the_interval_is_that_of_the_findings(tmp_path: Path) -> None:
    rights = (lambda at, n: at % 3 == 0, lambda at, n: at % 5 < 3)
    roots = [run_of(tmp_path / f"{at}", right, seeds=(0, 1, 2)) for at, right in enumerate(rights)]
    (effect,) = effects(score_groups(*map(tables_of, roots)))
    grades = [
        grades_of([Cell("L64", seed, "b", folder / "predict" / "b", folder / "score" / "b" / "math", None, None)
                   for seed in range(3) for folder in (root / "arms" / "L64" / f"seed-{seed}",)])
        for root in roots
    ]  # fmt: skip
    assert grades[0] is not None
    assert grades[1] is not None
    made = compare("x", grades[1], grades[0], 0.95)
    assert made is not None
    assert effect["difference"] == made["difference"]
    assert effect["p"] == made["test"]["p"]


def test_arms_of_two_runs_are_compared_whatever_their_seeds(tmp_path: Path) -> None:
    a = run_of(tmp_path / "one", lambda at, n: at % 4 == 0, seeds=(0, 1))
    b = run_of(tmp_path / "two", lambda at, n: at % 4 < 2, seeds=(2, 3, 4))
    (effect,) = effects(score_groups(tables_of(a), tables_of(b)))
    assert effect["paired"] == "by question; 2 training seeds against 3 training seeds"
    assert effect["difference"]["over"] == "training seeds and questions"


def test_problems_of_one_prompt_are_one_observation(tmp_path: Path) -> None:
    sides = []
    for side in range(2):
        rows = [
            prediction(
                at, f"m{at}", f"Problem 1: \\boxed{{{5 if at % 2 or side else 6}}}\n\nProblem 2: \\boxed{{{5 if side else 6}}}",
                answers=["5", "5"], part_ids=(f"p{2 * (at % 10)}", f"p{2 * (at % 10) + 1}")[:: -1 if at > 9 else 1],
            )
            for at in range(20)
        ]  # fmt: skip
        folder = tmp_path / f"{side}"
        writer = TableWriter(folder / "predict" / "b", Prediction, stage="predict/9", config={}, inputs={})
        writer.write_part(0, rows)
        writer.commit(1, {"items": len(rows)})
        score(folder / "score" / "b" / "math", folder / "predict" / "b")
        sides.append(folder / "score" / "b" / "math")
    (effect,) = effects([([sides[0]], [sides[1]])])
    assert (effect["questions"], effect["observations"], effect["difference"]["num_questions"]) == (20, 10, 10)
    assert (effect["paired"], effect["mcnemar"]) == ("by prompt", None)
    text = CliRunner().invoke(app, ["compare", *map(str, sides)], catch_exceptions=False).output
    assert "20 questions on both sides, in 10 prompts, each one observation" in text
    assert "paired by prompt; interval over questions (one training seed: none over seeds); p " in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_folder_of_runs_is_refused(tmp_path: Path) -> None:
    for name in ("one", "two"):
        run_of(tmp_path / "runs" / name, lambda at, n: True)
    for command in (["outputs"], ["compare", str(tmp_path / "runs" / "one")]):
        result = CliRunner().invoke(app, [*command, str(tmp_path / "runs")])
        assert isinstance(result.exception, DataError)
        assert "is no run, but a folder of runs" in str(result.exception)


def test_the_effect_is_paired_by_question_and_seed(tmp_path: Path) -> None:
    a = run_of(tmp_path / "one", lambda at, n: at % 4 == 0)
    b = run_of(tmp_path / "two", lambda at, n: at % 4 < 2)
    sides = tables_of(a), tables_of(b)
    places = [place for place in same_places(*sides) if "/score/" in place]
    (effect,) = effects(score_groups(*sides))
    assert effect["questions"] == 40
    assert effect["difference"]["estimate"] == pytest.approx(0.25)
    assert effect["difference"]["low"] < 0.25 < effect["difference"]["high"]
    assert effect["paired"] == "by question; 2 training seeds on each side"
    assert effect["mcnemar"] is None
    one = effects([([sides[0][places[0]]], [sides[1][places[0]]])])[0]
    assert one["mcnemar"] == {
        "gained": 10,
        "lost": 0,
        "p": pytest.approx(1 / 2**10),
        "p_exact": pytest.approx(2 / 2**10),
    }
    assert [row["turned"] for row in one["turned"]] == ["right"] * 10
    assert one["turned"][0]["question"] == "What is 1?"


def test_several_graders_of_the_same_outputs_count_once(tmp_path: Path) -> None:
    a = run_of(tmp_path / "one", lambda at, n: at % 4 == 0, seeds=(0,))
    b = run_of(tmp_path / "two", lambda at, n: at % 4 < 2, seeds=(0,))
    for root in (a, b):
        folder = root / "arms" / "L64" / "seed-0"
        shutil.copytree(folder / "score" / "b" / "math", folder / "score" / "b" / "other")
    sides = tables_of(a), tables_of(b)
    groups = score_groups(*sides)
    assert len(groups) == 2
    (effect,) = effects(groups)
    assert effect["mcnemar"] == {
        "gained": 10,
        "lost": 0,
        "p": pytest.approx(1 / 2**10),
        "p_exact": pytest.approx(2 / 2**10),
    }


def test_an_interval_stays_within_what_there_can_be(tmp_path: Path) -> None:
    a = cell(tmp_path / "a", lambda at, n: at == 0, questions=6)
    b = cell(tmp_path / "b", lambda at, n: True, questions=6)
    (effect,) = effects([([a], [b])])
    assert 0 < effect["difference"]["low"] < 5 / 6 < effect["difference"]["high"] <= 1
    several = [cell(tmp_path / f"{side}4", lambda at, n, side=side: (at > 0) == (side == "b"), questions=3, samples=2)
               for side in "ab"]  # fmt: skip
    (effect,) = effects([([several[0]], [several[1]])])
    assert effect["difference"]["low"] >= -1
    assert effect["difference"]["high"] <= 1


def test_a_question_steers_no_terminal(tmp_path: Path) -> None:
    rows = [prediction(at, f"q{at}", "\\boxed{6}", question="\x1b[31mred\x07 \u202eturned") for at in range(3)]
    folders = []
    for name, text in (("a", "\\boxed{6}"), ("b", "\\boxed{5}")):
        writer = TableWriter(tmp_path / name / "predict" / "b", Prediction, stage="predict/9", config={}, inputs={})
        writer.write_part(0, [replace(row, text=text, answer_text=text, arm="\x1b]0;x\x07") for row in rows])
        writer.commit(1, {"items": 3})
        folders.append(tmp_path / name / "score" / "b" / "math")
        score(folders[-1], tmp_path / name / "predict" / "b")
    for command in (["compare", *map(str, folders)], ["outputs", str(folders[0])]):
        text = CliRunner().invoke(app, command, catch_exceptions=False).output
        assert "\u241b" in text
        assert not re.search("[\x00-\x08\x0b-\x1f\u202e]", text)


def test_flips_of_both_ways_and_of_several_samples(tmp_path: Path) -> None:
    a = cell(tmp_path / "a", lambda at, n: at < 20 and n < 3, samples=4)
    b = cell(tmp_path / "b", lambda at, n: 15 <= at < 22, samples=4)
    (effect,) = effects([([a], [b])])
    turned = {row["question_id"]: (row["turned"], row["a"], row["b"]) for row in effect["turned"]}
    assert turned["q20"] == ("right", 0.0, 1.0)
    assert turned["q00"] == ("wrong", 0.75, 0.0)
    assert "q16" not in turned
    assert (len(turned), effect["mcnemar"]) == (17, None)


def test_half_right_is_neither_way(tmp_path: Path) -> None:
    """From half to wrong is no turn, nor from half to right: else a tie would count in one direction only."""
    a = cell(tmp_path / "a", lambda at, n: n == 0 or at < 10, samples=2)
    b = cell(tmp_path / "b", lambda at, n: at == 20 or (at < 12 and n == 0), samples=2)
    (effect,) = effects([([a], [b])])
    assert effect["turned"] == []
    c = cell(tmp_path / "c", lambda at, n: at >= 39, samples=2)
    (effect,) = effects([([a], [c])])
    assert {row["turned"] for row in effect["turned"]} == {"wrong"}
    assert len(effect["turned"]) == 10


def test_outputs_that_always_agree_are_one_verdict_a_question(tmp_path: Path) -> None:
    """As in a study's tables: nothing varies, and Tango's interval still says how large a difference could be."""
    same = [cell(tmp_path / side, lambda at, n: at % 2 == 0, samples=4) for side in "ab"]
    (effect,) = effects([([same[0]], [same[1]])])
    low, high = tango(20, 0, 0, 20)
    assert (effect["difference"]["low"], effect["difference"]["high"]) == (pytest.approx(low), pytest.approx(high))
    assert effect["difference"]["over"] == "questions (seeds and outputs agree on every one)"
    assert effect["mcnemar"] == {"gained": 0, "lost": 0, "p": 1.0, "p_exact": 1.0}


def test_an_interval_and_a_test_that_part_are_undecided(tmp_path: Path) -> None:
    a = cell(tmp_path / "a", lambda at, n: at >= 4)
    b = cell(tmp_path / "b", lambda at, n: True)
    (effect,) = effects([([a], [b])])
    assert effect["difference"]["low"] > 0
    assert effect["mcnemar"]["p"] == pytest.approx(0.0625)
    text = CliRunner().invoke(app, ["compare", str(a), str(b)], catch_exceptions=False).output
    assert "undecided, the interval and the test part" in " ".join(text.split())
    assert "they differ" not in text


def test_one_model_stands_against_all_seeds_and_numbers_of_seeds_may_differ(tmp_path: Path) -> None:
    base = cell(tmp_path / "base", lambda at, n: at % 2 == 0, seed=None)
    two = [cell(tmp_path / f"s{seed}", lambda at, n, seed=seed: at % 3 == seed, seed=seed) for seed in (0, 1)]
    other = cell(tmp_path / "s5", lambda at, n: at % 3 == 0, seed=5)
    (effect,) = effects([([base], two[:1])])
    assert effect["paired"] == "by question"
    grown = effects([(two, [other])])[0]
    assert grown["paired"] == "by question; 2 training seeds against 1 training seed"
    against = effects([([base], two)])[0]
    assert against["paired"] == "by question; one model against 2 training seeds"
    assert against["difference"]["num_seeds"] == 2


def test_questions_of_one_side_only_are_left_out_and_said(tmp_path: Path) -> None:
    a = cell(tmp_path / "a", lambda at, n: True, answered=30)
    b = cell(tmp_path / "b", lambda at, n: at % 2 == 0)
    (effect,) = effects([([a], [b])])
    assert (effect["questions"], effect["only_a"], effect["only_b"]) == (30, 0, 10)
    text = CliRunner().invoke(app, ["compare", str(a), str(b), "--flips", "2"], catch_exceptions=False).output
    assert "30 questions on both sides (10 only in b, left out)" in text
    assert "turned wrong: 15 questions, the first 2" in text


def test_nothing_in_common_is_a_sentence(tmp_path: Path) -> None:
    a, b = cell(tmp_path / "a", lambda at, n: True), cell(tmp_path / "b", lambda at, n: True, arm="L128")
    run = run_of(tmp_path / "run", lambda at, n: True)
    with pytest.raises(DataError, match="nothing on one side has its place on the other"):
        same_places(tables_of(run), tables_of(a))
    with pytest.raises(DataError, match="there is no folder"):
        tables_of(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no finished table"):
        tables_of(tmp_path / "empty")
    with pytest.raises(DataError, match="there is no arm 'L12'"):
        effects([([a], [b])], arm_b="L12")
    (effect,) = effects([([a], [b])])  # the only arms of a benchmark are compared, whatever they are called
    assert (effect["arm_a"], effect["arm_b"], effect["difference"]["estimate"]) == ("L64", "L128", 0)
    assert -0.1 < effect["difference"]["low"] < 0 < effect["difference"]["high"] < 0.1  # all right is not certain


def test_all_tables_of_one_side_only_are_listed(tmp_path: Path) -> None:
    a = run_of(tmp_path / "one", lambda at, n: True)
    b = run_of(tmp_path / "two", lambda at, n: True, seeds=(0,))
    found = only(tables_of(a), tables_of(b))
    assert found["b"] == []
    assert sorted(found["a"]) == [f"arms/L64/seed-1/{what}" for what in ("predict/b", "score/b/math", "train")]
    text = CliRunner().invoke(app, ["compare", str(a), str(b)], catch_exceptions=False).output
    assert "only in a: arms/L64/seed-1/predict/b" in text


def test_json_holds_everything(tmp_path: Path) -> None:
    a = run_of(tmp_path / "one", lambda at, n: at % 4 == 0)
    b = run_of(tmp_path / "two", lambda at, n: at % 4 < 2, rate=3e-5)
    output = CliRunner().invoke(app, ["compare", str(a), str(b), "--json"], catch_exceptions=False).output
    found = json.loads(output)
    assert found["effects"][0]["benchmark"] == "b"
    assert {row["category"] for row in found["differences"]} == {"recipe", "configuration", "data"}
    assert not any(isinstance(v, float) and math.isnan(v) for v in found["effects"][0]["difference"].values())
