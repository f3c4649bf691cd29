"""A table of samples in another trainer's format: part by part, nothing dropped unseen.

folder/
  data-00000-of-00003.jsonl …   rows (LLaMA-Factory: in samples/)
  rejected.parquet              samples that the format cannot hold, with the reason; only if there are any
  manifest.json                 written last
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from long1k.chat import Chat
from long1k.errors import DataError
from long1k.interop import llamafactory
from long1k.interop.export_config import ExportConfig
from long1k.interop.export_plan import BATCH_ROWS, Plan, Row
from long1k.interop.facts import Facts, data_files
from long1k.interop.formats import Refusal
from long1k.rows import Example, Reject, from_arrow, from_dict, schema_of, to_arrow, to_dict
from long1k.tables import (
    Manifest,
    begin,
    content_digest,
    digest_json,
    file_digest,
    fingerprint,
    finish,
    is_current,
    read_manifest,
    written_aside,
)  # fmt: skip

STAGE = "export/1"
REJECTED = "rejected.parquet"


def export_samples(out: Path, examples: Path, config: ExportConfig, *, chat: Chat | None = None) -> Manifest:
    """Write a table of samples in another format; finished work of the same input is left alone.

    Args:
        chat: the renderer of the samples; needed by ``tokenized`` and ``llamafactory``.

    Raises:
        DataError: the input holds no samples, the folder holds something else, or no sample fits the format.
    """
    source = read_manifest(examples)
    _check_type(examples, source)
    if chat is None and config.format in ("tokenized", "llamafactory"):
        raise DataError(f"the format {config.format} needs the tokenizer of the samples", "give --tokenizer")
    described = chat.describe() if chat is not None else source.config.get("chat")
    # Without a recipe the setting is left out: what was exported before there was one stays as it is.
    said = config.model_dump(exclude={"training"} if config.training is None else None)
    settings = {"export": said, "chat": described}
    inputs = {"examples": source.digest}
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    started = time.time()
    begin(out, STAGE, settings, inputs)
    for left in out.rglob(".*.tmp"):  # of a run that was killed
        left.unlink()
    plan = Plan(examples, source, config, chat, (described or {}).get("system"))
    folder = out / llamafactory.DATA_FOLDER if config.format == "llamafactory" else out
    folder.mkdir(exist_ok=True)
    suffix = "parquet" if config.format in ("parquet", "tokenized") else "jsonl"
    count = max(1, -(-source.rows_out // config.rows_per_file))
    rows = stream_samples(examples, source)
    facts, files, refused = Facts(), [], []
    for number in range(count):
        path = folder / f"data-{number:05d}-of-{count:05d}.{suffix}"
        sidecar = out / f"rejected-{number:05d}.parquet"
        chunk = islice(rows, config.rows_per_file)
        if path.is_file():  # finished before a kill; its samples are counted again, not written
            rejects = list(from_arrow(pq.read_table(sidecar), Reject)) if sidecar.is_file() else []
            dropped = {reject.source_row for reject in rejects}
            facts.add_examples(to_dict(row) for row in chunk if row.example_id not in dropped)
        else:
            rejects = _write_file(path, sidecar, chunk, plan, facts)
        files.append(path)
        refused += rejects
    if facts.rows + len(refused) != source.rows_out:
        raise DataError(
            f"{examples} holds {facts.rows + len(refused):,} samples, its manifest says {source.rows_out:,}",
            "run the stage that makes it again",
        )
    if not facts.rows:
        why = f": {refused[0].reason}: {refused[0].evidence}" if refused else ", the table is empty"
        raise DataError(f"no sample fits the format {config.format}{why}", "choose another format")
    files += plan.side_files(out, max(facts.lengths))
    if refused:
        _write_parquet(out / REJECTED, to_arrow(refused, Reject))
        files.append(out / REJECTED)
    info = {"facts": facts.summary(), "source": _about(source), **plan.info}
    reasons = dict(sorted(Counter(reject.reason for reject in refused).items()))
    made = finish(
        out, stage=STAGE, config=settings, inputs=inputs, digest=_digest(out, files), files=files, started=started,
        rows_in=source.rows_out, rows_out=facts.rows, rejected=reasons, info=info,
    )  # fmt: skip
    for sidecar in out.glob("rejected-*.parquet"):
        sidecar.unlink()
    return made


def stream_samples(folder: Path, manifest: Manifest) -> Iterator[Example]:
    """The samples of a table, few in memory at once."""
    for name in data_files(manifest):
        with pq.ParquetFile(folder / name) as file:
            for batch in file.iter_batches(BATCH_ROWS, use_threads=False):
                for values in batch.to_pylist():
                    yield from_dict(values, Example)


def _check_type(folder: Path, manifest: Manifest) -> None:
    wanted = schema_of(Example).names
    for name in data_files(manifest) or [""]:
        path = folder / name
        try:
            found = pq.read_schema(path).names if path.suffix == ".parquet" and path.is_file() else []
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{path} cannot be read: {error}", "run the stage again") from None
        if found != wanted:
            holds = f"its columns: {', '.join(found[:5])}…" if found else f"it was made by {manifest.stage}"
            raise DataError(
                f"{folder} holds no samples ({holds})", "export takes a folder made by synthesize or import"
            )


def _about(source: Manifest) -> dict[str, Any]:
    """What the card says of the table that was exported; no paths of this machine."""
    kept = ("groups", "template", "tokenizer", "balance")
    return {
        "stage": source.stage, "config": source.config, "inputs": source.inputs, "rejected": source.rejected,
        "rows_in": source.rows_in, "rows_out": source.rows_out,
        "info": {key: source.info[key] for key in kept if key in source.info},
    }  # fmt: skip


def _write_file(path: Path, sidecar: Path, rows: Iterable[Example], plan: Plan, facts: Facts) -> list[Reject]:
    """One file of rows under a temporary name, its refused samples, then the rename."""
    refused: list[Reject] = []

    def fitting() -> Iterator[Row]:
        for example in rows:
            made = plan.row(example)
            if isinstance(made, Refusal):
                shown = json.dumps(to_dict(example), ensure_ascii=True)[:4000]
                refused.append(Reject(made.reason, made.evidence[:500], example.arm, example.example_id, shown))
            else:
                facts.add_examples([to_dict(example)])
                yield made

    with written_aside(path) as temporary:
        if plan.schema is None:
            with temporary.open("w", encoding="utf-8", newline="\n") as handle:
                for made in fitting():
                    handle.write(json.dumps(made, ensure_ascii=False) + "\n")
                handle.flush()
                os.fsync(handle.fileno())
        else:
            with pq.ParquetWriter(temporary, plan.schema, compression="zstd") as writer:
                stream = fitting()
                while batch := list(islice(stream, BATCH_ROWS)):
                    writer.write_table(pa.Table.from_pylist(batch, schema=plan.schema))
        if refused:
            _write_parquet(sidecar, to_arrow(refused, Reject))
        else:
            sidecar.unlink(missing_ok=True)
    return refused


def _write_parquet(path: Path, table: pa.Table) -> None:
    with written_aside(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _digest(out: Path, files: Iterable[Path]) -> str:
    """A digest of the content: bytes of text files, values of Parquet files."""
    found = {}
    for path in files:
        name = str(path.relative_to(out))
        if path.suffix == ".parquet":
            with pq.ParquetFile(path) as file:
                found[name] = [content_digest(file.read_row_group(i)) for i in range(file.num_row_groups)]
        else:
            found[name] = [file_digest(path)]
    return digest_json(found)
