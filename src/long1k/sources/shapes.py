"""One stored row as a raw trace: question and answer fields, chat messages, ShareGPT, Alpaca."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from long1k.jsonlines import BadRow, alias_names, field_name
from long1k.sources.raw import RawTrace

FIELDS = (
    "question", "answer", "response", "thinking", "solution", "teacher", "subject", "difficulty", "license", "id",
    "gold_solution", "gold_parts", "correct",
)  # fmt: skip
_NUMBERS = ("answer", "id", "difficulty")
# A minus is a sign where nothing stands before it: 3-4 and Level-4 have none.
_NUMBER = re.compile(r"(?:(?<![^\s(\[=:])-)?(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?")
_ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "developer": "system"}
_SHOWN = 2000
_PROBED = ("messages", "conversations", "prompt", "completion", "instruction", "input", "output", "system")


class Unusable(Exception):
    """Why a row cannot be a trace: a reason, and what shows it."""

    def __init__(self, reason: str, evidence: str) -> None:
        super().__init__(reason, evidence)
        self.reason, self.evidence = reason, evidence

    def row(self, key: str, row: Mapping[str, Any]) -> BadRow:
        """The row as a bad one."""
        return BadRow(key, self.reason, self.evidence, json.dumps(row, ensure_ascii=False, default=str)[:_SHOWN])


def text_of(row: Mapping[str, Any], name: str, *, numbers: bool = False) -> str | None:
    """The text under a name; null, NaN (how data frames write null) and an absent name are None.

    Raises:
        Unusable: it is something else (``wrong_type``).
    """
    value = row.get(name)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, float) and math.isnan(value):
        return None
    if numbers and isinstance(value, int | float | Decimal) and not isinstance(value, bool):
        return str(value)
    raise Unusable("wrong_type", f"field '{name}' is a {type(value).__name__}")


def needed_text(row: Mapping[str, Any], name: str) -> str:
    """The text under a name.

    Raises:
        Unusable: there is none (``missing_field``), or it is no text.
    """
    value = text_of(row, name)
    if not value:
        raise Unusable("missing_field", f"no '{name}'")
    return value


def list_of(row: Mapping[str, Any], name: str) -> list[Any] | None:
    """The list under a name, or None.

    Raises:
        Unusable: it is something else.
    """
    value = row.get(name)
    if value is None or isinstance(value, list):
        return value
    raise Unusable("wrong_type", f"field '{name}' is a {type(value).__name__}, not a list")


def number_in(text: str | None) -> float | None:
    """The first number in a text (Level 4 -> 4.0, -1.5, 1e-05), or None; one without bounds is none."""
    found = _NUMBER.search(text or "")
    value = float(found.group()) if found else math.nan
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and one reply; ``thinking`` stands apart where the source keeps it so."""

    question: str
    reply: str
    thinking: str | None


def one_turn(messages: list[Any], name: str) -> Turn:
    """The question and the reply of a conversation, its system messages left out.

    Messages are ``{role, content}`` or ``{from, value}``; the reply's ``reasoning_content`` is its thinking.

    Raises:
        Unusable: not one user's message and one assistant's after it (``not_one_turn``), or no texts.
    """
    roles, texts = [], []
    thinking: str | None = None
    for message in messages:
        if not isinstance(message, Mapping):
            raise Unusable("wrong_type", f"'{name}' holds a {type(message).__name__}, not a message")
        given = message.get("role", message.get("from"))
        role = _ROLES.get(str(given).lower(), str(given).lower())
        if role == "system":
            continue
        roles.append(role)
        texts.append(text_of(message, "content" if message.get("content") is not None else "value"))
        if role == "assistant":
            thinking = text_of(message, "reasoning_content")
    if not roles:
        raise Unusable("missing_field", f"'{name}' holds no messages")
    if roles != ["user", "assistant"]:
        raise Unusable("not_one_turn", f"'{name}' is {', '.join(roles[:8])}{' …' if len(roles) > 8 else ''}")
    question, reply = texts
    if not question or reply is None:
        raise Unusable("missing_field", f"'{name}' has no {'question' if not question else 'reply'}")
    return Turn(question, reply, thinking)


