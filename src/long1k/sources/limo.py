"""LIMO: few, hard questions with long solutions that no tag divides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from long1k.jsonlines import BadRow
from long1k.sources.raw import RawTrace
from long1k.sources.shapes import needed_text, text_of
from long1k.sources.tabular import ReadConfig, TabularSource

_LICENSE = "Apache-2.0"


class LimoConfig(ReadConfig):
    """Where the data set is."""

    default_repo: ClassVar[str | None] = "GAIR/LIMO"


class LimoSource(TabularSource):
    """Reads LIMO; its solutions come from several models, and no row says which."""

    Config = LimoConfig
    kind = "limo"

    def converter(self) -> LimoRows:
        """Question, solution and answer."""
        return LimoRows(self.config.license or _LICENSE)


@dataclass(frozen=True, slots=True)
class LimoRows:
    """Makes traces of LIMO rows."""

    license: str
    columns: ClassVar[tuple[str, ...]] = ("question", "solution", "answer")
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("question",), ("solution",), ("answer",))

    def __call__(self, row: Mapping[str, Any], key: str) -> list[RawTrace | BadRow]:
        """One trace a row; thinking and solution run on, and are told apart at the final answer."""
        return [
            RawTrace(
                source_row=key,
                question=needed_text(row, "question"),
                answer=text_of(row, "answer", numbers=True),
                response=needed_text(row, "solution"),
                license=self.license,
            )
        ]
