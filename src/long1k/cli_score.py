"""Commands that grade what was predicted, and say what grades are worth: score, rates, agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from long1k.cli_common import Out, Thinking, Workers, chat_from, pair
from long1k.wide import tell

Scores = Annotated[Path, typer.Argument(help="Folder made by score.")]
PredictionsOption = Annotated[
    Path | None, typer.Option(help="The graded predictions, if they no longer lie where they were.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")]


def score(
    predictions: Annotated[Path, typer.Argument(help="Folder made by predict or import.")],
    out: Out,
    grader: Annotated[
        str, typer.Option(help="auto (the benchmark's own), math, choice, judge, judge-paper, or module:Class.")
    ] = "auto",
    disagreements: Annotated[
        Path | None, typer.Option(help="Write rows where verdict and label differ (JSON Lines).")
    ] = None,
    workers: Workers = 1,
    judge_model: Annotated[
        Path | None, typer.Option(help="Of a judge: folder of its model, or of a served model's tokenizer.")
    ] = None,
    judge_engine: Annotated[
        str, typer.Option(help="Of a judge: transformers, vllm, openai (a server), or module:Class.")
    ] = "transformers",
    judge_option: Annotated[list[str], typer.Option(help="A key of the judge's engine, e.g. url=http://….")] = [],  # noqa: B006
    judge_set: Annotated[list[str], typer.Option(help="A key of the judge, e.g. votes=3, temperature=0.7.")] = [],  # noqa: B006
    judge_cache: Annotated[
        Path | None, typer.Option(help="File of the judge's replies, to be shared by runs. Default: in --out.")
    ] = None,
    thinking: Thinking = None,
) -> None:
    """Grade predictions; where they came with labels, compare.

    Keys of --judge-set: votes, temperature, top_p, max_tokens, max_answer_chars, seed; of judge-paper: science, …
    """
    from long1k.grading import JUDGES
    from long1k.stages.rates import rates as rates_of
    from long1k.stages.score import score as stage
    from long1k.summary import rates_lines, score_summary, write_disagreements

    setup = None
    if judge_model is not None or grader in JUDGES:
        setup = _judge(judge_model, judge_engine, judge_option, judge_set, judge_cache, thinking)
    manifest = stage(out, predictions, grader_name=grader, num_workers=workers, judge=setup)
    tell(score_summary(out, predictions, manifest))
    if manifest.rows_out:
        tell("\n".join(rates_lines(rates_of(out, predictions=predictions))))
    if disagreements is not None:
        tell(f"{write_disagreements(disagreements, predictions, out):,} disagreements in {disagreements}")


def _judge(
    model: Path | None, engine: str, options: list[str], values: list[str], cache: Path | None, thinking: str | None
) -> Any:
    from long1k.errors import RecipeError
    from long1k.recipe import parse_leaf
    from long1k.stages.predict import EngineSpec
    from long1k.stages.score import EngineAsker, JudgeSetup

    if model is None:
        raise RecipeError(
            "a judge is a model", "name it: --judge-model FOLDER (of a served model: a folder with its tokenizer)"
        )
    spec = EngineSpec({"type": engine, **{key: parse_leaf(text) for key, text in _pairs(options, "--judge-option")}})
    chat = chat_from(str(model), thinking or "think", None)
    identity = {**spec.identity(), "chat": chat.describe(), "model": spec.digest_of(model, chat)}
    settings = {key: parse_leaf(text) for key, text in _pairs(values, "--judge-set")}
    return JudgeSetup(identity, lambda: EngineAsker(spec.start(model, chat), chat), settings, cache)


def _pairs(texts: list[str], option: str) -> list[tuple[str, str]]:
    return [pair(text, option) for text in texts]


def rates(
    scores: Scores,
    k: Annotated[str, typer.Option("--k", help="The k of pass@k, with commas between.")] = "1",
    predictions: PredictionsOption = None,
    as_json: AsJson = False,
) -> None:
    """Show pass@k, avg@n and maj@n of stored scores, with intervals over questions."""
    from long1k.errors import RecipeError
    from long1k.stages.rates import rates as rates_of
    from long1k.summary import rates_lines

    try:
        ks = sorted({int(text) for text in k.split(",")})
    except ValueError:
        ks = [0]
    if min(ks) < 1:
        raise RecipeError(f"--k {k}: expected whole numbers of at least 1", "e.g. --k 1,4,16")
    found = rates_of(scores, ks, predictions=predictions)
    print(json.dumps(found, indent=1, ensure_ascii=False) if as_json else "\n".join(rates_lines(found)), flush=True)


def agree(
    a: Annotated[Path, typer.Argument(help="Folder made by score.")],
    b: Annotated[Path, typer.Argument(help="Another, of the same predictions by another grader.")],
    sheet: Annotated[
        Path | None, typer.Option("--out", "-o", help="File for every disagreement: .csv, or .jsonl.")
    ] = None,
    predictions: PredictionsOption = None,
    as_json: AsJson = False,
) -> None:
    """Compare two graders on the same predictions: agreement, kappa, every disagreement."""
    from long1k.stages.agree import agree as stage
    from long1k.summary import agree_summary

    found = stage(a, b, sheet, predictions=predictions)
    print(json.dumps(found, indent=1, ensure_ascii=False) if as_json else agree_summary(found), flush=True)
    if sheet is not None and not as_json:
        differ = found["only_a_correct"] + found["only_b_correct"]
        print(
            f"{sheet}: {differ:,} disagreements, and {found['rows'] - differ:,} that only one could grade", flush=True
        )


def add_commands(app: typer.Typer) -> None:
    """Put this file's commands into the command line."""
    app.command(
        epilog="Example:  long1k score predictions --out scores      long1k score predictions --grader judge "
        "--judge-model Qwen2.5-32B-Instruct --judge-engine openai --judge-option url=http://localhost:8000/v1 "
        "--out judged"
    )(score)
    app.command(epilog="Example:  long1k rates scores --k 1,4,16")(rates)
    app.command(epilog="Example:  long1k agree scores judged --out disagreements.csv")(agree)
