"""Rows of a Parquet file, by row group."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from long1k.files import Place, reading
from long1k.jsonlines import BadRow, Row

# A row group is decoded from its start: beyond so many chunks of it, one process reads and hands out.
_CHUNKS_PER_GROUP = 4


@dataclass(frozen=True, slots=True)
class ParquetRows:
    """Rows of a Parquet file: (row group, first row in it, number of rows) of each piece."""

    place: Place
    pieces: tuple[tuple[int, int, int], ...]
    first: int
    columns: tuple[str, ...] | None

    @property
    def num_rows(self) -> int:
        """How many there are."""
        return sum(count for _, _, count in self.pieces)

    def rows(self) -> Iterator[Row]:
        """Read them."""
        number = self.first
        with reading(self.place, None), self.place.open() as handle, pq.ParquetFile(handle) as file:
            for group, start, count in self.pieces:
                table = file.read_row_group(group, columns=_chosen(file, self.columns), use_threads=False)
                yield from _table_rows(table.slice(start, count), number)
                number += count
                del table  # before the next group is read


@dataclass(frozen=True, slots=True)
class HeldTable:
    """Rows of a Parquet file as an Arrow stream."""

    stream: bytes
    num_rows: int
    first: int

    def rows(self) -> Iterator[Row]:
        """Decode them."""
        yield from _table_rows(pa.ipc.open_stream(self.stream).read_all(), self.first)


def _chosen(file: Any, columns: Sequence[str] | None) -> list[str] | None:
    return None if columns is None else [name for name in file.schema_arrow.names if name in columns]


def parquet_columns(place: Place) -> list[str]:
    """The names of its columns."""
    with place.open() as handle, pq.ParquetFile(handle) as file:
        names: list[str] = file.schema_arrow.names
        return names


def parquet_chunks(
    place: Place, size: int, limit: int | None, columns: Sequence[str] | None
) -> Iterator[ParquetRows | HeldTable]:
    """All its rows in order, at most ``size`` a chunk; call it inside ``files.reading``."""
    names = None if columns is None else tuple(columns)
    pieces: list[tuple[int, int, int]] = []
    first, begun = 1, 1
    # Buffered reading holds pages, not column chunks; over a network few large requests are better.
    reader = {"buffer_size": 1 << 20, "pre_buffer": False} if place.near else {"pre_buffer": True}
    with place.open() as handle, pq.ParquetFile(handle, **reader) as file:
        for group in range(file.metadata.num_row_groups):
            in_group = file.metadata.row_group(group).num_rows
            wanted = in_group if limit is None else min(in_group, limit - first + 1)
            if wanted <= 0:
                break
            if in_group > _CHUNKS_PER_GROUP * size or not place.near:
                if pieces:
                    yield ParquetRows(place, tuple(pieces), begun, names)
                    pieces = []
                chosen = _chosen(file, columns)
                for batch in file.iter_batches(size, row_groups=[group], columns=chosen, use_threads=False):
                    if wanted <= 0:
                        break
                    batch = batch.slice(0, wanted)
                    yield _hold(batch, first)
                    first, wanted = first + batch.num_rows, wanted - batch.num_rows
                begun = first
                continue
            start = 0
            while start < wanted:
                count = min(wanted - start, size - (first - begun))
                pieces.append((group, start, count))
                first, start = first + count, start + count
                if first - begun == size:
                    yield ParquetRows(place, tuple(pieces), begun, names)
                    pieces, begun = [], first
    if pieces:
        yield ParquetRows(place, tuple(pieces), begun, names)


def _hold(batch: pa.RecordBatch, first: int) -> HeldTable:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return HeldTable(sink.getvalue().to_pybytes(), batch.num_rows, first)


def _table_rows(table: pa.Table, first: int) -> Iterator[Row]:
    try:
        rows: list[Any] = table.to_pylist()
    except (ValueError, OverflowError):  # in some cell of some row: find which
        rows = [_table_row(table.slice(index, 1), first + index) for index in range(table.num_rows)]
    yield from enumerate(rows, first)


def _table_row(table: pa.Table, number: int) -> dict[str, Any] | BadRow:
    try:
        row: dict[str, Any] = table.to_pylist()[0]
        return row
    except UnicodeDecodeError as error:
        return BadRow(str(number), "invalid_utf8", str(error), "")
    except (ValueError, OverflowError) as error:  # such as a time that Python cannot hold
        return BadRow(str(number), "wrong_type", str(error), "")
