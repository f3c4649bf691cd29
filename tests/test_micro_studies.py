"""What the studies need of the micro-world: solutions of several lengths, chains, the form of a thinking, budgets."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import MakePool, MakeTrace
from long1k.chat import Chat
from long1k.grading.base import Case, cases_of
from long1k.grading.steps import StepsGrader, incoherent
from long1k.joining.dependent import refer_symbol
from long1k.joining.spec import JoinSpec
from long1k.micro import (
    OPERATOR,
    Detail,
    MicroProblem,
    draw_problem,
    facts,
    operation_table,
    write_detailed,
    write_thinking,
)
from long1k.rows import Example
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.sources.raw import RawTrace
from long1k.stages.analyze.budgets import CUT, FORCED, FREE, Point, _at_equal_tokens, _sentence, on_curve
from long1k.stages.synthesize import synthesize
from long1k.tables import read_table

DETAILS: tuple[Detail, ...] = ("answer", "steps", "checked", "twice")


def _problem(seed: int, steps: int) -> MicroProblem:
    return draw_problem(random.Random(seed), 1, (steps, steps))


# --- solutions of several lengths ------------------------------------------------------------------------


@given(st.integers(0, 999), st.integers(1, 6))
def test_every_way_to_write_a_solution_is_longer_and_true(seed: int, steps: int) -> None:
    problem = _problem(seed, steps)
    texts = [write_detailed(problem, detail) for detail in DETAILS]
    said = [re.findall(r"(\w)⊕(\w)=(\w)\.", text) for text in texts]
    table = operation_table(1)
    assert all(table[left, right] == result for lines in said[1:] for left, right, result in lines)
    assert [len(lines) for lines in said[1:]] == [steps, 2 * steps, 3 * steps]
    assert texts[0] == f"{problem.question}={problem.solve()[-1]}."
    assert texts[1] == " ".join(facts(problem)) == write_thinking(problem, random.Random(0), check=0)
    assert [len(text) for text in texts] == sorted(len(text) for text in texts)


def test_a_source_solves_each_problem_in_every_way() -> None:
    source = MicroSource(MicroConfig(count=8, solutions=DETAILS, steps=(3, 3)))
    rows = [row for row in source.load() if isinstance(row, RawTrace)]
    assert [row.question for row in rows] == [rows[0].question] * 4 + [rows[4].question] * 4
    assert len({row.thinking for row in rows[:4]}) == 4
    assert len({row.answer for row in rows[:4]}) == 1
    plain = [
        row.question for row in MicroSource(MicroConfig(count=2, steps=(3, 3))).load() if isinstance(row, RawTrace)
    ]
    assert plain == [rows[0].question, rows[4].question]  # the problems of the source without ways


# --- chains ---------------------------------------------------------------------------------------------


def test_a_chain_names_the_answer_it_goes_on_from() -> None:
    assert refer_symbol("k⊕f⊕a", "k", 1) == (("reference", "Answer 1"), ("question", "⊕f⊕a"))
    assert refer_symbol("k⊕f⊕a", "f", 1) is None
    assert refer_symbol("k", "k", 1) is None


def test_chains_are_joined_from_a_pool(
    tmp_path: Path, make_trace: MakeTrace, make_pool: MakePool, micro_chat: Chat
) -> None:
    traces = []
    for seed in range(300):
        problem = _problem(seed, 2)
        answer = problem.solve()[-1]
        text = write_thinking(problem, random.Random(0), check=0)
        traces.append(make_trace(problem.question, text, f"\\boxed{{{answer}}}", answer))
    make_pool(tmp_path / "pool", traces)
    spec = JoinSpec(target=62, samples=20, mode="dependent", linkers="micro", tolerance=0.03)
    synthesize(tmp_path / "out", tmp_path / "pool", arm="x", specs=[spec], seed=1, chat=micro_chat)
    samples = read_table(tmp_path / "out", Example)
    assert len(samples) == 20
    for sample in samples:
        first, second = re.fullmatch(r"Problem 1: (.*)\n\nProblem 2: (.*)", sample.prompt[0].content).groups()  # type: ignore[union-attr]
        assert second.startswith(f"Answer 1{OPERATOR}")
        whole = second.replace("Answer 1", sample.answers[0])
        assert MicroProblem(1, tuple(first.split(OPERATOR))).solve()[-1] == sample.answers[0]
        assert MicroProblem(1, tuple(whole.split(OPERATOR))).solve()[-1] == sample.answers[1]
        assert [span.kind for span in sample.spans].count("reference") == 1


# --- the form of a thinking ---------------------------------------------------------------------------------


@given(st.integers(0, 999), st.integers(1, 8), st.floats(0, 1), st.floats(0, 1), st.randoms(use_true_random=False))
def test_what_the_solver_writes_is_coherent(
    seed: int, steps: int, check: float, opening: float, rng: random.Random
) -> None:
    problem = _problem(seed, steps)
    answer = problem.solve()[-1]
    assert incoherent(problem.question, write_thinking(problem, rng, check, opening), answer) is None
    assert incoherent(problem.question, write_detailed(problem, "checked"), answer) is None


@pytest.mark.parametrize(
    ("thinking", "answer", "fault"),
    [
        ("a⊕b=x. x⊕c=y.", "y", None),  # a false fact is no fault
        ("a⊕b=x. x⊕c=y. Wait, check: x⊕c=y.", "y", None),
        ("a⊕b=x. x⊕c=y.", "x", "the answer is not the last result"),
        ("a⊕b=x.", "x", "1 of 2 steps are missing"),
        ("", "x", "2 of 2 steps are missing"),
        ("a⊕b=x. a⊕c=y.", "y", "line 2 does not go on from the one before"),
        ("x⊕c=y. a⊕b=x.", "y", "line 1 does not go on"),
        ("a⊕b=x. Wait, check: x⊕c=y. x⊕c=y.", "y", "line 2 checks another line"),
        ("a⊕b=x. x⊕c=y. y⊕c=y.", "y", "line 3 comes after the last symbol"),
        ("a⊕b=x. so x⊕c=y.", "y", "line 2 is no step"),
        ("Let me see. a⊕b=x. x⊕c=y.", "y", None),
    ],
)
def test_a_thinking_that_does_not_hang_together(thinking: str, answer: str, fault: str | None) -> None:
    found = incoherent("a⊕b⊕c", thinking, answer)
    assert (found is None) == (fault is None)
    assert fault is None or fault in str(found)


def _case(text: str, answers: list[str], finish: str = "stop") -> Case:
    _, _, answer_text = text.partition("</think>")
    return cases_of(
        {"prediction_id": "p", "question": "a⊕b⊕c", "answers": answers, "text": text,
         "answer_text": answer_text.replace("<|end|>", "").strip() if "</think>" in text else None, "finish_reason": finish}
    )[0]  # fmt: skip


def test_the_form_is_graded_with_its_reason() -> None:
    whole = "<think>\na⊕b=x. x⊕c=y.\n</think>\n\n\\boxed{y}<|end|>"
    cases = [
        _case(whole, ["q"]), _case(whole.replace("x⊕c", "a⊕c"), ["q"]), _case("<think>\na⊕b=x.", ["q"], "length"),
        _case("<think>\na⊕b=x.", ["q"]), _case(whole, ["q", "r"]),
    ]  # fmt: skip
    grades = StepsGrader(num_workers=2).grade(cases)
    assert [grade.status for grade in grades] == ["correct", "wrong", "truncated", "no_answer", "no_answer"]
    assert "line 2" in grades[1].note


# --- accuracy against tokens --------------------------------------------------------------------------------


@given(st.lists(st.floats(1, 1e4), min_size=1, max_size=8), st.floats(1, 1e4))
def test_a_place_on_a_curve_has_the_tokens_that_are_wanted(tokens: list[float], wanted: float) -> None:
    tokens.sort()
    found = on_curve(tokens, wanted)
    if found is None:
        assert wanted < tokens[0] or wanted > tokens[-1]
        return
    left, right, weight = found
    assert 0 <= left <= right < len(tokens)
    assert 0 <= weight <= 1
    assert (1 - weight) * tokens[left] + weight * tokens[right] == pytest.approx(wanted, rel=0.021)


def _point(how: str, name: str, tokens: float, rate: float, seeds: tuple[int, ...] = (0, 1)) -> Point:
    rng = np.random.default_rng(int(1000 * tokens))
    y = (rng.random((len(seeds), 200)) < rate).astype(float)
    return Point(how, name, tokens, y, seeds, tuple(str(number) for number in range(200)))


def test_arms_are_compared_at_equal_tokens() -> None:
    found = {
        "long": [_point(FREE, "free", 40.0, 0.9)],
        "short": [
            _point(FREE, "free", 20.0, 0.3),
            _point(FORCED, "wait-2", 60.0, 0.5),
            _point(FORCED, "think", 10.0, 0.1),
        ],
    }
    one = _at_equal_tokens("long", "short", found, 0.95)
    assert one is not None
    assert (one["between"], one["tokens"]) == (["free", "wait-2"], 40.0)
    y = [point.y_SQ.mean() for point in found["short"]]
    assert one["difference"]["estimate"] == pytest.approx(found["long"][0].y_SQ.mean() - (y[0] + y[1]) / 2)
    assert "long is higher" in _sentence("free", one, 0.95)
    other = _at_equal_tokens("short", "long", found, 0.95)
    assert other["difference"] is None
    assert "nothing can be said: the budgets of long lead from 40.0 to 40.0 tokens" in _sentence("free", other, 0.95)
    found["long"][0] = _point(FREE, "free", 40.0, 0.9, seeds=(0, 2, 5))
    seeds = _at_equal_tokens("long", "short", found, 0.95)["difference"]  # each arm's seeds are its own
    assert seeds["estimate"] == pytest.approx(found["long"][0].y_SQ.mean() - (y[0] + y[1]) / 2)
    assert seeds["over"] == "training seeds and questions"


def test_what_cannot_be_compared_at_equal_tokens_is_said() -> None:
    free, near = _point(FREE, "free", 40.0, 0.9), _point(FREE, "free", 20.0, 0.3)
    far = _point(FORCED, "wait-2", 60.0, 0.5)

    def said(long: Sequence[Point], short: Sequence[Point]) -> str:
        return _sentence("free", _at_equal_tokens("long", "short", {"long": long, "short": short}, 0.95), 0.95)

    assert "there are no free outputs of long" in said([replace(free, how=FORCED)], [near, far])
    assert "neither free nor forced outputs of short" in said([free], [replace(near, how=CUT)])
    assert "no training seed in common" in said([free], [near, replace(far, seeds=(7, 8))])
    elsewhere = tuple(f"other {question}" for question in far.questions)
    assert "no question in common" in said([free], [near, replace(far, questions=elsewhere)])
    some = replace(far, y_SQ=far.y_SQ[:, 50:], questions=far.questions[50:])
    assert "on the 150 questions that all have" in said([free], [near, some])
    right = replace(free, y_SQ=np.ones((2, 200)))
    wrong = [replace(point, y_SQ=np.zeros((2, 200))) for point in (near, far)]
    assert "nothing can be said (+100.0 points" in said([right], wrong)
