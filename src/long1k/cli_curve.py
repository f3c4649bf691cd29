"""The command that grades stored outputs at smaller budgets: curve."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from long1k.cli_common import Out, Thinking, TokenizerOption, Workers, chat_from, chat_of
from long1k.errors import DataError, RecipeError
from long1k.wide import tell


def curve(
    predictions: Annotated[Path, typer.Argument(help="Folder made by predict or import.")],
    out: Out,
    budgets: Annotated[str, typer.Option(help="Tokens, with commas between them, e.g. 1024,2048,4096.")],
    tokens_of: Annotated[
        str, typer.Option(help="What a budget bounds: total (the whole output) or thinking.")
    ] = "total",
    grader: Annotated[
        str, typer.Option(help="math, choice, module:Class, or auto: the one of the benchmark.")
    ] = "auto",
    tokenizer: TokenizerOption = None,
    thinking: Thinking = None,
    workers: Workers = 1,
) -> None:
    """Accuracy against tokens: outputs that are there, cut at smaller budgets and graded again."""
    from long1k.stages.curve import CURVE
    from long1k.stages.curve import curve as stage
    from long1k.tables import read_manifest

    try:
        numbers = [int(part) for part in budgets.replace(" ", "").split(",") if part]
    except ValueError:
        raise RecipeError(f"--budgets {budgets}: expected numbers with commas between", "e.g. 1024,2048,4096") from None
    if tokens_of not in ("total", "thinking"):
        raise RecipeError(f"--tokens-of {tokens_of}: unknown", "give total or thinking")
    source = read_manifest(predictions)
    if "predict" not in source.stage:
        raise DataError(
            f"{predictions} holds the result of {source.stage.split('/')[0]}, no outputs",
            "give a folder made by predict or import",
        )
    if tokenizer is None and "chat" in source.config:
        chat = chat_of(source, None, thinking)
    elif tokenizer is not None:
        chat = _chat(tokenizer, thinking or source.config.get("chat", {}).get("thinking", "think"))
    else:
        raise DataError(
            "imported outputs do not say which tokenizer they were made with",
            "give --tokenizer: the folder of the model's tokenizer",
        )
    stage(
        out, predictions, budgets=numbers, chat=chat, tokens_of=tokens_of, grader_name=grader, num_workers=workers
    )  # fmt: skip
    tell(_summary(out, json.loads((out / CURVE).read_text(encoding="utf-8"))))


def _chat(tokenizer: str, thinking: str) -> Any:
    """The renderer of a tokenizer; to take outputs apart, one without a template will do."""
    from long1k.tokens import load_tokenizer

    bare = not tokenizer.startswith("package:") and load_tokenizer(str(Path(tokenizer).expanduser())).template is None
    return chat_from(tokenizer, thinking, None, "chatml" if bare else None)


def _summary(out: Path, found: dict[str, Any]) -> str:
    lines = []
    for curve in found["curves"]:
        lines += [
            f"{curve['benchmark']}, {curve['arm']} (grader {found['grader']}, budgets of {found['tokens_of']} tokens)",
            "    budget  accuracy, %            mean tokens  cut, %  truncated, %  outputs",
        ]
        for point in curve["points"]:
            a = point["accuracy"]
            bounds = "" if a["low"] is None else f"[{100 * a['low']:.1f}, {100 * a['high']:.1f}]"
            budget = "all" if point["budget_tokens"] is None else f"{point['budget_tokens']:,}"
            lines.append(
                f"  {budget:>8}  {100 * a['estimate']:>5.1f} {bounds:<15} {point['mean_tokens']:>12,.0f}  "
                f"{100 * point['cut'] / point['outputs']:>6.1f}  {100 * point['truncated']:>12.1f}  "
                f"{point['outputs']:>7,}"
            )
        forced = curve["points"][-1]["forced"]
        if forced:
            lines.append(
                f"    {forced:,} of these outputs were drawn under a budget (thinking closed or made to go on by us): "
                "cut shorter, they show where they were then, not what a smaller budget would have made of them"
            )
        failed = sum(curve["points"][-1]["statuses"].get(status, 0) for status in ("timeout", "error"))
        if failed:
            lines.append(f"    {failed:,} answers could not be graded; they count as not correct")
    return "\n".join([*lines, f"{out / 'curve.json'}, verdicts.parquet and curve.svg beside it"])


def add_commands(app: typer.Typer) -> None:
    """Put this file's command into the command line."""
    app.command(epilog="Example:  long1k curve predictions --budgets 1024,2048,4096 --out curve")(curve)
