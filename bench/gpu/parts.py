"""The parts: each measures one thing and returns what is written down. Those that train use long1k's own training."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers

from bench.gpu.common import (
    GIB,
    Place,
    forget,
    most_layers,
    new_network,
    peak_gib,
    predicted,
    random_rows,
    seconds_of_one,
    train_once,
    wait,
)  # fmt: skip
from bench.gpu.decode import decode
from long1k.training.data import IGNORED, TrainRow, collate, pack, row_order
from long1k.training.layout import Layout
from long1k.training.padding_free import collate_line, isolation

Result = dict[str, Any]
RECOMPUTE = {"gradient_checkpointing": True}


def machine(place: Place) -> Iterator[Result]:
    """Names, versions, and the rates that matrix products and copies reach here."""
    on_gpu = place.device == "cuda"
    size, kind = (8192, torch.bfloat16) if on_gpu else (256, torch.float32)
    a, b = (torch.randn(size, size, device=place.device, dtype=kind) for _ in range(2))
    product = seconds_of_one(lambda: a @ b, place)
    large = torch.empty((1 << 30) if on_gpu else (1 << 22), dtype=torch.uint8, device=place.device)
    other = torch.empty_like(large)
    copy = seconds_of_one(lambda: other.copy_(large), place)
    yield {
        "device": torch.cuda.get_device_name() if on_gpu else "CPU", "torch": torch.__version__,
        "transformers": transformers.__version__, "memory_gib": place.memory_bytes / GIB,
        "matrix_product_tflops": 2 * size**3 / product / 1e12, "copy_gb_a_second": 2 * large.numel() / copy / 1e9,
        "data_sheet_tflops": (place.peak_flops or 0) / 1e12 or None,
    }  # fmt: skip


def parity(place: Place) -> Iterator[Result]:
    """Token losses of samples alone, padded, and in one line, packed or not, in each attention that is here."""
    shape = place.shape("Qwen2.5-0.5B", 4)
    rng = random.Random(0)
    rows = random_rows([rng.randrange(place.length(512), place.length(8192)) for _ in range(6)], shape.vocabulary)
    packed = pack(rows, place.length(16384))
    kinds = [name for name in ("flash_attention_2", "flash_attention_3") if _has_flash(name)]
    for precision in ("fp32", "bf16"):
        network = new_network(shape, place)
        alone = torch.cat([_token_losses(network, collate([row], 0), precision, place) for row in rows]).sort().values

        def apart(batch: dict[str, Any], network: Any = network, alone: Any = alone, kind: str = precision) -> float:
            return float((_token_losses(network, batch, kind, place).sort().values - alone).abs().max())

        entry: Result = {"precision": precision, "samples": len(rows), "tokens": len(alone)}
        entry["padded, sdpa"] = apart(collate(rows, 0))
        with isolation(network, Layout()):
            entry["one line, isolated"] = apart(collate_line(rows))
            entry["packed, isolated"] = apart(collate_line(packed))
        for kind in kinds if precision == "bf16" else []:
            network.set_attn_implementation(kind)
            entry[f"one line, {kind}"] = apart(collate_line(rows))
        network.set_attn_implementation("sdpa")
        leaking = collate_line(rows)
        leaking["position_ids"] = torch.arange(leaking["input_ids"].shape[1])[None]
        entry["leaking on purpose"] = apart(leaking)
        yield entry


def _has_flash(name: str) -> bool:
    from transformers.utils import is_flash_attn_2_available, is_flash_attn_3_available

    return is_flash_attn_2_available() if name.endswith("2") else is_flash_attn_3_available()


def _token_losses(network: Any, batch: dict[str, Any], precision: str, place: Place) -> torch.Tensor:
    inputs = {name: value.to(place.device) for name, value in batch.items()}
    labels = inputs.pop("labels")[0 if len(batch["labels"]) == 1 else slice(None)]
    labels = labels.reshape(len(batch["labels"]), -1)[:, 1:]
    with torch.no_grad(), torch.autocast(place.device, torch.bfloat16, enabled=precision == "bf16"):
        hidden = network.model(**inputs, use_cache=False).last_hidden_state[:, :-1]
        pieces = [
            torch.nn.functional.cross_entropy(network.lm_head(one).float(), wanted, reduction="none")
            for one, wanted in zip(
                hidden[labels != IGNORED].split(4096), labels[labels != IGNORED].split(4096), strict=True
            )
        ]
    return torch.cat(pieces)


def head(place: Place) -> Iterator[Result]:
    """What the loss takes beside its inputs and the gradients that it leaves: in pieces, and with all logits."""
    from trl.trainer.utils import add_fused_lm_head

    shape = place.shape("Qwen2.5-7B", 1)
    for tokens in (place.length(4096), place.length(32768)):
        for kind in ("in pieces", "all logits"):
            network = new_network(shape, place)
            network.model = _Given(network.model, place)
            add_fused_lm_head(network, outputs=("log_probs", "entropy", "is_top1"))
            ids = torch.randint(shape.vocabulary, (1, tokens), device=place.device)
            network.model.hidden = torch.randn(1, tokens, shape.hidden, device=place.device, requires_grad=True)
            entry: Result = {"tokens": tokens, "vocabulary": shape.vocabulary, "hidden": shape.hidden, "loss": kind}
            try:
                for _ in range(2):  # the first pass also makes the gradients and the work space of cuBLAS
                    network.zero_grad()
                    network.model.hidden.grad = None
                    forget(place)
                    before = torch.cuda.memory_allocated() if place.device == "cuda" else 0
                    wait(place)
                    started = time.perf_counter()
                    with torch.autocast(place.device, torch.bfloat16):
                        if kind == "in pieces":
                            loss = network(input_ids=ids, labels=ids, fused_lm_head=True).loss
                        else:
                            loss = network(input_ids=ids, labels=ids).loss
                    loss.backward()
                    wait(place)
                    entry["seconds"] = time.perf_counter() - started
                left = 4 * (network.lm_head.weight.numel() + network.model.hidden.numel())
                peak = peak_gib(place)
                entry["extra_gib"] = None if peak is None else peak - (before + left) / GIB
                entry["value"] = float(loss.detach())
            except torch.cuda.OutOfMemoryError:
                entry["extra_gib"] = "out of memory"
            yield entry
            del network
            forget(place)


class _Given(torch.nn.Module):
    """Stands for the layers of a model: gives hidden states that were made before."""

    def __init__(self, layers: Any, place: Place) -> None:
        super().__init__()
        self.embed_tokens = layers.embed_tokens if place.tiny else None
        self.hidden: Any = None

    def forward(self, *_: Any, **__: Any) -> Any:
        return transformers.modeling_outputs.BaseModelOutputWithPast(last_hidden_state=self.hidden)


def lengths(place: Place) -> Iterator[Result]:
    """A slice of a 7B model with full recompute: steps of 32k tokens in samples of 4k, 8k, 16k and 32k."""
    whole = place.length(32768)
    layers = most_layers("Qwen2.5-7B", whole, place, 0.88, accumulate=False, **RECOMPUTE)
    shape = place.shape("Qwen2.5-7B", layers)
    for tokens in (32768, 16384, 8192, 4096):
        each = place.length(tokens)
        samples = whole // each
        layout = {**RECOMPUTE, "micro_batch_size": samples}
        found = train_once(
            shape, random_rows([each] * samples, shape.vocabulary), place, batch=samples, steps=6, layout=layout,
            lined=True,
        )  # fmt: skip
        found["losses"] = found["losses"][-1:]
        memory = predicted(shape, whole, place, accumulate=False, **RECOMPUTE)
        yield {"shape": shape.name, "tokens_a_sample": each, **found, **_errors(memory.allocated_bytes, found)}
        forget(place)


def _errors(predicted_bytes: float, found: Result) -> Result:
    peak = found["peak_gib"]
    return {
        "predicted_gib": predicted_bytes / GIB,
        "model_error": None if peak is None else predicted_bytes / GIB / peak - 1,
    }


def memory(place: Place) -> Iterator[Result]:
    """Peaks beside the memory model's: slices of a 32B and a 7B model, with and without recompute."""
    for name, layers, tokens, again in (
        ("Qwen2.5-32B", 1, 32768, True), ("Qwen2.5-32B", 4, 32768, True), ("Qwen2.5-32B", 8, 32768, True),
        ("Qwen2.5-32B", 8, 8192, True), ("Qwen2.5-32B", 4, 8192, False), ("Qwen2.5-7B", 8, 16384, True),
        ("Qwen2.5-7B", 8, 8192, False),
    ):  # fmt: skip
        shape, each = place.shape(name, layers), place.length(tokens)
        memory = predicted(shape, each, place, accumulate=False, gradient_checkpointing=again)
        entry: Result = {"shape": shape.name, "tokens": each, "recompute": again}
        try:
            found = train_once(
                shape, random_rows([each], shape.vocabulary), place, batch=1, steps=3,
                layout={"gradient_checkpointing": again, "micro_batch_size": 1}, lined=True,
            )  # fmt: skip
        except torch.cuda.OutOfMemoryError:
            found = {"peak_gib": None, "mfu": None}
        entry |= {"peak_gib": found["peak_gib"], "mfu": found["mfu"]}
        yield entry | _errors(memory.allocated_bytes, found) | {"peak_moment": memory.peak}
        forget(place)


