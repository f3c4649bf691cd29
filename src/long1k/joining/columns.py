"""A trace pool without its texts: the columns that a choice is made on, and the texts of what was chosen.

Two million rows take a few hundred megabytes this way.  Texts are read for a working set only, in one
pass over the pool's parts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from long1k.errors import DataError
from long1k.joining.spec import JoinSpec, Where
from long1k.rows import Trace, derive_seed, from_arrow, schema_of
from long1k.tables import read_manifest

Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]
_COUNTS = ("num_question_tokens", "num_thinking_tokens", "num_solution_tokens")
_NAMED = ("subject", "source", "teacher", "license", "difficulty_origin")
_READ = ("trace_id", "problem_id", *_COUNTS, *_NAMED, "difficulty", "correct")


@dataclass(frozen=True)
class Names:
    """A column of few different texts: a code a row, and the texts (None: no value)."""

    codes: npt.NDArray[np.int32]
    texts: list[str | None]

    def among(self, wanted: Iterable[str]) -> Mask:
        """The rows whose text is one of these."""
        found = np.array([text in set(wanted) for text in self.texts], dtype=bool)
        return found[self.codes] if found.size else np.zeros(self.codes.size, dtype=bool)

    def of(self, rows: Ints) -> list[str | None]:
        """The texts of some rows."""
        return [self.texts[code] for code in self.codes[rows].tolist()]


@dataclass(frozen=True)
class Columns:
    """What is known of each trace of a pool without its texts; row i is the i-th of the table.

    ``correct`` is 1, 0 or -1 (not checked); ``difficulty`` NaN where unknown; ``problem`` a code into
    ``problem_ids``.
    """

    folder: Path
    parts: list[tuple[str, int]]
    trace_ids: npt.NDArray[np.bytes_]
    problem: npt.NDArray[np.int32]
    problem_ids: npt.NDArray[np.bytes_]
    question_tokens: npt.NDArray[np.int32]
    thinking_tokens: npt.NDArray[np.int32]
    solution_tokens: npt.NDArray[np.int32]
    difficulty: npt.NDArray[np.float64]
    correct: npt.NDArray[np.int8]
    named: dict[str, Names]

    def __len__(self) -> int:
        return int(self.problem.size)

    @property
    def tokens(self) -> npt.NDArray[np.int64]:
        """Tokens of question, thinking and solution together, a row."""
        return self.question_tokens.astype(np.int64) + self.thinking_tokens + self.solution_tokens

    def rows_of(self, trace_ids: Sequence[str]) -> Ints:
        """The first row of each trace; -1 where the pool does not hold it."""
        if not trace_ids or not len(self):
            return np.full(len(trace_ids), -1, dtype=np.int64)
        wanted = np.array([trace_id.encode() for trace_id in trace_ids], dtype=bytes)
        width = np.promote_types(wanted.dtype, self.trace_ids.dtype)
        keys, held = hash_ids(wanted.astype(width), 0), hash_ids(self.trace_ids.astype(width), 0)
        found = np.flatnonzero(np.isin(held, keys))
        first: dict[bytes, int] = {}
        for row in found.tolist():
            first.setdefault(bytes(self.trace_ids[row]), row)
        return np.array([first.get(bytes(name), -1) for name in wanted], dtype=np.int64)


def read_columns(folder: Path) -> Columns:
    """The columns of a complete Trace table.

    Raises:
        DataError: a part cannot be read, or the table holds other rows.
    """
    names = sorted(name for name in read_manifest(folder).files if name.startswith("part-"))
    held: dict[str, list[Any]] = {name: [] for name in _READ}
    sizes = []
    for name in names:  # a part at a time, and of each only what takes little room
        table = _open(folder / name).read(columns=list(_READ))
        sizes.append((name, table.num_rows))
        for column in _READ:
            held[column].append(_compact(column, table.column(column)))
    problems = _encoded(held.pop("problem_id"))
    return Columns(
        folder,
        sizes,
        _joined(held.pop("trace_id"), np.dtype("S1")),
        problems.codes,
        np.array([(text or "").encode() for text in problems.texts], dtype=bytes),
        _joined(held.pop("num_question_tokens"), np.dtype(np.int32)),
        _joined(held.pop("num_thinking_tokens"), np.dtype(np.int32)),
        _joined(held.pop("num_solution_tokens"), np.dtype(np.int32)),
        _joined(held.pop("difficulty"), np.dtype(np.float64)),
        _joined(held.pop("correct"), np.dtype(np.int8)),
        {name: _encoded(held.pop(name)) for name in _NAMED},
    )


def _compact(name: str, column: pa.ChunkedArray) -> Any:
    """A part's column in little room: numbers and ids as arrays, names as codes."""
    if name == "trace_id":
        return np.array(column.cast(pa.binary()).to_pylist(), dtype=bytes)
    if name in _COUNTS:
        return column.to_numpy().astype(np.int32)
    if name == "difficulty":
        return pc.fill_null(column, float("nan")).to_numpy()
    if name == "correct":
        return pc.fill_null(column.cast(pa.int8()), -1).to_numpy()
    return column.dictionary_encode(null_encoding="encode")


def _joined(parts: list[Any], kind: np.dtype[Any]) -> Any:
    """The parts of a column one after another; of an empty pool an empty array of this kind."""
    filled = [part for part in parts if len(part)]
    return np.concatenate(filled) if filled else np.zeros(0, dtype=kind)


