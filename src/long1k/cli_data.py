"""Commands that move data and models out and in: export, import, card, push."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from long1k.cli_common import Out, chat_from, chat_of, pair
from long1k.errors import RecipeError
from long1k.wide import tell

_CARRY = "Keep where each sample comes from in a column 'long1k' (default: yes, but for token ids)."


def add_commands(app: typer.Typer) -> None:
    """Register export, import, card and push."""
    app.command(epilog="Example:  long1k export examples --format llamafactory --out for-llamafactory")(export)
    app.command(
        "import", epilog="Example:  long1k import outputs.jsonl.gz --field label=is_correct --arm run --out predictions"
    )(import_)
    app.command(epilog="Example:  long1k card checkpoint --predictions predictions --scores scores --licence mit")(card)
    app.command(epilog="Example:  long1k push examples --to my-team/long-traces-6k --dry-run")(push)


def export(
    examples: Annotated[
        Path, typer.Argument(help="Folder of samples (synthesize, import) or of predictions (predict, import).")
    ],
    out: Out,
    format_: Annotated[
        str,
        typer.Option(
            "--format",
            help="Samples: parquet, jsonl, prompt-completion, messages, sharegpt, alpaca, llamafactory or tokenized. "
            "Predictions: predict-json, lm-eval, lighteval or inspect.",
        ),
    ],
    scores: Annotated[Path | None, typer.Option(help="Predictions: folder made by score, for their verdicts.")] = None,
    option: Annotated[
        list[str], typer.Option(help="Predictions: a key of the format, e.g. log=json for inspect.")
    ] = [],  # noqa: B006
    provenance: Annotated[bool | None, typer.Option("--provenance/--no-provenance", help=_CARRY)] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="Tokenizer folder, or package:micro. Default: the one of the samples.")
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="LLaMA-Factory's template. Default: the one that writes the same text.")
    ] = None,
    recipe: Annotated[
        str | None, typer.Option(help="LLaMA-Factory: take the training settings of this recipe. Default: the paper's.")
    ] = None,
    set_: Annotated[list[str], typer.Option("--set", help="With --recipe: override a leaf, key.path=value.")] = [],  # noqa: B006
    rows_per_file: Annotated[int, typer.Option(min=1, help="Samples of each file.")] = 4096,
    pool: Annotated[
        Path | None, typer.Option(help="The trace pool behind the samples: the card then names its teachers.")
    ] = None,
    language: Annotated[str, typer.Option(help="Language code for the dataset card.")] = "en",
) -> None:
    """Write samples in the format of another trainer (with a card), or predictions in that of another harness."""
    if _export_results(examples, out, format_, scores, option, provenance):
        return
    from long1k.interop.card import write_card
    from long1k.interop.export import export_samples
    from long1k.interop.export_config import export_config
    from long1k.rows import Example
    from long1k.summary import rows_line
    from long1k.tables import read_manifest

    source = read_manifest(examples)
    config = export_config(
        format_, provenance, template=template, rows_per_file=rows_per_file,
        training=_training(recipe, set_, source.config.get("arm")),
    )  # fmt: skip
    chat = None
    if config.format in ("tokenized", "llamafactory") and source.stage.split("/")[0] != "collect":
        chat = chat_of(source, tokenizer, None)
    manifest = export_samples(out, examples, config, chat=chat)
    write_card(out, manifest, Example, pool=pool, language=language)
    facts = manifest.info["facts"]
    tell(
        f"{out}: {rows_line(manifest)}\n  {facts['tokens']:,} tokens, longest sample "
        f"{facts['lengths']['max']:,}; digest {manifest.digest[:16]}"
    )
    if config.format == "llamafactory":
        print(f"  template {manifest.info['template']}; train with:  cd {out} && llamafactory-cli train train.yaml")


def _export_results(
    predictions: Path, out: Path, format_name: str, scores: Path | None, option: list[str], provenance: bool | None
) -> bool:
    """Whether the format is one of predictions, which then are written."""
    from long1k.interop.results import FORMATS
    from long1k.interop.results_export import export_results
    from long1k.summary import rows_line

    if format_name not in FORMATS:
        for key, given in (("--scores", scores is not None), ("--option", bool(option))):
            if given:
                raise RecipeError(f"{key} goes with predictions only", f"formats of them: {', '.join(FORMATS)}")
        return False
    options = dict(pair(text, "--option") for text in option)
    manifest = export_results(out, predictions, format_name, scores=scores, provenance=provenance, options=options)
    tell(f"{out}: {rows_line(manifest)}\n  " + "\n  ".join(manifest.info["files"]))
    return True


def _training(recipe: str | None, set_: list[str], arm: Any) -> dict[str, Any] | None:
    """The training of a recipe as plain values: that of the arm the samples are of, else the recipe's own."""
    if recipe is None:
        if set_:
            raise RecipeError("--set goes with --recipe", "name the recipe, or leave --set out")
        return None
    from long1k.recipe import expand_arms, load_recipe

    loaded = load_recipe(recipe, set_)
    if loaded.train is None or loaded.model is None:
        raise RecipeError(f"{loaded.name} fine-tunes no given model", "name a recipe with train and model")
    own = next((one.train for one in expand_arms(loaded) if one.name == arm), None) or loaded.train
    return {**own.model_dump(mode="json"), "model": loaded.model, "seed": loaded.seeds[0]}


