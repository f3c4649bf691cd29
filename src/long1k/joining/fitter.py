"""A search for the parts of one sample of a wanted length, in a pool of free ones.

Lengths of parts do not quite add up: labels, linking words and the seams between texts cost
tokens, and tokenization at a seam can differ.  So the choice works on estimates and the
sample is recounted whole; the difference corrects the length sought for the last part, and
where only the exact length will do, other linking words are chosen.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from long1k.joining.lengths import LengthPool, Part

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_TRIES = 60
CORRECTIONS = 8


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
        for _ in range(CORRECTIONS):
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
