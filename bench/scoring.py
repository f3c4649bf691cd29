"""Grading answers, against Math-Verify called one answer after another in this process.

Two workloads from real outputs (2,800 labelled predictions of MATH500 and AIME 2024). The realistic one: 64 samples a
question, drawn from the answers that the models really gave to it, with their real frequencies. The other:
each different (gold, answer) once, so that nothing can be remembered. The peer parses gold and answer and verifies, as
its documentation shows; both sides are warm (libraries loaded, worker processes started).
"""

from __future__ import annotations

import gzip
import json
import logging
import random
from collections.abc import Sequence
from typing import Any

from bench.common import DATA, Row, timed
from long1k.grading.extract import extract_answer
from long1k.grading.math import MathGrader
from long1k.grading.pool import Verdict

_SAMPLES = 64
_EVERY = 3  # of the questions in the realistic workload: the peer takes some 4 ms an answer
_WORKERS = 2

Pair = tuple[str, str]

# Where the two differ on this data, and who is right. docs/grader-agreement.md shows the rows.
EXPLAINED = {
    "a gold or an answer is not parsed": "the peer says not equal; ours is an error, which is no verdict",
    "ours correct": "a word or a choice, units, bases, or an ordinal: the peer does not read these notations",
    "ours wrong": "a unit, a base or a bracket differs, which the peer drops",
}


def rows() -> list[Row]:
    """Both workloads."""
    questions = _questions()
    rng = random.Random(0)
    realistic = [(gold, rng.choice(answers)) for gold, answers in questions[::_EVERY] for _ in range(_SAMPLES)]
    rng.shuffle(realistic)
    distinct = list(dict.fromkeys((gold, answer) for gold, answers in questions for answer in answers))
    return [
        _measure("scoring, 64 samples a question", f"{len(questions[::_EVERY])} questions", realistic, 50),
        _measure("scoring, all answers different", f"{len(questions)} questions", distinct, 2),
    ]


def _questions() -> list[tuple[str, list[str]]]:
    """(gold, answers given to it with their frequencies) of every question of the labelled predictions."""
    answers: dict[tuple[str, str], list[str]] = {}
    golds: dict[tuple[str, str], str] = {}
    with gzip.open(DATA / "predictions" / "math500_aime24_runs.jsonl.gz", "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            found = extract_answer(row["response"])
            key = row["dataset"], row["problem"]
            if found is not None and row["answer"]:
                golds.setdefault(key, row["answer"])
                answers.setdefault(key, []).append(found.value)
    return [(golds[key], given) for key, given in answers.items()]


def _peer(pairs: Sequence[Pair]) -> list[bool]:
    from math_verify import parse, verify

    return [bool(verify(parse(f"${gold}$"), parse(f"${answer}$"))) for gold, answer in pairs]


def _measure(what: str, data: str, pairs: list[Pair], target: int) -> Row:
    logging.disable(logging.CRITICAL)
    _peer([("1+x", "x+1")])
    with MathGrader(num_workers=_WORKERS) as warm:
        # The workers of a fresh grader, without a verdict to remember.
        warm.start()
        warm.grade_many([(f"{a}-{b}", f"-{b}+{a}") for a, b in ("pq", "kl", "mn", "rs", "tu", "vw")])
        ours_seconds, verdicts = timed(lambda: warm.grade_many(pairs))
    peer_seconds, expected = timed(lambda: _peer(pairs))
    differing = _differences(pairs, verdicts, expected)
    num = len({pair for found in differing.values() for pair in found})
    listed = "".join(
        f"\n      {len(found)} × {kind} ({EXPLAINED[kind]}): " + "; ".join(f"{g} | {a[:40]}" for g, a in found)
        for kind, found in differing.items()
    )
    return Row(
        what, f"{data}, {len(pairs):,} answers, {len(set(pairs)):,} different", ours_seconds,
        "math-verify, serial", peer_seconds, f"×{target}",
        f"verdicts equal on {len(set(pairs)) - num:,} of {len(set(pairs)):,} different answers",
        peer_seconds / ours_seconds >= target, f"the others:{listed}" if listed else "",
    )  # fmt: skip


def _differences(pairs: Sequence[Pair], verdicts: Sequence[Verdict], expected: Sequence[bool]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {}
    for pair, verdict, peer in dict(zip(pairs, zip(pairs, verdicts, expected, strict=True), strict=True)).values():
        if verdict.status in ("error", "timeout"):
            kind = "a gold or an answer is not parsed"
        elif (verdict.status == "correct") != peer:
            kind = f"ours {verdict.status}"
        else:
            continue
        found.setdefault(kind, []).append(pair)
    return found
