"""Which rows repeat an earlier one: the first in order is kept, the others point at it.

Rows that agree in one of many bands (a few slots of their signatures) are compared slot by slot.
Bands are gone through one after the other, so that a few numbers a row are in memory besides the
signatures themselves.  In a small bucket (rows that agree in a band) all pairs are compared.  In
a large one the first row leads: all others are compared with it; those unlike it find a leader
among themselves, and so on.  So a bucket of a hundred thousand copies costs as many comparisons,
not their square.
"""

from __future__ import annotations

import numpy as np

from long1k.curation.bands import choose_bands, slots_needed, slots_of_band
from long1k.curation.sketch import BASE, U64, mix

MAX_LEADERS = 64  # a row is compared with so many unlike rows of one bucket; its other bands go on
SMALL_BUCKET = 6
_KEY_ROWS = 1 << 11  # signatures read at a time: they stay in the cache for all slots
_BLOCK_ROWS = 1 << 15
_BLOCK_PAIRS = 1 << 13
_BANDS_AT_ONCE = 2  # keys held in memory: 8 bytes a row and band


def keepers(
    signatures: np.ndarray,
    threshold: float,
    *,
    rows: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    seed: int = 0,
) -> np.ndarray:
    """For each row itself if it is kept, else an earlier kept row that it repeats.

    A row is kept unless an earlier *kept* row agrees with it in at least ``threshold`` of the
    slots: what is similar to a dropped row alone stays (no chains).

    Args:
        signatures: (rows, num_perm), may lie in a memory map; about 40 bytes a row are used besides.
        threshold: least estimated Jaccard similarity of a repetition, above 0 and at most 1.
        rows: ascending; only these are looked at, all others stand for themselves.
        groups: uint64 a row of ``signatures``; rows of different groups never repeat each other.
        seed: chooses the slots of the bands.

    Returns:
        int64, one for each row of ``signatures``; ``result[result[i]] == result[i] <= i``.
    """
    return _Search(signatures, threshold, groups, seed).run(rows)


def exact_keepers(ids: np.ndarray) -> np.ndarray:
    """For each row the first row with the same id: ``keepers`` for content hashes.

    Args:
        ids: bytes ('S', such as ``np.array(trace_ids, dtype="S")``), uint64, or uint64 of shape
            (rows, columns).
    """
    columns = _columns(ids)
    count = len(columns)
    order = np.lexsort(columns.T) if count else np.empty(0, dtype=np.int64)
    ordered = columns[order]
    fresh = np.ones(count, dtype=bool)
    fresh[1:] = (ordered[1:] != ordered[:-1]).any(axis=1)
    starts = np.flatnonzero(fresh)
    result = np.empty(count, dtype=np.int64)
    result[order] = np.repeat(order[starts], np.diff(np.append(starts, count)))  # lexsort is stable: first is least
    return result


