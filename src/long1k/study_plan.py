"""What a recipe will train and ask: its model's shape, every arm's samples and steps, the questions, the layout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from long1k.arms import Arm, optimiser_steps
from long1k.errors import Long1kError, RecipeError
from long1k.generation.base import Sampling
from long1k.hardware import Machines
from long1k.jsonlines import expand_path
from long1k.plan_lengths import Lengths, lengths_of
from long1k.plan_questions import questions_of
from long1k.planning.layouts import Found, bare, search
from long1k.planning.setting import Setting
from long1k.planning.shapes import ModelShape, known_shape, shape_of
from long1k.recipe import expand_arms, make_samplings
from long1k.recipe_model import Recipe
from long1k.training.config import TrainConfig


@dataclass(frozen=True, slots=True)
class ArmPlan:
    """One arm's training: its samples, its steps, and how often it is run."""

    name: str
    lengths: Lengths
    train: TrainConfig
    steps: int
    seeds: int

    @property
    def rows_a_run(self) -> int:
        """Rows that one run sees, counted as often as it sees them."""
        return self.steps * self.train.batch_size

    @property
    def row_tokens(self) -> float:
        """Mean tokens of a row: of a sample, or of a packed row."""
        return self.lengths.mean if self.train.packing is None else float(min(self.train.packing, self.lengths.tokens))

    @property
    def tokens_a_run(self) -> float:
        """Tokens that one run sees."""
        return self.rows_a_run * self.row_tokens

    @property
    def longest_row(self) -> int:
        """Tokens of the longest row."""
        return self.lengths.longest if self.train.packing is None else max(self.train.packing, self.lengths.longest)


@dataclass(frozen=True, slots=True)
class StudyPlan:
    """All that decides what a study takes."""

    name: str
    shape: ModelShape
    arms: list[ArmPlan]
    train: TrainConfig
    questions: dict[str, int]
    models: int
    samplings: dict[str, Sampling]
    notes: list[str] = field(default_factory=list)

    @property
    def longest(self) -> ArmPlan:
        """The arm with the longest row."""
        return max(self.arms, key=lambda arm: arm.longest_row)


def plan_study(recipe: Recipe, *, runs: Path, model: str | None = None, tokens: int | None = None) -> StudyPlan:
    """Read a recipe as a plan.

    Args:
        runs: folder of runs, where samples may lie already.
        model: a name or folder instead of the recipe's model.
        tokens: every sample's length, instead of what targets or samples say.

    Raises:
        RecipeError: the recipe trains nothing, or its model or lengths are not known.
    """
    if recipe.train is None:
        raise RecipeError(f"{recipe.name} trains nothing (train: null)", "plan a recipe with a train section")
    notes: list[str] = []
    shape = _shape(recipe, model)
    arms = expand_arms(recipe)
    known: dict[str, Lengths] = {}
    made = []
    for arm in arms:
        if arm.train is None or not (arm.specs or arm.data_arm in known):
            continue
        limit = arm.train.max_tokens or shape.positions
        known[arm.name] = lengths_of(recipe, arm, known, runs, tokens, limit, notes)
        made.append(_arm_plan(arm, known[arm.name], len(recipe.seeds), notes))
    if not made:
        raise RecipeError(f"{recipe.name} has no arm that trains", "plan a recipe with arms")
    if recipe.arms_of is not None:
        notes.append(
            f"arms_of {recipe.arms_of}: what is trained in {runs / recipe.arms_of} already is not trained again"
        )
    models = sum(arm.seeds for arm in made) + sum(arm.train is None for arm in arms)
    return StudyPlan(
        recipe.name, shape, made, recipe.train, questions_of(recipe, notes), models, make_samplings(recipe), notes,
    )  # fmt: skip


def _shape(recipe: Recipe, model: str | None) -> ModelShape:
    if model is not None:
        return shape_of(model)
    if recipe.base is not None:
        init = recipe.base.init
        return ModelShape(
            "a new model", init.hidden_size, init.num_layers, init.num_heads, init.num_heads,
            init.hidden_size // init.num_heads, init.intermediate_size, _vocabulary(recipe), tied=True,
            positions=init.max_positions, qkv_bias=True,
        )  # fmt: skip
    wanted = str(recipe.model)
    found = known_shape(Path(wanted).name)
    try:
        folder = expand_path(wanted)
    except Long1kError:
        if found is None:
            raise
        return found
    return shape_of(folder) if found is None or (folder / "config.json").is_file() else found


def _vocabulary(recipe: Recipe) -> int:
    from long1k.tokens import load_tokenizer

    spec = recipe.tokenizer
    return load_tokenizer(spec if spec.startswith("package:") else str(expand_path(spec))).vocab_size


def _arm_plan(arm: Arm, lengths: Lengths, seeds: int, notes: list[str]) -> ArmPlan:
    train = arm.train
    assert train is not None
    steps = optimiser_steps(train, lengths.samples)
    if steps is None:  # packing decides
        assert train.packing is not None
        rows = -(-lengths.tokens // train.packing)
        steps = max(1, -(-round((train.epochs or 1) * rows) // train.batch_size))
        notes.append(f"{arm.name}: packed without a gap, {rows:,} rows")
    return ArmPlan(arm.name, lengths, train, steps, seeds)


def setting_of(train: TrainConfig, lengths: Sequence[int], nproc: int, nnodes: int, device: str) -> Setting:
    """A training's layout as the planner takes it, on so many GPUs.

    Args:
        lengths: whether rows differ decides whether a micro-batch needs a mask.
    """
    layout = train.layout
    sequence_parallel = layout.sequence_parallel
    data_ranks = max(1, nproc * nnodes // sequence_parallel)
    a_rank = max(1, -(-train.batch_size // data_ranks))
    rows = min(layout.micro_batch_size or a_rank, a_rank)
    values: dict[str, Any] = {
        "nproc": nproc, "nnodes": nnodes, "micro_batch_size": rows, "sharding": layout.sharding,
        "offload": layout.offload, "sequence_parallel": sequence_parallel,
        "gradient_checkpointing": layout.gradient_checkpointing, "offload_activations": layout.offload_activations,
        "attention": layout.attention, "precision": train.precision,
        "accumulate": a_rank > rows, "masked": train.packing is not None or (rows > 1 and len(set(lengths)) > 1),
        "lora_rank": None if train.lora is None else train.lora.rank,
        "quantized": train.lora is not None and train.lora.quantized, "device": device,
    }  # fmt: skip
    return Setting(**values)


def find_layouts(study: StudyPlan, machines: Machines, cpu_bytes: float | None) -> tuple[Setting, Found]:
    """The recipe's own layout on these machines, and the cheapest that fits."""
    longest = study.longest
    lengths = [tokens for tokens, _ in longest.lengths.counts]
    device = "cpu" if machines.gpu.is_cpu else "gpu"
    own = setting_of(longest.train, lengths, machines.each, machines.nodes, device)
    start = replace(bare(own), masked=longest.train.packing is not None)
    return own, search(study.shape, longest.longest_row, machines, start, longest.train.batch_size, cpu_bytes)
