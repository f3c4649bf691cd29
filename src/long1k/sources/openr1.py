"""OpenR1-Math-220k: several generations of DeepSeek-R1 for each problem."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from long1k.jsonlines import BadRow
from long1k.sources.raw import RawTrace, gold_of
from long1k.sources.shapes import Unusable, list_of, needed_text, text_of
from long1k.sources.tabular import ReadConfig, TabularSource

_LICENSE, _TEACHER = "Apache-2.0", "DeepSeek-R1"
_FOLDERS = {"default": "data", "extended": "extended", "all": "all"}


class OpenR1Config(ReadConfig):
    """Which configuration to read, and which generations to leave out."""

    default_repo: ClassVar[str | None] = "open-r1/OpenR1-Math-220k"

    complete_only: bool = Field(default=True, description="reject generations that the data set marks as cut short")
    correct_only: bool = Field(default=False, description="reject those that its own math-verify check calls wrong")


class OpenR1Source(TabularSource):
    """Reads OpenR1-Math; every generation is a trace, ``limit`` counts problems."""

    Config = OpenR1Config
    kind = "openr1"

    def patterns(self) -> tuple[str, ...] | None:
        """The files of one of its three configurations."""
        folder = _FOLDERS.get(self.config.config or "default")
        if self.config.files is not None or self.config.hub != OpenR1Config.default_repo or folder is None:
            return super().patterns()
        return (f"{folder}/train-*",)

    def converter(self) -> OpenR1Rows:
        """All generations of a row."""
        return OpenR1Rows(self.config.license or _LICENSE, self.config.complete_only, self.config.correct_only)


@dataclass(frozen=True, slots=True)
class OpenR1Rows:
    """Makes traces of OpenR1-Math rows; ``source_row`` is row.generation:uuid, generations from 0."""

    license: str
    complete_only: bool
    correct_only: bool
    columns: ClassVar[tuple[str, ...]] = (
        "problem", "solution", "answer", "problem_type", "uuid", "generations", "correctness_math_verify",
        "is_reasoning_complete",
    )  # fmt: skip
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("problem",), ("generations",))

    def __call__(self, row: Mapping[str, Any], key: str) -> list[RawTrace | BadRow]:
        """One trace a generation; a row without any is one bad row."""
        question = needed_text(row, "problem")
        answer, gold_solution = text_of(row, "answer", numbers=True), text_of(row, "solution")
        subject, uuid = text_of(row, "problem_type"), text_of(row, "uuid")
        generations = list_of(row, "generations")
        if not generations:
            raise Unusable("missing_field", "no 'generations'")
        complete = _flags(row, "is_reasoning_complete", len(generations))
        correct = _flags(row, "correctness_math_verify", len(generations))
        if not answer or not answer.strip():
            answer, gold_solution = gold_of(gold_solution)
        made: list[RawTrace | BadRow] = []
        for index, response in enumerate(generations):
            own = f"{key}.{index}" + (f":{uuid}" if uuid else "")
            fault: Unusable | None = None
            if not isinstance(response, str):
                fault = Unusable("wrong_type", f"generation {index} is a {type(response).__name__}")
            elif self.complete_only and complete[index] is False:
                fault = Unusable("incomplete_reasoning", f"is_reasoning_complete is false for generation {index}")
            elif self.correct_only and not correct[index]:
                fault = Unusable("marked_wrong", f"correctness_math_verify is {correct[index]} for generation {index}")
            if fault is not None:
                made.append(fault.row(own, {"problem": question, "uuid": uuid, "generation": response}))
                continue
            made.append(
                RawTrace(
                    source_row=own,
                    question=question,
                    answer=answer,
                    response=response,
                    teacher=_TEACHER,
                    subject=subject,
                    license=self.license,
                    tags="required",
                    correct=correct[index],
                    gold_solution=gold_solution,
                )
            )
        return made


def _flags(row: Mapping[str, Any], name: str, length: int) -> list[bool | None]:
    """One flag a generation; all None where the column is null."""
    flags = list_of(row, name)
    if flags is None:
        return [None] * length
    if len(flags) != length:
        raise Unusable("wrong_type", f"'{name}' has {len(flags)} entries for {length} generations")
    if not all(flag is None or isinstance(flag, bool) for flag in flags):
        raise Unusable("wrong_type", f"'{name}' holds something other than true and false")
    return flags
