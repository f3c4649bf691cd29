"""Hostile answers: a status each, in bounded time and memory, and nothing evaluated (all 1,000: scripts/hostile_table.py)."""

from __future__ import annotations

import resource
import time
from collections import Counter
from pathlib import Path

from hostile import KINDS, hostile_answers
from long1k.grading.choice import ChoiceGrader
from long1k.grading.math import MathGrader
from long1k.rows import STATUSES
from long1k.stages.score import cases_of

_MEMORY_MIB = 1024
# Kinds whose answers mostly use up their time: the script has them all.
_SLOW = ("tower", "factorials", "powers of sums", "integrals", "wide integers", "deep brackets", "nested fractions")


def _row(gold: str, text: str) -> dict[str, object]:
    return {
        "prediction_id": "y", "question": "q", "answers": [gold], "text": text, "answer_text": text,
        "finish_reason": "stop",
    }  # fmt: skip


def test_every_kind_gets_a_status_and_nothing_is_evaluated(tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    statuses: Counter[str] = Counter()
    answers = [
        one
        for index, one in enumerate(hostile_answers(16 * len(KINDS), str(canary)))
        if (one.kind == "code" or index < 2 * len(KINDS)) and not (one.kind in _SLOW and index >= len(KINDS))
    ]
    with MathGrader(num_workers=2, timeout_seconds=1.0, memory_mib=_MEMORY_MIB) as grader:
        cases = [case for one in answers for case in cases_of(_row(one.gold, one.text))]
        grades = grader.grade(cases)
    statuses.update(grade.status for grade in grades)
    assert len(grades) == len(answers)
    assert set(statuses) <= set(STATUSES)
    assert statuses["correct"] == sum(grade.status == "correct" for grade in grades) < len(grades) / 10
    assert not canary.exists()
    assert {one.kind for one in answers} == set(KINDS)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024 < 2 * _MEMORY_MIB
    for case, grade in zip(cases, grades, strict=True):
        if grade.extracted is not None:
            assert case.text is not None
            assert case.text[grade.extracted.start : grade.extracted.end] == grade.extracted.value


def test_choices_of_hostile_answers_are_decided_at_once() -> None:
    grader = ChoiceGrader()
    started = time.perf_counter()
    for one in hostile_answers(4 * len(KINDS)):
        (grade,) = grader.grade(cases_of(_row("B", one.text)))
        assert grade.status in STATUSES
    assert time.perf_counter() - started < 60.0
