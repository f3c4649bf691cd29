"""Outputs and verdicts of other tools as tables of predictions and scores, and back.

import:  file -> predictions/ (part-*.parquet, carried.parquet, manifest.json), and on request scores/
export:  predictions/ (+ scores/) -> folder of files in the format, manifest.json written last
"""

from __future__ import annotations

import difflib
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from long1k.errors import DataError, RecipeError
from long1k.interop.outcomes import (
    About,
    Outcome,
    ResultFormat,
    Scored,
    bad_row,
    parts_of,
    restore,
)
from long1k.interop.streams import first_bytes
from long1k.jsonlines import BadRow, half_surrogate
from long1k.plugins import load_plugin
from long1k.rows import STATUSES, Prediction, Reject, Score, content_id, from_dict, to_arrow, to_dict
from long1k.tables import (
    MANIFEST,
    PART_ROWS,
    Manifest,
    TableWriter,
    begin,
    digest_json,
    file_digest,
    fingerprint,
    finish,
    is_current,
    iter_table,
    read_manifest,
    write_parquet,
)  # fmt: skip

FORMATS = {
    "predict-json": "long1k.interop.predict_json:PredictJson",
    "lm-eval": "long1k.interop.lm_eval:LmEval",
    "lighteval": "long1k.interop.lighteval:Lighteval",
    "inspect": "long1k.interop.inspect_logs:InspectLogs",
}
IMPORT_STAGE = "import-predictions/2"
EXPORT_STAGE = "export-results/1"
CARRIED = "carried.parquet"
_REJECTED = "rejected.parquet"
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


# --- in ---------------------------------------------------------------------------------------------------


def import_results(
    out: Path, path: Path, format_name: str, *, name: str, options: Mapping[str, str] | None = None,
    scores: Path | None = None,
) -> Manifest:  # fmt: skip
    """Read a file of outputs; rows that cannot be used are rejected with the reason.

    A row of several outputs counts as several rows in.  Memory holds one part, not the file.

    Args:
        name: benchmark and run of outputs whose file states none.
        options: see the format's ``options``.
        scores: a folder for the verdicts that the file states, as a table of scores.

    Raises:
        DataError: the file is missing, of another format, or holds no usable output.
    """
    form = format_named(format_name, options or {})
    if not form.looks_like(first_bytes(path, _HEAD_BYTES), path):
        found = format_of(path)
        what = f"it looks like {found}" if found else f"it begins with {first_bytes(path, 60)!r}"
        mend = f"give --format {found}" if found else "of other files name the fields: --format jsonl --field answer=…"
        raise DataError(f"{path} is no {format_name} file: {what}", mend)
    settings: dict[str, Any] = {"format": format_name, "options": dict(options or {}), "name": name}
    inputs = {"file": file_digest(path)}
    if not is_current(out, fingerprint(IMPORT_STAGE, settings, inputs)):
        _import(out, path, form, settings, inputs, name)
    manifest = read_manifest(out)
    if scores is not None:
        _write_scores(scores, out, manifest, format_name)
    return manifest


def exported_file(path: Path) -> Path:
    """The one file of outputs in a folder that ``export_results`` wrote; any other path as it is."""
    manifest = read_manifest(path) if (path / MANIFEST).is_file() else None
    if manifest is None or manifest.stage != EXPORT_STAGE:
        return path
    names = [name for name in manifest.info["files"] if name != _REJECTED]
    if len(names) != 1:
        raise DataError(f"{path} holds {len(names)} files of outputs", f"name one of them: {', '.join(names[:5])}")
    return path / str(names[0])


def _import(
    out: Path, path: Path, form: ResultFormat, settings: dict[str, Any], inputs: dict[str, str], name: str
) -> None:
    writer = TableWriter(out, Prediction, stage=IMPORT_STAGE, config=settings, inputs=inputs)
    account = _Account()
    parts, usable, first = 0, 0, ""
    stream = _rows(form, path, name, account)
    with pq.ParquetWriter(out / CARRIED, _CARRIED_SCHEMA, compression="zstd") as carried:
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
        raise DataError(f"no usable outputs in {path}{first}", "the rows that stand there show what it holds")
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

    def info(self) -> dict[str, Any]:
        """For the manifest."""
        return {
            "items": len(self.items), "arms": sorted(self.arms), "foreign_rows": self.rows,
            "restored": self.restored, "labelled": self.labelled,
        }  # fmt: skip


