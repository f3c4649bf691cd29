"""The paired effect between two sides on every benchmark, and the questions whose verdict turned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from long1k.errors import DataError
from long1k.scored import joined
from long1k.stages.analyze.tests import one_verdict
from long1k.statistics.rates import Interval, crossed_mean
from long1k.tables import MANIFEST, read_manifest

_COLUMNS = ("benchmark", "arm", "train_seed", "problem_id", "part_ids", "question", "finish_reason")
_NO_SEED = -1  # of a model that was not trained here
Grades = dict[int, dict[str, list[float]]]


@dataclass
class _Cell:
    """Verdicts of one arm on one benchmark: by training seed and question, and each question's text."""

    grades: Grades = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    failed: int = 0
    cut: int = 0
    outputs: int = 0


def effects(
    pairs: Sequence[tuple[str, Path, Path]],
    *,
    arm_a: str | None = None,
    arm_b: str | None = None,
    confidence: float = 0.95,
) -> list[dict[str, Any]]:
    """Accuracy of side b minus that of side a, by benchmark and arm, on the questions that both were asked.

    The interval covers training seeds and questions, both paired; where the sides have no training seed in common,
    their means over seeds are compared, and it covers questions only. With one verdict a question it is Tango's, and
    ``mcnemar`` holds the mid-p and the exact p, as in a study's tables. A question has turned if most of its outputs
    were right on one side, and not on the other. Where several graders read the same outputs, the first by name counts.

    Args:
        pairs: (place, scores of a, scores of b).
        arm_a, arm_b: one arm of each side only.

    Raises:
        DataError: no arm of that name.
    """
    found: dict[tuple[str, str, str], tuple[_Cell, _Cell]] = {}
    seen: tuple[set[str], set[str]] = (set(), set())
    read: set[tuple[str, ...]] = set()
    for _, scores_a, scores_b in sorted(pairs, key=lambda pair: pair[0]):
        graded = tuple(read_manifest(one).inputs.get("predictions", str(one)) for one in (scores_a, scores_b))
        if graded in read:
            continue
        read.add(graded)
        sides = _read(scores_a), _read(scores_b)
        for side, names in zip(sides, seen, strict=True):
            names.update(arm for _, arm in side)
        for benchmark, one, other in _matched(sides[0], sides[1], arm_a, arm_b):
            cells = found.setdefault((benchmark, one, other), (_Cell(), _Cell()))
            for cell, side, arm in zip(cells, sides, (one, other), strict=True):
                _merge(cell, side[benchmark, arm])
    for name, names in ((arm_a, seen[0]), (arm_b, seen[1])):
        if name is not None and name not in names:
            raise DataError(f"there is no arm '{name}'", f"there are: {', '.join(sorted(names))}")
    return [_effect(*key, *cells, confidence) for key, cells in found.items()]


def _read(scores: Path) -> dict[tuple[str, str], _Cell]:
    cells: dict[tuple[str, str], _Cell] = {}
    for row, one in joined(scores, _COLUMNS, _near(scores)):
        cell = cells.setdefault((row["benchmark"], row["arm"]), _Cell())
        asked = row["part_ids"][one["part"]] if one["part"] < len(row["part_ids"]) else row["problem_id"]
        seed = cell.grades.setdefault(_NO_SEED if row["train_seed"] is None else row["train_seed"], {})
        seed.setdefault(asked, []).append(float(one["status"] == "correct"))
        cell.texts.setdefault(asked, row["question"])
        cell.failed += one["status"] in ("error", "timeout")
        cell.cut += row["finish_reason"] == "length"
        cell.outputs += 1
    return cells


def _near(scores: Path) -> Path | None:
    """The predictions beside scores of a run, wherever the run lies now."""
    near = scores.parent.parent.parent / "predict" / scores.parent.name, scores.parent / "predictions"
    wanted = read_manifest(scores).inputs.get("predictions")
    return next((one for one in near if (one / MANIFEST).is_file() and read_manifest(one).digest == wanted), None)


def _matched(
    a: dict[tuple[str, str], _Cell], b: dict[tuple[str, str], _Cell], arm_a: str | None, arm_b: str | None
) -> list[tuple[str, str, str]]:
    """(benchmark, arm of a, arm of b): of one name, or the only ones of a benchmark."""
    found = []
    for benchmark in dict.fromkeys(name for name, _ in a):
        ones = [arm for name, arm in a if name == benchmark and arm_a in (None, arm)]
        others = [arm for name, arm in b if name == benchmark and arm_b in (None, arm)]
        if len(ones) == len(others) == 1:
            found.append((benchmark, ones[0], others[0]))
        else:
            found += [(benchmark, arm, arm) for arm in ones if arm in others]
    return found


