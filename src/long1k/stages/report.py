"""report: findings and tables of a run -> one offline HTML page.

The page is text and still pictures: no script, no address outside itself.  It says where the
rows of every figure lie, and holds no time, host or absolute path: equal inputs, equal bytes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from long1k.errors import DataError
from long1k.reporting import laws, page, reader, samples, text  # what draws and fills in loads when a page is made
from long1k.reporting.benchmark import benchmark_context, footnotes_of, mark_of
from long1k.reporting.curves import curve_chart
from long1k.reporting.outputs import output_sections
from long1k.rows import STATUSES
from long1k.tables import (
    MANIFEST,
    Manifest,
    begin,
    digest_json,
    file_digest,
    fingerprint,
    finish,
    is_current,
    read_manifest,
    write_atomic,
)

STAGE = "report/2"
PAGE = "report.html"
_COLLECTS = ("collect", "base/collect")
_BASE = ("base/collect", "base/synthesize", "base/train")
_DISAGREEMENTS = 100


def report(out: Path, root: Path) -> Manifest:
    """Write report.html; a page of the same findings, tables and design is left alone.

    Args:
        out: folder of the page.
        root: folder of the run; every path on the page is relative to it.

    Raises:
        DataError: the run has no finished analysis, or its findings cannot be read.
    """
    analysis = read_manifest(root / "analyze")
    findings = _findings(root / "analyze" / "findings.json")
    made = _made(root, findings, analysis)
    settings: dict[str, Any] = {"design": page.design_digest()}
    inputs = {"analyze": analysis.digest, "tables": digest_json(made), "reader": reader.digest(root, findings)}
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    started = time.time()
    begin(out, STAGE, settings, inputs)
    reading, beside = _reader(out, root, findings)
    html = page.render(_context(root, findings, made) | {"reader": reading})
    # A half of a surrogate pair is no character of any file; the page shows the mark for it already.
    write_atomic(out / PAGE, html.encode("utf-8", "replace"))
    return finish(
        out, stage=STAGE, config=settings, inputs=inputs, digest=file_digest(out / PAGE), files=[out / PAGE, *beside],
        started=started, rows_in=len(made["tables"]), rows_out=1, info={"bytes": (out / PAGE).stat().st_size},
    )  # fmt: skip


def _reader(out: Path, root: Path, findings: Mapping[str, Any]) -> tuple[Any, list[Path]]:
    """What `reader.html.j2` shows, and the side files that it reads, written under ``out``/texts."""
    made = reader.build(out, root, findings)
    return made, made.files


def _findings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", "run analyze again") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no findings", "run analyze again")
    return found


def _cells(findings: Mapping[str, Any]) -> Iterator[tuple[str, PurePosixPath]]:
    """(benchmark, folder of one arm and seed) of every score table: arms/<arm>/seed-<n>."""
    for benchmark in findings.get("benchmarks") or []:
        for arm in benchmark.get("arms") or []:
            for path in arm.get("rows") or []:
                if len(PurePosixPath(path).parents) > 3:
                    yield benchmark["benchmark"], PurePosixPath(path).parents[2]


def _made(root: Path, findings: Mapping[str, Any], analysis: Manifest) -> dict[str, Any]:
    """What the page stands on: every finished table, and the versions and commits that made them."""
    folders = ["collect", *_BASE]
    for name, cell in _cells(findings):
        folders += [str(cell / "synthesize"), str(cell / "train"), str(cell / "predict" / name)]
    for benchmark in findings.get("benchmarks") or []:
        folders += [path for arm in benchmark.get("arms") or [] for path in arm.get("rows") or []]
    folders += [entry["rows"] for entry in (findings.get("data") or {}).values()]
    for entry in findings.get("published") or []:
        folders += [_predictions(entry), entry["rows"]]
    manifests = {
        name: read_manifest(root / name) for name in sorted(set(folders)) if (root / name / MANIFEST).is_file()
    }
    versions: dict[str, set[str]] = {}
    for manifest in (analysis, *manifests.values()):
        for package, version in manifest.versions.items():
            versions.setdefault(package, set()).add(version)
    return {
        "analysis": analysis.digest,
        "commits": sorted({m.git_commit for m in (analysis, *manifests.values()) if m.git_commit}),
        "versions": ", ".join(f"{name} {' / '.join(sorted(found))}" for name, found in sorted(versions.items())),
        "tables": [
            {"folder": name, "stage": m.stage, "rows": m.rows_out or None, "digest": m.digest}
            for name, m in manifests.items()
        ],
    }


def _predictions(entry: Mapping[str, Any]) -> str:
    return str(PurePosixPath(entry["rows"]).parent / "predictions")


def _context(root: Path, findings: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template shows, as plain values."""
    benchmarks = findings.get("benchmarks") or []
    published, answers = _published(root, findings.get("published") or [])
    return {
        "name": str(findings.get("name") or "study"), "description": findings.get("description") or "",
        "notes": findings.get("notes") or [], "level": f"{100 * (findings.get('confidence') or 0.95):g} %",
        "verdict": _verdict(findings), "benchmarks": [benchmark_context(entry) for entry in benchmarks],
        "groups": [
            _group(arm, group, entry["rows"])
            for arm, entry in (findings.get("data") or {}).items() for group in entry.get("groups") or []
        ],
        "paper": [laws.paper_context(entry) for entry in findings.get("paper") or []],
        "writing": output_sections(findings.get("outputs") or []), "ledger": _ledger(findings.get("ledger") or []),
        "published": published, "collects": _collects(root), "samples": _samples(root, findings),
        "budgets": _budgets(findings.get("budgets")),
        "outputs": _outputs(root, benchmarks) + answers, "made": made, "statuses": STATUSES,
    }  # fmt: skip


