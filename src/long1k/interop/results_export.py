"""Tables of predictions and scores as files of other tools.

predictions/ (+ scores/) -> folder of files in the format, manifest.json written last
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from long1k.errors import DataError
from long1k.interop.outcomes import About, ResultFormat, Scored
from long1k.interop.results import CARRIED, format_named, read_carried
from long1k.jsonlines import BadRow
from long1k.rows import Prediction, Reject, Score, content_id, from_dict, to_arrow
from long1k.tables import (
    MANIFEST,
    Manifest,
    begin,
    digest_json,
    file_digest,
    fingerprint,
    finish,
    is_current,
    iter_table,
    read_manifest,
    write_parquet,
)

EXPORT_STAGE = "export-results/1"
_REJECTED = "rejected.parquet"
_BATCH_ROWS = 64


def exported_files(path: Path) -> list[Path]:
    """The files of outputs in a folder that ``export_results`` wrote; any other path as it is."""
    manifest = read_manifest(path) if (path / MANIFEST).is_file() else None
    if manifest is None or manifest.stage != EXPORT_STAGE:
        return [path]
    return [path / str(name) for name in manifest.info["files"] if name != _REJECTED]


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
        names = source.config.get("names") or [str(source.config["name"])]
        for number, name in enumerate(names):
            rows = _as_imported(folder, source, scored, f"{number}:" if len(names) > 1 else "")
            about = About(name, name, name, created, source.rows_out, 1, provenance=False, imported=True)
            yield _stem(name, name) + (f"-{number}" if names.count(name) > 1 else ""), about, rows
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


def _as_imported(folder: Path, source: Manifest, scored: Any, prefix: str) -> Iterator[_Group]:
    """The rows of an imported file again: its outputs, and the values they came with."""
    held: list[tuple[Prediction, Any]]
    own = (one for one in read_carried(folder, source) if one[1] and str(one[1]["row"]).startswith(prefix))
    for _, group in groupby(own, key=lambda one: one[1] and one[1]["row"]):
        held = list(group)
        yield [scored(row) for row, _ in held], json.loads(held[0][1]["values"])


def _stem(arm: str, benchmark: str) -> str:
    """A file name's part for an arm and a benchmark; any text may be their name."""
    name = benchmark if arm.startswith(benchmark) else f"{benchmark}_{arm}"
    if arm.startswith(f"{benchmark} / ") and arm != f"{benchmark} / {benchmark}":
        name = f"{benchmark}_{arm.removeprefix(f'{benchmark} / ')}"
    plain = re.sub(r"[^\w.-]+", "-", name).strip("-.") or "outputs"
    # A name has 255 bytes on common file systems, and a date and an id stand beside this one.
    short = plain.encode()[:120].decode("utf-8", "ignore")
    return plain if short == name else f"{short[:80]}-{content_id('n', arm, benchmark)[2:8]}"
