"""The command status: how a run stands, from another terminal or long after."""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from long1k.wide import WIDTH

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

    from long1k.study_status import Status

UNFINISHED = 3


def add_commands(app: typer.Typer) -> None:
    """Add the command to the application."""

    @app.command(
        epilog="Example:  long1k status      long1k status runs/quickstart --watch      long1k status --json\n\n"
        "Exit code:  0 finished, or at work;  3 nobody works on it and something is left (stopped, failed, killed);  "
        "1 no run there;  2 wrong options."
    )
    def status(
        run_folder: Annotated[Path | None, typer.Argument(help="Folder of a run. Default: the newest one.")] = None,
        runs: Annotated[Path, typer.Option(help="Folder that holds all runs, to find the newest in.")] = Path("runs"),
        watch: Annotated[bool, typer.Option("--watch", help="Look again and again until the run ends.")] = False,
        whole: Annotated[bool, typer.Option("--all", help="Every stage of every seed, nothing folded.")] = False,
        as_json: Annotated[
            bool, typer.Option("--json", help="As JSON, one object (a line each with --watch).")
        ] = False,
        interval: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks of --watch.")] = 1.0,
    ) -> None:
        """How a run stands: its stages, what is at work, how long it still takes; changes nothing."""
        from long1k.study_status import as_line, newest_run, read_status

        root = newest_run(runs) if run_folder is None else run_folder
        found = read_status(root)
        if as_json:
            while True:
                print(as_line(found) if watch else json.dumps(found.as_json(), indent=1), flush=True)
                if not watch or found.life != "running":
                    break
                time.sleep(interval)
                found = read_status(root)
        elif watch:
            found = _watched(root, found, interval, whole)
        else:
            _console().print(_drawn(found, None, whole))
        if found.life not in ("finished", "running"):
            raise typer.Exit(UNFINISHED)


def _watched(root: Path, found: Status, interval: float, whole: bool) -> Status:
    """Draw until the run ends; elsewhere than on a terminal wait, and print how it ended."""
    from rich.live import Live

    from long1k.study_screen import can_draw
    from long1k.study_status import read_status

    console = _console()
    if not can_draw():
        while found.life == "running":
            time.sleep(interval)
            found = read_status(root)
        console.print(_drawn(found, None, whole))
        return found
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_drawn(found, console.size.height, whole), refresh=True)
            if found.life != "running":
                return found
            time.sleep(interval)
            found = read_status(root)


def _console() -> Console:
    from long1k.study_screen import SteadyConsole

    # Into a file or a pipe: lines as wide as they may be, and no control codes.
    width = min(shutil.get_terminal_size((WIDTH, 24)).columns, WIDTH) if sys.stdout.isatty() else WIDTH
    return SteadyConsole(width=width, highlight=False, markup=False, emoji=False)


def _drawn(found: Status, height: int | None, whole: bool) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    from long1k.reporting.text import clean
    from long1k.study_view import clock, drawn, head, lines

    state, now = found.state, found.now
    spent, ended = None, ""
    if state is not None:
        spent = now - state.started
        if found.life != "running":
            ended = f"last heard of {clock(now - state.updated)} ago"
    first = head(found.root.name, found.nodes, found.life, spent, found.left, ended)
    after = [found.resources.line()] if found.resources is not None else []
    said = []
    if found.life == "silent" and state is not None:
        said.append(f"It ran on {state.process.host}, which has not written for a minute: look there.")
    if found.life == "killed" and state is not None:
        said.append(f"Its process ({state.process.pid}) is gone without a word: killed, or out of memory.")
    if state is not None and state.message and found.life == "failed":
        said.append(f"It failed: {state.message}")
    if found.go_on is not None:
        said.append(f"What is finished is kept; go on with:  {found.go_on}")
    below = [
        Text("\n".join(textwrap.wrap(clean(text), WIDTH, break_long_words=False, break_on_hyphens=False)))
        for text in said
    ]
    room = None if height is None else max(3, height - 3 - len(after) - len(below))
    details = {} if state is None else state.details
    return Group(drawn(first, lines(found.nodes, details, now, height=room, whole=whole), *after), *below)
