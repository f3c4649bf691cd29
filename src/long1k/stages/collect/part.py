"""One part of a pool: raw rows in; traces, rejected rows and what must be compared across parts out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.curation.decontaminate import BenchmarkIndex
from long1k.curation.normalize import Fault
from long1k.curation.sketch import sketch_flat, sketch_questions
from long1k.grading.extract import extract_answer
from long1k.grading.math import MathGrader
from long1k.jsonlines import BadRow
from long1k.rows import Reject, Trace, content_id, to_arrow
from long1k.sources.raw import Chunk, RawTrace
from long1k.stages.collect.candidates import Candidate, candidate_of, problem_id_of, with_gold
from long1k.stages.collect.rejects import escaped, make_reject
from long1k.stages.collect.verify import verify
from long1k.tables import write_parquet
from long1k.tokens import load_tokenizer

KEY_BYTES = 10  # of an id's hash: see content_id


@dataclass(frozen=True)
class Context:
    """What every part needs to know; ``key`` tells contexts apart."""

    key: str
    config: CollectConfig
    tokenizer: str
    thinking: str
    system: str | None
    template: str | None
    benchmarks: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class PartJob:
    """One part to be made: from which rows, into which folder."""

    index: int
    source: str
    chunk: Chunk
    folder: Path
    context: Context

    def __str__(self) -> str:
        return f"part {self.index} ({self.source})"


class _Tools:
    """What a process makes once for all its parts."""

    def __init__(self, context: Context) -> None:
        self.key = context.key
        self.chat = Chat(load_tokenizer(context.tokenizer), context.thinking, context.system, context.template)
        self.index = BenchmarkIndex(context.benchmarks, context.config.decontaminate)
        self.grader = MathGrader()

    def close(self) -> None:
        self.grader.close()


_tools: list[_Tools] = []


def _tools_of(context: Context) -> _Tools:
    if not _tools or _tools[0].key != context.key:
        close_tools()
        _tools.append(_Tools(context))
    return _tools[0]


def close_tools() -> None:
    """End what this process had started for its parts."""
    while _tools:
        _tools.pop().close()


def keys_path(folder: Path, index: int) -> Path:
    """Where a part's keys lie; written last, so it also says that the part is there."""
    return folder / f"keys-{index:05d}.parquet"


def stage_part(job: PartJob) -> None:
    """Make one part: rows-N, rejected-N, outcomes-N and, last, keys-N, each written atomically."""
    tools = _tools_of(job.context)
    rows = job.chunk.load()
    traces, rejected, outcomes, signatures = _curate(job.source, rows, job.context, tools)
    folder, index = job.folder, job.index
    write_parquet(folder / f"rows-{index:05d}.parquet", to_arrow(traces, Trace))
    write_parquet(folder / f"rejected-{index:05d}.parquet", to_arrow(rejected, Reject))
    if job.context.config.difficulty.origin == "pass_rate":
        problems = pa.array([_key(problem) for problem, _ in outcomes], pa.binary(KEY_BYTES))
        right = pa.array([verdict for _, verdict in outcomes], pa.bool_())
        write_parquet(folder / f"outcomes-{index:05d}.parquet", pa.table({"problem": problems, "right": right}))
    columns: dict[str, pa.Array] = {
        "trace": pa.array([_key(t.trace_id) for t in traces], pa.binary(KEY_BYTES)),
        "text": pa.array([_key(_text_id(t)) for t in traces], pa.binary(KEY_BYTES)),
        "problem": pa.array([_key(t.problem_id) for t in traces], pa.binary(KEY_BYTES)),
        "tokens": pa.array([t.num_thinking_tokens + t.num_solution_tokens for t in traces], pa.int64()),
    }
    for name, values in signatures.items():
        columns[name] = pa.array([row.tobytes() for row in values], pa.binary())
    write_parquet(keys_path(folder, index), pa.table(columns), rows_in=len(rows))


def _text_id(trace: Trace) -> str:
    """What a model would be trained on: two data sets may spell the gold answer of one trace in two ways."""
    return content_id("x", trace.question.strip(), trace.thinking, trace.solution)


def _key(row_id: str) -> bytes:
    return bytes.fromhex(row_id.split("-")[1])


