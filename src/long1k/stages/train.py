"""train: SFT samples + a model -> one checkpoint, for one arm and seed."""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from long1k.chat import Chat
from long1k.interop.facts import table_facts
from long1k.interop.model_card import checkpoint_name, write_model_card
from long1k.progress import progress
from long1k.rows import Example
from long1k.tables import Manifest, begin, fingerprint, finish, is_current, read_manifest, read_table
from long1k.training.adapters import ADAPTER, check_adapters
from long1k.training.checkpoint import check_vocabulary, model_digest, weights_digest
from long1k.training.config import HOW_ONLY, ModelInit, TrainConfig
from long1k.training.data import TrainRow, make_rows, pack
from long1k.training.job import ROWS, Job
from long1k.training.launch import Place, launch
from long1k.training.meter import described
from long1k.training.metrics import final_loss
from long1k.training.prepared import write_rows
from long1k.training.reporters import check_reporters
from long1k.training.resumable import last_whole
from long1k.training.sft import num_steps
from long1k.training.signals import stoppable

STAGE = "train/1"


def train(
    out: Path,
    examples: Path,
    *,
    model: Path | ModelInit,
    config: TrainConfig,
    seed: int,
    chat: Chat,
    on_log: Callable[[int, int, dict[str, float]], None] | None = None,
    place: Place | None = None,
) -> Manifest:
    """Fine-tune one model on one table of samples; resumes where it was stopped.

    Args:
        out: the checkpoint's folder (weights, tokenizer, template, metrics.jsonl, manifest.json).
        examples: folder of an Example table.
        model: a model folder to start from, or the shape of a new one.
        seed: order of the samples (and dropout); the weights of a new model have their own.
        place: which of several machines this is; machine 0 runs the stage, the others join it.

    Raises:
        DataError: data and model do not fit each other.
        EngineError: training diverged, or the saved checkpoint is not what was trained.
    """
    check_reporters(config.log_to)
    source = read_manifest(examples)
    settings, inputs = _identity(examples, model, config, seed, chat)
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        shutil.rmtree(out / "work", ignore_errors=True)
        return read_manifest(out)
    started = time.time()
    rows = make_rows(read_table(examples, Example), chat, config.max_tokens)
    preflight = describe_rows(rows, config)
    if config.packing is not None:
        rows = pack(rows, config.packing)
    preflight |= {"rows": len(rows), "steps": num_steps(config, len(rows))}
    if not isinstance(model, ModelInit):
        check_vocabulary(model, chat.tokenizer)
    check_adapters(config)
    work = out / "work"
    begin(out, STAGE, settings, inputs, precious=last_whole(work) is not None, say=_note)
    work.mkdir(exist_ok=True)
    write_rows(work / ROWS, rows)
    job = Job(
        out=out, work=work, model=model, config=config, seed=seed, tokenizer=str(chat.tokenizer.folder),
        end_id=chat.end_id,
    )  # fmt: skip
    name = " ".join(out.parts[-3:-1])  # in a study: the arm and its seed
    with progress(f"train {name}", int(preflight["steps"])) as step:
        seen = 0

        def report(at: int, steps: int, entry: dict[str, float]) -> None:
            nonlocal seen
            step(at - seen, described(entry))
            seen = at
            if on_log is not None:
                on_log(at, steps, entry)

        with stoppable() as stop:
            result = launch(job, report, place)
    files = [
        path for path in (*out.iterdir(), *(out / ADAPTER).glob("*"))
        if path.is_file() and not path.name.startswith((".", "manifest", "progress"))
    ]  # fmt: skip
    info = {
        "data": table_facts(examples, source, Example),
        "base_model": "A new model" if isinstance(model, ModelInit) else checkpoint_name(model),
        "preflight": preflight, "parameters": result.parameters,
        "trainable_parameters": result.trainable_parameters, "checkpoint": result.checkpoint, "steps": result.steps,
        "tokens": result.tokens, "supervised_tokens": result.supervised_tokens, "resumed_from": result.resumed_from,
        "final_loss": final_loss(result.metrics, result.steps), "stopped": result.stopped,
        "tokenizer": chat.tokenizer.digest, "template": chat.tokenizer.template_digest,
    }  # fmt: skip
    manifest = finish(
        out, stage=STAGE, config=settings, inputs=inputs, digest=weights_digest(out), files=files, started=started,
        rows_in=source.rows_out, rows_out=source.rows_out, info=info,
    )  # fmt: skip
    write_model_card(out)
    shutil.rmtree(work, ignore_errors=True)  # only now: a kill before the manifest resumes from it
    stop.act()
    return manifest


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _identity(
    examples: Path, model: Path | ModelInit, config: TrainConfig, seed: int, chat: Chat
) -> tuple[dict[str, Any], dict[str, str]]:
    """What decides the checkpoint: settings, and digests of data and model."""
    settings: dict[str, Any] = {
        "train": config.model_dump(exclude=set(HOW_ONLY)),
        "seed": seed,
        "chat": chat.describe(),
    }
    inputs = {"examples": read_manifest(examples).digest}
    if isinstance(model, ModelInit):
        settings["model"] = model.model_dump()
    else:
        inputs["model"] = model_digest(model)
    return settings, inputs


def is_trained(
    out: Path, examples: Path, *, model: Path | ModelInit, config: TrainConfig, seed: int, chat: Chat
) -> bool:
    """Whether ``train`` with the same arguments has nothing left to do; loads no torch."""
    return is_current(out, fingerprint(STAGE, *_identity(examples, model, config, seed, chat)))


def describe_rows(rows: list[TrainRow], config: TrainConfig) -> dict[str, Any]:
    """What the data is, measured on the very rows that are trained on, before the first step."""
    lengths = [len(row.input_ids) for row in rows]
    return {
        "samples": len(rows),
        "longest_tokens": max(lengths),
        "shortest_tokens": min(lengths),
        "tokens": sum(lengths),
        "supervised_tokens": sum(row.supervised for row in rows),
        "batch_size": config.batch_size,
    }
