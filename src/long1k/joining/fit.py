"""Which traces to join so that the sample has the wanted length, exactly.

Lengths of parts do not quite add up: labels, linking words and the seams between texts cost
tokens, and tokenization at a seam can differ.  So the choice works on estimates and the
sample is recounted whole; the difference corrects the length sought for the last part.
"""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
Build = Callable[[Sequence["Part"], random.Random], tuple[T, int] | None]
_TRIES = 60
_PATIENCE = 4  # searches in a row that may find nothing before drawing ends
_CORRECTIONS = 8


@dataclass(frozen=True, slots=True)
class Part:
    """One trace as the fitter sees it: its length in tokens and the problem it solves."""

    index: int
    length: int
    problem: str


@dataclass(frozen=True)
class Request:
    """What is wanted: ``count`` samples of ``target`` ± ``tolerance`` tokens from min_parts..max_parts traces."""

    target: int
    tolerance: int
    count: int
    min_parts: int
    max_parts: int


class LengthPool:
    """Parts that are still free, found by length.

    Draws are seeded and without replacement; parts of one length are given out in a
    seeded random order.
    """

    def __init__(self, parts: Sequence[Part], rng: random.Random) -> None:
        self._by_length: dict[int, list[Part]] = defaultdict(list)
        for part in parts:
            self._by_length[part.length].append(part)
        for bucket in self._by_length.values():
            rng.shuffle(bucket)
        self._lengths = sorted(part.length for part in parts)

    def __len__(self) -> int:
        return len(self._lengths)

    @property
    def shortest(self) -> int:
        """Length of the shortest free part."""
        return self._lengths[0]

    @property
    def longest(self) -> int:
        """Length of the longest free part."""
        return self._lengths[-1]

    def count_between(self, low: int, high: int) -> int:
        """Number of free parts with low <= length <= high."""
        return max(0, bisect_right(self._lengths, high) - bisect_left(self._lengths, low))

    def take_between(self, low: int, high: int, rng: random.Random, taken: set[str]) -> Part | None:
        """A random free part in the window that solves none of the ``taken`` problems."""
        first, last = bisect_left(self._lengths, low), bisect_right(self._lengths, high)
        for _ in range(min(16, last - first)):
            part = self._take(self._lengths[rng.randrange(first, last)], taken)
            if part is not None:
                return part
        return None

    def take_longest(self, high: int) -> Part | None:
        """The longest free part that is no longer than ``high``."""
        at = bisect_right(self._lengths, high) - 1
        return self._take(self._lengths[at], set()) if at >= 0 else None

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
                part = bucket.pop(at)
                del self._lengths[bisect_left(self._lengths, length)]
                return part
        return None

    def remove(self, part: Part) -> None:
        """Take one particular free part."""
        self._by_length[part.length].remove(part)
        del self._lengths[bisect_left(self._lengths, part.length)]

    def give_back(self, parts: Sequence[Part]) -> None:
        """Free parts again."""
        for part in parts:
            self._by_length[part.length].insert(0, part)
            insort(self._lengths, part.length)


def _draw(
    pool: LengthPool, need: int, num_parts: int, rng: random.Random, slack: int, longest_first: bool
) -> list[Part] | None:
    """Parts whose estimated lengths sum to ``need`` ± slack; taken from the pool, or None and nothing taken."""
    chosen: list[Part] = []
    taken: set[str] = set()
    left = need
    for done in range(num_parts - 1):
        if not len(pool):
            break
        after = num_parts - done - 1  # parts still to come: the rest must stay within their reach
        low, high = left - after * pool.longest, left - after * pool.shortest
        if longest_first and done == 0:
            part = pool.take_longest(high + slack)
        else:
            part = pool.take_between(low - slack, high + slack, rng, taken)
        if part is None:
            break
        chosen.append(part)
        taken.add(part.problem)
        left -= part.length
    else:
        last = pool.take_near(left, slack, taken) if len(pool) else None
        if last is not None:
            chosen.append(last)
            rng.shuffle(chosen)
            return chosen
    pool.give_back(chosen)
    return None


