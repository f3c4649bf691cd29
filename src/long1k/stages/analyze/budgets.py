"""Training length against tokens at inference: the same checkpoints, free, cut short, and forced to think less or more.

Every arm has a curve: accuracy against the mean tokens of an output.  Its points are the outputs as they are, the same
outputs cut at smaller limits, and outputs drawn again under a thinking budget.  Two arms are compared at equal tokens:
one as it answers by itself, the other at the point of its forced curve that takes as many tokens, found on the straight
line between the two points beside it.  Such a point is a weighted mean of grades, so the usual interval serves it:
questions are paired, and seeds are each arm's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from long1k.rows import Prediction
from long1k.stages.analyze.cells import ArmInfo, Cell, Grades, NothingSharedError, grades_of
from long1k.statistics.rates import Array, Interval, crossed_mean, interval_of
from long1k.statistics.variance import parts_of
from long1k.statistics.verdict import in_points, span
from long1k.tables import iter_columns

FREE, FORCED, CUT = "free", "forced", "cut"
_NEAR = 0.02  # relative: so near to the last point a curve is taken to reach


@dataclass(frozen=True, slots=True)
class Point:
    """One point of an arm's curve: grades of shape (seeds, questions) and the mean tokens of an output."""

    how: str
    name: str
    tokens: float
    y_SQ: Array
    seeds: tuple[int, ...]
    questions: tuple[str, ...]


def budgets_of(
    spec: Mapping[str, Any],
    cells: Sequence[Cell],
    arms: Sequence[ArmInfo],
    curves: Mapping[tuple[str, int], Path],
    confidence: float,
) -> dict[str, Any] | None:
    """Curves of all arms and the comparisons of the longest with the shortest rung; None without grades.

    Args:
        spec: ``of``, the benchmark that is answered freely; ``forced``, those that ask the same under a budget.
        curves: for each (arm, seed) the folder of its cut outputs, made by ``stages.curve``.
    """
    shown, found = [], dict[str, list[Point]]()
    for arm in arms:
        own = [cell for cell in cells if cell.arm == arm.name]
        made = _points(spec, own, curves)
        if made:
            found[arm.name] = made
            shown.append({"arm": arm.name, "role": arm.role, "points": [_plain(one, confidence) for one in made]})
    if not shown:
        return None
    rungs = sorted((a for a in arms if a.role == "rung" and a.name in found), key=lambda a: a.target_tokens or 0)
    lines: list[str] = []
    comparisons = []
    if len(rungs) > 1:
        short, long = rungs[0].name, rungs[-1].name
        for free, forced in ((long, short), (short, long)):
            one = _at_equal_tokens(free, forced, found, confidence)
            comparisons.append(one)
            lines.append(_sentence(str(spec["of"]), one, confidence))
    return {"of": spec["of"], "arms": shown, "comparisons": comparisons, "verdict": lines}


def _points(spec: Mapping[str, Any], cells: Sequence[Cell], curves: Mapping[tuple[str, int], Path]) -> list[Point]:
    made = []
    for name in (spec["of"], *spec["forced"]):
        own = [cell for cell in cells if cell.benchmark == name]
        try:
            grades = grades_of(own) if own else None
        except NothingSharedError:  # said where the benchmark itself is analyzed
            grades = None
        if grades is not None:
            made.append(_graded(FREE if name == spec["of"] else FORCED, name, grades))
    own = [cell for cell in cells if cell.benchmark == spec["of"] and (cell.arm, cell.seed) in curves]
    return made + (_cut(own, curves) if own else [])


def _graded(how: str, name: str, g: Grades) -> Point:
    return Point(how, name, g.mean_tokens, g.y_SQ, tuple(g.seeds), tuple(g.questions))


def _cut(cells: Sequence[Cell], curves: Mapping[tuple[str, int], Path]) -> list[Point]:
    """The outputs as they are stored, cut at every limit."""
    right: dict[int, dict[tuple[int, str], list[float]]] = {}
    tokens: dict[int, list[float]] = {}
    for cell in cells:
        question = {
            row["prediction_id"]: row["problem_id"]
            for row in iter_columns(cell.predictions, Prediction, ("prediction_id", "problem_id"))
        }
        for row in pq.read_table(curves[cell.arm, cell.seed] / "verdicts.parquet").to_pylist():
            limit = row["budget_tokens"]
            if limit is not None:
                key = (cell.seed, question[row["prediction_id"]])
                right.setdefault(limit, {}).setdefault(key, []).append(float(row["status"] == "correct"))
                tokens.setdefault(limit, []).append(row["tokens"])
    made = []
    for limit, table in sorted(right.items()):
        seeds, asked = sorted({key[0] for key in table}), sorted({key[1] for key in table})
        questions = [question for question in asked if all((seed, question) in table for seed in seeds)]
        if not questions:
            continue
        y = np.array([[np.mean(table[seed, question]) for question in questions] for seed in seeds])
        made.append(Point(CUT, f"{limit:,} tokens", float(np.mean(tokens[limit])), y, tuple(seeds), tuple(questions)))
    return made


