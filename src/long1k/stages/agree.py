"""Two graders on the same predictions: agreement, kappa, and a sheet of every disagreement."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from long1k.errors import DataError
from long1k.scored import aligned, graded_predictions
from long1k.statistics.agreement import kappa
from long1k.tables import read_manifest, written_aside

_FAILED = ("error", "timeout")
_SHOWN_CHARS = 1000
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_COLUMNS = ("benchmark", "arm", "question", "answers", "answer_text")


def agree(a: Path, b: Path, sheet: Path | None = None, *, predictions: Path | None = None) -> dict[str, Any]:
    """Compare two tables of scores of the same predictions.

    An answer that either could not grade, or says nothing of, is not compared.

    Args:
        sheet: where every disagreement is written, failed grades of one side too: .csv, else JSON Lines.
        predictions: the graded table; default: where it lay when it was graded.

    Returns:
        compared, agreement, kappa, the four counts, statuses of a against those of b, and the rows of the sheet.

    Raises:
        DataError: the two grade different predictions, or the sheet cannot be written.
    """
    first, second = read_manifest(a), read_manifest(b)
    if first.inputs.get("predictions") != second.inputs.get("predictions"):
        raise DataError(f"{a} and {b} grade different predictions", "score one table with both graders")
    folder = graded_predictions(a, predictions)
    graders = [manifest.info.get("grader") or manifest.config["grader"] for manifest in (first, second)]
    counts: Counter[tuple[bool, bool]] = Counter()
    statuses: Counter[tuple[str, str]] = Counter()
    unsaid = [0]

    def disagreements() -> Iterator[dict[str, Any]]:
        for row, (one, other) in aligned((a, b), _COLUMNS, folder):
            if one is None or other is None:
                unsaid[0] += 1
                continue
            statuses[one["status"], other["status"]] += 1
            failed = [each["status"] in _FAILED for each in (one, other)]
            said = one["status"] == "correct", other["status"] == "correct"
            if not any(failed):
                counts[said] += 1
            if failed[0] != failed[1] or (not any(failed) and said[0] != said[1]):
                yield _line(row, one, other)

    num_rows = _write(sheet, disagreements()) if sheet is not None else sum(1 for _ in disagreements())
    compared = counts.total()
    return {
        "a": f"{graders[0]} ({a})", "b": f"{graders[1]} ({b})", "compared": compared,
        "agreement": (counts[True, True] + counts[False, False]) / compared if compared else None,
        "kappa": kappa(counts), "both_correct": counts[True, True], "only_a_correct": counts[True, False],
        "only_b_correct": counts[False, True], "neither_correct": counts[False, False],
        "not_compared": statuses.total() - compared + unsaid[0], "rows": num_rows,
        "statuses": {f"{one} / {other}": n for (one, other), n in sorted(statuses.items())},
    }  # fmt: skip


def _line(row: dict[str, Any], one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    text = row["answer_text"]
    return {
        "prediction_id": row["prediction_id"], "part": one["part"], "benchmark": row["benchmark"], "arm": row["arm"],
        "question": row["question"], "gold": row["answers"][one["part"]],
        "status_a": one["status"], "status_b": other["status"],
        "extracted_a": one["extracted"], "extracted_b": other["extracted"],
        "note_a": one["note"], "note_b": other["note"],
        "end_of_answer": None if text is None else text[-_SHOWN_CHARS:],
    }  # fmt: skip


def _write(sheet: Path, lines: Iterator[dict[str, Any]]) -> int:
    """Write the sheet whole or not at all; returns its rows."""
    count = 0
    try:
        with written_aside(sheet) as temporary, temporary.open("w", encoding="utf-8", newline="") as handle:
            table = csv.writer(handle) if sheet.suffix == ".csv" else None
            for line in lines:
                if table is None:
                    handle.write(json.dumps(line, ensure_ascii=False) + "\n")
                else:
                    if not count:
                        table.writerow(line)
                    table.writerow([_cell(value) for value in line.values()])
                count += 1
    except OSError as error:
        raise DataError(f"cannot write {sheet}: {error.strerror}", "name a file in a folder that is there") from None
    return count


def _cell(value: Any) -> str:
    """Model output in a spreadsheet must stay text: a cell that would be a formula begins with an apostrophe."""
    text = "" if value is None else str(value).replace("\0", "\N{SYMBOL FOR NULL}")
    return f"'{text}" if text.startswith(_FORMULA) else text
