"""The strict model of a recipe file: its keys, their types and defaults."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from long1k.arm_kinds import (
    NAME,
    ArmSpec,
    Group,
    Strict,
)
from long1k.curation.config import CollectConfig
from long1k.generation.base import Sampling
from long1k.grading import AUTO
from long1k.paper import experiments_named
from long1k.templates import NAMES
from long1k.training.config import ModelInit, TrainConfig


class ChatSpec(Strict):
    """How conversations are written."""

    thinking: str = Field(default="think", description="tags around the thinking: think, openthoughts or s1")
    system: str | None = Field(default=None, description="a system message before every conversation")
    template: str | None = Field(default=None, description=f"instead of the tokenizer's own: a file, or {NAMES}")


class Base(Strict):
    """A small model made before the arms, that knows how to solve but not what they teach."""

    init: ModelInit = ModelInit()
    sources: dict[str, dict[str, Any]] = Field(
        min_length=1, description="where its traces come from, by name: type and its keys"
    )
    collect: CollectConfig = CollectConfig()
    groups: list[Group] = Field(min_length=1, description="what it is trained on")
    train: TrainConfig
    seed: int = Field(default=0, description="of its samples and its training")


class BudgetCurves(Strict):
    """Accuracy against tokens at inference, of the same checkpoints."""

    of: str = Field(description="the benchmark that is answered freely")
    forced: list[str] = Field(default_factory=list, description="benchmarks that ask the same under a sampling.budget")
    cut: list[int] = Field(default_factory=list, description="tokens at which the free outputs are cut, too")


class Published(Strict):
    """Outputs that somebody else published, to be graded here and compared with their labels."""

    path: str = Field(description="file of stored outputs")
    fields: dict[str, str] = Field(default_factory=dict, description="names of its fields, by ours")
    arm: str | None = Field(default=None, description="the field that tells runs apart")


class Expected(Strict):
    """What a study is planned with before anything is known: see statistics.power.Design."""

    rate: float = Field(default=0.5, gt=0, lt=1, description="accuracy, the same in both arms")
    between: float = Field(default=0.7, ge=0, le=1, description="share of an output's variance between questions")
    correlation: float = Field(default=0.7, ge=0, le=1, description="of two arms' rates, question by question")
    seed_points: float = Field(default=1.0, ge=0, description="standard deviation over training seeds, in points")


class Recipe(Strict):
    """One study."""

    name: str = Field(pattern=NAME, description="of the study: its run lies in runs/NAME, and it is part of every seed")
    description: str = Field(default="", description="one or two sentences, said at the top of the page")
    notes: list[str] = Field(default_factory=list, description="said on the page, under the verdict")
    tokenizer: str = Field(description="folder with tokenizer.json and a chat template, or package:micro")
    chat: ChatSpec = ChatSpec()
    sources: dict[str, dict[str, Any]] = Field(
        min_length=1, description="where traces come from, by name: type and its keys"
    )
    collect: CollectConfig = CollectConfig()
    base: Base | None = None
    base_of: str | None = Field(default=None, description="a recipe whose base model the arms start from")
    arms_of: str | None = Field(
        default=None, description="a recipe whose arms answer here; they are trained in its run"
    )
    model: str | None = Field(default=None, description="folder of the model to fine-tune (or give base)")
    arms: list[ArmSpec] = Field(
        min_length=1, description="what is compared: ladders, their controls, and the untrained model"
    )
    train: TrainConfig | None = Field(default=None, description="null: make data only")
    seeds: list[int] = Field(
        default_factory=lambda: [0],
        min_length=1,
        description="training seeds; each makes its own samples, order and model",
    )
    benchmarks: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="by name: type, its keys, and sampling: what differs from the study's"
    )
    kept_out: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="benchmarks that are not asked here, and stay out of the pool all the same"
    )
    budget_curves: BudgetCurves | None = None
    sampling: Sampling = Sampling()
    engine: dict[str, Any] = Field(
        default_factory=lambda: {"type": "transformers"}, description="what draws outputs: type and its keys"
    )
    grader: str = Field(default=AUTO, description="of all benchmarks; auto: each benchmark's own")
    published: dict[str, Published] = Field(default_factory=dict)
    paper: list[str] = Field(
        default_factory=list, description="experiments of the paper (A, B, C, …) whose figures stand beside ours"
    )
    confidence: float = Field(default=0.95, gt=0.5, lt=1, description="of all intervals")
    margin: float | None = Field(
        default=None, gt=0, le=100, description="difference in points up to which arms count as equivalent"
    )
    margins: dict[str, float] = Field(default_factory=dict, description="margin of the comparison made for an arm")
    expected: dict[str, Expected] = Field(
        default_factory=dict, description="by benchmark, for the plan: rate, between, correlation, seed_points"
    )
    smoke: dict[str, Any] = Field(default_factory=dict, description="leaves that --smoke sets")

    @field_validator("paper", mode="before")
    @classmethod
    def _experiments(cls, value: Any) -> Any:
        return experiments_named([value] if isinstance(value, str) else value)

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError("seeds must differ")
        return value

    def margin_of(self, arm: str) -> float | None:
        """The margin of the comparison that an arm was made for, as a share."""
        margin = self.margins.get(arm, self.margin)
        return None if margin is None else margin / 100
