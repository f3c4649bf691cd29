"""Joined training samples for the trace reader, as the trainer sees them: parts, linking words, what carries loss."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from long1k.chat import Chat, documents
from long1k.errors import DataError
from long1k.reporting.reader_blocks import Blocks
from long1k.reporting.reader_index import holds
from long1k.reporting.reader_math import Drawn
from long1k.reporting.samples import KINDS
from long1k.reporting.text import clean
from long1k.rows import Example, from_arrow
from long1k.tables import MANIFEST, Manifest, read_manifest
from long1k.tokens import load_tokenizer

SAMPLES_OF_TABLE = 20
CHARACTERS_OF_TABLE = 600_000
FORMULA_CHARACTERS = 60_000
_GROUP = "samples"


@dataclass
class Samples:
    """The index of the samples: tables, and columns that point into them."""

    cells: list[dict[str, Any]] = field(default_factory=list)
    columns: dict[str, list[Any]] = field(
        default_factory=lambda: {
            name: [] for name in ("id", "cell", "tokens", "target", "problems", "supervised", "row", "block")
        }
    )


def tables(root: Path, order: Sequence[str]) -> list[Path]:
    """One finished table of samples of every arm, that of its first seed; the arms in this order, others after."""
    first: dict[str, Path] = {}
    for manifest in sorted(root.glob(f"arms/*/seed-*/synthesize/{MANIFEST}")):
        if holds(manifest.parent, Example):
            first.setdefault(manifest.parents[2].name, manifest.parent)
    place = {name: at for at, name in enumerate(order)}
    return [first[arm] for arm in sorted(first, key=lambda arm: (place.get(arm, len(place)), arm))]


def digests(root: Path) -> dict[str, str]:
    """The content digest of every table whose samples are shown."""
    return {folder.relative_to(root).as_posix(): read_manifest(folder).digest for folder in tables(root, ())}


def write_samples(root: Path, order: Sequence[str], blocks: Blocks, drawn: Drawn) -> Samples:
    """Put the first samples of every arm into blocks, and say where they are."""
    made = Samples()
    drawn.allow(FORMULA_CHARACTERS)
    held: dict[str, Any] = {}
    words: list[str] = []
    size = 0
    for folder in tables(root, order):
        manifest = read_manifest(folder)
        chat = _chat(manifest)
        path = folder.relative_to(root)
        made.cells.append(
            {
                "arm": clean(path.parts[1]), "seed": clean(path.parts[2].removeprefix("seed-")),
                "table": clean(path.as_posix()), "total": manifest.rows_out, "rendered": chat is not None,
            }
        )  # fmt: skip
        of_table = 0
        for number, row in enumerate(_rows(folder)):
            if number >= SAMPLES_OF_TABLE or (number and of_table >= CHARACTERS_OF_TABLE):
                break
            at = len(made.columns["id"])
            pieces = pieces_of(row, chat)
            held[str(at)] = {"p": pieces, "a": [clean(answer) for answer in row.answers],
                             "s": [clean(source) for source in row.sources], "mode": clean(row.mode)}  # fmt: skip
            whole = "".join(piece[1] for piece in pieces)
            words.append(whole)
            size, of_table = size + len(whole), of_table + len(whole)
            for name, value in (
                ("id", clean(row.example_id)), ("cell", len(made.cells) - 1), ("tokens", row.num_tokens),
                ("target", row.target_tokens), ("problems", row.num_problems),
                ("supervised", row.num_supervised_tokens),
                ("row", number), ("block", blocks.number),
            ):  # fmt: skip
                made.columns[name].append(value)
            if size >= blocks.limit(_GROUP):
                blocks.add(_GROUP, {"s": held, "m": drawn.of(iter(words))})
                held, words, size = {}, [], 0
    if held:
        blocks.add(_GROUP, {"s": held, "m": drawn.of(iter(words))})
    return made


def _rows(folder: Path) -> Iterator[Example]:
    for path in sorted(folder.glob("part-*.parquet")):
        with pq.ParquetFile(path, memory_map=True) as part:
            for batch in part.iter_batches(batch_size=4, use_threads=False):
                yield from from_arrow(pa.Table.from_batches([batch]), Example)


def _chat(manifest: Manifest) -> Chat | None:
    """The template and tokenizer that the samples were made with; None where they are not at hand."""
    made_with: Mapping[str, Any] = manifest.config.get("chat") or {}
    spec = str(manifest.info.get("tokenizer_folder") or "")
    if not made_with or not spec or not (spec.startswith("package:") or Path(spec).is_dir()):
        return None
    try:
        tokenizer = load_tokenizer(spec)
        return Chat(tokenizer, made_with["thinking"], made_with["system"], made_with.get("template_text"))
    except (DataError, KeyError, OSError, ValueError):
        return None


def pieces_of(row: Example, chat: Chat | None) -> list[list[Any]]:
    """A sample as ``[kind, text, part, trained]``: the rendered text, or its messages where no template is at hand."""
    messages = [*row.prompt, *row.completion]
    segments: list[tuple[str, bool]] = []
    if chat is not None:
        try:
            segments = [one for prompt, completion in documents(row) for one in chat.segments([*prompt, *completion])]
        except DataError:
            segments = []
    if not segments:
        for number, message in enumerate(messages):
            head = f"{message.role}\n" if number == 0 else f"\n\n{message.role}\n"
            trained = number >= len(row.prompt) and message.role == "assistant"
            segments += [(head, False), (message.content, trained)]
    whole = "".join(words for words, _ in segments)
    stretches = [(0, 0, "other", 0)]
    cursor = 0
    for number, message in enumerate(messages):
        at = whole.find(message.content, cursor)
        if at < 0:
            continue
        cursor = at + len(message.content)
        for span in row.spans:
            start, end = max(0, span.start), min(len(message.content), span.end)
            if span.message == number and start < end:
                stretches.append(
                    (at + start, at + end, span.kind if span.kind in KINDS else "other", max(0, span.part) + 1)
                )
    return _cut(whole, stretches, segments)


def _cut(
    whole: str, stretches: Sequence[tuple[int, int, str, int]], segments: Sequence[tuple[str, bool]]
) -> list[list[Any]]:
    ends, trained_until = [], 0
    for words, trained in segments:
        trained_until += len(words)
        ends.append((trained_until, trained))
    borders = {0, len(whole), *(end for end, _ in ends), *(at for one in stretches for at in one[:2])}
    moved = sorted({at + 1 if at > 0 and whole[at - 1 : at + 1] == "\r\n" else at for at in borders})
    pieces = []
    waiting = sorted(stretches)
    segment = 0
    active: list[tuple[int, int, str, int]] = []
    for start, end in pairwise(moved):
        while segment + 1 < len(ends) and ends[segment][0] <= start:
            segment += 1
        while waiting and waiting[0][0] <= start:
            active.append(waiting.pop(0))
        active = [one for one in active if one[1] > start]
        # A stretch within another one is the closer description.
        kind, part = min(active, key=lambda one: one[1] - one[0])[2:] if active else ("other", 0)
        pieces.append([kind, clean(whole[start:end]), part, int(ends[segment][1])])
    return pieces