def _rows(form: ResultFormat, path: Path, name: str, account: _Account) -> Iterator[tuple[Prediction, _Held] | BadRow]:
    """Every output as a prediction with what is carried, or the reason why not."""
    for found in form.read(path):
        account.rows += 1
        if isinstance(found, BadRow):
            yield found
            continue
        values: str | None = json.dumps(found.values, ensure_ascii=True)
        for number, outcome in enumerate(found.outcomes):
            fault = next(
                (f for text in (outcome.question, outcome.text, *outcome.answers) if (f := half_surrogate(text))), None
            )
            if fault is not None:
                yield bad_row(found.key, "invalid_unicode", f"output {number}: {fault}", found.values)
                continue
            row, scores = _prediction(outcome, f"{found.key}/{number}", name, account)
            judged = json.dumps([to_dict(one) for one in scores]) if scores else None
            yield row, (row.prediction_id, found.key, values, judged)
            values = None


def _prediction(
    outcome: Outcome, key: str, name: str, account: _Account
) -> tuple[Prediction, Sequence[Score]]:  # fmt: skip
    known = restore(outcome.provenance, outcome.question, outcome.text)
    row = _made(outcome, key, name, account) if known is None else known.row
    account.restored += known is not None
    account.labelled += row.label is not None
    account.items.add(row.problem_id)
    account.arms.add(row.arm)
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


# --- out --------------------------------------------------------------------------------------------------


def export_results(
    out: Path, predictions: Path, format_name: str, *, scores: Path | None = None, provenance: bool | None = None,
    options: Mapping[str, str] | None = None,
) -> Manifest:  # fmt: skip
    """Write predictions, with verdicts where there are any, in another tool's format.

    What was imported from the same format gets back every value that it came with, row by row; all else is written
    one file a benchmark and arm.  A prediction that the format cannot hold is rejected with the reason.

    Args:
        scores: table of verdicts on these predictions; without it labels stand for them.
        provenance: keep what the format has no place for under the key ``long1k``; None as the format has it.
        options: see the format's ``options``.

    Raises:
        DataError: the folders hold no predictions, or no scores of them.
    """
    form = format_named(format_name, options or {})
    source = read_manifest(predictions)
    carried_on = form.carries if provenance is None else provenance
    settings: dict[str, Any] = {
        "format": format_name, "options": dict(options or {}), "provenance": carried_on,
    }  # fmt: skip
    inputs = {"predictions": source.digest}
    verdicts: dict[str, list[Score]] = {}
    if scores is not None:
        judged = read_manifest(scores)
        if judged.inputs.get("predictions") != source.digest:
            raise DataError(f"{scores} holds no scores of {predictions}", "name the scores that were made of them")
        inputs["scores"] = judged.digest
        for one in iter_table(scores, Score):
            verdicts.setdefault(one.prediction_id, []).append(one)
    if is_current(out, fingerprint(EXPORT_STAGE, settings, inputs)):
        return read_manifest(out)
    started = time.time()
    begin(out, EXPORT_STAGE, settings, inputs)
    same = source.config.get("format") == format_name and CARRIED in source.files and not carried_on
    refused: list[Reject] = []
    files: list[Path] = []
    counts = [0, 0]
    for stem, about, groups in _groups(predictions, source, form, verdicts, same, carried_on):

        def rows(about: About = about, groups: Any = groups) -> Iterator[dict[str, Any]]:
            for number, (group, values) in enumerate(groups):
                made = form.row(group, number, about, values)
                counts[0] += len(group)
                if isinstance(made, BadRow):
                    refused.extend(
                        Reject(made.reason, made.evidence[:500], one.row.arm, one.row.prediction_id, made.row[:4000])
                        for one in group
                    )
                else:
                    counts[1] += len(group)
                    yield made

        files += form.write(out, stem, rows(), about)
    if refused:
        write_parquet(out / _REJECTED, to_arrow(refused, Reject))
        files.append(out / _REJECTED)
    reasons: dict[str, int] = {}
    for reject in refused:
        reasons[reject.reason] = reasons.get(reject.reason, 0) + 1
    return finish(
        out, stage=EXPORT_STAGE, config=settings, inputs=inputs, files=files, started=started, rows_in=counts[0],
        digest=digest_json({path.name: file_digest(path) for path in files}), rows_out=counts[1], rejected=reasons,
        info={"files": [str(path.relative_to(out)) for path in files], "restored_rows": same},
    )  # fmt: skip


