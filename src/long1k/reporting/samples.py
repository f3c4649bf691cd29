"""Rows as the page shows them: samples in their parts, outputs with the answer that was read out.

Texts are cut up first (offsets count characters of the original) and shortened after, piece by
piece, so that every part of a long sample is seen.  Tables are read batch by batch and only as
far as needed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from long1k.reporting.text import shorten
from long1k.rows import STATUSES, Example, Prediction, R, Score, Span, from_arrow
from long1k.tables import MANIFEST, iter_table

KINDS = ("question", "reference", "label", "linker", "thinking", "solution")
_PIECE = 700
_MESSAGES = 8
_MORE = 40
_LONG = 1600
_RUNS_OF_STATUS = {"correct": 2, "wrong": 2}


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of text of one kind; ``missing`` characters are left out between head and tail."""

    kind: str
    about: str
    head: str
    missing: int
    tail: str


def piece(text: str, kind: str = "other", about: str = "", limit: int = _PIECE) -> Piece:
    """A stretch of text, shortened in the middle."""
    return Piece(kind, about, *shorten(text, limit))


def cut_up(text: str, spans: Sequence[Span]) -> list[Piece]:
    """A message's text as pieces; what no span covers is of the kind ``other``.

    Spans that lie outside the text or on one another are cut to what is left of them.
    """
    pieces: list[Piece] = []
    at = 0
    for span in sorted(spans, key=lambda span: (span.start, span.end)):
        start, end = max(at, span.start), min(len(text), span.end)
        if start >= end:
            continue
        if start > at:
            pieces.append(piece(text[at:start]))
        kind = span.kind if span.kind in KINDS else "other"
        pieces.append(piece(text[start:end], kind, f"{kind} of problem {span.part + 1}"))
        at = end
    if at < len(text):
        pieces.append(piece(text[at:]))
    return pieces


def sample_view(row: Example, seed: str, path: str) -> dict[str, Any]:
    """What the page shows of one joined sample."""
    messages = []
    for number, message in enumerate((*row.prompt, *row.completion)):
        messages.append(
            {
                "role": message.role,
                "supervised": number >= len(row.prompt) and message.role == "assistant",
                "characters": len(message.content),
                "long": len(message.content) > _LONG,
                "pieces": cut_up(message.content, [span for span in row.spans if span.message == number]),
            }
        )
    return {
        "arm": row.arm, "seed": seed, "id": row.example_id, "tokens": row.num_tokens, "target": row.target_tokens,
        "supervised": row.num_supervised_tokens, "problems": row.num_problems, "path": path,
        "messages": messages[:_MESSAGES], "more": messages[_MESSAGES:][:_MORE],
        "beyond": max(0, len(messages) - _MESSAGES - _MORE),
    }  # fmt: skip


def output_view(row: Prediction, score: Score, where: str, path: str) -> dict[str, Any]:
    """What the page shows of one graded output."""
    gold = row.answers[score.part] if 0 <= score.part < len(row.answers) else None
    pieces: list[Piece] = []
    if row.answer_text is None:
        pieces.append(piece(row.text, limit=2 * _PIECE))
    else:
        if row.thinking:
            pieces.append(piece(row.thinking + "\n\n", "thinking", "thinking", 2 * _PIECE))
        text = row.answer_text
        start, end = score.span if score.span is not None and len(score.span) == 2 else (0, 0)
        if 0 <= start < end <= len(text):
            pieces += [
                piece(text[:start]),
                piece(text[start:end], "extracted", "the answer that was graded"),
                piece(text[end:]),
            ]
        else:
            pieces.append(piece(text, limit=2 * _PIECE))
    return {
        "where": where, "id": row.prediction_id, "part": score.part + 1, "parts": len(row.answers),
        "status": score.status,
        "question": piece(row.question, "question", limit=2 * _PIECE), "question_characters": len(row.question),
        "gold": gold, "extracted": score.extracted,
        "note": score.note, "finish_reason": row.finish_reason, "label": row.label, "path": path,
        "pieces": [p for p in pieces if p.head], "characters": len(row.text), "long": len(row.text) > _LONG,
    }  # fmt: skip


def joined_samples(root: Path, tables: Sequence[tuple[str, str, str]], wanted: int = 3) -> list[dict[str, Any]]:
    """Some samples of different arms, those of more than one problem first.

    Args:
        tables: (arm, seed, folder below root) of every Example table, shortest samples first.
    """
    firsts: list[tuple[Example, str, str]] = []
    for _, seed, folder in tables:
        row = None
        for number, candidate in enumerate(_batches(root / folder, Example)):
            row = candidate if row is None or candidate.num_problems > 1 else row
            if candidate.num_problems > 1 or number >= 200:
                break
        if row is not None:
            firsts.append((row, seed, folder))
    joined = [first for first in firsts if first[0].num_problems > 1] or firsts
    joined.sort(key=lambda first: first[0].num_tokens)  # the sort is stable: ties stay in the order of the arms
    if len(joined) > wanted:
        joined = [joined[round(i * (len(joined) - 1) / (wanted - 1))] for i in range(wanted)]
    return [sample_view(*first) for first in joined]


def some_outputs(
    root: Path, predictions: str, scores: str, where: str, also: Collection[str] = ()
) -> tuple[list[dict[str, Any]], dict[str, Prediction]]:
    """Some right and some wrong outputs, one of every other status, and the rows named by ``also``."""
    if not (root / scores / MANIFEST).is_file() or not (root / predictions / MANIFEST).is_file():
        return [], {}
    chosen: dict[str, list[Score]] = {status: [] for status in STATUSES}
    used: set[str] = set()
    for score in iter_table(root / scores, Score):
        mine = chosen.get(score.status)
        if mine is not None and len(mine) < _RUNS_OF_STATUS.get(score.status, 1) and score.prediction_id not in used:
            mine.append(score)
            used.add(score.prediction_id)
    picked = [score for of_status in chosen.values() for score in of_status]
    missing = {score.prediction_id for score in picked} | set(also)
    rows: dict[str, Prediction] = {}
    for row in _batches(root / predictions, Prediction):
        if row.prediction_id in missing:
            rows[row.prediction_id] = row
            missing.discard(row.prediction_id)
            if not missing:
                break
    views = [output_view(rows[s.prediction_id], s, where, scores) for s in picked if s.prediction_id in rows]
    return views, {name: rows[name] for name in also if name in rows}


def reasons(folder: Path, counts: Mapping[str, int]) -> list[dict[str, Any]]:
    """Rejected rows by reason, with the evidence of the first of each."""
    first: dict[str, str] = {}
    if counts and (folder / "rejected.parquet").is_file():
        table = pq.read_table(folder / "rejected.parquet", columns=["reason", "evidence"])
        for reason, evidence in zip(table["reason"].to_pylist(), table["evidence"].to_pylist(), strict=True):
            first.setdefault(reason, evidence)
    return [{"reason": name, "rows": n, "evidence": first.get(name, "")} for name, n in counts.items()]


def _batches(folder: Path, row_type: type[R]) -> Iterator[R]:
    """Rows of a complete table, a few at a time: one row can hold a very long text."""
    if not (folder / MANIFEST).is_file():
        return
    for path in sorted(folder.glob("part-*.parquet")):
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=64):
                yield from from_arrow(pa.Table.from_batches([batch]), row_type)
