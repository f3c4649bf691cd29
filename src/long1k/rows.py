"""The five row types that tables hold, and their Arrow schemas.

Field names are a contract: other programs read these tables.  Rows are immutable; every
stage makes new rows and never edits the ones it was given.
"""

from __future__ import annotations

import hashlib
import json
import types
import typing
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import pyarrow as pa

from long1k.errors import DataError

SCHEMA_VERSION = 3


@dataclass(frozen=True, slots=True)
class Message:
    """One chat message: role (system, user, assistant) and content."""

    role: str
    content: str


@dataclass(frozen=True, slots=True)
class Span:
    """Where one piece of a joined sample stands.

    ``message`` counts over prompt then completion; ``start`` and ``end`` are character
    offsets into that message's content; ``kind`` is question, thinking, linker, solution,
    label or reference (what refers to an earlier answer in a dependent problem); ``part``
    counts the joined problems from 0.
    """

    kind: str
    part: int
    message: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Problem:
    """A question with its gold answer."""

    problem_id: str
    source: str
    question: str
    answer: str
    choices: tuple[str, ...] | None
    subject: str | None
    difficulty: float | None
    difficulty_origin: str | None
    license: str | None


@dataclass(frozen=True, slots=True)
class Trace:
    """A solved problem: thinking, then a solution.

    ``correct`` is the verdict of comparing the trace's own answer with the gold one (null:
    not checked).  ``split`` says how thinking and solution were told apart: ``tags``,
    ``final_answer`` (a closing statement or the last box) or ``given`` (two fields).
    """

    trace_id: str
    problem_id: str
    question: str
    answer: str
    thinking: str
    solution: str
    teacher: str | None
    correct: bool | None
    num_question_tokens: int
    num_thinking_tokens: int
    num_solution_tokens: int
    subject: str | None
    difficulty: float | None
    difficulty_origin: str | None
    split: str
    source: str
    source_row: str
    license: str | None


@dataclass(frozen=True, slots=True)
class Example:
    """One SFT sample made of one or more traces.

    ``num_tokens`` counts the whole sample in the training tokenizer after the chat template,
    ``num_supervised_tokens`` those that carry loss (the end token included).  ``problem_ids``,
    ``sources`` ("name#row") and ``licenses`` have one entry a trace, as ``trace_ids`` has.
    """

    example_id: str
    arm: str
    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    answers: tuple[str, ...]
    trace_ids: tuple[str, ...]
    problem_ids: tuple[str, ...]
    sources: tuple[str, ...]
    licenses: tuple[str, ...]
    linkers: tuple[str, ...]
    spans: tuple[Span, ...]
    mode: str
    target_tokens: int | None
    num_tokens: int
    num_supervised_tokens: int
    num_problems: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """One model output for one benchmark item (one prompt, one or more problems).

    ``answers`` and ``part_ids`` are the gold answers and ids of the prompt's problems, in their order.
    ``token_ids`` is the whole output, ``forced`` pairs of places (start, end) in it that were not drawn but put
    there to hold a budget.  ``finish_reason`` is stop, length or error (the engine gave up: no output), of
    imported outputs what their file says.  ``budget_flag`` is natural, forced, exhausted or loop.  ``label`` is
    a verdict that came with imported predictions; our own predictions have none.
    """

    prediction_id: str
    problem_id: str
    benchmark: str
    question: str
    answers: tuple[str, ...]
    part_ids: tuple[str, ...]
    arm: str
    train_seed: int | None
    checkpoint: str
    sample_index: int
    seed: int | None
    prompt_token_ids: tuple[int, ...]
    text: str
    token_ids: tuple[int, ...]
    forced: tuple[int, ...]
    thinking: str | None
    answer_text: str | None
    finish_reason: str
    budget_flag: str | None
    num_tokens: int | None
    num_thinking_tokens: int | None
    num_answer_tokens: int | None
    engine: str
    label: bool | None


