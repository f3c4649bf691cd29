"""Reading a complete table: whole rows, some columns, or what was rejected."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from long1k.errors import DataError
from long1k.rows import R, Reject, Row, from_arrow, schema_of
from long1k.tables.manifest import read_manifest


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
