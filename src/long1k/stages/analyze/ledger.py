"""The truncation ledger: where along the way texts were cut, or left out because they were cut or too long."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from os.path import relpath
from pathlib import Path
from typing import Any

from long1k.rows import Prediction
from long1k.scored import end_of
from long1k.tables import MANIFEST, Manifest, iter_columns, read_manifest

_CUT_TRACES = ("unclosed_thinking", "incomplete_reasoning", "row_too_large")
"""Reasons of ``collect`` that mean a trace was cut before it came here, or is above the limit of a row."""
_OVER = ("over_max_tokens", "over_positions")


def ledger_of(folders: Iterable[tuple[str, Path]], root: Path) -> list[dict[str, Any]]:
    """One line a table: rows, those cut (kept, but not whole), those left out for their length, and what is known.

    Args:
        folders: (stage, folder) of tables and checkpoints; stage is collect, synthesize, train or predict.
        root: paths are told relative to it.
    """
    return [
        {"stage": stage, "folder": relpath(folder, root)}  # of another run: ../NAME/…, wherever both lie
        | (_import(made, folder) if (made := read_manifest(folder)).stage.startswith("import") else _LINES[stage](made))
        for stage, folder in folders
        if (folder / MANIFEST).is_file()
    ]


def _collect(made: Manifest) -> dict[str, Any]:
    reasons = {name: count for name, count in made.rejected.items() if name in _CUT_TRACES}
    return _line(made.rows_in, 0, sum(reasons.values()), reasons, "traces that came cut are not taken")


def _synthesize(made: Manifest) -> dict[str, Any]:
    groups = made.info.get("groups") or []
    wanted, got = (sum(g.get(name, 0) for g in groups) for name in ("requested", "made"))
    reasons = {"not_made": wanted - got} if wanted > got else {}
    longest = max((g.get("max_tokens", 0) for g in groups), default=0)
    return _line(wanted, 0, 0, reasons, f"traces are joined whole; the longest sample has {longest:,} tokens")


def _train(made: Manifest) -> dict[str, Any]:
    reasons = {name: count for name, count in made.rejected.items() if name in _OVER}
    return _line(made.rows_in, 0, sum(reasons.values()), reasons, "samples over the limit are left out, never cut")


def _predict(made: Manifest) -> dict[str, Any]:
    ends, flags = made.info.get("finish_reasons") or {}, made.info.get("budget_flags") or {}
    shown = {f"budget_{name}": n for name, n in flags.items() if name not in ("natural", "unknown")}
    return _line(made.rows_out, ends.get("length", 0), 0, shown, "outputs that ran into max_new_tokens")


def _import(made: Manifest, folder: Path) -> dict[str, Any]:
    ends = Counter(end_of(row["finish_reason"]) for row in iter_columns(folder, Prediction, ["finish_reason"], 4096))
    if ends["unknown"] == made.rows_out:
        return _line(made.rows_out, None, None, {}, "imported outputs: the file does not say how they ended")
    shown = {"unknown_end": ends["unknown"]} if ends["unknown"] else {}
    return _line(made.rows_out, ends["cut"], 0, shown, "imported outputs that were cut at their limit")


def _line(rows: int, cut: int | None, left_out: int | None, reasons: dict[str, int], note: str) -> dict[str, Any]:
    return {"rows": rows, "cut": cut, "left_out": left_out, "reasons": reasons, "note": note}


_OTHER = {"import-predictions": "predict"}
_LINES = {"collect": _collect, "synthesize": _synthesize, "train": _train, "predict": _predict}


def find_folders(run: Path) -> list[tuple[str, Path]]:
    """Tables and checkpoints of a run, or of a part of it, in the order of the way; none where it is one table.

    Of a run whose arms or base model are another recipe's, what they were made of in that recipe's run, too.
    """
    if (run / MANIFEST).is_file():
        return []
    paths = [path.parent for top in (*_elsewhere(run), run) for path in sorted(top.rglob(MANIFEST))]
    found = [(read_manifest(path).stage.split("/")[0], path) for path in dict.fromkeys(paths)]
    order = list(_LINES)
    known = [
        (stage if stage in _LINES else _OTHER[stage], path)
        for stage, path in found
        if stage in {*_LINES, *_OTHER} and (path.is_relative_to(run) or stage not in ("predict", *_OTHER))
    ]
    return sorted(known, key=lambda pair: order.index(pair[0]))


def _elsewhere(run: Path) -> Iterator[Path]:
    """Folders in other runs beside this one in which its base model and arms were made."""
    try:
        recipe = json.loads((run / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    for key, names in (("base_of", ("base",)), ("arms_of", ("collect", "arms"))):
        other = recipe.get(key) if isinstance(recipe, dict) else None
        if isinstance(other, str):
            yield from (run.resolve().parent / other / name for name in names)
