"""Which rows go into which micro-batch, on which rank.

The trainer gets the micro-batches of the whole run as one list, in the order
step, accumulation, rank.  Which rows a step holds is decided by the seed alone; the layout only
deals them out.  The loss is divided by the supervised tokens of the whole step, so that the
dealing does not matter to what is learned.
"""

from __future__ import annotations

from collections.abc import Sequence

from long1k.training.layout import Layout


def deal_step(rows: Sequence[int], lengths: Sequence[int], num: int) -> list[list[int]]:
    """The rows of one step in ``num`` micro-batches of nearly equal numbers of tokens, the largest first.

    Longest row first, each to the micro-batch with fewest tokens so far, at most as many rows to one as equal
    numbers would give: ranks that work side by side finish together, and memory is the same for all.
    """
    if num == 1:
        return [list(rows)]
    most = -(-len(rows) // num)
    dealt: list[list[int]] = [[] for _ in range(num)]
    tokens = [0] * num
    for row in sorted(rows, key=lambda row: -lengths[row]):
        at = min((at for at in range(num) if len(dealt[at]) < most), key=lambda at: (bool(dealt[at]), tokens[at], at))
        dealt[at].append(row)
        tokens[at] += lengths[row]
    return [dealt[at] for at in sorted(range(num), key=lambda at: -tokens[at])]


def deal_padded_step(rows: Sequence[int], lengths: Sequence[int], num: int) -> list[list[int]]:
    """The rows of one step in ``num`` micro-batches of nearly equal numbers; rows of like lengths together.

    Neighbours in length share a micro-batch, so that little is padded, and neighbouring micro-batches run
    side by side on the ranks, so that none waits long.
    """
    if num == 1:
        return [list(rows)]
    ranked = sorted(rows, key=lambda row: -lengths[row])
    each, more = divmod(len(ranked), num)
    dealt, at = [], 0
    for number in range(num):
        size = each + (number < more)
        dealt.append(ranked[at : at + size])
        at += size
    return dealt


def num_micro_batches(
    order: Sequence[int], lengths: Sequence[int], batch_size: int, layout: Layout, most_tokens: int | None
) -> int:
    """Micro-batches of each step, over all ranks.

    Args:
        most_tokens: what a micro-batch should hold on average, if the layout does not say how many rows; None: all.
    """
    num = layout.num_micro_batches(batch_size)
    if layout.micro_batch_size is not None or most_tokens is None:
        return num
    steps = max(1, len(order) // batch_size)
    wanted = -(-sum(lengths[row] for row in order) // (steps * most_tokens * layout.data_ranks))
    return min(max(wanted, 1), batch_size // layout.data_ranks) * layout.data_ranks


def deal(
    order: Sequence[int], lengths: Sequence[int], batch_size: int, num: int, *, padded: bool = True
) -> list[list[int]]:
    """All micro-batches of a run, in the order step, accumulation, rank; each is a list of row numbers.

    Args:
        num: of each step, over all ranks.
        padded: a micro-batch is padded to its longest row; else its rows stand in one line.
    """
    deal_one = deal_padded_step if padded else deal_step
    return [
        micro
        for at in range(0, len(order), batch_size)
        for micro in deal_one(order[at : at + batch_size], lengths, num)
    ]
