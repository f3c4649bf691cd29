r"""Compare the letters of multiple-choice answers: `\boxed{\text{E}}`, "(B)", "B.", "**C**", "C) 42"."""

from __future__ import annotations

import re
from collections.abc import Sequence
from types import TracebackType

from long1k.grading.base import Case, Grade, grade_by_rule
from long1k.grading.normalize import MAX_ANSWER_CHARS, prepare
from long1k.grading.pool import Verdict

__all__ = ["ChoiceGrader", "Verdict", "choice_letter"]

_PREFIX = r"(?i:(?:the )?(?:correct |final )?(?:answer|option|choice)(?: is)? ?:? ?)?"
_OPEN = r"(?:\*\*|\\text\{ ?|[({\[] ?)*"
_CLOSE = r"(?: ?[)}\]]|\*\*)*"
# The letter alone, in any wrapping. A lower-case letter counts only here, where nothing else is said.
_ALONE = re.compile(rf"{_OPEN}+{_PREFIX}{_OPEN}([A-Za-z]){_CLOSE}[.:]?")
# The letter and then the choice's text; the letter needs a mark, or "A cat" would be choice A.
_WITH_TEXT = re.compile(rf"{_OPEN}+{_PREFIX}{_OPEN}([A-Z])((?:[)}}\].:]|\*\*| ?\\text\{{| \().*)")
# "(A), (C)" and "A) and B)" choose two.
_ANOTHER = re.compile(
    r"[ )}\].:*]*+(?:[,;&/]|(?:\\text\{ ?)?(?:and|or)(?![A-Za-z]))[ (\[{})*]*+(?:\\text\{ ?)?\(?[A-Z](?![A-Za-z0-9])"
)


def choice_letter(answer: str) -> str | None:
    """Return the letter A-Z that an answer chooses, or None when it names none or is too long to be one."""
    if len(answer) > MAX_ANSWER_CHARS:
        return None
    text = prepare(answer)
    match = _ALONE.fullmatch(text)
    if match is None:
        match = _WITH_TEXT.fullmatch(text)
        if match is not None and _ANOTHER.match(match[2]):
            return None
    return match[1].upper() if match is not None else None


class ChoiceGrader:
    """Grades letters; same interface as `MathGrader`, and no process to start or to end."""

    name = "choice"
    version = "2"

    def __init__(self, num_workers: int = 1) -> None:
        del num_workers  # a letter needs no process

    def grade_many(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """Return a verdict for each (gold, answer), in order."""
        return [self._grade(gold, answer) for gold, answer in pairs]

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        """One grade a case, in order."""
        return grade_by_rule(self.grade_many, cases)

    @staticmethod
    def _grade(gold: str, answer: str) -> Verdict:
        wanted, chosen = choice_letter(gold), choice_letter(answer)
        if wanted is None:
            return Verdict("error", "the gold answer is not a letter")
        if chosen is None:
            return Verdict("wrong", "the answer names no choice")
        return Verdict("correct") if wanted == chosen else Verdict("wrong", f"chose {chosen}")

    def close(self) -> None:
        """Nothing to end."""

    def __enter__(self) -> ChoiceGrader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
