"""Adapters: only they are trained, they are merged exactly, and nothing else of the model moves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.errors import EngineError, RecipeError
from long1k.joining.spec import JoinSpec
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.stages.collect import collect
from long1k.stages.synthesize import synthesize
from long1k.stages.train import train
from long1k.tables import Manifest
from long1k.tokens import load_tokenizer
from long1k.training.config import ModelInit, TrainConfig
from realdata import need_extra

need_extra("trl")
need_extra("peft")
import torch  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from long1k.training import adapters  # noqa: E402
from long1k.training.checkpoint import load_model, new_model  # noqa: E402
from long1k.training.proof import read_tensors  # noqa: E402
from long1k.training.resumable import checkpoints  # noqa: E402

TINY = ModelInit(hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, max_positions=256)
LORA = {"rank": 4, "alpha": 12.0}
SCALE = 3.0  # alpha / rank
HIDDEN, INNER = 32, 64


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("package:micro"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, chat: Chat) -> Path:
    root = tmp_path_factory.mktemp("data")
    collect(root / "pool", [("micro", MicroSource(MicroConfig(count=300)))], CollectConfig(), chat)
    spec = JoinSpec(target=26, samples=12, num_problems=(1, 8), layout="turns", linkers="micro", tolerance=0.1)
    synthesize(root / "examples", root / "pool", arm="a", specs=[spec], seed=0, chat=chat)
    return root / "examples"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, data: Path, chat: Chat) -> Path:
    out = tmp_path_factory.mktemp("base") / "model"
    config = TrainConfig(steps=3, batch_size=4, learning_rate=1e-2)
    train(out, data, model=TINY, config=config, seed=0, chat=chat)
    return out


Run = Callable[..., Manifest]


@pytest.fixture
def run(data: Path, base: Path, chat: Chat) -> Run:
    def call(out: Path, on_log: Any = None, model: Path | ModelInit | None = None, **settings: Any) -> Manifest:
        values = {"steps": 6, "batch_size": 4, "learning_rate": 1e-2, "lora": LORA, **settings}
        config = TrainConfig.model_validate(values)
        return train(out, data, model=model or base, config=config, seed=0, chat=chat, on_log=on_log)

    return call


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


def deltas(folder: Path) -> dict[str, Any]:
    """What an adapter adds to each weight, by hand: scale · B · A."""
    parts = load_file(folder / "adapter_model.safetensors")
    names = [name.removesuffix(".lora_A.weight") for name in parts if name.endswith(".lora_A.weight")]
    return {
        name.removeprefix("base_model.model.") + ".weight": SCALE
        * (parts[f"{name}.lora_B.weight"].double() @ parts[f"{name}.lora_A.weight"].double())
        for name in names
    }


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_checkpoint_is_the_base_with_the_adapters_added(
    precision: str, run: Run, base: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    manifest = run(out, precision=precision)
    before, after, added = dict(read_tensors(base)), dict(read_tensors(out)), deltas(out / "adapter")
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    assert set(before) == set(after)
    assert len(added) == 14  # seven linear layers in each of two blocks
    for name, value in after.items():
        start = before[name].to(dtype)
        if name in added:
            wanted = (start.double() + added[name]).to(dtype)
            assert not torch.equal(value, start)
            assert torch.allclose(
                value.double(), wanted.double(), rtol=2**-8 if precision == "bf16" else 1e-5, atol=1e-6
            )
        else:
            assert torch.equal(value, start), name
    per_block = 4 * (4 * 2 * HIDDEN + 3 * (HIDDEN + INNER))
    assert manifest.info["trainable_parameters"] == 2 * per_block
    assert manifest.info["parameters"] == sum(value.numel() for value in after.values())
    proven = manifest.info["checkpoint"]
    assert (proven["adapted"], proven["adapted_changed"], proven["frozen_equal"]) == (14, 14, 12)
    assert proven["trained_tensors"] == 28
    assert {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"} <= set(manifest.files)
    assert losses(out)[-1] < losses(out)[0]


def test_the_merged_model_computes_what_base_and_adapter_do(run: Run, base: Path, tmp_path: Path) -> None:
    from peft import PeftModel

    out = tmp_path / "out"
    run(out)
    apart = PeftModel.from_pretrained(load_model(base), str(out / "adapter")).eval()
    merged, again = load_model(out).eval(), adapters.merge_saved(load_model(base), out / "adapter", "fp32").eval()
    ids = torch.arange(20)[None]
    with torch.no_grad():
        wanted = apart(ids).logits
        assert torch.allclose(merged(ids).logits, wanted, atol=1e-5)
        assert not torch.allclose(load_model(base).eval()(ids).logits, wanted, atol=1e-3)
    for name, value in merged.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def test_a_stopped_run_goes_on_with_the_same_adapters(run: Run, tmp_path: Path) -> None:
    def stop(step: int, steps: int, entry: dict[str, float]) -> None:
        if step == 5:
            raise KeyboardInterrupt

    out = tmp_path / "out"
    settings: dict[str, Any] = {"lora": {**LORA, "dropout": 0.1}, "save_steps": 2}
    with pytest.raises(KeyboardInterrupt):
        run(out, on_log=stop, **settings)
    newest = checkpoints(out / "work")[-1]
    assert newest.name == "checkpoint-4"
    assert (newest / "adapter_model.safetensors").is_file()  # small: no full weights
    assert not (newest / "model.safetensors").exists()
    resumed, whole = run(out, **settings), run(tmp_path / "whole", **settings)
    assert resumed.info["resumed_from"] == 4
    assert resumed.digest == whole.digest
    assert losses(out) == losses(tmp_path / "whole")
    assert (out / "adapter" / "adapter_config.json").read_text() == (
        tmp_path / "whole" / "adapter" / "adapter_config.json"
    ).read_text()


def test_activations_computed_again_give_the_same(run: Run, tmp_path: Path) -> None:
    """With frozen embeddings, recomputation gives no gradients at all unless inputs are made to carry them."""
    plain = run(tmp_path / "plain")
    again = run(tmp_path / "again", layout={"gradient_checkpointing": True})
    assert losses(tmp_path / "again") == pytest.approx(losses(tmp_path / "plain"), abs=1e-6)
    assert again.info["checkpoint"]["trained_tensors_unchanged"] == 0
    assert plain.info["trainable_parameters"] == again.info["trainable_parameters"]


@pytest.mark.slow
def test_adapters_of_a_model_in_shards(run: Run, base: Path, tmp_path: Path) -> None:
    """Two ranks with ZeRO-3 on a model from a folder: the same adapters, up to rounding, merged into the same weights."""
    need_extra("deepspeed")
    run(tmp_path / "whole")
    made = run(tmp_path / "shards", layout={"nproc": 2, "sharding": "zero3"})
    assert losses(tmp_path / "shards") == pytest.approx(losses(tmp_path / "whole"), abs=1e-4)
    assert made.info["checkpoint"]["frozen_equal"] == 12
    assert made.info["trainable_parameters"] == 4352
    one, two = dict(read_tensors(tmp_path / "whole")), dict(read_tensors(tmp_path / "shards"))
    for name, value in one.items():
        assert torch.allclose(value, two[name], atol=1e-3), name


def test_named_layers_of_a_new_model(run: Run, chat: Chat, tmp_path: Path) -> None:
    manifest = run(tmp_path / "out", model=TINY, lora={**LORA, "targets": ["q_proj", "v_proj"]})
    assert set(deltas(tmp_path / "out" / "adapter")) == {
        f"model.layers.{layer}.self_attn.{name}.weight" for layer in (0, 1) for name in ("q_proj", "v_proj")
    }
    assert manifest.info["checkpoint"]["frozen_equal"] == 22
    start = new_model(TINY, chat.tokenizer, chat.end_id).state_dict()
    after = dict(read_tensors(tmp_path / "out"))
    assert torch.equal(after["model.layers.0.mlp.up_proj.weight"], start["model.layers.0.mlp.up_proj.weight"])


@pytest.mark.parametrize(
    ("lora", "message"),
    [
        ({"targets": ["query"]}, "no layer 'query'[\\s\\S]*down_proj, gate_proj, k_proj"),
        ({"targets": ["embed_tokens"]}, "an embedding or the head"),
        ({"targets": ["lm_head"]}, "an embedding or the head"),
        ({"quantized": True}, r"QLoRA\) needs an NVIDIA GPU[\s\S]*leave it out"),
    ],
)
def test_what_cannot_be_adapted_is_refused(
    lora: dict[str, Any], message: str, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises((RecipeError, EngineError), match=message):
        run(tmp_path / "out", lora={**LORA, **lora})
    assert not (tmp_path / "out" / "manifest.json").exists()


def test_weights_in_4_bits_are_not_sharded() -> None:
    with pytest.raises(ValueError, match="4 bits are not cut up by zero3"):
        TrainConfig.model_validate(
            {"steps": 1, "lora": {"quantized": True}, "layout": {"nproc": 2, "sharding": "zero3"}}
        )


def test_a_frozen_weight_that_moved_is_found(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = adapters.merge

    def careless(model: Any, precision: str) -> Any:
        merged = real(model, precision)
        with torch.no_grad():
            merged.model.norm.weight[0] += 1e-3
        return merged

    monkeypatch.setattr(adapters, "merge", careless)
    with pytest.raises(EngineError, match=r"frozen weight model\.norm\.weight differs"):
        run(tmp_path / "out")
    assert not (tmp_path / "out" / "config.json").exists()
