"""Published outputs, rejected rows, samples and outputs as the page shows them, from the tables of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from long1k.reporting import samples, text
from long1k.reporting.benchmark import footnotes_of, mark_of
from long1k.tables import MANIFEST, read_manifest

_COLLECTS = ("collect", "base/collect")
_DISAGREEMENTS = 100


def cells_of(findings: Mapping[str, Any]) -> Iterator[tuple[str, PurePosixPath]]:
    """(benchmark, folder of one arm and seed) of every score table: arms/<arm>/seed-<n>."""
    for benchmark in findings.get("benchmarks") or []:
        for arm in benchmark.get("arms") or []:
            for path in arm.get("rows") or []:
                if len(PurePosixPath(path).parents) > 3:
                    yield benchmark["benchmark"], PurePosixPath(path).parents[2]


def predictions_of(entry: Mapping[str, Any]) -> str:
    """The folder of the outputs that a table of published scores belongs to."""
    return str(PurePosixPath(entry["rows"]).parent / "predictions")


def published_context(
    root: Path, entries: Sequence[Mapping[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Tables of published outputs, and some of the outputs."""
    shown, groups = [], []
    for entry in entries:
        listed = (entry.get("disagreements") or [])[:_DISAGREEMENTS]
        source, scores = predictions_of(entry), entry["rows"]
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


def collects(root: Path) -> list[dict[str, Any]]:
    """What the pools took in and rejected, with the reasons."""
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


def samples_context(root: Path, findings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Some joined samples, from one seed of every arm that has its own."""
    folders = {str(cell / "synthesize"): None for _, cell in cells_of(findings)}
    folders |= {entry["rows"]: None for entry in (findings.get("data") or {}).values()}
    tables: dict[str, tuple[str, str, str]] = {}
    for folder in folders:
        parts = PurePosixPath(folder).parts
        if len(parts) >= 3 and (root / folder / MANIFEST).is_file():
            tables.setdefault(parts[-3], (parts[-3], parts[-2].replace("-", " "), folder))
    return samples.joined_samples(root, list(tables.values()))


def outputs_context(root: Path, benchmarks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
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
