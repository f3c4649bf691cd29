"""How a training step is laid out, as far as its memory depends on it, and one line of the account."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from long1k.planning.layer import Compute
from long1k.planning.shapes import ModelShape

GB = 1e9


@dataclass(frozen=True, slots=True)
class Setting:
    """How a step is laid out: the fields of a training layout that memory depends on, and the precision.

    ``accumulate``: a rank sees more than one micro-batch a step.  ``masked``: rows differ in length or are packed.
    ``device``: the CPU's loss head needs room that the GPU's kernels don't.
    """

    nproc: int = 1
    nnodes: int = 1
    micro_batch_size: int = 1
    sharding: Literal["none", "zero1", "zero2", "zero3", "fsdp2"] = "none"
    offload: Literal["none", "optimizer", "all"] = "none"
    sequence_parallel: int = 1
    gradient_checkpointing: bool = False
    offload_activations: bool = False
    attention: str = "auto"
    loss_head: Literal["fused", "liger", "full"] = "fused"
    precision: Literal["fp32", "bf16"] = "bf16"
    accumulate: bool = True
    masked: bool = False
    lora_rank: int | None = None
    quantized: bool = False
    device: Literal["gpu", "cpu"] = "gpu"

    @property
    def ranks(self) -> int:
        """All processes."""
        return self.nproc * self.nnodes

    @property
    def deepspeed(self) -> bool:
        """Whether DeepSpeed holds weights and optimiser."""
        return self.sharding.startswith("zero")

    @property
    def compute(self) -> Compute:
        """In what the layers compute."""
        if self.precision == "fp32":
            return "fp32"
        # Frozen weights stand in bf16, so that the stream between layers does as well.
        return "autocast" if self.sharding == "none" and self.lora_rank is None else "bf16"


@dataclass(frozen=True, slots=True)
class Item:
    """One line of the table."""

    name: str
    bytes: float
    note: str = ""


def trained_parameters(shape: ModelShape, setting: Setting) -> int:
    """Parameters that get a gradient: all, or those of the adapters."""
    return shape.parameters if setting.lora_rank is None else shape.lora_parameters(setting.lora_rank)


def ranks_that_share(setting: Setting, *shardings: str) -> int:
    """Among how many ranks something is divided that these kinds of sharding divide."""
    return setting.ranks if setting.sharding in shardings else 1
