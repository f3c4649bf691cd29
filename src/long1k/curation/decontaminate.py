"""Training problems that stand in a benchmark: an exact match after normalisation."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

_DROP = re.compile(r"[^\w+\-*/=<>^⊕]+")


def question_key(question: str) -> str:
    """A question without case, white space, layout commands and punctuation."""
    text = unicodedata.normalize("NFKC", question).lower()
    for command in ("\\left", "\\right", "\\displaystyle", "\\,", "\\!", "\\;", "\\ "):
        text = text.replace(command, "")
    return _DROP.sub("", text.replace("dfrac", "frac").replace("tfrac", "frac"))


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
