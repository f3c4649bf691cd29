"""What is graded and what comes of it: a case in, a grade out, the same for rules and for judges."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from long1k.errors import RecipeError
from long1k.grading.extract import Extracted, extract_parts
from long1k.grading.pool import Verdict
from long1k.plugins import load_plugin


@dataclass(frozen=True, slots=True)
class Case:
    """One problem of one output, with all that any grader may look at.

    ``answer`` is the extracted answer with its place in ``text``; ``text`` is what follows the thinking, and None
    where the thinking was never closed; ``output`` is everything that was drawn, thinking and tags too.
    ``part`` counts the problems of a joined prompt from 0.
    """

    prediction_id: str
    part: int
    num_parts: int
    question: str
    gold: str
    answer: Extracted | None
    text: str | None
    output: str
    thinking_closed: bool
    finish_reason: str


@dataclass(frozen=True, slots=True)
class Grade:
    """One verdict: a status of ``rows.STATUSES``, why, and the graded text with its place in the case's ``text``."""

    status: str
    note: str
    extracted: Extracted | None


def cases_of(row: Mapping[str, Any]) -> list[Case]:
    """What is to be graded of one prediction (some of its columns): a case for each of its problems."""
    text: str | None = row["answer_text"]
    answers: list[str] = row["answers"]
    found: list[Extracted | None] = [None] * len(answers) if text is None else extract_parts(text, len(answers))
    return [
        Case(
            prediction_id=row["prediction_id"], part=part, num_parts=len(answers), question=row["question"], gold=gold,
            answer=answer, text=text, output=row["text"], thinking_closed=text is not None,
            finish_reason=row["finish_reason"],
        )
        for part, (gold, answer) in enumerate(zip(answers, found, strict=True))
    ]  # fmt: skip


class Grader(Protocol):
    """Grades cases; made by ``factory(num_workers=…)``, judges by ``factory(config, ask, …)``."""

    name: str
    version: str

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        """One grade a case, in order; the same whatever stands beside a case and however many workers there are."""
        ...

    def close(self) -> None:
        """End what it has started."""
        ...


def without_answer(case: Case, *, needs_answer: bool = True) -> Grade | None:
    """The grade of a case in which there is nothing to compare; None where there is.

    An output that the engine gave up on is an error, one that was cut before it answered is truncated, one that
    ended without an answer has none.

    Args:
        needs_answer: whether text without an extracted answer counts as none (a judge can read any text).
    """
    if case.finish_reason == "error":
        return Grade("error", "the engine gave up: there is no output", case.answer)
    if case.answer is not None:
        return None
    if case.finish_reason == "length":
        where = "its answer" if case.thinking_closed else "the end of its thinking"
        return Grade("truncated", f"cut before {where}", None)
    if not case.thinking_closed:
        return Grade("no_answer", "the thinking was never closed", None)
    if needs_answer or not (case.text or "").strip():
        return Grade("no_answer", "no box and no stated answer" if (case.text or "").strip() else "no text", None)
    return None


def grade_by_rule(compare: Callable[[Sequence[tuple[str, str]]], list[Verdict]], cases: Sequence[Case]) -> list[Grade]:
    """Grades of cases by a comparison of (gold, answer) pairs; equal pairs are compared once."""
    grades = [without_answer(case) for case in cases]
    asked = [
        (index, case, case.answer)
        for index, (case, grade) in enumerate(zip(cases, grades, strict=True))
        if grade is None and case.answer is not None
    ]
    verdicts = compare([(case.gold, answer.value) for _, case, answer in asked])
    for (index, _, answer), verdict in zip(asked, verdicts, strict=True):
        grades[index] = Grade(verdict.status, verdict.note, answer)
    return [grade for grade in grades if grade is not None]


def load_grader(name: str, known: Mapping[str, str]) -> Any:
    """The class behind a grader's name.

    Raises:
        RecipeError: an unknown name, or something from outside that is no grader.
    """
    factory = load_plugin(name, known, "grader")
    if not callable(factory) or not isinstance(getattr(factory, "version", None), str):
        raise RecipeError(f"'{name}' is no grader: it has no version", "see docs/grading.md for what a class needs")
    return factory


def grade_with(grader: Any, cases: Sequence[Case]) -> list[Grade]:
    """Grades by any grader: one with ``grade``, or one from outside that knows ``grade_many(pairs)`` only."""
    if hasattr(grader, "grade"):
        return list(grader.grade(cases))
    return grade_by_rule(grader.grade_many, cases)
