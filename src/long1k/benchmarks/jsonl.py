"""A benchmark from JSON Lines: a question and an answer a row."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from long1k.benchmarks.base import BOXED_INSTRUCTION, Item
from long1k.errors import DataError
from long1k.jsonlines import BadRow, expand_path, read_json_lines, unstorable
from long1k.rows import Message, content_id
from long1k.tables import file_digest


class JsonlBenchmarkConfig(BaseModel):
    """Which file to read, what its fields are called, and how to ask."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str
    question: str = Field(default="problem", description="name of the question's field")
    answer: str = Field(default="answer", description="name of the gold answer's field")
    instruction: str = Field(default=BOXED_INSTRUCTION, description="put after the question, on a line of its own")
    limit: int | None = Field(default=None, ge=1)


class JsonlBenchmark:
    """Every row is one item; a row that cannot be read stops the benchmark, since all must be asked."""

    Config = JsonlBenchmarkConfig
    grader = "math"

    def __init__(self, config: JsonlBenchmarkConfig) -> None:
        self.config = config
        self.path = expand_path(config.path)

    def digest(self) -> str:
        """SHA-256 of the file."""
        if not self.path.is_file():
            raise DataError(f"there is no benchmark file {self.path}", "check the path")
        return file_digest(self.path)

    def load(self) -> Iterator[Item]:
        """Yield the items; equal questions keep their own ids by line number."""
        c = self.config
        for taken, (number, row) in enumerate(read_json_lines(self.path)):
            if c.limit is not None and taken >= c.limit:
                return
            if isinstance(row, BadRow):
                raise DataError(f"{self.path}, line {number}: {row.reason}: {row.evidence}", "mend the benchmark file")
            missing = [name for name in (c.question, c.answer) if row.get(name) in (None, "")]
            if missing:
                raise DataError(
                    f"{self.path}, line {number}: no field '{missing[0]}' (it has {', '.join(map(str, row))})",
                    "set question / answer to the file's field names",
                )
            asked = str(row[c.question]).strip()
            fault = unstorable(asked) or unstorable(str(row[c.answer]))
            if fault is not None:
                raise DataError(f"{self.path}, line {number}: {fault}", "mend the benchmark file")
            question = asked.removesuffix(c.instruction).strip() if c.instruction else asked
            prompt = f"{question}\n{c.instruction}" if c.instruction else question
            yield Item(
                item_id=content_id("item", str(number), question),
                question=question,
                messages=(Message("user", prompt),),
                answers=(str(row[c.answer]),),
            )
