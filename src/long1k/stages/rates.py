"""pass@1, avg@n, maj@n and pass@k of a table of scores, each with its interval and what it stands on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from long1k.grading.math import decide
from long1k.grading.normalize import normalize
from long1k.rows import STATUSES
from long1k.scored import ENDS, end_of, joined
from long1k.statistics.passing import majority, pass_at_k
from long1k.statistics.rates import crossed_mean

_COLUMNS = ("prediction_id", "problem_id", "benchmark", "arm", "train_seed", "answers", "finish_reason")
Cell = tuple[str, str, int | None]


@dataclass
class _Question:
    """The samples of one question: how many, how many right, and votes by answer."""

    samples: int = 0
    correct: int = 0
    votes: Counter[str] = field(default_factory=Counter)


@dataclass
class _Table:
    """What was seen of one arm and seed on one benchmark."""

    questions: dict[tuple[str, int], _Question] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    ends: dict[str, list[int]] = field(default_factory=lambda: {name: [0, 0] for name in ENDS})


def rates(
    scores: Path, ks: Sequence[int] = (1,), *, predictions: Path | None = None, confidence: float = 0.95
) -> list[dict[str, Any]]:
    """The rates of every benchmark, arm and training seed in a table of scores, as plain values.

    A rate is the mean over questions of what their samples give; the interval is over questions (t, of question
    means), so that 64 samples of a question count as one observation. A joined prompt is one such observation. An
    answer that could not be graded counts as not correct, and is counted. pass@k is None where a question has fewer
    than k samples.

    Args:
        ks: the k of pass@k.
        predictions: the graded table; default: where it lay when it was graded.

    Raises:
        DataError: the predictions are not there, or not those that were graded.
    """
    tables: dict[Cell, _Table] = {}
    for row, one in joined(scores, _COLUMNS, predictions):
        table = tables.setdefault((row["benchmark"], row["arm"], row["train_seed"]), _Table())
        right = one["status"] == "correct"
        question = table.questions.setdefault((row["problem_id"], one["part"]), _Question())
        question.samples += 1
        question.correct += right
        if not right and one["extracted"] is not None:
            question.votes[normalize(one["extracted"])] += 1
        table.statuses[one["status"]] += 1
        end = table.ends[end_of(row["finish_reason"])]
        end[0] += right
        end[1] += 1
    return [
        {"benchmark": benchmark, "arm": arm, "train_seed": seed, **_rates(table, ks, confidence)}
        for (benchmark, arm, seed), table in sorted(tables.items(), key=lambda item: (item[0][:2], item[0][2] or 0))
    ]


def _rates(table: _Table, ks: Sequence[int], confidence: float) -> dict[str, Any]:
    questions = table.questions
    sizes = [question.samples for question in questions.values()]

    def over_prompts(values: Mapping[tuple[str, int], float]) -> dict[str, Any]:
        prompts: dict[str, list[float]] = {}
        for (prompt, _), value in values.items():
            prompts.setdefault(prompt, []).append(value)
        means = np.array([[float(np.mean(parts)) for parts in prompts.values()]])
        return crossed_mean(means, confidence, (0.0, 1.0)).as_dict()

    passing: dict[str, Any] = {}
    for k in ks:
        found = {key: pass_at_k(q.samples, q.correct, k) for key, q in questions.items()}
        known = {key: value for key, value in found.items() if value is not None}
        passing[str(k)] = over_prompts(known) if len(known) == len(found) else None
    return {
        "questions": len(questions), "prompts": len({prompt for prompt, _ in questions}),
        "samples": {"min": min(sizes), "max": max(sizes)},
        "outputs": sum(sizes), "correct": table.statuses["correct"],
        "statuses": {name: table.statuses[name] for name in STATUSES if table.statuses[name]},
        "not_gradable": table.statuses["error"] + table.statuses["timeout"],
        "ends": {name: {"correct": right, "of": total} for name, (right, total) in table.ends.items()},
        "avg_at_n": over_prompts({key: q.correct / q.samples for key, q in questions.items()}),
        "maj_at_n": over_prompts({key: majority(groups_of(q.correct, q.votes)) for key, q in questions.items()}),
        "pass_at_k": passing,
    }  # fmt: skip


def groups_of(correct: int, others: Mapping[str, int]) -> list[tuple[int, bool]]:
    """Votes by answer: all right answers are one, of the others those that text and arithmetic find equal."""
    groups: dict[str, int] = {}
    for text, votes in sorted(others.items(), key=lambda item: (-item[1], item[0])):
        same = next(
            (known for known in groups if (v := decide(known, text)) is not None and v.status == "correct"), text
        )
        groups[same] = groups.get(same, 0) + votes
    return [(correct, True), *((votes, False) for votes in groups.values())]
