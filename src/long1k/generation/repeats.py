"""Outputs that are equal although they were drawn with different seeds: how many, and is it chance?

Short outputs coincide by chance, and so do samples of a question that has one likely answer.  What chance does not
do: repeat long outputs token by token, give two questions the same long output, or make the same two sample
numbers agree on question after question (a seed that was used twice).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from scipy.stats import binom

from long1k.rows import Prediction, content_id

LONG_TOKENS = 100
"""At temperature above 0 an output of so many tokens does not come out twice in practice."""
MAX_SHARE = 0.01
"""Share of long outputs that may repeat another one before it is an alarm."""
_ALPHA = 1e-6
_MOST_SAMPLES = 64  # pairs of sample numbers are looked at among the first so many


@dataclass(frozen=True, slots=True)
class Seen:
    """What of an output is compared: a digest of its tokens (of its text, where they are not known)."""

    problem_id: str
    sample_index: int
    digest: str
    is_long: bool

    @classmethod
    def of(cls, row: Prediction) -> Seen:
        """Of imported outputs the text alone may be known; a token has about four characters."""
        tokens = len(row.text) // 4 if row.num_tokens is None else row.num_tokens
        drawn = ",".join(map(str, row.token_ids)) if row.token_ids else row.text
        return cls(row.problem_id, row.sample_index, content_id("d", drawn), tokens >= LONG_TOKENS)


def repeats(rows: Sequence[Seen], temperature: float) -> dict[str, Any]:
    """Counts of equal outputs, and ``alarm``: what cannot be chance, in words, or None.

    ``equal`` are outputs that repeat an earlier sample of their question, ``equal_long`` those of them with
    LONG_TOKENS tokens or more, ``across`` long outputs that stand under another question, too.
    """
    by_question: dict[str, list[Seen]] = defaultdict(list)
    for row in rows:
        by_question[row.problem_id].append(row)
    equal = equal_long = 0
    owners: dict[str, set[str]] = defaultdict(set)
    for problem, group in by_question.items():
        seen: set[str] = set()
        for row in group:
            if row.digest in seen:
                equal += 1
                equal_long += row.is_long
            seen.add(row.digest)
            if row.is_long:
                owners[row.digest].add(problem)
    num_long = sum(row.is_long for row in rows)
    across = sum(len(problems) - 1 for problems in owners.values())
    found: dict[str, Any] = {"equal": equal, "equal_long": equal_long, "long": num_long, "across": across}
    return {**found, "alarm": _alarm(found, by_question, temperature)}


def _alarm(found: dict[str, Any], by_question: dict[str, list[Seen]], temperature: float) -> str | None:
    if found["across"] > max(1, MAX_SHARE * found["long"]):
        return f"{found['across']:,} long outputs stand word for word under another question, too"
    if not found["equal"]:
        return None
    if temperature == 0:
        return "temperature is 0, so the samples of a question are one and the same: samples: 1 says as much"
    if found["equal_long"] > max(1, MAX_SHARE * found["long"]):
        return (
            f"{found['equal_long']:,} of {found['long']:,} outputs of {LONG_TOKENS} tokens or more repeat another "
            "sample of their question token by token: seeds are not in force"
        )
    return _equal_numbers(by_question)


def _equal_numbers(by_question: dict[str, list[Seen]]) -> str | None:
    """Are two sample numbers equal on more questions than equal outputs fall on any other two?

    By chance every two of a question's n samples are as likely to be the equal ones as every other two.
    """
    together: Counter[tuple[int, int]] = Counter()
    share = 0.0  # expected share of questions on which two given numbers agree, summed over questions
    pairs = 0
    for group in by_question.values():
        shown = sorted(group, key=lambda row: row.sample_index)[:_MOST_SAMPLES]
        agreeing = [(a.sample_index, b.sample_index) for a, b in combinations(shown, 2) if a.digest == b.digest]
        possible = len(shown) * (len(shown) - 1) // 2
        pairs = max(pairs, possible)
        share += len(agreeing) / possible if possible else 0.0
        together.update(agreeing)
    if pairs < 3 or not together:  # with two samples there is one pair, and nothing to compare it with
        return None
    (first, second), count = together.most_common(1)[0]
    questions = len(by_question)
    chance = float(binom.sf(count - 1, questions, min(1.0, share / questions))) * pairs
    if chance >= _ALPHA:
        return None
    return (
        f"samples {first} and {second} are equal on {count:,} of {questions:,} questions, where chance allows about "
        f"{share:.0f}: one seed was used for both"
    )
