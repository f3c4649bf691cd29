"""Linking words of a wanted number of tokens.

The phrases of a bank differ in length, so a few of them together reach every sum in a wide range,
most of them in very many ways.  Among all combinations that give the wanted sum one is drawn, each
with the same chance: lengths are hit without any phrase becoming a mark of its length.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

Lengths = Sequence[Sequence[int]]  # of each place, the tokens of each phrase


def sums(lengths: Lengths) -> list[dict[int, int]]:
    """For each place, how many choices from there on give each sum: {tokens: combinations}."""
    table: list[dict[int, int]] = [{0: 1}]
    for place in reversed(lengths):
        ahead = table[0]
        here: dict[int, int] = {}
        for tokens in place:
            for total, ways in ahead.items():
                here[total + tokens] = here.get(total + tokens, 0) + ways
        table.insert(0, here)
    return table


def choose_sum(lengths: Lengths, total: int, rng: random.Random) -> tuple[int, ...] | None:
    """The number of the phrase at each place, so that together they have ``total`` tokens; None if none do.

    All combinations that do are equally likely.
    """
    table = sums(lengths)
    if total not in table[0]:
        return None
    chosen = []
    for place, ahead in zip(lengths, table[1:], strict=True):
        ways = [ahead.get(total - tokens, 0) for tokens in place]
        at = rng.choices(range(len(place)), ways)[0] if sum(ways) < 2**53 else _large(ways, rng)
        chosen.append(at)
        total -= place[at]
    return tuple(chosen)


def _large(ways: Sequence[int], rng: random.Random) -> int:
    """A weighted draw where the weights are too large for floating point."""
    left = rng.randrange(sum(ways))
    for at, number in enumerate(ways):
        left -= number
        if left < 0:
            return at
    raise AssertionError("the weights sum to more than they hold")


def middle(lengths: Lengths) -> tuple[int, int]:
    """(the middle of all sums that the phrases reach, how far the sums reach to either side), in tokens."""
    low, high = sum(min(place) for place in lengths), sum(max(place) for place in lengths)
    return (low + high) // 2, (high - low) // 2
