"""The command that asks a model: predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from long1k.cli_common import Out, Thinking, chat_from, chat_of, pair
from long1k.errors import DataError, RecipeError
from long1k.summary import predict_summary, predict_warnings
from long1k.templates import NAMES
from long1k.wide import fit, tell

Sets = Annotated[list[str], typer.Option("--set", help="A key of the sampling, e.g. temperature=0.6. May be repeated.")]


def predict(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a model with its tokenizer.")],
    out: Out,
    benchmark: Annotated[
        list[str], typer.Option(help="math500, aime24, gpqa, jsonl, …, module:Class, or NAME=TYPE. May be repeated.")
    ],
    option: Annotated[
        list[str],
        typer.Option(help="A key of the benchmark, e.g. path=math500.jsonl; of one of several, aime24.path=FILE."),
    ] = [],  # noqa: B006
    engine: Annotated[
        str, typer.Option(help="transformers, vllm, openai (a server), or module:Class.")
    ] = "transformers",
    engine_option: Annotated[
        list[str], typer.Option(help="A key of the engine, e.g. batch_size=16, url=http://HOST:8000/v1.")
    ] = [],  # noqa: B006
    set_: Sets = [],  # noqa: B006
    thinking: Thinking = None,
    template: Annotated[
        str | None, typer.Option(help=f"Chat template instead of the model's own: a file, or {NAMES}.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Computing threads.")] = 2,
) -> None:
    """Let a model answer benchmarks; every finished output is kept at once.

    Keys of --set: max_new_tokens, temperature, top_p, top_k, samples, seed, budget.max_thinking_tokens, …
    With several benchmarks each has a folder of its name under --out, and NAME.samples=64 is for that one.
    The same command goes on where it was stopped.
    """
    from long1k.generation.base import Engine, Sampling
    from long1k.plugins import validate
    from long1k.recipe import make_benchmarks, merged_sampling, parse_leaf, set_leaf
    from long1k.stages.predict import EngineSpec
    from long1k.stages.predict import predict as stage
    from long1k.tables import read_manifest

    if not (checkpoint.is_dir() or str(checkpoint).startswith("package:")):
        raise DataError(f"there is no folder {checkpoint}", "name the model's: a checkpoint, or any model folder")
    specs = benchmark_specs(benchmark, option)
    values, own = _samplings(set_, list(specs))
    sampling = validate(Sampling, values, "predict")
    made = make_benchmarks(specs)
    drawn = {name: merged_sampling(sampling, own[name], f"predict, --set {name}.…") for name, _ in made}
    chosen: dict[str, Any] = {"type": engine}
    for key, text in (pair(one, "--engine-option") for one in engine_option):
        set_leaf(chosen, key, parse_leaf(text))
    spec = EngineSpec(chosen)
    for _, one in made:
        next(iter(one.load()), None)  # a missing file or a bad row is said before a model is loaded
    made_by_us = (checkpoint / "manifest.json").is_file() and template is None
    chat = (
        chat_of(read_manifest(checkpoint), str(checkpoint), thinking)
        if made_by_us
        else chat_from(str(checkpoint), thinking or "think", None, template)
    )
    running: list[Engine] = []

    def start() -> Engine:
        if not running:
            if engine == "transformers":
                from long1k.plugins import need

                need("torch").set_num_threads(threads)
            running.append(spec.start(checkpoint, chat))
        return running[0]

    try:
        for name, one in made:
            folder = out / name if len(made) > 1 else out
            manifest = stage(
                folder, checkpoint=checkpoint, benchmark_name=name, benchmark=one, sampling=drawn[name], chat=chat,
                engine=spec, arm=checkpoint.name, train_seed=None, start=start,
            )  # fmt: skip
            tell(predict_summary(folder, manifest))
            for warning in predict_warnings(manifest):
                print(fit(f"warning: {name}: {warning}"), file=sys.stderr, flush=True)
    finally:
        for each in running:
            each.close()


def benchmark_specs(names: list[str], options: list[str]) -> dict[str, dict[str, Any]]:
    """Configurations by name; ``name.key=value`` is for one of several, ``key=value`` for all."""
    from long1k.recipe import parse_leaf, set_leaf

    specs: dict[str, dict[str, Any]] = {}
    for text in names:
        name, given, kind = text.partition("=")
        if name in specs:
            raise RecipeError(f"--benchmark {name} stands twice", "name one of them: --benchmark NAME=TYPE")
        specs[name] = {"type": kind if given else name}
    for key, text in (pair(one, "--option") for one in options):
        first, dot, rest = key.partition(".")
        for name in [first] if dot and first in specs else list(specs):
            set_leaf(specs[name], rest if dot and first in specs else key, parse_leaf(text))
    return specs


def _samplings(sets: list[str], names: list[str]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """(what holds for all benchmarks, what for one) of the keys given by --set."""
    from long1k.recipe import parse_leaf, set_leaf

    values: dict[str, Any] = {}
    own: dict[str, dict[str, Any]] = {name: {} for name in names}
    for key, text in (pair(one, "--set") for one in sets):
        first, dot, rest = key.partition(".")
        if dot and first in own:
            set_leaf(own[first], rest, parse_leaf(text))
        else:
            set_leaf(values, key, parse_leaf(text))
    return values, own


def add_commands(app: typer.Typer) -> None:
    """Put this file's commands into the command line."""
    app.command(
        epilog="Example:  long1k predict checkpoint --benchmark math500 --option path=math500.jsonl --out predictions"
        "      long1k predict checkpoint --benchmark math500 --benchmark aime24 --set temperature=0.6 "
        "--set aime24.samples=64 --out predictions"
    )(predict)
