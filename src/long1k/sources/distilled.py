"""What `distill` made: a teacher's traces with verdicts and pass rates."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from long1k.errors import DataError
from long1k.files import LocalFile, Place
from long1k.jsonlines import BadRow
from long1k.sources.raw import RawTrace
from long1k.sources.shapes import needed_text, text_of
from long1k.sources.tabular import ReadConfig, TabularSource
from long1k.tables import MANIFEST, read_manifest


class DistilledConfig(ReadConfig):
    """Where it is: the folder given to ``distill --out``, its folder of traces, or a file of such rows."""


class DistilledSource(TabularSource):
    """Reads distilled traces; difficulty is 1 - pass rate, and says of which teacher in how many attempts."""

    Config = DistilledConfig
    kind = "distilled"

    def __init__(self, config: DistilledConfig) -> None:
        super().__init__(config)
        if self.path is not None and (self.path / "traces" / MANIFEST).is_file():
            self.path = self.path / "traces"

    def converter(self) -> DistilledRows:
        """The traces as they are, to be checked anew."""
        return DistilledRows(self.config.license)

    def digest(self) -> str:
        """The table's own digest; of a file that of its bytes."""
        return read_manifest(self.path).digest if self.path is not None and self.path.is_dir() else super().digest()

    def _places(self) -> Sequence[Place]:
        if self.path is None or not self.path.is_dir():
            return super()._places()
        manifest = read_manifest(self.path)
        if manifest.stage.split("/")[0] not in ("distill", "collect"):
            raise DataError(
                f"{self.path} holds the result of {manifest.stage.split('/')[0]}", "give a folder of distill"
            )
        names = sorted(name for name in manifest.files if name.startswith("part-"))
        return [LocalFile(str(Path(self.path) / name), name) for name in names]


@dataclass(frozen=True, slots=True)
class DistilledRows:
    """Makes raw traces of stored ones."""

    license: str | None
    columns: ClassVar[tuple[str, ...]] = (
        "question", "answer", "thinking", "solution", "teacher", "correct", "subject", "difficulty",
        "difficulty_origin", "license", "source_row",
    )  # fmt: skip
    needs: ClassVar[tuple[tuple[str, ...], ...]] = (("question",), ("answer",), ("thinking",), ("solution",))

    def __call__(self, row: Mapping[str, Any], key: str) -> list[RawTrace | BadRow]:
        """One trace a row; where it came from stands behind the row's number."""
        origin, difficulty, correct = text_of(row, "source_row"), row.get("difficulty"), row.get("correct")
        known = isinstance(difficulty, int | float) and not isinstance(difficulty, bool)
        return [
            RawTrace(
                source_row=f"{key}:{origin}" if origin else key,
                question=needed_text(row, "question"),
                answer=text_of(row, "answer", numbers=True),
                thinking=needed_text(row, "thinking"),
                solution=needed_text(row, "solution"),
                teacher=text_of(row, "teacher"),
                subject=text_of(row, "subject"),
                difficulty=float(difficulty) if known and difficulty is not None else None,
                difficulty_origin=text_of(row, "difficulty_origin") if known else None,
                license=self.license or text_of(row, "license"),
                correct=correct if isinstance(correct, bool) else None,
            )
        ]
