"""curve: Predictions -> accuracy at smaller token budgets, from the outputs that are there.  Generates nothing.

An output is cut where the budget ends, taken apart and graded again, as if it had been drawn with that limit.  (With
a draw that depends on seed and place, as the transformers engine has it, that is what a shorter run would give.)
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from long1k.chat import Chat
from long1k.errors import DataError
from long1k.generation.tags import find_tag
from long1k.grading import GRADERS
from long1k.grading.extract import extract_parts
from long1k.plugins import load_plugin
from long1k.progress import progress
from long1k.reporting.curves import curve_chart
from long1k.rows import STATUSES, Prediction
from long1k.statistics.rates import Interval, crossed_mean
from long1k.tables import (
    Manifest,
    begin,
    digest_json,
    fingerprint,
    finish,
    is_current,
    read_manifest,
    read_table,
    write_atomic,
)

STAGE = "curve/1"
CURVE, VERDICTS, CHART = "curve.json", "verdicts.parquet", "curve.svg"
TOTAL, THINKING = "total", "thinking"


@dataclass(frozen=True, slots=True)
class _Cut:
    """An output at one budget: what is left of it.

    ``answers`` holds the extracted answer of each part; ``put_in`` whether tokens that were not drawn are in it.
    """

    row: Prediction
    budget: int | None
    tokens: int
    cut: bool
    put_in: bool
    answers: list[str | None]

    def without_answer(self) -> str:
        """The status of a part that has no answer."""
        if self.row.finish_reason == "error":
            return "error"
        return "truncated" if self.cut or self.row.finish_reason == "length" else "no_answer"


def curve(
    out: Path,
    predictions: Path,
    *,
    budgets: Sequence[int],
    chat: Chat,
    tokens_of: str = TOTAL,
    grader_name: str | None = None,
    num_workers: int = 1,
    confidence: float = 0.95,
) -> Manifest:
    """Write curve.json, verdicts.parquet and curve.svg; a finished curve of the same outputs is left alone.

    Args:
        budgets: tokens; the outputs as they are come beside them.
        chat: takes outputs apart; its tokenizer gives the ids of outputs that came without (imported ones).
        tokens_of: ``total``: the budget is for the whole output; ``thinking``: for what stands before the closing
            tag, and outputs that think no longer are left as they are.
        grader_name: of GRADERS or ``module:Class``; default: the one that the benchmark names.

    Raises:
        DataError: no budget, or one that is not positive; no predictions.
    """
    if not budgets or min(budgets) < 1 or tokens_of not in (TOTAL, THINKING):
        raise DataError(
            "a curve needs budgets of at least one token, of total or thinking tokens", "e.g. --budgets 1024,2048,4096"
        )
    source = read_manifest(predictions)
    name = grader_name or str(source.info.get("grader") or "math")
    factory = load_plugin(name, GRADERS, "grader")
    ordered = sorted(set(budgets))
    settings: dict[str, Any] = {
        "budgets": ordered, "tokens_of": tokens_of, "grader": name, "version": factory.version,
        "chat": chat.describe(), "confidence": confidence,
    }  # fmt: skip
    inputs = {"predictions": source.digest}
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    rows = read_table(predictions, Prediction)
    if not rows:
        raise DataError(f"{predictions} holds no outputs", "predict or import some")
    started = time.time()
    begin(out, STAGE, settings, inputs)
    with progress(f"curve {out.name}", len(rows)) as step:
        cuts = []
        for row in rows:
            cuts += _cuts(row, ordered, tokens_of, chat)
            step(1)
    statuses = _grade(cuts, factory, num_workers)
    curves = _curves(cuts, statuses, [*ordered, None], confidence)
    found = {
        "predictions": str(predictions), "tokens_of": tokens_of, "grader": f"{name} {factory.version}",
        "confidence": confidence, "curves": curves,
    }  # fmt: skip
    write_atomic(out / CURVE, (json.dumps(found, indent=1, ensure_ascii=False) + "\n").encode())
    _write_verdicts(out / VERDICTS, cuts, statuses)
    svg = curve_chart(curves)
    if svg is not None:
        write_atomic(out / CHART, (svg + "\n").encode())
    files = [path for path in (out / CURVE, out / VERDICTS, out / CHART) if path.is_file()]
    return finish(
        out, stage=STAGE, config=settings, inputs=inputs, digest=digest_json(found["curves"]), files=files,
        started=started, rows_in=len(rows), rows_out=len(cuts), info={"tokens_of": tokens_of, "grader": name},
    )  # fmt: skip


def _cuts(row: Prediction, budgets: Sequence[int], tokens_of: str, chat: Chat) -> list[_Cut]:
    """An output at each budget, and as it is."""
    style = chat.style
    ids = list(row.token_ids) or chat.tokenizer.encode(row.text)
    opened = chat.opens_thinking(row.prompt_token_ids) if row.prompt_token_ids else False
    if not opened:  # thinking that is closed and was not opened: the prompt did
        at = row.text.find(style.closing)
        opened = at >= 0 and style.opening not in row.text[:at]
    thought = len(ids)
    if tokens_of == THINKING:
        closing = find_tag(chat.tokenizer, ids, style.closing)
        thinks = opened or style.opening in row.text
        thought = closing[0] if closing is not None else len(ids) if thinks else 0
    put_in = row.forced[::2]
    found = []
    for budget in budgets:
        if thought <= budget:
            continue
        text = chat.tokenizer.decode(ids[:budget]).rstrip("\ufffd")  # the first bytes of a letter are none
        answers = _answers(row, chat.split_answer(text, opened).answer)
        found.append(_Cut(row, budget, budget, True, any(start < budget for start in put_in), answers))
    whole = _answers(row, row.answer_text)
    found += [
        _Cut(row, budget, len(ids), False, bool(put_in), whole)
        for budget in (*budgets, None) if budget is None or thought <= budget
    ]  # fmt: skip
    return found


def _answers(row: Prediction, text: str | None) -> list[str | None]:
    if text is None:
        return [None] * len(row.answers)
    return [None if part is None else part.value for part in extract_parts(text, len(row.answers))]


def _grade(cuts: Sequence[_Cut], factory: Any, num_workers: int) -> list[list[str]]:
    """The status of each part of each cut; equal pairs of gold and answer are graded once."""
    pairs = dict.fromkeys(
        (gold, answer)
        for cut in cuts
        for gold, answer in zip(cut.row.answers, cut.answers, strict=True)
        if answer is not None and cut.row.finish_reason != "error"
    )
    with factory(num_workers=num_workers) as grader:
        verdicts = dict(zip(pairs, grader.grade_many(list(pairs)), strict=True))
    return [
        [
            cut.without_answer()
            if answer is None or cut.row.finish_reason == "error"
            else verdicts[gold, answer].status
            for gold, answer in zip(cut.row.answers, cut.answers, strict=True)
        ]
        for cut in cuts
    ]


def _curves(
    cuts: Sequence[_Cut], statuses: Sequence[Sequence[str]], budgets: Sequence[int | None], confidence: float
) -> list[dict[str, Any]]:
    """A curve for each benchmark and arm, in the order of the table."""
    groups: dict[tuple[str, str], list[int]] = {}
    for number, cut in enumerate(cuts):
        groups.setdefault((cut.row.benchmark, cut.row.arm), []).append(number)
    curves = []
    for (benchmark, arm), numbers in groups.items():
        points = []
        for budget in budgets:
            own = [number for number in numbers if cuts[number].budget == budget]
            counts = Counter(status for number in own for status in statuses[number])
            points.append(
                {
                    "budget_tokens": budget,
                    "accuracy": _accuracy([cuts[n] for n in own], [statuses[n] for n in own], confidence).as_dict(),
                    "mean_tokens": float(np.mean([cuts[number].tokens for number in own])),
                    "outputs": len(own),
                    "cut": sum(cuts[number].cut for number in own),
                    "truncated": counts["truncated"] / counts.total(),
                    "forced": sum(cuts[number].put_in for number in own),
                    "statuses": {status: counts[status] for status in STATUSES if counts[status]},
                }
            )
        curves.append({"benchmark": benchmark, "arm": arm, "points": points})
    return curves


def _accuracy(cuts: Sequence[_Cut], statuses: Sequence[Sequence[str]], confidence: float) -> Interval:
    """Share of parts that are correct, over samples; the interval is over questions, and training seeds if several."""
    table: dict[tuple[int, str], list[float]] = {}
    for cut, found in zip(cuts, statuses, strict=True):
        key = (-1 if cut.row.train_seed is None else cut.row.train_seed, cut.row.problem_id)
        table.setdefault(key, []).extend(float(status == "correct") for status in found)
    seeds = sorted({seed for seed, _ in table})
    questions = sorted({question for _, question in table})
    if any((seed, question) not in table for seed in seeds for question in questions):
        whole: dict[tuple[int, str], list[float]] = {}
        for (_, question), values in table.items():
            whole.setdefault((-1, question), []).extend(values)
        table, seeds = whole, [-1]
    y_SQ = np.array([[np.mean(table[seed, question]) for question in questions] for seed in seeds])
    return crossed_mean(y_SQ, confidence, bounds=(0.0, 1.0))


def _write_verdicts(path: Path, cuts: Sequence[_Cut], statuses: Sequence[Sequence[str]]) -> None:
    """One line a part, output and budget (null: the output as it is)."""
    lines = [
        {"prediction_id": cut.row.prediction_id, "part": part, "budget_tokens": cut.budget, "tokens": cut.tokens,
         "cut": cut.cut, "forced": cut.put_in, "status": status, "extracted": cut.answers[part]}
        for cut, found in zip(cuts, statuses, strict=True) for part, status in enumerate(found)
    ]  # fmt: skip
    schema = pa.schema(
        [("prediction_id", pa.string()), ("part", pa.int64()), ("budget_tokens", pa.int64()), ("tokens", pa.int64()),
         ("cut", pa.bool_()), ("forced", pa.bool_()), ("status", pa.string()), ("extracted", pa.string())]
    )  # fmt: skip
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(lines, schema=schema), buffer, compression="zstd")
    write_atomic(path, buffer.getvalue().to_pybytes())
