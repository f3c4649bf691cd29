"""What is seen while a model trains: metrics as they come, stops with reasons, speed; rows in one line without padding."""

from __future__ import annotations

import itertools
import json
import random
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.errors import EngineError, MissingExtraError
from long1k.joining.spec import JoinSpec
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.stages.collect import collect
from long1k.stages.synthesize import synthesize
from long1k.stages.train import train
from long1k.tables import read_manifest, read_table
from long1k.tokens import load_tokenizer
from long1k.training.batches import deal, num_micro_batches
from long1k.training.config import EarlyStop, ModelInit, TrainConfig
from long1k.training.data import TrainRow, collate, make_rows, pack, row_order
from long1k.training.layout import Layout
from long1k.training.metrics import METRICS, TIMING, Lines, Stopper, final_loss, logged_every
from realdata import need_extra

need_extra("trl")
import torch  # noqa: E402

from long1k.rows import Example  # noqa: E402
from long1k.training.checkpoint import copy_tokenizer, new_model, pad_id  # noqa: E402
from long1k.training.meter import Meter, cost_of, described, known_peak  # noqa: E402
from long1k.training.padding_free import collate_line, in_line, isolation  # noqa: E402
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
    """Samples of three lengths, and pairs of conversations that do not see each other."""
    root = tmp_path_factory.mktemp("data")
    collect(root / "pool", [("micro", MicroSource(MicroConfig(count=400)))], CollectConfig(), chat)
    shared: dict[str, Any] = {"num_problems": (1, 8), "layout": "turns", "linkers": "micro", "tolerance": 0.05}
    specs = [JoinSpec(target=t, samples=n, **shared) for t, n in ((26, 8), (52, 6), (104, 4))]
    pair = JoinSpec(target=52, samples=3, mode="masked_pair", tolerance=0.2, linkers="micro")
    synthesize(root / "examples", root / "pool", arm="a", specs=[*specs, pair], seed=0, chat=chat)
    return root / "examples"


@pytest.fixture(scope="module")
def rows(data: Path, chat: Chat) -> list[TrainRow]:
    return make_rows(read_table(data, Example), chat, None)


def run(rows: list[TrainRow], chat: Chat, work: Path, model: Any = None, on_log: Any = None, **settings: Any) -> Any:
    config = TrainConfig.model_validate({"steps": 6, "batch_size": 4, "learning_rate": 1e-2, **settings})
    return train_model(
        model or new_model(TINY, chat.tokenizer, chat.end_id), rows, config, work=work / "work", folder=work, seed=3,
        tokenizer=chat.tokenizer, end_id=chat.end_id, on_log=on_log,
    )  # fmt: skip


