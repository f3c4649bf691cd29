"""What stands in real batches: conversations taken out of the trainer's tensors again, compared with the plan, counted.

Nothing here reads the configuration: what was planned is compared with what came out of the trainer's own loader.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from long1k.training.data import IGNORED, TrainRow


@dataclass(frozen=True, slots=True)
class Marks:
    """The ids that a row is looked at for."""

    end_id: int
    pad_id: int
    special_ids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Conversation:
    """Ids and labels of one conversation; its first label is never trained, so it is left out of both sides."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

    @property
    def supervised(self) -> int:
        """Number of tokens that carry loss."""
        return sum(label != IGNORED for label in self.labels[1:])


@dataclass(slots=True)
class Seen:
    """Counts over batches; those of several ranks are added with ``merge``.

    ``computed`` counts every place of the tensors, padding included; ``supervised_min`` and ``max`` are of rows.
    ``together`` counts micro-batches in which conversations share a row;
    ``prompts`` counts the conversations whose inference prompt is known, ``with_prompt`` those that begin with it;
    ``moved`` names micro-batches that are not the planned ones.
    """

    micro_batches: int = 0
    together: int = 0
    rows: int = 0
    samples: list[str] = field(default_factory=list)
    conversations: int = 0
    tokens: int = 0
    computed: int = 0
    supervised: int = 0
    supervised_min: int = 2**62
    supervised_max: int = 0
    longest: int = 0
    longest_sample: str = ""
    ended: int = 0
    doubled: int = 0
    prompts: int = 0
    with_prompt: int = 0
    moved: list[int] = field(default_factory=list)


def merge(parts: Sequence[Seen]) -> Seen:
    """The counts of several ranks together."""
    whole = Seen()
    for part in parts:
        for one in fields(Seen):
            mine, other = getattr(whole, one.name), getattr(part, one.name)
            if one.name == "supervised_min":
                setattr(whole, one.name, min(mine, other))
            elif one.name == "supervised_max":
                setattr(whole, one.name, max(mine, other))
            elif one.name not in ("longest", "longest_sample"):
                setattr(whole, one.name, mine + other)
        if part.longest > whole.longest:
            whole.longest, whole.longest_sample = part.longest, part.longest_sample
    return whole


def planned(row: TrainRow) -> list[Conversation]:
    """The conversations of a row as they were prepared."""
    found, start = [], 0
    for length in row.lengths:
        ids, labels = row.input_ids[start : start + length], row.labels[start : start + length]
        found.append(Conversation(tuple(ids), (IGNORED, *labels[1:])))
        start += length
    return found


def conversations_in(batch: dict[str, Any], marks: Marks) -> list[Conversation]:
    """The conversations of a batch of tensors: by its mask, else where its positions start again; no padding."""
    ids, labels = batch["input_ids"].tolist(), batch["labels"].tolist()
    mask = batch["attention_mask"].tolist() if "attention_mask" in batch else None
    positions = batch["position_ids"].tolist() if "position_ids" in batch else None
    found = []
    for at, (row_ids, row_labels) in enumerate(zip(ids, labels, strict=True)):
        kept = [i for i in range(len(row_ids)) if mask is None or mask[at][i]]
        starts = [n for n, i in enumerate(kept) if n == 0 or (positions is not None and positions[at][i] == 0)]
        for start, end in zip(starts, [*starts[1:], len(kept)], strict=True):
            own = kept[start:end]
            one = Conversation(
                tuple(row_ids[i] for i in own), (IGNORED, *(row_labels[i] for i in own[1:]))
            )  # fmt: skip
            # A label on a first token would be learned from the conversation before it: it counts as a difference.
            if row_labels[own[0]] != IGNORED and positions is not None:
                one = Conversation(one.ids, tuple(row_labels[i] for i in own))
            if one.supervised or any(i != marks.pad_id for i in one.ids):
                found.append(one)
    return found


def shares_row(batch: dict[str, Any]) -> bool:
    """Whether a row of a batch holds more than one conversation (padding may count as one)."""
    return "position_ids" in batch and bool((batch["position_ids"] == 0).sum(-1).max() > 1)


def look(batches: Iterable[dict[str, Any]], plans: Iterable[Sequence[TrainRow]], marks: Marks, first: int = 0) -> Seen:
    """Count what is in batches and compare each with the rows that were planned for it.

    Args:
        first: the number of the first micro-batch, for ``moved``.
    """
    seen = Seen()
    for number, (batch, rows) in enumerate(zip(batches, plans, strict=False)):
        there = conversations_in(batch, marks)
        wanted = [one for row in rows for one in planned(row)]
        if sorted((one.ids, one.labels) for one in there) != sorted((one.ids, one.labels) for one in wanted):
            seen.moved.append(first + number)
        seen.micro_batches += 1
        seen.together += shares_row(batch)
        seen.rows += len(rows)
        seen.computed += batch["input_ids"].numel()
        _count(seen, there, rows, marks)
    return seen


def _count(seen: Seen, there: Sequence[Conversation], rows: Sequence[TrainRow], marks: Marks) -> None:
    known = {one.ids: one for one in there}
    for row in rows:
        seen.samples += row.names
        supervised = 0
        for at, one in enumerate(planned(row)):
            real = known.get(one.ids)
            if real is None:
                continue
            supervised += real.supervised
            seen.conversations += 1
            seen.tokens += len(real.ids)
            seen.ended += marks.end_id in real.labels
            seen.doubled += _doubled(real.ids, marks)
            if at < len(row.prompts):
                seen.prompts += 1
                seen.with_prompt += before_training(real) == tuple(row.prompts[at])
        seen.supervised += supervised
        seen.supervised_min = min(seen.supervised_min, supervised)
        seen.supervised_max = max(seen.supervised_max, supervised)
        if len(row.input_ids) > seen.longest:
            more = f" and {len(row.names) - 1} more" if len(row.names) > 1 else ""
            seen.longest, seen.longest_sample = len(row.input_ids), f"{row.names[0]}{more}" if row.names else ""


def before_training(one: Conversation) -> tuple[int, ...]:
    """The ids in front of the first one that carries loss."""
    first = next((at for at, label in enumerate(one.labels) if label != IGNORED), len(one.ids))
    return one.ids[:first]


def _doubled(ids: Sequence[int], marks: Marks) -> bool:
    """Whether a conversation begins with one special token twice."""
    return len(ids) > 1 and ids[0] == ids[1] and ids[0] in marks.special_ids