def _curate(
    source: str, rows: Sequence[RawTrace | BadRow], context: Context, tools: _Tools
) -> tuple[list[Trace], list[Reject], list[tuple[str, bool]], dict[str, np.ndarray]]:
    """Traces, rejected rows, (problem id, right or not) of every attempt, and signatures of the traces."""
    config = context.config
    rejected: list[Reject] = []
    candidates: list[Candidate] = []
    attempts: list[tuple[str, bool]] = []

    def reject(raw: RawTrace | BadRow, reason: str, evidence: str) -> None:
        """A row that came to no answer that could be checked: no right attempt."""
        rejected.append(make_reject(source, raw, reason, evidence))
        if isinstance(raw, RawTrace):
            attempts.append((problem_id_of(raw), False))

    for raw in map(with_gold, rows):
        found = candidate_of(raw, tools.chat, config)
        if isinstance(found, Fault):
            reject(raw, found.reason, found.evidence)
        else:
            candidates.append(found)
    candidates = _decontaminated(candidates, tools, config, reject)
    checked: list[tuple[Candidate, bool | None]] = []
    for candidate, verdict, fault in verify(candidates, config, tools.grader):
        if verdict is not None:  # what could not be judged counts neither way
            attempts.append((problem_id_of(candidate.raw), verdict))
        if fault is not None:
            rejected.append(make_reject(source, candidate.raw, fault.reason, fault.evidence))
        else:
            checked.append((candidate, verdict))
    kept, counts, signatures = _count([c for c, _ in checked], tools, config)
    traces = [
        _trace(source, candidate, verdict, counts[at], context)
        for at, (candidate, verdict) in enumerate(checked)
        if kept[at] is None
    ]
    for (candidate, _), fault in zip(checked, kept, strict=True):
        if fault is not None:
            rejected.append(make_reject(source, candidate.raw, fault.reason, fault.evidence))
    return traces, rejected, attempts, signatures


def _decontaminated(candidates: list[Candidate], tools: _Tools, config: CollectConfig, reject: Any) -> list[Candidate]:
    """Candidates whose problem (and, if wanted, whose whole trace) holds no problem of a benchmark."""
    if not len(tools.index):
        return candidates
    found = tools.index.match_batch([c.raw.question for c in candidates])
    if config.decontaminate.traces:
        whole = tools.index.scan_batch([f"{c.parts.thinking}\n{c.parts.solution}" for c in candidates])
        found = [match or other for match, other in zip(found, whole, strict=True)]
    kept = []
    for candidate, match in zip(candidates, found, strict=True):
        if match is None:
            kept.append(candidate)
        else:
            reject(candidate.raw, match.reason, f"{match.item_id}: {match.evidence}")
    return kept


def _count(
    candidates: Sequence[Candidate], tools: _Tools, config: CollectConfig
) -> tuple[list[Fault | None], list[tuple[int, int, int]], dict[str, np.ndarray]]:
    """Faults, tokens of question, thinking and solution, and the wanted signatures of those without fault."""
    tokenizer = tools.chat.tokenizer
    texts = [text for c in candidates for text in (c.raw.question, c.parts.thinking, c.parts.solution)]
    ids, offsets = tokenizer.encode_flat(texts, probe=True)
    lengths = np.diff(offsets).reshape(-1, 3)
    faults: list[Fault | None] = [None] * len(candidates)
    if tokenizer.unk_id is not None:
        for at in np.flatnonzero(ids == tokenizer.unk_id):
            which = int(np.searchsorted(offsets, at, side="right")) - 1
            row, name = which // 3, ("question", "thinking", "solution")[which % 3]
            faults[row] = faults[row] or Fault(
                "unknown_token", f"{name} has words that the tokenizer does not know: {texts[which][:80]!r}"
            )
    good = np.array([fault is None for fault in faults], dtype=bool)
    near, signatures = config.near_duplicates, dict[str, np.ndarray]()
    if near.problems is not None:
        questions = [c.raw.question for c, fault in zip(candidates, faults, strict=True) if fault is None]
        signatures["question"], signatures["numbers"] = sketch_questions(
            questions, near.shingle_characters, near.num_perm
        )
    if near.traces is not None:
        # Thinking and solution stand next to each other: one run of ids.
        whole = np.concatenate(
            [ids[offsets[3 * row + 1] : offsets[3 * row + 3]] for row in np.flatnonzero(good)] or [ids[:0]]
        )
        bounds = np.concatenate([[0], np.cumsum((lengths[:, 1] + lengths[:, 2])[good])])
        signatures["trace_text"] = sketch_flat(whole, bounds, near.shingle_tokens, near.num_perm)
    return faults, [(int(q), int(t), int(s)) for q, t, s in lengths], signatures


def _trace(
    source: str, candidate: Candidate, verdict: bool | None, counts: tuple[int, int, int], context: Context
) -> Trace:
    raw, parts = candidate.raw, candidate.parts
    answer = raw.answer
    if answer is None:
        found = extract_answer(parts.solution)
        answer = found.value if found is not None else ""
    problem_id = problem_id_of(raw)
    if context.config.difficulty.origin == "accuracy":  # what is known is filled in later
        raw = replace(raw, difficulty=None, difficulty_origin=None)
    return Trace(
        trace_id=content_id("t", raw.question, answer, parts.thinking, parts.solution),
        problem_id=problem_id,
        question=raw.question,
        answer=answer,
        thinking=parts.thinking,
        solution=parts.solution,
        teacher=raw.teacher,
        correct=verdict,
        num_question_tokens=counts[0],
        num_thinking_tokens=counts[1],
        num_solution_tokens=counts[2],
        subject=raw.subject,
        difficulty=raw.difficulty,
        difficulty_origin=raw.difficulty_origin,
        split=parts.split,
        source=source,
        source_row=escaped(raw.source_row),
        license=raw.license,
    )
