"""The measurement of grading: a difference in verdicts that nobody has explained fails it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from bench import scoring

from long1k.grading.math import decide
from long1k.grading.pool import Verdict


class _WithoutProcesses:
    """Our grader as far as it decides by itself: workers may take minutes to start on a machine that is busy."""

    def __init__(self, **_: Any) -> None:
        pass

    def __enter__(self) -> _WithoutProcesses:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def start(self) -> None:
        pass

    def grade_many(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        return [decide(*pair) or Verdict("error", "needs a worker") for pair in pairs]


def test_an_unexplained_difference_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scoring, "MathGrader", _WithoutProcesses)
    monkeypatch.setattr(scoring.logging, "disable", lambda _: None)  # it would last for all tests after this one
    pairs = [("5", "5"), ("6", "7")]
    monkeypatch.setattr(scoring, "_peer", lambda asked: [True] * len(asked))  # wrong about the second
    row = scoring._measure("x", "y", pairs, 0)
    assert not row.met
    assert "1 of the others without" in row.equal
    assert "6 | 7: ours wrong, the peer correct; NOT EXPLAINED" in row.note
    monkeypatch.setitem(scoring.EXPLAINED, ("6", "7"), "the peer is a stand-in")
    assert scoring._measure("x", "y", pairs, 0).met


def test_a_failed_grade_differs_from_any_verdict() -> None:
    pairs = [("5", "a"), ("5", "b"), ("5", "c")]
    verdicts = [Verdict("error"), Verdict("timeout"), Verdict("wrong")]
    assert list(scoring._differences(pairs, verdicts, [True, False, False])) == pairs[:2]
