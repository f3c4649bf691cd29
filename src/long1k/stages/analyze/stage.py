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

from long1k.errors import DataError
from long1k.stages.analyze.beside import beside_lines, beside_of
from long1k.stages.analyze.budgets import budgets_of
from long1k.stages.analyze.cells import (
    ArmInfo,
    Cell,
    Grades,
    NothingSharedError,
    describe,
    grades_of,
    training_of,
)
from long1k.stages.analyze.contrasts import contrasts_of, without_common
from long1k.stages.analyze.data import data_of, data_verdict
from long1k.stages.analyze.gaps import failed_lines, gap_lines, missing_lines, once_lines
from long1k.stages.analyze.law import amount, law_lines, law_of, num_terms, predictors_of, series_of
from long1k.stages.analyze.ledger import ledger_of
from long1k.stages.analyze.outputs import outputs_of
from long1k.stages.analyze.published import published_of
from long1k.stages.analyze.tests import correct, family_words, variance_of
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
from long1k.tokens import Tokenizer

STAGE = "analyze/6"
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
    budgets: Mapping[str, Any] | None = None,
    curves: Mapping[tuple[str, int], Path] | None = None,
    root: Path,
    pool: Path | None = None,
    base: Path | None = None,
    tokenizer: Tokenizer | None = None,
) -> Manifest:
    """Write findings.json; a finished analysis of the same scores is left alone.

    Args:
        study: name, description and notes, shown on the page.
        published: name -> (predictions, scores) of outputs made elsewhere.
        data: arm -> Example table, for studies that make data only.
        paper: experiments of the paper whose figures are laid beside ours.
        budgets: which benchmarks make curves of accuracy against tokens (see ``budgets_of``), or None.
        curves: for each (arm, seed) the folder of its outputs cut at smaller limits.
        root: paths in the findings are relative to it.
        pool: the trace pool, where it lies in another run.
        base: the folder of the base model, where it lies in another run.
        tokenizer: counts published outputs that came without token counts.

    Raises:
        DataError: there is nothing to analyze.
    """
    published, data = published or {}, data or {}
    settings: dict[str, Any] = {
        "study": dict(study), "confidence": confidence, "arms": [describe(a) for a in arms],
        "paper": list(paper),
    }  # fmt: skip
    if budgets is not None:
        settings["budgets"] = dict(budgets)
    inputs: dict[str, str] = {
        f"curve/{arm}/{seed}": read_manifest(path).digest for (arm, seed), path in (curves or {}).items()
    }
    for c in cells:
        for kind in ("predictions", "scores", "examples", "checkpoint"):
            folder = getattr(c, kind)
            if folder is not None:
                inputs[f"{c.benchmark}/{c.arm}/{c.seed}/{kind}"] = read_manifest(folder).digest
    if published and tokenizer is not None:
        settings["tokenizer"] = tokenizer.digest
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
    analyzed, empty = [], []
    for name in dict.fromkeys(cell.benchmark for cell in cells):
        made = _benchmark(name, [c for c in cells if c.benchmark == name], arms, confidence, root)
        if isinstance(made, str):
            empty.append(made)
        else:
            analyzed.append(made)
    benchmarks = [one.entry for one in analyzed]
    tests = correct(benchmarks)  # the tests of all benchmarks together; only then can a verdict speak of them
    beside = [beside_of(name, benchmarks, confidence) for name in paper]
    for one in analyzed:
        entry = one.entry
        entry["verdict"] = [
            *verdict(entry["benchmark"], entry["law"], entry["contrasts"], one.rungs, confidence, one.amount),
            *one.lines, *beside_lines(entry["benchmark"], beside), *missing_lines(entry, cells),
        ]  # fmt: skip
    findings = {
        **study,
        "confidence": confidence,
        "benchmarks": benchmarks,
        "data": {name: data_of(path, root) for name, path in data.items()},
        "published": [published_of(name, *paths, confidence, root) for name, paths in published.items()],
        "paper": beside,
        "outputs": _outputs(cells, arms, published, confidence, tokenizer),
        "ledger": ledger_of(_way(cells, published, data, pool or root / "collect", base or root / "base"), root),
    }
    at_equal_tokens = budgets_of(budgets, cells, arms, curves or {}, confidence) if budgets else None
    if at_equal_tokens is not None:
        findings["budgets"] = at_equal_tokens
    comparisons = sum(len(b["contrasts"]) + num_terms(b["law"], b["predictors"]) for b in benchmarks)
    if at_equal_tokens is not None:
        comparisons += sum(one["difference"] is not None for one in at_equal_tokens["comparisons"])
    if comparisons > 1:
        findings["notes"] = [
            *findings.get("notes", []),
            f"Every interval stands for one comparison. Of {comparisons} comparisons and gains where nothing differs, "
            f"about {(1 - confidence) * comparisons:.1g} would exclude zero by chance."
            + family_words(benchmarks, tests, budgets["forced"] if budgets else ()),
        ]
    findings["verdict"] = [line for b in benchmarks for line in b["verdict"]] + empty + data_verdict(findings)
    findings["verdict"] += at_equal_tokens["verdict"] if at_equal_tokens is not None else []
    text = json.dumps(findings, indent=1, ensure_ascii=False)
    write_atomic(out / FINDINGS, text.encode())
    return finish(
        out, stage=STAGE, config=settings, inputs=inputs, digest=digest_json(findings), files=[out / FINDINGS],
        started=started, rows_in=len(inputs), rows_out=len(inputs),
    )  # fmt: skip


