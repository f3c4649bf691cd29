"""The order of collect's passes; what is done is found again after a kill."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.errors import DataError
from long1k.executors import Executor
from long1k.files import find_files
from long1k.grading.math import MathGrader
from long1k.jsonlines import expand_path, read_json_lines
from long1k.progress import progress
from long1k.rows import Reject, Trace, content_id, from_arrow, schema_of, to_arrow
from long1k.sources.raw import Source, chunks_of
from long1k.stages.collect.across import REASONS, decide
from long1k.stages.collect.part import Context, PartJob, close_tools, keys_path, stage_part
from long1k.stages.collect.rejects import make_reject_of_trace
from long1k.tables import (
    PART_ROWS,
    Manifest,
    TableWriter,
    digest_json,
    fingerprint,
    is_current,
    make_folder,
    read_manifest,
    write_part,
)  # fmt: skip

STAGE = "collect/3"
_SHOWN_PAIRS = 1000


@dataclass(frozen=True)
class _FinalJob:
    """One part as it is to stay: staged rows without those that were decided against."""

    index: int
    staged: Path
    out: Path
    first: int  # of the part's rows in decisions.parquet
    rows: int
    decisions: Path


def collect(
    out: Path,
    sources: Sequence[tuple[str, Source]],
    config: CollectConfig,
    chat: Chat,
    *,
    excluded: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    executor: Executor = Executor(),
    part_rows: int = PART_ROWS,
) -> Manifest:
    """Build the trace pool in ``out``; a finished pool of the same inputs is left alone.

    Args:
        sources: (name, source); names must differ, they are part of every row's origin.
        excluded: benchmark name -> its (item id, question) pairs, not to be trained on.
        executor: where parts are worked on; the result does not depend on it.
        part_rows: raw rows a part; memory grows with it, not with the number of rows.

    Raises:
        DataError: a source cannot be read, or would read the pool itself, or all of them together hold no row.
    """
    excluded = excluded if excluded is not None and config.exclude_benchmarks else {}
    settings: dict[str, Any] = {
        "collect": config.model_dump(),
        "chat": chat.describe(),
        "part_rows": part_rows,
        "sources": {name: source.config.model_dump(exclude={"path"}) for name, source in sources},
        "grader": MathGrader.version,
        "excluded": {name: digest_json(list(items)) for name, items in excluded.items()},
    }
    for name, source in sources:
        _refuse_own(out, name, source)
    inputs = {name: source.digest() for name, source in sources}
    accuracies = _accuracies(config)
    if accuracies:
        inputs["difficulty"] = digest_json(accuracies)
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        _clear(out)
        return read_manifest(out)
    writer = TableWriter(out, Trace, stage=STAGE, config=settings, inputs=inputs)
    staged = make_folder(out / "staged")
    context = Context(
        key=digest_json([settings, inputs]), config=config, tokenizer=str(chat.tokenizer.folder),
        thinking=chat.style.name, system=chat.system,
        template=chat.tokenizer.template if chat.tokenizer.template_given else None,
        benchmarks=tuple((f"{name}/{item}", text) for name, items in excluded.items() for item, text in items),
    )  # fmt: skip
    counted = Counter[str]()
    try:
        with progress("collect", None) as step:
            for job, _ in executor.map(stage_part, _parts(sources, part_rows, staged, context, counted)):
                step(part_rows, job.source)
    finally:
        close_tools()
    num_parts = counted["parts"]
    if num_parts == 0:
        raise DataError(
            f"no rows in {', '.join(name for name, _ in sources) or 'an empty list of sources'}",
            "check the path and the limit of the source",
        )
    empty = [name for name, _ in sources if not counted[f"parts of {name}"]]
    decisions = decide(staged, num_parts, config, accuracies)
    jobs = _final_jobs(staged, out, num_parts, decisions)
    with progress("collect: write", len(jobs)) as step:
        for _ in executor.map(_finish_part, [job for job in jobs if not writer.has_part(job.index)]):
            step(1)
    info = {
        "tokenizer": chat.tokenizer.digest,
        "tokenizer_folder": str(chat.tokenizer.folder),
        "template": chat.tokenizer.template_digest,
        "counter": chat.tokenizer.counter,
        "split": _splits(out, num_parts),
        "excluded_questions": len({text for _, text in context.benchmarks}),
        "contamination": _contamination(out),
        "sources": {name: source.describe() for name, source in sources},
        "source_configs": {name: _spec(source) for name, source in sources},
        "empty_sources": empty,
    }
    manifest = writer.commit(num_parts, info)
    _clear(out)
    return manifest


def _clear(out: Path) -> None:
    """Remove what a finished pool needs no more; a kill just after its manifest leaves it."""
    if (out / "staged").is_dir():
        shutil.rmtree(out / "staged")
    for path in out.glob("rejected-*.parquet"):
        path.unlink()


def _refuse_own(out: Path, name: str, source: Source) -> None:
    """Raise where a source would read the pool: begun anew it is emptied first, and its rows would be lost."""
    path = getattr(source, "path", None)
    if not isinstance(path, Path):
        return
    home = out.resolve()
    inside = path.is_dir() and home.is_relative_to(path.resolve())
    if inside or any(Path(file.path).resolve().is_relative_to(home) for file in find_files(path)):
        raise DataError(
            f"the output {out} and the source '{name}' ({path}) are one within the other",
            "choose a folder for --out that no source reads",
        )


def _spec(source: Source) -> dict[str, Any]:
    """What a recipe would say of a source, so that a trace's row can be found in it again."""
    kind = type(source)
    spec = {"type": f"{kind.__module__}:{kind.__qualname__}", **source.config.model_dump(mode="json")}
    if isinstance(spec.get("path"), str):  # a relative path means something else in another folder
        spec["path"] = os.path.abspath(expand_path(spec["path"]))
    return spec


