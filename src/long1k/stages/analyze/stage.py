"""analyze: scores of all arms -> findings: rates, the law, contrasts, a verdict in words.

Every sentence of the verdict is chosen by an interval, never by hand.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from long1k.errors import DataError
from long1k.stages.analyze.beside import beside_of
from long1k.stages.analyze.cells import ArmInfo, Cell, Grades, describe, grades_of, training_of
from long1k.stages.analyze.contrasts import contrasts_of
from long1k.stages.analyze.data import data_of, data_verdict
from long1k.stages.analyze.law import amount, law_lines, law_of, num_terms, predictors_of, series_of
from long1k.stages.analyze.published import published_of
from long1k.statistics.rates import crossed_mean
from long1k.statistics.verdict import verdict
from long1k.tables import (
    Manifest,
    begin,
    digest_json,
    fingerprint,
    finish,
    is_current,
    read_manifest,
    write_atomic,
)

STAGE = "analyze/1"
FINDINGS = "findings.json"


def analyze(
    out: Path,
    cells: Sequence[Cell],
    arms: Sequence[ArmInfo],
    *,
    study: Mapping[str, Any],
    published: Mapping[str, tuple[Path, Path]] | None = None,
    data: Mapping[str, Path] | None = None,
    paper: Sequence[str] = (),
    confidence: float = 0.95,
    root: Path,
) -> Manifest:
    """Write findings.json; a finished analysis of the same scores is left alone.

    Args:
        study: name, description and notes, shown on the page.
        published: name -> (predictions, scores) of outputs made elsewhere.
        data: arm -> Example table, for studies that make data only.
        paper: experiments of the paper whose figures are laid beside ours.
        root: paths in the findings are relative to it.

    Raises:
        DataError: there is nothing to analyze.
    """
    published, data = published or {}, data or {}
    settings: dict[str, Any] = {
        "study": dict(study), "confidence": confidence, "arms": [describe(a) for a in arms],
        "paper": list(paper),
    }  # fmt: skip
    inputs: dict[str, str] = {}
    for c in cells:
        for kind in ("predictions", "scores", "examples", "checkpoint"):
            folder = getattr(c, kind)
            if folder is not None:
                inputs[f"{c.benchmark}/{c.arm}/{c.seed}/{kind}"] = read_manifest(folder).digest
    for name, (predictions, scores) in published.items():
        inputs[f"published/{name}/predictions"] = read_manifest(predictions).digest
        inputs[f"published/{name}/scores"] = read_manifest(scores).digest
    inputs |= {f"data/{name}": read_manifest(path).digest for name, path in data.items()}
    if not inputs:
        raise DataError("there is nothing to analyze", "run the study first")
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    started = time.time()
    begin(out, STAGE, settings, inputs)
    benchmarks = []
    for name in dict.fromkeys(cell.benchmark for cell in cells):
        benchmarks.append(_benchmark(name, [c for c in cells if c.benchmark == name], arms, confidence, root))
    beside = [beside_of(name, benchmarks, confidence) for name in paper]
    for entry in benchmarks:
        for other in beside:
            if entry["benchmark"] in other["compared"]:
                said = other["compared"][entry["benchmark"]]
                entry["verdict"].append(
                    f"{entry['benchmark']}: beside the paper's experiment {other['experiment']}: {said}."
                )
    findings = {
        **study,
        "confidence": confidence,
        "benchmarks": benchmarks,
        "data": {name: data_of(path, root) for name, path in data.items()},
        "published": [published_of(name, *paths, confidence, root) for name, paths in published.items()],
        "paper": beside,
    }
    comparisons = sum(len(b["contrasts"]) + num_terms(b["law"], b["predictors"]) for b in benchmarks)
    if comparisons > 1:
        findings["notes"] = [
            *findings.get("notes", []),
            f"Every interval stands for one comparison. Of {comparisons} comparisons of arms that do not differ, about "
            f"{(1 - confidence) * comparisons:.1g} would exclude zero by chance.",
        ]
    findings["verdict"] = [line for b in benchmarks for line in b["verdict"]] + data_verdict(findings)
    text = json.dumps(findings, indent=1, ensure_ascii=False)
    write_atomic(out / FINDINGS, text.encode())
    return finish(
        out, stage=STAGE, config=settings, inputs=inputs, digest=digest_json(findings), files=[out / FINDINGS],
        started=started, rows_in=len(inputs), rows_out=len(inputs),
    )  # fmt: skip


def _benchmark(
    name: str, cells: Sequence[Cell], arms: Sequence[ArmInfo], confidence: float, root: Path
) -> dict[str, Any]:
    grades: dict[str, Grades] = {}
    shown: list[dict[str, Any]] = []
    for arm in arms:
        own = [cell for cell in cells if cell.arm == arm.name]
        if not own:
            continue
        g = grades[arm.name] = grades_of(own)
        shown.append(
            {
                **describe(arm),
                "seeds": g.seeds,
                "accuracy": crossed_mean(g.y_SQ, confidence, (0.0, 1.0)).as_dict(),
                "accuracy_by_seed": {str(s): float(row.mean()) for s, row in zip(g.seeds, g.y_SQ, strict=True)},
                "statuses": g.statuses,
                "mean_output_tokens": g.mean_tokens,
                "cut_frac": g.cut,
                "training": training_of(own[0]),
                "rows": [str(cell.scores.relative_to(root)) for cell in own],
            }
        )
    training = {arm["name"]: arm["training"] for arm in shown}
    series = series_of([arm for arm in arms if arm.name in grades], training)
    rungs = [arm for arm, _ in series]
    for arm, length in series:
        next(one for one in shown if one["name"] == arm.name)["law_tokens"] = length
    law = law_of(series, grades, confidence, name)
    predictors = predictors_of(series, arms, grades, training, confidence)
    contrasts = contrasts_of(arms, rungs, grades, training, confidence)
    questions = len(next(iter(grades.values())).questions)
    return {
        "benchmark": name, "questions": questions, "arms": shown, "law": law, "predictors": predictors,
        "contrasts": contrasts,
        "verdict": verdict(name, law, contrasts, rungs, confidence, amount(rungs, training))
        + law_lines(name, law, predictors) + _failed(name, shown),
    }  # fmt: skip


def _failed(name: str, shown: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence on grades that failed: they are not verdicts, though the rates count them as not correct."""
    total = sum(sum(arm["statuses"].values()) for arm in shown)
    failed = sum(arm["statuses"].get(status, 0) for arm in shown for status in ("error", "timeout"))
    lines = []
    if failed:
        lines.append(
            f"{name}: {failed:,} of {total:,} answers could not be graded; the rates count them as not correct."
        )
    cut = [arm for arm in shown if arm["cut_frac"] > 0.02]
    if cut:
        worst = max(cut, key=lambda arm: float(arm["cut_frac"]))
        lines.append(
            f"{name}: more than 2 % of the outputs were cut at max_new_tokens in {len(cut)} of {len(shown)} arms, "
            f"{100 * worst['cut_frac']:.0f} % in {worst['name']}; their accuracy is a lower bound."
        )
    return lines
