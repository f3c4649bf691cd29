"""The law over the rungs of a ladder, the shapes it could have, and what its length stands for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from long1k.rows import derive_seed
from long1k.stages.analyze.cells import ArmInfo, Grades
from long1k.statistics.draws import draw_rungs, rung_covariance
from long1k.statistics.predictors import compare_predictors, predictor_lines
from long1k.statistics.rates import Array
from long1k.statistics.scaling import Law, fit_law
from long1k.statistics.shapes import NEAR, as_dicts, compare_shapes, extra_charge, told_apart
from long1k.statistics.verdict import in_points, span

QUANTITIES = {
    "sample_tokens": "tokens a sample",
    "problem_tokens": "tokens a problem",
    "tokens": "tokens trained on",
    "supervised_tokens": "supervised tokens trained on",
    "steps": "optimiser steps",
    "unique_problems": "different problems",
}
"""What a length may stand for; the first is what a ladder varies."""
_MAIN = "sample_tokens"
_RIVALS = ("tokens", "steps", "unique_problems")  # that the verdict speaks of; the others are on the page
# Kinds of arms that differ in amounts alone; of others (shuffled, masked, harder) no amount explains the difference.
_AMOUNTS = (
    "ladder", "same_problems", "token_matched", "step_matched", "problem_matched", "repeated", "single_long", "steps",
)  # fmt: skip
_SHAPE_DRAWS = 1000


def series_of(arms: Sequence[ArmInfo], training: Mapping[str, Mapping[str, Any]]) -> list[tuple[ArmInfo, float]]:
    """The arms that a law is fitted to, each with its length in tokens, short to long.

    The rungs of a ladder have their target; where there is no ladder, sets of solutions to the same problems have the
    mean length of their samples.
    """
    found = [(arm, float(arm.target_tokens or 0)) for arm in arms if arm.role == "rung"]
    if not found:
        sets = [arm for arm in arms if arm.kind == "same_problems"]
        found = [(arm, float(training.get(arm.name, {}).get("mean_sample_tokens", 0))) for arm in sets]
        found = [(arm, length) for arm, length in found if length > 0]
    return sorted(found, key=lambda pair: (pair[1], pair[0].name))


def law_of(
    series: Sequence[tuple[ArmInfo, float]], grades: Mapping[str, Grades], confidence: float, name: str = ""
) -> dict[str, Any] | None:
    """The law over all rungs, on the seeds and questions that every one of them has.

    Args:
        series: arms with their lengths.
        name: of the benchmark; with it the draws for the bands are seeded.
    """
    lengths = [length for _, length in series]
    stacked = _stacked([arm.name for arm, _ in series], grades)
    if stacked is None or len(set(lengths)) < 2 or min(lengths) <= 0:
        return None
    seeds, y = stacked
    seed = derive_seed(0, f"law {name}")
    law = fit_law(lengths, y, confidence, seed=seed)
    shapes = compare_shapes(
        lengths, y.mean(axis=(1, 2)), np.array(law.weights), confidence=confidence, covariance=rung_covariance(y),
        drawn_BR=None if law.slope.low is None else draw_rungs(y, _SHAPE_DRAWS, seed),
    )  # fmt: skip
    said = told_apart(shapes, len(lengths), confidence) if len(lengths) > 2 else []
    return {
        **law.as_dict(), "seeds": seeds, "questions": y.shape[2], "lengths": lengths, "shapes": as_dicts(shapes),
        "said": said, "turn": _turn(law),
    }  # fmt: skip


def _stacked(names: Sequence[str], grades: Mapping[str, Grades]) -> tuple[list[int], Array] | None:
    """(seeds that all arms have, their grades as arms × seeds × questions); None if they cannot be laid together.

    Questions are those that every arm has grades of.
    """
    cells = [grades[name] for name in names if name in grades]
    if len(cells) != len(names) or not cells:
        return None
    shared = set.intersection(*(set(cell.questions) for cell in cells))
    questions = [question for question in cells[0].questions if question in shared]
    seeds = [seed for seed in cells[0].seeds if all(seed in cell.seeds for cell in cells)]
    if not seeds or not questions:
        return None
    return seeds, np.stack([_of(cell, seeds, questions) for cell in cells])


def _of(cell: Grades, seeds: Sequence[int], questions: Sequence[str]) -> Array:
    places = {question: at for at, question in enumerate(cell.questions)}
    rows = [cell.seeds.index(seed) for seed in seeds]
    return np.asarray(cell.y_SQ[np.ix_(rows, [places[question] for question in questions])])


def _turn(law: Law) -> str | None:
    """Whether the curve turns, in words; None where that cannot be asked."""
    top = law.top
    if top is None:
        return None
    ends = (
        f"slope at the shortest rung {in_points(top.slope_short.estimate)} {span(top.slope_short.as_dict())}, at the "
        f"longest {in_points(top.slope_long.estimate)} {span(top.slope_long.as_dict())} a doubling"
    )
    if top.finding == "neither":
        return f"no turn found between the shortest and the longest rung ({ends})"
    where = f"{top.tokens:,.0f} tokens" if top.tokens is not None else "a length that is not known"
    bounds = "" if top.low is None or top.high is None else f" [{top.low:,.0f}, {top.high:,.0f}]"
    rises = "rises and then falls, an inverted U with its top"
    kind = rises if top.finding == "inverted U" else "falls and then rises, a U with its bottom"
    return f"the curve {kind} at {where}{bounds} ({ends})"


def quantities_of(training: Mapping[str, Any]) -> dict[str, float]:
    """What an arm's length may stand for, as far as it is known."""
    found = {name: training.get(name) for name in ("tokens", "supervised_tokens", "steps", "unique_problems")}
    mean = found["sample_tokens"] = training.get("mean_sample_tokens")
    if mean and training.get("samples") and training.get("problems"):
        found["problem_tokens"] = mean * training["samples"] / training["problems"]
    return {name: float(value) for name, value in found.items() if value}


