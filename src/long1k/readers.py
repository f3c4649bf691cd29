"""Rows from JSON Lines, JSON, CSV and Parquet, in chunks that another process can read.

A chunk of a file that can be read from any place is an address (file, offset, number of rows); of
one that cannot (compressed text, a JSON array, CSV) it holds its own rows as bytes.  Either way
memory is bounded by the chunk, not by the file.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import IO

import numpy as np

from long1k.chunks import HeldCells, HeldLines, LineRange, RowChunk
from long1k.errors import DataError
from long1k.files import Place, look_at, open_plain, reading
from long1k.jsonlines import BOM, MAX_ROW_BYTES, LongLine, after_space, first_twice, iter_lines
from long1k.parquet import parquet_chunks, parquet_columns

MAX_ARRAY_BYTES = 1 << 28  # as text up to four times as much: still within 2 GB
_BLOCK = 8 << 20
_BLANK = np.frombuffer(b"\t\n\v\f\r ", dtype=np.uint8)


def row_chunks(
    place: Place,
    size: int,
    *,
    wanted: str = "auto",
    limit: int | None = None,
    columns: Sequence[str] | None = None,
    max_row_bytes: int = MAX_ROW_BYTES,
) -> Iterator[RowChunk]:
    """All rows of a file in order, in chunks of at most ``size`` rows and at least one.

    Args:
        wanted: the format, or auto.
        limit: so many rows at most.
        columns: names that will be looked at; a Parquet file's other columns are not read.
        max_row_bytes: a longer line of JSON Lines becomes a BadRow, and is never held.

    Raises:
        DataError: the file is not what it says it is, or broken.
    """
    kind, compression = look_at(place, wanted)
    with reading(place, compression):
        if kind == "parquet":
            yield from parquet_chunks(place, size, limit, columns)
        elif kind == "csv":
            yield from _csv_chunks(place, compression, size, limit, max_row_bytes)
        elif kind == "json":
            yield from _held(_array_items(place, compression), size, limit, max_row_bytes)
        elif compression is None and place.near:
            with place.open() as handle, place.open() as again:
                yield from _line_ranges(place, handle, again, size, limit, max_row_bytes)
        else:
            with open_plain(place, compression) as handle:
                yield from _held(iter_lines(handle, max_row_bytes), size, limit, max_row_bytes)


def column_names(place: Place, wanted: str = "auto") -> list[str] | None:
    """The columns of a Parquet or CSV file; None for JSON, whose rows may each have their own.

    Raises:
        DataError: a name stands twice, or the file is broken.
    """
    kind, compression = look_at(place, wanted)
    with reading(place, compression):
        if kind == "parquet":
            return _unique(place, parquet_columns(place))
        if kind == "csv":
            with open_plain(place, compression) as handle:
                header = next(_csv_records(place, handle, MAX_ROW_BYTES), None)
                return None if header is None else _unique(place, header)
    return None


def _unique(place: Place, names: list[str]) -> list[str]:
    twice = first_twice(names)
    if twice is not None:
        raise DataError(f"{place.label} has two columns '{twice}'", "rename one of them")
    return names


def _held(
    items: Iterator[tuple[int, bytes | LongLine]], size: int, limit: int | None, max_row_bytes: int
) -> Iterator[RowChunk]:
    items = islice(items, limit)
    while lines := tuple(islice(items, size)):
        yield HeldLines(lines, max_row_bytes)


def _line_ranges(
    place: Place, handle: IO[bytes], again: IO[bytes], size: int, limit: int | None, max_row_bytes: int
) -> Iterator[RowChunk]:
    """Where every ``size``-th row begins, from the newlines alone: no text is parsed or kept."""
    block = bytearray(_BLOCK)
    base = num_lines = num_rows = 0
    at_start = True  # the next byte begins a line
    begun: tuple[int, int, int] | None = None  # of the chunk: byte, line number, rows before it
    while got := handle.readinto(block):  # type: ignore[attr-defined]
        part = np.frombuffer(block, dtype=np.uint8, count=got)
        starts = np.flatnonzero(part == 10) + 1
        ends_line = starts.size > 0 and starts[-1] == got
        if ends_line:
            starts = starts[:-1]
        if at_start:
            starts = np.concatenate(([0], starts))
        at_start = bool(ends_line)
        doubtful = np.isin(part[starts], _BLANK)
        if base == 0 and starts.size:
            doubtful[0] = True  # a byte order mark may hide a blank line
        keep = np.ones(starts.size, dtype=bool)
        for line in np.flatnonzero(doubtful):
            keep[line] = not _is_blank(again, base + int(starts[line]), max_row_bytes)
        numbers = np.flatnonzero(keep) + num_lines + 1
        rows = starts[keep] + base
        for index in range(-num_rows % size, len(rows), size):
            if limit is not None and num_rows + index >= limit:
                break
            if begun is not None:
                yield LineRange(place, begun[0], begun[1], size, max_row_bytes)
            begun = (int(rows[index]), int(numbers[index]), num_rows + index)
        num_lines += len(starts)
        num_rows += len(rows)
        base += got
        if limit is not None and num_rows >= limit:
            num_rows = limit
            break
    if begun is not None:
        yield LineRange(place, begun[0], begun[1], num_rows - begun[2], max_row_bytes)


def _is_blank(handle: IO[bytes], start: int, max_row_bytes: int) -> bool:
    """Whether ``iter_lines`` would skip the line that begins here."""
    handle.seek(start)
    line = handle.readline(max_row_bytes + 1)
    if start == 0:
        line = line.removeprefix(BOM)
    return (len(line) <= max_row_bytes or line.endswith(b"\n")) and not line.strip()


def _array_items(place: Place, compression: str | None) -> Iterator[tuple[int, bytes]]:
    """(number from 1, text) of the members of one JSON array."""
    with open_plain(place, compression) as handle:
        raw = handle.read(MAX_ARRAY_BYTES + 1)
    if len(raw) > MAX_ARRAY_BYTES:
        raise DataError(
            f"{place.label} is a JSON array of more than {MAX_ARRAY_BYTES >> 20:,} MiB, which must be held whole",
            "convert it to JSON Lines: jq -c '.[]' FILE.json > FILE.jsonl",
        )
    text = raw.removeprefix(BOM).decode("utf-8", "surrogateescape")
    del raw
    decoder = json.JSONDecoder()
    number = 0
    try:
        at = after_space(text, after_space(text, 0) + 1)
        closed = text.startswith("]", at)
        while not closed:
            number += 1
            end = decoder.raw_decode(text, at)[1]
            yield number, text[at:end].encode("utf-8", "surrogateescape")
            at = after_space(text, end)
            closed = text.startswith("]", at)
            if not closed:
                if not text.startswith(",", at):
                    raise ValueError(f"neither , nor ] at character {at:,}")
                at = after_space(text, at + 1)
        if after_space(text, at + 1) != len(text):
            raise ValueError("text after the closing ]")
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{place.label} is not a whole JSON array: row {number}: {error}", "fetch the file again"
        ) from None


def _csv_chunks(
    place: Place, compression: str | None, size: int, limit: int | None, max_row_bytes: int
) -> Iterator[RowChunk]:
    with open_plain(place, compression) as handle:
        records = _csv_records(place, handle, max_row_bytes)
        header = next(records, None)
        if header is None:
            return
        names = tuple(_unique(place, header))
        cells = islice(((number, tuple(fields)) for number, fields in enumerate(records, 1)), limit)
        while held := tuple(islice(cells, size)):
            yield HeldCells(names, held)


def _csv_records(place: Place, handle: IO[bytes], max_row_bytes: int) -> Iterator[list[str]]:
    """The records of a CSV (or .tsv) file, header first; blank lines between records are skipped."""

    def texts() -> Iterator[str]:
        first = True
        while line := handle.readline(max_row_bytes + 1):
            if len(line) > max_row_bytes:
                raise csv.Error(f"a line above max_row_bytes ({max_row_bytes:,})")
            yield (line.removeprefix(BOM) if first else line).decode("utf-8", "surrogateescape")
            first = False

    csv.field_size_limit(max(csv.field_size_limit(), max_row_bytes))  # of the whole process; the default is 128 KiB
    reader = csv.reader(texts(), delimiter="\t" if ".tsv" in place.name.lower() else ",", strict=True)
    try:
        yield from (record for record in reader if record)
    except csv.Error as error:
        raise DataError(
            f"{place.label} is not a whole CSV file: line {reader.line_num}: {error}",
            'a quoted field ends with one ", and doubles those inside it',
        ) from None
