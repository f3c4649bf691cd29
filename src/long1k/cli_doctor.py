"""The command doctor: is a benchmark asked and graded as it should be?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from long1k.cli_common import Thinking, Workers, chat_from, chat_of
from long1k.errors import RecipeError
from long1k.wide import tell


def add_commands(app: typer.Typer) -> None:
    """Register doctor."""
    app.command(
        epilog="Example:  long1k doctor --benchmark math500 --option path=math500.jsonl --model checkpoint      "
        "long1k doctor --benchmark gpqa --model checkpoint --train examples --predictions predictions/gpqa"
    )(doctor)


def doctor(
    benchmark: Annotated[str, typer.Option(help="math500, aime24, gpqa, jsonl, …, or module:Class.")],
    option: Annotated[list[str], typer.Option(help="A key of the benchmark, e.g. path=math500.jsonl.")] = [],  # noqa: B006
    model: Annotated[Path | None, typer.Option(help="Folder of the model that will answer.")] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            help="Tokenizer folder, or package:micro, in place of --model. Default: that of --train, else "
            "nothing is said about tokens."
        ),
    ] = None,
    thinking: Thinking = None,
    template: Annotated[str | None, typer.Option(help="Chat template instead of the model's own.")] = None,
    train: Annotated[Path | None, typer.Option(help="Samples, or a checkpoint: are their prompts the same?")] = None,
    predictions: Annotated[Path | None, typer.Option(help="Folder made by predict: are its outputs sound?")] = None,
    grader: Annotated[str, typer.Option(help="auto (the benchmark's own), math, choice, or module:Class.")] = "auto",
    max_new_tokens: Annotated[int | None, typer.Option(min=1, help="Room that an answer needs.")] = None,
    tolerate: Annotated[float, typer.Option(min=0, max=1, help="Share of golds that may fail, e.g. 0.01.")] = 0.0,
    show_question: Annotated[bool, typer.Option("--show-question", help="Print withheld questions, too.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="The report as JSON.")] = False,
    workers: Workers = 1,
) -> None:
    """Test a benchmark without a model: golds score 100 %, shuffled golds score chance, prompts are whole.

    With --model or --tokenizer prompts are looked at in tokens, with --train compared with those of the training,
    with --predictions the outputs are examined.  Exit code 1 if a check fails.
    """
    import json

    from long1k.cli_predict import benchmark_specs
    from long1k.recipe import make_benchmarks
    from long1k.stages.doctor import as_json, examine, render, summary
    from long1k.tables import read_manifest

    if model is not None and tokenizer is not None:
        raise RecipeError("--model and --tokenizer are two tokenizers", "give one of them")
    made = make_benchmarks(benchmark_specs([benchmark], option))[0][1]
    place = str(model) if model is not None else tokenizer
    if place is None and train is not None:
        place = str(_trained(train).tokenizer.folder)
    if model is not None and (model / "manifest.json").is_file() and template is None:
        chat = chat_of(read_manifest(model), str(model), thinking)
    else:
        chat = chat_from(place or "package:micro", thinking or "think", None, template)
    checks = examine(
        made, chat=chat, tokenized=place is not None, grader=grader, model=model,
        train=None if train is None else (train, _trained(train)), predictions=predictions,
        max_new_tokens=max_new_tokens, tolerate=tolerate, show_question=show_question, num_workers=workers,
    )  # fmt: skip
    failed = sum(check.status == "fail" for check in checks)
    if json_:
        print(json.dumps(as_json(checks), ensure_ascii=False, indent=1), flush=True)
    else:
        tell(render(checks))
        tell(f"\n{summary(checks)}")
    if failed:
        raise typer.Exit(1)


def _trained(folder: Path) -> Any:
    """The renderer behind samples, or behind a checkpoint, which holds its tokenizer itself."""
    from long1k.tables import read_manifest

    own = str(folder) if (folder / "tokenizer.json").is_file() else None
    return chat_of(read_manifest(folder), own, None)
