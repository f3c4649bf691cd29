"""Rows ready for the trainer, in a file that all ranks map into memory.

Tokenizing happens once, before any rank starts: eight ranks that tokenize, or wait for one
that does, are how runs die of time-outs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from long1k.training.data import TrainRow

_SCHEMA = pa.schema(
    [
        ("input_ids", pa.list_(pa.int32())),
        ("labels", pa.list_(pa.int32())),
        ("lengths", pa.list_(pa.int32())),
        ("names", pa.list_(pa.string())),
        ("prompts", pa.list_(pa.list_(pa.int32()))),
    ]
)
_ROWS_A_BATCH = 64


def write_rows(path: Path, rows: Iterable[TrainRow]) -> None:
    """Write rows to an Arrow file, a few at a time."""
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, _SCHEMA) as writer:
        block: list[TrainRow] = []
        for row in rows:
            block.append(row)
            if len(block) == _ROWS_A_BATCH:
                writer.write_batch(_batch(block))
                block = []
        if block:
            writer.write_batch(_batch(block))


def _batch(rows: Sequence[TrainRow]) -> pa.RecordBatch:
    columns = [[getattr(row, field.name) for row in rows] for field in _SCHEMA]
    return pa.record_batch(columns, schema=_SCHEMA)


class RowFile(Sequence[TrainRow]):
    """The rows of a file as a sequence; only rows that are asked for are read."""

    def __init__(self, path: Path) -> None:
        self._table = pa.ipc.open_file(pa.memory_map(str(path))).read_all()
        self.num_tokens: npt.NDArray[np.int64] = self._column_lengths("input_ids")

    def _column_lengths(self, name: str) -> npt.NDArray[np.int64]:
        import pyarrow.compute as pc

        return np.asarray(pc.list_value_length(self._table.column(name)).to_numpy(), dtype=np.int64)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    @overload
    def __getitem__(self, index: int) -> TrainRow: ...

    @overload
    def __getitem__(self, index: slice) -> list[TrainRow]: ...

    def __getitem__(self, index: int | slice) -> TrainRow | list[TrainRow]:
        if isinstance(index, slice):
            return [self[at] for at in range(*index.indices(len(self)))]
        number = index + len(self) if index < 0 else index
        if not 0 <= number < len(self):
            raise IndexError(index)
        row = self._table.slice(number, 1)
        return TrainRow(*(row.column(field.name)[0].as_py() for field in _SCHEMA))

    def __iter__(self) -> Iterator[TrainRow]:
        return (self[at] for at in range(len(self)))
