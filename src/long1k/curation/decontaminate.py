"""Training problems that stand in a benchmark: an exact match after normalisation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_DROP = re.compile(r"[^\w+\-*/=<>^⊕{}]+")
# What prompts add to a question: it says nothing about which question it is.
_INSTRUCTIONS = re.compile(
    r"please reason step by step.*|(?:return|put|give|write) your final (?:answer|response) (?:with)?in \\boxed\{\}\.?"
    r"|^\s*(?:question|problem)\s*:",
    re.DOTALL,
)
_SINGLE = re.compile(r"\{(\w)\}")  # x^{2} and x^2 are the same, \frac{1}{23} and \frac{12}{3} are not


def question_key(question: str) -> str:
    """A question without case, white space, layout commands and punctuation."""
    text = unicodedata.normalize("NFKC", question).lower()
    for command in ("\\left", "\\right", "\\displaystyle", "\\,", "\\!", "\\;", "\\ "):
        text = text.replace(command, "")
    text = _INSTRUCTIONS.sub("", text.replace("dfrac", "frac").replace("tfrac", "frac"))
    return _DROP.sub("", _SINGLE.sub(r"\1", text))


class BenchmarkIndex:
    """Looks questions up among those of benchmarks.

    Args:
        items: (benchmark item id, question) of every problem that must not be trained on.
    """

    def __init__(self, items: Iterable[tuple[str, str]]) -> None:
        self._ids: dict[str, str] = {}
        for item_id, question in items:
            self._ids.setdefault(question_key(question), item_id)

    def __len__(self) -> int:
        return len(self._ids)

    def match(self, question: str) -> str | None:
        """The id of the benchmark item that asks the same, or None."""
        return self._ids.get(question_key(question))
