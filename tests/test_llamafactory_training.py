"""LLaMA-Factory's training file from a recipe: equal hyperparameters, or an error that names what it cannot do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from long1k.chat import Chat
from long1k.cli import app
from long1k.curation.config import CollectConfig
from long1k.errors import RecipeError
from long1k.interop.llamafactory import PUBLISHED, deepspeed_file, deepspeed_name, training_file
from long1k.joining.spec import JoinSpec
from long1k.recipe import load_recipe
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.stages.collect import collect
from long1k.stages.synthesize import synthesize
from long1k.training.config import TrainConfig


def values(*changes: str, **more: Any) -> dict[str, Any]:
    """The training of the packaged recipe with changes, as export hands it on."""
    recipe = load_recipe("long1k-32b", [f"train.{change}" for change in changes])
    assert recipe.train is not None
    return {**recipe.train.model_dump(mode="json"), "model": recipe.model, "seed": recipe.seeds[0], **more}


def written(*changes: str, longest: int = 9000) -> dict[str, Any]:
    """The training file of such a recipe."""
    loaded = yaml.safe_load(training_file("qwen", longest, False, values(*changes)))
    assert isinstance(loaded, dict)
    return loaded


def test_the_packaged_recipe_gives_the_published_settings() -> None:
    ours, default = written(), yaml.safe_load(training_file("qwen", 9000, False))
    assert ours | {"model_name_or_path": default["model_name_or_path"]} == default
    assert set(PUBLISHED) == set(values())
    assert set(PUBLISHED["layout"]) == set(values()["layout"])
    expected = {
        "num_train_epochs": 4.0, "learning_rate": 2e-5, "lr_scheduler_type": "cosine", "warmup_ratio": 0.05,
        "weight_decay": 1e-4, "adam_beta1": 0.9, "adam_beta2": 0.95, "max_grad_norm": 1.0, "bf16": True, "seed": 42,
        "save_steps": 62, "per_device_train_batch_size": 1, "gradient_accumulation_steps": 2, "packing": False,
        "finetuning_type": "full", "flash_attn": "fa2", "deepspeed": "ds_z3_offload.json",
        "disable_gradient_checkpointing": False, "report_to": "none",
    }  # fmt: skip
    assert {key: ours[key] for key in expected} == expected


def test_every_setting_is_written_or_refused() -> None:
    changed = {
        "steps=7": ("max_steps", 7), "learning_rate=3e-6": ("learning_rate", 3e-6), "scheduler=linear": ("lr_scheduler_type", "linear"),
        "scheduler=constant": ("lr_scheduler_type", "constant_with_warmup"), "warmup_ratio=0.1": ("warmup_ratio", 0.1), "weight_decay=0.5": ("weight_decay", 0.5), "beta1=0.8": ("adam_beta1", 0.8),
        "beta2=0.99": ("adam_beta2", 0.99), "max_grad_norm=0.3": ("max_grad_norm", 0.3), "precision=fp32": ("bf16", False),
        "batch_size=32": ("gradient_accumulation_steps", 4), "save_steps=null": ("save_strategy", "no"),
        "log_to=[wandb]": ("report_to", ["wandb"]), "layout.compile=true": ("torch_compile", True),
        "layout.attention=sdpa": ("flash_attn", "sdpa"),
        "layout.gradient_checkpointing=false": ("disable_gradient_checkpointing", True), "layout.nnodes=2": ("gradient_accumulation_steps", 1),
        "layout.micro_batch_size=2": ("per_device_train_batch_size", 2),
    }  # fmt: skip
    for change, (key, value) in changed.items():
        also = ["epochs=null"] if change.startswith("steps") else []
        assert written(change, *also)[key] == value, change
    assert "num_train_epochs" not in written("steps=7", "epochs=null")
    assert "save_steps" not in written("save_steps=null")
    refused = {
        "packing=40000": "train.packing", "rope={factor: 2}": "train.rope", "early_stop={loss_below: 1}": "train.early_stop",
        "layout.sequence_parallel=2": "train.layout.sequence_parallel",
        "layout.offload_activations=true": "train.layout.offload_activations", "max_tokens=8000": "train.max_tokens",
    }  # fmt: skip
    for change, name in refused.items():
        also = ["layout.attention=auto"] if "sequence_parallel" in change else []
        with pytest.raises(RecipeError, match=name.replace(".", r"\.") + r" \("):
            written(change, *also)
    with pytest.raises(RecipeError, match=r"packing.*early_stop"):
        written("packing=40000", "early_stop={loss_below: 1}")
    with pytest.raises(RecipeError, match=r"train\.layout\.sharding"):
        written("layout.sharding=fsdp2")
    with pytest.raises(RecipeError, match=r"steps of 16 samples on 8 GPUs of 3 rows"):
        written("layout.micro_batch_size=3")
    # Whatever is added to a training must be looked at here.
    known = {change.split("=")[0].split(".")[0] for change in (*changed, *refused)} | {
        "epochs", "lora", "layout", "over_limit"
    }  # fmt: skip
    assert set(TrainConfig.model_fields) == known
    layout = {change.split("=")[0].split(".")[1] for change in (*changed, *refused) if change.startswith("layout.")}
    assert set(TrainConfig.model_fields["layout"].annotation.model_fields) == layout | {"nproc", "sharding", "offload"}  # type: ignore[union-attr]


def test_adapters_and_zero() -> None:
    adapters = written("lora={rank: 8, alpha: 16, quantized: true}", "layout.sharding=none", "layout.offload=none")
    assert (adapters["finetuning_type"], adapters["lora_rank"], adapters["lora_alpha"]) == ("lora", 8, 16.0)
    assert (adapters["lora_target"], adapters["quantization_bit"]) == ("all", 4)
    assert "deepspeed" not in adapters
    assert written("lora={targets: [q_proj, v_proj]}")["lora_target"] == "q_proj,v_proj"
    for sharding, offload, name in (
        ("zero2", "none", "ds_z2.json"), ("zero3", "optimizer", "ds_z3_offload_optimizer.json"), ("zero3", "all", "ds_z3_offload.json"),
    ):  # fmt: skip
        layout = {**PUBLISHED["layout"], "sharding": sharding, "offload": offload}
        zero = json.loads(deepspeed_file(layout))["zero_optimization"]
        assert deepspeed_name(layout) == name
        assert zero["stage"] == int(sharding[-1])
        assert [key in zero for key in ("offload_optimizer", "offload_param")] == [offload != "none", offload == "all"]


@pytest.fixture
def samples(tmp_path: Path, micro_chat: Chat) -> Path:
    collect(tmp_path / "pool", [("micro", MicroSource(MicroConfig(count=300)))], CollectConfig(), micro_chat)
    specs = [JoinSpec(target=65, samples=4, layout="turns", linkers="micro", tolerance=0.1)]
    synthesize(tmp_path / "samples", tmp_path / "pool", arm="special", specs=specs, seed=0, chat=micro_chat)
    return tmp_path / "samples"


def test_export_takes_the_training_of_the_samples_arm(samples: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        json.dumps(
            {
                "name": "r", "tokenizer": "package:micro", "model": "my/model", "seeds": [5],
                "sources": {"m": {"type": "micro", "count": 100}},
                "arms": [{"kind": "samples", "name": "special", "groups": [{"target": 65, "samples": 4}],
                          "train": {"learning_rate": 0.25}}],
                "train": {"epochs": 3, "batch_size": 4, "layout": {"nproc": 2, "sharding": "zero2"}},
            }
        )
    )  # fmt: skip
    base = ["export", str(samples), "--format", "llamafactory", "--template", "mine"]
    done = CliRunner().invoke(
        app, [*base, "--recipe", str(recipe), "--set", "train.batch_size=8", "-o", str(tmp_path / "a")]
    )
    assert done.exit_code == 0, done.exception
    made = yaml.safe_load((tmp_path / "a" / "train.yaml").read_text())
    assert (made["learning_rate"], made["num_train_epochs"], made["seed"]) == (0.25, 3.0, 5)
    assert (made["per_device_train_batch_size"], made["gradient_accumulation_steps"]) == (4, 1)
    assert (made["model_name_or_path"], made["template"]) == ("my/model", "mine")
    assert json.loads((tmp_path / "a" / made["deepspeed"]).read_text())["zero_optimization"]["stage"] == 2
    for words, said in (
        (["--format", "jsonl", "--recipe", str(recipe)], "--recipe goes with --format llamafactory"),
        (["--format", "llamafactory", "--set", "train.batch_size=8"], "--set goes with --recipe"),
        (["--format", "llamafactory", "--recipe", "quickstart"], "fine-tunes no given model"),
    ):
        done = CliRunner().invoke(app, ["export", str(samples), *words, "-o", str(tmp_path / "b")])
        assert isinstance(done.exception, RecipeError)
        assert said in str(done.exception)
