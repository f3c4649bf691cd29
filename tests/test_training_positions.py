"""Positions: read as engines read them, extended for longer data, and said so in the checkpoint."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from long1k.chat import Chat
from long1k.errors import DataError
from long1k.recipe import Recipe
from long1k.rows import Example
from long1k.stages.train import train
from long1k.study import Study, _positions
from long1k.tables import read_table
from long1k.tokens import load_tokenizer
from long1k.training.config import ModelInit, Rope, TrainConfig
from long1k.training.data import TrainRow, make_rows
from long1k.training.limits import Limit, length_table
from long1k.training.positions import positions_in, positions_of
from realdata import need_extra

need_extra("trl")
import torch  # noqa: E402
import transformers  # noqa: E402

from long1k.generation.base import Serving  # noqa: E402
from long1k.generation.hf import TransformersConfig, TransformersEngine  # noqa: E402
from long1k.training import job as job_module  # noqa: E402
from long1k.training import sft  # noqa: E402
from long1k.training.checkpoint import load_model, new_model  # noqa: E402
from long1k.training.positions import extend_positions  # noqa: E402

SHORT = ModelInit(hidden_size=32, num_layers=1, num_heads=2, intermediate_size=64, max_positions=32)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("package:micro"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, chat: Chat) -> Path:
    """Six samples of about 52 tokens."""
    from long1k.curation.config import CollectConfig
    from long1k.joining.spec import JoinSpec
    from long1k.sources.micro import MicroConfig, MicroSource
    from long1k.stages.collect import collect
    from long1k.stages.synthesize import synthesize

    root = tmp_path_factory.mktemp("positions")
    collect(root / "pool", [("micro", MicroSource(MicroConfig(count=200)))], CollectConfig(), chat)
    spec = JoinSpec(target=52, samples=6, num_problems=(1, 4), layout="turns", linkers="micro", tolerance=0.05)
    synthesize(root / "examples", root / "pool", arm="a", specs=[spec], seed=0, chat=chat)
    return root / "examples"


@pytest.mark.parametrize(
    ("config", "positions"),
    [
        ({"max_position_embeddings": 32768}, 32768),
        ({"max_position_embeddings": 32768, "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}, 32768),
        # As Qwen2.5's own page writes it: the field stays at the original.
        ({"max_position_embeddings": 32768, "rope_scaling": {"type": "yarn", "factor": 4.0}}, 131072),
        (
            {"max_position_embeddings": 131072,
             "rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}},
            131072,
        ),
        ({"max_position_embeddings": 4096, "rope_scaling": {"type": "linear", "factor": 4.0}}, 16384),
        ({"max_position_embeddings": 4096, "rope_scaling": {"rope_type": "dynamic", "factor": 2.0}}, 8192),
        (
            {"max_position_embeddings": 131072,
             "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "original_max_position_embeddings": 8192}},
            131072,
        ),
        ({"text_config": {"max_position_embeddings": 512}}, 512),
        ({"n_positions": 1024}, 1024),
        ({}, None),
    ],
)  # fmt: skip
def test_positions_are_read_as_engines_read_them(config: dict[str, Any], positions: int | None) -> None:
    assert positions_in(config) == positions


@pytest.mark.parametrize("kind", ["yarn", "linear", "dynamic"])
def test_longer_data_trains_on_extended_positions(kind: str, data: Path, chat: Chat, tmp_path: Path) -> None:
    """Trained, saved, loaded by transformers and by our engine, with the same rotations as in training."""
    layout = {"micro_batch_size": 1}
    config = TrainConfig(steps=2, batch_size=3, learning_rate=1e-3, rope={"kind": kind, "factor": 2}, layout=layout)
    out = tmp_path / "out"
    manifest = train(out, data, model=SHORT, config=config, seed=0, chat=chat)
    assert manifest.info["preflight"]["longest_tokens"] > 32
    assert manifest.info["preflight"]["rope"]["kind"] == kind
    assert manifest.info["preflight"]["rope"]["positions"] == 64
    assert manifest.config["train"]["rope"] == {"kind": kind, "factor": 2.0}
    stored = json.loads((out / "config.json").read_text())
    assert [stored["rope_parameters"]["rope_type"], stored["rope_parameters"]["factor"]] == [kind, 2.0]
    assert positions_in(stored) == 64
    trained = new_model(SHORT, chat.tokenizer, chat.end_id)
    plain = trained.model.rotary_emb.inv_freq.clone()
    extend_positions(trained, config)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(out)
    assert torch.equal(loaded.model.rotary_emb.inv_freq, trained.model.rotary_emb.inv_freq)
    assert torch.equal(loaded.model.rotary_emb.inv_freq, plain) == (kind == "dynamic")
    assert TransformersEngine(TransformersConfig(), Serving(out, chat)).max_positions == 64
    with pytest.raises(DataError, match="stretched already"):
        train(tmp_path / "more", data, model=out, config=config, seed=0, chat=chat)


def test_longer_data_is_refused_without_it(data: Path, chat: Chat, tmp_path: Path) -> None:
    config = TrainConfig(steps=2, batch_size=3)
    with pytest.raises(DataError, match=r"train.rope: \{kind: yarn, factor: 2\}"):
        train(tmp_path / "out", data, model=SHORT, config=config, seed=0, chat=chat)
    rows = make_rows(read_table(data, Example), chat, None)
    model = new_model(SHORT, chat.tokenizer, chat.end_id)
    with pytest.raises(DataError, match="6 of 6 samples are longer than the limit"):
        sft.train_model(model, rows, config, work=tmp_path, seed=0, tokenizer=chat.tokenizer, end_id=chat.end_id)


def test_rotations_that_stay_plain_are_found(
    data: Path, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A configuration that speaks of an extension while the module turns as before is no extension."""
    from long1k.errors import EngineError

    def only_said(model: Any, config: TrainConfig) -> None:
        plain = model.model.rotary_emb
        extend_positions(model, config)
        plain.rope_type = "linear"
        model.model.rotary_emb = plain

    monkeypatch.setattr(job_module, "extend_positions", only_said)
    config = TrainConfig(steps=2, batch_size=3, rope={"kind": "linear", "factor": 2})
    with pytest.raises(EngineError, match="rotations slower by: wanted 2, found 1"):
        train(tmp_path / "out", data, model=SHORT, config=config, seed=0, chat=chat)


