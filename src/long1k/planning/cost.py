"""Hours, money and disk of a training run; tokens and hours of its evaluation."""

from __future__ import annotations

import math
from dataclasses import dataclass

from long1k.hardware import Accelerator, Machines
from long1k.planning.flops import Operations
from long1k.planning.setting import Setting
from long1k.planning.shapes import ModelShape

ENGINE_FRAC = 0.9  # of a GPU's memory that an inference engine is given
ROOFLINE_FRAC = 0.5  # of the roofline's rate that is expected of it
_CONCURRENT = 256  # sequences that an engine runs at once at most (vLLM's default on most GPUs)


@dataclass(frozen=True, slots=True)
class TrainingCost:
    """What a training takes in time and money; ``hfu`` is what ``mfu`` means for the hardware."""

    hours: float
    gpu_hours: float
    price: float | None
    mfu: float
    hfu: float


def training_cost(operations: Operations, machines: Machines, mfu: float, price: float | None = None) -> TrainingCost:
    """Time at a share ``mfu`` of the GPUs' peak.

    Args:
        price: of one GPU for one hour, in any currency.
    """
    seconds = operations.model / (mfu * machines.gpu.peak_flops * machines.total)
    gpu_hours = seconds * machines.total / 3600
    hfu = mfu * operations.hardware / operations.model if operations.model else mfu
    return TrainingCost(seconds / 3600, gpu_hours, None if price is None else price * gpu_hours, mfu, hfu)


def checkpoint_bytes(shape: ModelShape, setting: Setting) -> tuple[float, float]:
    """(a resumable checkpoint, the finished model) on the disk, in bytes.

    A resumable one holds what training holds: fp32 weights and two moments (12 bytes a parameter), with
    DeepSpeed the weights it computes with as well (14 in bf16).  The finished model's dtype is that of the weights
    trained: fp32, or bf16 where DeepSpeed hands out what it computes with.
    """
    half = setting.deepspeed and setting.precision == "bf16"
    if setting.lora_rank is not None:
        return 12.0 * shape.lora_parameters(setting.lora_rank), 4.0 * shape.parameters
    return (14.0 if half else 12.0) * shape.parameters, (2.0 if half else 4.0) * shape.parameters


def kv_bytes_a_token(shape: ModelShape) -> int:
    """Keys and values of one token in all layers, in bf16."""
    return 2 * 2 * shape.layers * shape.kv_width


@dataclass(frozen=True, slots=True)
class InferenceCost:
    """Generation: GPUs a replica, replicas, sequences at once on one, tokens and hours."""

    tensor_parallel: int
    replicas: int
    concurrent: int
    tokens: float
    tokens_a_second: float
    hours: float
    gpu_hours: float


def tensor_parallel(shape: ModelShape, gpu: Accelerator, most: int, context_tokens: int) -> int | None:
    """Fewest GPUs (a power of two) that hold bf16 weights and one sequence; None if ``most`` do not."""
    needed = 2.0 * shape.parameters + kv_bytes_a_token(shape) * context_tokens
    size = 1
    while size <= most:
        if needed <= ENGINE_FRAC * gpu.memory_bytes * size and shape.heads % size == 0:
            return size
        size *= 2
    return None


def inference_cost(
    shape: ModelShape, machines: Machines, *, outputs: int, mean_tokens: float, prompt_tokens: float, most_tokens: int
) -> InferenceCost | None:
    """Tokens and hours of ``outputs`` answers; None if the model does not fit one machine.

    Decoding reads all weights and all keys and values once a step; the rate is ``ROOFLINE_FRAC`` of what
    memory bandwidth and matrix products allow (Williams et al., 2009, doi 10.1145/1498765.1498785).
    """
    size = tensor_parallel(shape, machines.gpu, machines.each, most_tokens)
    if size is None or not outputs:
        return None
    found = []
    while size <= machines.each and shape.heads % size == 0:
        found.append(_decoding(shape, machines, size, outputs, mean_tokens, prompt_tokens))
        size *= 2
    return max(found, key=lambda one: one.tokens_a_second)


def _decoding(
    shape: ModelShape, machines: Machines, size: int, outputs: int, mean_tokens: float, prompt_tokens: float
) -> InferenceCost:
    """Generation with ``size`` GPUs a replica."""
    gpu = machines.gpu
    replicas = machines.total // size
    a_sequence = kv_bytes_a_token(shape) * (prompt_tokens + mean_tokens)
    room = ENGINE_FRAC * gpu.memory_bytes * size - 2.0 * shape.parameters
    concurrent = max(1, min(_CONCURRENT, int(room / a_sequence), math.ceil(outputs / replicas)))
    read = 2.0 * shape.parameters + concurrent * kv_bytes_a_token(shape) * (prompt_tokens + mean_tokens / 2)
    multiplied = 2.0 * concurrent * (shape.parameters - (0 if shape.tied else shape.embedding_parameters))
    step = max(read / (gpu.bandwidth * size), multiplied / (gpu.peak_flops * size)) / ROOFLINE_FRAC
    rate = concurrent / step * replicas
    tokens = outputs * mean_tokens
    hours = tokens / rate / 3600
    return InferenceCost(size, replicas, concurrent, tokens, rate, hours, hours * machines.total)
