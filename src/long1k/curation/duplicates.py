"""Which rows repeat an earlier one: the first in order is kept, the others point at it.

Rows that agree in one of many bands (a few slots of their signatures) are compared slot by slot.
Bands are gone through one after the other, so that a few numbers a row are in memory besides the
signatures themselves.  In a bucket (rows that agree in a band) the first row leads: all others
are compared with it; those unlike it find a leader among themselves, and so on.  So a bucket of
a hundred thousand copies costs as many comparisons, not their square.
"""

from __future__ import annotations

import math

import numpy as np

from long1k.curation.sketch import BASE, U64, mix

MISS = 1e-3  # a pair just at the threshold stays unseen with this probability at most
MAX_BANDS = 64
MAX_BAND_SLOTS = 8  # more would only cost bands: at a similarity of 0.3, 8 slots agree once in 15,000 pairs
MAX_LEADERS = 64  # a row is compared with so many unlike rows of one bucket; its other bands go on
_KEY_ROWS = 1 << 11  # signatures read at a time: they stay in the cache for all slots
_BLOCK_ROWS = 1 << 15
_BLOCK_PAIRS = 1 << 13
_BANDS_AT_ONCE = 2  # keys held in memory: 8 bytes a row and band


def keepers(
    signatures: np.ndarray, threshold: float, *, groups: np.ndarray | None = None, seed: int = 0
) -> np.ndarray:
    """For each row itself if it is kept, else an earlier kept row that it repeats.

    A row is kept unless an earlier *kept* row agrees with it in at least ``threshold`` of the
    slots: what is similar to a dropped row alone stays (no chains).

    Args:
        signatures: (rows, num_perm), may lie in a memory map; about 40 bytes a row are used besides.
        threshold: least estimated Jaccard similarity of a repetition, above 0 and at most 1.
        groups: uint64 a row; rows of different groups never repeat each other.
        seed: chooses the slots of the bands.

    Returns:
        int64 of shape (rows,); ``result[result[i]] == result[i] <= i``.
    """
    search = _Search(signatures, threshold, groups, seed)
    return search.run()


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


def choose_bands(num_perm: int, threshold: float) -> tuple[int, int]:
    """(number of bands, slots of each): the most selective bands that miss a pair with probability ``MISS`` at most.

    A pair that agrees in just the needed share of slots agrees in all slots of a random band with
    the hypergeometric probability of drawing agreeing slots only.
    """
    need = _need(num_perm, threshold)
    if need == num_perm:
        return 1, num_perm
    best = (MAX_BANDS, 1)
    hit = 1.0
    for slots in range(1, min(MAX_BAND_SLOTS, need) + 1):
        hit *= (need - slots + 1) / (num_perm - slots + 1)
        bands = math.ceil(math.log(MISS) / math.log1p(-hit))
        if bands <= MAX_BANDS:
            best = (bands, slots)
    return best


def _need(num_perm: int, threshold: float) -> int:
    """Slots that must agree."""
    return max(1, math.ceil(threshold * num_perm - 1e-9))


