"""The command that asks a model: predict."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from long1k.cli_common import Out, Thinking, chat_from, chat_of, pair

Sets = Annotated[list[str], typer.Option("--set", help="A key of the sampling, e.g. temperature=0.6. May be repeated.")]


def predict(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a model with its tokenizer.")],
    out: Out,
    benchmark: Annotated[list[str], typer.Option(help="micro, math500, aime, … or module:Class. May be repeated.")],
    option: Annotated[
        list[str],
        typer.Option(help="A key of the benchmark, e.g. path=math500.jsonl; of several, aime.path=aime24.jsonl."),
    ] = [],  # noqa: B006
    engine: Annotated[
        str, typer.Option(help="transformers, vllm, openai (a server), or module:Class.")
    ] = "transformers",
    engine_option: Annotated[list[str], typer.Option(help="A key of the engine, e.g. batch_size=16.")] = [],  # noqa: B006
    set_: Sets = [],  # noqa: B006
    thinking: Thinking = None,
    template: Annotated[
        str | None, typer.Option(help="Chat template instead of the model's own: a file, or chatml.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Computing threads.")] = 2,
) -> None:
    """Let a model answer benchmarks; every finished output is kept at once.

    Keys of --set: max_new_tokens, temperature, top_p, top_k, samples, seed, budget.max_thinking_tokens, …
    With several benchmarks each has a folder of its name under --out.
    """
    from long1k.generation.base import Engine, Sampling
    from long1k.plugins import validate
    from long1k.recipe import make_benchmarks, parse_leaf, set_leaf
    from long1k.stages.predict import EngineSpec
    from long1k.stages.predict import predict as stage
    from long1k.tables import read_manifest

    values: dict[str, Any] = {}
    for key, text in (pair(one, "--set") for one in set_):
        set_leaf(values, key, parse_leaf(text))
    sampling = validate(Sampling, values, "predict")
    made = make_benchmarks(_benchmarks(benchmark, option))
    spec = EngineSpec(
        {"type": engine, **{k: parse_leaf(v) for k, v in (pair(t, "--engine-option") for t in engine_option)}}
    )
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
                folder, checkpoint=checkpoint, benchmark_name=name, benchmark=one, sampling=sampling, chat=chat,
                engine=spec, arm=checkpoint.name, train_seed=None, start=start,
            )  # fmt: skip
            ends = ", ".join(f"{reason} {count:,}" for reason, count in manifest.info["finish_reasons"].items())
            print(
                f"{folder}: {manifest.rows_out:,} outputs to {manifest.info['items']:,} questions ({ends}), "
                f"{manifest.info['mean_tokens']:.0f} tokens each on average",
                flush=True,
            )
            _warn(manifest.info, manifest.rows_out)
    finally:
        for each in running:
            each.close()


def _benchmarks(names: list[str], options: list[str]) -> dict[str, dict[str, Any]]:
    """Configurations by name; ``name.key=value`` is for one of several, ``key=value`` for all."""
    from long1k.recipe import parse_leaf

    specs: dict[str, dict[str, Any]] = {name: {"type": name} for name in names}
    for key, text in (pair(one, "--option") for one in options):
        first, dot, rest = key.partition(".")
        for name in [first] if dot and first in specs else names:
            specs[name][rest if dot and first in specs else key] = parse_leaf(text)
    return specs


def _warn(info: dict[str, Any], total: int) -> None:
    cut = info["finish_reasons"].get("length", 0)
    if total and cut / total > 0.02:
        print(f"warning: {100 * cut / total:.1f} % of outputs were cut at max_new_tokens", file=sys.stderr)


def add_commands(app: typer.Typer) -> None:
    """Put this file's commands into the command line."""
    app.command(
        epilog="Example:  long1k predict checkpoint --benchmark math500 --option path=math500.jsonl --out predictions"
    )(predict)
