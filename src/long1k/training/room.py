"""Memory that is full while a model trains: said in words, with what there is to do about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from long1k.errors import EngineError
from long1k.plugins import need
from long1k.training.config import TrainConfig

_ON_CPU = ("can't allocate memory", "not enough memory")  # PyTorch has no error of its own for this


def lighter(config: TrainConfig) -> str:
    """What a layout could still trade for memory, the cheapest first."""
    layout = config.layout
    knobs = []
    if config.precision == "fp32":
        knobs.append("train.precision: bf16")
    if layout.micro_batch_size != 1:
        knobs.append("train.layout.micro_batch_size: 1")
    if not layout.gradient_checkpointing:
        knobs.append("train.layout.gradient_checkpointing: true")
    quantized = config.lora is not None and config.lora.quantized  # 4 bits are not cut up
    if layout.sharding == "none" and not quantized:
        knobs.append("train.layout.sharding: zero3")
    if layout.offload == "none" and not quantized:
        knobs.append("train.layout.offload: all (with zero3 or fsdp2)")
    if not layout.offload_activations:
        knobs.append("train.layout.offload_activations: true")
    return ", ".join([*knobs, "more ranks"])


@contextmanager
def memory_explained(config: TrainConfig) -> Iterator[None]:
    """Inside, full memory is an error with a mend.

    Raises:
        EngineError: the memory of the GPU, or of the machine, is full.
    """
    try:
        yield
    except (need("torch").OutOfMemoryError, MemoryError, RuntimeError) as error:
        text = str(error)
        on_gpu = isinstance(error, need("torch").OutOfMemoryError)
        if not on_gpu and not isinstance(error, MemoryError) and not any(sign in text for sign in _ON_CPU):
            raise
        first = text.strip().splitlines()[0] if text.strip() else type(error).__name__
        raise EngineError(
            f"the memory of the {'GPU' if on_gpu else 'machine'} is full: {first}",
            f"try {lighter(config)}; long1k plan says beforehand what fits",
        ) from error
