"""pass@1, avg@n, maj@n and pass@k of a table of scores, each with its interval and what it stands on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from long1k.errors import DataError
from long1k.grading.expressions import MAX_CHARS
from long1k.grading.math import decide
from long1k.grading.normalize import normalize
from long1k.rows import STATUSES
from long1k.scored import ENDS, end_of, joined
from long1k.statistics.passing import majority, pass_at_k
from long1k.statistics.rates import crossed_mean
from long1k.tables import read_manifest

_COLUMNS = ("prediction_id", "problem_id", "benchmark", "arm", "train_seed", "part_ids", "finish_reason")
_MAX_COMPARED = 32  # groups of wrong answers that another one is compared with
Cell = tuple[str, str, int | None]


@dataclass
class _Question:
    """The samples of one question: how many, how many right, and votes by answer."""

    samples: int = 0
    correct: int = 0
    votes: Counter[str] = field(default_factory=Counter)
    prompts: set[str] = field(default_factory=set)


@dataclass
class _Table:
    """What was seen of one arm and seed on one benchmark."""

    questions: dict[str, _Question] = field(default_factory=dict)
    statuses: Counter[str] = field(default_factory=Counter)
    ends: dict[str, list[int]] = field(default_factory=lambda: {name: [0, 0] for name in ENDS})


def rates(
    scores: Path, ks: Sequence[int] = (1,), *, predictions: Path | None = None, confidence: float = 0.95
) -> list[dict[str, Any]]:
    """The rates of every benchmark, arm and training seed in a table of scores, as plain values.

    A rate is the mean over questions of what their samples give; the interval is over questions (Wilson's, at the
    variance of question means), so that 64 samples of a question count as one observation, and so do the questions that
    share a prompt. An answer that could not be graded counts as not correct, and is counted. pass@k is None where a
    question has fewer than k samples.

    Args:
        ks: the k of pass@k.
        predictions: the graded table; default: where it lay when it was graded.

    Raises:
        DataError: the predictions are not there, or not those that were graded; or there are no verdicts.
    """
    tables: dict[Cell, _Table] = {}
    if not read_manifest(scores).rows_out:
        raise DataError(f"{scores} holds no verdicts", "score the predictions")
    for row, one in joined(scores, _COLUMNS, predictions):
        table = tables.setdefault((row["benchmark"], row["arm"], row["train_seed"]), _Table())
        right = one["status"] == "correct"
        # A problem may be asked in several prompts, beside others: it is one question wherever it stands.
        asked = row["part_ids"][one["part"]] if one["part"] < len(row["part_ids"]) else row["problem_id"]
        question = table.questions.setdefault(asked, _Question())
        question.prompts.add(row["problem_id"])
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

    clusters = _clusters(questions)

    def over_questions(values: Mapping[str, float]) -> dict[str, Any]:
        means = [float(np.mean([values[key] for key in cluster])) for cluster in clusters]
        return crossed_mean(np.array([means]), confidence, (0.0, 1.0)).as_dict()

    passing: dict[str, Any] = {}
    for k in ks:
        found = {key: pass_at_k(q.samples, q.correct, k) for key, q in questions.items()}
        known = {key: value for key, value in found.items() if value is not None}
        passing[str(k)] = over_questions(known) if len(known) == len(found) else None
    return {
        "questions": len(questions), "clusters": len(clusters),
        "samples": {"min": min(sizes), "max": max(sizes)},
        "outputs": sum(sizes), "correct": table.statuses["correct"],
        "statuses": {name: table.statuses[name] for name in STATUSES if table.statuses[name]},
        "not_gradable": table.statuses["error"] + table.statuses["timeout"],
        "ends": {name: {"correct": right, "of": total} for name, (right, total) in table.ends.items()},
        "avg_at_n": over_questions({key: q.correct / q.samples for key, q in questions.items()}),
        "maj_at_n": over_questions({key: majority(groups_of(q.correct, q.votes)) for key, q in questions.items()}),
        "pass_at_k": passing,
    }  # fmt: skip


def _clusters(questions: Mapping[str, _Question]) -> list[list[str]]:
    """Questions that share a prompt, directly or by way of others, together: their grades are not independent."""
    above: dict[str, str] = {}

    def top(name: str) -> str:
        while above.setdefault(name, name) != name:
            above[name] = above[above[name]]
            name = above[name]
        return name

    for key, question in questions.items():
        for prompt in question.prompts:
            above[top(f"prompt {prompt}")] = top(f"question {key}")
    found: dict[str, list[str]] = {}
    for key in questions:
        found.setdefault(top(f"question {key}"), []).append(key)
    return list(found.values())


def _equal(one: str, other: str) -> bool:
    verdict = decide(one, other)
    return verdict is not None and verdict.status == "correct"


def groups_of(correct: int, others: Mapping[str, int]) -> list[tuple[int, bool]]:
    """Votes by answer: all right answers are one, of the others those that text and arithmetic find equal.

    Arithmetic looks at short texts, and at the first groups of them: the most frequent ones decide a vote, and
    256 samples that all differ would be 32,000 comparisons.
    """
    groups: dict[str, int] = {}
    compared: list[str] = []
    for text, votes in sorted(others.items(), key=lambda item: (-item[1], item[0])):
        same = text
        if len(text) <= MAX_CHARS:
            same = next((known for known in compared if _equal(known, text)), text)
            if same == text and len(compared) < _MAX_COMPARED:
                compared.append(text)
        groups[same] = groups.get(same, 0) + votes
    return [(correct, True), *((votes, False) for votes in groups.values())]
