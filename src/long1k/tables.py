"""Tables: a folder of Parquet parts, what was rejected, and a manifest written last.

    folder/
      part-00000.parquet ...   rows of one type
      rejected.parquet         rows that were not passed on, with reasons
      manifest.json            written last, by an atomic rename: no manifest, not complete

A part is written under a temporary name and renamed, so whatever has its final name is whole.
A stage that was stopped finds the parts it had finished, if its configuration and inputs are
still the same, and goes on from there.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from long1k.errors import DataError, IncompleteError
from long1k.rows import SCHEMA_VERSION, R, Reject, Row, canonical_json, from_arrow, schema_of, to_arrow

MANIFEST = "manifest.json"
PROGRESS = "progress.json"
PART_ROWS = 4096
keep_finished: ContextVar[bool | str] = ContextVar("keep_finished", default=False)
"""Whether a finished result of another configuration is refused instead of replaced: so in commands with --out."""
_PACKAGES = ("pyarrow", "tokenizers", "fastokens", "math-verify", "torch", "transformers", "trl", "accelerate")


def digest_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _hash_array(array: pa.Array, hasher: Any) -> None:
    """Feed an array's values, independent of its offsets, padding and null storage."""
    # A list's inner field is called "item" in memory and "element" in Parquet: its name is no content.
    kind = "list" if pa.types.is_list(array.type) else "struct" if pa.types.is_struct(array.type) else str(array.type)
    hasher.update(f"{kind}|{len(array)}|".encode())
    if array.null_count:
        valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
        hasher.update(np.packbits(valid).tobytes())
    if pa.types.is_list(array.type):
        lengths = pa.compute.list_value_length(array).fill_null(0)
        hasher.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        _hash_array(array.flatten(), hasher)
    elif pa.types.is_struct(array.type):
        for child in array.flatten():
            _hash_array(child, hasher)
    elif pa.types.is_string(array.type) or pa.types.is_binary(array.type) or pa.types.is_fixed_size_binary(array.type):
        whole = array.cast(pa.binary()) if pa.types.is_fixed_size_binary(array.type) else array
        filled = whole.fill_null(b"" if pa.types.is_binary(whole.type) else "") if array.null_count else whole
        lengths = pa.compute.binary_length(filled)
        hasher.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        data, offsets = filled.buffers()[2], np.frombuffer(filled.buffers()[1], "<i4")[filled.offset :]
        if data is not None and len(filled):
            hasher.update(memoryview(data)[int(offsets[0]) : int(offsets[len(filled)])])
    elif pa.types.is_boolean(array.type):
        hasher.update(np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), dtype=bool).tobytes())
    else:
        hasher.update(array.fill_null(0).to_numpy(zero_copy_only=False).tobytes())


def content_digest(table: pa.Table) -> str:
    """SHA-256 of a table's values: the same rows give the same digest in any file layout."""
    hasher = hashlib.sha256()
    for name in table.column_names:
        hasher.update(name.encode())
        combined = table.column(name).combine_chunks()
        if isinstance(combined, pa.ChunkedArray):  # an empty column, or one over 2 GB
            for chunk in combined.chunks or [pa.array([], combined.type)]:
                _hash_array(chunk, hasher)
        else:
            _hash_array(combined, hasher)
    return hasher.hexdigest()


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of this package and of those that can change a result."""
    found = {}
    for name in ("long1k", *_PACKAGES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def git_commit() -> str | None:
    """The commit of the checkout this code runs from, with '+' if it was changed; None outside one."""
    here = Path(__file__).resolve().parent
    if shutil.which("git") is None or not (here.parents[1] / ".git").exists():
        return None
    try:
        head = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, timeout=10, check=True,
        ).stdout.strip()  # fmt: skip
    except (subprocess.SubprocessError, OSError):
        return None
    return head + ("+" if dirty else "")


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that its name only ever holds the whole content."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with temporary.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())
    os.replace(temporary, path)


def make_folder(path: Path) -> Path:
    """Make a folder, or say plainly why it cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataError(
            f"cannot write to the output folder {path}: {error.strerror or error}",
            "choose another folder with --out / --runs, or change its permissions",
        ) from None
    return path


@dataclass(frozen=True)
class Manifest:
    """What a complete table or checkpoint says of itself (the content of manifest.json)."""

    stage: str
    fingerprint: str
    digest: str
    config: dict[str, Any]
    inputs: dict[str, str]
    rows_in: int
    rows_out: int
    rejected: dict[str, int]
    info: dict[str, Any]
    files: dict[str, int]
    versions: dict[str, str]
    git_commit: str | None
    schema_version: int
    wall_seconds: float
    created: str

    def write(self, folder: Path) -> None:
        """Write manifest.json into the folder, atomically, and drop the progress mark."""
        text = json.dumps(self.__dict__, indent=1, ensure_ascii=False, sort_keys=True, default=str)
        write_atomic(folder / MANIFEST, text.encode())
        (folder / PROGRESS).unlink(missing_ok=True)


