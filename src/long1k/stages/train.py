"""train: SFT samples + a model -> one checkpoint, for one arm and seed."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from long1k.chat import Chat
from long1k.interop.card import CARD
from long1k.interop.facts import table_facts
from long1k.interop.model_card import checkpoint_name, write_model_card
from long1k.progress import progress
from long1k.rows import Example, Reject, to_arrow
from long1k.tables import (
    Manifest,
    begin,
    fingerprint,
    finish,
    is_current,
    iter_table,
    make_folder,
    read_manifest,
    write_parquet,
)
from long1k.training.adapters import ADAPTER, check_adapters
from long1k.training.checkpoint import check_data_tokenizer, check_vocabulary, model_digest, weights_digest
from long1k.training.config import HOW_ONLY, ModelInit, TrainConfig
from long1k.training.job import ROWS, Job
from long1k.training.launch import Place, launch
from long1k.training.limits import Limit
from long1k.training.meter import described
from long1k.training.metrics import final_loss
from long1k.training.positions import positions_of
from long1k.training.preflight import PREFLIGHT, Mode, PreflightDone
from long1k.training.preflight_text import preflight_text
from long1k.training.prepare import Prepared, prepare_rows
from long1k.training.reporters import check_reporters
from long1k.training.resumable import last_whole, step_of
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
    preflight: Mode = "quiet",
) -> Manifest:
    """Fine-tune one model on one table of samples; resumes where it was stopped.

    Args:
        out: the checkpoint's folder (weights, tokenizer, template, metrics.jsonl, manifest.json).
        examples: folder of an Example table.
        model: a model folder to start from, or the shape of a new one.
        seed: order of the samples (and dropout); the weights of a new model have their own.
        place: which of several machines this is; machine 0 runs the stage, the others join it.
        preflight: whether it is printed, and whether it is all that is wanted.

    Raises:
        DataError: data and model do not fit each other.
        EngineError: training diverged, something configured is not in force, or the saved checkpoint is not
            what was trained.
        PreflightDone: only the preflight was asked for, and it is through.
    """
    check_reporters(config.log_to)
    source = read_manifest(examples)
    settings, inputs = _identity(examples, model, config, seed, chat)
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        shutil.rmtree(out / "work", ignore_errors=True)
        finished = read_manifest(out)
        if not (out / CARD).is_file():  # killed between the manifest and the card
            write_model_card(out)
        if preflight == "only":
            print(preflight_text(finished.info["preflight"]), flush=True)
            raise PreflightDone
        return finished
    started = time.time()
    if not isinstance(model, ModelInit):
        check_vocabulary(model, chat.tokenizer)
    check_data_tokenizer(examples, source.config.get("chat", {}).get("tokenizer"), chat.tokenizer)
    check_adapters(config)
    limit = Limit(config.max_tokens, positions_of(model, config.rope))
    work = out / "work"
    with _prepared(out, examples, chat, config, limit) as (prepared, rows):
        begin(out, STAGE, settings, inputs, precious=last_whole(work) is not None, say=_note)
        work.mkdir(exist_ok=True)
        rows.replace(work / ROWS)
    job = Job(
        out=out, work=work, model=model, config=config, seed=seed, tokenizer=str(chat.tokenizer.folder),
        template=chat.tokenizer.template if chat.tokenizer.template_given else None,
        end_id=chat.end_id, preflight=preflight, about=_about(prepared, limit, chat),
    )  # fmt: skip
    saved = last_whole(work)
    if saved is not None and preflight != "quiet":
        _note(f"going on after step {step_of(saved):,}, which was saved")
    name = " ".join(out.parts[-3:-1])  # in a study: the arm and its seed
    with progress(f"train {name}", num_steps(config, prepared.num_rows)) as step:
        seen = 0

        def report(at: int, steps: int, entry: dict[str, float]) -> None:
            nonlocal seen
            step(at - seen, described(entry))
            seen = at
            if on_log is not None:
                on_log(at, steps, entry)

        with stoppable() as stop:
            result = launch(job, report, place)
    rejected = [one.reject(limit, str(examples)) for one in prepared.left_out]
    if rejected:
        write_parquet(out / "rejected.parquet", to_arrow(rejected, Reject), rows_in=prepared.num_samples)
    files = [
        path for path in (*out.iterdir(), *(out / ADAPTER).glob("*"))
        if path.is_file() and not path.name.startswith((".", "manifest", "progress"))
    ]  # fmt: skip
    info = {
        "data": table_facts(examples, source, Example),
        "base_model": "A new model" if isinstance(model, ModelInit) else checkpoint_name(model),
        "preflight": json.loads((work / PREFLIGHT).read_text()), "parameters": result.parameters,
        "trainable_parameters": result.trainable_parameters, "checkpoint": result.checkpoint, "steps": result.steps,
        "tokens": result.tokens, "supervised_tokens": result.supervised_tokens, "resumed_from": result.resumed_from,
        "final_loss": final_loss(result.metrics, result.steps), "stopped": result.stopped,
        "tokenizer": chat.tokenizer.digest, "template": chat.tokenizer.template_digest,
    }  # fmt: skip
    manifest = finish(
        out, stage=STAGE, config=settings, inputs=inputs, digest=weights_digest(out), files=files, started=started,
        rows_in=prepared.num_samples, rows_out=prepared.num_samples - len(rejected),
        rejected=dict(sorted(Counter(one.reason for one in rejected).items())), info=info,
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


@contextmanager
def _prepared(
    out: Path, examples: Path, chat: Chat, config: TrainConfig, limit: Limit
) -> Iterator[tuple[Prepared, Path]]:
    """The rows in a hidden file of the folder: what lies there already is touched only when they are all right."""
    fresh = not out.exists()
    path = make_folder(out) / ".rows.arrow"
    try:
        yield prepare_rows(iter_table(examples, Example), chat, config, limit, path), path
    except BaseException:
        path.unlink(missing_ok=True)
        if fresh and not any(out.iterdir()):
            out.rmdir()
        raise


def _about(prepared: Prepared, limit: Limit, chat: Chat) -> dict[str, Any]:
    """What the preflight says of the data's source."""
    return {
        "samples": prepared.num_samples, "over_limit": len(prepared.left_out), "limit": limit.describe(),
        "end_token": chat.end_token, "begin_token": chat.tokenizer.named_token("bos_token"),
        "template": chat.tokenizer.template_digest, "thinking": chat.style.name, "system": chat.system,
    }  # fmt: skip
