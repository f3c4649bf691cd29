"""Whether a micro-world output hangs together, right or wrong: every step takes up the result of the one before.

The math grader asks for the answer.  This one asks for the form: the thinking is closed, its first line begins with
the question's first two symbols, each later one with the result before it and the next symbol, a check repeats the line
it checks, nothing is left out or stands beside it, and the box holds the last result.  Whether a fact is true is no
matter here, so a model can be coherent about an operation that it does not know.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from long1k.grading.base import Case, Grade, without_answer
from long1k.micro import CHECK, OPENING, OPERATOR

_LINE = re.compile(rf"(?P<check>{re.escape(CHECK)})?(?P<left>\w+){OPERATOR}(?P<right>\w+)=(?P<result>\w+)\.")


class StepsGrader:
    """``correct``: the output is coherent; ``wrong``: a step does not follow, with its number in the note."""

    name = "steps"
    version = "1"

    def __init__(self, num_workers: int = 1) -> None:
        """Takes the number of workers as every grader does; it needs none."""

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        """One grade a case."""
        return [self._grade(case) for case in cases]

    def close(self) -> None:
        """Nothing was started."""

    @staticmethod
    def _grade(case: Case) -> Grade:
        none = without_answer(case)
        if none is not None or case.answer is None:
            return none or Grade("no_answer", "no answer", None)
        if case.num_parts > 1:
            return Grade("error", "the form of several problems in one output is not judged", case.answer)
        fault = incoherent(case.question, thinking_of(case), case.answer.value)
        return Grade("correct" if fault is None else "wrong", fault or "every step follows", case.answer)


def thinking_of(case: Case) -> str:
    """What stands in the output before its answer, tags left out."""
    at = case.output.rfind(case.text) if case.text else len(case.output)
    before = case.output[: at if at >= 0 else len(case.output)]
    return re.sub(r"<[^>]*>", "", before).strip()


def incoherent(question: str, thinking: str, answer: str) -> str | None:
    """Why a thinking does not hang together, or None: it does."""
    symbols = question.split(OPERATOR)
    current, done, last = symbols[0], 0, ""
    at = len(OPENING) if thinking.startswith(OPENING) else 0
    number = 0
    while at < len(thinking):
        number += 1
        line = _LINE.match(thinking, at)
        if line is None:
            return f"line {number} is no step"
        fact = line.group().removeprefix(CHECK)
        if line["check"]:
            if fact != last:
                return f"line {number} checks another line than the one before"
        elif done + 1 >= len(symbols):
            return f"line {number} comes after the last symbol"
        elif (line["left"], line["right"]) != (current, symbols[done + 1]):
            return f"line {number} does not go on from the one before"
        else:
            current, done, last = line["result"], done + 1, fact
        at = line.end() + (thinking[line.end() : line.end() + 1] == " ")
    if done + 1 < len(symbols):
        return f"{len(symbols) - 1 - done} of {len(symbols) - 1} steps are missing"
    return None if answer == current else "the answer is not the last result"
