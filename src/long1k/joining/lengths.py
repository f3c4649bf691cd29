"""The traces that are still free, found by their length.

Counts a length in a Fenwick tree: the k-th shortest, the number below a length, taking and giving
back all cost O(log n), whatever the pool's size.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """One trace as the fitter sees it: its length in tokens and the problem it solves."""

    index: int
    length: int
    problem: str


class _Counts:
    """How many parts there are of each length: a Fenwick tree over the distinct lengths."""

    def __init__(self, counts: Sequence[int]) -> None:
        self.size = len(counts)
        self.total = sum(counts)
        self._tree = [0, *counts]
        for at in range(1, self.size + 1):
            above = at + (at & -at)
            if above <= self.size:
                self._tree[above] += self._tree[at]
        self._top = 1 << self.size.bit_length()

    def add(self, at: int, change: int) -> None:
        self.total += change
        at += 1
        while at <= self.size:
            self._tree[at] += change
            at += at & -at

    def below(self, at: int) -> int:
        """Number of parts whose length stands before place ``at``."""
        found = 0
        while at > 0:
            found += self._tree[at]
            at -= at & -at
        return found

    def place(self, rank: int) -> int:
        """The place of the length of the rank-th part (from 0) in ascending order."""
        at, step = 0, self._top
        while step:
            above = at + step
            if above <= self.size and self._tree[above] <= rank:
                rank -= self._tree[above]
                at = above
            step >>= 1
        return at


class LengthPool:
    """Parts that are still free, found by length.

    Draws are seeded and without replacement; parts of one length are given out in a
    seeded random order.
    """

    def __init__(self, parts: Sequence[Part], rng: random.Random) -> None:
        buckets: dict[int, list[Part]] = {}
        for part in parts:
            buckets.setdefault(part.length, []).append(part)
        for bucket in buckets.values():
            rng.shuffle(bucket)
        self._by_length = {length: deque(bucket) for length, bucket in buckets.items()}
        self._lengths = sorted(self._by_length)
        self._counts = _Counts([len(self._by_length[length]) for length in self._lengths])

    def __len__(self) -> int:
        return self._counts.total

    @property
    def shortest(self) -> int:
        """Length of the shortest free part."""
        return self._ranked(0)

    @property
    def longest(self) -> int:
        """Length of the longest free part."""
        return self._ranked(len(self) - 1)

    def _ranked(self, rank: int) -> int:
        if not 0 <= rank < len(self):
            raise IndexError(f"no part of rank {rank} among {len(self)}")
        return self._lengths[self._counts.place(rank)]

    def _ranks(self, low: int, high: int) -> tuple[int, int]:
        """The ranks [first, last) of the free parts with low <= length <= high."""
        first = self._counts.below(bisect_left(self._lengths, low))
        return first, max(first, self._counts.below(bisect_right(self._lengths, high)))

    def count_between(self, low: int, high: int) -> int:
        """Number of free parts with low <= length <= high."""
        first, last = self._ranks(low, high)
        return last - first

    def take_between(self, low: int, high: int, rng: random.Random, taken: set[str]) -> Part | None:
        """A random free part in the window that solves none of the ``taken`` problems."""
        first, last = self._ranks(low, high)
        for _ in range(min(16, last - first)):
            part = self._take(self._ranked(rng.randrange(first, last)), taken)
            if part is not None:
                return part
        return None

    def take_longest(self, high: int, taken: set[str]) -> Part | None:
        """The longest free part that is no longer than ``high``."""
        at = self._counts.below(bisect_right(self._lengths, high)) - 1
        return self._take(self._ranked(at), taken) if at >= 0 else None

    def take_near(self, length: int, slack: int, taken: set[str]) -> Part | None:
        """The free part nearest to a length, at most ``slack`` away, of another problem than ``taken``."""
        for distance in range(slack + 1):
            for candidate in {length - distance, length + distance}:
                if self._by_length.get(candidate):
                    part = self._take(candidate, taken)
                    if part is not None:
                        return part
        return None

    def _take(self, length: int, taken: set[str]) -> Part | None:
        bucket = self._by_length[length]
        for at in range(len(bucket) - 1, -1, -1):
            if bucket[at].problem not in taken:
                part = bucket[at]
                del bucket[at]
                self._counts.add(bisect_left(self._lengths, length), -1)
                return part
        return None

    def remove(self, part: Part) -> None:
        """Take one particular free part."""
        self._by_length[part.length].remove(part)
        self._counts.add(bisect_left(self._lengths, part.length), -1)

    def give_back(self, parts: Sequence[Part]) -> None:
        """Free parts again."""
        for part in parts:
            self._by_length[part.length].appendleft(part)
            self._counts.add(bisect_left(self._lengths, part.length), 1)
