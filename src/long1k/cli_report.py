"""The command that writes pages: report."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

_SHOWN = 6


def report(
    run_folders: Annotated[list[Path], typer.Argument(help="Folders of runs; of several: one page, side by side.")],
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the page. Of one run: report/ in it; of several: A-and-B beside the first."),
    ] = None,
) -> None:
    """Write the page of a run, or one of several side by side: one offline HTML file, its figures beside it.

    A run that is not finished has a page, too: it shows what is there, and says what is missing.
    """
    from long1k.stages.report import report as one_page

    folders = [_run(folder) for folder in run_folders]
    if len({folder.resolve() for folder in folders}) < len(folders):
        from long1k.errors import DataError

        raise DataError("one run is named twice", "name each run once")
    if len(folders) == 1:
        place = out or folders[0] / "report"
        made = one_page(place, folders[0], _planned(folders[0]))
    else:
        from long1k.stages.report.several import report_several

        place = out or folders[0].parent / "-and-".join(folder.resolve().name for folder in folders)
        made = report_several(place, folders, [_differences(folders[0], other) for other in folders[1:]])
    figures, size = made.info["figures"], made.info["bytes"] / 1e6
    beside = f"{figures} figure{'' if figures == 1 else 's'} as SVG, PNG, PDF and CSV in {place / 'figures'}"
    print(f"{place / 'report.html'}\n  {size:.1f} MB" + (f"; {beside}" if figures else "; no figure"), flush=True)
    if not made.info["analyzed"]:
        print("  no verdict in it: not analyzed yet (long1k run goes on, long1k analyze takes what is graded)")


def _run(folder: Path) -> Path:
    """A folder that is there; whether it holds a run is asked later.

    Raises:
        DataError: there is no such folder.
    """
    from long1k.errors import DataError

    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", "give the folder of a run, e.g. runs/quickstart")
    return folder


def _planned(root: Path) -> Sequence[str]:
    """Places of all stages that a run will have in its own folder; none of a recipe of another version."""
    from long1k.recipe import Recipe
    from long1k.study_layout import Layout
    from long1k.study_tree import plan_nodes

    try:
        recipe = Recipe.model_validate_json((root / "recipe.json").read_text(encoding="utf-8"))
        nodes = plan_nodes(Layout(recipe, root))
    except (OSError, ValueError):
        return ()
    return [node.key for node in nodes if node.folder.is_relative_to(root)]


def _differences(first: Path, other: Path) -> dict[str, Any]:
    """Everything that differs in how two runs were made, or why that cannot be told."""
    from long1k.compare import differences, tables_of
    from long1k.errors import DataError

    try:
        return {"rows": differences(first, other, tables_of(first), tables_of(other)), "why": ""}
    except DataError as error:
        return {"rows": [], "why": str(error).split("\n")[0]}


def add_commands(app: typer.Typer) -> None:
    """Put this file's command into the command line."""
    app.command(epilog="Example:  long1k report runs/quickstart      long1k report runs/first runs/second")(report)