_Group = tuple[list[Scored], dict[str, Any] | None]


def _groups(
    folder: Path, source: Manifest, form: ResultFormat, verdicts: Mapping[str, list[Score]], same: bool,
    provenance: bool,
) -> Iterator[tuple[str, About, Iterator[_Group]]]:  # fmt: skip
    """(file's stem, what it says of itself, its rows) of every file."""

    def scored(row: Prediction) -> Scored:
        return Scored(row, tuple(sorted(verdicts.get(row.prediction_id, ()), key=lambda one: one.part)))

    created = source.created
    if same:
        name = str(source.config["name"])
        about = About(name, name, name, created, source.rows_out, 1, provenance=False, imported=True)
        yield name, about, _as_imported(folder, source, scored)
        return
    table = pa.concat_tables(
        pq.read_table(folder / name).replace_schema_metadata(None)
        for name in sorted(source.files)
        if name.startswith("part-")
    )
    names = ("arm", "benchmark", "problem_id", "sample_index", "checkpoint")
    if any(name not in table.column_names for name in names):
        raise DataError(f"{folder} holds no predictions", "give a folder made by predict or import")
    columns = {name: table.column(name).to_pylist() for name in names}
    first: dict[tuple[str, ...], int] = {}
    keys = [tuple(columns[name][at] for name in names[:3]) for at in range(table.num_rows)]
    for at, key in enumerate(keys):
        first.setdefault(key, at)
    order = sorted(range(table.num_rows), key=lambda at: (keys[at][:2], first[keys[at]], columns["sample_index"][at]))
    for (arm, benchmark), each in groupby(order, key=lambda at: keys[at][:2]):
        places = list(each)
        about = About(
            benchmark, arm, columns["checkpoint"][places[0]], created, len(places),
            max(columns["sample_index"][at] for at in places) + 1, source.config.get("sampling", {}), provenance,
        )  # fmt: skip
        stream = (
            scored(from_dict(values, Prediction))
            for start in range(0, len(places), _BATCH_ROWS)
            for values in table.take(places[start : start + _BATCH_ROWS]).to_pylist()
        )
        if form.by_question:
            grouped = groupby(stream, key=lambda one: one.row.problem_id)
            yield _stem(arm, benchmark), about, ((list(group), None) for _, group in grouped)
        else:
            yield _stem(arm, benchmark), about, (([one], None) for one in stream)


def _as_imported(folder: Path, source: Manifest, scored: Any) -> Iterator[_Group]:
    """The rows of the imported file again: its outputs, and the values they came with."""
    held: list[tuple[Prediction, Any]]
    for _, group in groupby(read_carried(folder, source), key=lambda one: one[1] and one[1]["row"]):
        held = list(group)
        yield [scored(row) for row, _ in held], json.loads(held[0][1]["values"])


def _stem(arm: str, benchmark: str) -> str:
    """A file name's part for an arm and a benchmark; any text may be their name."""
    name = benchmark if arm.startswith(benchmark) else f"{benchmark}_{arm}"
    if arm.startswith(f"{benchmark} / ") and arm != f"{benchmark} / {benchmark}":
        name = f"{benchmark}_{arm.removeprefix(f'{benchmark} / ')}"
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "outputs"
    return plain if plain == name else f"{plain[:80]}-{content_id('n', arm, benchmark)[2:8]}"