def predictors_of(
    series: Sequence[tuple[ArmInfo, float]],
    arms: Sequence[ArmInfo],
    grades: Mapping[str, Grades],
    training: Mapping[str, Mapping[str, Any]],
    confidence: float,
) -> dict[str, Any] | None:
    """What accuracy follows, over the rungs alone and over all trained arms; None of fewer than three and four."""
    known = {name: quantities_of(values) for name, values in training.items() if values and name in grades}
    rungs = [arm.name for arm, _ in series if arm.name in known]
    everyone = [arm.name for arm in arms if arm.name in known and arm.kind in _AMOUNTS]
    made: dict[str, Any] = {"names": QUANTITIES}
    for label, names in (("rungs", rungs if len(rungs) > 2 else []), ("all", everyone if len(everyone) > 3 else [])):
        shared = [key for key in QUANTITIES if all(key in known[name] for name in names)]
        stacked = _stacked(names, grades)
        if _MAIN not in shared or (label == "all" and len(names) == len(rungs)):
            continue
        if stacked is None:
            if label == "all" and names and ("rungs" in made or not rungs):  # of the rungs it is said with the law
                made["gaps"] = [
                    "what length stands for cannot be asked over all arms, which have no training seed or no question "
                    "in common"
                ]
            continue
        amounts = {key: [known[name][key] for name in names] for key in shared}
        found = compare_predictors(amounts, stacked[1], _MAIN, confidence)
        if _MAIN in found.constant:  # all samples have one length: a question of something else
            continue
        made[label] = {**found.as_dict(), "arms": names, "amounts": amounts,
                       "said": predictor_lines(found, _MAIN, QUANTITIES)}  # fmt: skip
    return made if len(made) > 1 else None


def law_lines(name: str, law: Mapping[str, Any] | None, predictors: Mapping[str, Any] | None) -> list[str]:
    """The verdict's sentences on shape, turn, and what length stands for."""
    lines = []
    if law is not None and law["shapes"] and law["said"]:
        # Over few rungs AICc charges a slope so much that only foretelling is a fair judge.
        more = extra_charge(len(law["lengths"]), 2)
        judge = "a rung that is left out" if more is None or more > 2 * NEAR else "by AICc"
        lines += [line for line in law["said"] if line.startswith(("shapes that miss", judge))]
        if law["turn"] is not None and not law["turn"].startswith("no turn"):
            lines.append(law["turn"])
    for label in ("rungs", "all"):
        found = (predictors or {}).get(label)
        if found is not None:
            kept = ("over these",) if label == "rungs" else tuple(f"at equal {QUANTITIES[key]}:" for key in _RIVALS)
            lines += [line for line in found["said"] if line.startswith(kept)]
    lines += (predictors or {}).get("gaps", [])
    return [f"{name}: {line[:1].upper()}{line[1:]}." for line in lines]


def num_terms(law: Mapping[str, Any] | None, predictors: Mapping[str, Any] | None = None) -> int:
    """Terms that the verdict may speak of: the slope, the bend where there is one, and gains at equal tokens."""
    pairs = (predictors or {}).get("all", {}).get("pairs", [])
    beside = sum(2 for pair in pairs if pair["second"] in _RIVALS and pair["slope_first"] is not None)
    return beside + (0 if law is None else 1 + (law["bend"] is not None))


def amount(rungs: Sequence[ArmInfo], training: Mapping[str, Mapping[str, Any]]) -> str:
    """How much data the rungs have: equal only if their tables say so; of no rungs nothing."""
    if not rungs:
        return ""
    said = []
    for key in ("samples", "steps"):
        found = [training.get(arm.name, {}).get(key) for arm in rungs]
        known = [value for value in found if value is not None]
        if len(known) == len(found):
            said.append((key, min(known), max(known)))
    if not said:
        return "with amounts of data that are not known"
    if all(least == most for _, least, most in said):
        return f"at an equal number of {' and '.join(key for key, *_ in said)}"
    words = (f"{least:,} {key}" if least == most else f"{least:,} to {most:,} {key}" for key, least, most in said)
    return f"with {' and '.join(words)} a rung"