def lines(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# --- rows in one line ---------------------------------------------------------------------------------------------


def token_losses(model: Any, batch: dict[str, Any]) -> Any:
    inputs = {name: value for name, value in batch.items() if name != "labels"}
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits[:, :-1]
    labels = batch["labels"][:, 1:].reshape(-1)
    found = torch.nn.functional.cross_entropy(logits.reshape(len(labels), -1), labels, reduction="none")
    return found[labels != -100].sort().values


@pytest.mark.parametrize("kv_heads", [4, 2])
def test_a_line_costs_what_its_samples_cost_alone(rows: list[TrainRow], chat: Chat, kv_heads: int) -> None:
    import transformers

    config = transformers.Qwen2Config(
        vocab_size=chat.tokenizer.vocab_size, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=kv_heads, intermediate_size=64, initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    model = transformers.Qwen2ForCausalLM(config).eval()
    padding = pad_id(chat.tokenizer, chat.end_id)
    alone = torch.cat([token_losses(model, collate([row], padding)) for row in rows]).sort().values
    before = model.config._attn_implementation
    with isolation(model, Layout()):
        assert model.config._attn_implementation != before
        assert torch.allclose(token_losses(model, collate_line(rows)), alone, atol=1e-5)
        assert torch.allclose(token_losses(model, collate_line(pack(rows, 200))), alone, atol=1e-5)
        leaking = collate_line(rows)
        leaking["position_ids"] = torch.arange(leaking["input_ids"].shape[1])[None]
        assert not torch.allclose(token_losses(model, leaking), alone, atol=1e-3)
    assert model.config._attn_implementation == before
    assert collate_line(rows)["input_ids"].shape == (1, sum(len(row.input_ids) for row in rows))


def test_lines_and_padded_batches_learn_the_same(rows: list[TrainRow], chat: Chat, tmp_path: Path) -> None:
    layouts: list[dict[str, Any]] = [{}, {"micro_batch_size": 2}, {"attention": "sdpa"}]
    found = [run(rows, chat, tmp_path / str(at), layout=layout) for at, layout in enumerate(layouts)]
    for other in found[1:]:
        assert [m["loss"] for m in other.metrics] == pytest.approx([m["loss"] for m in found[0].metrics], abs=1e-4)
        assert [m["tokens"] for m in other.metrics] == [m["tokens"] for m in found[0].metrics]


def test_where_lines_are_not_for() -> None:
    model = new_model(TINY, load_tokenizer("package:micro"), 0)
    assert in_line(model, Layout())
    assert in_line(model, Layout(attention="flash_attention_2"))
    assert not in_line(model, Layout(attention="sdpa"))
    assert not in_line(model, Layout(compile=True))
    assert not in_line(model, Layout(nproc=2, sequence_parallel=2))
    model.config.layer_types = ["full_attention", "sliding_attention"]
    assert not in_line(model, Layout())


@given(st.lists(st.integers(1, 500), min_size=7, max_size=7), st.sampled_from([1, 2, 3, 5]), st.integers(1, 2))
@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # a busy machine is no fault
def test_dealt_rows_are_a_step_s_rows(lengths: list[int], size: int, ranks: int) -> None:
    order = row_order(len(lengths), 18, 0)
    layout = Layout(micro_batch_size=size, nproc=ranks)
    num = num_micro_batches(order, lengths, 6, layout, 100)
    assert num == layout.num_micro_batches(6)
    for padded in (True, False):
        dealt = deal(order, lengths, 6, num, padded=padded)
        assert len(dealt) == 3 * num
        for step in range(3):
            micro = dealt[step * num : (step + 1) * num]
            assert sorted(itertools.chain(*micro)) == sorted(order[step * 6 : step * 6 + 6])
            assert all(1 <= len(one) <= size for one in micro)
            if not padded and size > 1 and num > 1:
                tokens = [sum(lengths[row] for row in one) for one in micro]
                assert tokens == sorted(tokens, reverse=True)


def test_micro_batches_are_made_to_fit(chat: Chat) -> None:
    lengths = [100] * 8
    order = list(range(8))
    assert num_micro_batches(order, lengths, 8, Layout(), None) == 1
    assert num_micro_batches(order, lengths, 8, Layout(), 400) == 2
    assert num_micro_batches(order, lengths, 8, Layout(), 10) == 8
    assert num_micro_batches(order, lengths, 8, Layout(nproc=2), 200) == 4
    assert num_micro_batches(order, lengths, 8, Layout(nproc=3), 10) == 6


# --- metrics ------------------------------------------------------------------------------------------------------


def test_metrics_stand_in_the_file_when_a_step_is_over(rows: list[TrainRow], chat: Chat, tmp_path: Path) -> None:
    seen: list[dict[str, float]] = []

    def on_log(step: int, steps: int, entry: dict[str, float]) -> None:
        assert len(lines(tmp_path / METRICS)) == len(lines(tmp_path / TIMING)) == step <= steps == 6
        seen.append(entry)

    result = run(rows, chat, tmp_path, on_log=on_log)
    metrics, timing = lines(tmp_path / METRICS), lines(tmp_path / TIMING)
    assert metrics == result.metrics
    assert [set(entry) for entry in metrics] == [
        {"step", "loss", "grad_norm", "learning_rate", "mean_token_accuracy", "tokens"}
    ] * 6
    order = row_order(len(rows), 24, 3)
    wanted = [sum(len(rows[at].input_ids) for at in order[: 4 * step]) for step in range(1, 7)]
    assert [entry["tokens"] for entry in metrics] == wanted
    assert wanted[-1] == result.tokens
    assert [entry["step"] for entry in timing] == [1, 2, 3, 4, 5, 6]
    for at, entry in enumerate(timing):
        taken = wanted[at] - (wanted[at - 1] if at else 0)
        assert entry["tokens_per_second"] * entry["step_seconds"] == pytest.approx(taken)
        assert entry["rss_gib"] > 0.05
        assert "mfu" not in entry  # no peak is known for a CPU
    assert timing[-1]["remaining_seconds"] == 0
    assert seen == [one | two for one, two in zip(metrics, timing, strict=True)]
    assert "tokens/s" in described(seen[0])
    assert described({"loss": 1.0, "mfu": 0.5, "gpu_peak_gib": 2.0, "remaining_seconds": 3671.0}) == (
        "loss 1.000, MFU 50%, 2.0 GiB, 1:01:11 left"
    )


def test_resumed_metrics_are_those_of_an_undisturbed_run(rows: list[TrainRow], chat: Chat, tmp_path: Path) -> None:
    run(rows, chat, tmp_path / "whole", save_steps=3)

    def stop(step: int, *_: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(rows, chat, tmp_path / "stopped", save_steps=3, on_log=stop)
    with (tmp_path / "stopped" / TIMING).open("a") as file:
        file.write('{"step": 6.0, "tok')  # a line that a kill cut short
    assert [entry["step"] for entry in lines(tmp_path / "stopped" / METRICS)] == [1, 2, 3, 4, 5]
    assert run(rows, chat, tmp_path / "stopped", save_steps=3).resumed_from == 3
    assert (tmp_path / "stopped" / METRICS).read_bytes() == (tmp_path / "whole" / METRICS).read_bytes()
    assert [entry["step"] for entry in lines(tmp_path / "stopped" / TIMING)] == [1, 2, 3, 4, 5, 6]


def test_lines_and_summaries(tmp_path: Path) -> None:
    file = Lines(tmp_path / "new" / "a.jsonl")
    assert file.kept(5) == []
    file.begin([{"step": 1.0}])
    file.add({"step": 2.0})
    assert file.kept(1) == [{"step": 1.0}]
    metrics = [{"step": float(step), "loss": float(step)} for step in range(1, 201)]
    assert final_loss(metrics, 200) == pytest.approx((197 + 198 + 199 + 200) / 4)
    assert final_loss(metrics[:7], 7) == 7
    assert final_loss([], 0) is None
    assert [logged_every(steps, None) for steps in (1, 10_000, 10_001)] == [1, 1, 2]
    assert logged_every(10**6, EarlyStop(loss_below=1)) == 1


def test_operations_are_what_the_profiler_counts() -> None:
    from torch.utils.flop_counter import FlopCounterMode

    model = new_model(TINY, load_tokenizer("package:micro"), 0)
    model.set_attn_implementation("eager")
    counter = FlopCounterMode(display=False)
    with counter:
        model(input_ids=torch.zeros(1, 40, dtype=torch.long), use_cache=False).logits.sum().backward()
    cost = cost_of(model)
    # Eager attention also computes the half that the mask hides.
    assert counter.get_total_flops() == pytest.approx(cost.a_token * 40 + 2 * cost.a_square * 40 * 40, rel=1e-3)
    for weight in model.model.parameters():
        weight.requires_grad_(False)
    assert cost_of(model).a_token == pytest.approx(cost.a_token * 4 / 6)  # the head is tied: frozen with the table
    meter = Meter([100, 300], [1e9, 3e9], 1e10)
    meter.begin(0)
    one = meter.measure(1)
    assert one["mfu"] == pytest.approx(1e9 / one["step_seconds"] / 1e10)
    assert one["remaining_seconds"] == pytest.approx(3 * one["step_seconds"])
    meter.paused(100.0)  # longer than it was since: none of it counts
    assert meter.measure(2)["step_seconds"] < 1


def test_peaks_of_gpus_by_the_names_that_drivers_give() -> None:
    names = (
        "NVIDIA H100 80GB HBM3",
        "NVIDIA H100 PCIe",
        "NVIDIA H200",
        "NVIDIA A100-SXM4-80GB",
        "NVIDIA GeForce RTX 4090",
    )
    assert [(known_peak(name) or 0) / 1e12 for name in names] == [989.4, 756, 989.4, 312, 165.2]
    assert known_peak("NVIDIA GeForce GTX 1080") is None


# --- stops --------------------------------------------------------------------------------------------------------


def test_rules_of_an_early_stop() -> None:
    def first(rule: EarlyStop, losses: list[float]) -> int | None:
        stopper = Stopper(rule)
        return next((at for at, loss in enumerate(losses, 1) if stopper.reason(loss)), None)

    falling = [10.0 - at for at in range(9)]
    assert first(EarlyStop(loss_below=5.5, window=1), falling) == 6
    assert first(EarlyStop(loss_below=5.5, window=3), falling) == 7
    assert first(EarlyStop(loss_below=0.5, window=3), falling) is None
    assert first(EarlyStop(no_better_for=2, window=1), falling) is None
    assert first(EarlyStop(no_better_for=2, window=1), [3, 2, 2, 2]) == 4
    assert first(EarlyStop(no_better_for=3, window=2), [4, 2, 2, 2, 2, 2, 2]) == 6
    assert first(EarlyStop(no_better_for=1, window=5), [1.0] * 4) is None
    assert Stopper(None).reason(1.0) is None
    noise = random.Random(0)
    losses = [noise.random() for _ in range(300)]
    rule = EarlyStop(no_better_for=20, window=5)
    means = [sum(losses[at - 5 : at]) / 5 for at in range(5, 301)]
    wanted = next(at + 5 for at in range(20, len(means)) if min(means[at - 19 : at + 1]) >= min(means[: at - 19]))
    assert first(rule, losses) == wanted


def test_early_stop_is_recorded_and_survives_a_resume(data: Path, chat: Chat, tmp_path: Path) -> None:
    config = TrainConfig(
        steps=40, batch_size=4, learning_rate=1e-2, save_steps=4, early_stop=EarlyStop(loss_below=2.8, window=3)
    )
    out = tmp_path / "one"
    found = train(out, data, model=TINY, config=config, seed=0, chat=chat)
    steps = found.info["steps"]
    assert 4 < steps < 40
    assert found.info["preflight"]["steps"] == 40
    assert found.info["stopped"].startswith("mean loss of 3 steps 2.")
    losses = [entry["loss"] for entry in lines(out / METRICS)]
    assert len(losses) == steps
    assert sum(losses[-3:]) / 3 < 2.8 <= sum(losses[-4:-1]) / 3
    assert found.info["tokens"] == lines(out / METRICS)[-1]["tokens"]

    def stop(step: int, *_: Any) -> None:
        if step == steps:
            raise KeyboardInterrupt  # at the worst moment: between the decision and the end

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "two", data, model=TINY, config=config, seed=0, chat=chat, on_log=stop)
    again = train(tmp_path / "two", data, model=TINY, config=config, seed=0, chat=chat)
    assert again.info["resumed_from"] == (steps - 1) // 4 * 4
    assert again.digest == found.digest
    assert again.info["stopped"] == found.info["stopped"]
    assert (tmp_path / "two" / METRICS).read_bytes() == (out / METRICS).read_bytes()
    endless = config.model_copy(update={"early_stop": EarlyStop(loss_below=1e-9), "steps": 3})
    assert train(tmp_path / "three", data, model=TINY, config=endless, seed=0, chat=chat).info["stopped"] is None


def poison(model: Any, token: int, chat: Chat) -> None:
    """From now on only rows with this token have a loss that is no number."""
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("nan")
    # The head is tied: give it weights of its own, or every row had the bad number among its logits.
    model.lm_head.weight = torch.nn.Parameter(torch.nan_to_num(model.lm_head.weight.detach()))
    model.config.tie_word_embeddings = False


def rare_token(rows: list[TrainRow]) -> int:
    counts: dict[int, int] = {}
    for row in rows:
        for token in set(row.input_ids):
            counts[token] = counts.get(token, 0) + 1
    return min(counts, key=lambda token: (counts[token], token))


def first_bad(rows: list[TrainRow], token: int, order: list[int], batch: int) -> tuple[int, list[str]]:
    """(the first step with a row that has the token, the names of such rows in it)"""
    for at in range(0, len(order), batch):
        names = [name for row in order[at : at + batch] if token in rows[row].input_ids for name in rows[row].names]
        if names:
            return at // batch + 1, names
    raise AssertionError("no row has it")


@pytest.mark.parametrize("layout", [{}, {"micro_batch_size": 1}, {"attention": "sdpa"}])
def test_a_loss_that_is_no_number_names_its_rows(
    rows: list[TrainRow], chat: Chat, tmp_path: Path, layout: dict[str, Any]
) -> None:
    token = rare_token(rows)
    model = new_model(TINY, chat.tokenizer, chat.end_id)
    poison(model, token, chat)
    step, names = first_bad(rows, token, row_order(len(rows), 40 * 4, 3), 4)
    with pytest.raises(EngineError, match=f"loss is nan at step {step}; samples that bring it") as error:
        run(rows, chat, tmp_path, model, steps=40, layout=layout)
    for row in rows:
        assert (row.names[0] in str(error.value)) == (row.names[0] in names)
    assert len(lines(tmp_path / METRICS)) == step - 1  # the steps before it stand there
    assert bool(torch.isfinite(model.lm_head.weight).all())  # the bad step was not taken


def test_a_gradient_that_is_no_number_names_its_rows(rows: list[TrainRow], chat: Chat, tmp_path: Path) -> None:
    class Exploding(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, x: Any) -> Any:
            return x.clone()

        @staticmethod
        def backward(_: Any, grad: Any) -> Any:
            return grad * float("inf")

    token = rare_token(rows)
    model = new_model(TINY, chat.tokenizer, chat.end_id)
    model.get_input_embeddings().register_forward_hook(
        lambda _, ids, out: Exploding.apply(out) if bool((ids[0] == token).any()) else None
    )
    step, names = first_bad(rows, token, row_order(len(rows), 40 * 4, 3), 4)
    with pytest.raises(
        EngineError, match=rf"gradient norm is (nan|inf) at step {step}; samples that bring it"
    ) as error:
        run(rows, chat, tmp_path, model, steps=40)
    for row in rows:
        assert (row.names[0] in str(error.value)) == (row.names[0] in names)


@pytest.mark.slow
def test_a_bad_number_on_one_rank_stops_all(data: Path, rows: list[TrainRow], chat: Chat, tmp_path: Path) -> None:
    token = rare_token(rows)
    model = new_model(TINY, chat.tokenizer, chat.end_id)
    poison(model, token, chat)
    model.save_pretrained(tmp_path / "model")
    copy_tokenizer(chat.tokenizer, tmp_path / "model")
    step, names = first_bad(rows, token, row_order(len(rows), 40 * 4, 3), 4)
    config = TrainConfig(steps=40, batch_size=4, learning_rate=1e-3, layout=Layout(nproc=2))
    with pytest.raises(EngineError, match=f"loss is nan at step {step}; samples that bring it") as error:
        train(tmp_path / "out", data, model=tmp_path / "model", config=config, seed=3, chat=chat)
    for row in rows:
        assert (row.names[0] in str(error.value)) == (row.names[0] in names)
    assert [entry["step"] for entry in lines(tmp_path / "out" / METRICS)] == list(range(1, step))  # rank 0 alone writes
    shutil.rmtree(tmp_path / "out")


# --- other places -------------------------------------------------------------------------------------------------


def test_tensorboard_gets_the_metrics(data: Path, chat: Chat, tmp_path: Path) -> None:
    need_extra("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    config = TrainConfig(steps=4, batch_size=4, learning_rate=1e-3, save_steps=2, log_to=("tensorboard",))

    def stop(step: int, *_: Any) -> None:
        if step == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "run", data, model=TINY, config=config, seed=0, chat=chat, on_log=stop)
    manifest = train(tmp_path / "run", data, model=TINY, config=config, seed=0, chat=chat)
    assert manifest.info["resumed_from"] == 2
    found = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    found.Reload()
    written = lines(tmp_path / "run" / METRICS)
    assert [event.step for event in found.Scalars("train/loss")] == [1, 2, 3, 4]
    assert [event.value for event in found.Scalars("train/loss")] == pytest.approx([m["loss"] for m in written])
    assert [event.step for event in found.Scalars("train/tokens_per_second")] == [1, 2, 3, 4]
    assert read_manifest(tmp_path / "run").digest == manifest.digest


def test_what_is_not_installed_is_said_before_training(
    data: Path, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None)
    config = TrainConfig(steps=4, batch_size=4, log_to=("trackio",))
    with pytest.raises(MissingExtraError, match=r"'trackio'[\s\S]*pip install 'long1k\[trackio\]'"):
        train(tmp_path / "run", data, model=TINY, config=config, seed=0, chat=chat)
    assert not (tmp_path / "run").exists()
