"""Order taken away: the steps of a thinking shuffled, the thinkings of a sample exchanged."""

from __future__ import annotations

import random
import re

# Where a thinking is divided, coarse to fine; the separators stay where they were.
_BORDERS = (re.compile(r"(\n[ \t]*\n\s*)"), re.compile(r"(\n+)"), re.compile(r"((?<=[.!?]) +)"))
_TRIES = 20


def shuffle_steps(text: str, rng: random.Random) -> str | None:
    """The paragraphs of a thinking in another, random order; None if it cannot be told from the old one.

    A text without paragraphs is shuffled by lines, one without lines by sentences.
    """
    for border in _BORDERS:
        pieces = border.split(text)
        steps = pieces[::2]
        if len({step for step in steps if step.strip()}) < 2:
            continue
        for _ in range(_TRIES):
            rng.shuffle(steps)
            pieces[::2] = steps
            shuffled = "".join(pieces)
            if shuffled != text:
                return shuffled
    return None


def derange(count: int, rng: random.Random) -> tuple[int, ...]:
    """A random order of 0..count-1 in which nothing stands at its own place.

    Raises:
        ValueError: count is below 2.
    """
    if count < 2:
        raise ValueError(f"{count} parts have no other order")
    order = list(range(count))
    while any(at == part for at, part in enumerate(order)):  # 1/e of all orders will do: about three tries
        rng.shuffle(order)
    return tuple(order)
