"""The comparisons that the arms were made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from long1k.stages.analyze.cells import ArmInfo, Grades
from long1k.stages.analyze.tests import compare


def contrasts_of(
    arms: Sequence[ArmInfo],
    rungs: Sequence[ArmInfo],
    grades: Mapping[str, Grades],
    training: Mapping[str, Mapping[str, Any]],
    confidence: float,
) -> list[dict[str, Any]]:
    """The comparisons that the arms were made for; amounts are those that were really trained on."""

    margins = {arm.name: arm.margin for arm in arms}
    made = [
        _contrast(a, b, why, grades, confidence, margins.get(made_for))
        for a, b, why, made_for in _wanted(arms, rungs, training)
    ]
    return [contrast for contrast in made if contrast is not None]


def without_common(
    arms: Sequence[ArmInfo],
    rungs: Sequence[ArmInfo],
    grades: Mapping[str, Grades],
    training: Mapping[str, Mapping[str, Any]],
) -> list[tuple[str, str]]:
    """Comparisons that cannot be made, as both arms have grades, but of other questions."""
    return [
        (a, b)
        for a, b, *_ in _wanted(arms, rungs, training)
        if a in grades and b in grades and not set(grades[a].questions) & set(grades[b].questions)
    ]


def _wanted(
    arms: Sequence[ArmInfo], rungs: Sequence[ArmInfo], training: Mapping[str, Mapping[str, Any]]
) -> list[tuple[str, str, str, str]]:
    """(first arm, second, why, the arm it was made for) of every comparison."""

    def amounts(a: str, b: str, key: str) -> str:
        known = [training.get(name, {}) for name in (a, b)]
        if not any(known) or any(one and key not in one for one in known):
            return f"{key.replace('_', ' ')} not known"
        one, two = (one.get(key, 0) for one in known)  # an untrained model saw none
        return f"{one:,} and {two:,} {key}"

    wanted: list[tuple[str, str, str, str]] = []
    untrained = [arm.name for arm in arms if arm.role == "baseline"]
    if len(rungs) >= 2:
        last, first = rungs[-1].name, rungs[0].name
        wanted.append((last, first, f"longest against shortest rung ({amounts(last, first, 'samples')})", last))
    for arm in arms:
        if arm.of is not None and arm.short is not None and arm.name in training:
            tokens = amounts(arm.of, arm.name, "tokens")
            how = "in short samples" if arm.kind == "token_matched" else "of repeated short samples"
            problems = amounts(arm.of, arm.name, "unique_problems").replace("unique_problems", "different problems")
            wanted.append(
                (arm.of, arm.name, f"long samples against as many tokens {how} ({tokens}; {problems})", arm.name)
            )
            if arm.kind == "repeated":
                wanted.append(
                    (arm.name, arm.short, "short samples repeated against the same ones seen less often", arm.name)
                )
        elif arm.role != "rung" and arm.against is not None and arm.name in training:
            tokens = amounts(arm.name, arm.against, "tokens")
            wanted.append((arm.name, arm.against, f"{arm.description}, against {arm.against} ({tokens})", arm.name))
        elif arm.role == "baseline" and rungs:
            which = "shortest rung" if len(rungs) > 1 else rungs[0].name
            wanted.append((rungs[0].name, arm.name, f"{which} against the untrained model", arm.name))
        elif not rungs and arm.role != "baseline" and arm.against is None and arm.of is None and arm.name in training:
            # The arm that the others stand against: did training do anything at all?
            wanted += [(arm.name, base, f"{arm.name} against the untrained model", base) for base in untrained]
    return wanted


def _contrast(
    a: str, b: str, why: str, grades: Mapping[str, Grades], confidence: float, margin: float | None
) -> dict[str, Any] | None:
    """Accuracy of arm a minus that of arm b, on the same questions."""
    left, right = grades.get(a), grades.get(b)
    if left is None or right is None:
        return None
    found = compare(f"{a} - {b}", left, right, confidence, margin)
    return None if found is None else {"a": a, "b": b, "why": why, **found}
