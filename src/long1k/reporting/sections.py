"""Everything that the page of one study shows, as plain values and figures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from long1k.reporting import laws, text
from long1k.reporting.benchmark import benchmark_context
from long1k.reporting.curves import curve_figure
from long1k.reporting.figures import Album
from long1k.reporting.headline import headlines
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
    leads, left = headlines(findings)
    return {
        "name": str(findings.get("name") or "study"), "description": findings.get("description") or "",
        "notes": findings.get("notes") or [], "level": f"{100 * (findings.get('confidence') or 0.95):g} %",
        "verdict": verdict_groups(findings), "leads": leads, "benchmarks_left": left, "glance": glance(findings),
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
    """The verdict's sentences by benchmark; the others (data, published outputs) come last.

    Each as (what it is about, the rest); ``more`` holds what is said of the law's shape and of what length stands for.
    """
    rest = [str(line) for line in findings.get("verdict") or []]
    groups: list[dict[str, Any]] = []
    for benchmark in findings.get("benchmarks") or []:
        name = str(benchmark["benchmark"])
        lines: list[tuple[str, str]] = []
        more: list[tuple[str, str]] = []
        of_the_law = {line.casefold() for line in _said_of_the_law(benchmark)}
        for line in benchmark.get("verdict") or []:
            if line in rest:
                rest.remove(line)
                short = str(line).removeprefix(f"{name}: ")
                of = more if short.removesuffix(".").casefold() in of_the_law else lines
                of.append(_about(f"{short[:1].upper()}{short[1:]}"))
        if lines or more:
            groups.append({"name": f"Benchmark {name}", "lines": lines or more, "more": more if lines else []})
    budgets = [line for one in (findings.get("budgets") or {}).get("verdict") or [] if (line := str(one)) in rest]
    if budgets:
        rest = [line for line in rest if line not in budgets]
        on = str((findings.get("budgets") or {}).get("of"))
        told = [line.removeprefix(f"{on}: ") for line in budgets]
        shown = [_about(f"{line[:1].upper()}{line[1:]}") for line in told]
        groups.insert(0, {"name": f"Training length against tokens at inference, on {on}", "lines": shown, "more": []})
    if rest:
        title = "Data and published outputs" if groups else "Verdict"
        groups.append({"name": title, "lines": [("", text.unbroken(line)) for line in rest], "more": []})
    return groups


def _said_of_the_law(benchmark: Mapping[str, Any]) -> list[str]:
    """What is said of the shapes of a law and of what length stands for, without full stops."""
    law, predictors = benchmark.get("law") or {}, benchmark.get("predictors") or {}
    said = [*(law.get("said") or []), *([law["turn"]] if law.get("turn") else [])]
    return [
        str(line)
        for line in said
        + [one for label in ("rungs", "all") for one in (predictors.get(label) or {}).get("said") or []]
    ]


def _about(line: str) -> tuple[str, str]:
    """A sentence in two: what it is about, up to its figures, and the rest."""
    found = [at for mark in (": ", " (") if (at := line.find(mark)) > 0]
    at = min(found) if found else 0
    return text.unbroken(line[:at]), text.unbroken(line[at:])


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
