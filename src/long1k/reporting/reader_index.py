"""The index of the trace reader: one line for every output of a study, and for every part of it that was graded.

It is made from the tables alone, column by column, with no text of an output in memory.  What a line says is enough
to list, filter, sort, search and pair outputs; the text itself lies in a block (``reader_blocks``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from long1k.reporting.text import clean
from long1k.rows import STATUSES, Prediction, Row, Score, schema_of
from long1k.tables import MANIFEST, iter_columns, read_manifest

UNGRADED = "ungraded"
KNOWN_STATUSES = (*STATUSES, UNGRADED)
_SHORT_QUESTION = 160
_SHORT_ANSWER = 60
_LONGEST_NAME = 200


@dataclass(frozen=True)
class Source:
    """A finished table of predictions with the scores of it, as folders below the run."""

    predictions: str
    scores: str | None
    arm: str | None
    seed: int | None
    benchmark: str | None


@dataclass(frozen=True)
class Grade:
    """A verdict on one part of an output."""

    status: str
    extracted: str | None
    span: tuple[int, int] | None
    note: str | None


def sources(root: Path, findings: Mapping[str, Any]) -> list[Source]:
    """Every finished table of predictions of a run: its arms', in the findings' order, then published ones."""
    arms = list(roles(findings))
    grader = {
        str(Path(path).parent): str(path)
        for entry in findings.get("benchmarks") or []
        for arm in entry.get("arms") or [] for path in arm.get("rows") or []
    }  # fmt: skip
    found = []
    for manifest in sorted(root.glob(f"arms/*/seed-*/predict/*/{MANIFEST}")):
        folder = manifest.parent
        if not holds(folder, Prediction):
            continue
        cell, benchmark = folder.parents[1], folder.name
        scored = [one.parent for one in cell.glob(f"score/{benchmark}/*/{MANIFEST}") if holds(one.parent, Score)]
        graded = [one.relative_to(root).as_posix() for one in scored]
        named = grader.get((cell / "score" / benchmark).relative_to(root).as_posix())
        # The study's own grader is the one the findings name; before there are any, the rule comes before a judge.
        graded.sort(key=lambda path: (path != named, not path.endswith("/math"), path))
        seed = cell.name.removeprefix("seed-")
        found.append(
            Source(
                folder.relative_to(root).as_posix(), graded[0] if graded else None, cell.parent.name,
                int(seed) if seed.isdigit() else None, benchmark,
            )
        )  # fmt: skip
    place = {name: at for at, name in enumerate(arms)}
    found.sort(key=lambda one: (place.get(one.arm or "", len(place)), one.arm or "", one.seed or 0))
    for manifest in sorted(root.glob(f"published/*/predictions/{MANIFEST}")):
        folder = manifest.parent.relative_to(root)
        scores = folder.parent / "score"
        if holds(root / folder, Prediction):
            graded_too = holds(root / scores, Score)
            found.append(Source(folder.as_posix(), scores.as_posix() if graded_too else None, None, None, None))
    return found


def holds(folder: Path, row_type: type[Row]) -> bool:
    """Whether a finished table holds such rows as this version writes: older ones are not read."""
    if not (folder / MANIFEST).is_file():
        return False
    parts = [name for name in sorted(read_manifest(folder).files) if name.startswith("part-")]
    try:
        return all(pq.read_schema(folder / name).names == schema_of(row_type).names for name in parts)
    except (OSError, pa.ArrowInvalid):
        return False


def roles(findings: Mapping[str, Any]) -> dict[str, tuple[str | None, int | None]]:
    """(role, target tokens) of every arm that the findings know, in their order."""
    known: dict[str, tuple[str | None, int | None]] = {}
    for entry in findings.get("benchmarks") or []:
        for arm in entry.get("arms") or []:
            known.setdefault(str(arm["name"]), (arm.get("role"), arm.get("target_tokens")))
    return known


def digests(root: Path, findings: Mapping[str, Any]) -> dict[str, str]:
    """The content digest of every table that the index stands on."""
    folders = [path for one in sources(root, findings) for path in (one.predictions, one.scores) if path]
    return {path: read_manifest(root / path).digest for path in folders}


def grades(root: Path, source: Source) -> dict[tuple[str, int], Grade]:
    """The verdicts of a table of scores, by prediction and part."""
    if source.scores is None:
        return {}
    columns = ("prediction_id", "part", "status", "extracted", "span", "note")
    return {
        (row["prediction_id"], row["part"]): Grade(
            row["status"], row["extracted"],
            (row["span"][0], row["span"][1]) if row["span"] and len(row["span"]) == 2 else None, row["note"],
        )
        for row in iter_columns(root / source.scores, Score, columns)
    }  # fmt: skip


@dataclass
class Index:
    """Outputs and their graded parts, column by column; numbers point into the lists of names."""

    cells: list[dict[str, Any]] = field(default_factory=list)
    benchmarks: list[str] = field(default_factory=list)
    finishes: list[str] = field(default_factory=list)
    budgets: list[str] = field(default_factory=list)
    prompts: list[dict[str, Any]] = field(default_factory=list)
    outputs: dict[str, list[Any]] = field(
        default_factory=lambda: {
            name: []
            for name in (
                "id", "cell", "prompt", "sample", "tokens", "finish", "budget", "label", "row", "loop", "block",
            )
        }
    )  # fmt: skip
    rows: dict[str, list[Any]] = field(
        default_factory=lambda: {name: [] for name in ("output", "part", "status", "extracted")}
    )
    spans: list[range] = field(default_factory=list)
    """The outputs of every source, in its order."""

    def packed(self) -> dict[str, Any]:
        """The index as the page holds it: columns that mostly rise by one are written as differences."""
        outputs = dict(self.outputs)
        for name in ("cell", "prompt", "row", "block"):
            outputs[name] = _steps(outputs[name])
        return {
            "cells": self.cells, "benchmarks": self.benchmarks, "finishes": self.finishes, "budgets": self.budgets,
            "statuses": list(KNOWN_STATUSES), "prompts": self.prompts, "outputs": outputs,
            "rows": self.rows | {"output": _steps(self.rows["output"])},
        }  # fmt: skip


def build(root: Path, found: list[Source], roles_of: Mapping[str, tuple[str | None, int | None]]) -> Index:
    """The index of all outputs of the sources.

    Raises:
        DataError: a table cannot be read, or holds other rows.
    """
    index = Index()
    prompts: dict[tuple[int, str], int] = {}
    counts: dict[int, int] = {}
    cells: dict[tuple[Any, ...], int] = {}
    for source in found:
        verdicts = grades(root, source)
        first = len(index.outputs["id"])
        for number, row in enumerate(_rows(root, source)):
            benchmark = _number(index.benchmarks, clean(source.benchmark or row["benchmark"])[:_LONGEST_NAME])
            key = (benchmark, str(row["problem_id"]))
            if key not in prompts:
                prompts[key] = len(index.prompts)
                counts[benchmark] = counts.get(benchmark, 0) + 1
                index.prompts.append(
                    {
                        "b": benchmark, "n": counts[benchmark], "q": short(row["question"], _SHORT_QUESTION),
                        "g": [short(answer, _SHORT_ANSWER) for answer in row["answers"]],
                    }
                )  # fmt: skip
            arm = source.arm or str(row["arm"])
            seed = source.seed if source.arm is not None else row["train_seed"]
            cell = cells.setdefault((arm, seed, benchmark, source.predictions), len(cells))
            if cell == len(index.cells):
                role, rung = roles_of.get(arm, (None, None)) if source.arm is not None else (None, None)
                index.cells.append(
                    {
                        "arm": clean(arm)[:_LONGEST_NAME], "seed": seed, "role": role,
                        "rung": rung if role == "rung" else None, "benchmark": benchmark,
                        "table": clean(source.predictions), "scores": clean(source.scores),
                    }
                )  # fmt: skip
            _add(index, row, cell, prompts[key], number, verdicts)
        index.spans.append(range(first, len(index.outputs["id"])))
    return index


def _rows(root: Path, source: Source) -> Iterator[dict[str, Any]]:
    columns = (
        "prediction_id", "problem_id", "benchmark", "question", "answers", "arm", "train_seed", "sample_index",
        "finish_reason", "budget_flag", "num_tokens", "label",
    )  # fmt: skip
    return iter_columns(root / source.predictions, Prediction, columns)


def _add(
    index: Index, row: Mapping[str, Any], cell: int, prompt: int, number: int, verdicts: Mapping[Any, Grade]
) -> None:
    columns = index.outputs
    output = len(columns["id"])
    columns["id"].append(clean(row["prediction_id"])[:_LONGEST_NAME])
    columns["cell"].append(cell)
    columns["prompt"].append(prompt)
    columns["sample"].append(row["sample_index"])
    columns["tokens"].append(row["num_tokens"])
    columns["finish"].append(_number(index.finishes, clean(row["finish_reason"])[:_LONGEST_NAME]))
    columns["budget"].append(_number(index.budgets, clean(row["budget_flag"] or "")[:_LONGEST_NAME]))
    columns["label"].append(None if row["label"] is None else int(row["label"]))
    columns["row"].append(number)
    columns["loop"].append(0)
    columns["block"].append(0)
    for part in range(max(1, len(row["answers"]))):
        grade = verdicts.get((row["prediction_id"], part))
        status = UNGRADED if grade is None else grade.status
        index.rows["output"].append(output)
        index.rows["part"].append(part)
        index.rows["status"].append(
            KNOWN_STATUSES.index(status) if status in KNOWN_STATUSES else STATUSES.index("error")
        )
        said = None if grade is None or grade.extracted is None else short(grade.extracted, _SHORT_ANSWER)
        index.rows["extracted"].append(said)


def short(words: str, limit: int) -> str:
    """The beginning of a text on one line, every invisible character made visible."""
    words = clean(" ".join(words[: 4 * limit].split()))
    return words if len(words) <= limit else words[: limit - 1] + "…"


def _number(names: list[str], name: str) -> int:
    if name not in names:
        names.append(name)
    return names.index(name)


def _steps(values: list[int]) -> list[int]:
    return [value - before for before, value in zip([0, *values], values, strict=False)]
