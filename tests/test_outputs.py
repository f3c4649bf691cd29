"""What models wrote: words, markers, lengths by outcome, several problems a prompt, the truncation ledger, the page."""

from __future__ import annotations

import importlib.util
import json
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner

from long1k.cli import app
from long1k.errors import DataError
from long1k.grading.extract import extract_parts, labelled_sections
from long1k.interop.predictions import import_predictions
from long1k.jsonlines import BadRow, read_json_lines
from long1k.outputs_text import ledger_lines, outputs_lines
from long1k.reporting.figures import Album
from long1k.reporting.outputs import course_figure, length_figure, output_sections
from long1k.reporting.text import figure
from long1k.rows import Prediction
from long1k.stages.analyze import FINDINGS, analyze
from long1k.stages.analyze.ledger import find_folders, ledger_of
from long1k.stages.analyze.multi import Multi
from long1k.stages.analyze.outputs import find_tables, outputs_of
from long1k.stages.report import report
from long1k.stages.score import score
from long1k.statistics import clustered
from long1k.statistics.markers import MARKERS, PARTS, marker_counts
from long1k.statistics.words import STOP, WORD, WordCounts, is_listed, log_odds, top_words
from long1k.tables import TableWriter, finish
from long1k.tokens import load_tokenizer
from realdata import real_data

PUBLISHED = ("so", "and", "let", "wait", "but", "me", "therefore", "which", "we", "if")


def prediction(number: int, name: str, text: str, gold: tuple[str, ...] = ("5",), **changes: Any) -> Prediction:
    row = Prediction(
        prediction_id=f"y{number:05d}", problem_id=name, benchmark="b", question="q?", answers=gold,
        part_ids=tuple(f"{name}.{at}" for at in range(len(gold))) if len(gold) > 1 else (name,), arm="L64",
        train_seed=0, checkpoint="c", sample_index=0, seed=1, prompt_token_ids=(1,), text=text, token_ids=(), forced=(),
        thinking=None, answer_text=text, finish_reason="stop", budget_flag="natural", num_tokens=len(text.split()),
        num_thinking_tokens=0, num_answer_tokens=2, engine="e", label=None,
    )  # fmt: skip
    return replace(row, **changes)


def graded(folder: Path, rows: Sequence[Prediction], **info: Any) -> Path:
    """A table of scores of a run's layout: its folder."""
    writer = TableWriter(
        folder / "predict" / "b", Prediction, stage="predict/9", config={}, inputs={"n": str(len(rows))}
    )
    writer.write_part(0, rows)
    writer.commit(1, {"items": len(rows), **info})
    score(folder / "score" / "b" / "math", folder / "predict" / "b")
    return folder / "score" / "b" / "math"


def some_rows() -> list[Prediction]:
    rows = []
    for at in range(24):
        right = at % 3 != 0
        words = "So we add, and therefore we get it." if right else "But wait, maybe but wait, maybe the angle is off."
        rows.append(prediction(at, f"q{at // 2}", f"{words * (1 + at % 4)} \\boxed{{{5 if right else 6}}}"))
    return rows


# --- words ------------------------------------------------------------------------------------------------


def test_a_word_is_a_run_of_letters_or_of_digits() -> None:
    assert WORD.findall("let's check: x_12 = \\frac{3}{4}, naïve") == [
        "let", "s", "check", "x", "12", "frac", "3", "4", "naïve",
    ]  # fmt: skip
    assert [word for word in ("the", "x", "42", "so", "and", "which", "is", "wait") if is_listed(word)] == [
        "so", "and", "which", "wait",
    ]  # fmt: skip
    assert not STOP & set(PUBLISHED)


def test_shares_are_of_all_words_and_a_long_output_does_not_rule_the_other_share() -> None:
    counts = WordCounts()
    counts.add("wrong", "q1", "wait " * 98 + "so so")
    counts.add("wrong", "q2", "so the")
    found = {one["word"]: one for one in top_words(counts, "wrong")}
    assert found["wait"]["share"]["estimate"] == pytest.approx(98 / 102)
    assert found["wait"]["share_an_output"]["estimate"] == pytest.approx(0.98 / 2)
    assert found["so"]["count"] == 3
    assert found["so"]["share_an_output"]["estimate"] == pytest.approx((0.02 + 0.5) / 2)
    assert "the" not in found


