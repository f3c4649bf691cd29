"""The paper's run as a recipe: every published figure, its variant, and its data part on local files of the same shape."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from long1k.arms import optimiser_steps
from long1k.recipe import RECIPES, Recipe, expand_arms, load_recipe, make_benchmarks, make_sources
from long1k.rows import Example
from long1k.study import run_study
from long1k.tables import read_manifest, read_table
from long1k.training.config import TrainConfig
from realdata import real_data


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    return load_recipe("long1k-32b")


def train_of(recipe: Recipe) -> TrainConfig:
    assert recipe.train is not None
    return recipe.train


def test_every_published_setting_of_the_trainer(recipe: Recipe) -> None:
    train = train_of(recipe)
    assert (train.epochs, train.steps, train.batch_size) == (4, None, 16)
    assert (train.learning_rate, train.scheduler, train.warmup_ratio) == (2e-5, "cosine", 0.05)
    assert (train.weight_decay, train.beta1, train.beta2) == (1e-4, 0.9, 0.95)
    assert (train.precision, train.packing, train.max_tokens, train.over_limit) == ("bf16", None, 32768, "stop")
    assert (train.save_steps, recipe.seeds, train.lora, train.rope) == (62, [42], None, None)
    layout = train.layout
    assert (layout.ranks, layout.micro_batch_size, layout.num_micro_batches(16) // 8) == (8, 1, 2)
    assert (layout.sharding, layout.offload, layout.sequence_parallel) == ("zero3", "all", 1)
    assert (layout.gradient_checkpointing, layout.attention) == (True, "flash_attention_2")


def test_model_data_and_questions(recipe: Recipe) -> None:
    assert recipe.model == recipe.tokenizer
    assert Path(str(recipe.model)).name == "Qwen2.5-32B-Instruct"
    assert recipe.chat.thinking == "openthoughts"
    assert recipe.collect.domains == ["math"]
    sources = dict(make_sources(recipe.sources))  # nothing is fetched before they are read
    assert sources["openthoughts"].config.hub == "open-thoughts/OpenThoughts-114k"
    assert sources["s1k"].config.hub == "simplescaling/s1K-1.1"
    arm, untrained = expand_arms(recipe)
    assert untrained.train is None
    joined, single = arm.specs
    assert arm.planned_samples == 1000
    assert (joined.num_problems, joined.mode, joined.where.sources) == ((2, 2), "independent", ["openthoughts"])
    assert (single.parts, single.where.sources) == ((1, 1), ["s1k"])
    assert single.window is not None
    assert single.window[1] <= 32768
    assert optimiser_steps(arm.train, arm.planned_samples) == 250
    assert [name for name, _ in make_benchmarks(recipe.benchmarks)] == ["math500", "aime24", "aime25", "gpqa"]
    assert (recipe.sampling.temperature, recipe.sampling.seed) == (0.95, 42)
    assert recipe.sampling.max_new_tokens < 32768
    assert any("Not published" in note for note in recipe.notes)


def documented() -> list[list[str]]:
    """The --set lines that stand in the recipe's comments, one list a line."""
    lines = (RECIPES / "long1k-32b.yaml").read_text(encoding="utf-8").splitlines()
    return [
        [part.strip().strip('"') for part in line.lstrip("# ").split("--set ") if part.strip()]
        for line in lines
        if line.startswith("#   --set")
    ]


def test_the_variants_in_its_comments(recipe: Recipe) -> None:
    opened, single, alone, shared, released = documented()
    local = load_recipe("long1k-32b", [*opened, *single])
    assert dict(make_sources(local.sources))["s1k"].config.path == "s1K-1.1/data"
    assert train_of(load_recipe("long1k-32b", alone)).layout.offload == "none"
    layout = train_of(load_recipe("long1k-32b", shared)).layout
    assert (layout.offload, layout.sequence_parallel, layout.data_ranks) == ("none", 4, 2)
    assert layout.attention == "auto"  # the only one whose sequences can be shared
    other = train_of(load_recipe("long1k-32b", released))
    assert (other.learning_rate, other.epochs, other.save_steps) == (1e-5, 5, 65)
    same = other.model_copy(update={"learning_rate": 2e-5, "epochs": 4.0, "save_steps": 62})
    assert same == train_of(recipe)


