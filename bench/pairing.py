"""Pairs of lengths whose sum lies in a window: all buckets at once, against a double loop.

The double loop takes minutes at 1e5 lengths: it is measured on a few thousand and its time scaled with the
square of their number; ours runs on all of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bench.common import Row, timed
from long1k.joining.pairing import most_pairs, pair_lengths

_LOW, _HIGH = 11_880, 12_120  # 12,000 tokens within 1 %
_PREFIX = 4_000
Lengths = npt.NDArray[np.int32]
Pairs = npt.NDArray[np.int64]


def lengths_of(count: int) -> Lengths:
    """Made-up lengths as reasoning traces have them: log-normal, 50 to 32,000 tokens."""
    drawn = np.random.default_rng(0).standard_normal(count, dtype=np.float32)
    return np.clip(np.exp(8 + 0.8 * drawn), 50, 32_000).astype(np.int32)


def double_loop(lengths: Sequence[int], low: int, high: int) -> list[tuple[int, int]]:
    """The plain way: every two lengths are looked at, and paired if both are free and fit."""
    free = [True] * len(lengths)
    pairs = []
    for i in range(len(lengths)):
        for j in range(i + 1, len(lengths)):
            if free[i] and free[j] and low <= lengths[i] + lengths[j] <= high:
                free[i] = free[j] = False
                pairs.append((i, j))
    return pairs


def _valid(lengths: Lengths, pairs: Pairs) -> bool:
    """Whether every pair fits and nobody stands in two."""
    sums = lengths[pairs].sum(axis=1)
    used = np.bincount(pairs.ravel(), minlength=lengths.size)
    return bool(((sums >= _LOW) & (sums <= _HIGH)).all() and used.max() <= 1)


def _ours(lengths: Lengths, most: bool = False) -> Pairs:
    return pair_lengths(lengths, _LOW, _HIGH, np.random.default_rng(1), most=most)


def rows() -> list[Row]:
    """Against the loop at 1e5 and 1e7; 1e8 against ten times 1e7."""
    prefix = lengths_of(_PREFIX)
    loop_seconds, theirs = timed(lambda: double_loop(prefix.tolist(), _LOW, _HIGH))
    near, best = len(_ours(prefix)), len(_ours(prefix, most=True))
    compared = f"on {_PREFIX:,} lengths {near:,} pairs at random, {best:,} at most, the loop {len(theirs):,}"
    found, before = [], 0.0
    for size, target in ((10**5, "×10,000"), (10**7, "≤ 3 s"), (10**8, "≤ 12 times 1e7")):
        lengths = lengths_of(size)
        seconds, pairs = timed(lambda lengths=lengths: _ours(lengths), 3)  # type: ignore[misc]
        scaled = loop_seconds * (size / _PREFIX) ** 2
        met = {10**5: scaled >= 10_000 * seconds, 10**7: seconds <= 3, 10**8: seconds <= 12 * before}[size]
        valid, share = _valid(lengths, pairs), 100 * len(pairs) / most_pairs(lengths, _LOW, _HIGH)
        words = "all fit, nobody twice" if valid else "NOT VALID"
        found.append(
            Row(
                "pairs within 1 % of 12,000 tokens", f"{size:,} lengths", seconds, "double loop, scaled", scaled,
                target, f"{len(pairs):,} pairs, {words}, {share:.1f} % of the most there can be; {compared}",
                valid and met and best >= len(theirs),
                f"loop measured on {_PREFIX:,} lengths ({loop_seconds:.2f} s), time scaled with the square"
                + (f"; {seconds / before:.1f} times 1e7" if size == 10**8 else ""),
            )
        )  # fmt: skip
        before = seconds
    return found
