"""What a recipe will train and ask: its model's shape, the lengths of every arm's samples, the questions.

Samples that are made already are measured; those that are not are planned from targets and windows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from long1k.arms import Arm, optimiser_steps
from long1k.errors import Long1kError, RecipeError
from long1k.generation.base import Sampling
from long1k.hardware import Machines
from long1k.joining.spec import JoinSpec
from long1k.jsonlines import expand_path
from long1k.planning.layouts import Found, bare, search
from long1k.planning.setting import Setting
from long1k.planning.shapes import ModelShape, known_shape, shape_of
from long1k.recipe import Recipe, expand_arms, make_benchmarks, make_samplings
from long1k.tables import MANIFEST, read_manifest
from long1k.training.config import TrainConfig

# Of benchmarks whose file is not there yet, or lies on the hub.
_QUESTIONS = {
    "math500": 500, "aime": 30, "aime24": 30, "aime25": 30, "gpqa": 198, "amc": 83, "amc23": 40, "olympiadbench": 674,
    "minerva": 272, "gsm8k": 1319,
}  # fmt: skip
PROMPT_TOKENS = 200  # assumed of a benchmark's question


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of an arm's samples: (tokens, how many samples), the longest there can be, and how it is known."""

    counts: tuple[tuple[int, int], ...]
    longest: int
    known_by: str

    @property
    def samples(self) -> int:
        """Number of samples."""
        return sum(number for _, number in self.counts)

    @property
    def tokens(self) -> int:
        """Tokens of all samples."""
        return sum(tokens * number for tokens, number in self.counts)

    @property
    def mean(self) -> float:
        """Mean tokens of a sample."""
        return self.tokens / max(1, self.samples)


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
        known[arm.name] = _lengths(recipe, arm, known, runs, tokens, limit, notes)
        made.append(_arm_plan(arm, known[arm.name], len(recipe.seeds), notes))
    if not made:
        raise RecipeError(f"{recipe.name} has no arm that trains", "plan a recipe with arms")
    if recipe.arms_of is not None:
        notes.append(
            f"arms_of {recipe.arms_of}: what is trained in {runs / recipe.arms_of} already is not trained again"
        )
    models = sum(arm.seeds for arm in made) + sum(arm.train is None for arm in arms)
    return StudyPlan(
        recipe.name, shape, made, recipe.train, _questions(recipe, notes), models, make_samplings(recipe), notes,
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


def _lengths(
    recipe: Recipe,
    arm: Arm,
    known: Mapping[str, Lengths],
    runs: Path,
    tokens: int | None,
    limit: int,
    notes: list[str],
) -> Lengths:
    if tokens is not None:
        return Lengths(((tokens, arm.planned_samples),), tokens, "--tokens")
    folder = runs / (recipe.arms_of or recipe.name) / "arms" / arm.data_arm / f"seed-{recipe.seeds[0]}" / "synthesize"
    if (folder / MANIFEST).is_file():
        return measured_lengths(folder)
    counts: list[tuple[int, int]] = []
    longest = 0
    for spec in arm.specs:
        part, most, note = _planned(spec, known, limit)
        counts += part
        longest = max(longest, most)
        if note is not None:
            notes.append(f"{arm.name}: {note}")
    return Lengths(tuple(counts), longest, "targets")


def measured_lengths(folder: Path) -> Lengths:
    """Lengths of the samples in a table that is there."""
    manifest = read_manifest(folder)
    found: list[int] = []
    for name in manifest.files:
        if name.startswith("part-") and name.endswith(".parquet"):
            found += pq.read_table(folder / name, columns=["num_tokens"]).column("num_tokens").to_pylist()
    if not found:
        raise RecipeError(f"{folder} holds no samples", "synthesize them again, or give --tokens")
    return Lengths(tuple((one, 1) for one in found), max(found), "samples")


def _planned(spec: JoinSpec, known: Mapping[str, Lengths], limit: int) -> tuple[list[tuple[int, int]], int, str | None]:
    """(tokens and numbers, longest, what was assumed) of a group of samples that is not made yet."""
    if spec.target is not None:
        return [(spec.target, spec.samples)], spec.target + spec.tolerance_tokens, None
    if spec.window is not None:
        low, high = spec.window
        return [((low + high) // 2, spec.samples)], high, f"its window's middle, {(low + high) // 2:,} tokens, assumed"
    for name in (spec.like, spec.extends):
        if name is not None and name in known:
            return [(round(known[name].mean), spec.samples)], known[name].longest, None
    if spec.problems_of is not None and spec.problems_of in known:
        whole = known[spec.problems_of]
        mean = round(whole.tokens / spec.samples)
        return [(mean, spec.samples)], whole.longest, f"as many tokens as {spec.problems_of}, {mean:,} each, assumed"
    bounds = spec.where.thinking_tokens
    most = limit if bounds is None or bounds[1] is None else min(limit, bounds[1])
    return [(most, spec.samples)], most, f"lengths are known once the data is made; {most:,} tokens assumed (--tokens)"


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


def _questions(recipe: Recipe, notes: list[str]) -> dict[str, int]:
    """How many questions each benchmark asks; assumed where its file is not there."""
    found = {}
    for name, spec in recipe.benchmarks.items():
        kind = str(spec.get("type"))
        on_hub = spec.get("path") is None and not spec.get("subset")
        if on_hub and kind in _QUESTIONS:  # planning asks no network
            found[name] = min(int(spec.get("limit") or _QUESTIONS[kind]), _QUESTIONS[kind])
            continue
        try:
            found[name] = sum(1 for _ in make_benchmarks({name: spec})[0][1].load())
        except Long1kError:
            if kind == "multi":
                prompts = _prompts(spec)
                if prompts is not None:
                    found[name] = prompts
                    notes.append(f"{name}: its file is not there; {prompts} prompts of several questions assumed")
                    continue
            if kind not in _QUESTIONS:
                notes.append(f"{name}: its file is not there, so its questions are not counted")
                continue
            found[name] = int(spec.get("limit") or _QUESTIONS[kind])
            notes.append(f"{name}: its file is not there; {found[name]} questions assumed")
    return found


def _prompts(spec: Mapping[str, Any]) -> int | None:
    """Prompts of a multi benchmark whose file is not there; None where its questions are not known either."""
    of, k = spec.get("of") or {}, spec.get("k", 2)
    known = _QUESTIONS.get(str(of.get("type")))
    if known is None:
        return None
    least, most = (k, k) if isinstance(k, int) else (int(k[0]), int(k[1]))
    questions = min(int(of.get("limit") or known), known)
    prompts = 0
    for one in range(least, most + 1):
        groups = questions // one if spec.get("leftover") == "drop" else -(-questions // one)
        prompts += groups * (one if spec.get("design") == "rotated" else 1)
    return prompts


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
