"""Which traces to join so that the sample has the wanted length, exactly.

Lengths of parts do not quite add up: labels, linking words and the seams between texts cost
tokens, and tokenization at a seam can differ.  So the choice works on estimates and the
sample is recounted whole; the difference corrects the length sought for the last part, and
where only the exact length will do, other linking words are chosen.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from long1k.joining.coverage import Lengths
from long1k.joining.lengths import LengthPool, Part
from long1k.joining.pairing import pair_lengths

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_TRIES = 60
_PATIENCE = 4  # searches in a row that may find nothing before drawing ends
_CORRECTIONS = 8
_ROUNDS = 6
_CROWDED = 3  # asking for a pair of every so many parts: drawing one by one would leave too many misfits


class Maker(Protocol[T_co]):
    """Makes samples of parts and counts them whole."""

    def build(self, parts: Sequence[Part], rng: random.Random) -> tuple[T_co, int] | None:
        """(sample, tokens), or None if these parts cannot be joined; rng chooses the linking words."""
        ...

    def adjust(self, parts: Sequence[Part], rng: random.Random, tokens: int) -> tuple[T_co, int] | None:
        """The sample that ``build`` makes of the same arguments, with linking words that bring it to ``tokens``."""
        ...

    def overhead(self, num_parts: int) -> int:
        """Estimated tokens that a sample of so many parts has beyond its parts."""
        ...

    def reach(self, num_parts: int) -> int:
        """How many tokens longer or shorter the choice of linking words can make a sample; 0: no choice."""
        ...


@dataclass(frozen=True)
class Request:
    """What is wanted: ``count`` samples of ``target`` ± ``tolerance`` tokens from min_parts..max_parts traces."""

    target: int
    tolerance: int
    count: int
    min_parts: int
    max_parts: int


@dataclass(frozen=True)
class Aim:
    """One sample: its length, what is accepted instead, and the parts that it must begin with.

    ``settle`` takes the first sample inside the bounds; otherwise the nearest to the target is sought.
    """

    target: int
    low: int
    high: int
    fixed: tuple[Part, ...] = ()
    settle: bool = False


class Fitter(Generic[T]):
    """Searches one pool of free parts for samples of wanted lengths.

    What it learns of the error of the estimate, by number of parts, carries over to the next search.
    """

    def __init__(self, pool: LengthPool, maker: Maker[T]) -> None:
        self.pool, self.maker = pool, maker
        self.shift: dict[int, int] = {}

    def search(
        self, aim: Aim, counts: tuple[Sequence[int], Sequence[int]], rng: random.Random, longest_first: bool = False
    ) -> tuple[T, int] | None:
        """One sample as aimed at, or None after many tries.  Its free parts are taken from the pool.

        Args:
            counts: numbers of parts to try first, and later.
        """
        tolerance = max(aim.high - aim.target, aim.target - aim.low)
        exact = aim.low == aim.high
        for attempt in range(_TRIES):
            num_parts = rng.choice(counts[0] if attempt < _TRIES // 2 else counts[1])
            need = aim.target - self.maker.overhead(num_parts) - self.shift.get(num_parts, 0)
            # Early tries aim at the middle of the window; later ones accept its whole width.
            slack = tolerance if attempt >= _TRIES // 4 else tolerance // 2
            if exact:
                slack = max(slack, self.maker.reach(num_parts))
            parts = self._draw(aim, need, num_parts, rng, slack, longest_first and attempt < _TRIES // 4)
            if parts is None:
                continue
            made = self._refine(aim, parts, rng)
            if made is not None:
                return made
        return None

    def _draw(
        self, aim: Aim, need: int, num_parts: int, rng: random.Random, slack: int, longest_first: bool
    ) -> list[Part] | None:
        """Parts whose estimated lengths sum to ``need`` ± slack; taken from the pool, or None and nothing taken."""
        pool, chosen = self.pool, list[Part]()
        taken = {part.problem for part in aim.fixed}
        left = need - sum(part.length for part in aim.fixed)
        num_free = num_parts - len(aim.fixed)
        if num_free == 0:
            return [] if abs(left) <= slack else None
        for done in range(num_free - 1):
            if not len(pool):
                break
            after = num_free - done - 1  # parts still to come: the rest must stay within their reach
            low, high = left - after * pool.longest, left - after * pool.shortest
            if longest_first and done == 0:
                part = pool.take_longest(high + slack, taken)
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

    def _refine(self, aim: Aim, parts: list[Part], rng: random.Random) -> tuple[T, int] | None:
        """Exchange one part for one that is longer or shorter by the error, until the count is right.

        The linking words stay as they were drawn, so the error is that of the estimate alone; only where
        the exact length is demanded are they chosen by their length.  The best sample inside the bounds is
        kept; its parts are taken from the pool, all others are back in it.
        """
        at = rng.randrange(len(parts)) if parts else 0
        linker_seed = rng.getrandbits(63)
        best: tuple[T, int] | None = None
        best_parts: list[Part] = []
        for _ in range(_CORRECTIONS):
            whole = [*aim.fixed, *parts]
            made = self.maker.build(whole, random.Random(linker_seed))
            if made is None:
                break
            error = made[1] - aim.target
            if error and aim.low == aim.high and abs(error) <= 2 * self.maker.reach(len(whole)):
                other_words = self.maker.adjust(whole, random.Random(linker_seed), aim.target)
                if other_words is not None:
                    made, error = other_words, 0
            if aim.low <= made[1] <= aim.high and (best is None or abs(error) < abs(best[1] - aim.target)):
                best, best_parts = made, list(parts)
            if error == 0 or not parts or (aim.settle and best is not None):
                break
            if best is None:  # drifts towards the typical error
                self.shift[len(whole)] = self.shift.get(len(whole), 0) + (1 if error > 0 else -1)
            others = {part.problem for part in whole} - {parts[at].problem}
            other = self.pool.take_near(parts[at].length - error, abs(error) - 1, others)
            if other is None:
                break
            self.pool.give_back([parts[at]])
            parts[at] = other
        if best is None:
            self.pool.give_back(parts)
            return None
        if best_parts != parts:
            self.pool.give_back(parts)
            for part in best_parts:
                self.pool.remove(part)
        return best


def fit(
    parts: Sequence[Part], request: Request, maker: Maker[T], seeds: Callable[[int], int]
) -> tuple[list[T], list[int]]:
    """Samples of the wanted length, without replacement, as many of ``count`` as are found.

    Traces are drawn at random.  Only where that finds too few, a small pool is used to the full:
    drawing starts with the longest free trace, and pairs are matched over the whole pool at once;
    the way that makes most samples is kept.

    Args:
        seeds: seed of the i-th sample; with the order of ``parts`` it decides everything.

    Returns:
        The samples and their exact lengths in tokens.
    """
    typical, possible = part_counts(parts, request, maker.overhead)
    found: list[tuple[T, int]] = []
    pairs_only = request.min_parts == request.max_parts == 2
    if possible and not (pairs_only and request.count * _CROWDED > len(parts)):
        found = _draw_all(parts, request, maker, seeds, (typical, possible), longest_first=False)
    if possible and len(found) < request.count and 2 in possible:
        found = max(found, fit_pairs(parts, request, maker, seeds), key=len)
    if possible and len(found) < request.count:
        other = _draw_all(parts, request, maker, seeds, (possible, possible), longest_first=True)
        found = max(found, other, key=len)
    return [sample for sample, _ in found], [length for _, length in found]


def fit_each(
    parts: Sequence[Part], aims: Sequence[Aim], least: int, most: int, maker: Maker[T], seeds: Callable[[int], int]
) -> list[tuple[T, int] | None]:
    """One sample for each aim, None where none was found; without replacement over all of them.

    The parts that samples must begin with (``fixed``) must not be among the free ``parts``.
    """
    fitter = Fitter(LengthPool(parts, random.Random(seeds(-1))), maker)
    lengths = Lengths([part.length for part in parts])
    found: list[tuple[T, int] | None] = []
    for number, aim in enumerate(aims):
        fixed = sum(part.length for part in aim.fixed)
        tolerance = max(aim.high - aim.target, aim.target - aim.low)
        counts = lengths.counts(
            aim.target - fixed, tolerance, max(0, least - len(aim.fixed)), most - len(aim.fixed),
            lambda n, have=len(aim.fixed): maker.overhead(n + have),  # type: ignore[misc]
        )  # fmt: skip
        typical, possible = ([n + len(aim.fixed) for n in one] for one in counts)
        one = None
        rng = random.Random(seeds(number))
        for longest_first in (False, False, True):
            if one is None and possible:
                one = fitter.search(aim, (typical, possible), rng, longest_first)
        found.append(one)
    return found


def part_counts(parts: Sequence[Part], request: Request, overhead: Callable[[int], int]) -> tuple[list[int], list[int]]:
    """The numbers of parts that can reach the target: those that typical lengths make, and all."""
    lengths = Lengths([part.length for part in parts])
    return lengths.counts(request.target, request.tolerance, request.min_parts, request.max_parts, overhead)


def _draw_all(
    parts: Sequence[Part],
    request: Request,
    maker: Maker[T],
    seeds: Callable[[int], int],
    counts: tuple[Sequence[int], Sequence[int]],
    longest_first: bool,
) -> list[tuple[T, int]]:
    """Samples drawn one after another until enough are made or none fits any more."""
    fitter = Fitter(LengthPool(parts, random.Random(seeds(-1))), maker)
    aim = Aim(request.target, request.target - request.tolerance, request.target + request.tolerance)
    made: list[tuple[T, int]] = []
    failures = number = 0
    while len(made) < request.count and failures < _PATIENCE:
        one = fitter.search(aim, counts, random.Random(seeds(number)), longest_first)
        number += 1
        if one is None:
            failures += 1
        else:
            made.append(one)
            failures = 0
    return made


def fit_pairs(
    parts: Sequence[Part], request: Request, maker: Maker[T], seeds: Callable[[int], int]
) -> list[tuple[T, int]]:
    """Pairs matched over the whole pool at once, in rounds; who did not fit is matched anew.

    The first rounds draw at random (see ``pair_lengths``); if those cannot make as many as are asked for, the
    matching with most pairs is taken instead.
    """
    found: list[tuple[T, int]] = []
    for most in (False, True):
        found = max(found, _pair_rounds(parts, request, maker, seeds, most), key=len)
        if len(found) >= request.count:
            break
    return found


def _pair_rounds(
    parts: Sequence[Part], request: Request, maker: Maker[T], seeds: Callable[[int], int], most: bool
) -> list[tuple[T, int]]:
    rng = np.random.default_rng(seeds(-2))
    lengths = np.array([part.length for part in parts], dtype=np.int64)
    free = np.arange(len(parts))
    aim = Aim(request.target, request.target - request.tolerance, request.target + request.tolerance)
    slack = request.tolerance if request.tolerance else maker.reach(2)
    made: list[tuple[T, int]] = []
    shift = 0
    for turn in range(_ROUNDS):
        body = request.target - maker.overhead(2) - shift
        left = request.count - len(made)
        pairs = free[pair_lengths(lengths[free], body - slack, body + slack, rng, None if most else left, most)]
        used, errors = set[int](), list[int]()
        for one, two in pairs[:left].tolist():
            if parts[one].problem == parts[two].problem:
                continue
            seed = seeds(1009 * one + turn)
            chosen = (parts[one], parts[two]) if seed % 2 else (parts[two], parts[one])
            sample = _pair(aim, chosen, maker, seed, errors)
            if sample is not None:
                made.append(sample)
                used |= {one, two}
        if not used and turn:
            break
        free = free[~np.isin(free, list(used))]
        shift += round(float(np.mean(errors))) if errors else 0
        if len(made) >= request.count or free.size < 2:
            break
    return made


def _pair(aim: Aim, parts: tuple[Part, Part], maker: Maker[T], seed: int, errors: list[int]) -> tuple[T, int] | None:
    """One sample of two parts; other linking words, drawn or chosen, may bring it into the window."""
    for attempt in range(_CORRECTIONS):
        made = maker.build(parts, random.Random(seed + attempt))
        if made is None:
            return None
        errors.append(made[1] - aim.target)
        if aim.low <= made[1] <= aim.high:
            return made
        if aim.low == aim.high and maker.reach(2):
            return maker.adjust(parts, random.Random(seed + attempt), aim.target)
    return None
