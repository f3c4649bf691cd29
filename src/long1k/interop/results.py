"""Outputs and verdicts of other tools as tables of predictions and scores; ``results_export`` is the way back.

file -> predictions/ (part-*.parquet, carried.parquet, manifest.json), and on request scores/
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from long1k.errors import DataError, RecipeError
from long1k.interop.outcomes import (
    Outcome,
    ResultFormat,
    bad_row,
    parts_of,
    restore,
    unstorable_in,
)
from long1k.interop.streams import first_bytes
from long1k.jsonlines import BadRow
from long1k.plugins import load_plugin
from long1k.rows import STATUSES, Prediction, Reject, Score, content_id, from_dict, to_dict
from long1k.tables import (
    PART_ROWS,
    Manifest,
    TableWriter,
    file_digest,
    fingerprint,
    is_current,
    iter_table,
    read_manifest,
)  # fmt: skip

FORMATS = {
    "predict-json": "long1k.interop.predict_json:PredictJson",
    "lm-eval": "long1k.interop.lm_eval:LmEval",
    "lighteval": "long1k.interop.lighteval:Lighteval",
    "inspect": "long1k.interop.inspect_logs:InspectLogs",
}
IMPORT_STAGE = "import-predictions/3"
CARRIED = "carried.parquet"
_CARRIED_SCHEMA = pa.schema(
    [("prediction_id", pa.string()), ("row", pa.string()), ("values", pa.string()), ("scores", pa.string())]
)
_BATCH_ROWS = 64
_HEAD_BYTES = 1 << 16
_PART_CHARACTERS = 8 << 20
_Held = tuple[str, str, str | None, str | None]  # a row of carried.parquet


def format_named(name: str, options: Mapping[str, str]) -> ResultFormat:
    """The format of a name, told its options.

    Raises:
        RecipeError: unknown format or option.
    """
    factory = load_plugin(name, FORMATS, "format")
    unknown = sorted(set(options) - set(factory.options))
    if unknown:
        close = difflib.get_close_matches(unknown[0], factory.options, 1, cutoff=0.5)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise RecipeError(
            f"the format {name} has no option '{unknown[0]}'", f"{hint}known: {', '.join(factory.options) or 'none'}"
        )
    made: ResultFormat = factory(options)
    return made


def format_of(path: Path) -> str | None:
    """The format that a file looks like, None if none of them."""
    head = first_bytes(path, _HEAD_BYTES)
    return next((name for name in FORMATS if load_plugin(name, FORMATS, "format").looks_like(head, path)), None)


def import_results(
    out: Path, path: Path | Sequence[Path], format_name: str, *, name: str | None = None,
    options: Mapping[str, str] | None = None, scores: Path | None = None,
) -> Manifest:  # fmt: skip
    """Read a file of outputs, or several into one table; rows that cannot be used are rejected with the reason.

    A row of several outputs counts as several rows in.  Memory holds one part, not the file.

    Args:
        name: benchmark and run of outputs whose file states none; None: the file's name.
        options: see the format's ``options``.
        scores: a folder for the verdicts that the file states, as a table of scores.

    Raises:
        DataError: the file is missing, of another format, or holds no usable output.
    """
    form = format_named(format_name, options or {})
    paths = [path] if isinstance(path, Path) else list(path)
    for one in paths:
        _check_format(one, form, format_name)
    named = [(one, name or one.name.split(".")[0]) for one in paths]
    settings: dict[str, Any] = {"format": format_name, "options": dict(options or {}), "name": named[0][1]}
    inputs = {"file": file_digest(paths[0])}
    if len(paths) > 1:
        settings["names"] = [text for _, text in named]
        inputs = {f"file {number}": file_digest(one) for number, one in enumerate(paths)}
    if not is_current(out, fingerprint(IMPORT_STAGE, settings, inputs)):
        _import(out, named, form, settings, inputs)
    manifest = read_manifest(out)
    if scores is not None:
        _write_scores(scores, out, manifest, format_name)
    return manifest


def _check_format(path: Path, form: ResultFormat, format_name: str) -> None:
    if form.looks_like(first_bytes(path, _HEAD_BYTES), path):
        return
    found = format_of(path)
    what = f"it looks like {found}" if found else f"it begins with {first_bytes(path, 60)!r}"
    mend = f"give --format {found}" if found else "of other files name the fields: --format jsonl --field answer=…"
    raise DataError(f"{path} is no {format_name} file: {what}", mend)


def _import(
    out: Path, named: Sequence[tuple[Path, str]], form: ResultFormat, settings: dict[str, Any], inputs: dict[str, str]
) -> None:
    """Write the table; of several files a row's key begins with the file's number."""
    writer = TableWriter(out, Prediction, stage=IMPORT_STAGE, config=settings, inputs=inputs)
    account = _Account()
    parts, usable, first = 0, 0, ""
    with pq.ParquetWriter(out / CARRIED, _CARRIED_SCHEMA, compression="zstd") as carried:
        for number, (path, name) in enumerate(named):
            stream = _rows(form, path, name, account, f"{number}:" if len(named) > 1 else "")
            while chunk := _part(stream):
                kept = [one for one in chunk if not isinstance(one, BadRow)]
                rejected = [
                    Reject(one.reason, one.evidence[:500], path.name, one.source_row, one.row[:4000])
                    for one in chunk
                    if isinstance(one, BadRow)
                ]
                if rejected and not first:
                    first = f": {rejected[0].reason}: {rejected[0].evidence}"
                writer.write_part(parts, [row for row, _ in kept], rejected)
                columns = list(zip(*(values for _, values in kept), strict=True)) or [()] * 4
                carried.write_table(
                    pa.Table.from_arrays([pa.array(c, pa.string()) for c in columns], schema=_CARRIED_SCHEMA)
                )
                parts, usable = parts + 1, usable + len(kept)
    if not usable:
        names = ", ".join(str(path) for path, _ in named[:3])
        raise DataError(f"no usable outputs in {names}{first}", "the rows that stand there show what it holds")
    writer.commit(parts, account.info(), beside=[out / CARRIED])


def _part(
    stream: Iterator[tuple[Prediction, _Held] | BadRow],
) -> list[tuple[Prediction, _Held] | BadRow]:  # fmt: skip
    """The next rows, so many that their texts can be held."""
    held: list[tuple[Prediction, _Held] | BadRow] = []
    characters = 0
    for one in islice(stream, PART_ROWS):
        held.append(one)
        characters += len(one.row) if isinstance(one, BadRow) else len(one[0].text) + len(one[1][2] or "")
        if characters > _PART_CHARACTERS:
            break
    return held


class _Account:
    """What is counted while a file is read, and which sample of a question an output is."""

    def __init__(self) -> None:
        self.rows, self.restored, self.labelled = 0, 0, 0
        self.items: set[str] = set()
        self.arms: set[str] = set()
        self.samples: dict[tuple[str, str], int] = {}
        self.ids: set[str] = set()

    def take(self, row: Prediction) -> None:
        """Count an output that is kept."""
        self.ids.add(row.prediction_id)
        self.labelled += row.label is not None
        self.items.add(row.problem_id)
        self.arms.add(row.arm)

    def info(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "items": len(self.items), "arms": sorted(self.arms), "foreign_rows": self.rows,
            "restored": self.restored, "labelled": self.labelled,
        }  # fmt: skip


def _rows(
    form: ResultFormat, path: Path, name: str, account: _Account, prefix: str
) -> Iterator[tuple[Prediction, _Held] | BadRow]:
    """Every output as a prediction with what is carried, or the reason why not."""
    for found in form.read(path):
        account.rows += 1
        if isinstance(found, BadRow):
            yield found
            continue
        values: str | None = json.dumps(found.values, ensure_ascii=True)
        for number, outcome in enumerate(found.outcomes):
            row, scores = _prediction(outcome, f"{prefix}{found.key}/{number}", name, account)
            fault = unstorable_in(row)
            if row.prediction_id in account.ids:  # an export of ours that was given twice
                fault = ("duplicate", f"{row.prediction_id} was read already")
            if fault is not None:
                yield bad_row(found.key, fault[0], f"output {number}: {fault[1]}", found.values)
                continue
            account.take(row)
            judged = json.dumps([to_dict(one) for one in scores]) if scores else None
            yield row, (row.prediction_id, f"{prefix}{found.key}", values, judged)
            values = None


def _prediction(
    outcome: Outcome, key: str, name: str, account: _Account
) -> tuple[Prediction, Sequence[Score]]:  # fmt: skip
    known = restore(outcome.provenance, outcome.question, outcome.text)
    row = _made(outcome, key, name, account) if known is None else known.row
    account.restored += known is not None
    return row, () if known is None else known.scores


def _made(outcome: Outcome, key: str, name: str, account: _Account) -> Prediction:
    benchmark, run = outcome.benchmark or name, outcome.group or name
    split = parts_of(outcome)
    problem_id = content_id("q", benchmark, outcome.question)
    of_run = (run, problem_id)
    number = max(outcome.sample, account.samples.get(of_run, 0))
    account.samples[of_run] = number + 1
    return Prediction(
        prediction_id=content_id("y", name, key, outcome.question, outcome.text), problem_id=problem_id,
        benchmark=benchmark, question=outcome.question, answers=outcome.answers,
        part_ids=(problem_id,) * len(outcome.answers), arm=f"{benchmark} / {run}", train_seed=None, checkpoint=run,
        sample_index=number, seed=outcome.seed, prompt_token_ids=outcome.prompt_token_ids, text=outcome.text,
        token_ids=outcome.token_ids, forced=(), thinking=split.thinking, answer_text=split.answer,
        finish_reason=outcome.finish_reason, budget_flag=None, num_tokens=outcome.num_tokens,
        num_thinking_tokens=outcome.num_thinking_tokens, num_answer_tokens=None, engine=outcome.engine,
        label=outcome.label,
    )  # fmt: skip


def _write_scores(out: Path, predictions: Path, manifest: Manifest, format_name: str) -> None:
    """The verdicts that came with a file: those restored from an export of ours, else labels as correct or wrong."""
    stage, settings = "score/2", {"grader": f"imported:{format_name}", "version": manifest.stage}
    inputs = {"predictions": manifest.digest}
    if is_current(out, fingerprint(stage, settings, inputs)):
        return
    writer = TableWriter(out, Score, stage=stage, config=settings, inputs=inputs)
    rows: list[Score] = []
    for row, held in read_carried(predictions, manifest):
        if held is not None and held["scores"] is not None:
            rows += [from_dict(values, Score) for values in json.loads(held["scores"])]
        elif row.label is not None:
            status = "correct" if row.label else "wrong"
            rows += [
                Score(row.prediction_id, part, settings["grader"], settings["version"], status, None, None, None)
                for part in range(len(row.answers))
            ]
    writer.write_part(0, rows)
    statuses = {name: n for name in STATUSES if (n := sum(one.status == name for one in rows))}
    info = {"grader": settings["grader"], "predictions_folder": str(predictions.resolve()), "statuses": statuses}
    writer.commit(1, {"predictions": manifest.rows_out, **info})


def read_carried(folder: Path, manifest: Manifest) -> Iterator[tuple[Prediction, dict[str, str | None] | None]]:
    """(prediction, what came with it: row, values, scores) in order; None with predictions of our own."""
    predictions = iter_table(folder, Prediction)
    if CARRIED not in manifest.files:
        yield from ((row, None) for row in predictions)
        return
    with pq.ParquetFile(folder / CARRIED) as file:
        stream = (one for batch in file.iter_batches(_BATCH_ROWS) for one in batch.to_pylist())
        for row, held in zip(predictions, stream, strict=True):
            if held["prediction_id"] != row.prediction_id:
                raise DataError(f"{folder / CARRIED} does not belong to the predictions", "import the file again")
            yield row, held
