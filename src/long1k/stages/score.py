"""score: Predictions -> Scores.  Grades what is there; never generates."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from long1k.grading import AUTO, GRADERS, grader_for
from long1k.grading.extract import Extracted, extract_parts
from long1k.plugins import load_plugin
from long1k.progress import progress
from long1k.rows import STATUSES, Prediction, Score
from long1k.tables import Manifest, TableWriter, fingerprint, is_current, read_manifest, read_table

STAGE = "score/1"


def score(out: Path, predictions: Path, *, grader_name: str = AUTO, num_workers: int = 1) -> Manifest:
    """Grade every part of every prediction; a finished table is left alone.

    The status of a part is ``truncated`` if the output was cut before it gave an answer, ``no_answer``
    if it ended without one (thinking that was never closed gives none), else the grader's verdict.
    """
    source = read_manifest(predictions)
    grader_name = grader_for(grader_name, source.info)
    factory = load_plugin(grader_name, GRADERS, "grader")
    settings: dict[str, Any] = {"grader": grader_name, "version": factory.version}
    inputs = {"predictions": source.digest}
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    rows = read_table(predictions, Prediction)
    writer = TableWriter(out, Score, stage=STAGE, config=settings, inputs=inputs)
    found = [_extract(row) for row in rows]
    pairs = [
        (gold, part.value)
        for row, parts in zip(rows, found, strict=True)
        for gold, part in zip(row.answers, parts, strict=True)
        if part is not None
    ]
    with progress(f"score {out.name}", len(pairs)) as step, factory(num_workers=num_workers) as grader:
        verdicts = grader.grade_many(pairs)
        step(len(pairs))
    remaining = iter(verdicts)
    scores: list[Score] = []
    for row, parts in zip(rows, found, strict=True):
        for number, part in enumerate(parts):
            if part is None:
                status, note = ("truncated" if row.finish_reason == "length" else "no_answer"), None
            else:
                verdict = next(remaining)
                status, note = verdict.status, verdict.note or None
            scores.append(
                Score(
                    row.prediction_id,
                    number,
                    grader_name,
                    factory.version,
                    status,
                    None if part is None else part.value,
                    None if part is None else (part.start, part.end),
                    note,
                )
            )
    writer.write_part(0, scores, rows_in=sum(len(row.answers) for row in rows))
    info: dict[str, Any] = {
        "predictions": len(rows),
        "statuses": {name: n for name in STATUSES if (n := sum(s.status == name for s in scores))},
    }
    labelled = [
        (row, s) for row, s in zip(rows, scores, strict=False) if row.label is not None and len(rows) == len(scores)
    ]
    labelled = [(row, s) for row, s in labelled if s.status not in ("error", "timeout")]  # a failed grade is no verdict
    if labelled:
        info["labelled"] = len(labelled)
        info["label_agreement"] = sum((s.status == "correct") == row.label for row, s in labelled) / len(labelled)
    return writer.commit(1, info)


def _extract(row: Prediction) -> Sequence[Extracted | None]:
    if row.answer_text is None:
        return [None] * len(row.answers)
    return extract_parts(row.answer_text, len(row.answers))
