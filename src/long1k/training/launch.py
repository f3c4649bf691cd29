"""Starts the ranks of a job: in this process, or with torchrun, on one machine or as one of several."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from long1k.errors import EngineError, RecipeError
from long1k.tables import write_atomic
from long1k.training.config import TrainConfig
from long1k.training.job import RESULT, Job, OnLog, run_job
from long1k.training.layout import Layout
from long1k.training.sft import TrainResult

JOB = "job.json"


@dataclass(frozen=True, slots=True)
class Place:
    """Which machine of a run this is, and where all machines meet (HOST:PORT of machine 0)."""

    node_rank: int = 0
    rendezvous: str | None = None


def find_place(layout: Layout, node_rank: int | None = None, rendezvous: str | None = None) -> Place:
    """Where this machine stands: as given, else as Slurm says.

    Raises:
        RecipeError: several machines, but not which one this is or where they meet.
    """
    if layout.nnodes == 1:
        return Place()
    given = os.environ.get("SLURM_NODEID")
    rank = node_rank if node_rank is not None else (int(given) if given is not None else None)
    where = rendezvous or os.environ.get("LONG1K_RENDEZVOUS")
    if rank is None or where is None or ":" not in where:
        raise RecipeError(
            f"a run on {layout.nnodes} machines must know which of them this is and where they meet",
            "give --node-rank N and --rendezvous HOST:PORT (--print shows the commands, --slurm writes a script)",
        )
    if rank >= layout.nnodes:
        raise RecipeError(f"--node-rank {rank}: there are {layout.nnodes} machines", "count from 0")
    return Place(rank, where)


def threads_a_rank(layout: Layout) -> int:
    """Computing threads of a rank: OMP_NUM_THREADS, else this machine's cores over its ranks."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    return int(stated) if stated.isdecimal() and int(stated) else max(1, len(os.sched_getaffinity(0)) // layout.nproc)


def set_threads(layout: Layout, threads: int | None) -> None:
    """Set the computing threads of this process, and of the ranks that it starts."""
    from long1k.plugins import need

    number = threads or threads_a_rank(layout)
    os.environ["OMP_NUM_THREADS"] = str(number)
    need("torch").set_num_threads(number)


def torchrun(layout: Layout, place: Place) -> list[str]:
    """The beginning of a command that starts the ranks of one machine."""
    command = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={layout.nproc}"]
    if layout.nnodes == 1:
        return [*command, "--standalone"]
    return [
        *command, f"--nnodes={layout.nnodes}", f"--node-rank={place.node_rank}", "--rdzv-backend=c10d",
        f"--rdzv-endpoint={place.rendezvous}", "--rdzv-id=long1k",
    ]  # fmt: skip


def launch(job: Job, on_log: OnLog | None = None, place: Place | None = None) -> TrainResult:
    """Run a job to its end.

    Raises:
        EngineError: a rank failed.
    """
    if job.config.layout.ranks == 1:
        return run_job(job, on_log)
    path = job.work / JOB
    write_atomic(path, job.model_dump_json().encode())
    _run(job.config.layout, place or find_place(job.config.layout), path)
    return TrainResult(**json.loads((job.work / RESULT).read_text()))


def join_job(work: Path, config: TrainConfig, seed: int, place: Place, wait_seconds: float = 1800) -> None:
    """Run this machine's ranks of a job that machine 0 prepares in a folder that both see.

    Raises:
        EngineError: machine 0 prepared nothing, or a rank failed.
    """
    path, end = work / JOB, time.monotonic() + wait_seconds
    while True:
        if path.is_file():
            job = Job.model_validate_json(path.read_text())
            if job.config == config and job.seed == seed:
                return _run(config.layout, place, path)
        if time.monotonic() > end:
            raise EngineError(
                f"machine 0 prepared no such run in {work} within {wait_seconds:.0f} s",
                "start the same command there; --out must lie on a file system that all machines share",
            )
        time.sleep(1)


def _run(layout: Layout, place: Place, path: Path) -> None:
    done = subprocess.run([*torchrun(layout, place), "-m", "long1k.training.job", str(path)], check=False)
    if done.returncode:
        raise EngineError(f"training stopped with exit code {done.returncode}", "see the messages above")
