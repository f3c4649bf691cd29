"""Predicted against measured memory and operations: `python -m bench.memory_model`, on the CPU, some minutes.

1. Whole steps of our trainer on models of 1 to 30 million parameters, and their layers without the loss head.
2. Layers of published models at their true width and length, on tensors that have sizes but no content.
3. Operations against PyTorch's counter.

Every tensor's storage is followed from its making to its end, so that the figure is what an allocator would have had to
hold, exactly.  Memory inside of a kernel is not seen.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
import warnings
import weakref
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import transformers
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from long1k.planning.flops import training_flops
from long1k.planning.memory import Memory, predict
from long1k.planning.shapes import KNOWN, ModelShape, shape_of_config
from long1k.tokens import load_tokenizer
from long1k.training.config import TrainConfig
from long1k.training.data import TrainRow
from long1k.training.layout import Layout
from long1k.training.sft import train_model


class LiveBytes(TorchDispatchMode):
    """Bytes of all tensors that are alive, and the most there ever were."""

    def __init__(self, tensors: Sequence[torch.Tensor]) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}
        for tensor in tensors:
            self._add(tensor)

    def _add(self, tensor: torch.Tensor) -> None:
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self.live += storage.nbytes()
        self.peak = max(self.peak, self.live)
        weakref.finalize(storage, self._gone, key)

    def _gone(self, key: int) -> None:
        self.live -= self._sizes.pop(key)

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = function(*args, **(kwargs or {}))
        for leaf in tree_leaves(made):
            if isinstance(leaf, torch.Tensor):
                self._add(leaf)
        return made


@dataclasses.dataclass(frozen=True)
class Case:
    """One model, one length, one way to hold activations."""

    hidden: int
    layers: int
    tokens: int
    rows: int = 1
    checkpointing: bool = False
    precision: str = "fp32"
    micro_batches: int = 1
    tied: bool = False
    family: str = "qwen2"

    def __str__(self) -> str:
        words = [self.family, f"{self.rows} x {self.tokens:,}", self.precision]
        words += ["checkpointing"] if self.checkpointing else []
        words += [f"{self.micro_batches} micro-batches"] if self.micro_batches > 1 else []
        words += ["tied"] if self.tied else []
        return " ".join(words)


CASES = (
    Case(128, 4, 1024),
    Case(128, 4, 1024, checkpointing=True),
    Case(256, 6, 512),
    Case(256, 6, 2048),
    Case(256, 6, 2048, checkpointing=True),
    Case(256, 6, 2048, checkpointing=True, micro_batches=2),
    Case(256, 6, 1024, rows=2),
    Case(256, 6, 512, rows=4, checkpointing=True, tied=True),
    Case(512, 8, 256),
    Case(512, 8, 1024, checkpointing=True, micro_batches=2),
    Case(256, 6, 1024, precision="bf16"),
    Case(256, 6, 1024, precision="bf16", checkpointing=True),
    Case(512, 8, 1024, precision="bf16", checkpointing=True, micro_batches=2),
    Case(256, 6, 1024, family="qwen3"),
    Case(256, 6, 1024, family="qwen3", checkpointing=True),
    Case(256, 6, 1024, family="llama", checkpointing=True),
)
# (model, layers, tokens, computing in, checkpointing)
SLICES = (
    ("Qwen2.5-32B", 4, 32768, "bf16", True), ("Qwen2.5-32B", 1, 32768, "bf16", False),
    ("Qwen2.5-32B", 8, 16384, "autocast", True), ("Qwen2.5-7B", 4, 32768, "autocast", True),
    ("Qwen2.5-7B", 4, 8192, "bf16", False), ("Qwen3-8B", 4, 16384, "bf16", True),
    ("Qwen3-8B", 4, 8192, "autocast", False),
)  # fmt: skip


def config_of(case: Case) -> Any:
    """The model's configuration: grouped-query attention, an MLP four times as wide."""
    kinds = {"qwen2": transformers.Qwen2Config, "qwen3": transformers.Qwen3Config, "llama": transformers.LlamaConfig}
    return kinds[case.family](
        vocab_size=1024, hidden_size=case.hidden, num_hidden_layers=case.layers,
        num_attention_heads=case.hidden // 32, num_key_value_heads=case.hidden // 128, head_dim=32,
        intermediate_size=4 * case.hidden, max_position_embeddings=8192, tie_word_embeddings=case.tied, use_cache=False,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip


def tensors_of(model: Any) -> list[torch.Tensor]:
    """What a model holds before anything is done."""
    return [*model.parameters(), *model.buffers()]


def predicted(case: Case, shape: ModelShape, attention: str = "auto") -> Memory:
    """The memory model's answer to a case."""
    return predict(
        shape, case.tokens, micro_batch_size=case.rows, gradient_checkpointing=case.checkpointing,
        precision=case.precision, accumulate=case.micro_batches > 1, device="cpu", attention=attention,
    )  # fmt: skip


def measure(case: Case) -> tuple[ModelShape, Memory, int]:
    """(shape, predicted, measured peak in bytes) of two steps of the trainer."""
    torch.manual_seed(0)
    config = config_of(case)
    model = transformers.AutoModelForCausalLM.from_config(config)
    shape = shape_of_config(config.to_dict(), str(case))
    ids = [*[5] * (case.tokens - 1), 1]
    row = TrainRow(ids, ids, [case.tokens], ["a"])
    batch = case.rows * case.micro_batches
    train = TrainConfig(
        steps=2, batch_size=batch, precision=case.precision,  # type: ignore[arg-type]
        layout=Layout(micro_batch_size=case.rows, gradient_checkpointing=case.checkpointing),
    )  # fmt: skip
    track = LiveBytes(tensors_of(model))
    with tempfile.TemporaryDirectory() as work, track, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train_model(
            model, [row] * batch, train, work=Path(work), seed=0, tokenizer=load_tokenizer("package:micro"), end_id=1
        )
    return shape, predicted(case, shape), track.peak


def measure_layers(case: Case) -> tuple[ModelShape, float, int]:
    """(shape, predicted, measured peak in bytes) of the layers alone: two steps without a loss head."""
    torch.manual_seed(0)
    config = config_of(case)
    model = transformers.AutoModel.from_config(config).train()
    shape = dataclasses.replace(shape_of_config(config.to_dict(), str(case)), tied=True)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.full((case.rows, case.tokens), 5)
    track = LiveBytes(tensors_of(model))
    with track, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if case.checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        for number in range(2 * case.micro_batches):
            with torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "bf16"):
                model(input_ids=ids, use_cache=False).last_hidden_state.sum().backward()
            if number % case.micro_batches == case.micro_batches - 1:
                optimizer.step()
                optimizer.zero_grad()
    moments = predicted(case, shape, "sdpa").moments
    if case.micro_batches == 1:  # without a head, no gradient of one
        moments["backward begins"] -= 4 * shape.embedding_parameters
    return shape, max(total for name, total in moments.items() if not name.startswith("loss")), track.peak


