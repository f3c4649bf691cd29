"""Commands that make data: collect and synthesize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from long1k.cli_common import Address, ExecutorKind, Out, Thinking, TokenizerOption, Workers, chat_from, chat_of, pair
from long1k.errors import DataError, RecipeError
from long1k.templates import NAMES
from long1k.wide import tell

_RECIPE_ENDINGS = (".yaml", ".yml")


def add_commands(app: typer.Typer) -> None:
    """Register collect and synthesize."""
    app.command(
        epilog="Example:  long1k collect traces/*.jsonl.gz --tokenizer ./Qwen2.5-7B-Instruct --exclude math500.jsonl "
        "--out pool"
    )(collect)
    app.command(epilog="Example:  long1k synthesize pool --target 3000 --target 12000 --problems 2-4 --out examples")(
        synthesize
    )


def collect(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Files or folders (JSON Lines, JSON, CSV, Parquet; .gz, .zst), hub:OWNER/NAME, or one recipe."
        ),
    ],
    out: Out,
    tokenizer: TokenizerOption = None,
    type_: Annotated[
        str | None,
        typer.Option("--type", help="What they are: files, openthoughts, s1k, limo, openr1, distilled."),
    ] = None,
    verify: Annotated[
        str | None, typer.Option(help="drop: wrong answers go (default); mark: they are marked; keep: no check.")
    ] = None,
    field: Annotated[
        list[str], typer.Option(help="Our field = theirs, e.g. question=problem. Common names are known.")
    ] = [],  # noqa: B006
    tags: Annotated[
        str | None, typer.Option(help="required: thinking must be closed by a tag; auto: else split at the answer.")
    ] = None,
    license_: Annotated[str | None, typer.Option("--license", help="Licence of rows that state none.")] = None,
    teacher: Annotated[str | None, typer.Option(help="Teacher model of rows that state none.")] = None,
    exclude: Annotated[
        list[str], typer.Option(help="A benchmark's JSON Lines: its problems are left out. May be repeated.")
    ] = [],  # noqa: B006
    thinking: Thinking = None,
    template: Annotated[
        str | None,
        typer.Option(help=f"Chat template instead of the tokenizer's own (base models): a file, or {NAMES}."),
    ] = None,
    set_: Annotated[
        list[str], typer.Option("--set", help="A key of collect, e.g. near_duplicates.traces=0.8. May be repeated.")
    ] = [],  # noqa: B006
    workers: Workers = 1,
    executor: ExecutorKind = "local",
    address: Address = None,
) -> None:
    """Make a clean trace pool: load, normalise tags, lint, decontaminate, verify, deduplicate, count tokens."""
    from long1k.executors import Executor
    from long1k.interop.card import write_card
    from long1k.rows import Trace
    from long1k.stages.collect import collect as stage
    from long1k.summary import collect_summary

    if _is_recipe(sources):
        for option, given in (
            ("--verify", verify), ("--tags", tags), ("--field", field), ("--type", type_), ("--exclude", exclude),
            ("--license", license_), ("--teacher", teacher),
        ):  # fmt: skip
            if given:
                raise RecipeError(f"{option} does not go with a recipe", "set its keys: --set collect.verify=mark")
        made, config, chat, excluded = _from_recipe(sources[0], set_, tokenizer, thinking, template)
    else:
        stated = {"type": type_ or "files", "tags": tags, "license": license_, "teacher": teacher}
        made, config = _from_files(sources, stated, verify, field, set_)
        if tokenizer is None:
            raise RecipeError("collect needs --tokenizer", "the folder of the model that will be trained")
        chat, excluded = chat_from(tokenizer, thinking or "think", None, template), _excluded(exclude)
    manifest = stage(out, made, config, chat, excluded=excluded, executor=Executor(workers, executor, address))
    tell(collect_summary(out, manifest))
    if manifest.rows_out == 0:
        raise DataError("no row could be used", f"long1k show {out} --rejected shows why; {_mend(manifest.rejected)}")
    write_card(out, manifest, Trace)


def _mend(rejected: Mapping[str, int]) -> str:
    """What helps against the most frequent reason."""
    most = max(rejected, key=lambda reason: rejected[reason], default="")
    helps = {
        "no_gold": "name the column of gold answers with --field answer=NAME, or do without: --verify keep",
        "unclosed_thinking": "do without thinking tags: --tags auto",
        "wrong_answer": "keep wrong answers, marked as such: --verify mark",
        "malformed_json": "these lines are no JSON: mend them, or name the file by what it is (.csv, .parquet)",
    }
    return helps.get(most, "map fields with --field question=NAME")


def _is_recipe(sources: Sequence[str]) -> bool:
    """Whether the one source named is a recipe: a YAML file, or a packaged one's name that is no file here."""
    if len(sources) != 1:
        return False
    if Path(sources[0]).suffix in _RECIPE_ENDINGS:
        return True
    plain = not any(mark in sources[0] for mark in "/*.:") and not Path(sources[0]).exists()
    return plain


def _from_recipe(
    name: str, set_: Sequence[str], tokenizer: str | None, thinking: str | None, template: str | None
) -> Any:
    from long1k.benchmarks.base import problems
    from long1k.recipe import load_recipe, make_benchmarks, make_sources

    recipe = load_recipe(name, set_)
    spec = recipe.chat
    chat = chat_from(tokenizer or recipe.tokenizer, thinking or spec.thinking, spec.system, template or spec.template)
    excluded = {
        name: [(item.item_id, item.question) for item in problems(benchmark)]
        for name, benchmark in make_benchmarks(recipe.benchmarks)
    }
    return make_sources(recipe.sources), recipe.collect, chat, excluded


