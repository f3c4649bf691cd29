"""The rows that the trainer sees: tokenized, masked, ordered and packed by us.

Order is an explicit list of row numbers made from a seed, so that a run, its resumption and
a rerun on another machine see the same rows at the same steps.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from long1k.chat import Chat
from long1k.errors import DataError
from long1k.rows import Example

IGNORED = -100  # the label that PyTorch's cross-entropy skips


@dataclass(frozen=True, slots=True)
class TrainRow:
    """One row of the trainer: one sample, or several packed.

    ``labels`` are the ids where loss is taken and -100 elsewhere; ``lengths`` are those of the
    conversations in it, in order, and sum to the row's length.  Conversations do not see each other:
    those of packed samples, and the two of a masked pair.  ``names`` are the ids of the samples in it.
    """

    input_ids: list[int]
    labels: list[int]
    lengths: list[int]
    names: list[str] = field(default_factory=list)

    @property
    def supervised(self) -> int:
        """Number of tokens that carry loss."""
        return sum(label != IGNORED for label in self.labels)


def make_rows(examples: Sequence[Example], chat: Chat, max_tokens: int | None) -> list[TrainRow]:
    """Tokenize and mask; nothing is ever cut.

    Raises:
        DataError: a sample is too long, carries no loss, or was counted in another tokenizer.
    """
    rows = []
    for example in examples:
        encoded = chat.encode_documents(example)
        lengths = [len(one.ids) for one in encoded]
        total = sum(lengths)
        if total != example.num_tokens:
            raise DataError(
                f"sample {example.example_id} has {total:,} tokens here but {example.num_tokens:,} there",
                "the model's tokenizer or template is not the one the data was made with; synthesize again",
            )
        if max_tokens is not None and total > max_tokens:
            raise DataError(
                f"sample {example.example_id} has {total:,} tokens, more than the limit of {max_tokens:,}",
                "raise train.max_tokens, or synthesize to a lower target; samples are never cut",
            )
        ids = [i for one in encoded for i in one.ids]
        labels = [i if on else IGNORED for one in encoded for i, on in zip(one.ids, one.trained, strict=True)]
        row = TrainRow(ids, labels, lengths, [example.example_id])
        if row.supervised == 0:
            raise DataError(f"sample {example.example_id} has no token that carries loss", "check the chat template")
        if chat.end_id not in labels:
            raise DataError(f"sample {example.example_id} does not train the end token", "check the chat template")
        rows.append(row)
    if not rows:
        raise DataError("the table of samples is empty", "synthesize samples first")
    return rows


def pack(rows: Sequence[TrainRow], size: int) -> list[TrainRow]:
    """Samples packed into rows of at most ``size`` tokens, best fit, longest first; none is split."""
    bins: list[list[TrainRow]] = []
    space: list[int] = []
    for row in sorted(rows, key=lambda r: -len(r.input_ids)):
        need = len(row.input_ids)
        if need > size:
            raise DataError(
                f"a sample of {need:,} tokens does not fit into packed rows of {size:,}", "raise train.packing"
            )
        fits = [(left, at) for at, left in enumerate(space[-64:], max(0, len(space) - 64)) if left >= need]
        if fits:
            at = min(fits)[1]
            bins[at].append(row)
            space[at] -= need
        else:
            bins.append([row])
            space.append(size - need)
    return [
        TrainRow(
            [i for r in b for i in r.input_ids],
            [i for r in b for i in r.labels],
            [n for r in b for n in r.lengths],
            [name for r in b for name in r.names],
        )
        for b in bins
    ]


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
