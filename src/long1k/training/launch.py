"""Starts the ranks of a job: in this process, or with torchrun, on one machine or as one of several."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from long1k.errors import EngineError, RecipeError, StoppedError
from long1k.plugins import need
from long1k.tables import write_atomic
from long1k.training.config import TrainConfig
from long1k.training.job import RESULT, Job, run_job
from long1k.training.layout import Layout
from long1k.training.preflight import PREFLIGHT, PreflightDone, saying
from long1k.training.ranks import NODE, PARENT, OnLog, failure, follow, log_file, make_rank_folder, rank_pids
from long1k.training.sft import TrainResult

JOB = "job.json"
_POLL_SECONDS = 0.2
_ALLOCATOR = "expandable_segments:True"  # long and short batches in turn leave no unusable gaps


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
    if stated.isdecimal() and int(stated):
        return int(stated)
    # Those that this process may use; where a system cannot say so (macOS), all.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // layout.nproc)


def set_threads(layout: Layout, threads: int | None) -> None:
    """Set the computing threads of this process, and of the ranks that it starts."""
    number = threads or threads_a_rank(layout)
    os.environ["OMP_NUM_THREADS"] = str(number)
    need("torch").set_num_threads(number)


def check_devices(layout: Layout) -> None:
    """Refuse more ranks than this machine has GPUs; where it has none, ranks on the CPU are fine.

    Raises:
        EngineError: fewer GPUs than asked for, or something that only GPUs can do.
    """
    torch = need("torch")
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if found and found < layout.nproc:
        raise EngineError(
            f"{layout.nproc} ranks need {layout.nproc} GPUs, but this machine shows {found}",
            f"--nproc {found}, or make more visible (CUDA_VISIBLE_DEVICES)",
        )
    if not found and layout.sharding == "fsdp2" and layout.offload != "none":
        raise EngineError("fsdp2 can offload only from GPUs, and this machine shows none", "leave layout.offload out")
    if not found and layout.offload_activations:
        raise EngineError(
            "activations can wait in the CPU's memory only where they are a GPU's, and this machine shows none",
            "leave layout.offload_activations out",
        )


def torchrun(layout: Layout, place: Place) -> list[str]:
    """The beginning of a command that starts the ranks of one machine."""
    command = [sys.executable, "-m", "long1k.training.agent", f"--nproc-per-node={layout.nproc}"]
    if layout.nnodes == 1:
        return [*command, "--standalone"]
    return [
        *command, f"--nnodes={layout.nnodes}", f"--node-rank={place.node_rank}", "--rdzv-backend=static",
        f"--rdzv-endpoint={place.rendezvous}", "--rdzv-id=long1k",
    ]  # fmt: skip


def environment(layout: Layout) -> dict[str, str]:
    """What the ranks get to see: threads, an allocator that does not fragment, short waits for the dead."""
    return {
        "OMP_NUM_THREADS": str(threads_a_rank(layout)),
        "PYTORCH_CUDA_ALLOC_CONF": _ALLOCATOR,
        "TORCH_ELASTIC_SHUTDOWN_TIMEOUT": "10",  # seconds that the others get when one rank has failed
        "TORCH_CPP_LOG_LEVEL": "ERROR",
        "TOKENIZERS_PARALLELISM": "false",
        **({} if need("torch").cuda.is_available() else {"DS_ACCELERATOR": "cpu"}),
        **{key: value for key, value in os.environ.items() if key != "OMP_NUM_THREADS"},
    }


def launch(job: Job, on_log: OnLog | None = None, place: Place | None = None) -> TrainResult:
    """Run a job to its end.

    Raises:
        EngineError: a rank failed.
        PreflightDone: only the preflight was asked for, and it is through.
    """
    os.environ.setdefault("PYTORCH_CUDA_ALLOC_CONF", _ALLOCATOR)
    check_devices(job.config.layout)
    if job.config.layout.ranks == 1 and job.config.layout.sharding == "none":
        return run_job(job, on_log)
    make_rank_folder(job.work)
    path = job.work / JOB
    write_atomic(path, job.model_dump_json().encode())
    with saying(job.work / PREFLIGHT, job.preflight) as say:
        _run(job.config.layout, place or find_place(job.config.layout), path, on_log, say)
    if job.preflight == "only":
        raise PreflightDone
    return TrainResult(**json.loads((job.work / RESULT).read_text()))


def join_job(work: Path, config: TrainConfig, seed: int, place: Place, wait_seconds: float = 1800) -> None:
    """Run this machine's ranks of a job that machine 0 prepares in a folder that both see.

    Raises:
        EngineError: machine 0 prepared nothing, or a rank failed.
    """
    check_devices(config.layout)
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


def _run(
    layout: Layout, place: Place, path: Path, on_log: OnLog | None = None, on_wait: Callable[[], None] | None = None
) -> None:
    """Start this machine's ranks, pass on what they log, and wait for them; signals reach every rank."""
    folder, node = path.parent / "ranks", place.node_rank
    folder.mkdir(exist_ok=True)
    for old in folder.glob(f"pid-{node}-*"):
        old.unlink()
    command = [*torchrun(layout, place), "-m", "long1k.training.job", str(path)]
    with log_file(folder, node).open("ab") as log:
        # A session of its own: Ctrl-C reaches this process alone, which passes it on in order.
        process = subprocess.Popen(
            command, env={**environment(layout), PARENT: str(os.getpid()), NODE: str(node)}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    offset = 0
    try:
        while process.poll() is None:
            time.sleep(_POLL_SECONDS)
            if on_wait is not None:
                on_wait()
            offset = follow(folder, offset, on_log)
    except BaseException:
        _stop(process, folder, node)
        follow(folder, offset, on_log)
        stopped = failure(folder, process.returncode, node)
        if isinstance(stopped, StoppedError):
            raise stopped from None  # the ranks know which step was saved
        raise
    follow(folder, offset, on_log)
    if process.returncode:
        raise failure(folder, process.returncode, node)


def _stop(process: subprocess.Popen[bytes], folder: Path, node: int) -> None:
    """Let all ranks save and leave; a second signal while they do ends them at once."""
    try:
        for pid in rank_pids(folder, node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        while process.poll() is None:
            if not rank_pids(folder, node):  # none has started yet, or all have left
                process.kill()
            time.sleep(_POLL_SECONDS)
    except BaseException:
        process.kill()  # its ranks die with it
        process.wait()
        raise
