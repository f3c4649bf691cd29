"""Where a tag stands in token ids: found in decoded text, so that it may be split over tokens in any way."""

from __future__ import annotations

from collections.abc import Sequence

from long1k.loops import MAX_PERIOD, find_loop_ids
from long1k.tokens import Tokenizer

_WINDOW = 512
_TAIL = 4 * MAX_PERIOD


def find_tag(tokenizer: Tokenizer, token_ids: Sequence[int], tag: str, start: int = 0) -> tuple[int, int] | None:
    """The first tag from ``start`` on as (first token, token behind): the shortest run that decodes to hold it.

    Its first and last token may hold other characters beside those of the tag.
    """
    overlap = len(tag.encode()) + 1  # a token holds at least one byte of it
    for left in range(start, len(token_ids), _WINDOW):
        right = min(len(token_ids), left + _WINDOW + overlap)
        if tag not in tokenizer.decode(token_ids[left:right]):
            continue
        # Both ends by halving: a longer run holds the tag if a shorter one does.
        low, high = left, right
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if tag in tokenizer.decode(token_ids[left:middle]) else (middle, high)
        behind = high
        low, high = left, behind
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if tag in tokenizer.decode(token_ids[middle:behind]) else (low, middle)
        return low, behind
    return None


def ends_in_loop(token_ids: Sequence[int]) -> bool:
    """Whether the ids end in the middle of an endless repetition."""
    rest = list(token_ids[-_TAIL:])
    while (loop := find_loop_ids(rest)) is not None:
        end = loop.start + loop.length
        if end >= len(rest):
            return True
        rest = rest[end:]
    return False
