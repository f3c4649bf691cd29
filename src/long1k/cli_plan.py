"""The command plan: what a recipe takes in memory, time, money and disk, before anything runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from long1k.errors import RecipeError
from long1k.wide import tell


def add_commands(app: typer.Typer) -> None:
    """Register plan."""
    app.command(epilog="Example:  long1k plan long1k-32b --gpus 8xH100-80 --mfu 0.4 --price 2.5")(plan)


def plan(
    recipe: Annotated[str, typer.Argument(help="A packaged recipe or a YAML file.")],
    gpus: Annotated[str, typer.Option(help="8xH100-80, 4x8xH100-80 (four machines), H200-141, cpu.")],
    mfu: Annotated[float, typer.Option(help="Share of the GPUs' peak that training reaches.")] = 0.4,
    price: Annotated[float | None, typer.Option(min=0, help="Price of one GPU for one hour.")] = None,
    tokens: Annotated[int | None, typer.Option(min=1, help="Every sample's length, instead of the targets.")] = None,
    model: Annotated[str | None, typer.Option(help="Plan for this model: a folder, or Qwen2.5-7B …")] = None,
    answer_tokens: Annotated[
        int | None, typer.Option(min=1, help="Mean tokens of an answer. Default: the longest arm's mean.")
    ] = None,
    cpu_memory: Annotated[float | None, typer.Option(min=0, help="GB of one machine's own memory.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of runs: samples that are there are measured.")] = Path("runs"),
    set_: Annotated[list[str], typer.Option("--set", help="Override a leaf: key.path=value. Repeatable.")] = [],  # noqa: B006
) -> None:
    """Say what a recipe takes: memory by item, the smallest layout that fits, hours, cost, disk."""
    from long1k import plan_text as text
    from long1k.hardware import parse_machines
    from long1k.plan_power import power_lines
    from long1k.planning.setting import GB
    from long1k.recipe import load_recipe
    from long1k.study_plan import find_layouts, plan_study

    if not 0 < mfu <= 1:
        raise RecipeError(f"--mfu {mfu:g}: a share of the peak, above 0 and at most 1", "e.g. --mfu 0.4")
    machines = parse_machines(gpus)
    loaded = load_recipe(recipe, set_)
    study = plan_study(loaded, runs=runs, model=model, tokens=tokens)
    cpu_bytes = None if cpu_memory is None else cpu_memory * GB
    setting, found = find_layouts(study, machines, cpu_bytes)
    parts = [
        text.heading_lines(study, machines),
        text.arms_lines(study),
        text.memory_lines(study, machines, setting, found, cpu_bytes),
        text.training_lines(study, machines, setting, found, mfu, price),
        text.disk_lines(study, setting),
        text.inference_lines(study, machines, answer_tokens, price),
        power_lines(loaded, study.questions, study.samplings),
        ["Assumed", *(f"  {note}" for note in dict.fromkeys(study.notes))] if study.notes else [],
    ]
    tell("\n\n".join("\n".join(line.rstrip() for line in part) for part in parts if part))