@dataclass(frozen=True, slots=True)
class FieldMap:
    """How rows of any file become traces: the shape, and the names of our fields where theirs differ."""

    fields: tuple[tuple[str, str], ...] = ()
    shape: str = "auto"
    teacher: str | None = None
    license: str | None = None
    tags: str = "auto"

    @property
    def columns(self) -> tuple[str, ...]:
        """Every name that may be looked at."""
        mapped = [theirs for _, theirs in self.fields]
        known = [name for field in FIELDS for name in (field, *alias_names(field))]
        return tuple(dict.fromkeys([*mapped, *known, *_PROBED]))

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """Of each group one column must be there."""
        groups: list[tuple[str, ...]] = [(theirs,) for _, theirs in self.fields]
        mapped = dict(self.fields)
        lists = ("messages", "conversations")
        if self.shape in ("messages", "sharegpt"):
            groups.append(("messages", "prompt") if self.shape == "messages" else ("conversations",))
        elif self.shape == "auto" and "question" not in mapped:
            groups.append(("question", *alias_names("question"), *lists))
        elif self.shape in ("qa", "alpaca") and "question" not in mapped:
            groups.append(("question", *alias_names("question")))
        return tuple(groups)

    def __call__(self, row: Mapping[str, Any], key: str) -> list[RawTrace | BadRow]:
        """The row's trace, or why it has none."""
        return [self._trace(row, key)]

    def _trace(self, row: Mapping[str, Any], key: str) -> RawTrace:
        mapped = dict(self.fields)
        names = {field: field_name(field, row, mapped) for field in FIELDS}
        shape = self._shape_of(row, names, mapped)
        apart: tuple[str, ...] = ("gold_parts", "correct")
        if shape not in ("qa", "alpaca"):
            apart += ("question", "response", "thinking", "solution")
        found = {
            field: text_of(row, name, numbers=field in _NUMBERS) for field, name in names.items() if field not in apart
        }
        if shape in ("qa", "alpaca"):
            question, response = found["question"], found["response"]
            thinking, solution = found["thinking"], found["solution"]
            if not question:
                raise Unusable("missing_field", f"no '{names['question']}' (question)")
            if thinking is None or solution is None:
                thinking = solution = None
                if response is None:
                    raise Unusable(
                        "missing_field", f"neither '{names['response']}' (response) nor thinking and solution"
                    )
            else:
                response = None
            if shape == "alpaca" and (more := text_of(row, "input")):
                question = f"{question}\n\n{more}"
        else:
            turn = one_turn(*_messages(row, shape))
            question, thinking = turn.question, turn.thinking
            solution, response = (None, turn.reply) if thinking is None else (turn.reply, None)
        difficulty = number_in(found["difficulty"])
        gold_parts = tuple(list_of(row, names["gold_parts"]) or ())
        if not all(isinstance(part, str) and part for part in gold_parts):
            raise Unusable("wrong_type", f"'{names['gold_parts']}' holds something other than texts")
        correct = row.get(names["correct"])
        if not isinstance(correct, bool | None):
            if "correct" in mapped:
                raise Unusable("wrong_type", f"field '{names['correct']}' is a {type(correct).__name__}")
            correct = None  # a column that only happens to have this name
        return RawTrace(
            source_row=key if found["id"] is None else f"{key}:{found['id']}",
            question=question,
            answer="; ".join(gold_parts) if found["answer"] is None and gold_parts else found["answer"],
            thinking=thinking,
            solution=solution,
            response=response,
            teacher=found["teacher"] or self.teacher,
            subject=found["subject"],
            difficulty=difficulty,
            difficulty_origin=None if difficulty is None else f"column {names['difficulty']}",
            license=found["license"] or self.license,
            tags=self.tags,
            correct=correct,
            gold_parts=gold_parts,
            gold_solution=found["gold_solution"],
        )

    def _shape_of(self, row: Mapping[str, Any], names: Mapping[str, str], mapped: Mapping[str, str]) -> str:
        if self.shape != "auto":
            return self.shape
        if mapped.keys() & {"question", "response", "thinking", "solution"}:
            return "qa"
        whole = isinstance(row.get(names["response"]), str)
        parts = isinstance(row.get(names["thinking"]), str) and isinstance(row.get(names["solution"]), str)
        if isinstance(row.get(names["question"]), str) and (whole or parts):
            return "alpaca" if names["question"] == "instruction" and row.get("input") else "qa"
        if isinstance(row.get("messages"), list) or isinstance(row.get("prompt"), list):
            return "messages"
        return "sharegpt" if isinstance(row.get("conversations"), list) else "qa"


def _messages(row: Mapping[str, Any], shape: str) -> tuple[list[Any], str]:
    """The conversation of a row and what it is called; ``prompt`` and ``completion`` may be its two halves."""
    name = "conversations" if shape == "sharegpt" else "messages"
    messages = list_of(row, name)
    if messages is None and shape == "messages" and isinstance(row.get("prompt"), list):
        return [*row["prompt"], *(list_of(row, "completion") or ())], "prompt"
    if messages is None:
        raise Unusable("missing_field", f"no '{name}'")
    return messages, name
