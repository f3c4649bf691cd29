"""``show --tokens``: one row of the trainer, token by token; and the preflight of a checkpoint.

A row is made by the functions that make the trainer's rows, alone or packed with others, so that what is
seen is what is trained: the preflight compares these same rows with the tensors that the trainer gets.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from long1k.chat import Chat
from long1k.errors import DataError
from long1k.rows import Example
from long1k.tables import Manifest, iter_table
from long1k.training.data import IGNORED, TrainRow, join_rows, make_row, plan_packs
from long1k.training.preflight_text import preflight_text
from long1k.training.seen import planned

_LEGEND = (("trained", "green"), ("not trained", "dim"), ("special token", "bold magenta"), ("⏎ end of a line", "dim"))


def packed_row(
    folder: Path, chat: Chat, size: int, *, row: int = 0, row_id: str | None = None
) -> tuple[TrainRow, int, int]:
    """One packed row of a table of samples: by its number, or the one that holds a sample.

    Returns:
        (the row, its number, how many packed rows there are); the trainer packs the same, if it leaves no sample out.

    Raises:
        DataError: no such row or sample, or a sample that fits into no row.
    """
    names, lengths = [], []
    for example in iter_table(folder, Example):
        names.append(example.example_id)
        lengths.append(example.num_tokens)
    packs = plan_packs(lengths, size)
    if row_id is not None:
        row = next((at for at, pack in enumerate(packs) if any(names[n].startswith(row_id) for n in pack)), -1)
        if row < 0:
            raise DataError(f"{folder} has no sample {row_id}…", "look at the ids with show FOLDER --row N")
    if row >= len(packs):
        raise DataError(f"{folder} packs into {len(packs):,} rows and none of them is row {row}", "rows count from 0")
    wanted = set(packs[row])
    made = {
        at: make_row(example, chat) for at, example in enumerate(iter_table(folder, Example)) if at in wanted
    }  # fmt: skip
    return join_rows([made[at] for at in packs[row]]), row, len(packs)


def print_row(console: Console, row: TrainRow, chat: Chat) -> None:
    """Every token of a row in order: trained ones green, others dim, special ones marked; borders with counts."""
    console.print(Text("legend: ") + Text(", ").join(Text(name, style) for name, style in _LEGEND))
    special = {chat.tokenizer.token_id(token) for token in chat.tokenizer.special_tokens}
    line = Text()
    start = 0
    owners = _owners(row)
    conversations = planned(row)
    for number, (one, owner) in enumerate(zip(conversations, owners, strict=True)):
        if number:
            line.append("\n‖ another conversation, apart from the one before ‖", style="bold yellow")
        if len(conversations) > 1:
            end = start + len(one.ids)
            line.append(f"\n‖ {number + 1} of {len(conversations)}: {owner}, tokens {start:,}–{end - 1:,}, "
                        f"positions start again at 0 ‖", style="bold yellow")  # fmt: skip
        start += len(one.ids)
        _append(line, one.ids, one.labels, chat, special)
    console.print(line)
    trained = sum(one.supervised for one in conversations)
    more = f" in {len(conversations):,} conversations of {len(row.names):,} samples" if len(conversations) > 1 else ""
    console.print(f"{trained:,} of {len(row.input_ids):,} tokens are trained{more}")


def _append(line: Text, ids: Sequence[int], labels: Sequence[int], chat: Chat, special: set[int | None]) -> None:
    """The tokens of one conversation, in runs of trained and untrained ones."""
    position = 0
    pieces = chat.tokenizer.pieces(ids)
    for trained, group in itertools.groupby(range(len(ids)), lambda at: labels[at] != IGNORED):
        run = list(group)
        name = "trained" if trained else "not trained"
        line.append(f"\n‖ {name} ‖ ", style="bold")
        line.append(f"{len(run):,} tokens, positions {position:,}–{position + len(run) - 1:,}\n", style="dim italic")
        position += len(run)
        for at in run:
            style = "green" if trained else "dim"
            if ids[at] in special:
                style = "bold magenta" if trained else "magenta"
            line.append(visible(pieces[at]).replace("\n", "⏎\n") + "·", style=style)


def _owners(row: TrainRow) -> list[str]:
    """The sample of each conversation: one each, or, of a masked pair, two of one sample."""
    if len(row.names) == len(row.lengths):
        return row.names
    return row.names * len(row.lengths) if len(row.names) == 1 else ["?"] * len(row.lengths)


def visible(text: str) -> str:
    """Control characters written out: a row must not be able to drive the terminal."""
    return "".join(c if c in "\n\t" or c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def print_checkpoint(console: Console, manifest: Manifest) -> None:
    """What a checkpoint is, and the preflight that it keeps."""
    info = manifest.info
    loss = info.get("final_loss")
    facts = [
        ("trained from", info.get("base_model")),
        ("steps", f"{info['steps']:,}" + (f", stopped early: {info['stopped']}" if info.get("stopped") else "")),
        ("tokens", f"{info['tokens']:,}, of them {info['supervised_tokens']:,} trained"),
        ("last loss", None if loss is None else f"{loss:.4f}"),
        ("parameters", f"{info.get('trainable_parameters', info['parameters']):,} trained of {info['parameters']:,}"),
        ("resumed", f"from step {info['resumed_from']:,}" if info.get("resumed_from") else None),
        ("written as", (info.get("checkpoint") or {}).get("dtype")),
        ("proven", (info.get("checkpoint") or {}).get("generation")),
        ("digest", manifest.digest[:32]),
    ]
    for name, text in facts:
        if text is not None:
            console.print(f"  {name:<14} {text}", markup=False)
    report = info.get("preflight") or {}
    if "in_force" in report:
        console.print(preflight_text(report), markup=False)
