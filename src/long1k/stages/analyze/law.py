"""The law over the rungs of a ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from long1k.stages.analyze.cells import ArmInfo, Grades
from long1k.statistics.scaling import fit_law


def law_of(rungs: Sequence[ArmInfo], grades: Mapping[str, Grades], confidence: float) -> dict[str, Any] | None:
    """The law over all rungs, on the seeds and questions that every one of them has."""
    cells = [grades[arm.name] for arm in rungs]
    if len({arm.target_tokens for arm in rungs}) < 2 or any(cell.questions != cells[0].questions for cell in cells):
        return None
    seeds = [seed for seed in cells[0].seeds if all(seed in cell.seeds for cell in cells)]
    if not seeds:
        return None
    lengths = [float(arm.target_tokens or 0) for arm in rungs]
    stacked = np.stack([cell.y_SQ[[cell.seeds.index(seed) for seed in seeds]] for cell in cells])
    return {**fit_law(lengths, stacked, confidence).as_dict(), "seeds": seeds}


def num_terms(law: Mapping[str, Any] | None) -> int:
    """Terms of a law that the verdict may speak of: the slope, and the bend where there is one."""
    return 0 if law is None else 1 + (law["bend"] is not None)


def amount(rungs: Sequence[ArmInfo], training: Mapping[str, Mapping[str, Any]]) -> str:
    """How much data the rungs have: equal only if their tables say so; of no rungs nothing."""
    if not rungs:
        return ""
    samples = [training[arm.name].get("samples", 0) for arm in rungs]
    steps = {training[arm.name].get("steps") for arm in rungs}
    if len(set(samples)) == 1 and len(steps) == 1:
        return "at an equal number of samples and steps"
    return f"with {min(samples):,} to {max(samples):,} samples a rung"
