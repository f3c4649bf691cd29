"""How a model is made and trained; free of torch, so that recipes are checked without it."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from long1k.training.layout import Layout

HOW_ONLY = frozenset({"layout", "save_steps", "log_to"})  # how a run goes, not what it learns


class ModelInit(BaseModel):
    """A small Qwen2-architecture model from scratch."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    hidden_size: int = Field(default=64, ge=8, description="width")
    num_layers: int = Field(default=2, ge=1, description="layers")
    num_heads: int = Field(default=4, ge=1, description="attention heads")
    intermediate_size: int = Field(default=128, ge=8, description="width of the MLP")
    max_positions: int = Field(default=1024, ge=16, description="most tokens of a sample")
    initializer_range: float = Field(default=0.05, gt=0, description="standard deviation of the first weights")
    seed: int = Field(default=0, description="of the first weights")

    @model_validator(mode="after")
    def _heads(self) -> ModelInit:
        if self.hidden_size % self.num_heads:
            raise ValueError(f"hidden_size {self.hidden_size} is no multiple of num_heads {self.num_heads}")
        return self


class Lora(BaseModel):
    """Low-rank adapters (arXiv 2106.09685) beside frozen weights, merged into the checkpoint at the end."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rank: int = Field(default=16, ge=1, description="of the adapters")
    alpha: float = Field(default=32.0, gt=0, description="adapters are scaled by alpha / rank")
    dropout: float = Field(
        default=0.0, ge=0, lt=1, description="share of an adapter's inputs set to zero while training"
    )
    targets: tuple[str, ...] = Field(default=("all-linear",), min_length=1, description="names of layers")
    quantized: bool = Field(default=False, description="frozen weights in 4 bits (QLoRA, arXiv 2305.14314); GPU only")


class Rope(BaseModel):
    """More positions than the model was made for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["yarn", "linear", "dynamic"] = Field(default="yarn", description="how positions are stretched")
    factor: float = Field(gt=1, description="positions are multiplied by this")


class EarlyStop(BaseModel):
    """When to stop before the last step; asked for, or it never happens."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    loss_below: float | None = Field(default=None, gt=0, description="mean loss of the last window of steps")
    no_better_for: int | None = Field(default=None, ge=1, description="steps without a better mean loss")
    window: int = Field(default=20, ge=1, description="steps that the mean is taken over")

    @model_validator(mode="after")
    def _something(self) -> EarlyStop:
        if self.loss_below is None and self.no_better_for is None:
            raise ValueError("give loss_below or no_better_for")
        return self


class TrainConfig(BaseModel):
    """Hyperparameters of one supervised fine-tuning run.

    ``batch_size`` is the number of samples an optimiser step, over all ranks and accumulation
    steps (of packed rows, if ``packing`` is set).  Give ``steps`` or ``epochs``.  ``layout``, ``save_steps``
    and ``log_to`` say how the run goes and may change when it is resumed; all else decides what is learned.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int | None = Field(default=None, ge=1, description="optimiser steps; give these or epochs")
    epochs: float | None = Field(default=None, gt=0, description="passes over the samples; give these or steps")
    batch_size: int = Field(default=16, ge=1, description="samples an optimiser step, over all ranks")
    learning_rate: float = Field(default=1e-5, gt=0, description="at its highest")
    scheduler: Literal["cosine", "linear", "constant"] = Field(
        default="cosine", description="how the learning rate falls after the warm-up"
    )
    warmup_ratio: float = Field(
        default=0.05, ge=0, lt=1, description="share of the steps in which the learning rate rises"
    )
    weight_decay: float = Field(default=1e-4, ge=0, description="of AdamW")
    beta1: float = Field(default=0.9, ge=0, lt=1, description="of AdamW")
    beta2: float = Field(default=0.95, ge=0, lt=1, description="of AdamW")
    max_grad_norm: float = Field(default=1.0, gt=0, description="gradients of a larger norm are scaled down to it")
    precision: Literal["fp32", "bf16"] = Field(
        default="fp32", description="of the computation; bf16 is slow on most CPUs"
    )
    packing: int | None = Field(
        default=None, ge=16, description="pack samples into rows of so many tokens; off by default"
    )
    max_tokens: int | None = Field(default=None, ge=16, description="the limit of a sample's tokens; never cut")
    over_limit: Literal["stop", "drop"] = Field(default="stop", description="what becomes of longer samples")
    lora: Lora | None = Field(default=None, description="train adapters instead of all weights")
    rope: Rope | None = Field(default=None, description="extend the model's positions")
    early_stop: EarlyStop | None = None
    save_steps: int | None = Field(default=None, ge=1, description="save a resumable checkpoint every so many steps")
    log_to: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = Field(
        default=(), description="besides metrics.jsonl, which is always written"
    )
    layout: Layout = Layout()

    @field_validator("log_to", mode="before")
    @classmethod
    def _one_or_several(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",")) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _one_length(self) -> TrainConfig:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of steps and epochs")
        self.layout.num_micro_batches(self.batch_size)
        if self.lora is not None and self.lora.quantized and self.layout.sharding in ("zero3", "fsdp2"):
            raise ValueError(f"lora.quantized: weights in 4 bits are not cut up by {self.layout.sharding}; use none")
        return self
