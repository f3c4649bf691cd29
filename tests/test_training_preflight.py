"""The preflight: what it measures is true, and each of its checks fails when what it checks is broken."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.errors import DataError, EngineError
from long1k.joining.spec import JoinSpec
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.stages.collect import collect
from long1k.stages.synthesize import synthesize
from long1k.stages.train import train
from long1k.tables import read_manifest, read_rejected, read_table
from long1k.tokens import load_tokenizer
from long1k.training import inforce
from long1k.training.config import ModelInit, TrainConfig
from long1k.training.data import IGNORED, TrainRow, collate, make_rows, pack
from long1k.training.neighbours import measure_isolation
from long1k.training.preflight import PREFLIGHT, PreflightDone
from long1k.training.preflight_text import WIDTH, preflight_text
from long1k.training.seen import Marks, Seen, look, merge
from realdata import need_extra

need_extra("trl")
import torch  # noqa: E402
import transformers  # noqa: E402
import trl  # noqa: E402

from long1k.rows import Example  # noqa: E402
from long1k.training import padding_free, preflight, sft  # noqa: E402
from long1k.training.checkpoint import new_model, pad_id  # noqa: E402
from long1k.training.sft import train_model  # noqa: E402

TINY = ModelInit(hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, max_positions=256)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("package:micro"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, chat: Chat) -> Path:
    """Twelve joined samples of three lengths, each one conversation of several turns."""
    root = tmp_path_factory.mktemp("preflight")
    collect(root / "pool", [("micro", MicroSource(MicroConfig(count=400)))], CollectConfig(), chat)
    shared: dict[str, Any] = {"num_problems": (1, 8), "layout": "turns", "linkers": "micro", "tolerance": 0.05}
    specs = [JoinSpec(target=t, samples=n, **shared) for t, n in ((26, 6), (52, 4), (104, 2))]
    synthesize(root / "examples", root / "pool", arm="a", specs=specs, seed=0, chat=chat)
    return root / "examples"


@pytest.fixture(scope="module")
def rows(data: Path, chat: Chat) -> list[TrainRow]:
    return make_rows(read_table(data, Example), chat, None)


def run(rows: list[TrainRow], chat: Chat, work: Path, **settings: Any) -> tuple[Any, sft.TrainResult]:
    model = new_model(TINY, chat.tokenizer, chat.end_id)
    config = TrainConfig(**{"steps": 2, "batch_size": 6, "learning_rate": 1e-2, **settings})
    result = train_model(model, rows, config, work=work, seed=3, tokenizer=chat.tokenizer, end_id=chat.end_id)
    return model, result


def measured(work: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((work / PREFLIGHT).read_text())
    return found


def found_of(report: dict[str, Any], name: str) -> str:
    (one,) = [check["found"] for check in report["in_force"] if check["name"] == name]
    return str(one)


# --- what it measures ---------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_samples(
    data: Path, chat: Chat, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Counted from the trainer's tensors; here counted again from the samples' own fields."""
    out = tmp_path / "out"
    config = TrainConfig(steps=4, batch_size=6, learning_rate=1e-3, layout={"micro_batch_size": 2})
    manifest = train(out, data, model=TINY, config=config, seed=0, chat=chat, preflight="print")
    examples = read_table(data, Example)
    report = manifest.info["preflight"]
    supervised = [example.num_supervised_tokens for example in examples]
    total = sum(example.num_tokens for example in examples)
    assert report["samples"] == report["samples_seen"] == report["rows_seen"] == len(examples) == 12
    assert [report["tokens"], report["supervised_tokens"]] == [total, sum(supervised)]
    assert report["supervised_a_row"] == [min(supervised), pytest.approx(sum(supervised) / 12), max(supervised)]
    assert report["longest_tokens"] == max(example.num_tokens for example in examples)
    assert report["longest_sample"] in {e.example_id for e in examples if e.num_tokens == report["longest_tokens"]}
    assert [report["end_token_trained"], report["prompt_equal"], report["doubled_begin"]] == [12, 12, 0]
    assert [report["ranks"], report["micro_batches"], report["rows_a_micro_batch"]] == [1, 3, 2]
    assert report["epochs"] == pytest.approx(2.0)
    assert report["tokens_a_step"] == pytest.approx(manifest.info["tokens"] / 4)
    assert report["supervised_a_step"] == pytest.approx(manifest.info["supervised_tokens"] / 4)
    assert report["trained_parameters"] == report["parameters"] == manifest.info["parameters"]
    assert report["template"] == chat.tokenizer.template_digest
    printed = capsys.readouterr().out.splitlines()
    assert printed == preflight_text(report).splitlines()
    assert max(map(len, printed)) <= WIDTH
    assert (manifest.rows_in, manifest.rows_out) == (12, 12)