def peer(place: Place) -> Iterator[Result]:
    """HF Trainer with eager attention, padded batches and all logits, against ours: the same rows in the same steps."""
    shape = place.shape("Qwen2.5-7B", 8)
    rng = random.Random(1)
    rungs = [place.length(tokens) for tokens in (256, 512, 1024, 2048, 4096)]
    rows = random_rows([rng.choice(rungs) for _ in range(64)], shape.vocabulary)
    steps, batch = 8, 8
    ours = train_once(
        shape, rows, place, batch=batch, steps=steps, layout={**RECOMPUTE, "micro_batch_size": batch}, lined=True
    )
    order = row_order(len(rows), steps * batch, 0)
    tokens = [sum(len(rows[at].input_ids) for at in order[one : one + batch]) for one in range(0, len(order), batch)]
    yield {"trainer": "long1k", **ours, "tokens_per_second": sum(tokens) / _whole(ours), "seconds": _whole(ours)}
    for attention in ("eager", "sdpa"):
        forget(place)
        entry: Result = {"trainer": f"HF Trainer, {attention}"}
        try:
            seconds, losses = _hf_trainer(shape, [rows[at] for at in order], place, attention, steps, batch)
            entry |= {
                "seconds": seconds, "tokens_per_second": sum(tokens) / seconds, "losses": losses,
                "ours_faster": seconds / _whole(ours), "peak_gib": peak_gib(place),
                "losses_apart": max(abs(a - b) for a, b in zip(losses, ours["losses"], strict=True)),
            }  # fmt: skip
        except torch.cuda.OutOfMemoryError:
            entry["peak_gib"] = "out of memory"
        yield entry