def _accuracies(config: CollectConfig) -> dict[str, float]:
    """problem id -> accuracy of some model, from the file that the configuration names."""
    difficulty = config.difficulty
    if difficulty.origin != "accuracy":
        return {}
    if difficulty.path is None:
        raise DataError("difficulty from accuracy needs a file", "set collect.difficulty.path")
    found: dict[str, float] = {}
    for number, row in read_json_lines(expand_path(difficulty.path)):
        values = row if isinstance(row, dict) else {}
        value, key = values.get("accuracy"), values.get("problem_id") or values.get("question")
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1 or not key:
            raise DataError(
                f"{difficulty.path}, line {number}: no question (or problem_id) with an accuracy from 0 to 1",
                'one line a problem: {"question": ..., "accuracy": 0.25}',
            )
        found[str(key) if values.get("problem_id") else content_id("p", str(key).strip())] = float(value)
    if not found:
        raise DataError(f"{difficulty.path} holds no accuracy", "check collect.difficulty.path")
    return found


def _parts(
    sources: Sequence[tuple[str, Source]], part_rows: int, staged: Path, context: Context, counted: Counter[str]
) -> Iterator[PartJob]:
    """A job for every part that is not there yet; ``counted`` learns how many parts there are, of each source too."""
    for name, source in sources:
        for chunk in chunks_of(source, part_rows):
            index = counted["parts"]
            counted.update(("parts", f"parts of {name}"))
            if not keys_path(staged, index).is_file():
                yield PartJob(index, name, chunk, staged, context)


def _final_jobs(staged: Path, out: Path, num_parts: int, decisions: Path) -> list[_FinalJob]:
    jobs, first = [], 0
    for index in range(num_parts):
        rows = pq.read_metadata(keys_path(staged, index)).num_rows
        jobs.append(_FinalJob(index, staged, out, first, rows, decisions))
        first += rows
    return jobs


def _finish_part(job: _FinalJob) -> None:
    """Write one part of the pool from its staged rows and the decisions on them."""
    rows = pq.read_table(job.staged / f"rows-{job.index:05d}.parquet").replace_schema_metadata(None)
    verdicts = _slice(job.decisions, job.first, job.rows)
    reasons = verdicts.column("reason").to_numpy()
    for name in ("difficulty", "difficulty_origin"):
        at = rows.schema.get_field_index(name)
        column = pc.coalesce(verdicts.column(name), rows.column(name))
        rows = rows.set_column(at, schema_of(Trace).field(name), column)
    kept = rows.filter(pa.array(reasons == 0))
    others = verdicts.column("other").to_pylist()
    dropped = [
        make_reject_of_trace(trace, *_why(REASONS[reasons[at]], others[at]))
        for at, trace in zip(
            np.flatnonzero(reasons), from_arrow(rows.filter(pa.array(reasons != 0)), Trace), strict=True
        )
    ]
    about = int(pq.read_metadata(keys_path(job.staged, job.index)).metadata[b"rows_in"])
    staged = pq.read_table(job.staged / f"rejected-{job.index:05d}.parquet").replace_schema_metadata(None)
    write_part(job.out, job.index, kept, pa.concat_tables([staged, to_arrow(dropped, Reject)]), about)


def _slice(path: Path, first: int, rows: int) -> pa.Table:
    """Some rows of a Parquet file; only the row groups they stand in are read."""
    file = pq.ParquetFile(path)
    start, before = 0, 0
    groups: list[int] = []
    for group in range(file.num_row_groups):
        size = file.metadata.row_group(group).num_rows
        if start < first + rows and start + size > first:
            before = before if groups else start
            groups.append(group)
        start += size
    return file.read_row_groups(groups).slice(first - before, rows)


def _why(reason: str, other: str | None) -> tuple[str, str]:
    evidence = {
        "duplicate": f"the same trace as {other}",
        "near_duplicate_problem": f"its problem is nearly that of {other}",
        "near_duplicate_trace": f"nearly the same as {other}",
        "enough_of_problem": "the limit of traces of one problem is reached",
    }
    return reason, evidence[reason]


def _splits(out: Path, num_parts: int) -> dict[str, int]:
    """How many traces were told apart in each way."""
    found = Counter[str]()
    for index in range(num_parts):
        found.update(pq.read_table(out / f"part-{index:05d}.parquet", columns=["split"]).column("split").to_pylist())
    return dict(sorted(found.items()))


def _contamination(out: Path) -> dict[str, Any]:
    """Evidence that rows were found in benchmarks: counts by rule, and the pairs (the first thousand)."""
    counts, pairs = Counter[str](), list[dict[str, str]]()
    for path in sorted(out.glob("rejected-*.parquet")):
        table = pq.read_table(path, columns=["reason", "evidence", "source", "source_row"])
        hits = table.filter(pc.starts_with(table.column("reason"), "in_benchmark"))
        counts.update(hits.column("reason").to_pylist())
        pairs += hits.slice(0, max(0, _SHOWN_PAIRS - len(pairs))).to_pylist()
    return {"counts": dict(sorted(counts.items())), "pairs": pairs}
