"""The published pipeline's predict.json: a list of {instruction, input, ref, pre}, after judging with score.

Its judge reads the last line of ``ref``, so that line is the gold answer; the whole of it is carried along.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from long1k.interop.outcomes import (
    PROVENANCE,
    About,
    ForeignRow,
    Outcome,
    Scored,
    as_label,
    bad_row,
    json_text,
    provenance_of,
)
from long1k.interop.streams import read_objects
from long1k.jsonlines import BadRow

_TEXTS = ("instruction", "input", "ref", "pre")


class PredictJson:
    """{instruction, input, ref, pre, score}: one object an output."""

    name: ClassVar[str] = "predict-json"
    options: ClassVar[tuple[str, ...]] = ()
    carries: ClassVar[bool] = False
    by_question: ClassVar[bool] = False

    def __init__(self, options: Mapping[str, str]) -> None:
        del options

    @staticmethod
    def looks_like(head: bytes, path: Path) -> bool:
        """Whether the first object has instruction, ref and pre."""
        return head.lstrip()[:1] in (b"[", b"{") and b'"pre"' in head and b'"ref"' in head

    def read(self, path: Path) -> Iterator[ForeignRow | BadRow]:
        """The outputs in their order; of equal questions the later ones are further samples."""
        for key, row in read_objects(path):
            if isinstance(row, BadRow):
                yield row
                continue
            fault = _fault(row)
            if fault is not None:
                yield bad_row(key, *fault, row)
                continue
            instruction, more = row.get("instruction") or "", row.get("input") or ""
            question = f"{instruction}\n{more}" if instruction and more else instruction or more
            gold = next((line.strip() for line in reversed(row["ref"].splitlines()) if line.strip()), row["ref"])
            outcome = Outcome(
                question, (gold,), row["pre"], label=as_label(row.get("score")), provenance=row.get(PROVENANCE)
            )
            yield ForeignRow(key, (outcome,), {**row, "pre": None})

    def row(
        self, group: Sequence[Scored], number: int, about: About, values: dict[str, Any] | None
    ) -> dict[str, Any] | BadRow:
        """The object of one output; ``score`` is 1 or 0 where there is a verdict."""
        one = group[0]
        fresh = {"instruction": one.row.question, "input": "", "ref": "\n".join(one.row.answers)}
        made: dict[str, Any] = dict(fresh if values is None else values)
        made["pre"] = one.row.text
        correct = one.correct
        if (values is None or one.scores) and correct is not None:
            made["score"] = int(correct)
        if about.provenance:
            made[PROVENANCE] = provenance_of(one)
        return made

    def write(self, folder: Path, stem: str, rows: Iterator[dict[str, Any]], about: About) -> list[Path]:
        """predict-STEM.json, object by object."""
        path = folder / f"predict-{stem}.json"
        with path.open("w", encoding="utf-8", newline="\n") as handle:
            handle.write("[")
            for number, row in enumerate(rows):
                handle.write((",\n" if number else "\n") + json_text(row, indent=4))
            handle.write("\n]\n")
        return [path]


def _fault(row: Mapping[str, Any]) -> tuple[str, str] | None:
    for name in _TEXTS:
        value = row.get(name)
        if value is None and name in ("instruction", "input"):
            continue
        if value is None:
            return "missing_field", f"no '{name}'"
        if not isinstance(value, str):
            return "wrong_type", f"'{name}' is a {type(value).__name__}, not a text"
    if not (row.get("instruction") or row.get("input")):
        return "empty_field", "neither instruction nor input has a text"
    if not row["ref"].strip():
        return "empty_field", "ref is empty: nothing to compare with"
    return None
