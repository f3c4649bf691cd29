"""Training on the CPU: our rows in one line, against HF Trainer with the same rows in padded batches.

Both start from the same weights, see the same samples in the same steps and take the same loss, so that the losses of
every step must agree; runs of the two alternate, and the best of each counts.

`python -m bench.training` prints what each layout gives (in turns, so that a busy machine is busy for all).
"""

from __future__ import annotations

import json
import math
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.common import Row
from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.joining.spec import JoinSpec
from long1k.rows import Example
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.stages.collect import collect
from long1k.stages.synthesize import synthesize
from long1k.tables import read_table
from long1k.tokens import load_tokenizer
from long1k.training.checkpoint import new_model, pad_id
from long1k.training.config import ModelInit, TrainConfig
from long1k.training.data import TrainRow, collate, make_rows, row_order
from long1k.training.layout import Layout
from long1k.training.meter import cost_of
from long1k.training.sft import train_model

MODEL = ModelInit(
    hidden_size=256, num_layers=6, num_heads=4, intermediate_size=768, max_positions=1024, initializer_range=0.02
)
STEPS, BATCH, SEED, TURNS = 6, 16, 3, 2
CONFIG = TrainConfig(steps=STEPS, batch_size=BATCH, learning_rate=1e-3, scheduler="constant", warmup_ratio=0.0)


def ladder_rows(folder: Path, chat: Chat) -> list[TrainRow]:
    """As many samples of each rung of a ladder: 32, 65, 131, 263 and 527 tokens."""
    collect(folder / "pool", [("micro", MicroSource(MicroConfig(count=2000, check=1)))], CollectConfig(), chat)
    specs = [
        JoinSpec(target=32 * n + n - 1, samples=20, num_problems=(n, n), layout="turns", linkers="micro", tolerance=0.0)
        for n in (1, 2, 4, 8, 16)
    ]
    synthesize(folder / "examples", folder / "pool", arm="mixture", specs=specs, seed=0, chat=chat)
    return make_rows(read_table(folder / "examples", Example), chat, None)


