"""curve: Predictions -> accuracy at smaller token budgets, from the outputs that are there.  Generates nothing.

An output is cut where the budget ends, taken apart and graded again, as if it had been drawn with that limit.  (With
a draw that depends on seed and place, as the transformers engine has it, that is what a shorter run would give.)
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from long1k.chat import Chat
from long1k.errors import DataError, RecipeError
from long1k.generation.tags import find_tag
from long1k.grading import AUTO, GRADERS, JUDGES, grader_for
from long1k.grading.base import cases_of, grade_with, load_grader
from long1k.progress import progress
from long1k.reporting.curves import curve_figure
from long1k.rows import STATUSES, Prediction
from long1k.statistics.rates import Interval, crossed_mean
from long1k.tables import (
    Manifest,
    begin,
    digest_json,
    fingerprint,
    finish,
    is_current,
    iter_columns,
    read_manifest,
    write_atomic,
)

STAGE = "curve/1"
CURVE, VERDICTS, CHART = "curve.json", "verdicts.parquet", "curve.svg"
TOTAL, THINKING = "total", "thinking"


_CHUNK = 256  # outputs that are graded together
_NEEDED = (
    "prediction_id", "problem_id", "benchmark", "arm", "train_seed", "question", "answers", "prompt_token_ids", "text",
    "token_ids", "forced", "answer_text", "finish_reason",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Cut:
    """An output at one budget (None: as it is), graded.

    ``tokens`` is what it took, ``put_in`` whether tokens that were not drawn are in it; ``statuses`` and
    ``extracted`` have an entry for each of its problems.
    """

    prediction_id: str
    curve: tuple[str, str]
    train_seed: int
    problem_id: str
    budget: int | None
    tokens: int
    cut: bool
    put_in: bool
    statuses: tuple[str, ...]
    extracted: tuple[str | None, ...]


def curve(
    out: Path,
    predictions: Path,
    *,
    budgets: Sequence[int],
    chat: Chat,
    tokens_of: str = TOTAL,
    grader_name: str = AUTO,
    num_workers: int = 1,
    confidence: float = 0.95,
) -> Manifest:
    """Write curve.json, verdicts.parquet and curve.svg; a finished curve of the same outputs is left alone.

    Args:
        budgets: tokens; the outputs as they are come beside them.
        chat: takes outputs apart; its tokenizer gives the ids of outputs that came without (imported ones).
        tokens_of: ``total``: the budget is for the whole output; ``thinking``: for what stands before the closing
            tag, and outputs that think no longer are left as they are.
        grader_name: of GRADERS, ``module:Class``, or ``auto``: the one that the benchmark names.

    Raises:
        DataError: no budget, or one that is not positive; no predictions.
        RecipeError: an unknown grader, or a judge.
    """
    if not budgets or min(budgets) < 1 or tokens_of not in (TOTAL, THINKING):
        raise DataError(
            "a curve needs budgets of at least one token, of total or thinking tokens", "e.g. --budgets 1024,2048,4096"
        )
    source = read_manifest(predictions)
    name = grader_for(grader_name, source.info)
    if name in JUDGES:
        raise RecipeError(f"the grader '{name}' asks a model; a curve compares", "give --grader math or choice")
    factory = load_grader(name, GRADERS)
    ordered = sorted(set(budgets))
    settings: dict[str, Any] = {
        "budgets": ordered, "tokens_of": tokens_of, "grader": name, "version": factory.version,
        "chat": chat.describe(), "confidence": confidence,
    }  # fmt: skip
    inputs = {"predictions": source.digest}
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    if not source.rows_out:
        raise DataError(f"{predictions} holds no outputs", "predict or import some")
    started = time.time()
    begin(out, STAGE, settings, inputs)
    cuts: list[_Cut] = []
    with progress(f"curve {out.name}", source.rows_out) as step, closing(factory(num_workers=num_workers)) as grader:
        rows = iter_columns(predictions, Prediction, _NEEDED)
        while chunk := list(islice(rows, _CHUNK)):
            cuts += _graded(chunk, ordered, tokens_of, chat, grader)
            step(len(chunk))
    curves = _curves(cuts, [*ordered, None], confidence)
    found = {
        "predictions": str(predictions), "tokens_of": tokens_of, "grader": f"{name} {factory.version}",
        "confidence": confidence, "curves": curves,
    }  # fmt: skip
    write_atomic(out / CURVE, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
    _write_verdicts(out / VERDICTS, cuts)
    drawn = curve_figure(curves)
    if drawn is not None:
        write_atomic(out / CHART, (drawn.still(760) + "\n").encode())
    files = [path for path in (out / CURVE, out / VERDICTS, out / CHART) if path.is_file()]
    return finish(
        out, stage=STAGE, config=settings, inputs=inputs, digest=digest_json(found["curves"]), files=files,
        started=started, rows_in=source.rows_out, rows_out=len(cuts), info={"tokens_of": tokens_of, "grader": name},
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is left of an output at a budget, before it is graded."""

    budget: int | None
    tokens: int
    cut: bool
    row: dict[str, Any]


