"""Whether candidates' answers are right: each part of an answer against its gold."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from long1k.curation.config import CollectConfig
from long1k.curation.normalize import Fault
from long1k.grading.extract import extract_answer, extract_parts
from long1k.grading.math import MathGrader
from long1k.stages.collect.candidates import Candidate


def verify(
    candidates: list[Candidate], config: CollectConfig, grader: MathGrader
) -> Iterable[tuple[Candidate, bool | None, Fault | None]]:
    """Each candidate with its verdict, or with the fault that costs it its place."""
    if config.verify == "keep":
        return [(candidate, candidate.raw.correct, None) for candidate in candidates]
    golds = [c.raw.gold_parts or ((c.raw.answer,) if c.raw.answer else ()) for c in candidates]
    answers = [_answers(c.parts.solution, len(gold)) for c, gold in zip(candidates, golds, strict=True)]
    pairs = [
        (one, said)
        for gold, answer in zip(golds, answers, strict=True)
        for one, said in zip(gold, answer, strict=True)
        if said is not None
    ]
    verdicts = iter(grader.grade_many(pairs))
    made: list[tuple[Candidate, bool | None, Fault | None]] = []
    for candidate, gold, answer in zip(candidates, golds, answers, strict=True):
        found = [
            (said, one, next(verdicts) if said is not None else None) for one, said in zip(gold, answer, strict=True)
        ]
        value, fault = judged(found)
        made.append((candidate, value, None if config.verify == "mark" else fault))
    return made


def _answers(solution: str, num_parts: int) -> list[str | None]:
    """What a solution says, part by part."""
    if num_parts == 0:
        return []
    found = [extract_answer(solution)] if num_parts == 1 else extract_parts(solution, num_parts)
    return [None if one is None else one.value for one in found]


def judged(found: Sequence[tuple[str | None, str, Any]]) -> tuple[bool | None, Fault | None]:
    """The verdict over all parts of an answer; the first part that is not right decides."""
    if not found:
        return None, Fault("no_gold", "the source gives no answer to compare with")
    for number, (said, gold, verdict) in enumerate(found, 1):
        where = f"part {number}: " if len(found) > 1 else ""
        if said is None:
            return False, Fault("no_answer", f"{where}the solution states none; gold is {gold!r}")
        shown = f"{where}answer {said!r}, gold {gold!r}"
        if verdict.status == "wrong":
            return False, Fault("wrong_answer", shown)
        if verdict.status != "correct":
            return None, Fault(f"verify_{verdict.status}", f"{shown}; {verdict.note}")
    return True, None