def measure_slice(name: str, layers: int, tokens: int, compute: str, checkpointing: bool) -> tuple[float, int]:
    """(predicted, measured peak in bytes) of some layers of a published model, beside weights and gradients."""
    shape = dataclasses.replace(KNOWN[name], layers=layers, tied=True, vocabulary=1024)
    kind = transformers.Qwen3Config if shape.qk_norm else transformers.Qwen2Config
    config = kind(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=layers, head_dim=shape.head,
        num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads, intermediate_size=shape.intermediate,
        max_position_embeddings=tokens, use_cache=False, bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    with FakeTensorMode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = transformers.AutoModel.from_config(
            config, dtype=torch.bfloat16 if compute == "bf16" else torch.float32
        ).train()
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        for parameter in model.parameters():
            parameter.grad = torch.zeros_like(parameter)
        ids = torch.full((1, tokens), 5)
        track = LiveBytes([*tensors_of(model), *(p.grad for p in model.parameters() if p.grad is not None)])
        before = track.live
        with track:
            with torch.autocast("cpu", torch.bfloat16) if compute == "autocast" else nullcontext():
                # Without content nobody can see that no position is masked, so it is said.
                loss = model(input_ids=ids, attention_mask={"full_attention": None}, use_cache=False)
                loss = loss.last_hidden_state.sum()
            loss.backward()
    sharding = "fsdp2" if compute == "bf16" else "none"
    memory = predict(shape, tokens, gradient_checkpointing=checkpointing, sharding=sharding, attention="sdpa")
    bare = {name: total for name, total in memory.moments.items() if name in ("forward", "backward begins")}
    held = sum(item.bytes for item in memory.items if item.name in ("weights", "gradients", "optimiser"))
    return max(bare.values()) - held, track.peak - before


def count_operations(case: Case) -> tuple[float, float]:
    """(predicted, counted) operations of one step; eager attention, all of whose products are counted."""
    config = config_of(case)
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").train()
    shape = shape_of_config(config.to_dict(), str(case))
    ids = torch.full((case.rows, case.tokens), 5)
    with FlopCounterMode(display=False) as counter, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if case.checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        model(input_ids=ids, use_cache=False).logits.sum().backward()
    expected = training_flops(shape, [case.tokens] * case.rows, recompute=case.checkpointing, causal=False)
    return expected.hardware, float(counter.get_total_flops())


def main() -> int:
    """Print the tables and the errors; exit status 1 if one of memory is beyond 10 %, or of operations beyond 1 %."""
    torch.set_num_threads(1)
    started = time.time()
    errors: list[float] = []

    def line(cells: Sequence[str], expected: float, found: float, unit: float) -> None:
        errors.append(expected / found - 1)
        print(
            f"| {' | '.join(cells)} | {expected / unit:,.1f} | {found / unit:,.1f} | {100 * errors[-1]:+.1f} % |",
            flush=True,
        )

    print("| parameters | step of the trainer | peak at | predicted, MB | measured, MB | error |")
    print("|---|---|---|---:|---:|---:|")
    for case in CASES:
        shape, memory, measured = measure(case)
        line([f"{shape.parameters / 1e6:.1f}M", str(case), memory.peak], memory.allocated_bytes, measured, 1e6)
    print("\n| parameters | layers alone | predicted, MB | measured, MB | error |\n|---|---|---:|---:|---:|")
    for case in CASES:
        shape, expected, measured = measure_layers(case)
        line([f"{shape.parameters / 1e6:.1f}M", str(case)], expected, measured, 1e6)
    print(
        "\n| layers of | tokens | computing in | predicted, GB | measured, GB | error |\n|---|---:|---|---:|---:|---:|"
    )
    for name, layers, tokens, compute, checkpointing in SLICES:
        expected, measured = measure_slice(name, layers, tokens, compute, checkpointing)
        how = f"{compute}{', checkpointing' if checkpointing else ''}"
        line([f"{name}, {layers}", f"{tokens:,}", how], expected, measured, 1e9)
    sizes = [abs(error) for error in errors]
    print(
        f"\n{len(errors)} cases of memory: mean error {100 * statistics.mean(sizes):.1f} %, lowest "
        f"{100 * min(errors):+.1f} %, highest {100 * max(errors):+.1f} %"
    )
    missed = max(sizes) > 0.10
    errors.clear()
    print("\n| operations of a step | predicted, GFLOP | counted, GFLOP | error |\n|---|---:|---:|---:|")
    for case in (Case(256, 6, 512), Case(256, 6, 512, checkpointing=True), Case(256, 4, 1024, rows=2, family="qwen3")):
        expected, counted = count_operations(case)
        line([str(case)], expected, counted, 1e9)
    print(f"\n{time.time() - started:.0f} s")
    return 1 if missed or max(map(abs, errors)) > 0.01 else 0


if __name__ == "__main__":
    sys.exit(main())
