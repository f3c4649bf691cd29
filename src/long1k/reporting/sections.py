"""Everything that the page of one study shows, as plain values and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from long1k.reporting import laws, text
from long1k.reporting.benchmark import benchmark_context
from long1k.reporting.curves import curve_figure
from long1k.reporting.figures import Album
from long1k.reporting.ledger import ledger_figure, ledger_lines
from long1k.reporting.losses import losses_figure
from long1k.reporting.outputs import output_sections
from long1k.reporting.published import cells_of, collects, outputs_context, published_context, samples_context
from long1k.rows import STATUSES


def study_context(root: Path, findings: Mapping[str, Any], album: Album) -> dict[str, Any]:
    """Everything the template shows of findings, and its figures put into the album.

    Args:
        findings: of the analysis; of a study without one its name only.
    """
    benchmarks = findings.get("benchmarks") or []
    published, answers = published_context(root, findings.get("published") or [])
    ledger = findings.get("ledger") or []
    return {
        "name": str(findings.get("name") or "study"), "description": findings.get("description") or "",
        "notes": findings.get("notes") or [], "level": f"{100 * (findings.get('confidence') or 0.95):g} %",
        "verdict": verdict_groups(findings), "lead": lead(findings), "glance": glance(findings),
        "benchmarks": [benchmark_context(entry, album) for entry in benchmarks],
        "groups": [
            _group(arm, group, entry["rows"])
            for arm, entry in (findings.get("data") or {}).items() for group in entry.get("groups") or []
        ],
        "paper": [laws.paper_context(entry, album) for entry in findings.get("paper") or []],
        "writing": output_sections(findings.get("outputs") or [], album),
        "ledger": ledger_lines(ledger), "ledger_figure": album.add(ledger_figure(ledger)),
        "losses": album.add(losses_figure(root, _trained(root, findings))),
        "published": published, "collects": collects(root), "samples": samples_context(root, findings),
        "budgets": _budgets(findings.get("budgets"), album),
        "outputs": outputs_context(root, benchmarks) + answers, "statuses": STATUSES,
    }  # fmt: skip


def _trained(root: Path, findings: Mapping[str, Any]) -> dict[str, list[str]]:
    """Checkpoints by arm, relative to the run; without findings those that lie there."""
    cells = dict.fromkeys(str(cell) for _, cell in cells_of(findings))
    if not cells:
        cells = dict.fromkeys(str(path.relative_to(root)) for path in sorted((root / "arms").glob("*/seed-*")))
    found: dict[str, list[str]] = {}
    for cell in cells:
        found.setdefault(cell.split("/")[1], []).append(f"{cell}/train")
    return found


def lead(findings: Mapping[str, Any]) -> str:
    """The verdict in one sentence: the first of the first benchmark, else the first of all."""
    for benchmark in findings.get("benchmarks") or []:
        for line in benchmark.get("verdict") or []:
            said, name = str(line), str(benchmark["benchmark"])
            return text.unbroken(f"On {name}, {said[len(name) + 2 :]}" if said.startswith(f"{name}: ") else said)
    lines = findings.get("verdict") or []
    return text.unbroken(str(lines[0])) if lines else ""


def glance(findings: Mapping[str, Any]) -> list[tuple[str, str]]:
    """How much the study stands on, in a few figures."""
    benchmarks = findings.get("benchmarks") or []
    arms = {arm["name"] for entry in benchmarks for arm in entry.get("arms") or []}
    seeds = {seed for entry in benchmarks for arm in entry.get("arms") or [] for seed in arm.get("seeds") or []}
    graded = sum(
        n for entry in benchmarks for arm in entry.get("arms") or [] for n in (arm.get("statuses") or {}).values()
    )
    questions = sum(entry.get("questions") or 0 for entry in benchmarks)
    found = [
        ("arm", len(arms)), ("training seed", len(seeds)), ("benchmark", len(benchmarks)), ("question", questions),
        ("graded answer", graded),
    ]  # fmt: skip
    return [(f"{n:,}", f"{what}{'' if n == 1 else 's'}") for what, n in found if n]


def verdict_groups(findings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The verdict's sentences by benchmark; the others (data, published outputs) come last."""
    rest = [str(line) for line in findings.get("verdict") or []]
    groups = []
    for benchmark in findings.get("benchmarks") or []:
        lines = []
        for line in benchmark.get("verdict") or []:
            if line in rest:
                rest.remove(line)
                short = line.removeprefix(f"{benchmark['benchmark']}: ")
                lines.append(text.unbroken(short[:1].upper() + short[1:]))
        if lines:
            groups.append({"name": f"Benchmark {benchmark['benchmark']}", "lines": lines})
    if rest:
        groups.append(
            {
                "name": "Data and published outputs" if groups else "Verdict",
                "lines": [text.unbroken(line) for line in rest],
            }
        )
    return groups


def _budgets(found: Mapping[str, Any] | None, album: Album) -> dict[str, Any] | None:
    """Accuracy against tokens: the chart of free and forced outputs, and a table of all points."""
    if not found:
        return None
    curves = [
        {"benchmark": found["of"], "arm": arm["arm"],
         "points": [{**point, "budget_tokens": None} for point in arm["points"] if point["how"] != "cut"]}
        for arm in found["arms"]
    ]  # fmt: skip
    return {
        "of": found["of"], "figure": album.add(curve_figure(curves, f"budgets-{found['of']}")),
        "points": [{"arm": arm["arm"], **point} for arm in found["arms"] for point in arm["points"]],
    }  # fmt: skip


def _group(arm: str, group: Mapping[str, Any], rows: str) -> dict[str, Any]:
    return {
        "arm": arm, "rows": rows, "target": group.get("target"),
        "wanted": group.get("wanted") or text.NOTHING,
        "made": group.get("made"), "requested": group.get("requested"),
        "range": text.number_range(group.get("min_tokens"), group.get("max_tokens")),
        "exact": group.get("exactly_on_target"), "within": group.get("within_tolerance"),
        "tolerance": group.get("tolerance_tokens"), "coverage": group.get("coverage"),
        "problems": group.get("problems"), "unique": group.get("unique_problems"),
        "shortfall": group.get("shortfall") or "",
    }  # fmt: skip