def _whole(found: Result) -> float:
    return float(found["steps_seconds"])


def _hf_trainer(
    shape: Any, rows: list[TrainRow], place: Place, attention: str, steps: int, batch: int
) -> tuple[float, list[float]]:
    """(seconds of all steps, losses)"""
    losses: list[float] = []
    clock: list[float] = []

    class Watch(transformers.TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            clock.append(time.perf_counter())

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            if "loss" in logs:
                losses.append(logs["loss"])
                clock.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        arguments = transformers.TrainingArguments(
            output_dir=folder, max_steps=steps, per_device_train_batch_size=batch, learning_rate=1e-5,
            lr_scheduler_type="constant", weight_decay=1e-4, adam_beta2=0.95, bf16=True, gradient_checkpointing=True,
            remove_unused_columns=False, train_sampling_strategy="sequential", save_strategy="no", logging_steps=1,
            report_to="none", disable_tqdm=True, use_cpu=place.device == "cpu",
        )  # fmt: skip
        trainer = transformers.Trainer(
            model=new_network(shape, place, attention), args=arguments, train_dataset=rows,  # type: ignore[arg-type]
            data_collator=lambda chosen: collate(chosen, 0), callbacks=[Watch()],
        )  # fmt: skip
        trainer.remove_callback(transformers.PrinterCallback)
        trainer.train()
    return clock[-1] - clock[0], losses


def stage(place: Place) -> Iterator[Result]:
    """The stage `train` from a table of samples to a proven checkpoint, in bf16; then the same job under DDP of 1."""
    from long1k.chat import Chat
    from long1k.curation.config import CollectConfig
    from long1k.joining.spec import JoinSpec
    from long1k.sources.micro import MicroConfig, MicroSource
    from long1k.stages.collect import collect
    from long1k.stages.synthesize import synthesize
    from long1k.stages.train import train
    from long1k.tokens import load_tokenizer
    from long1k.training.config import ModelInit, TrainConfig

    chat = Chat(load_tokenizer("package:micro"))
    init = ModelInit(hidden_size=64 if place.tiny else 512, num_heads=4, intermediate_size=128 if place.tiny else 1536)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        collect(folder / "pool", [("micro", MicroSource(MicroConfig(count=400, check=1)))], CollectConfig(), chat)
        spec = JoinSpec(target=131, samples=16, num_problems=(4, 4), layout="turns", linkers="micro", tolerance=0.0)
        synthesize(folder / "examples", folder / "pool", arm="a", specs=[spec], seed=0, chat=chat)
        for layout in ({}, {"gradient_checkpointing": True}):
            config = TrainConfig.model_validate(
                {"steps": 8, "batch_size": 4, "learning_rate": 1e-3, "precision": "bf16", "layout": layout,
                 "save_steps": 4}
            )  # fmt: skip
            out = folder / f"out-{len(layout)}"
            started = time.perf_counter()
            manifest = train(out, folder / "examples", model=init, config=config, seed=0, chat=chat)
            seconds = time.perf_counter() - started
            losses = [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]
            again = transformers.AutoModelForCausalLM.from_pretrained(out)
            timing = [json.loads(line) for line in (out / "timing.jsonl").read_text().splitlines()]
            yield {
                "run": "in this process", "layout": layout, "seconds": seconds, "losses": losses,
                "steps": manifest.info["steps"], "reloaded_parameters": again.num_parameters(),
                "parameters": manifest.info["parameters"], "seen": sorted(timing[-1]),
            }  # fmt: skip
        yield _ddp_of_one(folder, init, chat, losses, place)


def _ddp_of_one(folder: Path, init: Any, chat: Any, losses: list[float], place: Place) -> Result:
    """One rank that torchrun starts, wrapped in DDP; its losses beside those of the plain run."""
    from long1k.rows import Example
    from long1k.tables import read_table
    from long1k.training.config import TrainConfig
    from long1k.training.data import make_rows
    from long1k.training.job import RESULT, ROWS, Job
    from long1k.training.prepared import write_rows

    work = folder / "ddp"
    work.mkdir()
    write_rows(work / ROWS, make_rows(read_table(folder / "examples", Example), chat, None))
    config = TrainConfig.model_validate({
        "steps": 8, "batch_size": 4, "learning_rate": 1e-3, "precision": "bf16",
        "layout": {"gradient_checkpointing": True},
    })  # fmt: skip
    job = Job(
        out=work / "out", work=work, model=init, config=config, seed=0, tokenizer=str(chat.tokenizer.folder),
        end_id=chat.end_id,
    )  # fmt: skip
    (work / "job.json").write_text(job.model_dump_json())
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=1", "-m",
         "long1k.training.job", str(work / "job.json")],
        env={**os.environ, "OMP_NUM_THREADS": "1"} if place.tiny else None, capture_output=True, text=True, check=False,
    )  # fmt: skip
    entry: Result = {"run": "DDP of 1", "seconds": time.perf_counter() - started, "exit_code": done.returncode}
    if done.returncode:
        return entry | {"error": done.stderr[-2000:]}
    found = [one["loss"] for one in json.loads((work / RESULT).read_text())["metrics"]]
    return entry | {"losses": found, "losses_apart": max(abs(a - b) for a, b in zip(found, losses, strict=True))}