def _columns(ids: np.ndarray) -> np.ndarray:
    """Ids as uint64 columns; bytes are padded with zeros to whole columns."""
    if ids.dtype.kind == "S":
        width = -(-ids.dtype.itemsize // 8) * 8
        return np.ascontiguousarray(ids.astype(f"S{width}")).view(U64).reshape(len(ids), width // 8)
    return ids[:, None] if ids.ndim == 1 else ids


class _Search:
    """One run of ``keepers``.

    First rows of one signature are taken together.  Then rows are compared, and each pair found
    similar is an edge; going through all edges in order of rows says who is kept.  In large buckets
    a row leaves at its first similar leader.  If all its leaders turn out to be dropped, it is kept
    and compared anew, in another round, with all others that are kept; the last round finds none.
    """

    def __init__(self, signatures: np.ndarray, threshold: float, groups: np.ndarray | None, seed: int) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold {threshold} is not above 0 and at most 1")
        self.signatures = signatures
        self.groups = groups
        self.seed = seed
        self.count, self.num_perm = signatures.shape
        self.need = slots_needed(self.num_perm, threshold)
        self.bands = choose_bands(self.num_perm, threshold)
        self.comparisons = 0
        self.rounds = 0

    def run(self, rows: np.ndarray | None = None) -> np.ndarray:
        result = np.arange(self.count, dtype=np.int64)
        rows = result.copy() if rows is None else np.asarray(rows, dtype=np.int64)
        if len(rows) < 2:
            return result
        key = self._keys(rows, [np.arange(self.num_perm)])[0]
        leaders, followers, _ = self._elect(*self._shared(rows, key, None), None, self.num_perm, 1)
        fresh = np.ones(self.count, dtype=bool)
        fresh[followers] = False
        if self.need < self.num_perm:
            self._settle(rows[fresh[rows]], result)
        result[followers] = result[leaders]
        return result

    def _settle(self, rows: np.ndarray, result: np.ndarray) -> None:
        """Fill ``result`` for rows of different signatures."""
        edges = np.empty((0, 2), dtype=np.int64)
        kept, anew = rows, None
        while True:
            self.rounds += 1
            found, left_early = self._round(kept, anew)
            if len(found) == 0:
                return
            edges = np.unique(np.concatenate([edges, found]), axis=0)
            _decide(edges, result)
            complete = np.zeros(self.count, dtype=bool)
            complete[kept] = True
            complete[left_early] = False
            kept = rows[result[rows] == rows]
            anew = kept[~complete[kept]]
            if len(anew) == 0:
                return

    def _round(self, rows: np.ndarray, anew: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Edges (follower, leader) among ``rows``, and the followers that were not compared with all.

        With ``anew`` only buckets that hold one of these are looked at.
        """
        fresh = None
        if anew is not None:
            fresh = np.zeros(self.count, dtype=bool)
            fresh[anew] = True
        known = np.full(self.count, -1, dtype=np.int64)  # a leader of the row, so that it is not compared again
        edges, size = [np.empty((0, 2), dtype=np.int64)], 0
        left_early = [rows[:0]]
        bands, slots = self.bands
        for first in range(0, bands, _BANDS_AT_ONCE):
            chosen = [
                slots_of_band(band, slots, self.num_perm, self.seed)
                for band in range(first, min(first + _BANDS_AT_ONCE, bands))
            ]
            for key in self._keys(rows, chosen):
                row, bucket = self._shared(rows, key, fresh)
                for leaders, followers, early in (
                    self._pairs(row, bucket, known),
                    self._elect(row, bucket, known, self.need, SMALL_BUCKET),
                ):
                    if early:
                        left_early.append(followers)
                    news = known[followers] != leaders
                    known[followers] = leaders
                    edges.append(np.stack([followers[news], leaders[news]], axis=1))
            if sum(map(len, edges)) > 2 * size + _BLOCK_ROWS:  # the same pair meets in many bands
                edges = [np.unique(np.concatenate(edges), axis=0)]
                size = len(edges[0])
        return np.unique(np.concatenate(edges), axis=0), np.concatenate(left_early)

    def _keys(self, rows: np.ndarray, bands: list[np.ndarray]) -> list[np.ndarray]:
        """One uint64 a row for each band: equal where all its slots agree."""
        keys = [np.empty(len(rows), dtype=U64) for _ in bands]
        for first in range(0, len(rows), _KEY_ROWS):
            some = rows[first : first + _KEY_ROWS]
            block = self._take(some)
            for key, band in zip(keys, bands, strict=True):
                value = np.zeros(len(some), dtype=U64) if self.groups is None else self.groups[some].astype(U64)
                for slot in band:
                    value *= BASE
                    value += block[:, slot]
                key[first : first + len(some)] = mix(value)
        return keys

    def _take(self, rows: np.ndarray) -> np.ndarray:
        """Signatures of ascending rows; a slice where they are neighbours, which copies nothing."""
        if rows[-1] - rows[0] + 1 == len(rows):
            return self.signatures[rows[0] : rows[-1] + 1]
        return np.asarray(self.signatures[rows])

    def _shared(self, rows: np.ndarray, key: np.ndarray, fresh: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """(rows, bucket keys) of all buckets of two rows or more, by bucket, then by row.

        The place of a row replaces the low bits of its key: plain sorting is several times faster
        than sorting places by keys, and the few rows that now meet by chance are found to differ.
        """
        if fresh is not None:
            wanted = np.unique(key[fresh[rows]])
            near = np.minimum(np.searchsorted(wanted, key), len(wanted) - 1)
            some = np.flatnonzero(wanted[near] == key)
            rows, key = rows[some], key[some]
        bits = U64(max(len(key) - 1, 1).bit_length())
        place = np.arange(len(key), dtype=U64)
        ordered = key >> bits
        ordered <<= bits
        ordered |= place
        ordered.sort()
        bucket = ordered >> bits
        equal = bucket[1:] == bucket[:-1]
        shared = np.zeros(len(key), dtype=bool)
        shared[1:] |= equal
        shared[:-1] |= equal
        place = ordered[shared] & ((U64(1) << bits) - U64(1))
        return rows[place.astype(np.int64)], bucket[shared]

    def _pairs(self, row: np.ndarray, bucket: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
        """Similar pairs (leaders, followers) of small buckets; False: everyone was compared with everyone."""
        leaders, followers = [row[:0]], [row[:0]]
        small = _sizes(bucket) <= SMALL_BUCKET
        row, bucket = row[small], bucket[small]
        for lag in range(1, SMALL_BUCKET):
            together = np.flatnonzero(bucket[lag:] == bucket[:-lag])
            if len(together) == 0:
                break
            left, right = row[together], row[together + lag]
            alike = self._alike(left, right, self.need, known)
            leaders.append(left[alike])
            followers.append(right[alike])
        return np.concatenate(leaders), np.concatenate(followers), False

    def _elect(
        self,
        row: np.ndarray,
        bucket: np.ndarray,
        known: np.ndarray | None,
        need: int,
        above: int,
    ) -> tuple[np.ndarray, np.ndarray, bool]:
        """Edges from the leaders of buckets of more than ``above`` rows; True: who finds a leader leaves."""
        leaders, followers = [row[:0]], [row[:0]]
        large = _sizes(bucket) > above
        row, bucket = row[large], bucket[large]
        for _ in range(MAX_LEADERS):
            if len(row) < 2:
                break
            first = np.ones(len(row), dtype=bool)
            first[1:] = bucket[1:] != bucket[:-1]
            leader = row[np.maximum.accumulate(np.where(first, np.arange(len(row)), 0))][~first]
            row, bucket = row[~first], bucket[~first]
            alike = self._alike(leader, row, need, known)
            leaders.append(leader[alike])
            followers.append(row[alike])
            row, bucket = row[~alike], bucket[~alike]
        return np.concatenate(leaders), np.concatenate(followers), True

    def _alike(self, left: np.ndarray, right: np.ndarray, need: int, known: np.ndarray | None) -> np.ndarray:
        """Whether the rows of each pair agree in at least ``need`` slots and belong to one group."""
        result = np.ones(len(left), dtype=bool)
        asked = np.arange(len(left)) if known is None else np.flatnonzero(known[right] != left)
        self.comparisons += len(asked)
        for first in range(0, len(asked), _BLOCK_PAIRS):
            some = asked[first : first + _BLOCK_PAIRS]
            agree = np.count_nonzero(self.signatures[left[some]] == self.signatures[right[some]], axis=1)
            result[some] = agree >= need
        if self.groups is not None:
            result &= self.groups[left] == self.groups[right]
        return result


def _sizes(bucket: np.ndarray) -> np.ndarray:
    """How many rows the bucket of each row holds; equal keys stand side by side."""
    starts = np.flatnonzero(np.append(True, bucket[1:] != bucket[:-1])) if len(bucket) else np.empty(0, dtype=np.int64)
    sizes = np.diff(np.append(starts, len(bucket)))
    return np.repeat(sizes, sizes)


def _decide(edges: np.ndarray, result: np.ndarray) -> None:
    """Who is kept: in order of rows, a follower is dropped if one of its leaders is kept.

    ``edges`` are (follower, leader), sorted.
    """
    result[edges[:, 0]] = edges[:, 0]
    dropped = bytearray(len(result))
    for first in range(0, len(edges), _BLOCK_ROWS):
        for follower, leader in edges[first : first + _BLOCK_ROWS].tolist():
            if not dropped[follower] and not dropped[leader]:
                dropped[follower] = 1
                result[follower] = leader