def test_rows_keep_their_own_rotation_when_it_is_dynamic(chat: Chat) -> None:
    """A row's loss does not depend on the row before it; with transformers' own rule it would."""
    config = TrainConfig(steps=1, rope={"kind": "dynamic", "factor": 4}, layout={"micro_batch_size": 1})
    model = new_model(SHORT, chat.tokenizer, chat.end_id).eval()
    extend_positions(model, config)
    long, middle = torch.arange(100)[None] % 40, torch.arange(50)[None] % 40
    with torch.no_grad():
        alone = model(middle).logits
        model(long)
        after = model(middle).logits
        for hook in list(model.model.rotary_emb._forward_pre_hooks):
            del model.model.rotary_emb._forward_pre_hooks[hook]
        model(long)
        kept = model(middle).logits
    assert torch.equal(alone, after)
    assert not torch.allclose(alone, kept, atol=1e-4)


def test_what_cannot_be_extended(chat: Chat) -> None:
    dynamic = {"kind": "dynamic", "factor": 2}
    model = new_model(SHORT, chat.tokenizer, chat.end_id)
    for settings in ({}, {"packing": 64, "layout": {"micro_batch_size": 1}}, {"layout": {"micro_batch_size": 2}}):
        with pytest.raises(DataError, match="longest row of a batch decides"):
            extend_positions(model, TrainConfig(steps=1, rope=dynamic, **settings))
    small = transformers.GPT2Config(vocab_size=8, n_positions=16, n_embd=8, n_layer=1, n_head=1)
    with pytest.raises(DataError, match="gpt2 model has no rotary embeddings"):
        extend_positions(transformers.GPT2LMHeadModel(small), TrainConfig(steps=1, rope={"factor": 2}))


def test_a_study_joins_up_to_the_extended_positions(tmp_path: Path, chat: Chat) -> None:
    source = {"micro": {"type": "micro", "count": 50}}
    values: dict[str, Any] = {
        "name": "s", "tokenizer": "package:micro", "sources": source, "seeds": [0],
        "arms": [{"kind": "ladder", "targets": [40], "samples": 4}],
        "train": {"steps": 1}, "benchmarks": {"micro": {"type": "micro", "count": 2}},
    }  # fmt: skip
    base = {"init": SHORT.model_dump(), "sources": source, "groups": [{"target": 20, "samples": 2}],
            "train": {"steps": 1}}  # fmt: skip

    def limit(**changes: Any) -> int | None:
        study = Study(Recipe.model_validate({**values, **changes}), tmp_path)
        return _positions(study, study.arms[0])

    rope = {"steps": 1, "rope": {"kind": "yarn", "factor": 4}}
    assert limit(base=base) == 32
    assert limit(base=base, train=rope) == 128
    assert limit(base={**base, "train": rope}) == 128
    model = tmp_path / "model"
    new_model(SHORT, chat.tokenizer, chat.end_id).save_pretrained(model)
    assert load_model(model).config.max_position_embeddings == 32
    assert limit(model=str(model)) == 32
    assert limit(model=str(model), train=rope) == 128
    assert positions_of(model, Rope(kind="linear", factor=1.5)) == 48


def test_limits_count_what_they_limit() -> None:
    """max_tokens counts a whole sample; positions count a conversation, for they start again."""
    both = Limit(100, 60)
    assert both.check("e", [50, 50]) is None
    assert (found := both.check("e", [50, 51])) is not None
    assert (found.reason, found.tokens) == ("over_max_tokens", 101)
    assert (found := both.check("e", [61])) is not None
    assert (found.reason, found.tokens) == ("over_positions", 61)
    assert Limit(None, None).check("e", [10**6]) is None
    table = length_table([101, 102, 150, 5000]).splitlines()
    assert sum(int(line.split()[-1]) for line in table[1:]) == 4
    assert len(table) <= 9
    assert TrainRow([1], [1], [1]).prompts == []
