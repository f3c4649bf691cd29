"""What only all parts together can tell: duplicates, limits, difficulty.

Works on a few bytes a row (an 80-bit hash of the trace and of the problem, and where near-duplicates are
wanted a signature on disk), never on texts.  Of rows that repeat each other the first in the order of
the sources is kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from long1k.curation.config import CollectConfig, NearDuplicateConfig
from long1k.curation.duplicates import keepers
from long1k.stages.collect.part import KEY_BYTES, keys_path
from long1k.tables import write_parquet

REASONS = ("", "duplicate", "near_duplicate_problem", "near_duplicate_trace", "enough_of_problem")


class Keys:
    """The columns of all parts' keys, in order; row i of a part starts at ``starts[part] + i``."""

    def __init__(self, folder: Path, num_parts: int) -> None:
        self.folder = folder
        tables = [
            pq.read_table(keys_path(folder, index), columns=["trace", "text", "problem", "tokens"])
            for index in range(num_parts)
        ]
        self.starts = np.cumsum([0, *(table.num_rows for table in tables)])
        whole = pa.concat_tables(table.replace_schema_metadata(None) for table in tables)
        self.traces = whole.column("trace").combine_chunks()
        self.traces = self.traces.combine_chunks() if isinstance(self.traces, pa.ChunkedArray) else self.traces
        self.texts = codes_of(whole.column("text"))
        self.problem_keys = whole.column("problem")
        self.problems = codes_of(self.problem_keys)
        self.tokens = whole.column("tokens").to_numpy()

    def __len__(self) -> int:
        return int(self.starts[-1])

    def name(self, row: int) -> str:
        """The trace id of a row."""
        return f"t-{self.traces[row].as_py().hex()}"

    def signatures(self, column: str) -> np.ndarray:
        """The signatures of all rows (N, num_perm), on disk."""
        path = self.folder / f"{column}.bin"
        width = 0
        with path.open("wb") as handle:
            for index in range(len(self.starts) - 1):
                for value in pq.read_table(keys_path(self.folder, index), columns=[column]).column(column).to_pylist():
                    width = len(value)
                    handle.write(value)
        if not len(self):
            return np.zeros((0, 1), dtype=np.uint32)
        return np.memmap(path, dtype=np.uint32, mode="r", shape=(len(self), width // 4))

    def numbers(self) -> np.ndarray:
        """For each row a number that is equal where its question names the same numbers; shape (N,)."""
        parts = [
            np.frombuffer(b"".join(pq.read_table(path, columns=["numbers"]).column("numbers").to_pylist()), np.uint64)
            for path in (keys_path(self.folder, index) for index in range(len(self.starts) - 1))
        ]
        return np.concatenate(parts)


def codes_of(column: pa.ChunkedArray) -> np.ndarray:
    """Small integers that are equal where the column's values are, by first appearance; shape (N,)."""
    if not len(column):
        return np.zeros(0, dtype=np.int64)
    encoded = column.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return np.asarray(encoded.indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def first_rows(codes: np.ndarray) -> np.ndarray:
    """The first row with each row's code; shape (N,)."""
    if not len(codes):
        return codes
    first = np.full(int(codes.max()) + 1, -1, dtype=np.int64)
    first[codes[::-1]] = np.arange(len(codes) - 1, -1, -1)
    return np.asarray(first[codes])


def ranks_within(codes: np.ndarray) -> np.ndarray:
    """How many earlier rows have a row's code; shape (N,)."""
    order = np.argsort(codes, kind="stable")
    ordered = codes[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]]) if len(codes) else np.zeros(0, dtype=np.int64)
    ranks = np.empty(len(codes), dtype=np.int64)
    ranks[order] = np.arange(len(codes)) - np.repeat(starts, np.diff(np.r_[starts, len(codes)]))
    return ranks


def decide(folder: Path, num_parts: int, config: CollectConfig, accuracies: Mapping[str, float]) -> Path:
    """Write what becomes of every staged row; returns the file (kept if it is there already).

    ``accuracies`` are of problem ids, for difficulty of that origin.
    Its columns are: reason (0 keeps the row, else an index into REASONS), other (the row it repeats),
    difficulty and difficulty_origin (null: as the row has it).
    """
    path = folder / "decisions.parquet"
    if path.is_file():
        return path
    keys = Keys(folder, num_parts)
    reason = np.zeros(len(keys), dtype=np.int8)
    other = np.arange(len(keys), dtype=np.int64)
    if config.dedup:
        _drop(reason, other, first_rows(keys.texts), "duplicate")
    near = config.near_duplicates
    if near.problems is not None:
        _near_problems(keys, reason, other, near)
    if near.traces is not None:
        _near_traces(keys, reason, other, near.traces)
    limit = config.max_traces_per_problem
    if limit is not None:
        kept = np.flatnonzero(reason == 0)
        over = kept[ranks_within(keys.problems[kept]) >= limit]
        reason[over] = REASONS.index("enough_of_problem")
    difficulty, origin = _difficulty(keys, config, num_parts, reason, accuracies)
    names = pa.array(
        [keys.name(int(row)) if why else None for row, why in zip(other, reason, strict=True)], pa.string()
    )
    table = pa.table(
        {"reason": reason, "other": names, "difficulty": difficulty, "difficulty_origin": origin},
        schema=pa.schema(
            [("reason", pa.int8()), ("other", pa.string()), ("difficulty", pa.float64()),
             ("difficulty_origin", pa.string())]
        ),
    )  # fmt: skip
    write_parquet(path, table)
    return path


def _drop(reason: np.ndarray, other: np.ndarray, keeper: np.ndarray, why: str) -> None:
    """Mark rows that are still there and have another keeper than themselves."""
    gone = np.flatnonzero((keeper != np.arange(len(keeper))) & (reason == 0))
    reason[gone] = REASONS.index(why)
    other[gone] = keeper[gone]


def _near_problems(keys: Keys, reason: np.ndarray, other: np.ndarray, config: NearDuplicateConfig) -> None:
    """Drop the traces of problems that nearly repeat an earlier problem."""
    assert config.problems is not None
    alive = np.flatnonzero(reason == 0)
    leaders = alive[np.unique(first_rows(keys.problems[alive]))]  # one row a problem, in order
    found = keepers(
        keys.signatures("question"),
        config.problems,
        rows=leaders,
        groups=keys.numbers() if config.same_numbers else None,
    )
    leader_of = np.zeros(int(keys.problems.max(initial=0)) + 1, dtype=np.int64)
    leader_of[keys.problems[leaders]] = leaders
    keeper = np.arange(len(keys), dtype=np.int64)
    own = leader_of[keys.problems[alive]]
    repeats = found[own] != own
    keeper[alive[repeats]] = found[own][repeats]
    _drop(reason, other, keeper, "near_duplicate_problem")


def _near_traces(keys: Keys, reason: np.ndarray, other: np.ndarray, threshold: float) -> None:
    """Drop traces that nearly repeat an earlier one."""
    found = keepers(keys.signatures("trace_text"), threshold, rows=np.flatnonzero(reason == 0))
    _drop(reason, other, found, "near_duplicate_trace")


def _difficulty(
    keys: Keys, config: CollectConfig, num_parts: int, reason: np.ndarray, accuracies: Mapping[str, float]
) -> tuple[Any, Any]:
    """Difficulty and its origin for each row, None where the row keeps its own."""
    origin = config.difficulty.origin
    nothing = [None] * len(keys)
    if origin == "solution_tokens":
        alive = reason == 0
        size = int(keys.problems.max(initial=0)) + 1
        tokens = np.bincount(keys.problems[alive], keys.tokens[alive], size)
        counts = np.maximum(np.bincount(keys.problems[alive], minlength=size), 1)
        return (tokens / counts)[keys.problems], ["mean tokens of the problem's traces"] * len(keys)
    if origin == "pass_rate":
        return _pass_rates(keys, num_parts)
    if origin == "accuracy":
        said = f"1 - accuracy in {config.difficulty.path}"
        known = [accuracies.get(f"p-{key.hex()}") for key in keys.problem_keys.to_pylist()]
        return [None if k is None else 1 - k for k in known], [None if k is None else said for k in known]
    return nothing, nothing


def _pass_rates(keys: Keys, num_parts: int) -> tuple[Sequence[float], Sequence[str]]:
    """1 - share of right attempts of each row's problem; every attempt counts, also those that were rejected."""
    attempts = pa.concat_tables(
        pq.read_table(keys.folder / f"outcomes-{index:05d}.parquet").replace_schema_metadata(None)
        for index in range(num_parts)
    )
    both = pa.chunked_array([*keys.problem_keys.chunks, *attempts.column("problem").chunks], pa.binary(KEY_BYTES))
    codes = codes_of(both)
    of_row, of_attempt = codes[: len(keys)], codes[len(keys) :]
    size = int(codes.max(initial=0)) + 1
    right = np.asarray(attempts.column("right").to_numpy(), dtype=np.float64)
    total = np.bincount(of_attempt, minlength=size)
    passed = np.bincount(of_attempt, right, size)
    rate = passed / np.maximum(total, 1)
    return list(1 - rate[of_row]), [f"1 - pass rate over {total[code]} attempts" for code in of_row]