def _ledger(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The truncation ledger; tables of which the same is said stand in one line, their rows added up."""
    merged: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in lines:
        known = (line["stage"], line["note"], str(line["cut"] is None), str(bool(line["cut"] or line["left_out"])))
        # What was cut is told table by table: which one, is the news.
        key = (*known, line["folder"]) if line["cut"] or line["left_out"] or line["reasons"] else known
        one = merged.setdefault(key, {**line, "rows": 0, "folders": []})
        one["rows"] += line["rows"]
        one["folders"].append(line["folder"])
    return [{**one, "folder": text.join_paths([f"{path}/" for path in one["folders"]])} for one in merged.values()]


def _verdict(findings: Mapping[str, Any]) -> list[dict[str, Any]]:
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


def _budgets(found: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Accuracy against tokens: the chart of free and forced outputs, and a table of all points."""
    from markupsafe import Markup

    if not found:
        return None
    curves = [
        {"benchmark": found["of"], "arm": arm["arm"],
         "points": [{**point, "budget_tokens": None} for point in arm["points"] if point["how"] != "cut"]}
        for arm in found["arms"]
    ]  # fmt: skip
    chart = curve_chart(curves)
    return {
        "of": found["of"], "chart": None if chart is None else Markup(chart),
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


def _published(root: Path, entries: Sequence[Mapping[str, Any]]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Tables of published outputs, and some of the outputs."""
    shown, groups = [], []
    for entry in entries:
        listed = (entry.get("disagreements") or [])[:_DISAGREEMENTS]
        source, scores = _predictions(entry), entry["rows"]
        views, rows = samples.some_outputs(root, source, scores, entry["name"], [d["prediction_id"] for d in listed])
        if views:
            groups.append({"name": f"Published outputs: {entry['name']}", "rows": views})
        disagreements = []
        for item in listed:
            row = rows.get(item["prediction_id"])
            ending = "" if row is None else row.text[-240:]
            disagreements.append(
                {
                    "id": item["prediction_id"],
                    "run": item.get("run"),
                    "status": item.get("status"),
                    "label": "correct" if item.get("label") else "wrong",
                    "gold": text.one_line(str(item.get("gold")), 160),
                    "extracted": text.NOTHING
                    if item.get("extracted") is None
                    else text.one_line(str(item["extracted"]), 160),
                    "question": "" if row is None else text.one_line(row.question, 240),
                    "end": ("… " if row is not None and len(row.text) > len(ending) else "") + " ".join(ending.split()),
                }
            )
        footnotes = footnotes_of([run["accuracy"] for run in entry.get("runs") or []])
        runs = [
            {
                **run, "mark": mark_of(run["accuracy"], footnotes),
                "label_accuracy": run["label_correct"] / run["labelled"] if run.get("labelled") else None,
                "agreement": run["agree"] / run["labelled"] if run.get("labelled") else None,
            }
            for run in entry.get("runs") or []
        ]  # fmt: skip
        agreement = entry.get("agreement")
        shown.append(
            {
                "name": entry["name"],
                "runs": runs,
                "rows": scores,
                "source": source,
                "labelled": entry.get("labelled"),
                "agreement": f"{100 * agreement:.2f} %" if text.known(agreement) else None,
                "footnotes": footnotes,
                "disagreements": disagreements,
                "total": len(entry.get("disagreements") or []),
            }
        )
    return shown, groups


def _collects(root: Path) -> list[dict[str, Any]]:
    found = []
    for name in _COLLECTS:
        if (root / name / MANIFEST).is_file():
            manifest = read_manifest(root / name)
            found.append(
                {
                    "path": name,
                    "rows_in": manifest.rows_in,
                    "rows_out": manifest.rows_out,
                    "reasons": samples.reasons(root / name, manifest.rejected),
                }
            )
    return found


def _samples(root: Path, findings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Some joined samples, from one seed of every arm that has its own."""
    folders = {str(cell / "synthesize"): None for _, cell in _cells(findings)}
    folders |= {entry["rows"]: None for entry in (findings.get("data") or {}).values()}
    tables: dict[str, tuple[str, str, str]] = {}
    for folder in folders:
        parts = PurePosixPath(folder).parts
        if len(parts) >= 3 and (root / folder / MANIFEST).is_file():
            tables.setdefault(parts[-3], (parts[-3], parts[-2].replace("-", " "), folder))
    return samples.joined_samples(root, list(tables.values()))


def _outputs(root: Path, benchmarks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Some outputs for every benchmark, of one arm and seed: the longest rung that has tables, else another arm."""
    groups = []
    for entry in benchmarks:
        arms = [arm for arm in reversed(entry.get("arms") or []) if arm.get("rows")]
        arms.sort(key=lambda arm: arm.get("role") != "rung")  # stable: rungs first, the longest first of them
        for arm in arms:
            path = str(arm["rows"][0])
            if len(PurePosixPath(path).parents) <= 3:
                continue
            cell = PurePosixPath(path).parents[2]
            where = f"{arm['name']}, {cell.name.replace('-', ' ')}"
            views, _ = samples.some_outputs(root, str(cell / "predict" / str(entry["benchmark"])), path, where)
            if views:
                groups.append({"name": f"Benchmark {entry['benchmark']}", "rows": views})
                break
    return groups
