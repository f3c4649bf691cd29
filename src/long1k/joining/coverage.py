"""What lengths alone allow: which numbers of parts reach a target, and how much of a pool could be used."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]


class Lengths:
    """The lengths of a pool, sorted once, with their running sums."""

    def __init__(self, lengths: Sequence[int] | Ints) -> None:
        self.ordered: Ints = np.sort(np.asarray(lengths, dtype=np.int64))
        self._sums = np.concatenate([[0], np.cumsum(self.ordered)])

    def __len__(self) -> int:
        return int(self.ordered.size)

    def shortest(self, count: int) -> int:
        """Tokens of the ``count`` shortest together."""
        return int(self._sums[count])

    def longest(self, count: int) -> int:
        """Tokens of the ``count`` longest together."""
        return int(self._sums[-1] - self._sums[len(self) - count])

    def counts(
        self, target: int, tolerance: int, least: int, most: int, overhead: Callable[[int], int]
    ) -> tuple[list[int], list[int]]:
        """The numbers of parts that can reach the target: those that typical lengths make, and all."""
        typical: list[int] = []
        possible: list[int] = []
        num = len(self)
        low, high = (int(self.ordered[num // 10]), int(self.ordered[(num * 9) // 10])) if num else (0, 0)
        for count in range(least, min(most, num) + 1):
            body = target - overhead(count)
            if self.shortest(count) - tolerance <= body <= self.longest(count) + tolerance:
                possible.append(count)
                if low * count <= body <= high * count:
                    typical.append(count)
        return typical or possible, possible


def usable(
    lengths: Sequence[int] | Ints, low: int, high: int, least: int, most: int, overhead: Callable[[int], int]
) -> npt.NDArray[np.bool_]:
    """Which parts could stand in some sample of low..high tokens, by length alone; shape n.

    A single part must fit itself, of two the partner must be there; of three or more the shortest and the
    longest others must leave the window between them, which is necessary but not always enough.
    """
    values = np.asarray(lengths, dtype=np.int64)
    found = np.zeros(values.size, dtype=bool)
    pool = Lengths(values)
    for count in range(least, min(most, values.size) + 1):
        left_low, left_high = low - overhead(count) - values, high - overhead(count) - values
        if count == 1:
            found |= (left_low <= 0) & (left_high >= 0)
        elif count == 2:
            first = np.searchsorted(pool.ordered, left_low, side="left")
            last = np.searchsorted(pool.ordered, left_high, side="right")
            itself = (left_low <= values) & (values <= left_high)
            found |= last - first - itself > 0
        else:
            others = count - 1
            # A part among the shortest others itself gives way to the next one; so among the longest.
            boundary_short, boundary_long = pool.ordered[others - 1], pool.ordered[-others]
            fewest = np.where(values <= boundary_short, pool.shortest(count) - values, pool.shortest(others))
            largest = np.where(values >= boundary_long, pool.longest(count) - values, pool.longest(others))
            found |= (fewest <= left_high) & (largest >= left_low)
    return found


def coverage(
    lengths: Sequence[int] | Ints, low: int, high: int, least: int, most: int, overhead: Callable[[int], int]
) -> float:
    """Share of the pool that could stand in some sample of low..high tokens, by length alone (0..1)."""
    found = usable(lengths, low, high, least, most, overhead)
    return float(found.mean()) if found.size else 0.0
