"""Outputs that somebody else published: their rates, and how far our grader agrees with their labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from long1k.rows import Prediction, Score
from long1k.statistics.rates import crossed_mean
from long1k.tables import read_table


def published_of(name: str, predictions: Path, scores: Path, confidence: float, root: Path) -> dict[str, Any]:
    """Rates of published outputs by run, and how often our grader and their label agree."""
    rows = {row.prediction_id: row for row in read_table(predictions, Prediction)}
    by_run: dict[str, dict[str, Any]] = {}
    disagreements = []
    grades: dict[str, dict[str, list[float]]] = {}
    for score in read_table(scores, Score):
        row = rows[score.prediction_id]
        run = by_run.setdefault(
            row.arm,
            {
                "run": row.arm,
                "outputs": 0,
                "correct": 0,
                "label_correct": 0,
                "agree": 0,
                "labelled": 0,
                "not_gradable": 0,
            },
        )
        right = score.status == "correct"
        run["outputs"] += 1
        run["correct"] += right
        grades.setdefault(row.arm, {}).setdefault(row.problem_id, []).append(float(right))
        if row.label is not None:
            run["label_correct"] += row.label
            if score.status in ("error", "timeout"):  # no verdict, so neither agreement nor disagreement
                run["not_gradable"] += 1
            else:
                run["labelled"] += 1
                run["agree"] += right == row.label
            if score.status not in ("error", "timeout") and right != row.label:
                disagreements.append(
                    {
                        "prediction_id": row.prediction_id,
                        "run": row.arm,
                        "gold": row.answers[score.part],
                        "extracted": score.extracted,
                        "status": score.status,
                        "label": row.label,
                    }
                )
    for arm, run in by_run.items():
        y = np.array([[float(np.mean(v)) for v in grades[arm].values()]])
        run["accuracy"] = crossed_mean(y, confidence, (0.0, 1.0)).as_dict()
    total = sum(run["labelled"] for run in by_run.values())
    return {
        "name": name, "runs": list(by_run.values()), "labelled": total,
        "not_gradable": sum(run["not_gradable"] for run in by_run.values()),
        "agreement": sum(run["agree"] for run in by_run.values()) / total if total else None,
        "disagreements": disagreements, "rows": str(scores.relative_to(root)),
    }  # fmt: skip
