"""Decoding on the CPU: our batches against transformers' ``generate``, one prompt at a time and in padded batches.

The model has the quickstart's shape and has learned the quickstart's kind of sample, so that outputs end where answers
end.  All outputs are greedy, and must be the same, token by token.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.common import Row, timed
from bench.training import ladder_rows
from long1k.benchmarks.micro import MicroBenchmark, MicroBenchmarkConfig
from long1k.chat import Chat
from long1k.generation.base import Job, Output, Sampling, Serving
from long1k.generation.hf import TransformersConfig, TransformersEngine
from long1k.tokens import load_tokenizer
from long1k.training.checkpoint import new_model, pad_id
from long1k.training.config import ModelInit, TrainConfig
from long1k.training.saving import save_checkpoint
from long1k.training.sft import train_model

INIT = ModelInit(hidden_size=64, num_layers=2, num_heads=4, intermediate_size=128, max_positions=1024)
QUESTIONS, ALONE, BATCH, TOKENS = 500, 100, 125, 64
SEED = 3


def trained(folder: Path, chat: Chat) -> Path:
    """The quickstart's model after some hundred samples of its ladder."""
    model = new_model(INIT, chat.tokenizer, chat.end_id)
    config = TrainConfig(steps=150, batch_size=8, learning_rate=3e-3)
    train_model(
        model, ladder_rows(folder, chat), config, work=folder / "work", folder=folder, seed=SEED,
        tokenizer=chat.tokenizer, end_id=chat.end_id,
    )  # fmt: skip
    save_checkpoint(model, chat.tokenizer, chat.end_id, folder / "model")
    return folder / "model"


def ours(engine: TransformersEngine, jobs: Sequence[Job]) -> dict[str, list[int]]:
    """Outputs by key."""
    found: dict[str, list[int]] = {}

    def done(output: Output) -> None:
        found[output.key] = output.token_ids

    engine.run(jobs, Sampling(max_new_tokens=TOKENS), done)
    return found


def generated(model: Any, jobs: Sequence[Job], chat: Chat, batch_size: int) -> dict[str, list[int]]:
    """The same by ``generate``, padded on the left where there are several."""
    pad, found = pad_id(chat.tokenizer, chat.end_id), {}
    for at in range(0, len(jobs), batch_size):
        batch = jobs[at : at + batch_size]
        width = max(len(job.prompt_ids) for job in batch)
        ids = torch.tensor([[pad] * (width - len(job.prompt_ids)) + job.prompt_ids for job in batch])
        mask = torch.tensor([[0] * (width - len(job.prompt_ids)) + [1] * len(job.prompt_ids) for job in batch])
        with torch.inference_mode():
            whole = model.generate(
                input_ids=ids, attention_mask=mask, max_new_tokens=TOKENS, do_sample=False, eos_token_id=chat.end_id,
                pad_token_id=pad, use_cache=True,
            )  # fmt: skip
        for job, row in zip(batch, whole[:, width:].tolist(), strict=True):
            found[job.key] = row[: row.index(chat.end_id) + 1] if chat.end_id in row else row
    return found


def rows() -> list[Row]:
    """Short prompts of like length, and prompts of very different length."""
    transformers.utils.logging.set_verbosity_error()
    chat = Chat(load_tokenizer("package:micro"))
    with tempfile.TemporaryDirectory() as name:
        engine = TransformersEngine(
            TransformersConfig(batch_size=BATCH), Serving(trained(Path(name), chat), chat)
        )  # fmt: skip
        return [
            row
            for what, histories in (("single", (0,)), ("mixed", (0, 1, 3, 7)))
            for row in _rows(engine, chat, what, histories)
        ]


def _rows(engine: TransformersEngine, chat: Chat, what: str, histories: Sequence[int]) -> list[Row]:
    items = [
        (f"{history}/{item.item_id}", item)
        for history in histories
        for item in MicroBenchmark(
            MicroBenchmarkConfig(count=QUESTIONS // len(histories), history=history, check=1 if history else 0)
        ).load()
    ]
    jobs = [Job(key, chat.encode_prompt(item.messages), 0, TOKENS) for key, item in items]
    ours(engine, jobs[:4])
    seconds, mine = timed(lambda: ours(engine, jobs), 3)
    subset = jobs[:: QUESTIONS // ALONE]
    alone_seconds, alone = timed(lambda: generated(engine._model, subset, chat, 1))
    padded_seconds, padded = timed(lambda: generated(engine._model, jobs, chat, BATCH), 3)
    same_alone = sum(mine[key] == ids for key, ids in alone.items())
    same_padded = sum(mine[key] == ids for key, ids in padded.items())
    tokens = sum(len(ids) for ids in mine.values())
    lengths = [len(job.prompt_ids) for job in jobs]
    data = (
        f"{len(jobs)} questions, {what}: prompts of {min(lengths)} to {max(lengths)} tokens, outputs of "
        f"{tokens / len(jobs):.1f} on average, at most {max(len(ids) for ids in mine.values())}"
    )
    # Attention over the keys and values of long prompts is bound by memory, whoever asks for it: batches save less.
    target = 20 if max(lengths) < 32 else 10
    rate = f"{tokens / seconds:,.0f} tokens/s, {torch.get_num_threads()} thread(s)"
    return [
        Row(
            "decoding, greedy", data, seconds, f"generate one by one ({len(subset)} of them, scaled)",
            alone_seconds * len(jobs) / len(subset), str(target), f"{same_alone} of {len(alone)} outputs identical",
            alone_seconds * len(jobs) / len(subset) / seconds >= target and same_alone == len(alone), rate,
        ),
        Row(
            "decoding, greedy", data, seconds, f"generate in padded batches of {BATCH}", padded_seconds, "1",
            f"{same_padded} of {len(padded)} outputs identical",
            padded_seconds >= seconds and same_padded == len(padded), rate,
        ),
    ]  # fmt: skip
