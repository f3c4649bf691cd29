"""Writing a table part by part; finished parts survive a kill."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Generic

import pyarrow as pa
import pyarrow.parquet as pq

from long1k.rows import R, Reject, schema_of, to_arrow
from long1k.tables.digests import content_digest
from long1k.tables.disk import written_aside
from long1k.tables.folder import begin, finish
from long1k.tables.manifest import Manifest

PART_ROWS = 4096


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
    with written_aside(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _merge(parts: Sequence[Path], target: Path, hasher: Any) -> tuple[Counter[str], int]:
    """Rejected parts as one file, one part in memory at a time; (rows by reason, rows)."""
    reasons: Counter[str] = Counter()
    rows = 0
    with (
        written_aside(target) as temporary,
        pq.ParquetWriter(temporary, schema_of(Reject), compression="zstd") as writer,
    ):
        for path in parts:
            table = pq.read_table(path)
            hasher.update(table.schema.metadata[b"digest"])
            reasons.update(table.column("reason").to_pylist())
            rows += table.num_rows
            writer.write_table(table.replace_schema_metadata(None))
    return reasons, rows
