"""What an arm's samples are made of, beside their length: the table that shows whether arms are comparable."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """What the balance needs of one sample."""

    num_tokens: int
    num_supervised_tokens: int
    num_problems: int
    trace_ids: tuple[str, ...]
    problem_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TraceFacts:
    """What the balance needs of one trace."""

    subject: str | None
    difficulty: float | None
    difficulty_origin: str | None
    correct: bool | None
    license: str | None
    teacher: str | None


def balance(samples: Sequence[SampleFacts], traces: Mapping[str, TraceFacts]) -> dict[str, Any]:
    """What the samples of one arm hold.

    Shares and difficulty are over the traces as they are used: one that stands in two samples counts twice.

    Args:
        samples: every sample of the arm.
        traces: the facts of every trace that stands in them.

    Returns:
        samples, tokens, supervised_tokens, prompt_tokens_mean (tokens without loss a sample), problems,
        unique_problems, unique_traces, parts_mean (traces a sample), tokens_mean, tokens_quantiles (0, 5, 25, 50,
        75, 95, 100 %), subjects, licenses, teachers and correctness (shares), difficulty (mean, min, max, known share,
        origins) or None.
    """
    if not samples:
        return {"samples": 0}
    used = [traces[trace_id] for sample in samples for trace_id in sample.trace_ids]
    tokens = np.array([sample.num_tokens for sample in samples])
    supervised = np.array([sample.num_supervised_tokens for sample in samples])
    verdicts = {True: "correct", False: "wrong", None: "unchecked"}
    return {
        "samples": len(samples),
        "tokens": int(tokens.sum()),
        "supervised_tokens": int(supervised.sum()),
        "prompt_tokens_mean": round(float((tokens - supervised).mean()), 2),
        "problems": sum(sample.num_problems for sample in samples),
        "unique_problems": len({problem for sample in samples for problem in sample.problem_ids}),
        "unique_traces": len({trace for sample in samples for trace in sample.trace_ids}),
        "parts_mean": round(len(used) / len(samples), 4),
        "tokens_mean": round(float(tokens.mean()), 2),
        "tokens_quantiles": {
            str(percent): float(np.percentile(tokens, percent)) for percent in (0, 5, 25, 50, 75, 95, 100)
        },
        "subjects": _shares(fact.subject or "unknown" for fact in used),
        "difficulty": _difficulty(used),
        "correctness": _shares(verdicts[fact.correct] for fact in used),
        "licenses": _shares(fact.license or "unknown" for fact in used),
        "teachers": _shares(fact.teacher or "unknown" for fact in used),
    }


def _shares(values: Any) -> dict[str, float]:
    counts = Counter(values)
    total = counts.total()
    return {name: round(count / total, 4) for name, count in sorted(counts.items(), key=lambda kv: (-kv[1], kv[0]))}


def _difficulty(used: Sequence[TraceFacts]) -> dict[str, Any] | None:
    known = [fact for fact in used if fact.difficulty is not None]
    if not known:
        return None
    values = np.array([fact.difficulty for fact in known], dtype=float)
    return {
        "mean": round(float(values.mean()), 4), "min": float(values.min()), "max": float(values.max()),
        "known": round(len(known) / len(used), 4),
        "origins": _shares(fact.difficulty_origin or "unknown" for fact in known),
    }  # fmt: skip
