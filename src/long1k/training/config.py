"""How a model is made and trained; free of torch, so that recipes are checked without it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class ModelInit(BaseModel):
    """A small Qwen2-architecture model from scratch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_size: int = Field(default=64, ge=8)
    num_layers: int = Field(default=2, ge=1)
    num_heads: int = Field(default=4, ge=1)
    intermediate_size: int = Field(default=128, ge=8)
    max_positions: int = Field(default=1024, ge=16)
    initializer_range: float = Field(default=0.05, gt=0)
    seed: int = 0

    @model_validator(mode="after")
    def _heads(self) -> ModelInit:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}")
        return self


class TrainConfig(BaseModel):
    """Hyperparameters of one supervised fine-tuning run.

    ``batch_size`` is the number of samples an optimiser step, over all ranks and accumulation
    steps (of packed rows, if ``packing`` is set).  Give ``steps`` or ``epochs``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int | None = Field(default=None, ge=1)
    epochs: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=16, ge=1)
    accumulation: int = Field(default=1, ge=1)
    learning_rate: float = Field(default=1e-5, gt=0)
    scheduler: Literal["cosine", "linear", "constant"] = "cosine"
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    weight_decay: float = Field(default=1e-4, ge=0)
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.95, ge=0, lt=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    packing: int | None = Field(
        default=None, ge=16, description="pack samples into rows of so many tokens; off by default"
    )
    max_tokens: int | None = Field(default=None, ge=16, description="refuse samples longer than this; never cut")
    gradient_checkpointing: bool = False
    save_steps: int | None = Field(default=None, ge=1, description="save a resumable checkpoint every so many steps")

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of steps and epochs")
        if self.batch_size % self.accumulation:
            raise ValueError(f"batch_size {self.batch_size} is no multiple of accumulation {self.accumulation}")
        return self
