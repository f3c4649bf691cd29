"""Texts of outputs in compressed blocks: those of one question over all arms lie together.

The tables are read side by side, a few rows of each at a time, so that memory holds one block and not the study.
The first blocks stand in the page up to a budget; the others are files beside it, loaded when one of their texts
is opened.  A study whose blocks all fit has no files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from long1k.errors import DataError
from long1k.loops import find_loop
from long1k.reporting import reader_index, scripts
from long1k.reporting.reader_index import Grade, Index, Source
from long1k.reporting.reader_math import Drawn
from long1k.reporting.text import clean
from long1k.tables import read_manifest, write_atomic

TEXTS = "texts"
ALL_INLINE_BYTES = 2_000_000  # a study whose blocks take no more has them all in its page
INLINE_BYTES = 1_200_000  # of a larger one, so much stands in the page
_SMALL_BLOCK = 256_000  # characters before compression: what stands in the page
_LARGE_BLOCK = 2_000_000  # and what lies beside it
FORMULA_CHARACTERS = 1_000_000  # about 30,000 unlike formulas, 20 seconds
_BATCH_ROWS = 16
_LONGEST_NOTE = 2000
_TOGETHER = 60  # tables that are open at once: each takes a few megabytes

Piece = list[Any]


@dataclass
class Blocks:
    """Blocks as they are made: kept for the page, or written beside it."""

    folder: Path
    groups: int
    inline: dict[int, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    number: int = 0
    taken: int = 0
    spilled: bool = False
    kept_of_group: dict[str, int] = field(default_factory=dict)
    _group_of: dict[int, str] = field(default_factory=dict)

    @property
    def share(self) -> int:
        """Bytes that each group of blocks may take in the page of a study that does not fit as a whole."""
        return INLINE_BYTES // max(1, self.groups)

    def limit(self, group: str) -> int:
        """Characters of the next block of a group: small ones while they may yet stand in the page."""
        return _SMALL_BLOCK if self.kept_of_group.get(group, 0) < self.share else _LARGE_BLOCK

    def add(self, group: str, value: Mapping[str, Any]) -> None:
        """One more block, with the number ``self.number``."""
        packed = scripts.packed(value)
        self.taken += len(packed)
        self.inline[self.number] = packed
        self._group_of[self.number] = group
        self.kept_of_group[group] = self.kept_of_group.get(group, 0) + len(packed)
        if self.spilled or self.taken > ALL_INLINE_BYTES:
            self._spill()
        self.number += 1

    def _spill(self) -> None:
        """Write every block beside the page that its group's share does not hold."""
        self.spilled = True
        taken: dict[str, int] = {}
        for number, packed in sorted(self.inline.items()):
            group = self._group_of[number]
            if taken.get(group, 0) + len(packed) <= self.share:
                taken[group] = taken.get(group, 0) + len(packed)
                continue
            taken[group] = self.share  # what comes first stands in the page, without gaps
            path = self.folder / side_name(number)
            path.parent.mkdir(exist_ok=True)
            write_atomic(path, f"long1k.arrived({json.dumps(side_name(number))},{json.dumps(packed)});\n".encode())
            self.files.append(path)
            del self.inline[number]
            self.kept_of_group[group] = self.share


def side_name(number: int) -> str:
    """The file of a block beside the page, relative to it."""
    return f"{TEXTS}/{number + 1:04d}.js"


