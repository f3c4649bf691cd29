"""Pairs of lengths whose sum lies in a window: at once for all lengths, by counting.

Lengths are sorted by counting.  For one sum the bucket of length a goes with the bucket of
length sum - a, and with no other: so all buckets pair off at once, and a window is as many such
steps as it has sums.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.integer]
_RADIX = 1 << 16  # numpy sorts 16-bit keys by counting, in linear time
_SHUFFLE_WHOLE = 1 << 20  # up to here one permutation of everything stays in the cache


def pair_lengths(
    lengths: Ints, low: int, high: int, rng: np.random.Generator, count: int | None = None, most: bool = False
) -> npt.NDArray[np.int64]:
    """Disjoint random pairs (i, j) with low <= lengths[i] + lengths[j] <= high.

    No pair can be added to those that are found.  Their number is the largest possible if the window
    is one sum, and otherwise near it (97 % of ``most_pairs`` on log-normal lengths): sums are taken in
    random order, so that which lengths go together is left to chance.

    Args:
        lengths: shape n, not negative.
        rng: decides the order of sums and who of one length goes with whom.
        count: take so many of them, drawn at random; all if None.
        most: as many pairs as there can be; then the lengths decide who goes with whom (shortest with
            longest), and chance only who of one length.

    Returns:
        Indices into ``lengths``, shape m x 2.  O(n + (high - low + 1) · distinct lengths).
    """
    order, starts, counts, least, kept = _by_length(np.asarray(lengths), low, high, rng)
    low, high = low - 2 * least, high - 2 * least
    lefts, rights, sizes = _match_most(counts, low, high) if most else _match(counts, low, high, rng)
    if count is not None and count < sizes.sum():
        # The numbers of pairs that each match keeps, drawn as if the pairs were drawn one by one.
        sizes = rng.multivariate_hypergeometric(sizes, count) if sizes.sum() < 10**9 else sizes
    left = order[_spread(starts[lefts[:, 0]] + lefts[:, 1], sizes)]
    right = order[_spread(starts[rights[:, 0]] + rights[:, 1], sizes)]
    pairs = np.stack([left, right], axis=1)
    if kept is not None:  # only of those that are paired: a look-up at random places is what costs at 1e8
        pairs = kept[pairs]
    return pairs if count is None else rng.permutation(pairs, axis=0)


def _by_length(
    lengths: Ints, low: int, high: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], int, npt.NDArray[np.int64] | None]:
    """Usable places sorted by length (random within one), where each length starts, how many, the least length.

    Places are indices of ``lengths``, or of the last result where that is not None: those of some length in reach.
    """
    if lengths.size == 0 or high < low:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty, 0, None
    least, most = int(lengths.min()), int(lengths.max())
    # Nobody is shorter than least or longer than most, which bounds every partner.
    first, last = max(least, low - most), min(most, high - least)
    kept = None
    if first > least or last < most:
        kept = np.flatnonzero((lengths >= first) & (lengths <= last))
        lengths = lengths[kept]
    if lengths.size == 0:
        empty = np.zeros(0, dtype=np.int64)
        return empty, empty, empty, 0, None
    whole = lengths.size <= _SHUFFLE_WHOLE
    before = rng.permutation(lengths.size) if whole else None
    if before is not None:
        lengths = lengths[before]
    keys = (lengths - first).astype(np.uint16 if last - first < _RADIX else np.int64)
    counts = np.bincount(keys, minlength=last - first + 1)
    order = np.argsort(keys, kind="stable")
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    if before is not None:
        order = before[order]
    else:
        for at in np.flatnonzero(counts > 1):
            rng.shuffle(order[starts[at] : starts[at] + counts[at]])
    return order, starts, counts, first, kept


def _match(
    counts: npt.NDArray[np.int64], low: int, high: int, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Which stretches of buckets pair off: (bucket, offset) left, the same right, and their sizes.

    Buckets are counted from 0 and ``low``..``high`` are sums of their numbers.
    """
    free = counts.copy()
    taken = np.zeros_like(counts)
    size = counts.size
    found: list[tuple[npt.NDArray[np.int64], ...]] = []
    low, high = max(low, 0), min(high, 2 * size - 2)
    for total in low + rng.permutation(max(0, high - low + 1)):
        first, last = max(0, total - size + 1), (total - 1) // 2  # the shorter of two that differ
        if last >= first:
            short = np.arange(first, last + 1)
            number = np.minimum(free[first : last + 1], free[total - last : total - first + 1][::-1])
            some = np.flatnonzero(number)
            if some.size:
                a, m = short[some], number[some]
                b = total - a
                found.append((a, taken[a], b, taken[b], m))
                for bucket in (a, b):
                    free[bucket] -= m
                    taken[bucket] += m
        if total % 2 == 0 and free[total // 2] > 1:
            half = np.array([total // 2])
            m = free[half] // 2
            found.append((half, taken[half], half, taken[half] + m, m))
            free[half] -= 2 * m
            taken[half] += 2 * m
    if not found:
        none = np.zeros((0, 2), dtype=np.int64)
        return none, none, np.zeros(0, dtype=np.int64)
    a, at, b, bt, m = (np.concatenate(column) for column in zip(*found, strict=True))
    return np.stack([a, at], axis=1), np.stack([b, bt], axis=1), m


def _spread(starts: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """start, start + 1, … for each stretch, one after another."""
    ends = np.cumsum(sizes)
    places: npt.NDArray[np.int64] = np.arange(ends[-1] if ends.size else 0) + np.repeat(starts - (ends - sizes), sizes)
    return places


def _match_most(
    counts: npt.NDArray[np.int64], low: int, high: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """As ``_match``, by the rule of two pointers: the shortest goes with the longest that fits.

    An exchange argument shows that no matching has more pairs: if the sum is too long the longest fits
    nobody, if too short the shortest fits nobody.
    """
    values = np.flatnonzero(counts)
    value, free = values.tolist(), counts[values].tolist()
    taken = [0] * len(value)
    left, right = 0, len(value) - 1
    found: list[tuple[int, int, int, int, int]] = []
    while left <= right:
        total = value[left] + value[right]
        if total > high:
            right -= 1
            continue
        if total < low:
            left += 1
            continue
        if left == right:
            m = free[left] // 2
            found.append((value[left], taken[left], value[left], taken[left] + m, m))
            break
        m = min(free[left], free[right])
        found.append((value[left], taken[left], value[right], taken[right], m))
        for at in (left, right):
            free[at] -= m
            taken[at] += m
        left, right = left + (free[left] == 0), right - (free[right] == 0)
    table = np.array(found, dtype=np.int64).reshape(-1, 5)
    return table[:, :2], table[:, 2:4], table[:, 4]


def most_pairs(lengths: Sequence[int] | Ints, low: int, high: int) -> int:
    """The largest number of disjoint pairs with low <= a + b <= high; O(n log n)."""
    values, counts = np.unique(np.asarray(lengths, dtype=np.int64), return_counts=True)
    if not values.size:
        return 0
    spread = np.zeros(int(values[-1] - values[0]) + 1, dtype=np.int64)
    spread[values - values[0]] = counts
    least = 2 * int(values[0])
    return int(_match_most(spread, low - least, high - least)[2].sum())