def _outputs(
    cells: Sequence[Cell],
    arms: Sequence[ArmInfo],
    published: Mapping[str, tuple[Path, Path]],
    confidence: float,
    tokenizer: Tokenizer | None,
) -> list[dict[str, Any]]:
    """What the models wrote, arm by arm, with each arm's role and length."""
    tables = [(cell.scores, cell.predictions) for cell in cells]
    tables += [(scores, predictions) for predictions, scores in published.values()]
    found = outputs_of(tables, confidence=confidence, count=None if tokenizer is None else tokenizer.count)
    of = {arm.name: {"role": arm.role, "target_tokens": arm.target_tokens} for arm in arms}
    return [
        {**one, "arms": [{**arm, **of.get(arm["name"], {"role": "published", "target_tokens": None})}
                         for arm in one["arms"]]}
        for one in found
    ]  # fmt: skip


def _way(
    cells: Sequence[Cell], published: Mapping[str, tuple[Path, Path]], data: Mapping[str, Path], pool: Path, base: Path
) -> list[tuple[str, Path]]:
    """Every table along the way from traces to outputs, each once."""
    way = [("collect", base / "collect"), ("synthesize", base / "synthesize"), ("train", base / "train"),
           ("collect", pool)]  # fmt: skip
    way += [("synthesize", path) for path in data.values()]
    way += [("synthesize", cell.examples) for cell in cells if cell.examples is not None]
    way += [("train", cell.checkpoint) for cell in cells if cell.checkpoint is not None]
    way += [("predict", cell.predictions) for cell in cells]
    way += [("predict", predictions) for predictions, _ in published.values()]
    return list(dict.fromkeys(way))


@dataclass(frozen=True, slots=True)
class _Analyzed:
    """A benchmark's entry, still without its verdict, and what that needs beside it: ``lines`` are ready sentences."""

    entry: dict[str, Any]
    rungs: list[ArmInfo]
    amount: str
    lines: list[str]


def _benchmark(
    name: str, cells: Sequence[Cell], arms: Sequence[ArmInfo], confidence: float, root: Path
) -> _Analyzed | str:
    """Everything about one benchmark but its verdict; a sentence where there are no grades."""
    grades: dict[str, Grades] = {}
    unpaired: list[str] = []
    shown: list[dict[str, Any]] = []
    for arm in arms:
        own = [cell for cell in cells if cell.arm == arm.name]
        if not own:
            continue
        try:
            g = grades_of(own)
        except NothingSharedError as error:
            unpaired.append(f"{error.what}; it is left out.")
            continue
        if g is None:
            continue
        grades[arm.name] = g
        shown.append(
            {
                **describe(arm),
                "seeds": g.seeds,
                "accuracy": crossed_mean(g.y_SQ, confidence, (0.0, 1.0)).as_dict(),
                "accuracy_by_seed": {str(s): float(row.mean()) for s, row in zip(g.seeds, g.y_SQ, strict=True)},
                "variance": variance_of(g),
                "left_out": g.left_out,
                "empty_seeds": list(g.empty_seeds),
                "statuses": g.statuses,
                "mean_output_tokens": g.mean_tokens,
                "cut_frac": g.cut,
                "training": training_of(own[0]),
                "rows": [str(cell.scores.relative_to(root)) for cell in own],
            }
        )
    if not grades:
        return " ".join([f"{name}: there are no grades of any arm.", *unpaired])
    training = {arm["name"]: arm["training"] for arm in shown}
    series = series_of([arm for arm in arms if arm.name in grades], training)
    rungs = [arm for arm, _ in series]
    for arm, length in series:
        next(one for one in shown if one["name"] == arm.name)["law_tokens"] = length
    law = law_of(series, grades, confidence, name)
    predictors = predictors_of(series, arms, grades, training, confidence)
    ladder = [arm for arm in rungs if arm.role == "rung"]  # sets are compared by their own contrasts
    contrasts = contrasts_of(arms, ladder, grades, training, confidence)
    apart = without_common(arms, ladder, grades, training)
    questions = max(len(one.questions) for one in grades.values())
    entry: dict[str, Any] = {
        "benchmark": name, "questions": questions, "arms": shown, "law": law, "predictors": predictors,
        "contrasts": contrasts,
    }  # fmt: skip
    lines = [
        *gap_lines(name, series, grades, law),
        *law_lines(name, law, predictors),
        *once_lines(name, grades),
        *(f"{name}: {a} and {b} have no question in common and are not compared." for a, b in apart),
        *unpaired,
        *failed_lines(name, shown),
    ]
    return _Analyzed(entry, rungs, amount(rungs, training), lines)
