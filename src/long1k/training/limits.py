"""How long a sample may be, and what becomes of longer ones: a stop or a rejected row, never a cut."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from long1k.errors import DataError
from long1k.rows import Reject

_SHOWN = 3
_ROWS_OF_TABLE = 8


class RowSize(Protocol):
    """What a length is checked by: the conversations' lengths, and the samples' names."""

    @property
    def lengths(self) -> Sequence[int]:
        """Tokens of each conversation."""
        ...

    @property
    def names(self) -> Sequence[str]:
        """Ids of the samples."""
        ...


@dataclass(frozen=True, slots=True)
class OverLong:
    """A sample over a limit: its tokens as that limit counts them."""

    example_id: str
    tokens: int
    reason: str

    def reject(self, limit: Limit, source: str) -> Reject:
        """The row of rejected.parquet; ``source`` is the table that the sample stands in."""
        text = f"{self.tokens:,} tokens, the limit is {limit.of(self.reason):,}"
        row = json.dumps({"example_id": self.example_id, "tokens": self.tokens, "limit": limit.of(self.reason)})
        return Reject(self.reason, text, source, self.example_id, row)


@dataclass(frozen=True, slots=True)
class Limit:
    """The most tokens of a sample that were asked for, and the positions of the model, of a conversation.

    Positions count a conversation, as they start again at each one of a row.
    """

    max_tokens: int | None
    positions: int | None

    def check(self, example_id: str, lengths: Sequence[int]) -> OverLong | None:
        """What is wrong with the lengths of a sample's conversations, if anything."""
        total, longest = sum(lengths), max(lengths)
        if self.max_tokens is not None and total > self.max_tokens:
            return OverLong(example_id, total, "over_max_tokens")
        if self.positions is not None and longest > self.positions:
            return OverLong(example_id, longest, "over_positions")
        return None

    def of(self, reason: str) -> int:
        """The limit that a reason speaks of."""
        return (self.max_tokens if reason == "over_max_tokens" else self.positions) or 0

    def describe(self) -> str:
        """The limits in words."""
        asked = None if self.max_tokens is None else f"{self.max_tokens:,} tokens (max_tokens)"
        has = None if self.positions is None else f"{self.positions:,} positions of the model"
        return " and ".join(part for part in (asked, has) if part) or "none"

    def refuse(self, over: Sequence[OverLong], num_samples: int) -> DataError:
        """The error for samples that are too long, with a table of their lengths."""
        longest = sorted(over, key=lambda one: (-one.tokens, one.example_id))
        shown = ", ".join(f"{one.example_id} {one.tokens:,}" for one in longest[:_SHOWN])
        more = f", and {len(over) - _SHOWN:,} more" if len(over) > _SHOWN else ""
        kinds = {one.reason for one in over}
        mends = ["leave them out with train.over_limit: drop", "synthesize to a lower target"]
        if "over_max_tokens" in kinds:
            mends.insert(0, "raise train.max_tokens")
        if "over_positions" in kinds and self.positions:
            # The factor that the longest needs, in halves: 1.5, 2, 2.5, …
            factor = math.ceil(2 * longest[0].tokens / self.positions) / 2
            mends.insert(0, f"give the model more positions with train.rope: {{kind: yarn, factor: {factor:g}}}")
        return DataError(
            f"{len(over):,} of {num_samples:,} samples are longer than the limit ({self.describe()}); samples are "
            f"never cut\n{length_table([one.tokens for one in over])}\n  longest: {shown}{more}",
            ", or ".join(mends),
        )


def check_lengths(sizes: Sequence[RowSize], positions: int | None) -> None:
    """Refuse rows with conversations longer than the model's positions.

    Raises:
        DataError: with a table of their lengths.
    """
    limit = Limit(None, positions)
    over = [found for one in sizes if (found := limit.check(",".join(one.names), one.lengths))]
    if over:
        raise limit.refuse(over, len(sizes))


def length_table(tokens: Sequence[int]) -> str:
    """How many samples lie in each of a few equal ranges of length."""
    low, high = min(tokens), max(tokens)
    width = max(1, math.ceil((high - low + 1) / _ROWS_OF_TABLE))
    counts = Counter((value - low) // width for value in tokens)
    lines = ["  tokens                 samples"]
    for at in sorted(counts):
        first, last = low + at * width, min(high, low + (at + 1) * width - 1)
        span = f"{first:,}" if first == last else f"{first:,}–{last:,}"
        lines.append(f"  {span:<20} {counts[at]:>9,}")
    return "\n".join(lines)