def ours(rows: list[TrainRow], chat: Chat, config: TrainConfig = CONFIG) -> tuple[float, list[float], float]:
    """(seconds of all, losses, seconds of the steps)."""
    model = new_model(MODEL, chat.tokenizer, chat.end_id)
    with tempfile.TemporaryDirectory() as work:
        started = time.perf_counter()
        result = train_model(
            model, rows, config, work=Path(work), folder=Path(work), seed=SEED, tokenizer=chat.tokenizer,
            end_id=chat.end_id,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        timing = [json.loads(line) for line in (Path(work) / "timing.jsonl").read_text().splitlines()]
    return seconds, [entry["loss"] for entry in result.metrics], sum(entry["step_seconds"] for entry in timing)


class _Losses(transformers.TrainerCallback):
    def __init__(self) -> None:
        self.losses: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if "loss" in logs:
            self.losses.append(logs["loss"])


def peer(rows: list[TrainRow], chat: Chat) -> tuple[float, list[float]]:
    """(seconds, losses) of HF Trainer: random batches, padded to their longest, the model's own loss."""
    model = new_model(MODEL, chat.tokenizer, chat.end_id)
    padding = pad_id(chat.tokenizer, chat.end_id)
    order = row_order(len(rows), STEPS * BATCH, SEED)
    watch = _Losses()
    with tempfile.TemporaryDirectory() as work:
        started = time.perf_counter()
        arguments = transformers.TrainingArguments(
            output_dir=work, max_steps=STEPS, per_device_train_batch_size=BATCH, learning_rate=CONFIG.learning_rate,
            lr_scheduler_type="constant", weight_decay=CONFIG.weight_decay, adam_beta1=CONFIG.beta1,
            adam_beta2=CONFIG.beta2, max_grad_norm=CONFIG.max_grad_norm, use_cpu=True, remove_unused_columns=False,
            train_sampling_strategy="sequential", dataloader_pin_memory=False, save_strategy="no", logging_steps=1,
            report_to="none", disable_tqdm=True,
        )  # fmt: skip
        trainer = transformers.Trainer(
            model=model, args=arguments, train_dataset=[rows[at] for at in order],  # type: ignore[arg-type]
            data_collator=lambda batch: collate(batch, padding), callbacks=[watch],
        )  # fmt: skip
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
        return time.perf_counter() - started, watch.losses


def peak_flops(tokens: int) -> float:
    """The best rate of fp32 matrix products: of the model's shapes, and of large square ones."""
    best = 0.0
    h, i = MODEL.hidden_size, MODEL.intermediate_size
    for m, k, n in ((tokens, h, h), (tokens, h, i), (tokens, i, h), (h, tokens, i), (2048, 2048, 2048)):
        a, b = torch.randn(m, k), torch.randn(k, n)
        for _ in range(12):
            started = time.perf_counter()
            a @ b
            best = max(best, 2.0 * m * k * n / (time.perf_counter() - started))
    return best


def rows() -> list[Row]:
    """Seconds a run of both, and ours as a share of the peak of matrix products."""
    transformers.utils.logging.set_verbosity_error()
    chat = Chat(load_tokenizer("package:micro"))
    with tempfile.TemporaryDirectory() as folder:
        data = ladder_rows(Path(folder), chat)
    order = row_order(len(data), STEPS * BATCH, SEED)
    taken = [data[at] for at in order]
    tokens = sum(len(row.input_ids) for row in taken)
    padded = sum(
        BATCH * max(len(row.input_ids) for row in taken[at : at + BATCH]) for at in range(0, len(taken), BATCH)
    )
    cost = cost_of(new_model(MODEL, chat.tokenizer, chat.end_id))
    operations = sum(cost.of(row.lengths) for row in taken)
    our_best = peer_best = steps_best = math.inf
    peak = 0.0
    for _ in range(TURNS):
        seconds, our_losses, step_seconds = ours(data, chat)
        our_best, steps_best = min(our_best, seconds), min(steps_best, step_seconds)
        peak = max(peak, peak_flops(tokens // STEPS))
        seconds, peer_losses = peer(data, chat)
        peer_best = min(peer_best, seconds)
    apart = max(abs(one - two) for one, two in zip(our_losses, peer_losses, strict=True))
    parameters = sum(p.numel() for p in new_model(MODEL, chat.tokenizer, chat.end_id).parameters())
    what = f"{STEPS} steps of {BATCH} samples of 32 … 527 tokens, {parameters / 1e6:.1f}M parameters"
    equal = f"losses of all steps within {apart:.1e} (last {our_losses[-1]:.4f})"
    share = operations / steps_best / peak
    return [
        Row(
            "training", what, our_best, "HF Trainer, padded random batches", peer_best, "2", equal,
            peer_best / our_best >= 2 and apart < 1e-4,
            f"{tokens / our_best:,.0f} against {tokens / peer_best:,.0f} tokens/s, not counting padding "
            f"({padded / tokens:.2f} times the tokens with it)",
        ),
        Row(
            "training, share of the matrix-product peak", what, steps_best, "its operations at the peak",
            operations / peak, "0.5", f"{operations / 1e9:,.0f} GFLOP (nothing counted twice, attention causal)",
            share >= 0.5, f"peak {peak / 1e9:.0f} GFLOP/s in fp32, {torch.get_num_threads()} threads",
        ),
    ]  # fmt: skip


LAYOUTS: dict[str, dict[str, Any]] = {
    "one padded batch a step": {"attention": "sdpa"},
    "padded, 4 rows of like length at once": {"attention": "sdpa", "micro_batch_size": 4},
    "one line a step": {"micro_batch_size": 16},
    "lines that fit the cache (auto)": {},
    "lines of 8 rows": {"micro_batch_size": 8},
    "lines of 4 rows": {"micro_batch_size": 4},
}


def main() -> None:
    """Print tokens/s of each layout, of which the first is what a padded batch gives."""
    transformers.utils.logging.set_verbosity_error()
    chat = Chat(load_tokenizer("package:micro"))
    with tempfile.TemporaryDirectory() as folder:
        data = ladder_rows(Path(folder), chat)
    tokens = sum(len(data[at].input_ids) for at in row_order(len(data), STEPS * BATCH, SEED))
    best = dict.fromkeys([*LAYOUTS, "HF Trainer"], math.inf)
    last: dict[str, float] = {}
    for _ in range(TURNS):
        for name, layout in LAYOUTS.items():
            _, losses, seconds = ours(data, chat, CONFIG.model_copy(update={"layout": Layout(**layout)}))
            best[name], last[name] = min(best[name], seconds), losses[-1]
        seconds, losses = peer(data, chat)
        best["HF Trainer"], last["HF Trainer"] = min(best["HF Trainer"], seconds), losses[-1]
    for name, seconds in best.items():
        print(
            f"{name:40} {tokens / seconds:8,.0f} tokens/s  ×{best['HF Trainer'] / seconds:.2f}  loss {last[name]:.6f}"
        )


if __name__ == "__main__":
    main()
