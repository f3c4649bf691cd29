"""The rows that the trainer sees: tokenized, masked, ordered and packed by us.

Order is an explicit list of row numbers made from a seed, so that a run, its resumption and
a rerun on another machine see the same rows at the same steps.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from long1k.chat import Chat, documents
from long1k.errors import DataError
from long1k.rows import Example
from long1k.training.limits import Limit

IGNORED = -100  # the label that PyTorch's cross-entropy skips


@dataclass(frozen=True, slots=True)
class TrainRow:
    """One row of the trainer: one sample, or several packed.

    ``labels`` are the ids where loss is taken and -100 elsewhere; ``lengths`` are those of the
    conversations in it, in order, and sum to the row's length.  Conversations do not see each other:
    those of packed samples, and the two of a masked pair.  ``names`` are the ids of the samples in it;
    ``prompts`` are, for each conversation, the ids that generation would start from.
    """

    input_ids: list[int]
    labels: list[int]
    lengths: list[int]
    names: list[str] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)

    @property
    def supervised(self) -> int:
        """Number of tokens that carry loss."""
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True, slots=True)
class RowSize:
    """What is known of a row without its tokens: their number, those that carry loss, and its conversations'."""

    tokens: int
    supervised: int
    lengths: list[int]
    names: list[str]


def size_of(row: TrainRow) -> RowSize:
    """The size of a row."""
    return RowSize(len(row.input_ids), row.supervised, row.lengths, row.names)


def make_row(example: Example, chat: Chat, *, counted: bool = True) -> TrainRow:
    """Tokenize and mask one sample; nothing is ever cut.

    Args:
        counted: demand as many tokens as the table says (another tokenizer has others).

    Raises:
        DataError: it carries no loss, trains no end token, or was counted in another tokenizer.
    """
    encoded = chat.encode_documents(example)
    lengths = [len(one.ids) for one in encoded]
    ends = list(itertools.accumulate(lengths))
    total = ends[-1]
    if counted and total != example.num_tokens:
        raise DataError(
            f"sample {example.example_id} has {total:,} tokens here but {example.num_tokens:,} there",
            "the model's tokenizer or template is not the one the data was made with; synthesize again",
        )
    ids = [i for one in encoded for i in one.ids]
    labels = [i if on else IGNORED for one in encoded for i, on in zip(one.ids, one.trained, strict=True)]
    prompts = [chat.encode_prompt(prompt) for prompt, _ in documents(example)]
    row = TrainRow(ids, labels, lengths, [example.example_id], prompts)
    if row.supervised == 0:
        raise DataError(f"sample {example.example_id} has no token that carries loss", "check the chat template")
    if any(chat.end_id not in labels[end - length : end] for length, end in zip(lengths, ends, strict=True)):
        raise DataError(f"sample {example.example_id} does not train the end token", "check the chat template")
    return row


def make_rows(examples: Iterable[Example], chat: Chat, max_tokens: int | None) -> list[TrainRow]:
    """Samples tokenized and masked, all in memory.

    Raises:
        DataError: as ``make_row``, and for samples of more than ``max_tokens``.
    """
    limit, rows = Limit(max_tokens, None), [make_row(example, chat) for example in examples]
    over = [found for row in rows if (found := limit.check(row.names[0], row.lengths))]
    if over:
        raise limit.refuse(over, len(rows))
    return rows


def plan_packs(lengths: Sequence[int], size: int) -> list[list[int]]:
    """Which samples share a row of at most ``size`` tokens: best fit, longest first; none is split.

    Raises:
        DataError: a sample is longer than a row.
    """
    bins: list[list[int]] = []
    space: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda at: -lengths[at]):
        need = lengths[number]
        if need > size:
            raise DataError(
                f"a sample of {need:,} tokens does not fit into packed rows of {size:,}", "raise train.packing"
            )
        fits = [(left, at) for at, left in enumerate(space[-64:], max(0, len(space) - 64)) if left >= need]
        if fits:
            at = min(fits)[1]
            bins[at].append(number)
            space[at] -= need
        else:
            bins.append([number])
            space.append(size - need)
    return bins


def join_rows(rows: Sequence[TrainRow]) -> TrainRow:
    """Several rows as one; their conversations stay apart."""
    return TrainRow(
        [i for r in rows for i in r.input_ids],
        [i for r in rows for i in r.labels],
        [n for r in rows for n in r.lengths],
        [name for r in rows for name in r.names],
        [prompt for r in rows for prompt in r.prompts],
    )


def pack(rows: Sequence[TrainRow], size: int) -> list[TrainRow]:
    """Samples packed into rows (see ``plan_packs``)."""
    return [join_rows([rows[at] for at in pack]) for pack in plan_packs([len(r.input_ids) for r in rows], size)]


def row_order(num_rows: int, num_taken: int, seed: int) -> list[int]:
    """Row numbers in the order of training: seeded shuffles, one an epoch, cut after ``num_taken``."""
    rng = random.Random(seed)
    order: list[int] = []
    while len(order) < num_taken:
        epoch = list(range(num_rows))
        rng.shuffle(epoch)
        order += epoch
    return order[:num_taken]


def collate(rows: Sequence[TrainRow], pad_id: int) -> dict[str, Any]:
    """A batch of tensors, shape B × T.

    Unpacked rows get an attention mask.  Packed ones get position ids that start again at every
    sample and no mask: attention layers read the sample borders from the positions, so that no
    sample sees its neighbour.  Padding at the end of a packed row counts as a sample of its own.
    """
    import torch

    longest = max(len(row.input_ids) for row in rows)
    input_ids = torch.full((len(rows), longest), pad_id, dtype=torch.long)
    labels = torch.full((len(rows), longest), IGNORED, dtype=torch.long)
    packed = any(len(row.lengths) > 1 for row in rows)
    extra = torch.zeros((len(rows), longest), dtype=torch.long)
    for at, row in enumerate(rows):
        n = len(row.input_ids)
        input_ids[at, :n] = torch.tensor(row.input_ids)
        labels[at, :n] = torch.tensor(row.labels)
        if not packed:
            extra[at, :n] = 1
            continue
        start = 0
        for length in [*row.lengths, longest - n]:
            # The first token of a sample is predicted by its neighbour's last: never take loss there.
            if length:
                labels[at, start] = IGNORED
            extra[at, start : start + length] = torch.arange(length)
            start += length
    return {"input_ids": input_ids, "labels": labels, "position_ids" if packed else "attention_mask": extra}