def test_of_numbers_and_function_words_only_their_number_is_kept() -> None:
    counts = WordCounts()
    assert counts.add("a", "q1", "so 12 + 13 = 25, the sum") == 6
    assert dict(counts.kinds["a"]["q1"].counts) == {"so": 1, "sum": 1}
    assert counts.total("a") == 6


def test_a_word_without_end_is_shown_by_its_ends(tmp_path: Path) -> None:
    rows = [prediction(at, f"q{at}", f"so {'haha' * 4000} \\boxed{{5}}") for at in range(12)]
    text = CliRunner().invoke(app, ["outputs", str(graded(tmp_path, rows))], catch_exceptions=False).output
    assert "characters left out" in text
    assert max(map(len, text.splitlines())) < 120


def test_equal_counts_are_listed_by_name_and_nothing_comes_of_nothing() -> None:
    counts = WordCounts()
    counts.add("a", "q1", "so but wait so but wait")
    assert [one["word"] for one in top_words(counts, "a")] == ["but", "so", "wait"]
    assert top_words(counts, "b") == []
    assert log_odds(counts, "a", "b")["tested"] == 0


def contrasted() -> WordCounts:
    random = np.random.default_rng(3)
    counts = WordCounts()
    for at in range(60):
        for kind, more in (("correct", "so"), ("wrong", "wait")):
            words = ["so", "wait", "number", *[more] * int(random.integers(1, 4))]
            counts.add(kind, f"q{at}", " ".join(words * int(random.integers(1, 5))))
    return counts


def test_log_odds_tell_the_kinds_apart_and_turn_round_with_them() -> None:
    found = log_odds(contrasted(), "correct", "wrong")
    assert found["for_a"][0]["word"] == "so"
    assert found["for_b"][0]["word"] == "wait"
    first = found["for_a"][0]
    assert first["sure"]
    assert 0 < first["log_odds"]["low"] < first["log_odds"]["estimate"] < first["log_odds"]["high"]
    assert first["within"]["questions"] == 60
    assert first["within"]["low"] > 0
    back = log_odds(contrasted(), "wrong", "correct")
    assert back["for_b"][0]["log_odds"]["estimate"] == pytest.approx(-first["log_odds"]["estimate"])
    assert back["for_b"][0]["within"]["estimate"] == pytest.approx(-first["within"]["estimate"])


def test_the_prior_draws_a_word_that_one_kind_never_holds_towards_zero() -> None:
    counts = WordCounts()
    for at in range(30):
        counts.add("correct", f"q{at}", "so number " * 20 + ("tangent" if at < 12 else ""))
        counts.add("wrong", f"q{at}", "so number " * 20)
    weak, strong = (log_odds(counts, "correct", "wrong", prior_words=size)["for_a"][0] for size in (10.0, 10_000.0))
    assert weak["word"] == strong["word"] == "tangent"
    assert weak["log_odds"]["estimate"] > strong["log_odds"]["estimate"] > 0
    assert math.isfinite(weak["log_odds"]["high"])
    assert weak["within"] is None  # no question has it in a wrong output


def test_a_word_of_few_questions_is_not_tested() -> None:
    counts = WordCounts()
    for at in range(20):
        counts.add("correct", f"q{at}", "so number" + " tangent" * (at < 3))
        counts.add("wrong", f"q{at}", "so number")
    assert log_odds(counts, "correct", "wrong")["tested"] == 2


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("qrs"), st.text("sowait 5éß\u00b2_'", max_size=30)),
        max_size=20,
    )
)
def test_counts_do_not_depend_on_order(rows: list[tuple[str, str, str]]) -> None:
    one, other = WordCounts(), WordCounts()
    for row in rows:
        one.add(*row)
    for row in reversed(rows):
        other.add(*row)
    for kind in "ab":
        assert (
            one.total(kind) == other.total(kind) == sum(len(WORD.findall(t.lower())) for k, _, t in rows if k == kind)
        )
        first, second = top_words(one, kind), top_words(other, kind)
        assert [(w["word"], w["count"]) for w in first] == [(w["word"], w["count"]) for w in second]
        assert all(0 <= w["share"]["estimate"] <= 1 and 0 <= w["share_an_output"]["estimate"] <= 1 for w in first)


