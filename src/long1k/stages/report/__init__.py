"""report: findings and tables of a run -> one offline HTML page, its figures as files beside it.

The page is whole without scripts: text, tables and still pictures.  Its own scripts, named by hash, make the charts
answer and the tables sort.  It says where the rows of every figure lie, and holds no time, host or absolute path:
equal inputs, equal bytes.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from long1k.errors import DataError
from long1k.reporting import page, reader  # what draws and fills in loads when a page is made
from long1k.reporting.figures import Album
from long1k.reporting.losses import METRICS
from long1k.reporting.progress import data_so_far, progress_context
from long1k.reporting.published import cells_of, predictions_of
from long1k.reporting.sections import study_context
from long1k.tables import (
    MANIFEST,
    Manifest,
    begin,
    digest_json,
    file_digest,
    fingerprint,
    finish,
    is_current,
    read_json,
    read_manifest,
    write_atomic,
)

STAGE = "report/3"
PAGE = "report.html"
_BASE = ("base/collect", "base/synthesize", "base/train")


def report(out: Path, root: Path, planned: Sequence[str] = ()) -> Manifest:
    """Write report.html and figures/; a page of the same findings, tables and design is left alone.

    A study that is not analyzed has a page, too: it shows what is finished, and says that there is no verdict.

    Args:
        out: folder of the page.
        root: folder of the run; every path on the page is relative to it.
        planned: places of all stages of the run, as far as they are known: what is missing is told by them.

    Raises:
        DataError: there is no run, or its findings cannot be read.
    """
    analysis, findings = study_of(root)
    made = _made(root, findings, analysis)
    progress = progress_context(root, analysis, planned)
    settings: dict[str, Any] = {"design": page.design_digest()}
    inputs = {
        "analyze": made["analysis"], "tables": digest_json([made, progress]), "losses": digest_json(_losses(root)),
        "reader": reader.digest(root, findings),
    }  # fmt: skip
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    started = time.time()
    begin(out, STAGE, settings, inputs)
    album = Album()
    context = study_context(root, findings, album) | {"made": made, "progress": progress}
    reading = reader.build(out, root, findings)
    html = page.render(context | {"reader": reading}, album)
    return write_page(
        out, html, album, reading.files, stage=STAGE, config=settings, inputs=inputs, started=started,
        rows_in=len(made["tables"]), analyzed=analysis is not None,
    )  # fmt: skip


def write_page(
    out: Path, html: str, album: Album, beside: Sequence[Path] = (), *, stage: str, config: dict[str, Any],
    inputs: dict[str, str], started: float, rows_in: int, analyzed: int,
) -> Manifest:  # fmt: skip
    """Write a page that was begun, and the files of its figures, and finish its folder.

    Args:
        beside: files that the page reads and that are written already.
        analyzed: how many of its studies have findings; of a page of one study, whether it has.
    """
    # A half of a surrogate pair is no character of any file; the page shows the mark for it already.
    write_atomic(out / PAGE, html.encode("utf-8", "replace"))
    files = [out / PAGE, *beside, *album.write(out)]
    return finish(
        out, stage=stage, config=config, inputs=inputs, digest=file_digest(out / PAGE), files=files,
        started=started, rows_in=rows_in, rows_out=1,
        info={"bytes": (out / PAGE).stat().st_size, "figures": len(album.figures), "analyzed": analyzed},
    )  # fmt: skip


def study_of(root: Path) -> tuple[Manifest | None, dict[str, Any]]:
    """The analysis of a run and its findings; of a run without one only what its recipe says.

    Raises:
        DataError: there is no run, or its findings cannot be read.
    """
    recipe = read_json(root / "recipe.json")
    if (root / "analyze" / MANIFEST).is_file():
        return read_manifest(root / "analyze"), _findings(root / "analyze" / "findings.json")
    if not recipe and not any(any(root.glob(f"{place}/{MANIFEST}")) for place in ("*", "arms/*/*/*", "base/*")):
        raise DataError(
            f"{root} is not a run (it has no recipe and no finished stage)",
            "give the folder of a run, e.g. runs/quickstart",
        )
    said = {key: recipe.get(key) for key in ("name", "description", "notes", "confidence")}
    return None, {**said, "name": said["name"] or root.resolve().name, "data": data_so_far(root)}


def _findings(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read: {error}", "run analyze again") from None
    if not isinstance(found, dict):
        raise DataError(f"{path} holds no findings", "run analyze again")
    return found


def _losses(root: Path) -> list[tuple[str, int]]:
    """The files of training curves, with their sizes: one that has grown makes the page anew."""
    files = [*root.glob(f"arms/*/*/train/{METRICS}"), *root.glob(f"base/train/{METRICS}")]
    return sorted((path.relative_to(root).as_posix(), path.stat().st_size) for path in files)


def _made(root: Path, findings: Mapping[str, Any], analysis: Manifest | None) -> dict[str, Any]:
    """What the page stands on: every finished table, and the versions and commits that made them."""
    folders = ["collect", *_BASE]
    for name, cell in cells_of(findings):
        folders += [str(cell / "synthesize"), str(cell / "train"), str(cell / "predict" / name)]
    for benchmark in findings.get("benchmarks") or []:
        folders += [path for arm in benchmark.get("arms") or [] for path in arm.get("rows") or []]
    folders += [entry["rows"] for entry in (findings.get("data") or {}).values()]
    for entry in findings.get("published") or []:
        folders += [predictions_of(entry), entry["rows"]]
    if analysis is None:
        found = (path.parent.relative_to(root) for path in root.rglob(MANIFEST))
        folders += [path.as_posix() for path in found if path.parts[:1] not in ((), ("report",), ("analyze",))]
    manifests = {
        name: read_manifest(root / name) for name in sorted(set(folders)) if (root / name / MANIFEST).is_file()
    }
    # Another page that was written into the run is none of what this one stands on.
    manifests = {name: made for name, made in manifests.items() if not made.stage.startswith("report")}
    versions: dict[str, set[str]] = {}
    of_all = [*([analysis] if analysis is not None else []), *manifests.values()]
    for manifest in of_all:
        for package, version in manifest.versions.items():
            versions.setdefault(package, set()).add(version)
    return {
        "analysis": analysis.digest if analysis is not None else "",
        "commits": sorted({m.git_commit for m in of_all if m.git_commit}),
        "versions": ", ".join(f"{name} {' / '.join(sorted(found))}" for name, found in sorted(versions.items())),
        "tables": [
            {"folder": name, "stage": m.stage, "rows": m.rows_out or None, "digest": m.digest}
            for name, m in manifests.items()
        ],
    }