def levers(place: Place) -> Iterator[Result]:
    """What single settings give at 32k: a slice that leaves room for all of them."""
    shape, each = place.shape("Qwen2.5-7B", 8), place.length(32768)
    mixed = [place.length(tokens) for tokens in (16384, 8192, 4096, 2048, 1024, 512, 256, 256)]
    one, line = random_rows([each], shape.vocabulary), random_rows(mixed, shape.vocabulary)
    for name, rows, layout in (
        ("one sample of 32k, recompute", one, RECOMPUTE),
        ("one sample of 32k, nothing computed again", one, {}),
        ("one sample of 32k, recompute, padded batch, sdpa", one, {**RECOMPUTE, "attention": "sdpa"}),
        ("8 samples of 32k in all, recompute, one line", line, RECOMPUTE),
        ("8 samples of 32k in all, recompute, one by one", line, {**RECOMPUTE, "micro_batch_size": 1}),
        ("8 samples of 32k in all, recompute, padded in pairs", line,
         {**RECOMPUTE, "attention": "sdpa", "micro_batch_size": 2}),
    ):  # fmt: skip
        layout = {"micro_batch_size": len(rows), **layout}
        try:
            found = train_once(shape, rows, place, batch=len(rows), steps=6, layout=layout)
        except torch.cuda.OutOfMemoryError:
            found = {"peak_gib": "out of memory"}
        found.pop("losses", None)
        yield {"what": name, "shape": shape.name, **found}
        forget(place)


PARTS: dict[str, tuple[Callable[[Place], Iterator[Result]], int]] = {
    "machine": (machine, 120), "parity": (parity, 180), "head": (head, 180), "lengths": (lengths, 420),
    "peer": (peer, 300), "stage": (stage, 240), "memory": (memory, 420), "levers": (levers, 420),
    "decode": (decode, 300),
}  # fmt: skip
"""Each part with the seconds that it may take."""
