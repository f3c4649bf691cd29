"""Published model outputs (JSON Lines) as a Prediction table, labels kept."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from long1k.errors import DataError, RecipeError
from long1k.interop.outcomes import as_label
from long1k.jsonlines import BadRow, field_name, half_surrogate, read_json_lines
from long1k.rows import Prediction, Reject, content_id
from long1k.tables import PART_ROWS, Manifest, TableWriter, file_digest, fingerprint, is_current, read_manifest
from long1k.thinking import split_thinking

STAGE = "import-predictions/3"
_FIELDS = ("question", "answer", "response", "sample", "label", "benchmark", "finish_reason")


def import_predictions(out: Path, path: Path, fields: Mapping[str, str], *, name: str, arm: str | None) -> Manifest:
    """Read outputs; a row that lacks a field is rejected with the reason.

    Args:
        fields: our field -> theirs (question, answer, response, sample, label, benchmark, finish_reason).
        arm: the field that tells runs apart; None puts all in one.

    Raises:
        DataError: the file is missing, or holds no usable row.
        RecipeError: ``fields`` or ``arm`` names something unknown.
    """
    unknown = sorted(set(fields) - set(_FIELDS))
    if unknown:
        raise RecipeError(f"unknown field '{unknown[0]}' for predictions", f"known: {', '.join(_FIELDS)}")
    if not path.is_file():
        raise DataError(f"there is no file {path}", "check the path")
    settings: dict[str, Any] = {"fields": dict(fields), "name": name, "arm": arm}
    inputs = {"file": file_digest(path)}
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    _check_columns(path, fields, arm)
    writer = TableWriter(out, Prediction, stage=STAGE, config=settings, inputs=inputs)
    drawn: dict[tuple[str, str, str], int] = {}
    made = (
        row if isinstance(row, BadRow) else _prediction(row, number, fields, name, arm, drawn)
        for number, row in read_json_lines(path)
    )
    items: set[str] = set()
    arms: set[str] = set()
    samples: set[tuple[str, str, int]] = set()
    parts, first, same_sample = 0, "", 0
    while chunk := list(islice(made, PART_ROWS)):  # so much is held, and no more
        rows = [one for one in chunk if not isinstance(one, BadRow)]
        rejected = [
            Reject(one.reason, one.evidence[:500], path.name, one.source_row, one.row)
            for one in chunk
            if isinstance(one, BadRow)
        ]
        if rejected and not first:
            first = f": {rejected[0].reason}: {rejected[0].evidence}"
        writer.write_part(parts, rows, rejected)
        for row in rows:
            sample = (row.arm, row.problem_id, row.sample_index)
            same_sample += sample in samples
            samples.add(sample)
        items |= {row.problem_id for row in rows}
        arms |= {row.arm for row in rows}
        parts += 1
    if not items:
        raise DataError(
            f"no usable outputs in {path}{first}",
            "map its fields: --field question=… --field answer=… --field response=…",
        )
    return writer.commit(parts, {"items": len(items), "arms": sorted(arms), "same_sample": same_sample})


def _check_columns(path: Path, fields: Mapping[str, str], arm: str | None) -> None:
    """Refuse a named column that no row has: labels or runs would be lost without a word."""
    wanted = {theirs: f"--field {ours}={theirs}" for ours, theirs in fields.items()}
    if arm is not None:
        wanted[arm] = f"--arm {arm}"
    known: dict[str, None] = {}
    for _, row in read_json_lines(path):
        if isinstance(row, BadRow):
            continue
        known |= dict.fromkeys(row)
        for name in [one for one in wanted if one in row]:
            del wanted[name]
        if not wanted:
            return
    if known:
        name, option = next(iter(wanted.items()))
        close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise RecipeError(f"{option}: no row of {path} has a field '{name}'", f"{hint}fields: {', '.join(known)}")


def _prediction(
    row: dict[str, Any],
    number: int,
    fields: Mapping[str, str],
    name: str,
    arm: str | None,
    drawn: dict[tuple[str, str, str], int],
) -> Prediction | BadRow:
    shown = json.dumps(row, ensure_ascii=True)[:2000]
    names = {field: field_name(field, row, fields) for field in _FIELDS}
    for field in ("question", "answer", "response"):
        value = row.get(names[field])
        if value is None or value != value or isinstance(value, dict | list | bool):  # NaN: how data frames write null
            return BadRow(str(number), "missing_field", f"no text in '{names[field]}' ({field})", shown)
        fault = half_surrogate(str(value))
        if fault is not None:
            return BadRow(str(number), "invalid_unicode", f"'{names[field]}': {fault}", shown)
    question, response = str(row[names["question"]]), str(row[names["response"]])
    benchmark = str(row.get(names["benchmark"]) or name)
    label = row.get(names["label"])
    run = str(row.get(arm)) if arm is not None else name
    finish_reason = str(row.get(names["finish_reason"]) or "unknown")
    for field, text in (("benchmark", benchmark), ("arm", run), ("finish_reason", finish_reason)):
        fault = half_surrogate(text)
        if fault is not None:
            return BadRow(str(number), "invalid_unicode", f"{field}: {fault}", shown)
    split = split_thinking(response)
    sample = row.get(names["sample"])
    if isinstance(sample, bool) or not isinstance(sample, int) or not 0 <= sample < 1 << 31:
        sample = drawn.get((run, benchmark, question), 0)  # a question's outputs are its samples in their order
    drawn[run, benchmark, question] = sample + 1
    return Prediction(
        prediction_id=content_id("y", name, str(number), question, response),
        problem_id=content_id("q", benchmark, question),
        benchmark=benchmark, question=question, answers=(str(row[names["answer"]]),),
        part_ids=(content_id("q", benchmark, question),), arm=f"{benchmark} / {run}",
        train_seed=None, checkpoint=run, sample_index=sample, seed=None,
        prompt_token_ids=(),
        text=response, token_ids=(), forced=(), thinking=split.thinking, answer_text=split.answer,
        finish_reason=finish_reason,
        budget_flag=None, num_tokens=None, num_thinking_tokens=None, num_answer_tokens=None, engine="published",
        label=as_label(label),
    )  # fmt: skip
