"""One training job: what every rank needs to know, and what it then does.

With one rank the job runs in the calling process; with more, ``launch`` starts ``torchrun`` on this
module, and every rank reads the same ``job.json``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from long1k.errors import Long1kError
from long1k.tables import write_atomic
from long1k.tokens import load_tokenizer
from long1k.training.checkpoint import load_model, new_model, save_checkpoint
from long1k.training.config import ModelInit, TrainConfig
from long1k.training.prepared import RowFile
from long1k.training.sft import TrainResult, train_model

RESULT, ROWS = "result.json", "rows.arrow"
OnLog = Callable[[int, int, dict[str, float]], None]


class Job(BaseModel):
    """Everything that decides a training run, as every rank reads it.

    ``out`` gets the checkpoint; ``work`` holds the prepared rows, resumable checkpoints and the result.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    out: Path
    work: Path
    model: Path | ModelInit
    config: TrainConfig
    seed: int
    tokenizer: str
    end_id: int


def run_job(job: Job, on_log: OnLog | None = None) -> TrainResult:
    """Train and save, on this rank; rank 0 writes the checkpoint and the result.

    Raises:
        DataError: data and model do not fit each other.
        EngineError: training diverged, or the saved checkpoint is not what was trained.
    """
    tokenizer = load_tokenizer(job.tokenizer)
    network = new_model(job.model, tokenizer, job.end_id) if isinstance(job.model, ModelInit) else load_model(job.model)
    result = train_model(
        network, RowFile(job.work / ROWS), job.config, work=job.work, seed=job.seed, tokenizer=tokenizer,
        end_id=job.end_id, on_log=on_log, folder=job.out,
    )  # fmt: skip
    if int(os.environ.get("RANK", "0")) == 0:
        save_checkpoint(network, tokenizer, job.end_id, job.out)
        result = dataclasses.replace(result, parameters=sum(p.numel() for p in network.parameters()))
        write_atomic(job.work / RESULT, json.dumps(dataclasses.asdict(result)).encode())
    return result


def main() -> None:
    """One rank of a job that torchrun started: ``python -m long1k.training.job WORK/job.json``."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_text())
    try:
        run_job(job)
    except Long1kError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
