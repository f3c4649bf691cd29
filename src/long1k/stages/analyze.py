"""analyze: scores of all arms -> findings: rates, the law, contrasts, a verdict in words.

Every sentence of the verdict is chosen by an interval, never by hand.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from long1k.errors import DataError
from long1k.rows import STATUSES, Prediction, Score
from long1k.statistics.rates import Array, crossed_mean
from long1k.statistics.scaling import fit_law
from long1k.statistics.verdict import verdict
from long1k.tables import (
    Manifest,
    begin,
    digest_json,
    fingerprint,
    finish,
    is_current,
    read_manifest,
    read_table,
    write_atomic,
)

STAGE = "analyze/1"
FINDINGS = "findings.json"


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm and seed on one benchmark: where its tables lie."""

    arm: str
    seed: int
    benchmark: str
    predictions: Path
    scores: Path
    examples: Path | None
    checkpoint: Path | None


@dataclass(frozen=True, slots=True)
class ArmInfo:
    """What an arm is, for the analysis."""

    name: str
    role: str
    kind: str
    target_tokens: int | None
    of: str | None
    short: str | None = None
    against: str | None = None
    description: str = ""


def analyze(
    out: Path,
    cells: Sequence[Cell],
    arms: Sequence[ArmInfo],
    *,
    study: Mapping[str, Any],
    published: Mapping[str, tuple[Path, Path]] | None = None,
    data: Mapping[str, Path] | None = None,
    confidence: float = 0.95,
    root: Path,
) -> Manifest:
    """Write findings.json; a finished analysis of the same scores is left alone.

    Args:
        study: name, description and notes, shown on the page.
        published: name -> (predictions, scores) of outputs made elsewhere.
        data: arm -> Example table, for studies that make data only.
        root: paths in the findings are relative to it.

    Raises:
        DataError: there is nothing to analyze.
    """
    published, data = published or {}, data or {}
    settings: dict[str, Any] = {
        "study": dict(study), "confidence": confidence, "arms": [_arm(a) for a in arms],
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
    findings = {
        **study,
        "confidence": confidence,
        "benchmarks": benchmarks,
        "data": {name: _data(path, root) for name, path in data.items()},
        "published": [_published(name, *paths, confidence, root) for name, paths in published.items()],
    }
    comparisons = sum(len(b["contrasts"]) + _num_terms(b["law"]) for b in benchmarks)
    if comparisons > 1:
        findings["notes"] = [
            *findings.get("notes", []),
            f"Every interval stands for one comparison. Of {comparisons} comparisons of arms that do not differ, about "
            f"{(1 - confidence) * comparisons:.1g} would exclude zero by chance.",
        ]
    findings["verdict"] = [line for b in benchmarks for line in b["verdict"]] + _data_verdict(findings)
    text = json.dumps(findings, indent=1, ensure_ascii=False)
    write_atomic(out / FINDINGS, text.encode())
    return finish(
        out, stage=STAGE, config=settings, inputs=inputs, digest=digest_json(findings), files=[out / FINDINGS],
        started=started, rows_in=len(inputs), rows_out=len(inputs),
    )  # fmt: skip


def _num_terms(law: Mapping[str, Any] | None) -> int:
    """Terms of a law that the verdict may speak of: the slope, and the bend where there is one."""
    return 0 if law is None else 1 + (law["bend"] is not None)


def _arm(arm: ArmInfo) -> dict[str, Any]:
    names = ("name", "role", "kind", "target_tokens", "of", "short", "against", "description")
    return {name: getattr(arm, name) for name in names}


@dataclass(frozen=True, slots=True)
class _Grades:
    """Grades of one arm on one benchmark, shape (seeds, questions), and what else was seen."""

    y_SQ: Array
    seeds: list[int]
    questions: list[str]
    statuses: dict[str, int]
    mean_tokens: float
    cut: float
    untrained: bool


def _grades(cells: Sequence[Cell]) -> _Grades:
    """Share correct of every (seed, question), over parts and samples."""
    table: dict[tuple[int, str], list[float]] = {}
    statuses = dict.fromkeys(STATUSES, 0)
    lengths: list[int] = []
    cut = 0
    for cell in cells:
        question_of: dict[str, str] = {}
        for prediction in read_table(cell.predictions, Prediction):
            question_of[prediction.prediction_id] = prediction.problem_id
            lengths.append((prediction.num_thinking_tokens or 0) + (prediction.num_answer_tokens or 0))
            cut += prediction.finish_reason == "length"
        for score in read_table(cell.scores, Score):
            statuses[score.status] += 1
            table.setdefault((cell.seed, question_of[score.prediction_id]), []).append(float(score.status == "correct"))
    seeds = sorted({seed for seed, _ in table})
    questions = sorted({question for _, question in table})
    missing = [(seed, question) for seed in seeds for question in questions if (seed, question) not in table]
    if missing:
        raise DataError(
            f"{cells[0].benchmark}, arm {cells[0].arm}: {len(missing)} cells without grades, the first is seed "
            f"{missing[0][0]}, question {missing[0][1]}",
            "predict and score all seeds on the same benchmark",
        )
    y = np.array([[np.mean(table[seed, question]) for question in questions] for seed in seeds])
    share = cut / len(lengths)
    kept = {status: count for status, count in statuses.items() if count}
    untrained = all(cell.checkpoint is None for cell in cells)
    return _Grades(y, seeds, questions, kept, float(np.mean(lengths)), share, untrained)


def _benchmark(
    name: str, cells: Sequence[Cell], arms: Sequence[ArmInfo], confidence: float, root: Path
) -> dict[str, Any]:
    grades: dict[str, _Grades] = {}
    shown: list[dict[str, Any]] = []
    for arm in arms:
        own = [cell for cell in cells if cell.arm == arm.name]
        if not own:
            continue
        g = grades[arm.name] = _grades(own)
        shown.append(
            {
                **_arm(arm),
                "seeds": g.seeds,
                "accuracy": crossed_mean(g.y_SQ, confidence, (0.0, 1.0)).as_dict(),
                "accuracy_by_seed": {str(s): float(row.mean()) for s, row in zip(g.seeds, g.y_SQ, strict=True)},
                "statuses": g.statuses,
                "mean_output_tokens": g.mean_tokens,
                "cut_frac": g.cut,
                "training": _training(own[0]),
                "rows": [str(cell.scores.relative_to(root)) for cell in own],
            }
        )
    rungs = sorted(
        (a for a in arms if a.role == "rung" and a.name in grades), key=lambda arm: (arm.target_tokens or 0, arm.name)
    )
    training = {arm["name"]: arm["training"] for arm in shown}
    law = _law(rungs, grades, confidence)
    contrasts = _contrasts(arms, rungs, grades, training, confidence)
    questions = len(next(iter(grades.values())).questions)
    return {
        "benchmark": name, "questions": questions, "arms": shown, "law": law, "contrasts": contrasts,
        "verdict": verdict(name, law, contrasts, rungs, confidence, _amount(rungs, training)) + _failed(name, shown),
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


def _training(cell: Cell) -> dict[str, Any]:
    """What the arm was trained on, from the manifests of its first seed."""
    found: dict[str, Any] = {}
    if cell.examples is not None:
        groups = read_manifest(cell.examples).info["groups"]
        found |= {"samples": sum(g["made"] for g in groups), "problems": sum(g["problems"] for g in groups)}
        found["unique_problems"] = sum(g["unique_problems"] for g in groups)
        found["sample_tokens"] = [min(g["min_tokens"] for g in groups), max(g["max_tokens"] for g in groups)]
    if cell.checkpoint is not None:
        info = read_manifest(cell.checkpoint).info
        found |= {key: info[key] for key in ("steps", "tokens", "supervised_tokens", "final_loss") if key in info}
    return found


def _law(rungs: Sequence[ArmInfo], grades: Mapping[str, _Grades], confidence: float) -> dict[str, Any] | None:
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


def _amount(rungs: Sequence[ArmInfo], training: Mapping[str, Mapping[str, Any]]) -> str:
    """How much data the rungs have: equal only if their tables say so."""
    samples = [training[arm.name].get("samples", 0) for arm in rungs]
    steps = {training[arm.name].get("steps") for arm in rungs}
    if len(set(samples)) == 1 and len(steps) == 1:
        return "at an equal number of samples and steps"
    return f"with {min(samples):,} to {max(samples):,} samples a rung"


def _contrast(a: str, b: str, why: str, grades: Mapping[str, _Grades], confidence: float) -> dict[str, Any] | None:
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


def _contrasts(
    arms: Sequence[ArmInfo],
    rungs: Sequence[ArmInfo],
    grades: Mapping[str, _Grades],
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


def _data(path: Path, root: Path) -> dict[str, Any]:
    manifest = read_manifest(path)
    return {"groups": manifest.info["groups"], "rows": str(path.relative_to(root)), "digest": manifest.digest}


def _published(name: str, predictions: Path, scores: Path, confidence: float, root: Path) -> dict[str, Any]:
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


def _reached(group: Mapping[str, Any]) -> str:
    """How well a group has the lengths that it was made to; of one without a target what its length is."""
    exact, within = group["exactly_on_target"], f"{100 * group['within_tolerance']:.0f} % within"
    if group["target"] is not None:
        return f", {100 * exact:.0f} % exactly on target, {within} ±{group['tolerance_tokens']} tokens"
    if exact is not None:  # each sample has a target of its own
        return f" (length: {group['wanted']}), {100 * exact:.0f} % exactly on target, {within} the tolerance"
    return f" (length: {group['wanted']})"


def _data_verdict(findings: Mapping[str, Any]) -> list[str]:
    lines = []
    for name, arm in findings["data"].items():
        for group in arm["groups"]:
            share = f"{group['made']} of {group['requested']} samples made"
            lengths = f"{group['min_tokens']:,}–{group['max_tokens']:,} tokens"
            lines.append(f"{name}: {share}, {lengths}{_reached(group)}.")
    for entry in findings["published"]:
        if entry["agreement"] is not None:
            lines.append(
                f"{entry['name']}: grader and published labels agree on {100 * entry['agreement']:.2f} % of "
                f"{entry['labelled']:,} gradable outputs ({entry['not_gradable']} more could not be graded); all "
                f"{len(entry['disagreements'])} that differ from their label are listed."
            )
    return lines