def _encoded(parts: list[pa.ChunkedArray]) -> Names:
    """Codes of all parts in one dictionary, texts in the order in which they first stand."""
    # Arrow's own unify_dictionaries refuses dictionaries that hold a null, and a missing name is one here.
    known: dict[str | None, int] = {}
    codes = []
    for chunk in (chunk for part in parts for chunk in part.chunks):
        texts = chunk.dictionary.to_pylist()
        own = np.array([known.setdefault(text, len(known)) for text in texts], dtype=np.int32)
        codes.append(own[chunk.indices.to_numpy(zero_copy_only=False)])
    return Names(_joined(codes, np.dtype(np.int32)), list(known))


def _open(path: Path) -> pq.ParquetFile:
    try:
        found = pq.ParquetFile(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read: {error}", "run the stage again") from None
    if found.schema_arrow.names != schema_of(Trace).names:
        raise DataError(
            f"{path.parent} holds no Trace rows (its columns: {', '.join(found.schema_arrow.names[:5])}…)",
            "check that the folder is the output of the right stage",
        )
    return found


def hash_ids(ids: npt.NDArray[np.bytes_], seed: int) -> npt.NDArray[np.uint64]:
    """A seeded 64-bit hash of each id (rounds of splitmix64 over its bytes): a random order that rows keep."""
    width = -(-max(1, ids.dtype.itemsize) // 8)
    words = np.ascontiguousarray(ids.astype(f"S{8 * width}")).view(np.uint64).reshape(-1, width)
    state = np.full(ids.size, seed & (2**64 - 1), dtype=np.uint64)
    for column in range(width):
        state = _mix(state ^ words[:, column])
    return state


def _mix(state: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """One round of splitmix64 (Steele, Lea and Flood, 2014)."""
    state = state + np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def eligible(columns: Columns, spec: JoinSpec) -> Mask:
    """The rows that a group may use: each trace once, inside its filters and its slice of the problems."""
    kept = _first_of_each(columns.trace_ids) & _filtered(columns, spec.where)
    if spec.mode == "dependent":
        kept &= columns.correct == 1
    if spec.slice is not None:
        at, of = spec.slice
        # The same for every arm and seed, so that different slices never share a problem.
        inside = [derive_seed("slice", name.decode()) % of == at for name in columns.problem_ids.tolist()]
        kept &= np.array(inside, dtype=bool)[columns.problem] if inside else kept
    return kept


def _first_of_each(ids: npt.NDArray[np.bytes_]) -> Mask:
    """Rows whose id did not stand before: a pool that was not deduplicated may hold one trace twice."""
    kept = np.ones(ids.size, dtype=bool)
    hashes = np.sort(hash_ids(ids, 0))
    if (hashes[1:] == hashes[:-1]).any():  # different hashes are different ids; equal ones are looked at
        kept[:] = False
        kept[np.unique(ids, return_index=True)[1]] = True
    return kept


def _filtered(columns: Columns, where: Where) -> Mask:
    kept = np.ones(len(columns), dtype=bool)
    for bounds, values in ((where.difficulty, columns.difficulty), (where.thinking_tokens, columns.thinking_tokens)):
        for bound, sign in zip(bounds or (None, None), (1, -1), strict=True):
            if bound is not None:
                kept &= sign * values >= sign * bound  # an unknown difficulty (NaN) lies within no bound
    if where.difficulty is not None:
        kept &= ~np.isnan(columns.difficulty)
    for wanted, name in ((where.subjects, "subject"), (where.sources, "source"), (where.teachers, "teacher")):
        if wanted is not None:
            kept &= columns.named[name].among(wanted)
    if where.correct is not None:
        kept &= columns.correct == int(where.correct)
    return kept


def quantile_rows(columns: Columns, rows: Ints, at: int, of: int, seed: int) -> Ints:
    """Of each problem with ``of`` traces or more the one at quantile ``at`` of 0..of-1, by length.

    Quantile 0 is the shortest and of-1 the longest; in between those at position at·(m-1)/(of-1), rounded.
    Problems come in an order that only their ids and the seed decide, so it is the same for every ``at``.
    """
    tokens = columns.tokens[rows]
    order = np.lexsort((columns.trace_ids[rows], tokens, columns.problem[rows]))
    rows = rows[order]
    problems, starts, numbers = np.unique(columns.problem[rows], return_index=True, return_counts=True)
    enough = numbers >= of
    places = (2 * at * (numbers - 1) + (of - 1)) // (2 * (of - 1))
    ranks = np.argsort(hash_ids(columns.problem_ids[problems[enough]], seed), kind="stable")
    return np.asarray(rows[(starts + places)[enough]][ranks])


def load_traces(columns: Columns, rows: Ints) -> dict[int, Trace]:
    """The traces of some rows, texts included, in one pass over the parts that hold them."""
    found: dict[int, Trace] = {}
    rows = np.unique(rows)
    start = 0
    for name, size in columns.parts:
        inside = rows[(rows >= start) & (rows < start + size)] - start
        if inside.size:
            part = _open(columns.folder / name)
            first = 0
            for group in range(part.num_row_groups):
                number = part.metadata.row_group(group).num_rows
                here = inside[(inside >= first) & (inside < first + number)]
                if here.size:
                    table = part.read_row_group(group).take(pa.array(here - first))
                    for row, trace in zip((here + start).tolist(), from_arrow(table, Trace), strict=True):
                        found[row] = trace
                first += number
        start += size
    return found
