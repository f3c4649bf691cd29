"""From a problem set and a teacher to a pool of verified traces: predict, score, and traces with pass rates.

folder/
  problems.jsonl    the problems, if they came as a file
  predictions/      every output of the teacher; a run that was stopped goes on there
  scores/           a verdict on each
  traces/           what `long1k collect FOLDER --type distilled` reads
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from long1k.chat import Chat
from long1k.errors import DataError
from long1k.files import find_files
from long1k.generation.base import Engine, Sampling
from long1k.jsonlines import BadRow, field_name, unstorable
from long1k.readers import row_chunks
from long1k.rows import Reject
from long1k.stages.distill import DistillConfig
from long1k.stages.distill import distill as make_traces
from long1k.stages.predict import EngineSpec, predict
from long1k.stages.score import score
from long1k.tables import Manifest, make_folder, write_atomic

PROBLEMS = "problems.jsonl"
_CHUNK_ROWS = 256


@dataclass(frozen=True)
class ProblemSet:
    """Problems read from files: how many, and the rows that cannot be asked."""

    path: Path
    count: int
    rejected: tuple[Reject, ...]


def read_problems(
    source: Path, target: Path, fields: Mapping[str, str], limit: int | None = None
) -> ProblemSet:  # fmt: skip
    """Questions with answers of JSON Lines, JSON, CSV or Parquet files as one JSON Lines file of problem and answer.

    Args:
        fields: our field (question, answer) -> theirs; common names are known.
        limit: so many problems at most.

    Raises:
        DataError: no file, or no row with a question and an answer.
    """
    seen: dict[str, str] = {}
    rejected: list[Reject] = []
    for place in find_files(source):
        for chunk in row_chunks(place, _CHUNK_ROWS):
            for number, row in chunk.rows():
                if limit is not None and len(seen) >= limit:
                    break
                fault = _take(row, fields, seen)
                if fault is not None:
                    text = row.row if isinstance(row, BadRow) else json.dumps(row, ensure_ascii=True, default=str)
                    clean = [part.encode("utf-8", "backslashreplace").decode() for part in (*fault, text)]
                    clean = [part.replace("\x00", "\\0") for part in clean]
                    rejected.append(Reject(clean[0], clean[1][:500], place.name, str(number), clean[2][:4000]))
    if not seen:
        why = f": {rejected[0].reason}: {rejected[0].evidence}" if rejected else ""
        raise DataError(
            f"{source} holds no problem with an answer{why}", "name its fields: --field question=… --field answer=…"
        )
    lines = (json.dumps({"problem": question, "answer": answer}) + "\n" for question, answer in seen.items())
    make_folder(target.parent)
    write_atomic(target, "".join(lines).encode())
    return ProblemSet(target, len(seen), tuple(rejected))


def _take(row: Mapping[str, Any] | BadRow, fields: Mapping[str, str], seen: dict[str, str]) -> tuple[str, str] | None:
    """Take a row's problem into ``seen``, or say why it cannot be asked."""
    if isinstance(row, BadRow):
        return row.reason, row.evidence
    values = []
    for name in ("question", "answer"):
        value = row.get(field_name(name, row, fields))
        if value is None or isinstance(value, bool | dict | list) or not str(value).strip():
            return "missing_field", f"no text in '{field_name(name, row, fields)}' ({name})"
        text = str(value).strip()
        fault = unstorable(text)
        if fault is not None:
            return "invalid_unicode", f"{name}: {fault}"
        values.append(text)
    question, answer = values
    if question in seen:
        same = seen[question] == answer
        return "duplicate" if same else "two_answers", f"asked already, with the answer {seen[question]!r}"
    seen[question] = answer
    return None


def distill(
    out: Path, *, model: Path, benchmark_name: str, benchmark: Any, sampling: Sampling, engine: EngineSpec, chat: Chat,
    config: DistillConfig, grader: str | None = None, num_workers: int = 1, rejected: Sequence[Reject] = (),
    start: Callable[[], Engine] | None = None,
) -> Manifest:  # fmt: skip
    """Draw, grade and keep; each step goes on where it was stopped, and is left alone if it is done.

    Args:
        model: the teacher's folder; of a server's teacher one with its tokenizer.
        benchmark: the problems.
        grader: default: the benchmark's own.

    Returns:
        The manifest of ``out/traces``.
    """
    predict(
        out / "predictions", checkpoint=model, benchmark_name=benchmark_name, benchmark=benchmark, sampling=sampling,
        chat=chat, engine=engine, arm=config.teacher or model.name, train_seed=None, start=start,
    )  # fmt: skip
    return judge(out, out / "predictions", config, chat, grader or "auto", num_workers, rejected)


def judge(
    out: Path, predictions: Path, config: DistillConfig, chat: Chat, grader: str = "auto", num_workers: int = 1,
    rejected: Sequence[Reject] = (),
) -> Manifest:  # fmt: skip
    """Grade outputs that are there (drawn by ``distill``, or imported) and make traces of them."""
    score(out / "scores", predictions, grader_name=grader, num_workers=num_workers)
    return make_traces(out / "traces", predictions, out / "scores", config, chat, rejected)
