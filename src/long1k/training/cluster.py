"""A run on several machines: the command of each, a Slurm script, and what other launchers would be told."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import yaml

from long1k.training.config import TrainConfig
from long1k.training.layout import Layout
from long1k.training.sharding import accelerate_config, deepspeed_config

PORT = 29500
_OPTIONS_OF_PLACE = ("--slurm", "--write-configs", "--rendezvous", "--node-rank")  # each takes a value


def plain_arguments(arguments: Sequence[str]) -> list[str]:
    """A command's arguments without those that say where it runs or that nothing shall run."""
    kept: list[str] = []
    skip = False
    for text in arguments:
        if skip:
            skip = False
        elif text in _OPTIONS_OF_PLACE:
            skip = True
        elif text != "--print" and not text.startswith(tuple(f"{name}=" for name in _OPTIONS_OF_PLACE)):
            kept.append(text)
    return kept


def node_commands(layout: Layout, arguments: Sequence[str], rendezvous: str | None = None) -> list[str]:
    """One command a machine; all machines must see the same folders.

    Args:
        arguments: of ``long1k``, as given, from ``train`` on.
        rendezvous: HOST:PORT of the first machine.
    """
    command = shlex.join(["long1k", *plain_arguments(arguments)])
    if layout.nnodes == 1:
        return [command]
    where = rendezvous or f"HOST-0:{PORT}"
    return [f"{command} --node-rank {rank} --rendezvous {where}" for rank in range(layout.nnodes)]


def slurm_script(layout: Layout, arguments: Sequence[str]) -> str:
    """A Slurm batch script: one task a machine, which starts that machine's ranks.

    Slurm sends SIGTERM ten minutes before the time is up: the run saves, stops, and goes on when the
    same script is submitted again.
    """
    command = shlex.join(["long1k", *plain_arguments(arguments)])
    return f"""#!/bin/bash
#SBATCH --job-name=long1k
#SBATCH --nodes={layout.nnodes}
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node={layout.nproc}
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@600
#SBATCH --output=%x-%j.log
# All machines must see the same folders: data, model and --out.
# Partition, account and time are your cluster's: change them here or on sbatch's command line.
set -euo pipefail
export LONG1K_RENDEZVOUS="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1):{PORT}"
srun --kill-on-bad-exit=1 {command}
"""


def write_configs(config: TrainConfig, folder: Path) -> list[Path]:
    """DeepSpeed's JSON (for ZeRO) and accelerate's YAML that equal a configuration's layout."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    if config.layout.sharding.startswith("zero"):
        path = folder / "deepspeed.json"
        layout, told = config.layout, deepspeed_config(config)
        # Our trainer counts a micro-batch as one; others count its rows.
        rows = layout.micro_batch_size or -(-config.batch_size // layout.data_ranks)
        told |= {"train_micro_batch_size_per_gpu": rows, "train_batch_size": told["train_batch_size"] * rows}
        path.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")
        written.append(path)
    path = folder / "accelerate.yaml"
    text = yaml.safe_dump(accelerate_config(config, str(folder / "deepspeed.json")), sort_keys=False)
    path.write_text(text, encoding="utf-8")
    return [*written, path]