def write_outputs(root: Path, found: Sequence[Source], index: Index, blocks: Blocks, drawn: Drawn) -> None:
    """Put the text of every output into a block, and the blocks' numbers and the loops found into the index."""
    plan = groups(found, index)
    for name, members in plan:
        drawn.allow(FORMULA_CHARACTERS // len(plan))
        held: dict[str, Any] = {"q": {}, "o": {}, "x": {}}
        words: list[str] = []
        size = 0
        for output, prompt, row, verdicts in _side_by_side(root, found, index, members):
            pieces, loop, notes = pieces_of(row, verdicts)
            index.outputs["block"][output] = blocks.number
            index.outputs["loop"][output] = int(loop)
            whole = "".join(piece[1] for piece in pieces)
            held["o"][output] = pieces
            if notes:
                held["x"][output] = notes
            words.append(whole)
            size += len(whole)
            if prompt not in held["q"]:
                held["q"][prompt] = [clean(row["question"]), [clean(answer) for answer in row["answers"]]]
                words += [held["q"][prompt][0], *held["q"][prompt][1]]
                size += len(words[-1]) + len(row["question"])
            if size >= blocks.limit(name):
                blocks.add(name, held | {"m": drawn.of(iter(words))})
                held, words, size = {"q": {}, "o": {}, "x": {}}, [], 0
        if held["o"]:
            blocks.add(name, held | {"m": drawn.of(iter(words))})


def groups(found: Sequence[Source], index: Index) -> list[tuple[str, list[int]]]:
    """Sources that can be read side by side: of one benchmark, and with its questions in one order."""
    together: dict[str, list[int]] = {}
    for at, source in enumerate(found):
        prompts = [index.outputs["prompt"][output] for output in index.spans[at]]
        if not prompts:
            continue
        rising = all(one <= other for one, other in pairwise(prompts))
        if source.benchmark is None or not rising:
            together[f"table {at}"] = [at]
            continue
        number = 0
        while len(together.get(f"{source.benchmark} {number}", ())) >= _TOGETHER:
            number += 1
        together.setdefault(f"{source.benchmark} {number}", []).append(at)
    return list(together.items())


def _side_by_side(
    root: Path, found: Sequence[Source], index: Index, members: Sequence[int]
) -> Iterator[tuple[int, int, dict[str, Any], list[Grade | None]]]:
    """(output, prompt, row, verdicts) of some sources, question by question, in each the sources in their order."""
    prompts = index.outputs["prompt"]
    readers = [_texts(root / found[at].predictions) for at in members]
    verdicts = [reader_index.grades(root, found[at]) for at in members]
    ats = [index.spans[at].start for at in members]
    ends = [index.spans[at].stop for at in members]
    alone = len(members) == 1
    while any(at < end for at, end in zip(ats, ends, strict=True)):
        now = min(prompts[at] for at, end in zip(ats, ends, strict=True) if at < end)
        for place, reader in enumerate(readers):
            while ats[place] < ends[place] and (alone or prompts[ats[place]] == now):
                row = next(reader)
                parts = max(1, len(row["answers"]))
                of_row = [verdicts[place].get((row["prediction_id"], part)) for part in range(parts)]
                yield ats[place], prompts[ats[place]], row, of_row
                ats[place] += 1


def _texts(folder: Path) -> Iterator[dict[str, Any]]:
    """The texts of a table, a few rows at a time; the files are mapped, not read as a whole."""
    columns = [
        "prediction_id",
        "question",
        "answers",
        "text",
        "thinking",
        "answer_text",
        "finish_reason",
        "budget_flag",
    ]
    for name in sorted(read_manifest(folder).files):
        if not name.startswith("part-"):
            continue
        try:
            with pq.ParquetFile(folder / name, memory_map=True) as part:
                for batch in part.iter_batches(batch_size=_BATCH_ROWS, columns=columns, use_threads=False):
                    yield from batch.to_pylist()
        except (OSError, ValueError) as error:
            raise DataError(f"{folder / name} cannot be read: {error}", "run the stage again") from None


def pieces_of(row: Mapping[str, Any], verdicts: Sequence[Grade | None]) -> tuple[list[Piece], bool, list[Any]]:
    """An output cut up: ``[kind, text, part?]``, whether it loops, and ``[note, whole answer]`` of each part.

    The pieces' texts together are the output's, invisible characters made visible.  Kinds: thinking, text (the
    answer), extracted (what was graded, with the part's number from 1), loop (what is repeated), other (tags).
    """
    words = row["text"]
    kinds: list[tuple[int, int, str, int]] = []
    thinking, answer = row["thinking"], row["answer_text"]
    if thinking and (start := words.find(thinking)) >= 0:
        kinds.append((start, start + len(thinking), "thinking", 0))
    if answer is None:
        if not kinds:
            kinds.append((0, len(words), "text", 0))
    elif (start := words.rfind(answer)) >= 0:
        kinds.append((start, start + len(answer), "text", 0))
        for part, grade in enumerate(verdicts):
            if grade is not None and grade.span is not None and 0 <= grade.span[0] < grade.span[1] <= len(answer):
                kinds.append((start + grade.span[0], start + grade.span[1], "extracted", part + 1))
    # Looking for repetition takes time: where an output ended by itself there is hardly ever any.
    cut = row["finish_reason"] == "length" or row["budget_flag"] in ("loop", "exhausted", "forced")
    loop = find_loop(words) if cut else None
    if loop is not None:
        kinds.append((loop.start + loop.period, loop.start + loop.length, "loop", 0))
    notes = [
        None if grade is None else [clean((words or "")[:_LONGEST_NOTE]) for words in (grade.note, grade.extracted)]
        for grade in verdicts
    ]
    return cut_pieces(words, kinds), loop is not None, notes if any(notes) else []


def cut_pieces(words: str, kinds: Iterable[tuple[int, int, str, int]]) -> list[Piece]:
    """A text cut at the borders of stretches (start, end, kind, part); of those on one another the last one counts."""
    stretches = list(kinds)
    borders = sorted({0, len(words), *(min(max(at, 0), len(words)) for one in stretches for at in one[:2])})
    # The two characters of a line's end stay together: they become one.
    borders = sorted({at + 1 if words[at - 1 : at + 1] == "\r\n" and at > 0 else at for at in borders})
    pieces: list[Piece] = []
    for start, end in pairwise(borders):
        kind, part = "other", 0
        for first, last, name, number in stretches:
            if first <= start < last:
                kind, part = name, number
        if pieces and pieces[-1][0] == kind and (pieces[-1][2] if len(pieces[-1]) > 2 else 0) == part:
            pieces[-1][1] += clean(words[start:end])
            continue
        pieces.append([kind, clean(words[start:end]), part] if part else [kind, clean(words[start:end])])
    return pieces
