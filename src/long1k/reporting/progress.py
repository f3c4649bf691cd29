"""How far a study is: what is finished, begun and missing, read from its folders."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from long1k.errors import DataError
from long1k.reporting import text
from long1k.tables import MANIFEST, PROGRESS, Manifest, read_manifest

DONE, BEGUN, MISSING, NOT_PLANNED = "done", "begun", "missing", ""
_STAGES = (
    ("base/collect", "traces for the base model"), ("base/synthesize", "samples for the base model"),
    ("base/train", "the base model"), ("collect", "the pool of traces"), ("analyze", "the analysis"),
)  # fmt: skip


def progress_context(root: Path, analysis: Manifest | None, planned: Sequence[str] = ()) -> dict[str, Any]:
    """What the page says of a study's stages, arms and seeds.

    Args:
        analysis: that the page stands on; None without one.
        planned: places of all stages that the study will have (arms/L32/seed-0/train), as far as they are known.
    """
    cells = [_cell(root, folder, planned) for folder in _folders(root, planned)]
    benchmarks = sorted({name for cell in cells for name in cell["benchmarks"]})
    for cell in cells:
        cell["graded"] = [cell["benchmarks"].get(name, _one(NOT_PLANNED)) for name in benchmarks]
    stages = [
        {"name": name, "what": what, **_stage(root / name, name in planned)}
        for name, what in _STAGES if (root / name).is_dir() or name in planned
    ]  # fmt: skip
    for stage in stages:
        if stage["name"] == "analyze":
            stage.update({"state": DONE if analysis is not None else BEGUN if (root / "analyze").is_dir() else MISSING})
    parts = [one for cell in cells for one in (cell["samples"], cell["trained"], *cell["graded"])] + stages
    unfinished = sum(one["state"] in (BEGUN, MISSING) for one in parts)
    shown = analysis is None or unfinished > 0  # of a finished study the page says nothing of stages
    return {
        "stages": stages if shown else [], "cells": cells if shown else [], "benchmarks": benchmarks,
        "analyzed": analysis is not None, "done": sum(one["state"] == DONE for one in parts), "open": unfinished,
        "since": list(_since(root, analysis)) if analysis is not None else [],
    }  # fmt: skip


def _folders(root: Path, planned: Sequence[str]) -> list[tuple[str, str]]:
    """(arm, seed folder) of every cell, those of the plan in its order first."""
    places = [tuple(place.split("/")[1:3]) for place in planned if place.startswith("arms/")]
    found = sorted(path.relative_to(root / "arms").parts for path in (root / "arms").glob("*/seed-*") if path.is_dir())
    return [(arm, seed) for arm, seed in dict.fromkeys([*places, *found])]


def _cell(root: Path, place: tuple[str, str], planned: Sequence[str]) -> dict[str, Any]:
    arm, seed = place
    name = f"arms/{arm}/{seed}"
    folder = root / name
    names = {path.name for stage in ("predict", "score") for path in (folder / stage).glob("*") if path.is_dir()}
    names |= {one.split("/")[4] for one in planned if one.startswith(f"{name}/predict/") and one.count("/") >= 4}
    made, trained = (_stage(folder / one, f"{name}/{one}" in planned) for one in ("synthesize", "train"))
    return {
        "arm": arm, "seed": seed.removeprefix("seed-"), "samples": made, "trained": trained,
        "benchmarks": {one: _graded(folder, one) for one in sorted(names)}, "path": name,
    }  # fmt: skip


def _graded(folder: Path, benchmark: str) -> dict[str, Any]:
    """Outputs and grades of one arm, seed and benchmark."""
    for scores in sorted((folder / "score" / benchmark).glob("*")):
        if (made := _manifest(scores)) is not None:
            right = (made.info.get("statuses") or {}).get("correct", 0)
            return _one(DONE, f"{text.percent(right / max(1, made.rows_out))} of {made.rows_out:,}")
    answered = _manifest(folder / "predict" / benchmark)
    if answered is not None:
        return _one(BEGUN, f"{answered.rows_out:,} outputs, not graded")
    return _one(BEGUN, "asking") if (folder / "predict" / benchmark / PROGRESS).is_file() else _one(MISSING)


def _stage(folder: Path, planned: bool) -> dict[str, Any]:
    made = _manifest(folder)
    if made is None:
        return _one(BEGUN) if (folder / PROGRESS).is_file() else _one(MISSING if planned else NOT_PLANNED)
    loss, steps = made.info.get("final_loss"), made.info.get("steps")
    if text.known(loss) and text.known(steps):
        return _one(DONE, f"{steps:,} steps, loss {loss:.3f}")
    return _one(DONE, f"{made.rows_out:,} rows")


def _one(state: str, said: str = "") -> dict[str, Any]:
    return {"state": state, "said": said or {MISSING: "missing", BEGUN: "begun"}.get(state, text.NOTHING)}


def _manifest(folder: Path) -> Manifest | None:
    """The manifest of a finished table; None of any other folder."""
    if not (folder / MANIFEST).is_file():
        return None
    try:
        return read_manifest(folder)
    except DataError:
        return None


def _since(root: Path, analysis: Manifest) -> Iterator[str]:
    """Scores that the analysis does not know: finished, or made anew, after it."""
    known: Mapping[str, str] = analysis.inputs
    if not any(name.endswith("/scores") for name in known):
        return
    for path in sorted((root / "arms").glob("*/seed-*/score/*/*")):
        made, (arm, seed, _, benchmark, _) = _manifest(path), path.relative_to(root / "arms").parts
        if made is not None and known.get(f"{benchmark}/{arm}/{seed.removeprefix('seed-')}/scores") != made.digest:
            yield path.relative_to(root).as_posix()


def data_so_far(root: Path) -> dict[str, Any]:
    """The samples that are made, by arm, as an analysis would tell them; of every arm the first seed that is there."""
    found: dict[str, Any] = {}
    for folder in sorted((root / "arms").glob("*/seed-*/synthesize")):
        made, arm = _manifest(folder), folder.parts[-3]
        if made is not None and arm not in found:
            found[arm] = {"groups": made.info.get("groups") or [], "rows": folder.relative_to(root).as_posix()}
    return found
