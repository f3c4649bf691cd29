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

from bench.common import DATA, Row, timed
from long1k.grading.extract import extract_answer
from long1k.grading.math import MathGrader
from long1k.grading.pool import Verdict

_SAMPLES = 64
_EVERY = 3  # of the questions in the realistic workload: the peer takes some 4 ms an answer
_WORKERS = 2

Pair = tuple[str, str]

_NO_GOLD = "the gold is damaged and not parsed: the peer says not equal, ours is an error, which is no verdict"
# Where the two differ on this data, and why; any other difference fails the measurement.
EXPLAINED: dict[Pair, str] = {
    (r"3\2\sqrt{2}", r"\text{No solutions}"): _NO_GOLD,
    (r"3\2\sqrt{2}", r"3 + 2\sqrt{2}, 3 - 2\sqrt{2}"): _NO_GOLD,
    (r"3\2\sqrt{2}", r"\text{No real solutions}"): _NO_GOLD,
    (r"\begin{pmatrix}-1&0\\0&-1\end{pmatrix}", r"-\mathbf{I}"): (
        "neither parses the name of a matrix: the peer says not equal, ours is an error"
    ),
    ("(B)", r"\textbf{(B)}\ 3(1 + r/10)^x = 7"): "the choice (B) quoted with its text, which the peer does not read",
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
    num, unexplained = len(differing), [pair for pair in differing if pair not in EXPLAINED]
    listed = "".join(
        f"\n      {gold} | {answer[:40]}: {said}; {EXPLAINED.get((gold, answer), 'NOT EXPLAINED')}"
        for (gold, answer), said in differing.items()
    )
    return Row(
        what, f"{data}, {len(pairs):,} answers, {len(set(pairs)):,} different", ours_seconds,
        "math-verify, serial", peer_seconds, f"×{target}",
        f"verdicts equal on {len(set(pairs)) - num:,} of {len(set(pairs)):,} different answers, "
        f"{len(unexplained)} of the others without an explanation",
        peer_seconds / ours_seconds >= target and not unexplained, f"the others:{listed}" if listed else "",
    )  # fmt: skip


def _differences(pairs: Sequence[Pair], verdicts: Sequence[Verdict], expected: Sequence[bool]) -> dict[Pair, str]:
    """Every pair on which the two differ (a failed grade is no verdict, so it differs from any), and what ours says."""
    return {
        pair: f"ours {verdict.status}, the peer {'correct' if peer else 'wrong'}"
        for pair, verdict, peer in zip(pairs, verdicts, expected, strict=True)
        if verdict.status not in ("correct", "wrong") or (verdict.status == "correct") != peer
    }
