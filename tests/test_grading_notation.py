"""Notations that real answers have: powers of ten, units of quotients, small numbers, sets, letters with their text."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from long1k.grading.choice import ChoiceGrader
from long1k.grading.extract import extract_answer, extract_parts
from long1k.grading.intervals import compare_as_sets
from long1k.grading.math import MathGrader, decide
from long1k.grading.notation import in_radians
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


@pytest.mark.parametrize(
    ("gold", "answer", "status"),
    [
        (r"(-\infty,-1)\cup(1,\infty)", r"x<-1 \text{ or } x>1", "correct"),
        (r"x<-1 \text{ or } x>1", r"(1,\infty) \cup (-\infty,-1)", "correct"),
        (r"(-\infty,-1)\cup(1,\infty)", r"x \le -1 \text{ or } x>1", "wrong"),
        (r"(-\infty,-1)\cup(1,\infty)", r"x>1", "wrong"),
        (r"(-\infty,1)\cup(1,\infty)", r"x \ne 1", "correct"),
        (r"(0,1)", r"\left]0,1\right[", "correct"),
        (r"[0,1]", r"\left]0,1\right[", "wrong"),
        (r"(1,\infty)", r"\{x \mid x>1\}", "correct"),
        (r"(1,\infty)", r"\{x \in \mathbb{R} : x \ge 1\}", "wrong"),
        (r"(-\infty,\infty)", r"\mathbb{R}", "correct"),
        (r"[\sqrt{2},\infty)", r"\sqrt 2 \le x", "correct"),
        (r"[1,5]", r"5 \ge x \ge 1", "correct"),
        (r"[1,2]\cup\{3\}", r"\{3\}\cup[1,2]", "correct"),
        (r"[1,2]\cup\{3\}", r"[1,2]\cup\{4\}", "wrong"),
        ("x<3", "y<3", "wrong"),
        ("x>5", "5", "wrong"),
    ],
)
def test_sets_of_real_numbers(grader: MathGrader, gold: str, answer: str, status: str) -> None:
    assert grader.grade_many([(gold, answer)])[0].status == status


def test_what_is_no_set_or_overlaps_is_left_to_others() -> None:
    for gold, answer in (
        ("(1,2)", "(1,2)"), (r"(1,2]\cup(2,3)", "(1,3)"), ("x<3", "y<3"), (r"x^2<4", "(-2,2)"), ("a<x<b", "(a,b)"),
        ("(2,1)", "x>1"), ("1<x>2", "x>1"), ("<", ">"), ("x<1 or", "x<1"), ("(1,2)\\cup", "(1,2)"),
    ):  # fmt: skip
        assert compare_as_sets(gold, answer) is None


@pytest.mark.parametrize(
    ("gold", "answer", "status"),
    [
        (r"\frac16", r"0.1\overline{6}", "correct"),
        (r"\frac13", r".\overline{3}", "correct"),
        (r"-0.\overline{142857}", r"-\frac17", "correct"),
        (r"\frac13", r"0.\overline{2}", "wrong"),
        (r"36\text{ in}^2", r"0.25\text{ ft}^2", "correct"),
        (r"36\text{ in}^2", r"3\text{ ft}^2", "wrong"),
        (r"1 \text{ m}^3", r"1000000 \text{ cm}^3", "correct"),
        (r"9 \text{ square feet}", r"1 \text{ square yard}", "correct"),
        (r"5\text{ cm}^2", r"5\text{ cm}^3", "wrong"),
        (r"5\text{ cm}^2", r"5\text{ cm}", "correct"),  # no unit, or half of one, is no difference
        (r"5\text{ m/s}", r"5 \frac{\text{m}}{\text{s}}", "correct"),
        (r"5\text{ m/s}", r"5\ \mathrm{m\,s^{-1}}", "correct"),
        (r"9.8\text{ m/s}^2", r"980\ \mathrm{cm/s^2}", "correct"),
        (r"9.8\text{ m/s}^2", r"9.8\ \mathrm{cm/s^2}", "wrong"),
        ("20", "20 km/h", "correct"),
        ("20", "21 km/h", "wrong"),
        (r"\sin 30^\circ", r"\frac12", "correct"),
        (r"\frac{\sqrt3}{3}", r"\tan(30^{\circ})", "correct"),
        (r"-\sqrt{3}", r"\frac{1}{\sin 10^\circ}", "wrong"),
        ("1", r"\sin 45^\circ", "wrong"),
        (r"\langle 1,2\rangle", "(1, 2)", "correct"),
        ("B", "(B) 42", "correct"),
        ("B", "(C) 42", "wrong"),
        ("(B)", "(B), (C)", "wrong"),
        ("(B)", r"(B) \text{ and } (C)", "wrong"),
    ],
)
def test_repeating_decimals_powers_of_units_degrees_and_choices(
    grader: MathGrader, gold: str, answer: str, status: str
) -> None:
    assert grader.grade_many([(gold, answer)])[0].status == status


def test_a_statement_says_all_of_its_answer() -> None:
    for text, value in (
        ("The answer is 5 or 6.", "5 or 6"), ("The answer is 12 million people.", "12 million"),
        ("The answers are 3 and 4.", "3 and 4"), ("Final answer: 12 apples", "12"),
        ("The answer is 25 percent of them.", "25 percent"), ("The answer is 2 times 3.", "2 times 3"),
    ):  # fmt: skip
        found = extract_answer(text)
        assert found is not None, text
        assert found.value == value
    for text in (r"The answer is \boxed{12", r"The answer is $\boxed{}$", r"The final answer is: $\boxed{5"):
        assert extract_answer(text) is None
    assert extract_parts("Problem 1: \\boxed{12\nProblem 2: 7", 2)[0] is None


def test_notations_take_linear_time() -> None:
    texts = [
        "x<1 or " * 1_400, "(" * 5_000 + "," * 4_000, r"\{x|" * 2_400, r"\sin 1^\circ " * 750, r"\sin " * 1_900,
        "0." + "1" * 5_000 + r"\overline{" + "2" * 4_000 + "}", r"\frac{\text{" * 800, r"5\text{a a a " * 800,
        r"1\text{" + "m " * 4_900, r"x \in " * 1_600,
    ]  # fmt: skip
    start = time.process_time()
    for text in texts:
        decide(text, "(1,2)")
        decide("x<5", text)
        in_radians(text, "1")
    assert time.process_time() - start < 5.0
