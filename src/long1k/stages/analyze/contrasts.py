"""The comparisons that the arms were made for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from long1k.stages.analyze.cells import ArmInfo, Grades
from long1k.statistics.rates import crossed_mean


def contrasts_of(
    arms: Sequence[ArmInfo],
    rungs: Sequence[ArmInfo],
    grades: Mapping[str, Grades],
    training: Mapping[str, Mapping[str, Any]],
    confidence: float,
) -> list[dict[str, Any]]:
    """The comparisons that the arms were made for; amounts are those that were really trained on."""

    def amounts(a: str, b: str, key: str) -> str:
        one, two = (training.get(name, {}).get(key, 0) for name in (a, b))
        return f"{one:,} and {two:,} {key}"

    wanted: list[tuple[str, str, str]] = []
    if len(rungs) >= 2:
        last, first = rungs[-1].name, rungs[0].name
        wanted.append((last, first, f"longest against shortest rung ({amounts(last, first, 'samples')})"))
    for arm in arms:
        if arm.of is not None and arm.short is not None and arm.name in training:
            tokens = amounts(arm.of, arm.name, "tokens")
            how = "in short samples" if arm.kind == "token_matched" else "of repeated short samples"
            problems = amounts(arm.of, arm.name, "unique_problems").replace("unique_problems", "different problems")
            wanted.append((arm.of, arm.name, f"long samples against as many tokens {how} ({tokens}; {problems})"))
            if arm.kind == "repeated":
                wanted.append((arm.name, arm.short, "short samples repeated against the same ones seen less often"))
        elif arm.role != "rung" and arm.against is not None and arm.name in training:
            tokens = amounts(arm.name, arm.against, "tokens")
            wanted.append((arm.name, arm.against, f"{arm.description}, against {arm.against} ({tokens})"))
        elif arm.role == "baseline" and rungs:
            wanted.append((rungs[0].name, arm.name, "shortest rung against the untrained model"))
    made = [_contrast(a, b, why, grades, confidence) for a, b, why in wanted]
    return [contrast for contrast in made if contrast is not None]


def _contrast(a: str, b: str, why: str, grades: Mapping[str, Grades], confidence: float) -> dict[str, Any] | None:
    """Accuracy of arm a minus that of arm b, on the same questions, seed by seed."""
    left, right = grades.get(a), grades.get(b)
    if left is None or right is None or left.questions != right.questions:
        return None
    if right.untrained:  # one model stands against every seed of the other arm
        y_left, y_right = left.y_SQ, np.repeat(right.y_SQ, left.y_SQ.shape[0], axis=0)
    else:
        shared = [seed for seed in left.seeds if seed in right.seeds]
        if not shared:
            return None
        y_left = left.y_SQ[[left.seeds.index(seed) for seed in shared]]
        y_right = right.y_SQ[[right.seeds.index(seed) for seed in shared]]
    return {"a": a, "b": b, "why": why, "difference": crossed_mean(y_left - y_right, confidence).as_dict()}