def fingerprint(stage: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """What decides a stage's result: its name and version, configuration and input digests."""
    return digest_json({"stage": stage, "config": config, "inputs": inputs, "schema": SCHEMA_VERSION})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a complete table or checkpoint.

    Raises:
        DataError: the folder does not exist or its manifest is unreadable.
        IncompleteError: it has no manifest: the stage that makes it was never finished.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", "check the path, or run the stage that makes it")
    path = folder / MANIFEST
    if not path.is_file():
        stage = str(read_json(folder / PROGRESS).get("stage") or "").split("/")[0]
        if not stage:
            raise IncompleteError(
                f"{folder} has no {MANIFEST}: it holds no result of this program, or one that was never finished",
                "check the path, or run the command that makes it",
            )
        raise IncompleteError(
            f"{folder} has no {MANIFEST}: it was never finished", f"run {stage} again with the same --out: it goes on"
        )
    try:
        return Manifest(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not a manifest of this version: {error}", "remove the folder, run again") from None


def is_current(folder: Path, wanted_fingerprint: str) -> bool:
    """Whether the folder holds exactly the result that is wanted, with all its files."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        manifest = read_manifest(folder)
    except DataError:
        return False
    if manifest.fingerprint != wanted_fingerprint:
        return False
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == size for name, size in manifest.files.items()
    )


def changes(before: Mapping[str, Any], config: Mapping[str, Any], inputs: Mapping[str, str]) -> list[str]:
    """What differs from a manifest or progress mark: lines ``key.path: old → new``; digests are shortened.

    Args:
        before: holds ``config`` and ``inputs`` of what was made.
    """
    if "config" not in before:
        return []
    # Old and new come from JSON, so that a list and a tuple of the same values are the same.
    old, new = leaves("", before["config"]), leaves("", json.loads(canonical_json(dict(config))))
    old |= {f"inputs.{name}": value[:12] for name, value in before.get("inputs", {}).items()}
    new |= {f"inputs.{name}": value[:12] for name, value in inputs.items()}
    return [
        f"{key}: {_shown(old[key]) if key in old else 'not set'} → {_shown(new[key]) if key in new else 'not set'}"
        for key in sorted(old | new)
        if (key in old) != (key in new) or canonical_json(old[key]) != canonical_json(new[key])  # 1 is not true
    ]


def leaves(path: str, value: Any) -> dict[str, Any]:
    """Plain values of nested mappings, and of lists of them, by dotted path."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        value = {str(at): inner for at, inner in enumerate(value)}
    if not isinstance(value, dict) or (not value and path):
        return {path: value}
    return {
        key: leaf
        for name, inner in value.items()
        for key, leaf in leaves(f"{path}.{name}" if path else str(name), inner).items()
    }


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:40] + "…"


def begin(
    folder: Path,
    stage: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    *,
    precious: bool = False,
    say: Callable[[str], None] | None = None,
) -> str:
    """Prepare a folder for a stage and return the fingerprint.

    Unfinished work of the same fingerprint is kept; work of any other is removed.  A folder
    that holds something else than a result of ours is refused, never emptied.

    Args:
        precious: unfinished work of other settings is refused like a finished result, in commands with --out.
        say: is told what has changed when work of other settings is removed.
    """
    wanted = fingerprint(stage, config, inputs)
    make_folder(folder)
    marker, manifest = folder / PROGRESS, folder / MANIFEST
    known = read_json(marker)
    if known.get("fingerprint") == wanted and not manifest.is_file():
        return wanted
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    owner = known.get("stage") or read_json(manifest).get("stage")
    if entries and owner is None:
        raise DataError(
            f"{folder} holds files that this program did not make ({entries[0].name})", "name an empty or a new folder"
        )
    if entries and str(owner).split("/")[0] != stage.split("/")[0]:
        raise DataError(f"{folder} holds the result of {str(owner).split('/')[0]}", "name an empty or a new folder")
    found = read_json(manifest) or known
    if found.get("fingerprint") not in (None, wanted):
        finished = "config" in found and manifest.is_file()
        differing = changes(found, config, inputs)
        if found.get("stage") != stage:
            differing.insert(0, f"stage: {found.get('stage')} → {stage}")
        listed = "".join(f"\n    {line}" for line in differing)
        # A start that failed before it made anything leaves nothing that would be lost.
        worth = any(one.name != PROGRESS and (one.is_dir() or one.stat().st_size) for one in entries)
        kept = keep_finished.get()
        if kept and (finished or (precious and worth)):
            what = "a finished result" if finished else "unfinished work"
            raise DataError(
                f"{folder} holds {what} of {stage.split('/')[0]} with other settings or inputs{listed}",
                kept
                if isinstance(kept, str)
                else "name another folder with --out, take the change back, or remove the folder first",
            )
        if say is not None:
            say(f"{folder} starts anew: its settings or inputs have changed{listed}")
    # A mark without a fingerprint stands while old work is removed, so that a kill in between
    # leaves neither a table that looks complete nor old parts that look new.
    write_atomic(marker, json.dumps({"stage": stage, "fingerprint": None}).encode())
    manifest.unlink(missing_ok=True)
    for entry in entries:
        if entry.name not in (PROGRESS, MANIFEST):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    mark = {"stage": stage, "fingerprint": wanted, "config": config, "inputs": inputs}
    write_atomic(marker, canonical_json(mark).encode("utf-8", "surrogatepass"))
    return wanted


def read_json(path: Path) -> dict[str, Any]:
    """The object in a small JSON file; empty if it is not there, not whole, or no object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def finish(
    folder: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    digest: str,
    files: Sequence[Path],
    started: float,
    rows_in: int = 0,
    rows_out: int = 0,
    rejected: Mapping[str, int] | None = None,
    info: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write the manifest of a finished stage."""
    manifest = Manifest(
        stage=stage,
        fingerprint=fingerprint(stage, config, inputs),
        digest=digest,
        config=dict(config),
        inputs=dict(inputs),
        rows_in=rows_in,
        rows_out=rows_out,
        rejected=dict(rejected or {}),
        info=dict(info or {}),
        files={str(path.relative_to(folder)): path.stat().st_size for path in sorted(files)},
        versions=versions(),
        git_commit=git_commit(),
        schema_version=SCHEMA_VERSION,
        wall_seconds=round(time.time() - started, 3),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    manifest.write(folder)
    return manifest


class TableWriter(Generic[R]):
    """Writes one table part by part; finished parts survive a kill.

    Args:
        folder: where the table goes.
        row_type: the type of its rows.
        stage, config, inputs: what decides the content (see ``fingerprint``).
        precious: unfinished work of other settings is refused, too (see ``begin``).
    """

    def __init__(
        self, folder: Path, row_type: type[R], *, stage: str, config: Mapping[str, Any], inputs: Mapping[str, str],
        precious: bool = False,
    ) -> None:  # fmt: skip
        self.folder, self.stage = folder, stage
        self.row_type: type[R] = row_type
        self.config, self.inputs = dict(config), dict(inputs)
        self.started = time.time()
        begin(folder, stage, self.config, self.inputs, precious=precious)

    def _part(self, index: int) -> Path:
        return self.folder / f"part-{index:05d}.parquet"

    def has_part(self, index: int) -> bool:
        """Whether this part was already written, by this or an earlier, killed, run."""
        return self._part(index).is_file()

    def write_part(
        self, index: int, rows: Sequence[R], rejected: Sequence[Reject] = (), rows_in: int | None = None
    ) -> None:
        """Write one part and its rejected rows; rows_in defaults to their sum."""
        write_part(
            self.folder, index, to_arrow(list(rows), self.row_type),
            to_arrow(list(rejected), Reject) if rejected else None, rows_in,
        )  # fmt: skip

    def commit(
        self, num_parts: int, info: Mapping[str, Any] | None = None, *, balanced: bool = True,
        beside: Sequence[Path] = (),
    ) -> Manifest:  # fmt: skip
        """Merge the rejected rows, check that none was lost, and write the manifest.

        ``balanced`` demands rows in = rows out + rejected; stages that make several rows of
        one (joining, sampling) pass False and keep their own account in ``info``.  ``beside`` are further files
        in the folder that belong to the table.
        """
        rejected_parts = sorted(self.folder.glob("rejected-*.parquet"))
        hasher, rows_in, rows_out = hashlib.sha256(), 0, 0
        files = [self.folder / "rejected.parquet", *beside]
        for index in range(num_parts):
            about = pq.read_metadata(self._part(index))
            rows_in += int(about.metadata[b"rows_in"])
            rows_out += about.num_rows
            hasher.update(about.metadata[b"digest"])
            files.append(self._part(index))
        reasons, num_rejected = _merge(rejected_parts, self.folder / "rejected.parquet", hasher)
        if balanced and rows_in != rows_out + num_rejected:
            raise AssertionError(f"{self.folder}: {rows_in} rows in, but {rows_out} out + {num_rejected} rejected")
        manifest = finish(
            self.folder, stage=self.stage, config=self.config, inputs=self.inputs, digest=hasher.hexdigest(),
            files=files, started=self.started, rows_in=rows_in, rows_out=rows_out,
            rejected=dict(sorted(reasons.items())), info=info,
        )  # fmt: skip
        for path in rejected_parts:  # only now: a kill before the manifest must find them again
            path.unlink()
        return manifest


def write_part(
    folder: Path, index: int, rows: pa.Table, rejected: pa.Table | None = None, rows_in: int | None = None
) -> None:
    """Write one part of a table, its rejected rows first; any process may do it.

    Args:
        rows: in the schema of the table's row type.
        rejected: in the schema of Reject, or None.
        rows_in: rows that were taken from the input; their sum if not given.
    """
    num_rejected = 0 if rejected is None else rejected.num_rows
    taken = rows.num_rows + num_rejected if rows_in is None else rows_in
    rejected_path = folder / f"rejected-{index:05d}.parquet"
    if rejected is not None and num_rejected:
        write_parquet(rejected_path, rejected, rows_in=taken)
    else:  # a try that was killed between the two files may have left some
        rejected_path.unlink(missing_ok=True)
    write_parquet(folder / f"part-{index:05d}.parquet", rows, rows_in=taken)


def write_parquet(path: Path, table: pa.Table, rows_in: int = 0) -> None:
    """Write a Parquet file whose name only ever holds the whole content; its metadata hold the content's digest."""
    table = table.replace_schema_metadata({"rows_in": str(rows_in), "digest": content_digest(table)})
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    pq.write_table(table, temporary, compression="zstd")
    os.replace(temporary, path)


def _merge(parts: Sequence[Path], target: Path, hasher: Any) -> tuple[Counter[str], int]:
    """Rejected parts as one file, one part in memory at a time; (rows by reason, rows)."""
    reasons: Counter[str] = Counter()
    rows = 0
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    with pq.ParquetWriter(temporary, schema_of(Reject), compression="zstd") as writer:
        for path in parts:
            table = pq.read_table(path)
            hasher.update(table.schema.metadata[b"digest"])
            reasons.update(table.column("reason").to_pylist())
            rows += table.num_rows
            writer.write_table(table.replace_schema_metadata(None))
    os.replace(temporary, target)
    return reasons, rows


def iter_table(folder: Path, row_type: type[R]) -> Iterator[R]:
    """The rows of a complete table, part by part, in order."""
    manifest = read_manifest(folder)
    wanted = schema_of(row_type)
    for name in sorted(manifest.files):
        if name.startswith("part-"):
            try:
                part = pq.read_table(folder / name)
            except (OSError, pa.ArrowInvalid) as error:
                raise DataError(f"{folder / name} cannot be read: {error}", "run the stage again") from None
            if part.schema.names != wanted.names:
                raise DataError(
                    f"{folder} holds no {row_type.__name__} rows (its columns: {', '.join(part.schema.names[:5])}…)",
                    "check that the folder is the output of the right stage",
                )
            yield from from_arrow(part, row_type)


def iter_columns(
    folder: Path, row_type: type[Row], columns: Sequence[str], batch_rows: int = 256
) -> Iterator[dict[str, Any]]:
    """Some columns of a complete table, row by row, with ``batch_rows`` rows in memory at a time.

    Raises:
        DataError: a part cannot be read, or holds other rows.
    """
    names = schema_of(row_type).names
    for name in sorted(read_manifest(folder).files):
        if not name.startswith("part-"):
            continue
        try:
            with pq.ParquetFile(folder / name) as part:
                if part.schema_arrow.names != names:
                    raise DataError(
                        f"{folder} holds no {row_type.__name__} rows", "check that it is the output of the right stage"
                    )
                for batch in part.iter_batches(batch_size=batch_rows, columns=list(columns)):
                    yield from batch.to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise DataError(f"{folder / name} cannot be read: {error}", "run the stage again") from None


def read_table(folder: Path, row_type: type[R]) -> list[R]:
    """All rows of a complete table."""
    return list(iter_table(folder, row_type))


def read_rejected(folder: Path) -> list[Reject]:
    """The rejected rows of a complete table."""
    read_manifest(folder)
    try:
        return list(from_arrow(pq.read_table(folder / "rejected.parquet"), Reject))
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{folder / 'rejected.parquet'} cannot be read: {error}", "run the stage again") from None
