"""Commands that grade what was predicted: score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from long1k.cli_common import Out, Workers


def score(
    predictions: Annotated[Path, typer.Argument(help="Folder made by predict or import.")],
    out: Out,
    grader: Annotated[str, typer.Option(help="math, choice, or module:Class.")] = "math",
    disagreements: Annotated[
        Path | None, typer.Option(help="Write rows where verdict and label differ (JSON Lines).")
    ] = None,
    workers: Workers = 1,
) -> None:
    """Grade predictions; where they came with labels, compare."""
    from long1k.stages.score import score as stage
    from long1k.summary import score_summary, write_disagreements

    manifest = stage(out, predictions, grader_name=grader, num_workers=workers)
    print(score_summary(out, predictions, manifest), flush=True)
    if disagreements is not None:
        print(f"{write_disagreements(disagreements, predictions, out):,} disagreements in {disagreements}", flush=True)


def add_commands(app: typer.Typer) -> None:
    """Put this file's commands into the command line."""
    app.command(epilog="Example:  long1k score predictions --out scores")(score)
