"""A table of samples in another trainer's format: part by part, nothing dropped unseen.

folder/
  data-00000-of-00003.jsonl …   rows (LLaMA-Factory: in samples/)
  rejected.parquet              samples that the format cannot hold, with the reason; only if there are any
  manifest.json                 written last
"""

from __future__ import annotations

import difflib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal, get_args

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from long1k.chat import MASKED_PAIR, Chat
from long1k.errors import DataError, RecipeError
from long1k.interop import llamafactory
from long1k.interop.facts import Facts, data_files
from long1k.interop.formats import PROVENANCE, SHAPES, Refusal, provenance_of, to_sharegpt, with_system
from long1k.interop.tokenized import to_tokenized, tokenized_provenance
from long1k.rows import Example, Reject, from_arrow, from_dict, schema_of, to_arrow, to_dict
from long1k.tables import (
    PART_ROWS,
    Manifest,
    begin,
    content_digest,
    digest_json,
    file_digest,
    fingerprint,
    finish,
    is_current,
    read_manifest,
    write_atomic,
)  # fmt: skip

STAGE = "export/1"
REJECTED = "rejected.parquet"
Format = Literal["parquet", "jsonl", "prompt-completion", "messages", "sharegpt", "alpaca", "llamafactory", "tokenized"]
FORMATS: tuple[str, ...] = get_args(Format)
_BATCH_ROWS = 64  # samples can be 100 kB each; this bounds what is in memory at once
_Row = dict[str, Any]


