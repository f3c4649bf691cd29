"""The command paper: what the paper's own figures say."""

from __future__ import annotations

import json
import textwrap
from typing import Annotated

import typer

from long1k.errors import RecipeError
from long1k.wide import WIDTH


def add_commands(app: typer.Typer) -> None:
    """Register paper."""
    app.command(epilog="Example:  long1k paper      long1k paper C F      long1k paper F --json")(paper)


def paper(
    experiments: Annotated[
        list[str] | None, typer.Argument(help="A, B, C, D, E, F, G, or a part: B-a, D-steps. Default: all.")
    ] = None,
    later: Annotated[bool, typer.Option("--later", help="Also what others found since.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="The figures behind the lines, as JSON.")] = False,
) -> None:
    """Analyze the paper's published figures: fits, intervals, and which differences hold."""
    from long1k.paper import experiments_named, load_paper
    from long1k.stages.paper import findings_of, later_findings

    try:
        names = experiments_named(experiments or list(load_paper().experiments))
    except ValueError as error:
        raise RecipeError(str(error), "e.g. long1k paper C F") from None
    found = [findings_of(name) for name in names]
    if json_:
        print(json.dumps(found, indent=1, ensure_ascii=False))
        return
    parts = ["\n".join(entry["lines"]) for entry in found]
    if later or not experiments:
        parts.append("\n".join(["Since then", *(f"  {line}" for line in later_findings())]))
    print("\n\n\n".join("\n".join(map(_wrapped, part.split("\n"))) for part in parts))


def _wrapped(line: str) -> str:
    """A line of prose broken for the terminal, under its own beginning; tables are narrower."""
    indent = " " * (len(line) - len(line.lstrip()) + 2)
    return "\n".join(textwrap.wrap(line, WIDTH, subsequent_indent=indent, drop_whitespace=True) or [""])
