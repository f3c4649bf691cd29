"""The stage score: piece by piece, resumed, with any number of workers; statuses; rates; two graders compared."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from long1k.errors import DataError, RecipeError
from long1k.grading.math import MathGrader
from long1k.rows import Prediction, Score
from long1k.stages import score as stage
from long1k.stages.agree import agree
from long1k.stages.rates import groups_of, rates
from long1k.stages.score import cases_of, score
from long1k.statistics.agreement import kappa
from long1k.statistics.passing import majority, pass_at_k
from long1k.summary import agree_summary, rates_lines
from long1k.tables import TableWriter, read_manifest, read_table


def prediction(number: int, gold: str | tuple[str, ...], text: str | None, **changes: Any) -> Prediction:
    answers = (gold,) if isinstance(gold, str) else gold
    row = Prediction(
        prediction_id=f"y{number:05d}", problem_id=f"q{number}", benchmark="b", question="q?", answers=answers,
        part_ids=tuple(f"q{number}.{i}" for i in range(len(answers))), arm="a", train_seed=0, checkpoint="c",
        sample_index=0, seed=1, prompt_token_ids=(1,), text=text or "<think>", token_ids=(1, 2), forced=(),
        thinking=None, answer_text=text, finish_reason="stop", budget_flag="natural", num_tokens=2,
        num_thinking_tokens=0, num_answer_tokens=2, engine="e", label=None,
    )  # fmt: skip
    return replace(row, **changes)


def table(folder: Path, rows: Sequence[Prediction], parts: int = 1, **info: Any) -> Path:
    writer = TableWriter(folder, Prediction, stage="predict/9", config={}, inputs={})
    size = -(-len(rows) // parts)
    for index in range(parts):
        writer.write_part(index, rows[index * size : (index + 1) * size])
    writer.commit(parts, {"items": len(rows), **info})
    return folder


def many(count: int) -> list[Prediction]:
    return [prediction(n, "5", f"\\boxed{{{n % 7}}}" if n % 11 else "no idea") for n in range(count)]


def test_statuses_reasons_and_spans(tmp_path: Path) -> None:
    rows = [
        prediction(0, "5", "So \\boxed{6}, no: \\boxed{5}."),
        prediction(1, "5", None),
        prediction(2, "5", None, finish_reason="length"),
        prediction(3, "5", "I think", finish_reason="length"),
        prediction(4, "5", "I do not know"),
        prediction(5, "5", "", finish_reason="error"),
        prediction(6, ("5", "7"), "Problem 1: \\boxed{5}\nProblem 2: \\boxed{8}"),
        prediction(7, "5", ""),
        prediction(8, "5", "\\boxed{5} and", finish_reason="length"),
    ]
    manifest = score(tmp_path / "s", table(tmp_path / "p", rows))
    found = read_table(tmp_path / "s", Score)
    assert [(one.prediction_id, one.part, one.status, one.note) for one in found] == [
        ("y00000", 0, "correct", "equal text"),
        ("y00001", 0, "no_answer", "the thinking was never closed"),
        ("y00002", 0, "truncated", "cut before the end of its thinking"),
        ("y00003", 0, "truncated", "cut before its answer"),
        ("y00004", 0, "no_answer", "no box and no stated answer"),
        ("y00005", 0, "error", "the engine gave up: there is no output"),
        ("y00006", 0, "correct", "equal text"),
        ("y00006", 1, "wrong", "different numbers"),
        ("y00007", 0, "no_answer", "no text"),
        ("y00008", 0, "correct", "equal text"),
    ]
    assert found[0].extracted == "5"
    assert found[0].span is not None
    assert rows[0].text[found[0].span[0] : found[0].span[1]] == "5"
    assert manifest.info["ends"] == {
        "finished": {"correct": 2, "of": 6}, "cut": {"correct": 1, "of": 3}, "unknown": {"correct": 0, "of": 1},
    }  # fmt: skip


def test_scores_do_not_depend_on_files_workers_or_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "CHUNK_PREDICTIONS", 16)
    rows = [*many(50), prediction(98, "p-q", "\\boxed{-q+p}"), prediction(99, "(3,4]", "\\boxed{3 < x \\le 4}")]
    whole = score(tmp_path / "s1", table(tmp_path / "p1", rows))
    assert len(list((tmp_path / "s1").glob("part-*"))) == 4
    assert score(tmp_path / "s2", tmp_path / "p1", num_workers=2).digest == whole.digest
    assert score(tmp_path / "s3", table(tmp_path / "p3", rows, parts=3)).digest == whole.digest
    assert whole.info["statuses"] == {"correct": 8, "wrong": 39, "no_answer": 5}


def test_a_killed_run_keeps_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stage, "CHUNK_PREDICTIONS", 16)
    predictions = table(tmp_path / "p", many(50))
    whole = score(tmp_path / "whole", predictions)
    graded: list[int] = []
    real = MathGrader.grade

    def dying(self: MathGrader, cases: Any) -> Any:
        if len(graded) == 2:
            raise KeyboardInterrupt
        graded.append(len(cases))
        return real(self, cases)

    monkeypatch.setattr(MathGrader, "grade", dying)
    with pytest.raises(KeyboardInterrupt):
        score(tmp_path / "s", predictions)
    assert not (tmp_path / "s" / "manifest.json").exists()
    graded[:] = [0, 0, 0]  # never 2 again
    assert score(tmp_path / "s", predictions).digest == whole.digest
    assert graded[3:] == [16, 2]  # only what was missing


def test_auto_is_the_benchmarks_own_grader(tmp_path: Path) -> None:
    choice = table(tmp_path / "p", [prediction(0, "B", "The answer is (B) because")], grader="choice")
    assert score(tmp_path / "s", choice).info["grader"] == "choice"
    assert read_table(tmp_path / "s", Score)[0].grader == "choice"
    assert score(tmp_path / "m", choice, grader_name="math").info["grader"] == "math"
    with pytest.raises(RecipeError, match="did you mean 'math'"):
        score(tmp_path / "x", choice, grader_name="maths")
    with pytest.raises(RecipeError, match="asks a model"):
        score(tmp_path / "x", choice, grader_name="judge")


def test_an_output_without_text_has_no_answer_to_extract() -> None:
    (case,) = cases_of({"prediction_id": "y", "question": "q", "answers": ["5"], "text": "<think>\\boxed{5}",
                        "answer_text": None, "finish_reason": "stop"})  # fmt: skip
    assert (case.answer, case.thinking_closed) == (None, False)


# --- rates ------------------------------------------------------------------------------------------------


@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_the_share_of_draws_with_a_right_one(n: int, data: st.DataObject) -> None:
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    draws = list(combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at_k(n, correct, k) == pytest.approx(sum(any(draw) for draw in draws) / len(draws))


def test_pass_at_k_knows_nothing_beyond_n() -> None:
    assert pass_at_k(4, 4, 5) is None
    assert pass_at_k(64, 32, 1) == 0.5
    assert pass_at_k(10_000, 1, 5000) == pytest.approx(0.5)
    with pytest.raises(ValueError, match="pass@0"):
        pass_at_k(4, 1, 0)
    with pytest.raises(ValueError, match="5 correct"):
        pass_at_k(4, 5, 1)


def test_majority_splits_ties() -> None:
    assert majority([(3, True), (2, False)]) == 1.0
    assert majority([(2, True), (2, False)]) == 0.5
    assert majority([(1, True), (1, False), (1, False)]) == pytest.approx(1 / 3)
    assert majority([(0, True), (1, False)]) == 0.0
    assert majority([(0, True)]) == majority([]) == 0.0


def test_equal_wrong_answers_vote_together() -> None:
    assert groups_of(2, {"\\frac{1}{2}": 2, "0.5": 1, "7": 1}) == [(2, True), (3, False), (1, False)]
    many_different = {f"{number}.5 and {number}": 1 for number in range(200)}
    assert len(groups_of(0, many_different)) == 201


VALUES = ("7", "7.0", "1/2", "0.5", "x+1", "1+x", "text", "x" * 400, "y" * 400)


@given(
    st.dictionaries(st.sampled_from(VALUES), st.integers(1, 9)), st.randoms(use_true_random=False), st.integers(0, 9)
)
def test_no_vote_is_lost_and_their_order_means_nothing(votes: dict[str, int], rng: random.Random, right: int) -> None:
    groups = groups_of(right, votes)
    assert groups[0] == (right, True)
    assert sum(count for count, _ in groups[1:]) == sum(votes.values())
    names = list(votes)
    rng.shuffle(names)
    assert groups_of(right, {name: votes[name] for name in names}) == groups
    equal = [{"7", "7.0"}, {"1/2", "0.5"}, {"x+1", "1+x"}, *({name} for name in VALUES[6:])]
    assert len(groups) - 1 == sum(1 for each in equal if each & votes.keys())


def test_votes_are_compared_with_so_many_groups_only(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr("long1k.stages.rates._equal", lambda one, other: asked.append((one, other)) or False)
    groups_of(0, {f"answer {number}": 1 for number in range(300)} | {"z" * 1000: 5})
    assert len(asked) <= 32 * 300
    assert not any("z" in one + other for one, other in asked)


@pytest.mark.parametrize("name", ["os:path", "json:JSONDecoder"])
def test_what_is_no_grader_is_refused(name: str, tmp_path: Path) -> None:
    table(tmp_path / "p", [prediction(0, "5", "\\boxed{5}")])
    with pytest.raises(RecipeError, match="is no grader"):
        score(tmp_path / "s", tmp_path / "p", grader_name=name)


def test_rates_of_what_is_no_table_of_scores(tmp_path: Path) -> None:
    table(tmp_path / "p", [prediction(0, "5", "\\boxed{5}")])
    with pytest.raises(DataError, match="holds no verdicts"):
        rates(tmp_path / "p")


def test_rates_of_a_table(tmp_path: Path) -> None:
    answers = {"q1": ["5", "5", "5", "6"], "q2": ["1", "1/2", "0.5", "5"], "q3": ["5", "6", "", "7"]}
    rows = [
        prediction(
            10 * q + n,
            "5",
            f"\\boxed{{{value}}}" if value else "none",
            problem_id=name,
            part_ids=(name,),
            sample_index=n,
        )
        for q, (name, values) in enumerate(answers.items())
        for n, value in enumerate(values)
    ]
    predictions = table(tmp_path / "p", rows)
    score(tmp_path / "s", predictions)
    (found,) = rates(tmp_path / "s", [1, 4, 5])
    assert (found["questions"], found["samples"], found["outputs"]) == (3, {"min": 4, "max": 4}, 12)
    assert found["avg_at_n"]["estimate"] == pytest.approx((0.75 + 0.25 + 0.25) / 3)
    assert found["pass_at_k"]["1"]["estimate"] == found["avg_at_n"]["estimate"]
    assert found["pass_at_k"]["4"]["estimate"] == 1.0
    assert found["pass_at_k"]["5"] is None
    assert found["maj_at_n"]["estimate"] == pytest.approx((1 + 0 + 1 / 3) / 3)
    assert found["statuses"] == {"correct": 5, "wrong": 6, "no_answer": 1}
    text = "\n".join(rates_lines([found]))
    assert "n = 4 samples each" in text
    assert "fewer than 5 samples" in text
    (tmp_path / "p").rename(tmp_path / "moved")
    with pytest.raises(DataError, match="--predictions"):
        rates(tmp_path / "s")
    assert rates(tmp_path / "s", predictions=tmp_path / "moved")[0]["outputs"] == 12


def test_questions_that_share_a_prompt_are_one_observation(tmp_path: Path) -> None:
    def joined(number: int, prompt: str, parts: tuple[str, str], text: str) -> Prediction:
        return prediction(number, ("5", "5"), text, problem_id=prompt, part_ids=parts)

    rows = [
        joined(0, "p1", ("a", "b"), "Problem 1: \\boxed{5}\nProblem 2: \\boxed{5}"),
        joined(1, "p2", ("b", "a"), "Problem 1: \\boxed{5}\nProblem 2: \\boxed{6}"),
        joined(2, "p3", ("c", "d"), "Problem 1: \\boxed{6}\nProblem 2: \\boxed{6}"),
        joined(3, "p4", ("d", "c"), "Problem 1: \\boxed{6}\nProblem 2: \\boxed{6}"),
    ]
    score(tmp_path / "s", table(tmp_path / "p", rows))
    (found,) = rates(tmp_path / "s", [1, 2])
    assert (found["questions"], found["clusters"], found["samples"]) == (4, 2, {"min": 2, "max": 2})
    assert found["avg_at_n"]["estimate"] == pytest.approx((0.75 + 0) / 2)
    assert found["avg_at_n"]["num_questions"] == 2
    assert found["pass_at_k"]["2"]["estimate"] == pytest.approx(0.5)


# --- two graders ------------------------------------------------------------------------------------------


def test_kappa() -> None:
    assert kappa({(True, True): 20, (True, False): 5, (False, True): 10, (False, False): 15}) == pytest.approx(0.4)
    assert kappa({(True, True): 3}) is None
    assert kappa({}) is None


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_disagreements_of_two_graders(tmp_path: Path, suffix: str) -> None:
    rows = [
        prediction(0, "B", "\\boxed{\\text{(B)}}"), prediction(1, "2B", "\\boxed{2B}"),
        prediction(2, "B", "\\boxed{=B\\cdot 1}"), prediction(3, "B", "\\boxed{C}"),
    ]  # fmt: skip
    predictions = table(tmp_path / "p", rows)
    score(tmp_path / "m", predictions, grader_name="math")
    score(tmp_path / "c", predictions, grader_name="choice")
    sheet = tmp_path / f"sheet.{suffix}"
    found = agree(tmp_path / "m", tmp_path / "c", sheet)
    assert found["compared"] + found["not_compared"] == 4
    text = sheet.read_text()
    lines: list[dict[str, Any]] = (
        list(csv.DictReader(text.splitlines())) if suffix == "csv" else [json.loads(line) for line in text.splitlines()]
    )
    assert len(lines) == found["rows"]
    assert {line["prediction_id"] for line in lines} >= {"y00001"}
    if suffix == "csv":
        assert not any(value.startswith(("=", "+", "@")) for line in lines for value in line.values())
    assert "Cohen's kappa" in agree_summary(found) or "nothing" in agree_summary(found)
    other = table(tmp_path / "p2", rows[:2])
    score(tmp_path / "o", other)
    with pytest.raises(DataError, match="different predictions"):
        agree(tmp_path / "m", tmp_path / "o")
    assert read_manifest(tmp_path / "m").info["grader"] == "math"
