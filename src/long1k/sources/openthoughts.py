"""OpenThoughts-114k in both its configurations, and OpenThoughts3-1.2M."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pydantic import Field

from long1k.jsonlines import BadRow
from long1k.sources.raw import RawTrace, gold_of
from long1k.sources.shapes import Unusable, list_of, needed_text, number_in, one_turn, text_of
from long1k.sources.tabular import ReadConfig, TabularSource

_LICENSE = "Apache-2.0"
_FIRST_TEACHER, _THIRD_TEACHER = "DeepSeek-R1", "QwQ-32B"
# The default configuration of the 114k opens every mathematics question with this; the metadata one does not.
_INSTRUCTION = "Return your final response within \\boxed{}. "


class OpenThoughtsConfig(ReadConfig):
    """Which edition and configuration to read."""

    default_repo: ClassVar[str | None] = "open-thoughts/OpenThoughts-114k"

    keep_instruction: bool = Field(
        default=False, description="leave the instruction about \\boxed{} before questions of the default configuration"
    )


class OpenThoughtsSource(TabularSource):
    """Reads OpenThoughts; which configuration a row is from is seen by its columns."""

    Config = OpenThoughtsConfig
    kind = "openthoughts"

    def patterns(self) -> tuple[str, ...] | None:
        """The metadata configuration unless told otherwise: only it has domains and gold solutions."""
        if self.config.files is not None or self.config.hub != OpenThoughtsConfig.default_repo:
            return super().patterns()
        return ("data/*",) if self.config.config == "default" else (f"{self.config.config or 'metadata'}/*",)

    def converter(self) -> OpenThoughtsRows:
        """Rows of either configuration."""
        return OpenThoughtsRows(self.config.license or _LICENSE, self.config.keep_instruction)


@dataclass(frozen=True, slots=True)
class OpenThoughtsRows:
    """Makes traces of OpenThoughts rows."""

    license: str
    keep_instruction: bool
    columns: ClassVar[tuple[str, ...]] = (
        "conversations", "difficulty", "domain", "problem", "deepseek_reasoning", "deepseek_solution",
        "ground_truth_solution", "starter_code",
    )  # fmt: skip
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("conversations", "deepseek_reasoning"),)

    def __call__(self, row: Mapping[str, Any], key: str) -> list[RawTrace | BadRow]:
        """One trace a row."""
        return [self._metadata(row, key) if "deepseek_reasoning" in row else self._conversation(row, key)]

    def _metadata(self, row: Mapping[str, Any], key: str) -> RawTrace:
        question = needed_text(row, "problem")
        starter = text_of(row, "starter_code")
        answer, gold_solution = gold_of(text_of(row, "ground_truth_solution"))
        return RawTrace(
            source_row=key,
            question=f"{question}\n\n{starter}" if starter and starter.strip() else question,
            answer=answer,
            thinking=needed_text(row, "deepseek_reasoning"),
            solution=needed_text(row, "deepseek_solution"),
            teacher=_FIRST_TEACHER,
            subject=text_of(row, "domain"),
            license=self.license,
            gold_solution=gold_solution,
        )

    def _conversation(self, row: Mapping[str, Any], key: str) -> RawTrace:
        messages = list_of(row, "conversations")
        if messages is None:
            raise Unusable("missing_field", "no 'conversations'")
        turn = one_turn(messages, "conversations")
        difficulty = number_in(text_of(row, "difficulty", numbers=True))
        return RawTrace(
            source_row=key,
            question=turn.question if self.keep_instruction else turn.question.removeprefix(_INSTRUCTION),
            response=turn.reply,
            teacher=_THIRD_TEACHER if "difficulty" in row or "domain" in row else _FIRST_TEACHER,
            subject=text_of(row, "domain"),
            difficulty=difficulty,
            difficulty_origin=None if difficulty is None else "column difficulty",
            license=self.license,
            tags="required",
        )