def _plain(point: Point, confidence: float) -> dict[str, Any]:
    accuracy = crossed_mean(point.y_SQ, confidence, (0.0, 1.0)).as_dict()
    return {"how": point.how, "name": point.name, "mean_tokens": point.tokens, "accuracy": accuracy}


def _at_equal_tokens(free: str, forced: str, found: Mapping[str, Sequence[Point]], confidence: float) -> dict[str, Any]:
    """Arm ``free`` as it answers by itself minus arm ``forced`` made to take as many tokens; why not, where it cannot
    be said."""
    own = next((point for point in found[free] if point.how == FREE), None)
    curve = sorted((p for p in found[forced] if p.how in (FREE, FORCED)), key=lambda point: point.tokens)
    entry: dict[str, Any] = {
        "free": free, "forced": forced, "tokens": None if own is None else own.tokens,
        "reach": [curve[0].tokens, curve[-1].tokens] if curve else None,
        "difference": None, "between": None, "why": None, "left_out": 0,
    }  # fmt: skip
    if own is None:
        return entry | {"why": f"there are no free outputs of {free}"}
    if not curve:
        return entry | {"why": f"there are neither free nor forced outputs of {forced}"}
    at = on_curve([point.tokens for point in curve], own.tokens)
    if at is None:
        low, high = curve[0].tokens, curve[-1].tokens
        return entry | {"why": f"the budgets of {forced} lead from {low:,.1f} to {high:,.1f} tokens"}
    left, right, weight = curve[at[0]], curve[at[1]], at[2]
    entry["between"] = list(dict.fromkeys((left.name, right.name)))
    seeds = [seed for seed in left.seeds if seed in right.seeds]
    if not seeds:
        return entry | {"why": f"{left.name} and {right.name} of {forced} have no training seed in common"}
    everyone = [set(point.questions) for point in (own, left, right)]
    shared = [question for question in own.questions if all(question in one for one in everyone)]
    if not shared:
        return entry | {"why": f"{free} and {forced} have no question in common"}
    y = (1 - weight) * _at(left, seeds, shared) + weight * _at(right, seeds, shared)
    parts = parts_of([_at(own, own.seeds, shared), y], [1.0, -1.0])
    return entry | {
        "difference": interval_of(parts, confidence).as_dict(), "left_out": len(set.union(*everyone)) - len(shared),
    }  # fmt: skip


def _at(point: Point, seeds: Sequence[int], questions: Sequence[str]) -> Array:
    """A point's grades of some seeds and questions."""
    places = {question: at for at, question in enumerate(point.questions)}
    rows = [point.seeds.index(seed) for seed in seeds]
    return np.asarray(point.y_SQ[np.ix_(rows, [places[question] for question in questions])])


def on_curve(tokens: Sequence[float], wanted: float) -> tuple[int, int, float] | None:
    """(left, right, weight of right): where on a curve of rising tokens so many are taken; None beyond its ends."""
    if wanted < tokens[0] * (1 - _NEAR) or wanted > tokens[-1] * (1 + _NEAR):
        return None
    at = min(max(wanted, tokens[0]), tokens[-1])
    right = next(place for place, value in enumerate(tokens) if value >= at)
    left = max(0, right - 1)
    width = tokens[right] - tokens[left]
    return left, right, 1.0 if width == 0 else (at - tokens[left]) / width


def _sentence(of: str, one: Mapping[str, Any], confidence: float) -> str:
    free, forced, tokens = one["free"], one["forced"], one["tokens"]
    what = f"{free} by itself against {forced} under a budget"
    if tokens is not None:
        what = f"at {tokens:,.1f} tokens an output, {what}"
    difference = one["difference"]
    if difference is None:
        return f"{of}: {what}: nothing can be said: {one['why']}."
    figures = f"{in_points(difference['estimate'])}, {round(100 * confidence)} % interval {span(difference)}"
    if one["left_out"]:
        figures += f", on the {difference['num_questions']:,} questions that all have"
    found = Interval(**difference)
    if found.low is None:
        return f"{of}: {what}: nothing can be said ({figures})."
    if not found.excludes(0.0):
        return f"{of}: {what}: no difference found ({figures})."
    return f"{of}: {what}: {free} is {'higher' if found.estimate > 0 else 'lower'} ({figures})."
