"""One training job: what every rank needs to know, and what it then does.

With one rank the job runs in the calling process; with more, ``launch`` starts ``torchrun`` on this
module, and every rank reads the same ``job.json``.
"""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from long1k.plugins import need
from long1k.rows import derive_seed
from long1k.tables import write_atomic
from long1k.tokens import Tokenizer, load_tokenizer
from long1k.training import adapters
from long1k.training.checkpoint import load_model, new_model
from long1k.training.config import ModelInit, TrainConfig
from long1k.training.data import IGNORED, TrainRow
from long1k.training.positions import extend_positions
from long1k.training.preflight import Mode, PreflightDone
from long1k.training.prepared import RowFile
from long1k.training.ranks import OnLog, die_with_parent, speaking
from long1k.training.room import memory_explained
from long1k.training.saving import SaveSettings, check_changed, save_checkpoint, trained_weights, weight_norms
from long1k.training.sft import TrainResult, train_model
from long1k.training.sharding import end_of_training, prepare_ranks, whole_tensors, whole_weights
from long1k.training.signals import current_stop, stoppable

RESULT, ROWS = "result.json", "rows.arrow"


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
    template: str | None = Field(default=None, description="a chat template that is not the tokenizer's own")
    end_id: int
    preflight: Mode = "quiet"
    about: dict[str, Any] = Field(default_factory=dict, description="of the data's source, for the preflight")


def run_job(job: Job, on_log: OnLog | None = None) -> TrainResult:
    """Train and save, on this rank; rank 0 writes the checkpoint and the result.

    Raises:
        DataError: data and model do not fit each other.
        EngineError: training diverged, memory is full, or the saved checkpoint is not what was trained.
        PreflightDone: only the preflight was asked for.
    """
    with memory_explained(job.config):
        return _train_and_save(job, on_log)


def _train_and_save(job: Job, on_log: OnLog | None) -> TrainResult:
    tokenizer = load_tokenizer(job.tokenizer)
    if job.template is not None:
        tokenizer = tokenizer.with_template(job.template)
    rows = RowFile(job.work / ROWS)
    kept = prepare_ranks(job.config)
    network = load_network(job, tokenizer)
    parameters = sum(int(getattr(p, "ds_numel", p.numel())) for p in network.parameters())
    start = weight_norms(whole_tensors(network))
    result = train_model(
        network, rows, job.config, work=job.work, seed=job.seed, tokenizer=tokenizer,
        end_id=job.end_id, on_log=on_log, folder=job.out, preflight=job.preflight, about=job.about,
    )  # fmt: skip
    trained = trained_weights(network)
    weights = None
    if job.config.layout.sharding in ("zero3", "fsdp2"):
        only_trained = job.config.lora is not None
        weights = whole_weights(network, only_trained)
    del kept
    end_of_training()
    if int(os.environ.get("RANK", "0")) == 0:
        result = dataclasses.replace(
            result, trainable_parameters=adapters.trainable_parameters(network),
            checkpoint=check_changed(start, trained if weights is None else ((n, weights[n]) for n in start)),
        )  # fmt: skip
        settings = SaveSettings(job.config.precision, prompt=prompt_of(rows[0]))
        if job.config.lora is not None:
            network, settings = merged_network(job, network, tokenizer, settings, weights)
            weights, parameters = None, sum(p.numel() for p in network.parameters())
        proof = save_checkpoint(network, tokenizer, job.end_id, job.out, settings, weights)
        result = dataclasses.replace(result, parameters=parameters, checkpoint=result.checkpoint | proof)
        write_atomic(job.work / RESULT, json.dumps(dataclasses.asdict(result)).encode())
    return result


def load_network(job: Job, tokenizer: Tokenizer) -> Any:
    """The network of a job as it starts: new or loaded, with adapters if the job trains those."""
    lora = job.config.lora is not None
    if isinstance(job.model, ModelInit):
        network = new_model(job.model, tokenizer, job.end_id)
    else:
        network = adapters.load_frozen(job.model, job.config) if lora else load_model(job.model)
    extend_positions(network, job.config)
    return adapters.attach(network, job.config, derive_seed("adapters", job.seed)) if lora else network


def merged_network(
    job: Job, network: Any, tokenizer: Tokenizer, settings: SaveSettings, state: dict[str, Any] | None = None
) -> tuple[Any, SaveSettings]:
    """A trained network with its adapters merged in, and how it is then saved: the adapters beside it.

    Args:
        state: full tensors of the adapters, where the network is sharded.
    """
    assert job.config.lora is not None
    adapted, folder = adapters.adapted_weights(network), job.work / adapters.ADAPTER
    adapters.save_adapter(network, folder, state)
    precision = job.config.precision

    def start() -> Any:
        if isinstance(job.model, ModelInit):
            return new_model(job.model, tokenizer, job.end_id)
        return load_model(job.model, "bfloat16" if precision == "bf16" else "float32")

    if job.config.lora.quantized or state is not None:  # the frozen weights in memory are rounded, or in shards
        merged = adapters.merge_saved(start(), folder, precision)
        extend_positions(merged, job.config)
    else:
        merged = adapters.merge(network, precision)
    base = start().state_dict() if isinstance(job.model, ModelInit) else job.model
    proof = adapters.merged_proof(base, adapted)
    return merged, dataclasses.replace(settings, beside={adapters.ADAPTER: folder}, also=proof)


def prompt_of(row: TrainRow) -> tuple[int, ...]:
    """What stands in front of a row's first trained token: a prompt as the model knows them (at most 256 tokens)."""
    first = next((at for at, label in enumerate(row.labels) if label != IGNORED), 0)
    return tuple(row.input_ids[max(0, first - 256) : first])


def _leave_unless_saving(number: int, _frame: Any) -> None:
    """A polite signal while nothing trains, or once more (a cluster sends it to all processes, their starter too)."""
    stop = current_stop()
    if stop is None or stop.asked is None:
        os._exit(128 + number)


def main() -> None:
    """One rank of a job that torchrun started: ``python -m long1k.training.job WORK/job.json``."""
    die_with_parent()
    signal.signal(signal.SIGTERM, _leave_unless_saving)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the keyboard's goes to the starter, which passes it on
    job = Job.model_validate_json(Path(sys.argv[1]).read_text())
    with stoppable(), speaking(job.work / "ranks", int(os.environ["RANK"])) as on_log, suppress(PreflightDone):
        run_job(job, on_log if int(os.environ["RANK"]) == 0 else None)
    distributed = need("torch").distributed
    if distributed.is_initialized():
        distributed.destroy_process_group()


if __name__ == "__main__":
    main()
