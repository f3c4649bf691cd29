"""Traces from JSON Lines, plain or gzip, with a mapping from our fields to theirs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from long1k.errors import DataError
from long1k.jsonlines import BadRow, expand_path, field_name, read_json_lines
from long1k.sources.raw import RawTrace
from long1k.tables import file_digest

_FIELDS = (
    "question",
    "answer",
    "response",
    "thinking",
    "solution",
    "teacher",
    "subject",
    "difficulty",
    "license",
    "id",
)
_SHOWN = 2000


class JsonlConfig(BaseModel):
    """Which file to read and what its fields are called."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str = Field(description="file, .jsonl or .jsonl.gz; ${VARIABLE} is taken from the environment")
    fields: dict[str, str] = Field(default_factory=dict, description="our field -> theirs, e.g. question: problem")
    teacher: str | None = Field(default=None, description="teacher model of all rows, if no field holds it")
    license: str | None = Field(default=None, description="licence of all rows, if no field holds it")
    tags: str = Field(
        default="auto",
        pattern="^(auto|required)$",
        description="auto: untagged text is split at its final answer; required: thinking must be closed by a tag",
    )
    limit: int | None = Field(default=None, ge=1)

    @field_validator("fields")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        unknown = set(value) - set(_FIELDS)
        if unknown:
            raise ValueError(f"unknown field {sorted(unknown)}; known: {', '.join(_FIELDS)}")
        return value


class JsonlSource:
    """Reads traces from one JSON Lines file."""

    Config = JsonlConfig

    def __init__(self, config: JsonlConfig) -> None:
        self.config = config
        self.path = expand_path(config.path)

    def describe(self) -> str:
        """One line for progress and summaries."""
        return f"jsonl {self.path.name}"

    def digest(self) -> str:
        """SHA-256 of the file."""
        if not self.path.is_file():
            raise DataError(f"there is no file {self.path}", "check the path in the source's configuration")
        return file_digest(self.path)

    def load(self) -> Iterator[RawTrace | BadRow]:
        """Yield every line once; lines that cannot be used come as BadRow."""
        for taken, (number, row) in enumerate(read_json_lines(self.path)):
            if self.config.limit is not None and taken >= self.config.limit:
                return
            yield row if isinstance(row, BadRow) else self._trace(row, number)

    def _trace(self, row: dict[str, Any], number: int) -> RawTrace | BadRow:
        names = {field: field_name(field, row, self.config.fields) for field in _FIELDS}
        shown = json.dumps(row, ensure_ascii=False)[:_SHOWN]
        found: dict[str, Any] = {field: row.get(name) for field, name in names.items()}
        for field in _FIELDS:
            value = found[field]
            if (
                field in ("answer", "id", "difficulty")
                and isinstance(value, int | float)
                and not isinstance(value, bool)
            ):
                continue
            if value is not None and not isinstance(value, str):
                return BadRow(str(number), "wrong_type", f"field '{names[field]}' is a {type(value).__name__}", shown)
        if not found["question"]:
            return BadRow(str(number), "missing_field", f"no '{names['question']}' (question)", shown)
        if found["response"] is None and (found["thinking"] is None or found["solution"] is None):
            return BadRow(
                str(number),
                "missing_field",
                f"neither '{names['response']}' (response) nor thinking and solution",
                shown,
            )
        whole = found["response"] if found["thinking"] is None or found["solution"] is None else None
        difficulty = re.search(r"\d+(\.\d+)?", str(found["difficulty"])) if found["difficulty"] is not None else None
        return RawTrace(
            source_row=f"{number}" if found["id"] is None else f"{number}:{found['id']}",
            question=found["question"],
            answer=None if found["answer"] is None else str(found["answer"]),
            thinking=None if whole is not None else found["thinking"],
            solution=None if whole is not None else found["solution"],
            response=whole,
            teacher=found["teacher"] or self.config.teacher,
            subject=found["subject"],
            difficulty=float(difficulty.group()) if difficulty else None,
            difficulty_origin=f"column {names['difficulty']}" if difficulty else None,
            license=found["license"] or self.config.license,
            tags=self.config.tags,
        )
