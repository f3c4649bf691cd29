"""The one training path: TRL's SFTTrainer, fed with rows that are already right.

TRL is told to prepare nothing: no tokenization, no template, no truncation, no packing.  What
it does is what it is good at: the loss over supervised tokens of the whole global batch, the
optimiser, precision, distribution and saving.
"""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from long1k.errors import EngineError
from long1k.plugins import need
from long1k.tokens import Tokenizer
from long1k.training.batches import deal, num_micro_batches
from long1k.training.checkpoint import pad_id
from long1k.training.config import TrainConfig
from long1k.training.data import TrainRow, collate, row_order, size_of
from long1k.training.guard import Guard, guarded
from long1k.training.limits import check_lengths
from long1k.training.meter import make_meter
from long1k.training.metrics import logged_every
from long1k.training.padding_free import collate_line, in_line, isolation, line_tokens
from long1k.training.pieces import pieces_watch
from long1k.training.positions import positions_in
from long1k.training.preflight import Mode, Plan, preflight_callback
from long1k.training.relayout import describe, resume_relaid
from long1k.training.reporters import reporter_settings, reporters
from long1k.training.resumable import COMPLETE, check_stopped, keep_resumable, last_whole, step_of
from long1k.training.seen import Marks
from long1k.training.sequence import check_shareable, collate_slice, repeated, shared_attention
from long1k.training.sharding import keep_sums_exact, trainer_arguments
from long1k.training.watch import watch_training

# transformers' "constant" knows no warm-up.
_SCHEDULES = {"cosine": "cosine", "linear": "linear", "constant": "constant_with_warmup"}


@dataclass(frozen=True, slots=True)
class TrainResult:
    """What a run did: the logged metrics, step by step, its size, and what was proven of its checkpoint."""

    metrics: list[dict[str, float]]
    steps: int
    tokens: int
    supervised_tokens: int
    resumed_from: int
    parameters: int = 0
    trainable_parameters: int = 0
    checkpoint: dict[str, Any] = field(default_factory=dict)
    stopped: str | None = None  # why the run ended before its last step


def num_steps(config: TrainConfig, num_rows: int) -> int:
    """Optimiser steps of a run over ``num_rows`` rows."""
    if config.steps is not None:
        return config.steps
    assert config.epochs is not None
    return max(1, math.ceil(config.epochs * num_rows / config.batch_size))