_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_SHAREGPT = (
    ("system", pa.string()),
    ("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))),
)
_COLUMNS: dict[str, tuple[tuple[str, pa.DataType], ...]] = {
    "prompt-completion": (("prompt", _TURNS), ("completion", _TURNS)),
    "messages": (("messages", _TURNS),),
    "sharegpt": _SHAREGPT,
    "llamafactory": _SHAREGPT,
    "alpaca": (
        ("system", pa.string()), ("history", pa.list_(pa.list_(pa.string()))), ("instruction", pa.string()),
        ("input", pa.string()), ("output", pa.string()),
    ),
    "tokenized": (("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32())), ("length", pa.int32())),
}  # fmt: skip

# Only where they are needed: collators that pad ids and labels do not know what to do with positions.
_APART = (("lengths", pa.list_(pa.int32())), ("position_ids", pa.list_(pa.int32())))


class ExportConfig(BaseModel):
    """How a table of samples is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format
    provenance: bool = Field(default=True, description=f"a column '{PROVENANCE}' with what the format has no place for")
    template: str | None = Field(default=None, description="LLaMA-Factory's template; null finds it by rendering")
    rows_per_file: int = Field(default=PART_ROWS, ge=1, description="samples read for each file")
    training: dict[str, Any] | None = Field(
        default=None, description="a recipe's train with model and seed, for LLaMA-Factory's training file"
    )


def export_config(format_name: str, provenance: bool | None = None, **more: Any) -> ExportConfig:
    """A configuration; provenance defaults to on, but for token ids, whose readers want numbers only.

    Raises:
        RecipeError: unknown format.
    """
    if format_name not in FORMATS:
        close = difflib.get_close_matches(format_name.lower(), FORMATS, 1, cutoff=0.4)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise RecipeError(f"unknown format '{format_name}'", f"{hint}known: {', '.join(FORMATS)}")
    if more.get("template") is not None and format_name != "llamafactory":
        raise RecipeError("--template goes with --format llamafactory only", "leave it out")
    if more.get("training") is not None and format_name != "llamafactory":
        raise RecipeError("--recipe goes with --format llamafactory only", "leave it out")
    on = format_name != "tokenized" if provenance is None else provenance
    return ExportConfig(format=format_name, provenance=on, **more)  # type: ignore[arg-type]


def row_schema(config: ExportConfig, several: bool = False) -> pa.Schema:
    """The columns of an export; for JSON Lines they go into the card, as types cannot be told from early rows alone.

    Args:
        several: rows may hold more than one conversation: token ids then say where each begins.
    """
    if config.format in ("parquet", "jsonl"):
        return schema_of(Example)
    carried = [(PROVENANCE, pa.string())] if config.provenance else []
    apart = _APART if several and config.format == "tokenized" else ()
    return pa.schema([("id", pa.string()), *_COLUMNS[config.format], *apart, *carried])


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
    plan = _Plan(examples, source, config, chat, (described or {}).get("system"))
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
            for batch in file.iter_batches(_BATCH_ROWS, use_threads=False):
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


class _Plan:
    """How one sample becomes one row, and which files stand beside the rows."""

    def __init__(self, folder: Path, source: Manifest, config: ExportConfig, chat: Chat | None, system: str | None):
        self.config, self.chat, self.system = config, chat, system
        self.info: dict[str, Any] = {}
        self.context = False
        several = config.format == "tokenized" and _has_pairs(folder, source)
        self.schema = row_schema(config, several) if config.format in ("parquet", "tokenized") else None
        if config.format == "llamafactory":
            assert chat is not None
            self.template, added = (config.template, None) if config.template else llamafactory.match_template(chat)
            self.system = system if system is not None else added
            self.context = _has_context(folder, source)
            self.info = {"template": self.template, "mask_history": self.context}
            # What cannot be said in its training file is refused here, before any sample is written.
            llamafactory.training_file(str(self.template), 1, self.context, config.training)

    def row(self, example: Example) -> _Row | Refusal:
        """The row of a sample, or why the format cannot hold it."""
        name = self.config.format
        if name in ("parquet", "jsonl"):
            return to_dict(example)
        if name == "tokenized":
            assert self.chat is not None
            made = to_tokenized(example, self.chat)
            carry: Callable[[Example], str] = tokenized_provenance
        else:
            example = with_system(example, self.system)
            made = to_sharegpt(example, self.context) if name == "llamafactory" else SHAPES[name](example)
            carry = provenance_of
        if isinstance(made, Refusal):
            return made
        return {"id": example.example_id, **made, **({PROVENANCE: carry(example)} if self.config.provenance else {})}

    def side_files(self, out: Path, longest_tokens: int) -> list[Path]:
        """Write what LLaMA-Factory reads beside the rows; returns the files."""
        if self.config.format != "llamafactory":
            return []
        texts = {
            "dataset_info.json": json.dumps(llamafactory.dataset_info(), indent=1),
            "train.yaml": llamafactory.training_file(
                str(self.template), longest_tokens, self.context, self.config.training
            ),
        }
        layout = (self.config.training or llamafactory.PUBLISHED)["layout"]
        if layout["sharding"] != "none":
            texts[llamafactory.deepspeed_name(layout)] = llamafactory.deepspeed_file(layout)
        for name, text in texts.items():
            write_atomic(out / name, text.encode())
        return [out / name for name in texts]


def _has_context(folder: Path, manifest: Manifest) -> bool:
    """Whether any sample has an assistant turn that is context only."""
    for name in data_files(manifest):
        with pq.ParquetFile(folder / name) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=["prompt"]):
                roles = pc.struct_field(pc.list_flatten(batch.column("prompt")), "role")
                if pc.any(pc.equal(roles, "assistant")).as_py():
                    return True
    return False


def _has_pairs(folder: Path, manifest: Manifest) -> bool:
    """Whether any sample is two conversations in one row."""
    return any(
        pc.any(pc.equal(pq.read_table(folder / name, columns=["mode"]).column("mode"), MASKED_PAIR)).as_py()
        for name in data_files(manifest)
    )


def _write_file(path: Path, sidecar: Path, rows: Iterable[Example], plan: _Plan, facts: Facts) -> list[Reject]:
    """One file of rows under a temporary name, its refused samples, then the rename."""
    refused: list[Reject] = []

    def fitting() -> Iterator[_Row]:
        for example in rows:
            made = plan.row(example)
            if isinstance(made, Refusal):
                shown = json.dumps(to_dict(example), ensure_ascii=True)[:4000]
                refused.append(Reject(made.reason, made.evidence[:500], example.arm, example.example_id, shown))
            else:
                facts.add_examples([to_dict(example)])
                yield made

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    if plan.schema is None:
        with temporary.open("w", encoding="utf-8", newline="\n") as handle:
            for made in fitting():
                handle.write(json.dumps(made, ensure_ascii=False) + "\n")
            handle.flush()
            os.fsync(handle.fileno())
    else:
        with pq.ParquetWriter(temporary, plan.schema, compression="zstd") as writer:
            stream = fitting()
            while batch := list(islice(stream, _BATCH_ROWS)):
                writer.write_table(pa.Table.from_pylist(batch, schema=plan.schema))
    if refused:
        _write_parquet(sidecar, to_arrow(refused, Reject))
    else:
        sidecar.unlink(missing_ok=True)
    os.replace(temporary, path)
    return refused


def _write_parquet(path: Path, table: pa.Table) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pq.write_table(table, temporary, compression="zstd")
    os.replace(temporary, path)


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
