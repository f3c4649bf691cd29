"""The paired effect between two sides on every benchmark, and the questions whose verdict turned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from long1k.errors import DataError
from long1k.observations import units
from long1k.scored import joined
from long1k.stages.analyze.cells import Grades
from long1k.stages.analyze.tests import compare
from long1k.tables import MANIFEST, read_manifest

_COLUMNS = ("benchmark", "arm", "train_seed", "problem_id", "part_ids", "question", "finish_reason")
_NO_SEED = -1  # of a model that was not trained here
Verdicts = dict[int, dict[str, list[float]]]


@dataclass
class _Cell:
    """Verdicts of one arm on one benchmark: by training seed and question, texts, and what shared a prompt."""

    grades: Verdicts = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)
    prompts: set[frozenset[str]] = field(default_factory=set)
    failed: int = 0
    cut: int = 0
    outputs: int = 0


Cells = dict[tuple[str, str], _Cell]


def effects(
    groups: Sequence[tuple[Sequence[Path], Sequence[Path]]],
    *,
    arm_a: str | None = None,
    arm_b: str | None = None,
    confidence: float = 0.95,
) -> list[dict[str, Any]]:
    """Accuracy of side b minus that of side a, by benchmark and arm, on the questions that both were asked.

    Interval and test are those of a study's findings: paired by question, each side's training seeds its own. Problems
    that stood in one prompt, on either side, are one observation, and then ``questions`` counts problems,
    ``observations`` prompts. With one verdict a question the interval is Tango's, and ``mcnemar`` holds the
    mid-p and the exact p. A question has turned if most of its outputs were right on one side, and most wrong on the
    other; half of them is neither.
    Where several graders read the same outputs, the first by name counts.

    Args:
        groups: scores of a and of b that stand against each other; those of one arm and several seeds together.
        arm_a, arm_b: one arm of each side only.

    Raises:
        DataError: no arm of that name.
    """
    found: dict[tuple[str, str, str], tuple[_Cell, _Cell]] = {}
    seen: tuple[set[str], set[str]] = (set(), set())
    read: tuple[set[str], set[str]] = (set(), set())
    for group in groups:
        sides: tuple[Cells, Cells] = ({}, {})
        for scores, side, names, known in zip(group, sides, seen, read, strict=True):
            for folder in scores:
                graded = read_manifest(folder).inputs.get("predictions", str(folder))
                if graded not in known:
                    known.add(graded)
                    for key, cell in _read(folder).items():
                        _merge(side.setdefault(key, _Cell()), cell)
            names.update(arm for _, arm in side)
        for benchmark, one, other in _matched(sides[0], sides[1], arm_a, arm_b):
            cells = found.setdefault((benchmark, one, other), (_Cell(), _Cell()))
            for cell, side, arm in zip(cells, sides, (one, other), strict=True):
                _merge(cell, side[benchmark, arm])
    for name, arms in ((arm_a, seen[0]), (arm_b, seen[1])):
        if name is not None and name not in arms:
            raise DataError(f"there is no arm '{name}'", f"there are: {', '.join(sorted(arms))}")
    return [_effect(*key, *cells, confidence) for key, cells in found.items()]


def _read(scores: Path) -> Cells:
    cells: Cells = {}
    for row, one in joined(scores, _COLUMNS, _near(scores)):
        cell = cells.setdefault((row["benchmark"], row["arm"]), _Cell())
        asked = row["part_ids"][one["part"]] if one["part"] < len(row["part_ids"]) else row["problem_id"]
        seed = cell.grades.setdefault(_NO_SEED if row["train_seed"] is None else row["train_seed"], {})
        seed.setdefault(asked, []).append(float(one["status"] == "correct"))
        cell.texts.setdefault(asked, row["question"])
        cell.prompts.add(frozenset(row["part_ids"] or [row["problem_id"]]))
        cell.failed += one["status"] in ("error", "timeout")
        cell.cut += row["finish_reason"] == "length"
        cell.outputs += 1
    return cells


def _near(scores: Path) -> Path | None:
    """The predictions beside scores of a run, wherever the run lies now."""
    near = scores.parent.parent.parent / "predict" / scores.parent.name, scores.parent / "predictions"
    wanted = read_manifest(scores).inputs.get("predictions")
    return next((one for one in near if (one / MANIFEST).is_file() and read_manifest(one).digest == wanted), None)


def _matched(a: Cells, b: Cells, arm_a: str | None, arm_b: str | None) -> list[tuple[str, str, str]]:
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
    cell.prompts |= more.prompts
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
    together = units(questions, [*a.prompts, *b.prompts])
    sides = [_grades(cell, together) for cell in (a, b)]
    made = compare(f"{benchmark} {one} {other}", sides[1], sides[0], confidence)
    assert made is not None  # both sides have these questions
    difference, test = made["difference"], made["test"]
    for edge in ("low", "high"):
        if difference[edge] is not None:
            difference[edge] = min(1.0, max(-1.0, difference[edge]))
    rate_a, rate_b = (_array(cell.grades, questions).mean(axis=0) for cell in (a, b))
    turned = [
        {"question_id": name, "a": float(rate_a[at]), "b": float(rate_b[at]),
         "turned": "right" if rate_b[at] > rate_a[at] else "wrong", "question": " ".join(a.texts[name].split())[:200]}
        for at, name in enumerate(questions)
        if (rate_a[at] - 0.5) * (rate_b[at] - 0.5) < 0
    ]  # fmt: skip
    turned.sort(key=lambda row: (str(row["turned"]), -abs(float(row["a"]) - float(row["b"])), str(row["question_id"])))
    return base | {
        "observations": len(together), "accuracy": {"a": float(sides[0].y_SQ.mean()), "b": float(sides[1].y_SQ.mean())},
        "paired": _paired(a.grades, b.grades, len(together) < len(questions)),
        "difference": difference, "p": test["p"], "turned": turned,
        "mcnemar": _flips(test) if "p_exact" in test else None,
    }  # fmt: skip


def _flips(test: Mapping[str, Any]) -> dict[str, Any]:
    return {"gained": test["only_a"], "lost": test["only_b"], "p": test["p"], "p_exact": test["p_exact"]}


def _grades(cell: _Cell, together: Sequence[Sequence[str]]) -> Grades:
    """The grades of a side as findings have them, by observation."""
    seeds = sorted(cell.grades)
    samples = np.array([[max(len(cell.grades[seed][name]) for name in unit) for unit in together] for seed in seeds])
    y = np.array(
        [[np.mean([np.mean(cell.grades[seed][name]) for name in unit]) for unit in together] for seed in seeds]
    )
    unknown = np.full(y.shape, np.nan)
    names = [unit[0] for unit in together]
    return Grades(y, unknown, samples, seeds, names, {}, 0.0, 0.0, untrained=seeds == [_NO_SEED])


def _everywhere(grades: Verdicts) -> set[str]:
    """Questions that every seed was asked."""
    return set.intersection(*(set(questions) for questions in grades.values())) if grades else set()


def _paired(a: Verdicts, b: Verdicts, prompts: bool) -> str:
    """In words how the sides are paired."""
    by = "by prompt" if prompts else "by question"
    if len(a) == len(b) == 1:
        return by
    if len(a) == len(b):
        return f"{by}; {len(a)} training seeds on each side"
    counts = ["one model" if set(side) == {_NO_SEED} else f"{len(side)} training seed{'s'[:len(side) - 1]}"
              for side in (a, b)]  # fmt: skip
    return f"{by}; {counts[0]} against {counts[1]}"


def _array(grades: Verdicts, questions: Sequence[str]) -> Any:
    return np.array([[np.mean(values[name]) for name in questions] for _, values in sorted(grades.items())])
