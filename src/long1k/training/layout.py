"""How a training run is laid out on machines: it decides speed and memory, never what is learned.

A layout is no part of what a checkpoint is: a run may be stopped under one and go on under
another.  What changes is the order of sums, so results agree up to rounding.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Sharding = Literal["none", "zero1", "zero2", "zero3", "fsdp2"]
Offload = Literal["none", "optimizer", "all"]
Attention = Literal["auto", "sdpa", "eager", "flash_attention_2", "flash_attention_3"]


class Layout(BaseModel):
    """Processes, sharding and what is traded for memory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    nproc: int = Field(default=1, ge=1, description="processes (GPUs) a machine")
    nnodes: int = Field(default=1, ge=1, description="machines")
    micro_batch_size: int | None = Field(
        default=None, ge=1, description="rows at once on one rank; default: all of a step's. Accumulation follows"
    )
    sharding: Sharding = Field(default="none", description="what is spread over ranks: none = data parallel copies")
    offload: Offload = Field(default="none", description="what waits in the CPU's memory: optimizer, or all")
    sequence_parallel: int = Field(default=1, ge=1, description="ranks that share one sequence (Ulysses)")
    gradient_checkpointing: bool = Field(default=False, description="compute activations again instead of keeping them")
    offload_activations: bool = Field(default=False, description="kept activations wait in the CPU's memory")
    attention: Attention = Field(default="auto", description="auto: the fastest that is installed")
    compile: bool = Field(default=False, description="torch.compile the model")

    @property
    def ranks(self) -> int:
        """All processes of the run."""
        return self.nproc * self.nnodes

    @property
    def data_ranks(self) -> int:
        """Groups of ranks that see different rows."""
        return self.ranks // self.sequence_parallel

    @model_validator(mode="after")
    def _fits(self) -> Layout:
        if self.ranks % self.sequence_parallel:
            raise ValueError(f"sequence_parallel {self.sequence_parallel} does not divide {self.ranks} ranks")
        if self.offload != "none" and self.sharding == "none":
            raise ValueError("offload needs sharding: zero3 (or zero2 for the optimizer), or fsdp2")
        if self.offload == "all" and self.sharding not in ("zero3", "fsdp2"):
            raise ValueError(f"offload: all needs sharding zero3 or fsdp2, not {self.sharding}")
        if self.offload == "optimizer" and self.sharding == "fsdp2":
            raise ValueError("fsdp2 moves everything or nothing to the CPU's memory: offload: all, or zero2 or zero3")
        return self

    def num_micro_batches(self, batch_size: int) -> int:
        """Micro-batches of one optimiser step over all ranks: a multiple of data_ranks.

        Raises:
            ValueError: a step has fewer rows than there are ranks to see them, or too few for its last round of them.
        """
        if batch_size < self.data_ranks:
            raise ValueError(
                f"batch_size {batch_size} is smaller than the {self.data_ranks} ranks that each need a row a step"
            )
        size = self.micro_batch_size or -(-batch_size // self.data_ranks)
        number = -(-batch_size // (size * self.data_ranks)) * self.data_ranks
        if number > batch_size:
            raise ValueError(
                f"batch_size {batch_size} in micro-batches of {size} leaves some of {self.data_ranks} ranks without a "
                f"row: take a multiple of {self.data_ranks}, or micro_batch_size {size + 1}"
            )
        return number