def _from_files(
    sources: Sequence[str], stated: Mapping[str, str | None], verify: str | None, field: Sequence[str],
    set_: Sequence[str],
) -> Any:  # fmt: skip
    from long1k.curation.config import CollectConfig
    from long1k.plugins import validate
    from long1k.recipe import make_sources, parse_leaf, set_leaf

    options: dict[str, Any] = {key: value for key, value in stated.items() if value is not None}
    if field:
        options["fields"] = dict(pair(text, "--field") for text in field)
    specs: dict[str, dict[str, Any]] = {}
    for name, where in _names(sources).items():
        place = {"hub": where.removeprefix("hub:")} if where.startswith("hub:") else {"path": where}
        specs[name] = {**options, **place}
    values: dict[str, Any] = {"verify": verify or "drop"}
    for text in set_:
        key, value = pair(text, "--set")
        set_leaf(values, key, parse_leaf(value))
    return make_sources(specs), validate(CollectConfig, values, "collect")


def _names(paths: Sequence[str]) -> dict[str, str]:
    """A name for each source: its stem, with a number where two are alike."""
    names: dict[str, str] = {}
    for path in paths:
        stem = Path(path.removeprefix("hub:").rstrip("/*")).name.split(".")[0] or "rows"
        name, number = stem, 1
        while name in names:
            number += 1
            name = f"{stem}-{number}"
        names[name] = path
    return names


def _excluded(paths: Sequence[str]) -> dict[str, list[tuple[str, str]]]:
    """(id, question) of the problems in files of benchmarks; common names of the question's field are known."""
    from long1k.jsonlines import BadRow, expand_path, field_name, read_json_lines

    found: dict[str, list[tuple[str, str]]] = {}
    for name, path in _names(paths).items():
        items = []
        for number, row in read_json_lines(expand_path(path)):
            question = None if isinstance(row, BadRow) else row.get(field_name("question", row, {}))
            if not isinstance(question, str) or not question.strip():
                raise DataError(
                    f"{path}, line {number} holds no question",
                    "--exclude reads JSON Lines: each line is an object with question or problem",
                )
            items.append((str(number), question))
        if not items:
            raise DataError(f"{path} holds no problem to leave out", "check the path of --exclude")
        found[name] = items
    return found


def synthesize(
    pool: Annotated[Path, typer.Argument(help="Folder made by collect.")],
    out: Out,
    target: Annotated[
        list[int], typer.Option(min=1, help="Tokens of a sample after the chat template. May be repeated.")
    ] = [],  # noqa: B006
    window: Annotated[
        list[str], typer.Option(help="Least-most tokens instead of a target, e.g. 4000-8000. May be repeated.")
    ] = [],  # noqa: B006
    samples: Annotated[
        int, typer.Option(min=1, help="Samples of each target; fewer if the pool allows no more.")
    ] = 500,
    problems: Annotated[str, typer.Option(help="Problems a sample: 2, or a range 2-4.")] = "2",
    mode: Annotated[
        str,
        typer.Option(
            help="independent, same_problem, dependent, single, no_linker, shuffled_parts, shuffled_steps, truncated "
            "or masked_pair."
        ),
    ] = "independent",
    tolerance: Annotated[float, typer.Option(help="Share of the target that a sample may be off.")] = 0.01,
    exact: Annotated[bool, typer.Option("--exact", help="Every sample exactly on its target: tolerance 0.")] = False,
    where: Annotated[
        list[str], typer.Option(help="Which traces, e.g. subjects=[math] or difficulty=[2,4]. May be repeated.")
    ] = [],  # noqa: B006
    layout: Annotated[
        str, typer.Option(help="blocks: one turn, problems labelled; turns: a turn a problem.")
    ] = "blocks",
    linkers: Annotated[
        str, typer.Option(help="Bank of linking words: english, micro, none, or module:BANK.")
    ] = "english",
    seed: int = 0,
    tokenizer: TokenizerOption = None,
    thinking: Thinking = None,
) -> None:
    """Join traces into samples of an exact length."""
    from long1k.interop.card import write_card
    from long1k.joining.spec import JoinSpec
    from long1k.plugins import validate
    from long1k.recipe import parse_leaf, set_leaf
    from long1k.rows import Example
    from long1k.stages.synthesize import synthesize as stage
    from long1k.summary import balance_summary, synthesize_summary
    from long1k.tables import read_manifest

    shared: dict[str, Any] = {
        "samples": samples, "mode": mode, "tolerance": 0.0 if exact else tolerance, "layout": layout,
        "num_problems": _range(problems, "--problems", "2-4"), "linkers": linkers, "shortfall": "allow",
    }  # fmt: skip
    for text in where:
        key, value = pair(text, "--where")
        set_leaf(shared, f"where.{key}", parse_leaf(value))
    lengths: list[dict[str, Any]] = [{"target": one} for one in target]
    lengths += [{"window": _range(text, "--window", "4000-8000")} for text in window]
    if not lengths:
        raise RecipeError("synthesize needs a length", "give --target 6000, or --window 4000-8000")
    specs = [validate(JoinSpec, {**shared, **one}, "synthesize") for one in lengths]
    source = read_manifest(pool)
    chat = chat_of(source, tokenizer, thinking)
    manifest = stage(out, pool, arm="samples", specs=specs, seed=seed, chat=chat)
    tell(synthesize_summary(out, manifest))
    tell(balance_summary(manifest))
    write_card(out, manifest, Example, pool=pool)


def _range(text: str, option: str, example: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    if not low.isdecimal() or (high and not high.isdecimal()):
        raise RecipeError(f"{option} {text}: expected a number or a range", f"e.g. {option} {example}")
    return int(low), int(high or low)