def import_(
    path: Annotated[
        list[Path], typer.Argument(help="Outputs or samples of others: files (JSON, JSON Lines, Parquet) or folders.")
    ],
    out: Out,
    as_: Annotated[
        str | None, typer.Option("--as", help="predictions or samples. Default: as the rows' fields tell.")
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="Predictions: predict-json, lm-eval, lighteval, inspect, or jsonl (fields as --field says). Default: "
            "as the file looks.",
        ),
    ] = None,
    option: Annotated[
        list[str], typer.Option(help="Predictions: a key of the format, e.g. filter=strict-match for lm-eval.")
    ] = [],  # noqa: B006
    scores: Annotated[
        Path | None, typer.Option(help="Predictions: a folder for the verdicts that the file states, as scores.")
    ] = None,
    field: Annotated[
        list[str],
        typer.Option(help="Predictions: our field = theirs: question, answer, response, sample, label, benchmark."),
    ] = [],  # noqa: B006
    arm: Annotated[str | None, typer.Option(help="Predictions: the field that tells runs apart.")] = None,
    tokenizer: Annotated[str | None, typer.Option(help="Samples: tokenizer folder that counts them.")] = None,
    thinking: Annotated[
        str | None, typer.Option(help="Samples: tags in their text: think, openthoughts or s1.")
    ] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the samples' arm, or of the outputs' run. Default: the path's.")
    ] = None,
    licence: Annotated[str | None, typer.Option(help="Samples: licence of rows that state none.")] = None,
) -> None:
    """Read model outputs (to score them) or samples (to count, show and train on them) made elsewhere."""
    if _import_results(path, out, as_, format_, option, scores, name, [*field, *([arm] if arm else [])]):
        return
    kind = _kind(path, "predictions" if format_ == "jsonl" else as_, field, arm)
    if kind == "predictions":
        _import_predictions(path, out, field, arm)
        return
    for key, given in (("--field", field), ("--arm", arm)):
        if given:
            raise RecipeError(f"{key} goes with predictions only", "leave it out, or give --as predictions")
    if tokenizer is None:
        raise RecipeError("samples need --tokenizer", "the folder of the model that will be trained on them")
    from long1k.interop.card import write_card
    from long1k.interop.shards import import_samples
    from long1k.rows import Example
    from long1k.summary import rows_line

    chosen = name or path[0].resolve().name.split(".")[0]
    manifest = import_samples(
        out, path, chat=chat_from(tokenizer, thinking or "think", None), name=chosen, license_name=licence
    )
    write_card(out, manifest, Example)
    i = manifest.info
    more = f"{i['files']} files, {i['restored']:,} rows with their provenance"
    tell(f"{out}: {rows_line(manifest, more)}")
    if i["recounted"]:
        tell(f"  {i['recounted']:,} rows have another number of tokens in this tokenizer than they say")


def _import_results(
    path: list[Path], out: Path, as_: str | None, format_name: str | None, option: list[str], scores: Path | None,
    name: str | None, mapped: list[str],
) -> bool:  # fmt: skip
    """Whether the file is in the format of another harness, as said or as it looks; it then is read."""
    from long1k.interop.results import FORMATS, format_of, import_results
    from long1k.interop.results_export import exported_files
    from long1k.summary import rows_line

    path = [file for one in path for file in exported_files(one)]
    if format_name is None and not mapped and as_ != "samples" and all(one.is_file() for one in path):
        looks = {format_of(one) for one in path}
        format_name = looks.pop() if len(looks) == 1 else None
    if format_name in (None, "jsonl"):
        for key, given in (("--option", bool(option)), ("--scores", scores is not None)):
            if given:
                raise RecipeError(f"{key} needs --format", f"one of {', '.join(FORMATS)}")
        return False
    assert format_name is not None
    if as_ == "samples" or mapped:
        raise RecipeError(
            f"--format {format_name} reads predictions, and needs no --field", "leave the one or other out"
        )
    options = dict(pair(text, "--option") for text in option)
    manifest = import_results(out, path, format_name, name=name, options=options, scores=scores)
    info = manifest.info
    more = (
        f"{format_name}: {info['foreign_rows']:,} rows, {info['items']:,} questions, {len(info['arms'])} runs, "
        f"{info['labelled']:,} outputs with a verdict"
    )
    tell(f"{out}: {rows_line(manifest, more)}")
    return True


