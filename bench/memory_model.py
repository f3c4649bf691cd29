"""Predicted against measured memory: `python -m bench.memory_model`, on the CPU, in a minute.

Whole steps of our trainer on models of 1 to 30 million parameters; every tensor's storage is followed from its making to
its end, so the figure is what an allocator would have had to hold, exactly.  Memory inside a kernel is not seen.
"""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
import warnings
import weakref
from pathlib import Path
from typing import Any

import torch
import transformers
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from long1k.planning.memory import Memory, predict
from long1k.planning.shapes import ModelShape, shape_of_config
from long1k.tokens import load_tokenizer
from long1k.training.config import TrainConfig
from long1k.training.data import TrainRow
from long1k.training.layout import Layout
from long1k.training.sft import train_model


class LiveBytes(TorchDispatchMode):
    """Bytes of all tensors that are alive, and the most there ever were."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.live = self.peak = 0
        self._sizes: dict[int, int] = {}
        for tensor in (*model.parameters(), *model.buffers()):
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
    vocabulary: int = 1024
    family: str = "qwen2"
    lora_rank: int | None = None

    def __str__(self) -> str:
        words = [f"{self.rows} x {self.tokens:,}", self.precision]
        words += ["again" if self.checkpointing else "kept"]
        words += [f"x{self.micro_batches}"] if self.micro_batches > 1 else []
        words += ["tied"] if self.tied else []
        return " ".join(words)


CASES = (
    Case(128, 4, 1024), Case(128, 4, 1024, checkpointing=True), Case(256, 6, 512), Case(256, 6, 512, checkpointing=True),
    Case(256, 6, 2048), Case(256, 6, 2048, checkpointing=True), Case(256, 6, 2048, checkpointing=True, micro_batches=2),
    Case(256, 6, 1024, rows=4), Case(256, 6, 1024, rows=4, checkpointing=True, tied=True),
    Case(512, 8, 256), Case(512, 8, 1024), Case(512, 8, 1024, checkpointing=True, micro_batches=2),
    Case(256, 6, 1024, precision="bf16"), Case(256, 6, 1024, precision="bf16", checkpointing=True),
    Case(512, 8, 1024, precision="bf16", checkpointing=True, micro_batches=2),
    Case(256, 6, 1024, family="qwen3"), Case(256, 6, 1024, family="qwen3", checkpointing=True),
    Case(256, 6, 1024, family="llama", checkpointing=True),
)  # fmt: skip


def config_of(case: Case) -> Any:
    """The model's configuration: grouped-query attention, an MLP four times as wide."""
    kinds = {"qwen2": transformers.Qwen2Config, "qwen3": transformers.Qwen3Config, "llama": transformers.LlamaConfig}
    return kinds[case.family](
        vocab_size=case.vocabulary, hidden_size=case.hidden, num_hidden_layers=case.layers,
        num_attention_heads=case.hidden // 32, num_key_value_heads=case.hidden // 128, head_dim=32,
        intermediate_size=4 * case.hidden, max_position_embeddings=8192, tie_word_embeddings=case.tied, use_cache=False,
        bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip


def measure(case: Case) -> tuple[ModelShape, Memory, int]:
    """(shape, predicted, measured peak in bytes) of two steps of the trainer."""
    torch.manual_seed(0)
    config = config_of(case)
    model = transformers.AutoModelForCausalLM.from_config(config)
    shape = shape_of_config(config.to_dict(), str(case))
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    row = TrainRow([5] * case.tokens, [5] * case.tokens, [case.tokens], ["a"])
    batch = case.rows * case.micro_batches
    train = TrainConfig(
        steps=2, batch_size=batch, precision=case.precision,  # type: ignore[arg-type]
        layout=Layout(micro_batch_size=case.rows, gradient_checkpointing=case.checkpointing),
    )  # fmt: skip
    track = LiveBytes(model)
    with tempfile.TemporaryDirectory() as work, track, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        train_model(
            model, [row] * batch, train, work=Path(work), seed=0, tokenizer=load_tokenizer("package:micro"), end_id=1
        )
    predicted = predict(
        shape, case.tokens, micro_batch_size=case.rows, gradient_checkpointing=case.checkpointing,
        precision=case.precision, accumulate=case.micro_batches > 1, device="cpu",
    )  # fmt: skip
    return shape, predicted, track.peak


def measure_layers(case: Case) -> tuple[ModelShape, float, int]:
    """(shape, predicted, measured peak in bytes) of the layers alone: two steps without a loss head."""
    torch.manual_seed(0)
    config = config_of(case)
    model = transformers.AutoModel.from_config(config).train()
    shape = dataclasses.replace(shape_of_config(config.to_dict(), str(case)), tied=True)
    if case.checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    ids = torch.full((case.rows, case.tokens), 5)
    track = LiveBytes(model)
    with track, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(2 * case.micro_batches):
            with torch.autocast("cpu", torch.bfloat16, enabled=case.precision == "bf16"):
                model(input_ids=ids, use_cache=False).last_hidden_state.sum().backward()
            if _ % case.micro_batches == case.micro_batches - 1:
                optimizer.step()
                optimizer.zero_grad()
    moments = predict(
        shape, case.tokens, micro_batch_size=case.rows, gradient_checkpointing=case.checkpointing,
        precision=case.precision, accumulate=case.micro_batches > 1, device="cpu",
    ).moments  # fmt: skip
    if case.micro_batches == 1:  # without a head, no gradient of one
        moments["first layer backward"] -= 4 * shape.embedding_parameters
    return shape, max(total for name, total in moments.items() if not name.startswith("loss")), track.peak


def main() -> int:
    """Print the tables and the errors; exit status 1 if one is beyond 10 %."""
    torch.set_num_threads(1)
    started = time.time()
    errors = []
    print("| parameters | layers alone | predicted, MB | measured, MB | error |")
    print("|---:|---|---:|---:|---:|")
    for case in CASES:
        shape, expected, measured = measure_layers(case)
        errors.append(expected / measured - 1)
        print(
            f"| {shape.parameters / 1e6:.1f}M | {case.family}, {case} | {expected / 1e6:.1f} | {measured / 1e6:.1f} | "
            f"{100 * errors[-1]:+.1f} % |",
            flush=True,
        )
    print("\n| parameters | step | predicted, MB | measured, MB | error | peak at |")
    print("|---:|---|---:|---:|---:|---|")
    for case in CASES:
        shape, predicted, measured = measure(case)
        error = predicted.allocated_bytes / measured - 1
        errors.append(error)
        print(
            f"| {shape.parameters / 1e6:.1f}M | {case.family}, {case} | {predicted.allocated_bytes / 1e6:.1f} | "
            f"{measured / 1e6:.1f} | {100 * error:+.1f} % | {predicted.peak} |",
            flush=True,
        )
    sizes = [abs(error) for error in errors]
    print(
        f"\n{len(errors)} cases: mean error {100 * statistics.mean(sizes):.1f} %, largest {100 * max(sizes):.1f} %, "
        f"lowest {100 * min(errors):+.1f} %, highest {100 * max(errors):+.1f} %  ({time.time() - started:.0f} s)"
    )
    return 1 if max(sizes) > 0.10 else 0


if __name__ == "__main__":
    sys.exit(main())