def _pieces(row: dict[str, Any], budgets: Sequence[int], tokens_of: str, chat: Chat) -> list[_Piece]:
    """An output at each budget, and as it is; a shortened one is the same row with another text and end."""
    style, text = chat.style, row["text"]
    ids = list(row["token_ids"]) or chat.tokenizer.encode(text)
    opened = chat.opens_thinking(row["prompt_token_ids"]) if row["prompt_token_ids"] else False
    if not opened:  # thinking that is closed and was not opened: the prompt did
        at = text.find(style.closing)
        opened = at >= 0 and style.opening not in text[:at]
    thought = len(ids)
    if tokens_of == THINKING:
        found = find_tag(chat.tokenizer, ids, style.closing)
        thinks = opened or style.opening in text
        thought = found[0] if found is not None else len(ids) if thinks else 0
    pieces = []
    for budget in budgets:
        if thought <= budget or row["finish_reason"] == "error":
            pieces.append(_Piece(budget, len(ids), False, row))
            continue
        cut = chat.tokenizer.decode(ids[:budget]).rstrip("\ufffd")  # the first bytes of a letter are none
        answer = chat.split_answer(cut, opened).answer
        shortened = {**row, "text": cut, "answer_text": answer, "finish_reason": "length"}
        pieces.append(_Piece(budget, budget, True, shortened))
    return [*pieces, _Piece(None, len(ids), False, row)]


def _graded(
    rows: Sequence[dict[str, Any]], budgets: Sequence[int], tokens_of: str, chat: Chat, grader: Any
) -> list[_Cut]:
    """All cuts of some outputs, graded together: the grader compares equal answers once."""
    pieces = [piece for row in rows for piece in _pieces(row, budgets, tokens_of, chat)]
    cases = [cases_of(piece.row) for piece in pieces]
    grades = iter(grade_with(grader, [case for own in cases for case in own]))
    cuts = []
    for piece, own in zip(pieces, cases, strict=True):
        row, found = piece.row, list(islice(grades, len(own)))
        cuts.append(
            _Cut(
                row["prediction_id"], (row["benchmark"], row["arm"]),
                -1 if row["train_seed"] is None else row["train_seed"], row["problem_id"], piece.budget, piece.tokens,
                piece.cut, any(start < piece.tokens for start in row["forced"][::2]),
                tuple(grade.status for grade in found),
                tuple(None if grade.extracted is None else grade.extracted.value for grade in found),
            )
        )  # fmt: skip
    return cuts


def _curves(cuts: Sequence[_Cut], budgets: Sequence[int | None], confidence: float) -> list[dict[str, Any]]:
    """A curve for each benchmark and arm, in the order of the table."""
    groups: dict[tuple[str, str], dict[int | None, list[_Cut]]] = {}
    for cut in cuts:
        groups.setdefault(cut.curve, {}).setdefault(cut.budget, []).append(cut)
    return [
        {
            "benchmark": benchmark, "arm": arm,
            "points": [{"budget_tokens": budget, **_point(found[budget], confidence)} for budget in budgets],
        }
        for (benchmark, arm), found in groups.items()
    ]  # fmt: skip


def _point(cuts: Sequence[_Cut], confidence: float) -> dict[str, Any]:
    counts = Counter(status for cut in cuts for status in cut.statuses)
    return {
        "accuracy": _accuracy(cuts, confidence).as_dict(), "mean_tokens": float(np.mean([cut.tokens for cut in cuts])),
        "outputs": len(cuts), "cut": sum(cut.cut for cut in cuts), "truncated": counts["truncated"] / counts.total(),
        "forced": sum(cut.put_in for cut in cuts),
        "statuses": {status: counts[status] for status in STATUSES if counts[status]},
    }  # fmt: skip


def _accuracy(cuts: Sequence[_Cut], confidence: float) -> Interval:
    """Share of problems that are correct, over samples; the interval is over questions, and seeds if there are."""
    table: dict[tuple[int, str], list[float]] = {}
    for cut in cuts:
        table.setdefault((cut.train_seed, cut.problem_id), []).extend(float(s == "correct") for s in cut.statuses)
    seeds = sorted({seed for seed, _ in table})
    questions = sorted({question for _, question in table})
    if any((seed, question) not in table for seed in seeds for question in questions):
        whole: dict[tuple[int, str], list[float]] = {}
        for (_, question), values in table.items():
            whole.setdefault((-1, question), []).extend(values)
        table, seeds = whole, [-1]
    y_SQ = np.array([[np.mean(table[seed, question]) for question in questions] for seed in seeds])
    return crossed_mean(y_SQ, confidence, bounds=(0.0, 1.0))


def _write_verdicts(path: Path, cuts: Sequence[_Cut]) -> None:
    """One line a problem, output and budget (null: the output as it is)."""
    lines = [
        {"prediction_id": cut.prediction_id, "part": part, "budget_tokens": cut.budget, "tokens": cut.tokens,
         "cut": cut.cut, "forced": cut.put_in, "status": status, "extracted": cut.extracted[part]}
        for cut in cuts for part, status in enumerate(cut.statuses)
    ]  # fmt: skip
    schema = pa.schema(
        [("prediction_id", pa.string()), ("part", pa.int64()), ("budget_tokens", pa.int64()), ("tokens", pa.int64()),
         ("cut", pa.bool_()), ("forced", pa.bool_()), ("status", pa.string()), ("extracted", pa.string())]
    )  # fmt: skip
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(lines, schema=schema), buffer, compression="zstd")
    write_atomic(path, buffer.getvalue().to_pybytes())
