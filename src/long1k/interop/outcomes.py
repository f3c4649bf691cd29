"""What the formats of other tools share: one output as they state it, and what comes with it.

Each format is a class with ``read`` (file -> foreign rows) and ``row`` + ``write`` (predictions -> file).  What
a format says of an output beyond the fields of a Prediction stays beside the table (``carried.parquet``), so that
an export to the same format gives every value back.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import TypeAdapter

from long1k.jsonlines import BadRow, half_surrogate
from long1k.rows import Prediction, Score, content_id, to_dict
from long1k.thinking import SplitAnswer, split_thinking

PROVENANCE = "long1k"
"""The key under which an export holds what its format has no place for, as one JSON text a sample."""
_SHOWN = 2000


@dataclass(frozen=True, slots=True)
class Outcome:
    """One output as another tool's file states it.

    ``text`` is the whole output; ``split`` is given where the file keeps thinking and answer apart.  ``group`` is
    the run (a model's name, say), ``benchmark`` the task; None takes the file's name.
    """

    question: str
    answers: tuple[str, ...]
    text: str
    sample: int = 0
    label: bool | None = None
    benchmark: str | None = None
    group: str | None = None
    finish_reason: str = "unknown"
    split: SplitAnswer | None = None
    seed: int | None = None
    token_ids: tuple[int, ...] = ()
    prompt_token_ids: tuple[int, ...] = ()
    num_tokens: int | None = None
    num_thinking_tokens: int | None = None
    engine: str = "published"
    provenance: str | None = None


@dataclass(frozen=True, slots=True)
class ForeignRow:
    """One row of a file: its outputs, and its values without them (None in their place)."""

    key: str
    outcomes: tuple[Outcome, ...]
    values: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scored:
    """A prediction and its verdicts, one a part; none if it was not scored."""

    row: Prediction
    scores: tuple[Score, ...] = ()

    @property
    def correct(self) -> bool | None:
        """Whether all parts are right; without verdicts the label that it came with; None: not known."""
        if not self.scores:
            return self.row.label
        if any(one.status in ("error", "timeout") for one in self.scores):
            return None
        return all(one.status == "correct" for one in self.scores)


@dataclass(frozen=True, slots=True)
class About:
    """What a whole file says of itself."""

    benchmark: str
    arm: str
    model: str
    created: str
    num_rows: int
    num_samples: int
    sampling: Mapping[str, Any] = field(default_factory=dict)
    provenance: bool = True
    imported: bool = False


class ResultFormat(Protocol):
    """Another tool's format of outputs and verdicts."""

    name: ClassVar[str]
    options: ClassVar[tuple[str, ...]]
    """Keys that it knows, for reading or writing."""
    carries: ClassVar[bool]
    """Whether an export holds what the format has no place for, if nothing else is said."""
    by_question: ClassVar[bool]
    """Whether a row holds all samples of a question."""

    @staticmethod
    def looks_like(head: bytes, path: Path) -> bool:
        """Whether a file that begins so is of this format."""
        ...

    def __init__(self, options: Mapping[str, str]) -> None: ...

    def read(self, path: Path) -> Iterator[ForeignRow | BadRow]:
        """The rows of a file, one at a time."""
        ...

    def row(
        self, group: Sequence[Scored], number: int, about: About, values: dict[str, Any] | None
    ) -> dict[str, Any] | BadRow:
        """The row of an output, or of all samples of a question; ``values`` are those it came with."""
        ...

    def write(self, folder: Path, stem: str, rows: Iterator[dict[str, Any]], about: About) -> list[Path]:
        """Write a file (and what belongs to it)."""
        ...


def bad_row(key: str, reason: str, evidence: str, row: Any) -> BadRow:
    """A row that cannot be used, its text shortened and storable."""
    text = json.dumps(row, ensure_ascii=True, default=str)[:_SHOWN]
    clean = evidence[:500].encode("utf-8", "backslashreplace").decode()
    return BadRow(key, reason, clean, text)


def json_text(value: Any, indent: int | None = None) -> str:
    """A value of an export as JSON: readable, but escaped where a text holds half of a surrogate pair."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text if half_surrogate(text) is None else json.dumps(value, indent=indent)


_LARGEST = (1 << 63) - 1


def unstorable_in(row: Prediction) -> tuple[str, str] | None:
    """(reason, evidence) if a value of a prediction has no place in a table: half characters, huge numbers."""
    for each in fields(row):
        name, value = each.name, getattr(row, each.name)
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, str) and (fault := half_surrogate(one)) is not None:
                return "invalid_unicode", f"{name}: {fault}"
            if isinstance(one, int) and abs(one) > _LARGEST:
                return "wrong_type", f"{name}: a number beyond 64 bits"
    return None


_DATED = re.compile(r"(?:samples|details)_(.+?)_\d{4}-\d\d-\d\dT[\d.:+-]*")


def task_of(path: Path) -> str | None:
    """The task in the name of a harness's file: samples_TASK_DATE, details_TASK_DATE."""
    found = _DATED.match(path.name)
    return None if found is None else found.group(1)


def as_label(value: Any) -> bool | None:
    """A verdict of another tool: 1, 0, true, false (also as text); anything between is none."""
    if isinstance(value, str):
        return {"1": True, "0": False, "true": True, "false": False, "1.0": True, "0.0": False}.get(value.lower())
    if isinstance(value, bool | int | float) and value in (0, 1):
        return bool(value)
    return None


def parts_of(outcome: Outcome) -> SplitAnswer:
    """Thinking and answer of an output, as given or by its tags."""
    return outcome.split if outcome.split is not None else split_thinking(outcome.text)


def joined(thinking: str | None, answer: str) -> str:
    """The whole output of a file that keeps thinking and answer apart."""
    return answer if not thinking else f"<think>\n{thinking}\n</think>\n\n{answer}"


_PREDICTION = TypeAdapter(Prediction)
_SCORES = TypeAdapter(tuple[Score, ...])


def _digest(question: str, text: str) -> str:
    return content_id("x", question, text)


def provenance_of(one: Scored) -> str:
    """Every field of a prediction but its texts, and its verdicts, as one JSON text."""
    values = {name: value for name, value in to_dict(one.row).items() if name not in ("question", "text")}
    made = {
        "digest": _digest(one.row.question, one.row.text), "prediction": values,
        "scores": [to_dict(score) for score in one.scores],
    }  # fmt: skip
    return json.dumps(made, ensure_ascii=False)


def restore(provenance: str | None, question: str, text: str) -> Scored | None:
    """The prediction that ``provenance_of`` was told, if question and text are still the same; else None."""
    if not isinstance(provenance, str):
        return None
    try:
        found = json.loads(provenance)
        row = _PREDICTION.validate_python({**found["prediction"], "question": question, "text": text})
        scores = _SCORES.validate_python(found["scores"])
    except (ValueError, TypeError, KeyError, RecursionError):  # pydantic's error is a ValueError
        return None
    if any((one.prediction_id, one.part) != (row.prediction_id, part) for part, one in enumerate(scores)):
        return None
    return Scored(row, scores) if found.get("digest") == _digest(question, text) else None