def _columns(ids: np.ndarray) -> np.ndarray:
    """Ids as uint64 columns; bytes are padded with zeros to whole columns."""
    if ids.dtype.kind == "S":
        width = -(-ids.dtype.itemsize // 8) * 8
        return np.ascontiguousarray(ids.astype(f"S{width}")).view(U64).reshape(len(ids), width // 8)
    return ids.reshape(len(ids), -1)


class _Search:
    """One run of ``keepers``.

    First rows of one signature are taken together.  Then rounds: every round compares rows that
    are kept so far, and each row found similar to a leader gets an edge to it.  Going through all
    edges in order of rows says who is kept.  A row whose leaders were all dropped is kept again,
    and compared anew in the next round with all others that are; the last round finds none.
    """

    def __init__(self, signatures: np.ndarray, threshold: float, groups: np.ndarray | None, seed: int) -> None:
        if not 0 < threshold <= 1:
            raise ValueError(f"threshold {threshold} is not above 0 and at most 1")
        self.signatures = signatures
        self.groups = groups
        self.seed = seed
        self.count, self.num_perm = signatures.shape
        self.need = _need(self.num_perm, threshold)
        self.bands = choose_bands(self.num_perm, threshold)
        self.comparisons = 0

    def run(self) -> np.ndarray:
        same_as = np.arange(self.count, dtype=np.int64)
        rows = same_as.copy()
        if self.count < 2:
            return same_as
        key = self._keys(rows, [np.arange(self.num_perm)])[0]
        leaders, followers = self._elect(rows, key, self.num_perm)
        same_as[followers] = leaders
        dropped = np.zeros(self.count, dtype=bool)
        dropped[followers] = True
        rows = np.flatnonzero(~dropped)
        result = np.arange(self.count, dtype=np.int64)
        if self.need < self.num_perm:
            self._settle(rows, result)
        return result[same_as]

    def _settle(self, rows: np.ndarray, result: np.ndarray) -> None:
        """Fill ``result`` for rows of different signatures."""
        edges: list[tuple[np.ndarray, np.ndarray]] = []
        kept, anew = rows, None
        while True:
            leaders, followers = self._round(kept, anew)
            if len(leaders) == 0:
                return
            edges.append((leaders, followers))
            _decide(edges, result)
            before = np.zeros(self.count, dtype=bool)
            before[kept] = True
            before[followers] = False
            kept = rows[result[rows] == rows]
            anew = kept[~before[kept]]
            if len(anew) == 0:
                return

    def _round(self, rows: np.ndarray, anew: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Edges (leader, follower) among ``rows``; with ``anew`` only in buckets that hold one of these."""
        attached = np.zeros(self.count, dtype=bool)
        fresh = None
        if anew is not None:
            fresh = np.zeros(self.count, dtype=bool)
            fresh[anew] = True
        found: list[tuple[np.ndarray, np.ndarray]] = []
        bands, slots = self.bands
        for first in range(0, bands, _BANDS_AT_ONCE):
            chosen = [
                _slots_of_band(band, slots, self.num_perm, self.seed)
                for band in range(first, min(first + _BANDS_AT_ONCE, bands))
            ]
            for key in self._keys(rows, chosen):
                active = ~attached[rows]
                if fresh is not None:
                    wanted = np.unique(key[fresh[rows] & active])
                    if len(wanted) == 0:
                        continue
                    near = np.minimum(np.searchsorted(wanted, key), len(wanted) - 1)
                    active &= wanted[near] == key
                leaders, followers = self._elect(rows[active], key[active], self.need)
                attached[followers] = True
                found.append((leaders, followers))
        return np.concatenate([pair[0] for pair in found] or [rows[:0]]), np.concatenate(
            [pair[1] for pair in found] or [rows[:0]]
        )

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

    def _elect(self, rows: np.ndarray, key: np.ndarray, need: int) -> tuple[np.ndarray, np.ndarray]:
        """Edges from the leaders of all buckets to the rows that agree with them in ``need`` slots."""
        order = np.argsort(key)
        ordered = key[order]
        equal = ordered[1:] == ordered[:-1]
        shared = np.zeros(len(key), dtype=bool)
        shared[1:] |= equal
        shared[:-1] |= equal
        members, bucket = order[shared], ordered[shared]
        order = np.lexsort((members, bucket))
        row, bucket = rows[members[order]], bucket[order]
        leaders, followers = [rows[:0]], [rows[:0]]
        for _ in range(MAX_LEADERS):
            if len(row) < 2:
                break
            first = np.ones(len(row), dtype=bool)
            first[1:] = bucket[1:] != bucket[:-1]
            leader = row[np.maximum.accumulate(np.where(first, np.arange(len(row)), 0))][~first]
            row, bucket = row[~first], bucket[~first]
            alike = self._alike(leader, row, need)
            leaders.append(leader[alike])
            followers.append(row[alike])
            row, bucket = row[~alike], bucket[~alike]
        return np.concatenate(leaders), np.concatenate(followers)

    def _alike(self, left: np.ndarray, right: np.ndarray, need: int) -> np.ndarray:
        """Whether the rows of each pair agree in at least ``need`` slots and belong to one group."""
        self.comparisons += len(left)
        result = np.empty(len(left), dtype=bool)
        for first in range(0, len(left), _BLOCK_PAIRS):
            a, b = left[first : first + _BLOCK_PAIRS], right[first : first + _BLOCK_PAIRS]
            agree = np.count_nonzero(self.signatures[a] == self.signatures[b], axis=1)
            result[first : first + len(a)] = agree >= need
        if self.groups is not None:
            result &= self.groups[left] == self.groups[right]
        return result


def _slots_of_band(band: int, slots: int, num_perm: int, seed: int) -> np.ndarray:
    """The slots of a band: a random choice that no library's generator can change."""
    draw = np.arange(num_perm, dtype=U64) + U64((band << 32) + (seed << 44) & 0xFFFFFFFFFFFFFFFF)
    return np.argsort(mix(mix(draw)), kind="stable")[:slots]


def _decide(edges: list[tuple[np.ndarray, np.ndarray]], result: np.ndarray) -> None:
    """Who is kept: in order of rows, a follower is dropped if one of its leaders is kept."""
    leaders = np.concatenate([pair[0] for pair in edges])
    followers = np.concatenate([pair[1] for pair in edges])
    result[followers] = followers
    dropped = bytearray(len(result))
    order = np.lexsort((leaders, followers))
    for first in range(0, len(order), _BLOCK_ROWS):
        some = order[first : first + _BLOCK_ROWS]
        for leader, follower in zip(leaders[some].tolist(), followers[some].tolist(), strict=True):
            if not dropped[follower] and not dropped[leader]:
                dropped[follower] = 1
                result[follower] = leader