def train_model(
    model: Any,
    rows: Sequence[TrainRow],
    config: TrainConfig,
    *,
    work: Path,
    seed: int,
    tokenizer: Tokenizer,
    end_id: int,
    on_log: Callable[[int, int, dict[str, float]], None] | None = None,
    folder: Path | None = None,
    preflight: Mode = "quiet",
    about: dict[str, Any] | None = None,
) -> TrainResult:
    """Train in place; resumes from the last whole checkpoint in ``work``.

    Args:
        work: folder for resumable checkpoints.
        seed: decides the order of rows and dropout.
        on_log: called with (step, steps, metrics and speed).
        folder: gets metrics.jsonl, timing.jsonl and what ``log_to`` asks for.
        preflight: whether the preflight is printed, and whether it is all.
        about: what is known of the data's source, for the preflight.

    Raises:
        DataError: a row is longer than the model's positions.
        EngineError: the loss is not a finite number, or something is configured and not in force.
        PreflightDone: only the preflight was asked for.
    """
    torch, transformers, trl, datasets = need("torch"), need("transformers"), need("trl"), need("datasets")
    logging.getLogger("transformers").setLevel(logging.ERROR)
    transformers.utils.logging.disable_progress_bar()
    padding = pad_id(tokenizer, end_id)
    sizes = [size_of(row) for row in rows]
    check_lengths(sizes, positions_in(model.config.to_dict()))
    steps = num_steps(config, len(rows))
    order = row_order(len(rows), steps * config.batch_size, seed)
    lengths = [one.tokens for one in sizes]
    shared = config.layout.sequence_parallel > 1
    if shared:
        check_shareable(model, config.layout)
    line = shared or in_line(model, config.layout)
    num = num_micro_batches(order, lengths, config.batch_size, config.layout, line_tokens(model, config.layout))
    dealt = deal(order, lengths, config.batch_size, num, padded=not line)

    def make_batch(chosen: Sequence[TrainRow]) -> dict[str, Any]:
        if shared:
            return collate_slice(chosen, padding, config.layout, arguments.process_index)
        return collate_line(chosen) if line else collate(chosen, padding)

    data = datasets.Dataset.from_dict({"rows": repeated(dealt, config.layout)})
    micro_batches = num // config.layout.data_ranks
    work.mkdir(parents=True, exist_ok=True)
    arguments = _quietly(
        trl.SFTConfig,
        output_dir=str(work), max_steps=steps, per_device_train_batch_size=1,  # an element is a micro-batch
        gradient_accumulation_steps=micro_batches, learning_rate=config.learning_rate,
        lr_scheduler_type=_SCHEDULES[config.scheduler], warmup_steps=math.ceil(config.warmup_ratio * steps),
        weight_decay=config.weight_decay, adam_beta1=config.beta1, adam_beta2=config.beta2,
        max_grad_norm=config.max_grad_norm, bf16=config.precision == "bf16", fp16=False,
        gradient_checkpointing=config.layout.gradient_checkpointing, use_cpu=not torch.cuda.is_available(),
        train_sampling_strategy="sequential", max_length=None, packing=False, padding_free=False,
        dataset_kwargs={"skip_prepare_dataset": True}, remove_unused_columns=False, dataloader_num_workers=0,
        dataloader_pin_memory=False, save_strategy="steps" if config.save_steps else "no",
        save_steps=config.save_steps or steps, save_total_limit=None,
        logging_steps=logged_every(steps, config.early_stop),
        logging_nan_inf_filter=False, disable_tqdm=True, **reporter_settings(config.log_to, work),
        seed=seed % 2**32, data_seed=seed % 2**32, eval_strategy="no",
        **trainer_arguments(config, micro_batches),
    )  # fmt: skip
    if arguments.world_size != config.layout.ranks or arguments.n_gpu > 1:
        raise EngineError(
            f"{arguments.world_size} ranks run with {arguments.n_gpu} GPUs each, but the layout asks for "
            f"{config.layout.ranks} ranks of one GPU",
            "set train.layout.nproc to the number of GPUs (long1k starts the ranks itself)",
        )
    watch = watch_training(
        steps, on_log, folder=folder, meter=make_meter(model, sizes, order, config), early_stop=config.early_stop
    )
    start = last_whole(work)
    resumed_from = 0 if start is None else step_of(start)
    trainer = _quietly(
        guarded(trl.SFTTrainer),
        model=model, args=arguments, train_dataset=data,
        data_collator=lambda batch: make_batch([rows[at] for one in batch for at in one["rows"]]),
        processing_class=_trainer_tokenizer(tokenizer, padding, end_id),
        callbacks=[watch, pieces_watch(config.layout), *reporters(config.log_to, folder or work, resumed_from)],
    )  # fmt: skip
    trainer.guard = Guard(rows, dealt, micro_batches, config.layout, make_batch)
    trainer.remove_callback(transformers.PrinterCallback)
    keep_sums_exact(trainer, config)
    marks = Marks(end_id, padding, frozenset(filter(None, map(tokenizer.token_id, tokenizer.special_tokens))))
    plan = Plan(rows, sizes, dealt, config, steps, marks, work, preflight, about or {})
    trainer.add_callback(_quietly(preflight_callback, trainer, plan))
    keep_resumable(trainer, work, watch.metrics, describe(config.layout))
    if start is not None:
        resume_relaid(trainer, start, config)
        watch.metrics += json.loads((start / COMPLETE).read_text())["metrics"]
    with isolation(model, config.layout), shared_attention(model, config.layout):
        _quietly(trainer.train, resume_from_checkpoint=None if start is None else str(start))
    check_stopped(trainer, work)
    done = trainer.state.global_step
    order = order[: done * config.batch_size]
    return TrainResult(
        metrics=watch.metrics,
        steps=done,
        stopped=watch.stopped if done < steps else None,
        tokens=sum(lengths[at] for at in order),
        supervised_tokens=sum(sizes[at].supervised for at in order),
        resumed_from=resumed_from,
    )


def _quietly(function: Any, *arguments: Any, **keywords: Any) -> Any:
    """Call third-party code without its notices to developers (deprecated names that it uses itself)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **keywords)


def _trainer_tokenizer(tokenizer: Tokenizer, padding: int, end_id: int) -> Any:
    """The tokenizer object that TRL insists on; it only reads the special tokens' names."""
    transformers = need("transformers")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(tokenizer.folder / "tokenizer.json"),
        pad_token=tokenizer.decode([padding]),
        eos_token=tokenizer.decode([end_id]),
    )
