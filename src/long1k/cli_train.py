"""The command train: one machine or several, now or as a script for a cluster."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from long1k.cli_common import Out, chat_of, pair
from long1k.errors import RecipeError
from long1k.wide import tell

Sets = Annotated[
    list[str],
    typer.Option("--set", help="A key of train, e.g. learning_rate=1e-5 or layout.sharding=zero3. Repeatable."),
]


def add_commands(app: typer.Typer) -> None:
    """Register train."""
    app.command(
        epilog="Example:  long1k train examples --model ./Qwen2.5-7B-Instruct --nproc 8 --set layout.sharding=zero3 "
        "--set epochs=4 --out checkpoint"
    )(train)


def train(
    examples: Annotated[Path, typer.Argument(help="Folder made by synthesize.")],
    out: Out,
    model: Annotated[Path, typer.Option(help="Folder of the model to fine-tune.")],
    set_: Sets = [],  # noqa: B006
    seed: int = 0,
    nproc: Annotated[int | None, typer.Option(min=1, help="Processes (GPUs) on each machine.")] = None,
    nnodes: Annotated[int | None, typer.Option(min=1, help="Machines; start this command on each of them.")] = None,
    node_rank: Annotated[
        int | None, typer.Option(min=0, help="Which of the machines this is, from 0. Default: Slurm's number.")
    ] = None,
    rendezvous: Annotated[
        str | None,
        typer.Option(help="HOST:PORT of machine 0, where several machines meet. Default: LONG1K_RENDEZVOUS."),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Computing threads a process. Default: OMP_NUM_THREADS, or cores / nproc.")
    ] = None,
    preflight: Annotated[
        bool, typer.Option("--preflight", help="Measure and print what would be trained on, then stop.")
    ] = False,
    print_: Annotated[bool, typer.Option("--print", help="Print the command of each machine; start nothing.")] = False,
    slurm: Annotated[Path | None, typer.Option(help="Write a Slurm script to this file; start nothing.")] = None,
    write_configs: Annotated[
        Path | None,
        typer.Option(help="Write DeepSpeed's JSON and accelerate's YAML of this layout into a folder; start nothing."),
    ] = None,
) -> None:
    """Fine-tune a model on samples (--set epochs=4, learning_rate, batch_size, packing, save_steps, …)."""
    from long1k.plugins import need
    from long1k.tables import MANIFEST, read_manifest
    from long1k.training.launch import find_place, join_job, set_threads

    config = _config(set_, nproc, nnodes)
    if print_ or slurm is not None or write_configs is not None:
        _write(config, sys.argv[1:], print_, slurm, write_configs, rendezvous)
        return
    place = find_place(config.layout, node_rank, rendezvous)
    chat = chat_of(read_manifest(examples), str(model) if (model / "tokenizer.json").is_file() else None, None)
    need("torch")
    set_threads(config.layout, threads)
    from long1k.stages.train import is_trained
    from long1k.stages.train import train as stage
    from long1k.training.preflight import PreflightDone

    if place.node_rank:
        # Machine 0 starts nothing where all is done, and would be waited for in vain.
        done = (out / MANIFEST).is_file() and is_trained(
            out, examples, model=model, config=config, seed=seed, chat=chat
        )
        if done:
            print(f"{out} is trained already")
        else:
            join_job(out / "work", config, seed, place)
        return

    try:
        manifest = stage(
            out, examples, model=model, config=config, seed=seed, chat=chat, place=place,
            preflight="only" if preflight else "print",
        )  # fmt: skip
    except PreflightDone:
        print("nothing was trained; the same command without --preflight does it", flush=True)
        return
    i = manifest.info
    part = f", the last part from step {i['resumed_from']:,}" if i["resumed_from"] else ""
    tell(f"{out}: {i['steps']:,} steps over {i['tokens']:,} tokens ({i['supervised_tokens']:,} supervised), "
          f"final loss {i['final_loss']:.4f}, {manifest.wall_seconds:.1f} s{part}")  # fmt: skip
    tell(f"  {i['trainable_parameters']:,} parameters trained, {i['parameters']:,} written as "
          f"{i['checkpoint']['dtype']}\n  generation {i['checkpoint']['generation']}")  # fmt: skip


def _config(set_: Sequence[str], nproc: int | None, nnodes: int | None) -> Any:
    """The configuration that --set, --nproc and --nnodes describe."""
    from long1k.plugins import validate
    from long1k.recipe import parse_leaf, set_leaf
    from long1k.training.config import TrainConfig

    values: dict[str, Any] = {}
    for text in set_:
        key, value = pair(text, "--set")
        set_leaf(values, key.removeprefix("train."), parse_leaf(value))  # as in a recipe, or without the prefix
    for name, number in (("nproc", nproc), ("nnodes", nnodes)):
        if number is not None:
            set_leaf(values, f"layout.{name}", number)
    if not {"steps", "epochs"} & set(values):
        values["epochs"] = 4
    return validate(TrainConfig, values, "train")


def _write(
    config: Any,
    arguments: Sequence[str],
    print_: bool,
    slurm: Path | None,
    configs: Path | None,
    rendezvous: str | None,
) -> None:
    """Whatever is asked for instead of a run: commands, a Slurm script, other programs' configurations."""
    from long1k.training.cluster import node_commands, slurm_script, write_configs

    if print_:
        for line in node_commands(config.layout, arguments, rendezvous):
            print(line)
    if slurm is not None:
        if slurm.suffix not in (".sh", ".sbatch", ".slurm"):
            raise RecipeError(
                f"--slurm {slurm}: a script ends with .sh, .sbatch or .slurm", "e.g. --slurm train.sbatch"
            )
        slurm.write_text(slurm_script(config.layout, arguments), encoding="utf-8")
        print(f"wrote {slurm}; start it with: sbatch {slurm}")
    if configs is not None:
        for path in write_configs(config, configs):
            print(f"wrote {path}")