@dataclass(frozen=True, slots=True)
class Score:
    """One verdict on one part of one prediction.

    ``status`` is correct, wrong, no_answer, truncated, timeout or error; ``span`` holds the
    start and end of ``extracted`` in the prediction's ``answer_text``.
    """

    prediction_id: str
    part: int
    grader: str
    grader_version: str
    status: str
    extracted: str | None
    span: tuple[int, ...] | None
    note: str | None


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that a stage did not pass on, with the reason and what shows it."""

    reason: str
    evidence: str
    source: str
    source_row: str
    row: str


STATUSES = ("correct", "wrong", "no_answer", "truncated", "timeout", "error")

Row = Problem | Trace | Example | Prediction | Score | Reject
R = TypeVar("R", Problem, Trace, Example, Prediction, Score, Reject)

_PRIMITIVES = {str: pa.string(), int: pa.int64(), float: pa.float64(), bool: pa.bool_()}
_SCHEMAS: dict[type, pa.Schema] = {}


def _arrow_type(hint: Any) -> tuple[pa.DataType, bool]:
    """The Arrow type of an annotation and whether it may be null."""
    if isinstance(hint, types.UnionType):
        inner = [arg for arg in typing.get_args(hint) if arg is not type(None)]
        return _arrow_type(inner[0])[0], True
    if typing.get_origin(hint) is tuple:
        return pa.list_(_arrow_type(typing.get_args(hint)[0])[0]), False
    if hint in _PRIMITIVES:
        return _PRIMITIVES[hint], False
    return pa.struct([(name, _arrow_type(h)[0]) for name, h in typing.get_type_hints(hint).items()]), False


def schema_of(row_type: type) -> pa.Schema:
    """The Arrow schema of a row type."""
    if row_type not in _SCHEMAS:
        hints = typing.get_type_hints(row_type)
        out = []
        for field in fields(row_type):
            arrow_type, nullable = _arrow_type(hints[field.name])
            out.append(pa.field(field.name, arrow_type, nullable=nullable))
        _SCHEMAS[row_type] = pa.schema(out)
    return _SCHEMAS[row_type]


_NESTED = (Message, Span)


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        if value and isinstance(value[0], _NESTED):
            return [{f.name: getattr(item, f.name) for f in fields(item)} for item in value]
        return list(value)
    return value


def to_dict(row: Row) -> dict[str, Any]:
    """A row as plain Python values (tuples become lists, nested rows dicts)."""
    return {field.name: _plain(getattr(row, field.name)) for field in fields(row)}


def to_arrow(rows: Sequence[R], row_type: type[R]) -> pa.Table:
    """Rows as an Arrow table in the row type's schema."""
    columns = {field.name: [_plain(getattr(row, field.name)) for row in rows] for field in fields(row_type)}
    return pa.Table.from_pydict(columns, schema=schema_of(row_type))


def from_dict(values: dict[str, Any], row_type: type[R]) -> R:
    """The row that ``to_dict`` was made from.

    Raises:
        DataError: a column is missing: the table is of another version, or was changed by hand.
    """
    made: dict[str, Any] = {}
    for field in fields(row_type):
        if field.name not in values:
            raise DataError(
                f"a table of {row_type.__name__} rows has no column '{field.name}'",
                "another version of long1k wrote it: make it again with the command or run that made it",
            )
        value = values[field.name]
        if isinstance(value, list):
            if field.name in ("prompt", "completion"):
                value = tuple(Message(**item) for item in value)
            elif field.name == "spans":
                value = tuple(Span(**item) for item in value)
            else:
                value = tuple(value)
        made[field.name] = value
    return row_type(**made)


def from_arrow(table: pa.Table, row_type: type[R]) -> Iterable[R]:
    """Rows from an Arrow table of the row type's schema."""
    for batch in table.to_batches():
        for values in batch.to_pylist():
            yield from_dict(values, row_type)


def content_id(prefix: str, *parts: str) -> str:
    """A short content hash: equal parts, equal id.  80 bits of SHA-256 after the prefix."""
    digest = hashlib.sha256("\x1f".join(parts).encode("utf-8", "surrogatepass")).hexdigest()
    return f"{prefix}-{digest[:20]}"


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)


def derive_seed(*parts: object) -> int:
    """A 63-bit seed from its parts, so that randomness never depends on order or workers."""
    digest = hashlib.sha256(canonical_json([str(part) for part in parts]).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