def part_counts(parts: Sequence[Part], request: Request, overhead: Callable[[int], int]) -> tuple[list[int], list[int]]:
    """The numbers of parts that can reach the target: those that typical lengths make, and all."""
    lengths = sorted(part.length for part in parts)
    typical: list[int] = []
    possible: list[int] = []
    if not lengths:
        return typical, possible
    low, high = lengths[len(lengths) // 10], lengths[(len(lengths) * 9) // 10]
    for count in range(request.min_parts, min(request.max_parts, len(lengths)) + 1):
        body = request.target - overhead(count)
        if sum(lengths[:count]) - request.tolerance <= body <= sum(lengths[-count:]) + request.tolerance:
            possible.append(count)
            if low * count <= body <= high * count:
                typical.append(count)
    return typical or possible, possible


def fit(
    parts: Sequence[Part],
    request: Request,
    build: Build[T],
    overhead: Callable[[int], int],
    seeds: Callable[[int], int],
) -> tuple[list[T], list[int]]:
    """Samples of the wanted length, without replacement, as many of ``count`` as are found.

    Traces are drawn at random.  Only where that finds too few, a small pool is used to the full:
    drawing starts with the longest free trace, and pairs are matched shortest with longest;
    the way that makes most samples is kept.

    Args:
        build: makes a sample of parts and counts it whole: (sample, tokens), or None if these
            parts cannot be joined; its random generator chooses the linking words.
        overhead: estimated tokens that a sample of n parts has beyond its parts.
        seeds: seed of the i-th sample; with the order of ``parts`` it decides everything.

    Returns:
        The samples and their exact lengths in tokens.
    """
    typical, possible = part_counts(parts, request, overhead)
    found: list[tuple[T, int]] = []
    if possible:
        found = _draw_all(parts, request, build, overhead, seeds, (typical, possible), longest_first=False)
        if len(found) < request.count:
            other = _draw_all(parts, request, build, overhead, seeds, (possible, possible), longest_first=True)
            found = max(found, other, key=len)
        if len(found) < request.count and 2 in possible:
            found = max(found, fit_pairs(parts, request, build, overhead, seeds(-2)), key=len)
    return [sample for sample, _ in found], [length for _, length in found]


def _draw_all(
    parts: Sequence[Part],
    request: Request,
    build: Build[T],
    overhead: Callable[[int], int],
    seeds: Callable[[int], int],
    counts: tuple[Sequence[int], Sequence[int]],
    longest_first: bool,
) -> list[tuple[T, int]]:
    """Samples drawn one after another until enough are made or none fits any more."""
    pool = LengthPool(parts, random.Random(seeds(-1)))
    shift: dict[int, int] = {}  # how far the estimate is off, by number of parts, as learnt so far
    made: list[tuple[T, int]] = []
    failures = number = 0
    while len(made) < request.count and failures < _PATIENCE:
        one = _search(pool, request, build, overhead, random.Random(seeds(number)), counts, shift, longest_first)
        number += 1
        if one is None:
            failures += 1
        else:
            made.append(one)
            failures = 0
    return made


def _search(
    pool: LengthPool,
    request: Request,
    build: Build[T],
    overhead: Callable[[int], int],
    rng: random.Random,
    counts: tuple[Sequence[int], Sequence[int]],
    shift: dict[int, int],
    longest_first: bool,
) -> tuple[T, int] | None:
    """One sample of the wanted length, or None after many tries."""
    for attempt in range(_TRIES):
        num_parts = rng.choice(counts[0] if attempt < _TRIES // 2 else counts[1])
        need = request.target - overhead(num_parts) - shift.get(num_parts, 0)
        # Early tries aim at the middle of the window; later ones accept its whole width.
        slack = request.tolerance if attempt >= _TRIES // 4 else request.tolerance // 2
        parts = _draw(pool, need, num_parts, rng, slack, longest_first and attempt < _TRIES // 4)
        if parts is None:
            continue
        made = _refine(pool, request, build, parts, rng, shift)
        if made is not None:
            return made
    return None


def _refine(
    pool: LengthPool, request: Request, build: Build[T], parts: list[Part], rng: random.Random, shift: dict[int, int]
) -> tuple[T, int] | None:
    """Exchange one part for one that is longer or shorter by the error, until the count is exact.

    The linking words stay as they were drawn, so the error is that of the estimate alone.  The
    best sample inside the tolerance is kept; its parts are taken from the pool, all others
    are back in it.
    """
    at = rng.randrange(len(parts))
    linker_seed = rng.getrandbits(63)
    best: tuple[T, int] | None = None
    best_parts: list[Part] = []
    for _ in range(_CORRECTIONS):
        made = build(parts, random.Random(linker_seed))
        if made is None:
            break
        error = made[1] - request.target
        estimate_error = shift.get(len(parts), 0)
        if abs(error) <= request.tolerance and (best is None or abs(error) < abs(best[1] - request.target)):
            best, best_parts = made, list(parts)
        if error == 0:
            break
        if best is None:
            shift[len(parts)] = estimate_error + (1 if error > 0 else -1)  # drifts towards the typical error
        others = {part.problem for part in parts} - {parts[at].problem}
        other = pool.take_near(parts[at].length - error, abs(error) - 1, others)
        if other is None:
            break
        pool.give_back([parts[at]])
        parts[at] = other
    if best is None:
        pool.give_back(parts)
        return None
    if best_parts != parts:
        pool.give_back(parts)
        for part in best_parts:
            pool.remove(part)
    return best


def fit_pairs(
    parts: Sequence[Part], request: Request, build: Build[T], overhead: Callable[[int], int], seed: int
) -> list[tuple[T, int]]:
    """As many pairs as the two-pointer rule of ``most_pairs`` finds; for pools too small to draw from at random.

    The shortest free trace goes with the longest that fits; which pairs come out is decided by
    length, not by chance, so this is used only where random drawing found too few.
    """
    ordered = sorted(parts, key=lambda part: (part.length, part.index))
    left, right = 0, len(ordered) - 1
    made: list[tuple[T, int]] = []
    body = request.target - overhead(2)
    while left < right and len(made) < request.count:
        short, long = ordered[left], ordered[right]
        total = short.length + long.length
        if total > body + request.tolerance:
            right -= 1
            continue
        if total < body - request.tolerance:
            left += 1
            continue
        if short.problem == long.problem:
            right -= 1
            continue
        for attempt in range(_CORRECTIONS):  # other linking words may bring the whole into the window
            found = build((short, long), random.Random(seed + attempt + 1009 * left))
            if found is not None and abs(found[1] - request.target) <= request.tolerance:
                made.append(found)
                break
        else:
            right -= 1
            continue
        left, right = left + 1, right - 1
    return made


def most_pairs(lengths: Sequence[int], low: int, high: int) -> int:
    """The largest number of disjoint pairs with low <= a + b <= high.

    Two pointers on the sorted lengths: the shortest goes with the longest if their sum fits;
    if it is too long the longest fits nobody, if too short the shortest fits nobody.  An exchange
    argument shows that no matching has more pairs.  O(n log n).
    """
    ordered = sorted(lengths)
    left, right, pairs = 0, len(ordered) - 1, 0
    while left < right:
        total = ordered[left] + ordered[right]
        if total > high:
            right -= 1
        elif total < low:
            left += 1
        else:
            pairs, left, right = pairs + 1, left + 1, right - 1
    return pairs


def coverage(parts: Sequence[Part], request: Request, overhead: Callable[[int], int]) -> float:
    """Share of the pool that could stand in some sample of this target, by length alone (0..1)."""
    lengths = sorted(part.length for part in parts)
    if not lengths:
        return 0.0
    usable = 0
    for position, length in enumerate(lengths):
        rest = lengths[:position] + lengths[position + 1 :] if len(lengths) <= 400 else lengths
        for count in range(request.min_parts, min(request.max_parts, len(lengths)) + 1):
            body = request.target - overhead(count) - length
            low, high = body - request.tolerance, body + request.tolerance
            if count == 1:
                ok = low <= 0 <= high
            elif count == 2:
                ok = bisect_right(rest, high) > bisect_left(rest, low)
            else:
                ok = sum(rest[: count - 1]) <= high and sum(rest[-(count - 1) :]) >= low
            if ok:
                usable += 1
                break
    return usable / len(lengths)
