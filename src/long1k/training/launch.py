"""Starts the ranks of a job: in this process, or with torchrun."""

from __future__ import annotations

import json
import subprocess
import sys

from long1k.errors import EngineError
from long1k.tables import write_atomic
from long1k.training.job import RESULT, Job, OnLog, run_job
from long1k.training.layout import Layout
from long1k.training.sft import TrainResult


def torchrun(layout: Layout) -> list[str]:
    """The beginning of a command that starts the ranks of one machine."""
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={layout.nproc}"]


def launch(job: Job, on_log: OnLog | None = None) -> TrainResult:
    """Run a job to its end.

    Raises:
        EngineError: a rank failed.
    """
    if job.config.layout.ranks == 1:
        return run_job(job, on_log)
    path = job.work / "job.json"
    write_atomic(path, job.model_dump_json().encode())
    done = subprocess.run([*torchrun(job.config.layout), "-m", "long1k.training.job", str(path)], check=False)
    if done.returncode:
        raise EngineError(f"training stopped with exit code {done.returncode}", "see the messages above")
    return TrainResult(**json.loads((job.work / RESULT).read_text()))
