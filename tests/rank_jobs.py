"""One rank that runs several jobs after another, so that tests pay for its start once: rank_jobs.py JOB.json ..."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

from long1k.training.job import Job, run_job
from long1k.training.ranks import die_with_parent, speaking


def main() -> None:
    die_with_parent()
    torch.set_num_threads(1)
    jobs = [Job.model_validate_json(Path(path).read_text()) for path in sys.argv[1:]]
    with speaking(jobs[0].work / "ranks", int(os.environ["RANK"])):
        for job in jobs:
            run_job(job)
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main()
