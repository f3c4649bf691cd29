"""What the parts share: shapes, models with random weights, one measured run of our training."""

from __future__ import annotations

import gc
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import torch
import transformers

from long1k.chat import Chat
from long1k.planning.flops import training_flops
from long1k.planning.memory import Memory, predict
from long1k.planning.shapes import KNOWN, ModelShape
from long1k.tokens import load_tokenizer
from long1k.training.config import TrainConfig
from long1k.training.data import TrainRow
from long1k.training.meter import known_peak
from long1k.training.padding_free import in_line
from long1k.training.sft import train_model

GIB = 1 << 30
TINY = replace(
    KNOWN["Qwen2.5-7B"],
    name="tiny",
    hidden=64,
    layers=2,
    heads=4,
    kv_heads=2,
    head=16,
    intermediate=128,
    vocabulary=300,
)


@dataclass(frozen=True)
class Place:
    """Where the parts run: ``tiny`` shrinks models and lengths, so that a CPU can run all of them."""

    device: str
    tiny: bool

    def length(self, tokens: int) -> int:
        """Tokens of a sample, as they are taken here."""
        return max(16, tokens // 256) if self.tiny else tokens

    def shape(self, name: str, layers: int) -> ModelShape:
        """A slice of a published model, with its whole vocabulary."""
        shape = TINY if self.tiny else KNOWN[name]
        return shape.slice(min(layers, shape.layers))

    @property
    def memory_bytes(self) -> int:
        """All memory of the GPU."""
        return torch.cuda.get_device_properties(0).total_memory if self.device == "cuda" else 8 * GIB

    @property
    def peak_flops(self) -> float | None:
        """The data sheet's bf16 peak."""
        return known_peak(torch.cuda.get_device_name()) if self.device == "cuda" else None


def new_network(shape: ModelShape, place: Place, attention: str = "sdpa", seed: int = 0) -> Any:
    """A Qwen2 model of a shape with random weights in fp32, made where it will be used."""
    torch.manual_seed(seed)
    config = transformers.Qwen2Config(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, intermediate_size=shape.intermediate,
        max_position_embeddings=131072, tie_word_embeddings=shape.tied, use_cache=False, attn_implementation=attention,
        bos_token_id=None, eos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    with torch.device(place.device):
        return transformers.Qwen2ForCausalLM(config)


def random_rows(lengths: Sequence[int], vocabulary: int, seed: int = 0) -> list[TrainRow]:
    """Samples of random tokens, all of which carry loss, with the end token at their end."""
    rng, tokenizer = random.Random(seed), load_tokenizer("package:micro")
    rows = []
    for number, length in enumerate(lengths):
        ids = [rng.randrange(tokenizer.vocab_size, vocabulary) for _ in range(length - 1)]
        ids.append(Chat(tokenizer).end_id)
        rows.append(TrainRow(ids, ids, [length], [f"row-{number}"]))
    return rows


def forget(place: Place) -> None:
    """Give back what is not used any more, and measure the peak anew."""
    gc.collect()
    if place.device == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak_gib(place: Place) -> float | None:
    """GiB that tensors took at most; None on a CPU, where PyTorch does not count."""
    return torch.cuda.max_memory_allocated() / GIB if place.device == "cuda" else None


def train_once(
    shape: ModelShape, rows: Sequence[TrainRow], place: Place, *, batch: int, steps: int, layout: dict[str, Any],
    lined: bool | None = None, precision: str = "bf16", network: Any = None,
) -> dict[str, Any]:  # fmt: skip
    """Our training of a slice on these rows: seconds of a step (median but the first two), MFU, memory, losses."""
    network = new_network(shape, place) if network is None else network
    steps = min(steps, 2) if place.tiny and len(rows) < 32 else steps
    config = TrainConfig.model_validate(
        {"steps": steps, "batch_size": batch, "learning_rate": 1e-5, "precision": precision, "layout": layout,
         "scheduler": "constant", "warmup_ratio": 0.0}
    )  # fmt: skip
    assert lined is None or in_line(network, config.layout) is lined, "the layout is not in force"
    tokenizer = load_tokenizer("package:micro")
    forget(place)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        result = train_model(
            network, rows, config, work=Path(folder) / "work", folder=Path(folder), seed=0, tokenizer=tokenizer,
            end_id=Chat(tokenizer).end_id,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        timing = [json.loads(line) for line in (Path(folder) / "timing.jsonl").read_text().splitlines()]
    steady = timing[2:] or timing[-1:]
    step = median(entry["step_seconds"] for entry in steady)
    tokens = result.tokens / result.steps
    operations = training_flops(shape, [len(row.input_ids) for row in rows]).model * batch / len(rows)
    peak = place.peak_flops
    return {
        "parameters": shape.parameters, "layers": shape.layers, "step_seconds": step, "whole_seconds": seconds,
        "steps_seconds": sum(entry["step_seconds"] for entry in timing),
        "tokens_a_step": tokens, "tokens_per_second": tokens / step, "tflops": operations / step / 1e12,
        "mfu": operations / step / peak if peak else None, "peak_gib": peak_gib(place),
        "losses": [entry["loss"] for entry in result.metrics],
    }  # fmt: skip


def predicted(shape: ModelShape, tokens: int, place: Place, **setting: Any) -> Memory:
    """What the memory model says of such a step."""
    return predict(shape, tokens, device="gpu" if place.device == "cuda" else "cpu", **setting)


def most_layers(name: str, tokens: int, place: Place, share: float, **setting: Any) -> int:
    """Layers of a model that are predicted to fit into a share of the GPU's memory."""
    whole = place.shape(name, 10**6)
    fits = [
        layers for layers in range(1, whole.layers + 1)
        if predicted(whole.slice(layers), tokens, place, **setting).peak_bytes < share * place.memory_bytes
    ]  # fmt: skip
    return max(fits, default=1)


def seconds_of_one(function: Callable[[], Any], place: Place, repeats: int = 10) -> float:
    """Seconds of one call, after three that are not counted."""
    for _ in range(3):
        function()
    wait(place)
    started = time.perf_counter()
    for _ in range(repeats):
        function()
    wait(place)
    return (time.perf_counter() - started) / repeats


def wait(place: Place) -> None:
    """Until the GPU has done what it was given."""
    if place.device == "cuda":
        torch.cuda.synchronize()