def _kind(paths: list[Path], as_: str | None, field: list[str], arm: str | None) -> Literal["predictions", "samples"]:
    """What a path holds: as said, as the options tell, else as the first row's fields do."""
    if as_ is not None:
        if as_ not in ("predictions", "samples"):
            raise RecipeError(f"--as {as_}: expected predictions or samples", "e.g. --as samples")
        return as_  # type: ignore[return-value]
    if field or arm is not None:
        return "predictions"
    from long1k.interop.formats_reading import is_sample
    from long1k.interop.shards import first_row
    from long1k.jsonlines import field_name

    row = first_row(paths)
    if row is None:
        return "predictions"
    ours: dict[str, Any] = {name: field_name(name, row, {}) for name in ("question", "answer", "response")}
    if all(isinstance(row.get(theirs), str | int | float) for theirs in ours.values()):
        return "predictions"
    return "samples" if is_sample(row) else "predictions"


def _import_predictions(path: list[Path], out: Path, field: list[str], arm: str | None) -> None:
    from long1k.interop.predictions import import_predictions
    from long1k.summary import rows_line

    if len(path) != 1:
        raise RecipeError("predictions come from one file", "import each file into a folder of its own")
    mapping = dict(pair(text, "--field") for text in field)
    manifest = import_predictions(out, path[0], mapping, name=path[0].name.split(".")[0], arm=arm)
    runs = len(manifest.info["arms"])
    more = f"{manifest.info['items']:,} questions, {runs} run{'' if runs == 1 else 's'}"
    tell(f"{out}: {rows_line(manifest, more)}")
    if manifest.info.get("same_sample"):
        print(
            f"warning: {manifest.info['same_sample']:,} outputs have the question and sample number of another one of "
            "their run: if several models are in this file, name the field that tells them apart: --arm FIELD",
            file=sys.stderr,
        )


def card(
    checkpoint: Annotated[Path, typer.Argument(help="Folder made by train.")],
    predictions: Annotated[list[Path], typer.Option(help="Its predictions; give one --scores each.")] = [],  # noqa: B006
    scores: Annotated[list[Path], typer.Option(help="Their scores, in the same order.")] = [],  # noqa: B006
    licence: Annotated[str | None, typer.Option(help="Licence of the weights, e.g. apache-2.0.")] = None,
    base: Annotated[str | None, typer.Option(help="owner/name on the hub of the model it was trained from.")] = None,
    language: Annotated[str, typer.Option(help="Language code of the samples.")] = "en",
) -> None:
    """Write a checkpoint's model card again, with its figures on benchmarks."""
    from long1k.interop.model_card import read_figure, write_model_card
    from long1k.tables import read_manifest

    if len(predictions) != len(scores):
        raise RecipeError(
            f"{len(predictions)} --predictions and {len(scores)} --scores", "give one --scores for each --predictions"
        )
    made = read_manifest(checkpoint)
    figures = [read_figure(made, one, two) for one, two in zip(predictions, scores, strict=True)]
    path = write_model_card(checkpoint, figures=figures, license=licence, base_model=base, language=language)
    print(f"{path}: {len(figures)} benchmark{'' if len(figures) == 1 else 's'}")


def push(
    folder: Annotated[Path, typer.Argument(help="Folder made by collect, synthesize, import, export or train.")],
    to: Annotated[str, typer.Option(help="owner/name of the data set or model on the hub.")],
    private: Annotated[bool, typer.Option("--private", help="Make the repository private if it is new.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch to write to. Default: main.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be uploaded, send nothing.")] = False,
    allow_unknown_licence: Annotated[
        bool, typer.Option("--allow-unknown-licence", help="Upload although licences of rows are not known.")
    ] = False,
) -> None:
    """Upload a table, an export or a checkpoint with its card to the Hugging Face hub."""
    from long1k.interop.hub import plan_upload
    from long1k.interop.hub import push as upload

    plan = plan_upload(folder, to, allow_unknown_license=allow_unknown_licence)
    tell("\n".join(plan.lines()))
    if not dry_run:
        print(f"uploaded: {upload(plan, private=private, revision=revision)}")