def _merge(cell: _Cell, more: _Cell) -> None:
    for seed, questions in more.grades.items():
        for question, values in questions.items():
            cell.grades.setdefault(seed, {}).setdefault(question, []).extend(values)
    cell.texts |= more.texts
    cell.failed += more.failed
    cell.cut += more.cut
    cell.outputs += more.outputs


def _effect(benchmark: str, one: str, other: str, a: _Cell, b: _Cell, confidence: float) -> dict[str, Any]:
    asked_a, asked_b = _everywhere(a.grades), _everywhere(b.grades)
    questions = sorted(asked_a & asked_b)
    base: dict[str, Any] = {
        "benchmark": benchmark, "arm_a": one, "arm_b": other, "questions": len(questions),
        "only_a": len(asked_a - asked_b), "only_b": len(asked_b - asked_a),
        "not_gradable": {"a": a.failed, "b": b.failed},
        "cut_frac": {"a": a.cut / a.outputs, "b": b.cut / b.outputs},
    }  # fmt: skip
    if not questions:
        return base | {"difference": None, "why": "no question was asked on both sides", "turned": []}
    y_a, y_b, paired = _paired(a.grades, b.grades, questions)
    once = len(a.grades) == len(b.grades) == 1 and all(
        len(values[name]) == 1 for side in (a, b) for values in side.grades.values() for name in questions
    )
    flat = one_verdict(y_b, y_a, once, confidence)
    rate_a, rate_b = y_a.mean(axis=0), y_b.mean(axis=0)
    turned = [
        {"question_id": name, "a": float(rate_a[at]), "b": float(rate_b[at]),
         "turned": "right" if rate_b[at] > rate_a[at] else "wrong", "question": " ".join(a.texts[name].split())[:200]}
        for at, name in enumerate(questions)
        if (rate_a[at] > 0.5) != (rate_b[at] > 0.5)
    ]  # fmt: skip
    turned.sort(key=lambda row: (str(row["turned"]), -abs(float(row["a"]) - float(row["b"])), str(row["question_id"])))
    return base | {
        "accuracy": {"a": float(rate_a.mean()), "b": float(rate_b.mean())}, "paired": paired,
        "difference": _difference(y_b - y_a, confidence).as_dict() if flat is None else flat["difference"],
        "turned": turned, "mcnemar": None if flat is None else _flips(flat["test"]),
    }  # fmt: skip


def _flips(test: Mapping[str, Any]) -> dict[str, Any]:
    return {"gained": test["only_a"], "lost": test["only_b"], "p": test["p"], "p_exact": test["p_exact"]}


def _difference(y_SQ: Any, confidence: float) -> Interval:
    """The mean of paired differences, within ±1."""
    found = crossed_mean(y_SQ, confidence)
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(-1.0, found.low), high=min(1.0, found.high))


def _everywhere(grades: Grades) -> set[str]:
    """Questions that every seed was asked."""
    return set.intersection(*(set(questions) for questions in grades.values())) if grades else set()


def _paired(a: Grades, b: Grades, questions: Sequence[str]) -> tuple[Any, Any, str]:
    """Grades of both sides, shape (seeds, questions), and in words how they are paired."""
    y_a, y_b = _array(a, questions, sorted(a)), _array(b, questions, sorted(b))
    if len(a) == len(b) == 1:
        return y_a, y_b, "by question"
    shared = sorted(set(a) & set(b))
    if shared:
        words = f"by question and training seed ({len(shared)} in common)"
        return _array(a, questions, shared), _array(b, questions, shared), words
    if set(a) == {_NO_SEED} or set(b) == {_NO_SEED}:  # one model stands against every seed of the other side
        y_a, y_b = np.broadcast_arrays(y_a, y_b)
        return y_a, y_b, "by question; one model against every training seed of the other side"
    means = y_a.mean(axis=0, keepdims=True), y_b.mean(axis=0, keepdims=True)
    return *means, "by question, means over training seeds: none in common"


def _array(grades: Grades, questions: Sequence[str], seeds: Sequence[int]) -> Any:
    return np.array([[np.mean(grades[seed][name]) for name in questions] for seed in seeds])
