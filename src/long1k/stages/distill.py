"""distill: a teacher's scored outputs -> Traces with each problem's pass rate; nothing is lost on the way."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from long1k.chat import Chat
from long1k.curation.normalize import Fault, Parts, check_parts, split_response
from long1k.errors import DataError
from long1k.jsonlines import unstorable
from long1k.progress import progress
from long1k.rows import STATUSES, Prediction, Reject, Score, Trace, content_id
from long1k.tables import PART_ROWS, Manifest, TableWriter, fingerprint, is_current, iter_table, read_manifest

STAGE = "distill/2"
RATIO = 1.5
"""Two correct solutions of one problem are of different length if one is so many times as long as the other."""
_UNJUDGED = ("timeout", "error")


class DistillConfig(BaseModel):
    """What becomes of a teacher's outputs."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    teacher: str | None = Field(default=None, description="name of the teacher; null: what the outputs say")
    license: str | None = Field(default=None, description="licence of the problems, kept with every trace")
    source: str | None = Field(default=None, description="name of the problem set; null: the benchmark's")
    wrong: Literal["keep", "reject"] = Field(
        default="keep", description="wrong solutions: traces with correct = false, or rejected rows"
    )


@dataclass
class _Attempts:
    """One teacher's attempts at one problem."""

    judged: int = 0
    right: int = 0

    @property
    def pass_rate(self) -> float | None:
        """Share of right attempts; a cut or empty one is an attempt, one that no grader could judge is none."""
        return self.right / self.judged if self.judged else None


def distill(
    out: Path, predictions: Path, scores: Path, config: DistillConfig, chat: Chat,
    problems_rejected: Sequence[Reject] = (),
) -> Manifest:  # fmt: skip
    """Make traces of scored outputs; each has its problem's difficulty, 1 - pass rate, and where that comes from.

    Outputs that were cut, whose thinking was never closed or that state no answer are rejected with the reason, and
    count in the pass rate.  ``source_row`` is the prediction's id: seed, finish_reason and token ids stand there.

    Args:
        chat: counts tokens.
        problems_rejected: rows of the problem set that could not be asked, to be kept with the others.

    Raises:
        DataError: the scores are not of these predictions, or there are none.
    """
    source, judged = read_manifest(predictions), read_manifest(scores)
    if judged.inputs.get("predictions") != source.digest:
        raise DataError(f"{scores} holds no scores of {predictions}", "name the scores that were made of them")
    settings: dict[str, Any] = {"distill": config.model_dump(), "chat": chat.describe()}
    inputs = {"predictions": source.digest, "scores": judged.digest}
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    verdicts: dict[str, list[Score]] = {}
    for one in iter_table(scores, Score):
        verdicts.setdefault(one.prediction_id, []).append(one)
    problems = _tally(iter_table(predictions, Prediction), verdicts, config)
    lengths: dict[str, list[int]] = {}
    if not problems:
        raise DataError(f"{predictions} holds no outputs", "check the folder")
    writer = TableWriter(out, Trace, stage=STAGE, config=settings, inputs=inputs)
    rows = iter_table(predictions, Prediction)
    counts = Counter[str]()
    parts = 0
    with progress(f"distill {out.parent.name or out.name}", source.rows_out) as step:
        while chunk := list(islice(rows, PART_ROWS)):
            made = [_trace(row, verdicts.get(row.prediction_id, []), problems, config) for row in chunk]
            kept = _counted([one for one in made if isinstance(one, Trace)], chat)
            for trace in kept:
                if trace.correct:
                    tokens = trace.num_thinking_tokens + trace.num_solution_tokens
                    lengths.setdefault(trace.problem_id, []).append(tokens)
            rejected = [one for one in made if isinstance(one, Reject)]
            if parts == 0:
                rejected += problems_rejected
            writer.write_part(parts, kept, rejected)
            unknown = [row.text for row in chunk if not _drawn(row)]
            counted = sum(chat.tokenizer.count(unknown)) if unknown else 0
            counts.update(tokens=sum(_drawn(row) for row in chunk) + counted)
            counts.update(cut=sum(row.finish_reason == "length" for row in chunk))
            parts += 1
            step(len(chunk))
    info = _info(problems, lengths, counts, source.rows_out, verdicts) | {
        "tokenizer": chat.tokenizer.digest, "tokenizer_folder": str(chat.tokenizer.folder),
    }  # fmt: skip
    return writer.commit(parts, info)


def problem_id_of(question: str) -> str:
    """The id that collect gives a problem."""
    return content_id("p", question.strip())


_Key = tuple[str, str]  # problem, teacher


def _teacher(row: Prediction, config: DistillConfig) -> str:
    return config.teacher or row.checkpoint


def _tally(
    rows: Iterator[Prediction], verdicts: Mapping[str, Sequence[Score]], config: DistillConfig
) -> dict[_Key, _Attempts]:  # fmt: skip
    """Attempts and right ones by problem and teacher; outputs to several problems at once count for none."""
    problems: dict[_Key, _Attempts] = {}
    for row in rows:
        problem = problems.setdefault((problem_id_of(row.question), _teacher(row, config)), _Attempts())
        found = verdicts.get(row.prediction_id, ())
        if len(row.answers) == 1 and found and found[0].status not in _UNJUDGED:
            problem.judged += 1
            problem.right += found[0].status == "correct"
    return problems