def test_the_documentation_shows_todays_print(data: Path, chat: Chat, tmp_path: Path) -> None:
    """The printed example has the lines that a run prints now, in their order."""

    def names(text: str) -> list[str]:
        lines = [line for line in text.splitlines() if re.match(r"  \S", line)]
        return [re.split(r"  +|(?<=steps) \d", line.strip())[0] for line in lines]

    page = (Path(__file__).resolve().parents[1] / "docs" / "training.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"^```\n(Preflight: .*?)^```", page, re.DOTALL | re.MULTILINE)
    config = TrainConfig(steps=4, batch_size=4, learning_rate=1e-3, packing=128)
    with pytest.raises(PreflightDone):
        train(tmp_path, data, model=TINY, config=config, seed=0, chat=chat, preflight="only")
    assert names(shown) == names(preflight_text(measured(tmp_path / "work")))
    assert len(names(shown)) > 30
    assert max(map(len, shown.splitlines())) <= WIDTH


def test_only_the_preflight(data: Path, chat: Chat, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It stops before a weight moves, keeps what it measured, and the run goes on from there as any other."""
    config = TrainConfig(steps=2, batch_size=4, learning_rate=1e-3, packing=128)
    out = tmp_path / "out"
    with pytest.raises(PreflightDone):
        train(out, data, model=TINY, config=config, seed=0, chat=chat, preflight="only")
    assert not (out / "manifest.json").exists()
    report = measured(out / "work")
    assert report["packing_factor"] > 1
    assert found_of(report, "packed rows apart").startswith("0 (own")
    assert not list(out.glob("*.safetensors"))
    whole = train(out, data, model=TINY, config=config, seed=0, chat=chat)
    again = train(tmp_path / "again", data, model=TINY, config=config, seed=0, chat=chat)
    assert whole.digest == again.digest
    assert whole.info["preflight"] == report
    with pytest.raises(PreflightDone):
        train(out, data, model=TINY, config=config, seed=0, chat=chat, preflight="only")
    assert capsys.readouterr().out.splitlines() == preflight_text(report).splitlines() * 2


def test_looking_ahead_changes_nothing(
    rows: list[TrainRow], chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout draws the same numbers with a look ahead and without."""
    initial = transformers.Qwen2ForCausalLM.__init__

    def dropping(self: Any, config: Any) -> None:
        config.attention_dropout = 0.2
        initial(self, config)

    monkeypatch.setattr(transformers.Qwen2ForCausalLM, "__init__", dropping)
    model, _ = run(rows, chat, tmp_path / "with")
    assert model.model.layers[0].self_attn.attention_dropout == 0.2
    monkeypatch.setattr(sft, "preflight_callback", lambda trainer, plan: transformers.TrainerCallback())
    other, _ = run(rows, chat, tmp_path / "without")
    for one, two in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_counts_of_ranks_add_up(rows: list[TrainRow], chat: Chat) -> None:
    marks = Marks(chat.end_id, pad_id(chat.tokenizer, chat.end_id), frozenset({chat.end_id}))
    halves = [rows[:5], rows[5:]]
    whole = look([collate(rows, marks.pad_id)], [rows], marks)
    parts = merge([look([collate(half, marks.pad_id)], [half], marks) for half in halves])
    for name in ("rows", "conversations", "tokens", "supervised", "supervised_min", "supervised_max", "longest"):
        assert getattr(whole, name) == getattr(parts, name), name
    assert merge([]) == Seen()


# --- what the tensors hold ----------------------------------------------------------------------------------

Spoil = Callable[[dict[str, Any]], None]


def _shift_label(batch: dict[str, Any]) -> None:
    batch["labels"][0, 1] = batch["input_ids"][0, 1]


def _forget_end(batch: dict[str, Any]) -> None:
    batch["labels"][batch["labels"] == _END] = IGNORED


def _other_token(batch: dict[str, Any]) -> None:
    batch["input_ids"][0, 3] += 1


_END = 4


@pytest.mark.parametrize("attention", ["auto", "sdpa"])  # one line of samples, and rows padded to the longest
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_shift_label, "micro-batches as planned: wanted 2 of 2, found 0 of 2"),
        (_forget_end, "end token trained: wanted 12 of 12, found 0 of 12"),
        (_other_token, "micro-batches as planned"),
    ],
)
def test_spoilt_batches_are_refused(
    spoil: Spoil, message: str, attention: str, rows: list[TrainRow], chat: Chat, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    assert chat.end_id == _END

    def spoilt(real: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
        def make(*arguments: Any) -> dict[str, Any]:
            batch = real(*arguments)
            spoil(batch)
            return batch

        return make

    for name in ("collate", "collate_line"):
        monkeypatch.setattr(sft, name, spoilt(getattr(sft, name)))
    with pytest.raises(EngineError, match="not in force") as error:
        run(rows, chat, tmp_path, layout={"attention": attention})
    assert message in str(error.value)
    assert not (tmp_path / PREFLIGHT).exists()


def test_micro_batches_that_never_come_are_found(
    rows: list[TrainRow], chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A loader that ends early shows nothing but right batches."""
    real = preflight.look

    def short(batches: Iterable[dict[str, Any]], *more: Any) -> Seen:
        return real(itertools.islice(batches, 5), *more)

    monkeypatch.setattr(preflight, "look", short)
    with pytest.raises(EngineError, match="micro-batches as planned: wanted 6 of 6, found 5 of 5"):
        run(rows, chat, tmp_path, layout={"micro_batch_size": 2})


def test_a_doubled_begin_token_and_another_prompt_are_refused(rows: list[TrainRow], chat: Chat, tmp_path: Path) -> None:
    begin = chat.tokenizer.token_id("<|user|>")
    assert begin is not None
    doubled = [
        TrainRow([begin, *r.input_ids], [IGNORED, *r.labels], [r.lengths[0] + 1], r.names, [[begin, *r.prompts[0]]])
        for r in rows
    ]
    with pytest.raises(EngineError, match="doubled begin token: wanted 0, found 12"):
        run(doubled, chat, tmp_path)
    # The same, as template and tokenizer make it in training only: inference would start from one begin token.
    doubled = [TrainRow(r.input_ids, r.labels, r.lengths, r.names, [r.prompts[0][1:]]) for r in doubled]
    with pytest.raises(EngineError, match="train prefix = inference prompt: wanted 12 of 12, found 0 of 12"):
        run(doubled, chat, tmp_path)


def test_a_packed_neighbour_that_can_be_seen_is_found(rows: list[TrainRow], chat: Chat) -> None:
    model = new_model(TINY, chat.tokenizer, chat.end_id)
    trl.trainer.utils.add_fused_lm_head(model)
    padding = pad_id(chat.tokenizer, chat.end_id)
    batch = collate(pack(rows, 128), padding)
    own, others = measure_isolation(model, batch) or (0.0, 1.0)
    assert inforce.check_isolation(own, others, "fp32").ok
    # With a mask of ones, attention no longer asks the positions where a conversation begins.
    leaking = {**batch, "attention_mask": torch.ones_like(batch["input_ids"])}
    own, others = measure_isolation(model, leaking) or (0.0, 0.0)
    assert others > 1e-3
    assert not inforce.check_isolation(own, others, "fp32").ok
    assert not inforce.check_isolation(0.0, 0.0, "fp32").ok  # a change without effect proves nothing
    assert measure_isolation(model, collate(rows[:2], padding)) is None


def test_attention_that_crosses_samples_is_found_on_the_trainer(
    rows: list[TrainRow], chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line of samples taken for one long sample: every token and label is right, and still they see each other."""
    monkeypatch.setattr(padding_free, "_runs", lambda position_ids: [(position_ids.shape[1], 1)])
    with pytest.raises(EngineError, match="packed rows apart: wanted neighbours move <= 1e-05"):
        run(rows, chat, tmp_path)


# --- what is configured -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "settings", "message"),
    [
        ({"adam_beta2": 0.999}, {}, r"optimiser betas: wanted \(0.9, 0.95\), found \(0.9, 0.999\)"),
        ({"adam_epsilon": 1e-6}, {}, "optimiser eps: wanted 1e-08, found 1e-06"),
        ({"optim": "sgd"}, {}, "optimiser: wanted AdamW, found SGD"),
        ({"weight_decay": 0.1}, {}, "weight decay: .*found 0.1, 0"),
        ({"learning_rate": 2e-2}, {}, "peak learning rate: wanted 0.01, found 0.02"),
        ({"lr_scheduler_type": "linear"}, {"steps": 8}, "learning rate at the steps"),
        ({"warmup_steps": 3}, {"steps": 8}, "learning rate at the steps"),
        ({"max_steps": 3}, {"steps": 2}, "optimiser steps: wanted 2, found 3"),
        ({"lr_scheduler_type": "constant"}, {"scheduler": "constant", "warmup_ratio": 0.5}, "learning rate at"),
        ({"max_grad_norm": 5.0}, {"max_grad_norm": 0.01}, "gradient clipping: wanted 0.01, found 5"),
        ({"max_grad_norm": 5.0}, {"max_grad_norm": 0.01}, "gradient norm after clipping: wanted <= 0.01"),
        ({"gradient_checkpointing": True}, {}, "gradient checkpointing: wanted off, found 2 of 2 layers"),
        ({"gradient_checkpointing": True}, {}, "runs of a layer, one micro-batch: wanted 1, found 2"),
        (
            {"gradient_checkpointing": False}, {"layout": {"gradient_checkpointing": True}},
            "runs of a layer, one micro-batch: wanted 2, found 1",
        ),
        ({"bf16": True}, {}, "precision of matrix products: wanted float32, found bfloat16"),
        ({"bf16": False}, {"precision": "bf16"}, "precision of matrix products: wanted bfloat16, found float32"),
        ({"train_sampling_strategy": "random"}, {"layout": {"micro_batch_size": 1}}, "micro-batches as planned"),
        ({"gradient_accumulation_steps": 2}, {"layout": {"micro_batch_size": 1}}, "divisor of the loss"),
    ],
)  # fmt: skip
def test_what_the_trainer_was_given_otherwise_is_found(
    given: dict[str, Any], settings: dict[str, Any], message: str, rows: list[TrainRow], chat: Chat, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A trainer that was made with other arguments than the configuration's stops before its first update."""
    real = trl.SFTConfig
    monkeypatch.setattr(trl, "SFTConfig", lambda **keywords: real(**{**keywords, **given}))
    with pytest.raises(EngineError, match=message):
        run(rows, chat, tmp_path, **settings)


def test_another_divisor_of_the_loss_is_found(
    rows: list[TrainRow], chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = transformers.Trainer._get_num_items_in_batch
    monkeypatch.setattr(transformers.Trainer, "_get_num_items_in_batch", lambda *a: real(*a) * 2)
    with pytest.raises(EngineError, match="divisor of the loss") as error:
        run(rows, chat, tmp_path)
    assert "loss of the first micro-batch" in str(error.value)


def test_a_loss_that_makes_all_logits_is_found(
    rows: list[TrainRow], chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With tiles of 16 words, no tensor of the loss is as large as all logits; with a head that makes them, one is."""
    seen: list[tuple[int, int]] = []
    real = inforce.check_loss_head
    monkeypatch.setattr(
        inforce, "check_loss_head", lambda largest, whole: seen.append((largest, whole)) or real(largest, whole)
    )
    monkeypatch.setattr(trl.trainer.utils, "_CHUNKED_LOGPROB_CHUNK_SIZE", 16)
    run(rows, chat, tmp_path / "tiles")
    fused = trl.trainer.sft_trainer.add_fused_lm_head

    def whole_head(model: Any, **keywords: Any) -> None:
        fused(model, **keywords)
        head, tiled = model.get_output_embeddings(), model.base_model.register_forward_hook
        tiled(lambda _m, _i, output: setattr(model, "kept", output.last_hidden_state.detach()))
        inner = model.forward

        def forward(*arguments: Any, **named: Any) -> Any:
            output = inner(*arguments, **named)
            head(model.kept)
            return output

        model.forward = forward

    monkeypatch.setattr(trl.trainer.sft_trainer, "add_fused_lm_head", whole_head)
    run(rows, chat, tmp_path / "whole")
    (tiled, all_logits), (large, same) = seen
    assert tiled < all_logits == same <= large
    assert real(tiled, all_logits, all_logits - 1).ok
    assert not real(large, all_logits, all_logits - 1).ok


def test_checks_of_single_objects() -> None:
    config = TrainConfig(steps=4, layout={"nproc": 2, "attention": "eager", "offload_activations": True})
    assert not inforce.check_ranks(1, config).ok
    assert inforce.check_ranks(2, config).ok

    class Model:
        class config:
            _attn_implementation = "sdpa"

    assert not inforce.check_attention(Model, config).ok
    assert inforce.check_attention(Model, TrainConfig(steps=4)).ok
    assert not inforce.check_offload(object(), config).ok
    offloading = trl.models.activation_offloading.OffloadActivations.__new__(
        trl.models.activation_offloading.OffloadActivations
    )
    assert inforce.check_offload(offloading, config).ok
    assert not inforce.check_offload(offloading, TrainConfig(steps=4)).ok
    assert not inforce.check_compile(object(), TrainConfig(steps=4, layout={"compile": True})).ok
    assert not all(one.ok for one in inforce.check_precision({"float16"}, "float32", config))
    parameters = [("a.weight", torch.nn.Parameter(torch.ones(2, 2))), ("b.bias", torch.nn.Parameter(torch.ones(2)))]
    groups = [{"params": [parameters[0][1]], "weight_decay": 1e-4}, {"params": [], "weight_decay": 0.0}]
    missing = torch.optim.AdamW(groups, lr=1e-5, betas=(0.9, 0.95))
    checks = {one.name: one for one in inforce.check_optimizer(missing, config, parameters)}
    assert checks["optimiser betas"].ok
    assert not checks["optimised tensors"].ok
    assert "b.bias" in checks["optimised tensors"].found
    missing.param_groups[0]["lr"] = 7e-6
    assert not inforce.check_rate(missing, config, 4, 1).ok


def test_planned_rates_are_those_of_transformers() -> None:
    for name, theirs in (("cosine", "cosine"), ("linear", "linear"), ("constant", "constant_with_warmup")):
        config = TrainConfig(steps=20, scheduler=name, warmup_ratio=0.13, learning_rate=1e-3)
        optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))], lr=1e-3)
        scheduler = transformers.get_scheduler(theirs, optimizer, 3, 20)
        for step in range(20):
            assert scheduler.get_last_lr()[0] == pytest.approx(inforce.planned_rate(config, 20, step), abs=1e-15)
            optimizer.step()
            scheduler.step()


# --- parity -------------------------------------------------------------------------------------------------


def plain_loop(rows: list[TrainRow], chat: Chat, steps: int, rate: float) -> list[float]:
    """A bare loop over all rows, padded, at every step; AdamW as configured, written out here."""
    model = new_model(TINY, chat.tokenizer, chat.end_id)
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 1e-4}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95))
    batch, losses = collate(rows, pad_id(chat.tokenizer, chat.end_id)), []
    for _ in range(steps):
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), batch["labels"][:, 1:].flatten(), ignore_index=IGNORED
        )
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_packed_unpacked_and_a_plain_loop_learn_the_same(rows: list[TrainRow], chat: Chat, tmp_path: Path) -> None:
    """Every step sees all samples, so that packed rows and padded ones hold the same tokens in each."""
    constant = {"scheduler": "constant", "warmup_ratio": 0.0, "steps": 5, "learning_rate": 1e-2}
    wanted = plain_loop(rows, chat, 5, 1e-2)
    packed = pack(rows, 120)
    assert 1 < len(packed) < len(rows)
    for name, these, layout in (
        ("padded", rows, {}),
        ("padded, accumulated", rows, {"micro_batch_size": 5}),
        ("padded, masked", rows, {"attention": "sdpa", "micro_batch_size": 4}),
        ("packed", packed, {}),
        ("packed, masked", packed, {"attention": "sdpa"}),
        ("packed, accumulated", packed, {"micro_batch_size": 1}),
        ("packed, recomputed", packed, {"micro_batch_size": 2, "gradient_checkpointing": True}),
    ):
        work = tmp_path / name
        _, result = run(these, chat, work, batch_size=len(these), layout=layout, **constant)
        assert [entry["loss"] for entry in result.metrics] == pytest.approx(wanted, abs=1e-4), name
        assert measured(work)["epochs"] == 5


def test_recomputed_activations_change_no_weight(rows: list[TrainRow], chat: Chat, tmp_path: Path) -> None:
    kept, _ = run(rows, chat, tmp_path / "kept", steps=3)
    again, _ = run(rows, chat, tmp_path / "again", steps=3, layout={"gradient_checkpointing": True})
    assert found_of(measured(tmp_path / "again"), "runs of a layer, one micro-batch") == "2"
    for one, two in zip(kept.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_bf16_is_in_force_and_keeps_weights_in_fp32(rows: list[TrainRow], chat: Chat, tmp_path: Path) -> None:
    model, result = run(rows, chat, tmp_path, precision="bf16")
    assert found_of(measured(tmp_path), "precision of matrix products") == "bfloat16"
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    _, exact = run(rows, chat, tmp_path / "fp32")
    assert result.metrics[0]["loss"] == pytest.approx(exact.metrics[0]["loss"], abs=0.02)
    assert result.metrics[0]["loss"] != exact.metrics[0]["loss"]


# --- over-long samples --------------------------------------------------------------------------------------


def test_long_samples_stop_the_run_with_a_table(data: Path, chat: Chat, tmp_path: Path) -> None:
    config = TrainConfig(steps=2, batch_size=4, max_tokens=60)
    with pytest.raises(DataError) as error:
        train(tmp_path / "out", data, model=TINY, config=config, seed=0, chat=chat)
    text = str(error.value)
    assert "2 of 12 samples are longer than the limit (60 tokens (max_tokens) and 256 positions" in text
    assert "samples are never cut" in text
    assert "over_limit: drop" in text
    long = sorted((e for e in read_table(data, Example) if e.num_tokens > 60), key=lambda e: -e.num_tokens)
    assert all(f"{example.example_id} {example.num_tokens:,}" in text for example in long)
    assert not (tmp_path / "out").exists()
    packed = TrainConfig(steps=2, batch_size=4, packing=60)
    with pytest.raises(DataError, match="does not fit into packed rows of 60"):
        train(tmp_path / "out", data, model=TINY, config=packed, seed=0, chat=chat)
    assert not (tmp_path / "out").exists()  # nor samples that were to be packed


def test_long_samples_are_left_out_on_request(data: Path, chat: Chat, tmp_path: Path) -> None:
    out = tmp_path / "out"
    config = TrainConfig(steps=2, batch_size=4, max_tokens=60, over_limit="drop")
    manifest = train(out, data, model=TINY, config=config, seed=0, chat=chat)
    assert (manifest.rows_in, manifest.rows_out, manifest.rejected) == (12, 10, {"over_max_tokens": 2})
    rejected = read_rejected(out)
    assert {one.source_row for one in rejected} == {
        e.example_id for e in read_table(data, Example) if e.num_tokens > 60
    }
    assert all("the limit is 60" in one.evidence for one in rejected)
    assert json.loads(rejected[0].row)["tokens"] > 60
    assert manifest.info["preflight"]["longest_tokens"] <= 60
    assert manifest.info["preflight"]["over_limit"] == 2
    card = (out / "README.md").read_text()
    (out / "README.md").unlink()  # as a kill behind the manifest leaves it
    train(out, data, model=TINY, config=config, seed=0, chat=chat)
    assert (out / "README.md").read_text() == card
    none = config.model_copy(update={"max_tokens": 16})
    with pytest.raises(DataError, match="all 12 samples are over the limit"):
        train(tmp_path / "none", data, model=TINY, config=none, seed=0, chat=chat)
    assert read_manifest(out).digest == manifest.digest
