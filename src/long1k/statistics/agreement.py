"""How far two graders agree, beyond what they would agree on by chance."""

from __future__ import annotations

from collections.abc import Mapping


def kappa(counts: Mapping[tuple[bool, bool], int]) -> float | None:
    """Cohen's kappa of two yes/no verdicts (Cohen 1960): (observed - chance) / (1 - chance).

    None where there is nothing to compare, or both always say the same one word (chance agreement is 1).

    Args:
        counts: how often (first says yes, second says yes) was seen.
    """
    total = sum(counts.values())
    if not total:
        return None
    observed = (counts.get((True, True), 0) + counts.get((False, False), 0)) / total
    first = sum(n for (one, _), n in counts.items() if one) / total
    second = sum(n for (_, other), n in counts.items() if other) / total
    chance = first * second + (1 - first) * (1 - second)
    return None if chance >= 1 else (observed - chance) / (1 - chance)
