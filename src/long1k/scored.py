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
    folder = graded_predictions(scores, predictions)
    written = iter_columns(scores, Score, ("prediction_id", "part", "status", "extracted", "note"))
    for row in iter_columns(folder, Prediction, sorted({*columns, "prediction_id", "answers"})):
        for _ in row["answers"]:
            one = next(written)
            if one["prediction_id"] != row["prediction_id"]:
                raise DataError(f"{scores} does not follow the order of {folder}", "score them again")
            yield row, one


def graded_predictions(scores: Path, predictions: Path | None = None) -> Path:
    """The folder of the predictions that were graded, checked by its digest."""
    manifest = read_manifest(scores)
    folder = predictions or Path(str(manifest.info.get("predictions_folder") or ""))
    if predictions is None and not (folder / "manifest.json").is_file():
        raise DataError(f"the predictions that {scores} grades are not in {folder}", "say where: --predictions FOLDER")
    if read_manifest(folder).digest != manifest.inputs.get("predictions"):
        raise DataError(f"{scores} grades other predictions than those in {folder}", "score these, or name the others")
    return folder
