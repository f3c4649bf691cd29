"""Endless repetition: a model that writes the same block again and again.

One detector for data, generation and reports.  It finds exact repetition with a period of up to
``MAX_PERIOD``: a piece of the text is looked for again a little later, and where it recurs, the
distance is a period to try.  Repetition with a counter in it (step 101, step 102) is not exact
and is not found.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

MAX_PERIOD = 2000
_STRIDE = 256  # a piece is taken so often; no run that counts is short enough to lie between two
_PIECE = 24
_TRIES = 8  # recurrences of one piece that are tried: a long block may hold a piece twice
_TAIL = 4 * MAX_PERIOD


@dataclass(frozen=True, slots=True)
class Loop:
    """A block that is repeated: characters (or tokens) from ``start`` on, ``repeats`` times ``period``."""

    period: int
    repeats: float
    start: int
    length: int

    def describe(self, text: str) -> str:
        """What repeats, where, and how often."""
        block = text[self.start : self.start + min(self.period, 60)]
        return f"{block!r} × {self.repeats:,.0f} from character {self.start:,} of {len(text):,}"


@dataclass(frozen=True, slots=True)
class Limits:
    """From which length on a run of repetitions is a loop.

    ``length`` with at least five repeats, or ``long`` with at least three.  A block without
    content (digits, signs, spaces: tables, matrices, decimals, ruled lines) must run for ``bare``,
    unless the text ends in it.
    """

    length: int
    long: int
    bare: int


CHARACTERS = Limits(length=500, long=1500, bare=2000)
TOKENS = Limits(length=256, long=512, bare=1024)
_FEW, _LEAST = 5, 3


def find_loop(text: str) -> Loop | None:
    """The first loop found in a text, its end looked at first; None if it holds none."""
    return _find(text, CHARACTERS, _has_word)


def find_loop_ids(token_ids: Sequence[int]) -> Loop | None:
    """The same on token ids, in tokens; blocks of one or two tokens count as without content."""
    # Ids as characters, so that the same search runs on them.
    values = np.asarray(token_ids, dtype=np.int64) % 0x110000
    text = values.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")
    return _find(text, TOKENS, lambda block: len(block) > 2)


def _has_word(block: str) -> bool:
    """Whether a block holds two letters side by side, across its own end too."""
    previous = block[-1:].isalpha()
    for character in block:
        letter = character.isalpha()
        if letter and previous and len(block) > 1:
            return True
        previous = letter
    return False


def _find(text: str, limits: Limits, has_content: Callable[[str], bool]) -> Loop | None:
    tail = max(0, len(text) - _TAIL)
    found = _scan(text, tail, len(text), limits, has_content)
    return found if found is not None or tail == 0 else _scan(text, 0, tail, limits, has_content)


def _scan(text: str, first: int, last: int, limits: Limits, has_content: Callable[[str], bool]) -> Loop | None:
    """The first loop that holds one of the pieces taken between ``first`` and ``last``."""
    size, at = len(text), first
    last = min(last, size - _PIECE)
    while at < last:
        piece, again, skip = text[at : at + _PIECE], at, at + _STRIDE
        for _ in range(_TRIES):
            again = text.find(piece, again + 1, at + MAX_PERIOD + _PIECE)
            if again < 0:
                break
            period = again - at
            end = again + _same_after(text, again, period)
            if end - at < 2 * period:  # seldom more than a phrase said twice
                continue
            start = at - _same_before(text, at, period)
            length = end - start
            repeats = length / period
            skip = max(skip, end - period)
            if length < limits.length or repeats < (_LEAST if length >= limits.long else _FEW):
                continue
            at_end = not text[end:].strip() if size - end < _PIECE else False
            if length >= limits.bare or at_end or has_content(text[start : start + period]):
                return Loop(period, round(repeats, 1), start, length)
        at = skip
    return None


def _same_after(text: str, at: int, period: int) -> int:
    """How many characters from ``at`` on equal those one period before."""
    done, step = 0, 64
    while step:
        here = text[at + done : at + done + step]
        if here and here == text[at + done - period : at + done - period + len(here)]:
            done += len(here)
            if len(here) < step:
                return done
            step *= 2
        else:
            step //= 2
    return done


def _same_before(text: str, at: int, period: int) -> int:
    """How many characters before ``at`` equal those one period later."""
    done, step = 0, 64
    while step:
        begin = max(0, at - done - step)
        here = text[begin : at - done]
        if here and here == text[begin + period : at - done + period]:
            done += len(here)
            if begin == 0:
                return done
            step *= 2
        else:
            step //= 2
    return done
