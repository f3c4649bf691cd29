"""s1K-1.1 (traces of DeepSeek-R1 and of Gemini) and s1K (of Gemini)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import Field

from long1k.jsonlines import BadRow
from long1k.sources.raw import RawTrace, gold_of
from long1k.sources.shapes import Unusable, list_of, needed_text, text_of
from long1k.sources.tabular import ReadConfig, TabularSource

_TEACHERS = {"deepseek": "DeepSeek-R1", "gemini": "Gemini 2.0 Flash Thinking Experimental"}


class S1kConfig(ReadConfig):
    """Which teacher's traces to read."""

    default_repo: ClassVar[str | None] = "simplescaling/s1K-1.1"

    teacher: Literal["deepseek", "gemini"] = Field(
        default="deepseek", description="whose trace of each question; s1K itself has only gemini"
    )
    correct_only: bool = Field(default=False, description="reject traces that the data set's own grade calls wrong")


class S1kSource(TabularSource):
    """Reads s1K or s1K-1.1; which of them is seen by the columns."""

    Config = S1kConfig
    kind = "s1k"

    def patterns(self) -> tuple[str, ...] | None:
        """All its files."""
        named = str(self.config.hub).startswith("simplescaling/s1K")
        return ("data/train-*",) if self.config.files is None and named else super().patterns()

    def converter(self) -> S1kRows:
        """Rows with the traces of one teacher."""
        return S1kRows(self.config.teacher, self.config.correct_only, self.config.license)


@dataclass(frozen=True, slots=True)
class S1kRows:
    """Makes traces of s1K rows."""

    teacher: str
    correct_only: bool
    license: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """What is read of a row."""
        return (
            "question", "solution", "cot_type", f"{self.teacher}_thinking_trajectory", f"{self.teacher}_attempt",
            f"{self.teacher}_grade", "deepseek_attempt", "thinking_trajectories", "attempt",
        )  # fmt: skip

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """Its trace may be under the name of either edition."""
        old = ("thinking_trajectories",) if self.teacher == "gemini" else ()
        return (("question",), (f"{self.teacher}_thinking_trajectory", *old))

    def __call__(self, row: Mapping[str, Any], key: str) -> list[RawTrace | BadRow]:
        """One trace a row."""
        return [self._trace(row, key)]

    def _trace(self, row: Mapping[str, Any], key: str) -> RawTrace:
        question = needed_text(row, "question")
        if self.teacher == "gemini" and "gemini_thinking_trajectory" not in row and "thinking_trajectories" in row:
            steps = list_of(row, "thinking_trajectories") or []
            if not steps or not all(isinstance(step, str) for step in steps):
                raise Unusable("missing_field" if not steps else "wrong_type", "'thinking_trajectories' holds no texts")
            thinking, solution = "\n".join(steps), needed_text(row, "attempt")
        else:
            thinking = needed_text(row, f"{self.teacher}_thinking_trajectory")
            solution = needed_text(row, f"{self.teacher}_attempt")
        grade = text_of(row, f"{self.teacher}_grade")
        correct = {"yes": True, "no": False}.get((grade or "").strip().lower())
        if self.correct_only and not correct:
            raise Unusable("marked_wrong", f"{self.teacher}_grade is {grade!r}")
        answer, gold_solution = gold_of(text_of(row, "solution", numbers=True))
        return RawTrace(
            source_row=key,
            question=question,
            answer=answer,
            thinking=thinking,
            solution=solution,
            teacher=_TEACHERS[self.teacher],
            subject=text_of(row, "cot_type"),
            license=self.license or ("MIT" if "deepseek_attempt" in row else "Apache-2.0"),
            correct=correct,
            gold_solution=gold_solution,
        )
