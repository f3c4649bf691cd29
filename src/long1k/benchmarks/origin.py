"""Which row of which file a problem came from, so that a finding can be looked up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from long1k.benchmarks import golds

_IDS = (
    "unique_id", "id", "ID", "problem_id", "question_id", "record_id", "Record ID", "task_id", "uid",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origin:
    """The row that a problem came from: its place, as errors call it, and the id that its file gives it.

    ``file`` keeps apart the ids of several files; ``place`` names it only where there are several.
    """

    file: str
    place: str
    id_field: str | None = None
    own_id: str | None = None

    def __str__(self) -> str:
        own = " ".join((self.own_id or "").split())
        return f"{self.place} ({self.id_field} {own[:60]})" if own else self.place


def own_id(row: Mapping[str, Any]) -> tuple[str, str] | tuple[None, None]:
    """The first of the usual fields of ids that says something, and what it says."""
    for name in _IDS:
        value = row.get(name)
        text = None if value != value else golds.plain(value)  # NaN: how tables of floats write nothing
        if text is not None:
            return name, text.encode("utf-8", "replace").decode()
    return None, None
