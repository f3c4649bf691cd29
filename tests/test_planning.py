"""Planning: exact parameters, operations against a counter, memory against live tensors, layouts, the command."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from long1k.chat import Chat
from long1k.cli import app
from long1k.curation.config import CollectConfig
from long1k.errors import DataError, Long1kError, RecipeError
from long1k.hardware import KNOWN as GPUS
from long1k.hardware import find_gpu, parse_machines
from long1k.joining.spec import JoinSpec
from long1k.planning.cost import checkpoint_bytes, inference_cost, kv_bytes_a_token, training_cost
from long1k.planning.flops import Operations, attention_flops, matrix_flops, training_flops
from long1k.planning.layouts import fewest, fits, search, singly
from long1k.planning.memory import predict
from long1k.planning.setting import Setting
from long1k.planning.shapes import KNOWN, known_shape, shape_of, shape_of_config
from long1k.recipe import load_recipe
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.stages.collect import collect
from long1k.stages.synthesize import synthesize
from long1k.study_plan import plan_study, setting_of
from realdata import need_extra

GB = 1e9
BIG = KNOWN["Qwen2.5-32B"]
ZERO3 = Setting(nproc=8, sharding="zero3", gradient_checkpointing=True)
# The sizes that the models' own cards and weight files state.
PUBLISHED = {
    "Qwen2.5-0.5B": 494_032_768, "Qwen2.5-1.5B": 1_543_714_304, "Qwen2.5-3B": 3_085_938_688,
    "Qwen2.5-7B": 7_615_616_512, "Qwen2.5-14B": 14_770_033_664, "Qwen2.5-32B": 32_763_876_352,
    "Qwen2.5-72B": 72_706_203_648, "Qwen3-8B": 8_190_735_360, "Llama-3-8B": 8_030_261_248,
    "Llama-3.2-1B": 1_235_814_400,
}  # fmt: skip


def run(*words: str) -> tuple[int, str]:
    """Exit status and output of a command; a message of ours counts as output."""
    done = CliRunner().invoke(app, list(words))
    if isinstance(done.exception, Long1kError):
        return done.exception.exit_code, str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


# --- shapes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes(name: str) -> None:
    assert KNOWN[name].parameters == PUBLISHED[name]


def test_parameters_are_those_of_the_real_architecture(tmp_path: Path) -> None:
    need_extra("transformers")
    import torch
    import transformers

    kinds = {"Qwen2.5": transformers.Qwen2Config, "Qwen3": transformers.Qwen3Config, "Llama": transformers.LlamaConfig}
    for name, shape in KNOWN.items():
        kind = next(kind for prefix, kind in kinds.items() if name.startswith(prefix))
        config = kind(
            vocab_size=shape.vocabulary, hidden_size=shape.hidden, num_hidden_layers=2, num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads, head_dim=shape.head, intermediate_size=shape.intermediate,
            max_position_embeddings=shape.positions, tie_word_embeddings=shape.tied, bos_token_id=None,
            eos_token_id=1, pad_token_id=0,
        )  # fmt: skip
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config)
        exact = sum(p.numel() for p in model.parameters())
        assert shape.slice(2).parameters == exact, name
        config.save_pretrained(str(tmp_path))
        again = shape_of(tmp_path)
        assert again.parameters == exact
        assert (again.positions, again.kv_width, again.qk_norm) == (shape.positions, shape.kv_width, shape.qk_norm)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        attention_bias=True, mlp_bias=True, tie_word_embeddings=False,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config)
    assert shape_of_config(config.to_dict(), "x").parameters == sum(p.numel() for p in model.parameters())


def test_names_are_found_whatever_stands_around_them() -> None:
    for name in ("Qwen2.5-32B-Instruct", "Qwen/Qwen2.5-32B", "qwen2.5-32b-base", "models/Qwen2.5-32B-Instruct"):
        assert shape_of(name) is BIG
    assert known_shape("meta-llama/Meta-Llama-3-8B-Instruct") is KNOWN["Llama-3-8B"]
    assert known_shape("Qwen2.5-33B") is None
    with pytest.raises(RecipeError, match=r"no known name[\s\S]*did you mean 'Qwen2.5-3"):
        shape_of("Qwen2.5-33B")


def test_a_folder_that_does_not_say_its_sizes(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "qwen2_moe"}')
    with pytest.raises(DataError, match=r"type 'qwen2_moe'[\s\S]*known types: qwen2"):
        shape_of(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2", "num_attention_heads": 2}')
    with pytest.raises(DataError, match="does not say its sizes"):
        shape_of(tmp_path)
    for broken in ("{", "[]"):
        (tmp_path / "config.json").write_text(broken)
        with pytest.raises(DataError, match=r"cannot be read|holds no settings"):
            shape_of(tmp_path)


# --- hardware ---------------------------------------------------------------------------------------------


def test_machines_are_read() -> None:
    read = {text: str(parse_machines(text)) for text in ("8xH100-80", "4x8xh200", "H100_80GB", " 2 x L40S ", "8×B200")}
    assert list(read.values()) == ["8xH100-80", "4x8xH200-141", "1xH100-80", "2xL40S-48", "8xB200-180"]
    assert parse_machines("4x8xH100-80").total == 32
    assert parse_machines("cpu").gpu.is_cpu
    for gpu in GPUS.values():
        nominal = int(gpu.name.rsplit("-", 1)[1])
        assert 0.95 < gpu.memory_bytes / (nominal * GB) < 1.08, gpu.name
        assert gpu.source


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("8xH100-800", "did you mean H100-80"), ("A100", "A100-40 or A100-80"), ("8xA10O-80", "did you mean A100-80"),
        ("x", "unknown GPU 'x'"), ("8", "expected a number and a kind"), ("0xH100-80", "none at all"),
    ],
)  # fmt: skip
def test_unknown_gpus_are_named_with_the_nearest(text: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse_machines(text)
    assert find_gpu("h200").name == "H200-141"


# --- operations -------------------------------------------------------------------------------------------


def test_operations_are_those_of_pytorchs_counter() -> None:
    need_extra("transformers")
    import torch
    import transformers
    from torch.utils.flop_counter import FlopCounterMode

    torch.set_num_threads(1)
    config = transformers.Qwen2Config(
        vocab_size=96, hidden_size=64, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
        intermediate_size=160, tie_word_embeddings=False, bos_token_id=None, eos_token_id=1, pad_token_id=0,
    )  # fmt: skip
    shape = shape_of_config(config.to_dict(), "tiny")
    for checkpointing in (False, True):
        model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").train()
        if checkpointing:
            model.activation_checkpointing_enable({"use_reentrant": False})
        with FlopCounterMode(display=False) as counter:
            loss = model(input_ids=torch.ones(2, 48, dtype=torch.long), use_cache=False).logits.sum()
            forward = counter.get_total_flops()
            loss.backward()
        made = training_flops(shape, [48, 48], recompute=checkpointing, causal=False)
        assert made.forward == forward
        assert made.hardware == counter.get_total_flops()
        assert (made.recompute > 0) == checkpointing


def test_a_causal_mask_leaves_half_of_attention_and_adapters_leave_a_product_out() -> None:
    assert attention_flops(BIG, 1000) * 2 == attention_flops(BIG, 1000, causal=False)
    whole, frozen = training_flops(BIG, [1000]), training_flops(BIG, [1000], frozen=True)
    assert whole.backward - frozen.backward == matrix_flops(BIG, 1000)
    # 6 operations a parameter and token, but for the embeddings, which are looked up
    short = training_flops(BIG, [10])
    assert short.model / 10 == pytest.approx(6 * (BIG.parameters - BIG.embedding_parameters), rel=1e-3)
    assert (whole + frozen).times(2).model == 2 * (whole.model + frozen.model)


# --- memory -----------------------------------------------------------------------------------------------


def test_memory_of_a_real_step_is_predicted() -> None:
    need_extra("trl")
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from bench.memory_model import Case, measure, measure_layers, measure_slice

    for case in (
        Case(128, 2, 256), Case(128, 3, 256, checkpointing=True, micro_batches=2),
        Case(128, 2, 256, precision="bf16", checkpointing=True), Case(128, 2, 128, rows=3, family="qwen3", tied=True),
    ):  # fmt: skip
        shape, memory, measured = measure(case)
        assert shape.parameters > 100_000
        assert memory.allocated_bytes == pytest.approx(measured, rel=0.02), str(case)
        _, expected, alone = measure_layers(case)
        assert expected == pytest.approx(alone, rel=0.10), str(case)
    for name, compute, checkpointing in (("Qwen2.5-32B", "bf16", True), ("Qwen2.5-7B", "autocast", False)):
        expected, found = measure_slice(name, 2, 32768, compute, checkpointing)
        assert expected == pytest.approx(found, rel=0.05), name


def test_figures_of_the_32b_model_on_eight_gpus() -> None:
    memory = predict(BIG, 32768, ZERO3)
    item = {one.name: one.bytes / GB for one in memory.items}
    assert item["weights"] == pytest.approx(8.19, abs=0.01)
    assert item["gradients"] == pytest.approx(8.19, abs=0.01)
    assert item["optimiser"] == pytest.approx(49.15, abs=0.01)
    assert item["layer inputs"] == pytest.approx(21.47, abs=0.01)
    shared = predict(BIG, 32768, ZERO3, sequence_parallel=8)
    assert {one.name: one.bytes / GB for one in shared.items}["layer inputs"] == pytest.approx(2.68, abs=0.01)
    assert memory.peak_bytes > 85 * GB > shared.peak_bytes
    table = predict(BIG, 32768, ZERO3, loss_head="full")
    assert table.moments["loss"] - memory.moments["loss"] > 25 * GB


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted(KNOWN)), tokens=st.integers(64, 65536), rows=st.integers(1, 4),
    sharding=st.sampled_from(["none", "zero1", "zero2", "zero3", "fsdp2"]), again=st.booleans(),
    away=st.booleans(), precision=st.sampled_from(["fp32", "bf16"]), head=st.sampled_from(["fused", "liger", "full"]),
    lora=st.sampled_from([None, 16]),
)  # fmt: skip
def test_memory_grows_with_what_is_asked_and_adds_up(
    name: str, tokens: int, rows: int, sharding: Any, again: bool, away: bool, precision: Any, head: Any, lora: Any
) -> None:
    setting = Setting(
        nproc=4, micro_batch_size=rows, sharding=sharding, gradient_checkpointing=again, offload_activations=away,
        precision=precision, loss_head=head, lora_rank=lora,
    )  # fmt: skip
    shape = KNOWN[name]
    memory = predict(shape, tokens, setting)
    assert all(one.bytes >= 0 for one in (*memory.items, *memory.fixed, *memory.cpu))
    assert memory.allocated_bytes == pytest.approx(memory.moments[memory.peak]) == max(memory.moments.values())
    assert (
        predict(shape, tokens + 64, setting).allocated_bytes > memory.allocated_bytes - 1
        or memory.peak == "optimiser step"
    )
    assert predict(shape, tokens, setting, micro_batch_size=rows + 1).allocated_bytes >= memory.allocated_bytes
    assert predict(shape, tokens, setting, sequence_parallel=2).moments["loss"] <= memory.moments["loss"]
    if sharding != "none" and lora is None:
        fewer = predict(shape, tokens, setting, nproc=2)
        assert fewer.moments["backward ends"] >= memory.moments["backward ends"]


# --- layouts ----------------------------------------------------------------------------------------------


def test_the_32b_model_on_80_and_141_gb() -> None:
    large = search(BIG, 32768, parse_machines("8xH200-141"), Setting(), 16)
    assert large.fits
    assert (large.setting.sharding, large.setting.offload, large.setting.sequence_parallel) == ("zero3", "none", 1)
    small = search(BIG, 32768, parse_machines("8xH100-80"), Setting(), 16)
    assert small.fits
    assert (small.setting.sharding, small.setting.offload) == ("zero3", "none")
    assert small.setting.sequence_parallel > 1
    for found in (large, small):
        before = found.knobs[0].before_bytes
        assert before - sum(knob.saved_bytes for knob in found.knobs) == pytest.approx(found.memory.peak_bytes)
        assert all(knob.saved_bytes > 0 for knob in found.knobs)
        assert str(found.knobs[0]) == "gradient_checkpointing=true"


def test_a_small_model_needs_no_knob_and_a_large_one_may_not_fit() -> None:
    one = parse_machines("H100-80")
    tiny = search(KNOWN["Qwen2.5-0.5B"], 4096, one, Setting(gradient_checkpointing=False), 1)
    assert (tiny.fits, tiny.knobs) == (True, [])
    none = search(KNOWN["Qwen2.5-72B"], 32768, parse_machines("RTX4090-24"), Setting(), 16, cpu_bytes=64 * GB)
    assert not none.fits
    # With a CPU of known size, offload counts against it.
    away = search(BIG, 32768, one, Setting(), 16)
    assert away.fits
    assert away.setting.offload != "none"
    assert not search(BIG, 32768, one, Setting(), 16, cpu_bytes=200 * GB).fits
    assert fits(away.memory, one)
    assert not fits(away.memory, one, 200 * GB)


def test_more_ranks_than_rows_share_sequences() -> None:
    found = search(KNOWN["Qwen2.5-7B"], 8192, parse_machines("4x8xH100-80"), Setting(sharding="zero3"), 16)
    assert found.setting.sequence_parallel >= 2
    assert found.fits


def test_the_fewest_gpus_and_each_knob_alone() -> None:
    best = fewest(KNOWN["Qwen2.5-7B"], 8192, parse_machines("8xH100-80"), Setting(), 16, cpu_bytes=50 * GB)
    assert best is not None
    machines, found = best
    assert found.fits
    assert 1 < machines.total <= 8  # 16 bytes a parameter are 122 GB
    alone = {str(knob): knob.saved_bytes for knob in singly(BIG, 32768, ZERO3, 16)}
    assert alone["sequence_parallel=8"] > alone["sequence_parallel=2"] > 0
    assert any("offload=all" in name for name in alone)


# --- cost -------------------------------------------------------------------------------------------------


def test_hours_are_operations_over_peak_and_share() -> None:
    machines = parse_machines("8xH100-80")
    cost = training_cost(Operations(1e18, 2e18, 1e18), machines, 0.5, price=2.0)
    assert cost.hours == pytest.approx(3e18 / (0.5 * 989.4e12 * 8) / 3600)
    assert cost.gpu_hours == pytest.approx(8 * cost.hours)
    assert cost.price == pytest.approx(2 * cost.gpu_hours)
    assert cost.hfu == pytest.approx(0.5 * 4 / 3)
    # The paper's run: 83 GPU-hours for 1,000 samples of at most 32k tokens, four times, at most 14 % of the peak.
    most = training_flops(BIG, [32768] * 4000, causal=False)
    assert most.model / (83 * 3600 * 989.4e12) == pytest.approx(0.14, abs=0.01)


def test_disk_and_generation() -> None:
    assert checkpoint_bytes(BIG, ZERO3) == (14 * BIG.parameters, 2 * BIG.parameters)
    assert checkpoint_bytes(BIG, Setting()) == (12 * BIG.parameters, 4 * BIG.parameters)
    assert kv_bytes_a_token(BIG) == 262_144
    keys: dict[str, Any] = {"outputs": 560, "mean_tokens": 4000, "prompt_tokens": 200, "most_tokens": 32000}
    fast = inference_cost(BIG, parse_machines("8xH200-141"), **keys)
    slow = inference_cost(BIG, parse_machines("2xA100-80"), **keys)
    assert fast is not None
    assert slow is not None
    assert fast.tokens == slow.tokens == 560 * 4000
    assert fast.hours < slow.hours
    assert slow.tensor_parallel == 2
    assert inference_cost(BIG, parse_machines("RTX4090-24"), **keys) is None


# --- the command ------------------------------------------------------------------------------------------


def test_planning_loads_no_torch() -> None:
    code = "import sys; from long1k.cli import app; import long1k.plan_text; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize(
    "words",
    [
        "long1k-32b --gpus 8xH100-80 --price 2.5", "long1k-32b --gpus 8xH200-141 --tokens 32768",
        "long1k-32b --gpus H100-80 --cpu-memory 100", "long1k-32b --gpus 2x8xL40S --model Qwen2.5-7B --mfu 0.3",
        "long1k-32b --gpus 8xH100-80 --set train.lora.rank=16 --set train.lora.quantized=true --set train.packing=32768 "
        "--set train.layout.sharding=none --set train.layout.offload=none",
        "quickstart --gpus cpu", "quickstart --gpus RTX4090 --tokens 4096 --answer-tokens 50",
    ],
)  # fmt: skip
def test_plans_stay_within_100_columns(words: str, tmp_path: Path) -> None:
    status, text = run("plan", *words.split(), "--runs", str(tmp_path))
    assert status == 0, text
    assert max(len(line) for line in text.splitlines()) <= 100
    for word in ("Plan of", "Model", "peak", "Training", "Disk", "Asking"):
        assert word in text


def test_a_plan_says_what_fits(tmp_path: Path) -> None:
    _, text = run("plan", "long1k-32b", "--gpus", "8xH100-80", "--tokens", "32768", "--runs", str(tmp_path))
    assert "fits" in text
    assert "--set train.layout.sequence_parallel=" in text
    _, text = run("plan", "long1k-32b", "--gpus", "8xH100-80", "--set", "train.layout.offload=none")
    assert "does not fit" in text
    assert "From the recipe's layout, each alone:" in text
    _, text = run("plan", "long1k-32b", "--gpus", "8xRTX4090", "--cpu-memory", "64")
    assert "No layout fits these GPUs" in text
    _, text = run("plan", "long1k-32b", "--gpus", "8xH100-80", "--tokens", "40000")
    assert "longer than the model's 32,768 positions" in text


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("quickstart --gpus 8xH100-800", "did you mean H100-80"), ("quickstart --gpus cpu --mfu 0", "--mfu 0"),
        ("real-traces --gpus cpu", "trains nothing"), ("long1k-32b --gpus cpu --model Qwen9", "no known name"),
        ("no-such --gpus cpu", "no recipe 'no-such'"),
    ],
)  # fmt: skip
def test_mistakes_are_told(words: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONG1K_DATA", str(tmp_path))
    status, text = run("plan", *words.split())
    assert status == 2
    assert said in text


def test_samples_that_are_there_are_measured(tmp_path: Path, micro_chat: Chat) -> None:
    recipe = load_recipe("quickstart", ["seeds=[0]"])
    planned = plan_study(recipe, runs=tmp_path)
    assert {arm.name: arm.lengths.known_by for arm in planned.arms}["L65"] == "targets"
    collect(tmp_path / "pool", [("micro", MicroSource(MicroConfig(count=400)))], CollectConfig(), micro_chat)
    keys: dict[str, Any] = {"num_problems": (1, 8), "layout": "turns", "linkers": "micro", "tolerance": 0.1}
    folder = tmp_path / "quickstart" / "arms" / "L65" / "seed-0" / "synthesize"
    made = synthesize(
        folder, tmp_path / "pool", arm="L65", specs=[JoinSpec(target=60, samples=9, **keys)], seed=0, chat=micro_chat
    )
    arm = next(arm for arm in plan_study(recipe, runs=tmp_path).arms if arm.name == "L65")
    assert arm.lengths.known_by == "samples"
    assert arm.lengths.samples == 9
    group = made.info["groups"][0]
    assert (arm.lengths.longest, min(one for one, _ in arm.lengths.counts)) == (
        group["max_tokens"],
        group["min_tokens"],
    )


def test_lengths_that_only_the_data_can_tell_are_assumed_and_said(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        json.dumps(
            {
                "name": "r", "tokenizer": "package:micro", "model": "Qwen2.5-7B",
                "sources": {"m": {"type": "micro", "count": 100}},
                "arms": [
                    {"kind": "same_problems", "sets": 2, "samples": 10},
                    {"kind": "samples", "name": "w", "groups": [{"window": [100, 300], "samples": 8, "mode": "single"}]},
                    {"kind": "samples", "name": "j", "groups": [{"target": 900, "samples": 8, "num_problems": [3, 3]}]},
                    {"kind": "single_long", "of": "j"},
                    {"kind": "problem_matched", "of": "j"},
                    {"kind": "mode", "of": "j", "mode": "no_linker"},
                    {"kind": "untrained"},
                ],
                "train": {"epochs": 2, "batch_size": 4, "max_tokens": 5000},
                "benchmarks": {"mine": {"type": "jsonl", "path": str(tmp_path / "none.jsonl")}},
            }
        )
    )  # fmt: skip
    study = plan_study(load_recipe(str(recipe)), runs=tmp_path)
    by_name = {arm.name: arm for arm in study.arms}
    assert by_name["set-1"].longest_row == 5000
    assert (by_name["w"].lengths.longest, by_name["w"].lengths.mean) == (300, 200)
    assert by_name["problems-of-j"].lengths.samples == 24
    assert by_name["problems-of-j"].lengths.mean == 300
    assert by_name["no-linker-of-j"].lengths.mean == 900
    assert study.models == len(study.arms) + 1
    assert study.questions == {}
    assert any("lengths are known once the data is made" in note for note in study.notes)
    assert any("window's middle" in note for note in study.notes)


def test_a_setting_follows_the_layout() -> None:
    train = load_recipe("long1k-32b").train
    assert train is not None
    setting = setting_of(train, [12000, 9000], 8, 1, "gpu")
    assert (setting.micro_batch_size, setting.accumulate, setting.masked) == (1, True, False)
    assert (setting.sharding, setting.offload, setting.compute) == ("zero3", "all", "bf16")
    copies = train.model_copy(update={"layout": train.layout.model_copy(
        update={"sharding": "none", "offload": "none", "micro_batch_size": None})})  # fmt: skip
    whole = setting_of(copies, [12000, 9000], 8, 1, "gpu")
    assert (whole.micro_batch_size, whole.accumulate, whole.masked, whole.compute) == (2, False, True, "autocast")
