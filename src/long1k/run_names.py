"""A folder that is not there, and the run that was probably meant."""

from __future__ import annotations

import difflib
from pathlib import Path

RUNS = Path("runs")


def meant(folder: Path, mend: str) -> str:
    """How to mend the name of a folder that does not exist: the run of a similar name below runs/, or else ``mend``.

    ``long1k run NAME`` takes a recipe's name, so others are given one where they want the folder of its run.
    """
    inside = RUNS / "smoke" if folder.parent.name == "smoke" else RUNS
    places = (RUNS, RUNS / "smoke") if folder.parent == Path() else (inside,)
    for place in places:
        name = folder.stem if folder.suffix in (".yaml", ".yml") else folder.name
        runs = [run.parent.name for run in place.glob("*/recipe.json")]
        if close := difflib.get_close_matches(name, runs, 1):
            return f"did you mean {place / close[0]}?"
    return mend
