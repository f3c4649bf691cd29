"""The command distill: a teacher's traces of a problem set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from long1k.cli_common import Out, Thinking, Workers, chat_from, chat_of, pair
from long1k.errors import RecipeError
from long1k.wide import tell


def add_commands(app: typer.Typer) -> None:
    """Register distill."""
    app.command(
        epilog="Example:  long1k distill problems.jsonl --model ./R1-Distill-Qwen-14B --engine vllm --set samples=8 "
        "--set temperature=0.6 --license MIT --out traces"
    )(distill)


def distill(
    out: Out,
    problems: Annotated[
        str | None,
        typer.Argument(help="Questions with answers (JSON Lines, JSON, CSV, Parquet), or a benchmark."),
    ] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of the teacher, or of a server's tokenizer.")] = None,
    predictions: Annotated[
        Path | None, typer.Option(help="Outputs that are there already (import, predict), in place of problems.")
    ] = None,
    engine: Annotated[
        str, typer.Option(help="transformers, vllm, openai (a server), or module:Class.")
    ] = "transformers",
    engine_option: Annotated[list[str], typer.Option(help="A key of the engine, e.g. batch_size=16.")] = [],  # noqa: B006
    set_: Annotated[
        list[str], typer.Option("--set", help="A key of the sampling, e.g. samples=8. May be repeated.")
    ] = [],  # noqa: B006
    option: Annotated[list[str], typer.Option(help="A key of the benchmark, e.g. count=100, or instruction=….")] = [],  # noqa: B006
    field: Annotated[list[str], typer.Option(help="Files: our field = theirs, e.g. question=Frage.")] = [],  # noqa: B006
    limit: Annotated[int | None, typer.Option(min=1, help="Files: so many problems at most.")] = None,
    teacher: Annotated[str | None, typer.Option(help="The teacher's name. Default: that of its folder.")] = None,
    license_: Annotated[str | None, typer.Option("--license", help="Licence of the problems.")] = None,
    wrong: Annotated[str, typer.Option(help="Wrong solutions: keep (marked as such) or reject.")] = "keep",
    grader: Annotated[str | None, typer.Option(help="math, choice, or module:Class. Default: the benchmark's.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Tokenizer that counts. Default: the teacher's.")] = None,
    thinking: Thinking = None,
    template: Annotated[
        str | None, typer.Option(help="Chat template instead of the model's own: a file, or chatml.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Computing threads.")] = 2,
    workers: Workers = 1,
) -> None:
    """Let a teacher solve problems several times; keep every output, its verdict, and each problem's pass rate.

    ``long1k collect OUT --type distilled`` then makes a trace pool of it.
    """
    from long1k.distill import PROBLEMS, judge, read_problems
    from long1k.distill import distill as run
    from long1k.generation.base import Engine, Sampling
    from long1k.plugins import validate
    from long1k.recipe import make_benchmarks, parse_leaf, set_leaf
    from long1k.stages.distill import DistillConfig
    from long1k.stages.predict import EngineSpec
    from long1k.tables import read_manifest

    config = validate(
        DistillConfig, {"teacher": teacher, "license": license_, "wrong": wrong, "source": None}, "distill"
    )
    if (problems is None) == (predictions is None):
        raise RecipeError(
            "distill needs either problems or --predictions", "long1k distill problems.jsonl --model FOLDER"
        )
    if predictions is not None:
        for name, given in (
            ("--set", set_),
            ("--engine-option", engine_option),
            ("--option", option),
            ("--field", field),
        ):
            if given:
                raise RecipeError(f"{name} goes with problems, not with --predictions", "leave it out")
        folder = tokenizer or (None if model is None else str(model))
        source = read_manifest(predictions)
        chat = chat_from(folder, thinking or "think", None, template) if folder else chat_of(source, None, thinking)
        made = judge(out, predictions, config, chat, grader or "auto", workers)
        tell(_summary(out, predictions, made))
        return
    assert problems is not None
    if model is None:
        raise RecipeError("distill needs --model", "the teacher's folder; of a server's teacher one with its tokenizer")
    values: dict[str, Any] = {}
    for key, text in (pair(one, "--set") for one in set_):
        set_leaf(values, key, parse_leaf(text))
    sampling = validate(Sampling, values, "distill")
    spec = {key: parse_leaf(text) for key, text in (pair(one, "--option") for one in option)}
    rejected: Any = ()
    name = problems
    if (any(mark in problems for mark in "/.*") and ":" not in problems) or Path(problems).exists():
        found = read_problems(Path(problems), out / PROBLEMS, dict(pair(one, "--field") for one in field), limit)
        rejected, name = found.rejected, Path(problems.rstrip("/*")).name.split(".")[0]
        spec = {"type": "jsonl", "path": str(found.path), **spec}
    elif field or limit:
        raise RecipeError("--field and --limit go with files of problems", "benchmarks have keys: --option limit=10")
    ((_, benchmark),) = make_benchmarks({name: {"type": name, **spec}})
    engine_spec = EngineSpec(
        {"type": engine, **{k: parse_leaf(v) for k, v in (pair(t, "--engine-option") for t in engine_option)}}
    )
    ours = (model / "manifest.json").is_file() and template is None
    chat = (
        chat_of(read_manifest(model), tokenizer or str(model), thinking)
        if ours
        else chat_from(tokenizer or str(model), thinking or "think", None, template)
    )
    running: list[Engine] = []

    def start() -> Engine:
        if engine == "transformers":
            from long1k.plugins import need

            need("torch").set_num_threads(threads)
        running.append(engine_spec.start(model, chat))
        return running[0]

    try:
        manifest = run(
            out, model=model, benchmark_name=name, benchmark=benchmark, sampling=sampling, engine=engine_spec,
            chat=chat, config=config, grader=grader, num_workers=workers, rejected=rejected, start=start,
        )  # fmt: skip
    finally:
        for each in running:
            each.close()
    tell(_summary(out, out / "predictions", manifest))
    cut = manifest.info["cut"] / max(1, manifest.info["rollouts"])
    if cut > 0.02:
        print(f"warning: {100 * cut:.1f} % of outputs were cut at max_new_tokens", file=sys.stderr)


def _summary(out: Path, predictions: Path, manifest: Any) -> str:
    """Problems and rollouts, pass rates, solutions of different length, and where they lie."""
    from long1k.stages.distill import RATIO
    from long1k.summary import rows_line

    i = manifest.info
    most = max(i["pass_rates"].values(), default=0) or 1
    bars = [
        f"    {name:>7} %  {count:>7,}  {'█' * round(30 * count / most)}" for name, count in i["pass_rates"].items()
    ]
    mean = "–" if i["mean_pass_rate"] is None else f"{100 * i['mean_pass_rate']:.1f} %"
    of = "" if i["teachers"] == 1 else f"; by problem and teacher ({i['teachers']:,} of them):"
    lengths = i["correct_lengths"]
    spread = (
        f"; their tokens: {lengths['min']:,} to {lengths['max']:,}, median {lengths['median']:,}" if lengths else ""
    )
    lines = [
        f"{out / 'traces'}: {rows_line(manifest)}",
        f"  {i['problems']:,} problems, {i['rollouts']:,} outputs, {i['tokens']:,} tokens; "
        f"{100 * i['cut'] / max(1, i['rollouts']):.1f} % cut",
        f"  pass rate: mean {mean}; solved at least once: {i['solved']:,} problems{of}",
        *bars,
        f"  several correct solutions: {i['several_correct']:,} problems{spread}",
        f"  of these the longest {RATIO:g} times the shortest or more: {i['different_lengths']:,} problems",
        f"  outputs in {predictions}, verdicts in {out / 'scores'}; next:",
        f"  long1k collect {out} --type distilled --tokenizer FOLDER --out pool",
    ]
    return "\n".join(lines)