# --- intervals --------------------------------------------------------------------------------------------


def simulation() -> Any:
    path = Path(__file__).resolve().parents[1] / "scripts" / "simulate_outputs.py"
    spec = importlib.util.spec_from_file_location("simulate_outputs", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    hits = simulation().covered(60, 8, 0.7, 250, seed=5)
    assert all(0.915 <= share <= 0.985 for share in hits.values()), hits  # 250 studies: 95 % ± 2.5 standard errors


def test_words_differ_by_chance_no_more_often_than_they_say() -> None:
    low, any_word = simulation().by_chance(120, 0.3, 40, seed=5, words=120, length=150)
    assert low <= 0.055
    assert any_word <= 0.15  # 5 % of 40 studies, and three standard errors
    assert simulation().within_by_chance(60, 12, seed=5, words=60) <= 0.065


def test_a_question_is_one_observation_however_often_it_is_answered() -> None:
    values, names = [1.0, 2.0, 3.0, 4.0], ["a", "b", "c", "d"]
    one = clustered.mean(values, names)
    many = clustered.mean(values * 50, names * 50)
    assert one is not None
    assert many is not None
    assert (one.low, one.high) == (pytest.approx(many.low), pytest.approx(many.high))


def test_skewed_values_reach_further_to_their_side() -> None:
    rng = np.random.default_rng(6)
    names = [f"q{at}" for at in range(40)]
    skewed = list(np.exp(rng.normal(0, 1, 40)))
    found = clustered.mean(skewed, names)
    assert found.high - found.estimate > 1.2 * (found.estimate - found.low)  # type: ignore[union-attr, operator]
    turned = clustered.mean([-one for one in skewed], names)
    assert (-turned.high, -turned.low) == pytest.approx((found.low, found.high))  # type: ignore[union-attr, operator]
    even = clustered.mean([*range(20), *range(20)], names)
    known = stats.t.interval(0.95, 39, 9.5, stats.sem([*range(20), *range(20)]))
    assert (even.low, even.high) == pytest.approx(known, rel=1e-3)  # type: ignore[union-attr]
    lone = clustered.mean([0.0] * 39 + [1.0], names)
    assert lone.high < 0.2  # type: ignore[union-attr, operator]


def test_no_interval_is_made_up() -> None:
    assert clustered.mean([], []) is None
    assert clustered.median([], []) is None
    assert clustered.ratio([1.0], [0.0]) is None
    assert clustered.ratio_of_means([], [], [1.0], ["q"]) is None
    single = clustered.mean([1.0, 5.0], ["q", "q"])
    assert single is not None
    assert (single.estimate, single.low, single.over) == (3.0, None, "a single question: no interval")
    same = clustered.mean([2.0, 2.0, 2.0], ["a", "b", "c"])
    assert same is not None
    assert (same.low, same.over) == (None, "every value is the same: no interval")
    assert clustered.median([2.0, 2.0, 2.0], ["a", "b", "c"]).low is None  # type: ignore[union-attr]


def test_a_ratio_of_means_knows_that_both_come_from_one_question() -> None:
    random = np.random.default_rng(0)
    base = np.exp(random.normal(0, 1, 40))
    names = [f"q{at}" for at in range(40)]
    together = clustered.ratio_of_means(list(2 * base), names, list(base), names)
    apart = clustered.ratio_of_means(list(2 * base), names, list(base), [f"r{at}" for at in range(40)])
    assert together is not None
    assert apart is not None
    assert together.estimate == pytest.approx(2)
    assert together.low is None or together.high - together.low < 1e-6
    assert apart.high - apart.low > 0.5


# --- markers ----------------------------------------------------------------------------------------------


def test_markers_are_found_as_words_and_by_their_place() -> None:
    text = "Wait, " + "x " * 95 + "Let me double-check. Alternatively, so"
    found = marker_counts(text)
    assert {name: int(found[name].sum()) for name in MARKERS} == {
        "verification": 1, "backtracking": 1, "branching": 1, "transition": 1,
    }  # fmt: skip
    assert found["backtracking"][0] == 1
    assert found["transition"][-1] == 1
    assert marker_counts("awaiting sofa wait2 also_so")["backtracking"].sum() == 0
    assert marker_counts("That\u2019s not right")["backtracking"].sum() == 1


@given(st.text(max_size=200))
def test_tenths_add_up_to_the_words(text: str) -> None:
    found = marker_counts(text)
    assert all(len(parts) == PARTS for parts in found.values())
    assert found["words"].sum() == len(WORD.findall(text.lower()))


# --- several problems a prompt ----------------------------------------------------------------------------

TEXTS = {
    "all": "Problem 1: \\boxed{1}\nProblem 2: \\boxed{2}\nProblem 3: \\boxed{3}",
    "turned": "Problem 2: \\boxed{2}\nProblem 1: \\boxed{1}\nProblem 3: \\boxed{3}",
    "one missing": "Problem 1: \\boxed{1}\nProblem 3: \\boxed{3}",
    "no labels": "The answers are \\boxed{1}, \\boxed{2} and \\boxed{3}.",
    "no boxes": "Problem 1: 1\nProblem 2: 2\nProblem 3: 3",
    "twice": "Problem 1: \\boxed{1}\nProblem 1: \\boxed{1}\nProblem 2: \\boxed{2}\nProblem 3: \\boxed{3}",
}


@pytest.mark.parametrize(
    ("name", "answered", "labelled", "in_order", "in_format"),
    [
        ("all", 1, 1, 1, 1), ("turned", 1, 1, 0, 0), ("one missing", 2 / 3, 2 / 3, 1, 0), ("no labels", 0, 0, 0, 0),
        ("no boxes", 1, 1, 1, 0), ("twice", 1, 1, 1, 0),
    ],
)  # fmt: skip
def test_what_several_problems_are_judged_by(
    name: str, answered: float, labelled: float, in_order: float, in_format: float
) -> None:
    text = TEXTS[name]
    multi = Multi()
    parts = [
        {"status": "no_answer" if one is None else "correct", "extracted": None if one is None else one.value}
        for one in extract_parts(text, 3)
    ]
    multi.add({"answer_text": text, "part_ids": ["a", "b", "c"], "problem_id": "p", "finish_reason": "stop"}, parts)
    (found,) = multi.described(0.95)
    values = [found[key]["estimate"] for key in ("answered", "labelled", "in_order", "in_format")]
    assert values == pytest.approx([answered, labelled, in_order, in_format])
    assert found["k"] == 3
    assert len(found["correct_by_place"]) == 3


def test_prompts_of_the_same_problems_are_one_observation_and_single_ones_need_no_label() -> None:
    multi = Multi()
    for turned in (["a", "b"], ["b", "a"], ["c", "d"]):
        row = {"answer_text": "Problem 1: \\boxed{1}", "part_ids": turned, "problem_id": "".join(turned)}
        parts = [{"status": "correct", "extracted": "1"}, {"status": "no_answer", "extracted": None}]
        multi.add({**row, "finish_reason": "length"}, parts)
    multi.add({"answer_text": None, "part_ids": ["a"], "problem_id": "a", "finish_reason": "stop"},
              [{"status": "no_answer", "extracted": None}])  # fmt: skip
    one, two = multi.described(0.95)
    assert (one["k"], one["prompts"], one["in_order"], one["labelled"]) == (1, 1, None, None)
    assert (two["k"], two["prompts"], two["groups"]) == (2, 3, 2)
    assert two["cut"]["estimate"] == 1
    assert [place["estimate"] for place in two["correct_by_place"]] == [1, 0]


def test_sections_are_told_in_the_order_of_the_text() -> None:
    found = labelled_sections("Problem 2: b\nProblem 1: a")
    assert [number for number, _, _ in found] == [2, 1]
    assert "Problem 2: b\nProblem 1: a"[found[0][1] : found[0][2]].strip() == "b"


# --- tables, command, page --------------------------------------------------------------------------------


def test_outputs_by_outcome(tmp_path: Path) -> None:
    ((benchmark,),) = [outputs_of([(graded(tmp_path, some_rows()), None)])]
    (arm,) = benchmark["arms"]
    assert (benchmark["benchmark"], arm["name"], arm["unit"]) == ("b", "L64", "tokens")
    correct, wrong = arm["outcomes"]["correct"], arm["outcomes"]["wrong"]
    assert (correct["outputs"], wrong["outputs"], arm["questions"]) == (16, 8, 12)
    assert (wrong["cut_frac"]["estimate"], wrong["unknown_end"]) == (0, 0)
    assert arm["ends"] == {"finished": {"correct": 16, "wrong": 8}}
    lines = list(outputs_lines([benchmark]))
    assert "correct, of those that were finished 16 of 24" in "\n".join(lines)
    assert max(map(len, lines)) <= 100
    assert wrong["words"] == sum(
        len(WORD.findall(row.text.lower())) for at, row in enumerate(some_rows()) if at % 3 == 0
    )
    assert arm["words"]["wrong"][0]["word"] == "but"
    assert wrong["markers_a_thousand"]["backtracking"]["estimate"] > 0
    assert correct["markers_a_thousand"]["backtracking"]["estimate"] == 0
    assert arm["wrong_to_correct_length"]["low"] < arm["wrong_to_correct_length"]["high"]
    assert json.loads(json.dumps(benchmark, allow_nan=False)) == benchmark


@pytest.mark.parametrize("answer", ["5", "6", None])
def test_all_right_all_wrong_and_nothing_answered(tmp_path: Path, answer: str | None) -> None:
    rows = [prediction(at, f"q{at}", "" if answer is None else f"so \\boxed{{{answer}}}") for at in range(3)]
    found = outputs_of([(graded(tmp_path, rows), None)])
    arm = found[0]["arms"][0]
    empty = "wrong" if answer == "5" else "correct"
    assert arm["outcomes"][empty]["outputs"] == 0
    assert arm["outcomes"][empty]["mean_length"] is None
    assert arm["wrong_to_correct_length"] is None
    assert arm["contrast"]["tested"] == 0
    assert not re.search("nan|inf", "\n".join(outputs_lines(found)))
    assert output_sections(found, Album())[0]["arms"][0]["name"] == "L64"


def test_outputs_that_could_not_be_graded_are_counted_apart(tmp_path: Path) -> None:
    rows = [prediction(0, "q0", "", finish_reason="error"), prediction(1, "q1", "so \\boxed{5}")]
    arm = outputs_of([(graded(tmp_path, rows), None)])[0]["arms"][0]
    assert (arm["outputs"], arm["not_gradable"]) == (1, 1)
    assert "1 not gradable" in "\n".join(outputs_lines([{"benchmark": "b", "arms": [arm]}]))


def test_tags_are_no_words_and_lengths_without_counts_are_words(tmp_path: Path) -> None:
    rows = [
        prediction(
            at, f"q{at}", "<think>so</think>\\boxed{5}", thinking="so", answer_text="\\boxed{5}", num_tokens=None
        )
        for at in range(3)
    ]
    scores = graded(tmp_path, rows)
    arm = outputs_of([(scores, None)])[0]["arms"][0]
    assert [one["word"] for one in arm["words"]["correct"]] == ["boxed", "so"]
    assert arm["unit"] == "words"
    counted = outputs_of([(scores, None)], count=lambda texts: [7] * len(texts))[0]["arms"][0]
    assert counted["unit"] == "tokens"
    assert counted["outcomes"]["correct"]["mean_length"]["estimate"] == 7


def test_seeds_of_an_arm_are_taken_together_and_of_two_graders_one_counts(tmp_path: Path) -> None:
    for seed in (0, 1):
        rows = [replace(row, prediction_id=f"{row.prediction_id}-{seed}", train_seed=seed) for row in some_rows()]
        folder = tmp_path / "arms" / "L64" / f"seed-{seed}"
        graded(folder, rows)
        score(folder / "score" / "b" / "other", folder / "predict" / "b", grader_name="choice")
    tables = find_tables(tmp_path)
    assert [scores.parent.parent.parent.name for scores, _ in tables] == ["seed-0", "seed-1"]
    moved = tmp_path.rename(tmp_path.with_name("moved"))
    (arm,) = outputs_of(find_tables(moved / "arms" / "L64"))[0]["arms"]
    assert arm["outputs"] == 48


def test_what_is_no_table_of_scores_is_refused(tmp_path: Path) -> None:
    graded(tmp_path, some_rows())
    with pytest.raises(DataError, match="holds no scores but the result of predict"):
        find_tables(tmp_path / "predict" / "b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no scores"):
        find_tables(tmp_path / "empty")


def test_the_ledger_counts_what_was_cut_and_what_was_left_out(tmp_path: Path) -> None:
    def manifest(place: str, stage: str, **more: Any) -> None:
        folder = tmp_path / place
        folder.mkdir(parents=True)
        finish(folder, stage=stage, config={}, inputs={}, digest="d", files=[], started=0.0, **more)

    manifest("collect", "collect/4", rows_in=10, rows_out=6, rejected={"unclosed_thinking": 3, "wrong_answer": 1})
    manifest("arms/a/seed-0/train", "train/1", rows_in=8, rows_out=6, rejected={"over_max_tokens": 2})
    groups = [{"requested": 9, "made": 8, "max_tokens": 131}]
    manifest("arms/a/seed-0/synthesize", "synthesize/2", rows_out=8, info={"groups": groups})
    ends = {"finish_reasons": {"length": 2, "stop": 3}, "budget_flags": {"exhausted": 2, "natural": 3}}
    manifest("arms/a/seed-0/predict/b", "predict/2", rows_out=5, info=ends)
    manifest("arms/a/seed-0/score/b/math", "score/2")
    found = ledger_of(find_folders(tmp_path), tmp_path)
    assert [(one["stage"], one["rows"], one["cut"], one["left_out"]) for one in found] == [
        ("collect", 10, 0, 3), ("synthesize", 9, 0, 0), ("train", 8, 0, 2), ("predict", 5, 2, 0),
    ]  # fmt: skip
    assert found[1]["reasons"] == {"not_made": 1}
    assert found[3]["reasons"] == {"budget_exhausted": 2}
    text = "\n".join(ledger_lines(found))
    assert "over_max_tokens 2" in text
    assert "131 tokens" not in text  # tables of one stage are told together
    assert ledger_lines([]) == []


def test_the_command_prints_lines_or_json(tmp_path: Path) -> None:
    scores = graded(tmp_path, some_rows(), finish_reasons={"stop": 24})
    runner = CliRunner()
    text = runner.invoke(app, ["outputs", str(scores)], catch_exceptions=False).output
    assert "b / L64: 12 questions, 16 correct, 8 wrong" in text
    assert "words that tell them apart" in text
    whole = runner.invoke(app, ["outputs", str(tmp_path), "--json", "--top", "2"], catch_exceptions=False).output
    (found,) = json.loads(whole)
    assert len(found["benchmarks"][0]["arms"][0]["words"]["correct"]) == 2
    assert found["ledger"][0]["stage"] == "predict"


def test_charts_and_sections_hold_hostile_names(tmp_path: Path) -> None:
    rows = [replace(row, arm="<script>x</script>", benchmark="b&<b>") for row in some_rows()]
    found = outputs_of([(graded(tmp_path, rows), None)])
    for width in (620, 340):
        for drawn in (length_figure(found[0]), course_figure(found[0]["arms"][0])):
            assert drawn is not None
            assert drawn.still(width).startswith("<svg")
            assert "<script" not in drawn.still(width)
    section = output_sections(found, Album())[0]
    assert section["lengths"] is not None
    assert section["course_arm"] == "<script>x</script>"
    assert figure(None, 1) == "–"
    assert figure({"estimate": 1.0, "low": None, "high": None}, 1) == "1.0"


# --- the real outputs -------------------------------------------------------------------------------------


def test_the_labelled_outputs(tmp_path: Path) -> None:
    predictions = tmp_path / "predictions"
    fields = {"question": "problem", "label": "is_correct", "benchmark": "dataset"}
    import_predictions(
        predictions, real_data("predictions", "math500_aime24_runs.jsonl.gz"), fields, name="runs", arm="run"
    )
    score(tmp_path / "scores", predictions)
    tokenizer = load_tokenizer(str(real_data("tokenizer_qwen2")))
    found = {
        arm["name"].split(" / ")[-1]: arm
        for one in outputs_of([(tmp_path / "scores", None)], count=tokenizer.count)
        for arm in one["arms"] if one["benchmark"] == "Math500"
    }  # fmt: skip
    assert len(found) == 5
    for arm in found.values():
        assert arm["unit"] == "tokens"
        assert arm["wrong_to_correct_length"]["low"] > 1  # wrong outputs are longer, in every run
        assert arm["outcomes"]["correct"]["loops"] == 0
        assert arm["outcomes"]["correct"]["cut_frac"] is None  # the file does not say how an output ended
        assert [one["word"] for one in arm["words"]["correct"]][:2] == ["we", "frac"]
    waits = {name: arm["outcomes"]["correct"]["markers_a_thousand"]["backtracking"] for name, arm in found.items()}
    assert waits["exp6_jl_only_wait"]["low"] > waits["exp6_jl"]["high"]


def test_the_counting_rule_gives_the_published_words_on_texts_of_that_style() -> None:
    counts = WordCounts()
    path = real_data("traces", "limo_multi_source.jsonl.gz")
    for number, row in read_json_lines(path):
        assert not isinstance(row, BadRow)
        if row["model"].startswith("DeepSeek"):
            counts.add("trace", str(number), row["response"])
    top = top_words(counts, "trace", 10)
    assert len({one["word"] for one in top} & set(PUBLISHED)) >= 8
    assert top[0]["word"] == "so"
    share = sum(one["share"]["estimate"] for one in top_words(counts, "trace", 100) if one["word"] in PUBLISHED)
    assert 0.0795 <= share <= 0.095  # the published ten make up 7.95 and 8.66 % of the words of correct outputs


def test_the_findings_and_the_page_hold_the_outputs(tmp_path: Path) -> None:
    parts = "Problem 1: \\boxed{5} {{ 7*7 }} <img src=x>\nProblem 2: \\boxed{6}"
    rows = [*some_rows(), *(prediction(100 + at, f"m{at}", parts, ("5", "6")) for at in range(3))]
    folder = tmp_path / "published" / "them"
    writer = TableWriter(folder / "predictions", Prediction, stage="import-predictions/2", config={}, inputs={})
    writer.write_part(0, [replace(row, arm="<b>theirs</b>", num_tokens=None) for row in rows])
    writer.commit(1, {})
    score(folder / "score", folder / "predictions")
    tokenizer = load_tokenizer("package:micro")
    published = {"them": (folder / "predictions", folder / "score")}
    about = {"name": "study", "description": "", "notes": []}
    analyze(tmp_path / "analyze", [], [], study=about, published=published, root=tmp_path, tokenizer=tokenizer)
    findings = json.loads((tmp_path / "analyze" / FINDINGS).read_text())
    (benchmark,) = findings["outputs"]
    assert benchmark["arms"][0]["unit"] == "tokens"
    assert benchmark["arms"][0]["role"] == "published"
    assert [row["k"] for row in benchmark["arms"][0]["multi"]] == [1, 2]
    assert findings["ledger"] == [
        {"stage": "predict", "folder": "published/them/predictions", "rows": 27, "cut": 0, "left_out": 0, "reasons": {},
         "note": "imported outputs that were cut at their limit"}
    ]  # fmt: skip
    report(tmp_path / "report", tmp_path)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    for text in ("What the outputs on b look like", "Length by outcome", "Most frequent words on b", "in format",
                 "Over the course of a text", "Cut or left out, along the way", "published/them/predictions"):  # fmt: skip
        assert text in page
    assert "<b>theirs" not in page
    assert "<img src=x>" not in page
