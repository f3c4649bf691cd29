"""Several studies on one page: verdicts, ladders, accuracies and contrasts side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from long1k.reporting import text
from long1k.reporting.charts import ladder_figure, top_of
from long1k.reporting.contrasts import forest
from long1k.reporting.figures import HALF, NARROW, Album, Figure
from long1k.reporting.headline import headlines
from long1k.reporting.sections import glance, verdict_groups

_VALUE_CHARS = 160


def labels(roots: Sequence[Path], findings: Sequence[Mapping[str, Any]]) -> list[str]:
    """What each study is called: by its name, by its folders where two are named alike."""
    names = [str(found.get("name") or root.name) for root, found in zip(roots, findings, strict=True)]
    often = Counter(names)
    made = [
        name if often[name] == 1 else "/".join(root.resolve().parts[-2:])
        for name, root in zip(names, roots, strict=True)
    ]
    again = Counter(made)
    return [name if again[name] == 1 else f"{name} ({at + 1})" for at, name in enumerate(made)]


def several_context(
    roots: Sequence[Path], findings: Sequence[Mapping[str, Any]], analyzed: Sequence[bool],
    differences: Sequence[Mapping[str, Any]], album: Album,
) -> dict[str, Any]:  # fmt: skip
    """Everything that the template shows of several studies.

    Args:
        differences: of every study but the first against the first: its rows of configuration, or why there are none.
    """
    names = labels(roots, findings)
    studies = [
        {"name": name, "leads": headlines(found)[0], "glance": glance(found), "verdict": verdict_groups(found),
         "description": found.get("description") or "", "analyzed": done, "id": at + 1}
        for at, (name, found, done) in enumerate(zip(names, findings, analyzed, strict=True))
    ]  # fmt: skip
    benchmarks = list(
        dict.fromkeys(str(entry["benchmark"]) for found in findings for entry in found.get("benchmarks") or [])
    )
    return {
        "name": ", ".join(names), "studies": studies,
        "slopes": album.add(_slopes(names, findings), (HALF,)),
        "benchmarks": [_benchmark(one, names, findings, album) for one in benchmarks],
        "differences": [
            {**one, "first": names[0], "second": names[at + 1], "rows": [_difference(row) for row in one["rows"]]}
            for at, one in enumerate(differences)
        ],
    }  # fmt: skip


def _entry(found: Mapping[str, Any], benchmark: str) -> Mapping[str, Any]:
    return next((one for one in found.get("benchmarks") or [] if str(one["benchmark"]) == benchmark), {})


def _benchmark(
    benchmark: str, names: Sequence[str], findings: Sequence[Mapping[str, Any]], album: Album
) -> dict[str, Any]:
    """Ladders, accuracies and contrasts of one benchmark, a column for each study."""
    entries = [_entry(found, benchmark) for found in findings]
    ladders, top = [], max((top_of(entry) for entry in entries if entry), default=1.0)
    for name, entry in zip(names, entries, strict=True):
        drawn = ladder_figure(entry, top) if entry else None
        if drawn is not None:
            drawn = replace(drawn, name=f"{drawn.name}-{name}", words=f"{name}: {drawn.words}", width=NARROW)
        ladders.append({"name": name, "questions": entry.get("questions"), "figure": album.add(drawn, (NARROW,))})
    arms = list(dict.fromkeys(arm["name"] for entry in entries for arm in entry.get("arms") or []))
    pairs = list(dict.fromkeys((row["a"], row["b"]) for entry in entries for row in entry.get("contrasts") or []))
    by_arm = [{arm["name"]: arm["accuracy"] for arm in entry.get("arms") or []} for entry in entries]
    by_pair = [{(row["a"], row["b"]): row["difference"] for row in entry.get("contrasts") or []} for entry in entries]
    return {
        "name": benchmark, "ladders": ladders,
        "arms": [{"name": arm, "of": [found.get(arm) for found in by_arm]} for arm in arms],
        "contrasts": [{"a": a, "b": b, "of": [found.get((a, b)) for found in by_pair]} for a, b in pairs],
        "laws": [(n, text.law_words(e["law"])) for n, e in zip(names, entries, strict=True) if e.get("law")],
    }  # fmt: skip


def _slopes(names: Sequence[str], findings: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Points a doubling of length, study by study and benchmark by benchmark."""
    rows = [
        {"label": f"{name}, {entry['benchmark']}", "difference": entry["law"]["slope"]}
        for name, found in zip(names, findings, strict=True)
        for entry in found.get("benchmarks") or [] if entry.get("law")
    ]  # fmt: skip
    return forest("slopes", "Points a doubling of length", rows, "points a doubling of length")


def _difference(row: Mapping[str, Any]) -> dict[str, Any]:
    shown = {side: text.one_line(_value(row[side]), _VALUE_CHARS) for side in ("a", "b")}
    return {**row, **shown, "tables": len(row["places"])}


def _value(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, Mapping | list):
        import json

        return json.dumps(value, ensure_ascii=False)
    return str(value)