def _local_copies(root: Path) -> list[str]:
    """Rows of the published shapes: two solved problems join to some 250 tokens."""
    (root / "ot").mkdir()
    (root / "s1k").mkdir()

    def thought(n: int, steps: int) -> str:
        said = (f"{n + 3 * k} and {n * k + 5} give {4 * n + k}" for k in range(steps))
        return "".join(f"Step {k}: {one}, so I go on. " for k, one in enumerate(said))

    opened = [
        {
            "problem": f"What is {n} + {n + 7}? Say it as a number.", "deepseek_reasoning": f"{thought(n, 4)}{n}+{n + 7}={2 * n + 7}.",
            "deepseek_solution": f"The sum is $\\boxed{{{2 * n + 7}}}$.", "ground_truth_solution": f"$\\boxed{{{2 * n + 7}}}$",
            "domain": "math" if n % 5 else "code", "source": "own", "starter_code": None, "test_cases": None,
        }
        for n in range(100, 180)
    ]  # fmt: skip
    single = [
        {
            "question": f"What is {n} times 2? Say it as a number.", "solution": f"{2 * n}", "cot_type": "math",
            "deepseek_thinking_trajectory": f"{thought(n, 9)}{n} and {n} are {2 * n}.",
            "deepseek_attempt": f"It is $\\boxed{{{2 * n}}}$.", "deepseek_grade": "Yes", "source_type": "own",
        }
        for n in range(300, 330)
    ]  # fmt: skip
    for name, rows in (("ot", opened), ("s1k", single)):
        (root / name / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return [f"sources.{name}={{type: {kind}, path: '{root / folder}'}}" for name, kind, folder in (
        ("openthoughts", "openthoughts", "ot"), ("s1k", "s1k", "s1k"))]  # fmt: skip


def _questions(root: Path) -> Path:
    """Stands for GPQA Diamond, which may not be shown."""
    path = root / "other.jsonl"
    path.write_text(
        json.dumps({"problem": "Which of these is a planet of ours?", "answer": "B"}) + "\n", encoding="utf-8"
    )
    return path


def test_its_data_part_runs_on_local_files(tmp_path: Path) -> None:
    tokenizer = real_data("tokenizer_qwen2")
    questions = {name: real_data("benchmarks", f"{name}.jsonl") for name in ("math500", "aime24", "aime25")}
    changes = [
        *_local_copies(tmp_path), f"tokenizer={tokenizer}", "train=null", "arms.0.targets=[390]", "arms.0.samples=10",
        "arms.0.tolerance=0.1", "arms.0.mixture.window=[200, 500]",
        *(f"benchmarks.{name}.path={path}" for name, path in questions.items()),
        "benchmarks.gpqa={type: jsonl, path: '" + str(_questions(tmp_path)) + "'}",
    ]  # fmt: skip
    page = run_study(load_recipe("long1k-32b", changes), tmp_path / "runs", num_workers=1, say=lambda _: None)
    assert page.is_file()
    root = tmp_path / "runs" / "long1k-32b"
    pool = read_manifest(root / "collect")
    assert pool.rows_in == 110
    assert pool.rejected == {"other_domain": 16}
    samples = read_table(root / "arms" / "L390" / "seed-42" / "synthesize", Example)
    assert [sample.num_problems for sample in samples].count(2) == 8
    assert [sample.num_problems for sample in samples].count(1) == 2
    for sample in samples:
        text = sample.completion[-1].content
        assert text.startswith("<|begin_of_thought|>")
        assert text.count("<|begin_of_thought|>") == text.count("<|end_of_solution|>") == 1
        if sample.num_problems == 2:
            assert abs(sample.num_tokens - 390) <= 39