def _trace(
    row: Prediction, scores: Sequence[Score], problems: Mapping[_Key, _Attempts], config: DistillConfig
) -> Trace | Reject:  # fmt: skip
    """One output as a trace (its tokens are counted later), or why it is none."""
    source = config.source or row.benchmark
    size = f"{_drawn(row):,} tokens" if _drawn(row) else f"{len(row.text):,} characters"
    drawn = f"finish_reason {row.finish_reason}, {size}, sample {row.sample_index}, seed {row.seed}"

    def reject(reason: str, evidence: str) -> Reject:
        shown = {
            "question": row.question, "answers": row.answers, "teacher": _teacher(row, config),
            "seed": row.seed, "sample_index": row.sample_index, "finish_reason": row.finish_reason, "text": row.text,
        }  # fmt: skip
        text = json.dumps(shown, ensure_ascii=True)
        clean = [part.replace("\x00", "\\0") for part in (evidence, text)]
        return Reject(reason, clean[0][:500], source, row.prediction_id, clean[1][:4000])

    if len(row.answers) != 1:
        return reject("several_problems", f"{len(row.answers)} problems in one prompt")
    if row.finish_reason == "length":
        return reject("truncated", drawn)
    if row.answer_text is None:
        return reject("unclosed_thinking", f"{drawn}; ends {row.text[-60:]!r}")
    parts = _parts(row)
    if isinstance(parts, Fault):
        return reject(parts.reason, f"{parts.evidence}; {drawn}")
    for name, text in (("question", row.question), ("thinking", parts.thinking), ("solution", parts.solution)):
        fault = unstorable(text)
        if fault is not None:
            return reject("invalid_unicode", f"{name}: {fault}")
    status = scores[0].status if scores else "not scored"
    if status == "no_answer":
        return reject("no_answer", drawn)
    if status in (*_UNJUDGED, "not scored", "truncated"):
        return reject(f"verify_{status.replace(' ', '_')}", scores[0].note or drawn if scores else drawn)
    if status == "wrong" and config.wrong == "reject":
        return reject("wrong_answer", f"answer {scores[0].extracted!r}, gold {row.answers[0]!r}; {drawn}")
    problem_id, teacher = problem_id_of(row.question), _teacher(row, config)
    problem = problems[problem_id, teacher]
    rate = problem.pass_rate
    return Trace(
        trace_id=content_id("t", row.question, row.answers[0], parts.thinking, parts.solution),
        problem_id=problem_id, question=row.question, answer=row.answers[0], thinking=parts.thinking,
        solution=parts.solution, teacher=teacher, correct=status == "correct", num_question_tokens=0,
        num_thinking_tokens=0, num_solution_tokens=0, subject=None,
        difficulty=None if rate is None else 1 - rate,
        difficulty_origin=None if rate is None else f"1 - pass rate of {teacher}, {problem.judged} attempts",
        split=parts.split, source=source, source_row=row.prediction_id, license=config.license,
    )  # fmt: skip


def _parts(row: Prediction) -> Parts | Fault:
    """Thinking and solution as they were told apart when the output was stored, else at the final answer."""
    if row.thinking is None:
        # What was drawn here is known without its end token, whichever that is; of imported outputs the text is all.
        whole = row.answer_text if row.token_ids and row.answer_text is not None else row.text
        return split_response(whole, "auto")
    return check_parts(Parts(row.thinking.strip(), (row.answer_text or "").strip(), "tags"))


def _counted(traces: Sequence[Trace], chat: Chat) -> list[Trace]:
    """The traces with their numbers of tokens."""
    texts = [text for one in traces for text in (one.question, one.thinking, one.solution)]
    counts = chat.tokenizer.count(texts) if texts else []
    return [
        replace(
            one, num_question_tokens=counts[3 * at], num_thinking_tokens=counts[3 * at + 1],
            num_solution_tokens=counts[3 * at + 2],
        )
        for at, one in enumerate(traces)
    ]  # fmt: skip


def _drawn(row: Prediction) -> int:
    return row.num_tokens or len(row.token_ids)


def _info(
    problems: Mapping[_Key, _Attempts], by_problem: Mapping[str, list[int]], counts: Counter[str], rollouts: int,
    verdicts: Mapping[str, Sequence[Score]],
) -> dict[str, Any]:  # fmt: skip
    """The account: pass rates in steps between never and always, and how far correct solutions differ in length."""
    names = ("0", "0–20", "20–40", "40–60", "60–80", "80–100", "100")
    histogram = dict.fromkeys(names, 0)
    for rate in (one.pass_rate for one in problems.values()):
        if rate is not None:
            at = 0 if rate == 0 else 6 if rate == 1 else min(5, 1 + int(rate * 5))
            histogram[names[at]] += 1
    several = [held for held in by_problem.values() if len(held) > 1]
    statuses = Counter(one.status for found in verdicts.values() for one in found)
    rates = [one.pass_rate for one in problems.values() if one.pass_rate is not None]
    lengths = sorted(length for held in by_problem.values() for length in held)
    return {
        "problems": len({problem for problem, _ in problems}), "teachers": len({teacher for _, teacher in problems}),
        "rollouts": rollouts, "judged": sum(one.judged for one in problems.values()),
        "pass_rates": histogram, "mean_pass_rate": sum(rates) / len(rates) if rates else None,
        "solved": len({problem for (problem, _), one in problems.items() if one.right}),
        "several_correct": len(several),
        "different_lengths": sum(max(held) >= RATIO * min(held) for held in several),
        "correct_lengths": {
            "min": lengths[0], "median": lengths[len(lengths) // 2], "max": lengths[-1]
        } if lengths else None,
        "statuses": {name: statuses[name] for name in STATUSES if statuses[name]},
        "tokens": counts["tokens"], "cut": counts["cut"],
    }  # fmt: skip
