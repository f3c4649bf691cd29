"""collect: sources -> one clean trace pool.

Every raw row is either a Trace of the output or a row of ``rejected`` with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.curation.decontaminate import BenchmarkIndex
from long1k.curation.lint import lint_text, lint_unicode
from long1k.curation.normalize import Fault, Parts, check_parts, split_response
from long1k.errors import DataError
from long1k.grading.extract import extract_answer
from long1k.grading.math import MathGrader
from long1k.jsonlines import BadRow
from long1k.progress import progress
from long1k.rows import Reject, Trace, content_id
from long1k.sources.raw import RawTrace, Source
from long1k.tables import PART_ROWS, Manifest, TableWriter, digest_json, fingerprint, is_current, read_manifest

STAGE = "collect/1"
_EVIDENCE = 500
_ROW = 4000


@dataclass
class _State:
    """What must be known across parts: traces seen, and how often each problem was kept."""

    seen: set[str] = field(default_factory=set)
    per_problem: dict[str, int] = field(default_factory=dict)

    def add(self, trace_id: str, problem_id: str) -> None:
        self.seen.add(trace_id)
        self.per_problem[problem_id] = self.per_problem.get(problem_id, 0) + 1


@dataclass(frozen=True)
class _Candidate:
    """A raw row whose text is in order."""

    raw: RawTrace
    source: str
    parts: Parts


def collect(
    out: Path,
    sources: Sequence[tuple[str, Source]],
    config: CollectConfig,
    chat: Chat,
    *,
    excluded: Mapping[str, Sequence[tuple[str, str]]] | None = None,
    num_workers: int = 1,
    part_rows: int = PART_ROWS,
) -> Manifest:
    """Build the trace pool in ``out``; a finished pool of the same inputs is left alone.

    Args:
        sources: (name, source); names must differ, they are part of every row's origin.
        excluded: benchmark name -> its (item id, question) pairs, not to be trained on.
        num_workers: processes that verify answers; the result does not depend on it.

    Raises:
        DataError: a source cannot be read, or all of them together hold no row.
    """
    excluded = excluded if excluded is not None and config.exclude_benchmarks else {}
    settings: dict[str, Any] = {
        "collect": config.model_dump(),
        "chat": chat.describe(),
        "part_rows": part_rows,
        "sources": {name: source.config.model_dump(exclude={"path"}) for name, source in sources},
        "grader": MathGrader.version,
        "excluded": {name: digest_json(list(items)) for name, items in excluded.items()},
    }
    inputs = {name: source.digest() for name, source in sources}
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    index = BenchmarkIndex((f"{name}/{item}", question) for name, items in excluded.items() for item, question in items)
    writer = TableWriter(out, Trace, stage=STAGE, config=settings, inputs=inputs)
    state, num_parts, splits = _State(), 0, {"tags": 0, "final_answer": 0, "given": 0}
    with progress("collect", None) as step, MathGrader(num_workers=num_workers) as grader:
        for number, chunk in enumerate(_chunks(sources, part_rows)):
            num_parts = number + 1
            if writer.has_part(number):  # finished before a kill: only what later parts must know is read
                kept = pq.read_table(out / f"part-{number:05d}.parquet", columns=["trace_id", "problem_id", "split"])
                for row in kept.to_pylist():
                    state.add(row["trace_id"], row["problem_id"])
                    splits[row["split"]] += 1
            else:
                traces, rejected = _curate(chunk, config, chat, index, state, grader)
                for trace in traces:
                    splits[trace.split] += 1
                writer.write_part(number, traces, rejected, rows_in=len(chunk))
            step(len(chunk))
    if num_parts == 0:
        raise DataError(
            f"no rows in {', '.join(name for name, _ in sources) or 'an empty list of sources'}",
            "check the path and the limit of the source",
        )
    info = {
        "tokenizer": chat.tokenizer.digest,
        "tokenizer_folder": str(chat.tokenizer.folder),
        "template": chat.tokenizer.template_digest,
        "counter": chat.tokenizer.counter,
        "split": {name: count for name, count in splits.items() if count},
        "excluded_questions": len(index),
        "sources": {name: source.describe() for name, source in sources},
    }
    return writer.commit(num_parts, info)


def _chunks(sources: Sequence[tuple[str, Source]], size: int) -> Iterator[list[tuple[str, RawTrace | BadRow]]]:
    """Rows of all sources in order, in lists of ``size``."""
    rows = ((name, row) for name, source in sources for row in source.load())
    while chunk := list(islice(rows, size)):
        yield chunk


def _reject(source: str, row: RawTrace | BadRow, reason: str, evidence: str) -> Reject:
    if isinstance(row, BadRow):
        text = row.row
    else:
        text = json.dumps({k: v for k, v in asdict(row).items() if v is not None}, ensure_ascii=True)
    clean = evidence.encode("utf-8", "replace").decode().replace("\x00", "\\0")
    shown = text.encode("utf-8", "replace").decode().replace("\x00", "\\0")
    return Reject(reason, clean[:_EVIDENCE], source, _plain(row.source_row), shown[:_ROW])


def _plain(text: str) -> str:
    """A text that can be stored: half surrogates written out."""
    return text.encode("utf-8", "backslashreplace").decode()


def _parts_of(raw: RawTrace) -> Parts | Fault:
    if raw.response is not None:
        return split_response(raw.response, raw.tags)
    return check_parts(Parts((raw.thinking or "").strip(), (raw.solution or "").strip(), "given"))


def _curate(
    chunk: Sequence[tuple[str, RawTrace | BadRow]],
    config: CollectConfig,
    chat: Chat,
    index: BenchmarkIndex,
    state: _State,
    grader: MathGrader,
) -> tuple[list[Trace], list[Reject]]:
    """One chunk of raw rows as traces and rejected rows."""
    rejected: list[Reject] = []
    candidates: list[_Candidate] = []
    for source, row in chunk:
        found = _candidate(source, row, chat, index)
        if isinstance(found, Fault):
            rejected.append(_reject(source, row, found.reason, found.evidence))
        else:
            candidates.append(found)
    candidates, correct, wrong = _verify(candidates, config, grader)
    rejected += wrong
    counts = _count(candidates, chat)
    traces: list[Trace] = []
    for candidate, verdict, (question_n, thinking_n, solution_n) in zip(candidates, correct, counts, strict=True):
        raw, parts = candidate.raw, candidate.parts
        boxed = extract_answer(parts.solution)
        answer = raw.answer if raw.answer is not None else (boxed.value if boxed else "")
        problem_id = content_id("p", raw.question, answer)
        trace_id = content_id("t", raw.question, answer, parts.thinking, parts.solution)
        if config.dedup and trace_id in state.seen:
            rejected.append(_reject(candidate.source, raw, "duplicate", f"the same trace as {trace_id}"))
            continue
        limit = config.max_traces_per_problem
        if limit is not None and state.per_problem.get(problem_id, 0) >= limit:
            rejected.append(
                _reject(candidate.source, raw, "enough_of_problem", f"{limit} traces of {problem_id} are kept")
            )
            continue
        state.add(trace_id, problem_id)
        traces.append(
            Trace(
                trace_id=trace_id,
                problem_id=problem_id,
                question=raw.question,
                answer=answer,
                thinking=parts.thinking,
                solution=parts.solution,
                teacher=raw.teacher,
                correct=verdict,
                num_question_tokens=question_n,
                num_thinking_tokens=thinking_n,
                num_solution_tokens=solution_n,
                subject=raw.subject,
                difficulty=raw.difficulty,
                difficulty_origin=raw.difficulty_origin,
                split=parts.split,
                source=candidate.source,
                source_row=_plain(raw.source_row),
                license=raw.license,
            )
        )
    return traces, rejected


def _candidate(source: str, row: RawTrace | BadRow, chat: Chat, index: BenchmarkIndex) -> _Candidate | Fault:
    """A raw row with its text taken apart and linted, or its first fault."""
    if isinstance(row, BadRow):
        return Fault(row.reason, row.evidence)
    specials = chat.tokenizer.special_tokens
    for name in ("question", "answer", "response", "thinking", "solution"):
        text = getattr(row, name)
        if text is not None and (name != "response" or text.strip()):
            fault = lint_text(name, text, specials)
            if fault is not None:
                return fault
    for name in ("teacher", "subject", "license", "difficulty_origin"):
        fault = lint_unicode(name, getattr(row, name) or "")
        if fault is not None:
            return fault
    parts = _parts_of(row)
    if isinstance(parts, Fault):
        return parts
    unknown = chat.tokenizer.unk_id
    if unknown is not None:
        for name, text in (("question", row.question), ("thinking", parts.thinking), ("solution", parts.solution)):
            if unknown in chat.tokenizer.encode(text):
                return Fault("unknown_token", f"{name} has words that the tokenizer does not know: {text[:80]!r}")
    item = index.match(row.question)
    if item is not None:
        return Fault("in_benchmark", f"the same question, after normalisation, as {item}")
    return _Candidate(row, source, parts)


def _verify(
    candidates: list[_Candidate], config: CollectConfig, grader: MathGrader
) -> tuple[list[_Candidate], list[bool | None], list[Reject]]:
    """Compare each trace's own answer with gold."""
    if config.verify == "keep":
        return candidates, [None] * len(candidates), []
    answers = [extract_answer(c.parts.solution) for c in candidates]
    pairs = [(c.raw.answer, a.value) for c, a in zip(candidates, answers, strict=True) if c.raw.answer and a]
    verdicts = iter(grader.grade_many(pairs))
    kept: list[_Candidate] = []
    correct: list[bool | None] = []
    rejected: list[Reject] = []
    for candidate, answer in zip(candidates, answers, strict=True):
        gold = candidate.raw.answer
        value: bool | None = None
        if not gold:
            reason, evidence = "no_gold", "the source gives no answer to compare with"
        elif answer is None:
            value, reason, evidence = False, "no_answer", f"the solution states none; gold is {gold!r}"
        else:
            verdict = next(verdicts)
            shown = f"answer {answer.value!r}, gold {gold!r}"
            if verdict.status in ("correct", "wrong"):
                value, reason, evidence = verdict.status == "correct", "wrong_answer", shown
            else:
                reason, evidence = f"verify_{verdict.status}", f"{shown}; {verdict.note}"
        if value is True or config.verify == "mark":
            kept.append(candidate)
            correct.append(value)
        else:
            rejected.append(_reject(candidate.source, candidate.raw, reason, evidence))
    return kept, correct, rejected


def _count(candidates: Sequence[_Candidate], chat: Chat) -> list[tuple[int, int, int]]:
    """Tokens of question, thinking and solution of each candidate."""
    texts = [text for c in candidates for text in (c.raw.question, c.parts.thinking, c.parts.solution)]
    counts = chat.tokenizer.count(texts)
    return [(counts[i], counts[i + 1], counts[i + 2]) for i in range(0, len(counts), 3)]
