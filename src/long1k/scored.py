"""Scores beside the predictions that they grade."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from long1k.errors import DataError
from long1k.rows import Prediction, Score
from long1k.tables import iter_columns, read_manifest

ENDS = ("finished", "cut", "unknown")


def end_of(finish_reason: str) -> str:
    """How an output ended: by itself, at its limit, or not said (imported outputs often do not say)."""
    return {"stop": "finished", "length": "cut"}.get(finish_reason, "unknown")


def joined(
    scores: Path, columns: Sequence[str], predictions: Path | None = None
) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Predictions (some columns) with each of their scores, in order, a few at a time in memory.

    Raises:
        DataError: the predictions are not there, or not those that were graded.
    """
    for row, (one,) in aligned((scores,), columns, graded_predictions(scores, predictions)):
        if one is not None:
            yield row, one


def aligned(
    tables: Sequence[Path], columns: Sequence[str], folder: Path
) -> Iterator[tuple[dict[str, Any], list[dict[str, Any] | None]]]:
    """Predictions, once for each problem, with what every table of scores says of it.

    None where it says nothing: verdicts that were imported are those that the file stated.

    Raises:
        DataError: a table has another order than the predictions.
    """
    needed = ("prediction_id", "part", "status", "extracted", "note")
    written = [iter_columns(scores, Score, needed) for scores in tables]
    waiting = [next(each, None) for each in written]
    for row in iter_columns(folder, Prediction, sorted({*columns, "prediction_id", "answers"})):
        for part in range(len(row["answers"])):
            found: list[dict[str, Any] | None] = []
            for at, one in enumerate(waiting):
                same = one is not None and (one["prediction_id"], one["part"]) == (row["prediction_id"], part)
                found.append(one if same else None)
                if same:
                    waiting[at] = next(written[at], None)
            yield row, found
    for scores, one in zip(tables, waiting, strict=True):
        if one is not None:
            raise DataError(f"{scores} does not follow the order of {folder}", "score them again")


def graded_predictions(scores: Path, predictions: Path | None = None) -> Path:
    """The folder of the predictions that were graded, checked by its digest."""
    manifest = read_manifest(scores)
    if "predictions" not in manifest.inputs:
        made = manifest.stage.split("/")[0]
        mend = f"long1k score {scores} --out scores makes them" if "predict" in made else "give a folder made by score"
        raise DataError(f"{scores} holds no verdicts, but the result of {made}", mend)
    folder = predictions or Path(str(manifest.info.get("predictions_folder") or ""))
    if predictions is None and not (folder / "manifest.json").is_file():
        raise DataError(f"the predictions that {scores} grades are not in {folder}", "say where: --predictions FOLDER")
    if read_manifest(folder).digest != manifest.inputs.get("predictions"):
        raise DataError(f"{scores} grades other predictions than those in {folder}", "score these, or name the others")
    return folder
