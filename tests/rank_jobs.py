"""One rank that runs several jobs after another, so that tests pay for its start once: rank_jobs.py JOB.json ..."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from pathlib import Path

import torch

from long1k.training.job import Job, run_job
from long1k.training.ranks import die_with_parent, speaking


def bring_checkpoint(job: Job) -> None:
    """Copy the checkpoint that a job goes on from, if a file beside it names one; rank 0 does it, the others wait."""
    wish, done = job.work / "go-on-from.json", job.work / "brought"
    if not wish.is_file():
        return
    if int(os.environ.get("RANK", "0")) == 0:
        folder = Path(json.loads(wish.read_text()))
        shutil.copytree(folder, job.work / folder.name)
        done.touch()
    while not done.exists():
        time.sleep(0.05)


def main() -> None:
    die_with_parent()
    torch.set_num_threads(1)
    jobs = [Job.model_validate_json(Path(path).read_text()) for path in sys.argv[1:]]
    with speaking(jobs[0].work / "ranks", int(os.environ["RANK"])):
        for job in jobs:
            bring_checkpoint(job)
            run_job(job)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
