"""Some rows of one file, picklable: an address that another process reads, or the rows' own bytes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Protocol

from long1k.errors import DataError
from long1k.files import Place, reading
from long1k.jsonlines import BadRow, LongLine, Row, iter_lines, parse_line

_SHOWN = 2000
_ESCAPED = re.compile("[\udc80-\udcff]")  # how surrogateescape writes bytes that are not UTF-8


class RowChunk(Protocol):
    """Some rows of one file; picklable."""

    @property
    def num_rows(self) -> int:
        """How many rows it holds."""
        ...

    def rows(self) -> Iterator[Row]:
        """(number from 1, row or bad row); a line's number counts blank lines too."""
        ...


@dataclass(frozen=True, slots=True)
class LineRange:
    """Rows of a plain JSON Lines file, from a byte on."""

    place: Place
    start: int
    first: int
    num_rows: int
    max_row_bytes: int

    def rows(self) -> Iterator[Row]:
        """Read and parse them.

        Raises:
            DataError: the file is shorter than it was.
        """
        taken = 0
        with reading(self.place, None), self.place.open() as handle:
            handle.seek(self.start)
            for number, line in islice(iter_lines(handle, self.max_row_bytes, self.first), self.num_rows):
                taken += 1
                yield number, parse_line(line, number, self.max_row_bytes)
        if taken < self.num_rows:
            raise DataError(f"{self.place.label} was changed while it was read", "start again")


@dataclass(frozen=True, slots=True)
class HeldLines:
    """JSON texts, one a row, with their numbers."""

    lines: tuple[tuple[int, bytes | LongLine], ...]
    max_row_bytes: int

    @property
    def num_rows(self) -> int:
        """How many there are."""
        return len(self.lines)

    def rows(self) -> Iterator[Row]:
        """Parse them."""
        for number, line in self.lines:
            yield number, parse_line(line, number, self.max_row_bytes)


@dataclass(frozen=True, slots=True)
class HeldCells:
    """Rows of a CSV file: a header, and the fields of each row as text."""

    header: tuple[str, ...]
    cells: tuple[tuple[int, tuple[str, ...]], ...]

    @property
    def num_rows(self) -> int:
        """How many there are."""
        return len(self.cells)

    def rows(self) -> Iterator[Row]:
        """The rows as mappings; an empty field is null, as CSV cannot tell the two apart."""
        for number, fields in self.cells:
            shown = "".join(fields)[:_SHOWN].encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            if len(fields) != len(self.header):
                why = f"{len(fields)} fields, but the header has {len(self.header)}"
                yield number, BadRow(str(number), "wrong_columns", why, shown)
            elif any(_ESCAPED.search(field) for field in fields):
                yield number, BadRow(str(number), "invalid_utf8", "a field is not UTF-8", shown)
            else:
                yield number, {name: field or None for name, field in zip(self.header, fields, strict=True)}
