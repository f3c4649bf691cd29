"""The command that looks at what models wrote: outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from long1k.cli_common import TokenizerOption
from long1k.wide import tell


def outputs(
    folders: Annotated[
        list[Path],
        typer.Argument(help="Folders made by score, or runs (or an arm's folder in one).", show_default=False),
    ],
    predictions: Annotated[
        Path | None, typer.Option(help="The graded predictions of one folder, if they no longer lie where they were.")
    ] = None,
    tokenizer: TokenizerOption = None,
    top: Annotated[int, typer.Option(min=1, max=200, help="Words in a list.")] = 10,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of lines: every list with intervals.")
    ] = False,
) -> None:
    """Lengths, words and markers of correct and wrong outputs; loops, cuts, prompts of several problems."""
    from long1k.compare import one_run
    from long1k.errors import RecipeError
    from long1k.jsonlines import expand_path
    from long1k.outputs_text import ledger_lines, outputs_lines
    from long1k.reporting.text import clean
    from long1k.stages.analyze.ledger import find_folders, ledger_of
    from long1k.stages.analyze.outputs import find_tables, outputs_of
    from long1k.tokens import load_tokenizer

    if predictions is not None and len(folders) > 1:
        raise RecipeError("--predictions goes with one folder of scores", "give one folder")
    count = None
    if tokenizer is not None:
        spec = tokenizer if tokenizer.startswith("package:") else str(expand_path(tokenizer))
        count = load_tokenizer(spec).count
    found: list[dict[str, Any]] = []
    for folder in folders:
        one_run(folder)
        tables = find_tables(folder, predictions)
        made = outputs_of(tables, confidence=confidence, count=count, top=top)
        found.append({"folder": str(folder), "benchmarks": made, "ledger": ledger_of(find_folders(folder), folder)})
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False), flush=True)
        return
    lines: list[str] = []
    for one in found:
        lines += [f"{one['folder']}\n"] * (len(found) > 1)
        lines += outputs_lines(one["benchmarks"]) + ledger_lines(one["ledger"])
    tell(clean("\n".join(lines).rstrip()))  # names come from files: they may not steer a terminal


def add_commands(app: typer.Typer) -> None:
    """Put this file's command into the command line."""
    app.command(
        epilog="Example:  long1k outputs scores      long1k outputs runs/quickstart      long1k outputs scores --json"
    )(outputs)
