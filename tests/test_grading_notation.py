"""Notations that real answers have: powers of ten, units of quotients, small numbers, sets, letters with their text."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from long1k.grading.choice import ChoiceGrader
from long1k.grading.extract import extract_answer, extract_parts
from long1k.grading.math import MathGrader
from long1k.grading.pool import GraderPool


@pytest.fixture(scope="module")
def grader() -> Iterator[MathGrader]:
    with MathGrader(num_workers=1, timeout_seconds=30.0) as made:
        yield made


@pytest.mark.parametrize(
    ("gold", "answer", "status"),
    [
        ("4.5e33", r"4.5 \times 10^{33}", "correct"),
        (r"4.5 \times 10^{33}", "4.5e33", "correct"),
        (r"4.5 \times 10^{33}", r"4.50e33 \text{ erg/s}", "correct"),
        (r"4.5 \times 10^{33}", r"4.5\times 10^{32}", "wrong"),
        ("2e-3", "0.002", "correct"),
        ("0.002", "2e-3", "correct"),
        (r"2 \times 10^{-3}", "2e-3", "correct"),
        ("2e-3", "0.003", "wrong"),
        ("3e8", "300,000,000", "correct"),
        ("1e-6", "10^{-6}", "correct"),
        ("1e40", "10^{41}", "wrong"),
        ("-3e4", "-30000", "correct"),
        ("2e-3", "-3+2e", "correct"),  # the number e
        ("2e-3", "2e - 3", "correct"),
        # Algebra rounds at the sixth decimal, so that all small numbers would be one.
        (r"6.63 \times 10^{-34}", r"5 \times 10^{-20}", "wrong"),
        (r"6.63 \times 10^{-34}", r"6.6 \times 10^{-34}", "wrong"),
        (r"6.63 \times 10^{-34}", r"66.3 \times 10^{-35}", "correct"),
        ("0.00000001", "0.00000002", "wrong"),
        ("0.00001234", "1.234e-5", "correct"),
    ],
)
def test_powers_of_ten_and_small_numbers(grader: MathGrader, gold: str, answer: str, status: str) -> None:
    assert grader.grade_many([(gold, answer)])[0].status == status


@pytest.mark.parametrize(
    ("gold", "answer", "status"),
    [
        ("5", r"5 \text{ m/s}", "correct"),
        (r"5 \text{ m/s}", "5", "correct"),
        ("5", r"5 \mathrm{~W/m^{2}}", "correct"),
        ("5", r"5 \text{ m/s}^2", "correct"),
        ("5", r"5 \text{ J}", "correct"),
        ("5", r"6 \text{ J}", "wrong"),
        (r"5 \text{ m/s}", r"5 \text{ km/s}", "wrong"),
        (r"36 \text{ km/h}", r"10 \text{ m/s}", "correct"),
        ("5", r"5 \text{ or } 6", "wrong"),
        ("5", r"\approx 5", "correct"),
        ("5.1", r"x \approx 5.1", "correct"),
        ("5", r"\approx 6", "wrong"),
        ("no", r"\text{No}", "correct"),
        ("Yes", "no", "wrong"),
        ("(1,2)", r"\{1,2\}", "wrong"),
        (r"\{1,2\}", "(2,1)", "wrong"),
        (r"\{1,2\}", "2,1", "correct"),
        ("(1,2)", "[1,2]", "wrong"),
        ("(1,2)", "(2,1)", "wrong"),
    ],
)
def test_units_words_and_sets(grader: MathGrader, gold: str, answer: str, status: str) -> None:
    assert grader.grade_many([(gold, answer)])[0].status == status


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (r"\text{Option B}", "correct"),
        (r"\text{The answer is B}", "correct"),
        (r"B \text{ (the second)}", "correct"),
        ("B (the second)", "correct"),
        (r"\text{Option C}", "wrong"),
        ("(B), (C)", "wrong"),  # two letters choose nothing, also where the first is right
        ("B) and C)", "wrong"),
        ("**B** or **C**", "wrong"),
        (r"B \text{ and } C", "wrong"),
        ("(B) and 5 apples", "correct"),
    ],
)
def test_letters_with_their_text(answer: str, status: str) -> None:
    assert ChoiceGrader().grade_many([("B", answer)])[0].status == status


@pytest.mark.parametrize(
    "text", ["(" * 9_999, "{" * 9_990 + "B", "B" + ")" * 9_990, "B (" * 3_000, "(B)" + " , " * 3_000]
)
def test_letters_take_linear_time(text: str) -> None:
    start = time.process_time()
    ChoiceGrader().grade_many([("B", text)] * 5)
    assert time.process_time() - start < 2.0


def test_statements_of_options_and_of_grade_school_answers() -> None:
    for text, value in (
        ("The correct option is B.", "B"), ("**Correct choice:** (C)", "(C)"), ("#### 50%", "50%"),
        ("#### 18 dollars", "18"), ("#### 1,234", "1,234"),
    ):  # fmt: skip
        found = extract_answer(text)
        assert found is not None, text
        assert found.value == value
        assert text[found.start : found.end] == value
    assert extract_answer("The correct option is to wait.") is None


def test_the_last_answer_wins_over_labels_of_a_single_problem() -> None:
    (found,) = extract_parts("Problem 1: try 3\nProblem 2: no.\n\\boxed{7}", 1)
    assert found is not None
    assert found.value == "7"
    (short,) = extract_parts("Problem 1: 42", 1)
    assert short is not None
    assert short.value == "42"


def test_an_answer_that_hangs_costs_its_limit_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    run = GraderPool.run

    def counted(pool: GraderPool, pairs: list[tuple[str, str]]) -> object:
        asked.append(len(pairs))
        return run(pool, pairs)

    monkeypatch.setattr(GraderPool, "run", counted)
    with MathGrader(timeout_seconds=0.5, memory_mib=1024) as made:
        first = made.grade_many([("4", "2003^{2002^{2001}}")])
        assert first[0].status in ("timeout", "error")
        assert made.grade_many([("4", "2003^{2002^{2001}}")] * 3) == first * 3
    assert asked == [1, 0]
