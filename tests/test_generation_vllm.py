"""The engine on vLLM, against modules with vLLM's documented signatures (vLLM itself needs a GPU machine of its own)."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import fakevllm
from long1k.benchmarks.micro import MicroBenchmark, MicroBenchmarkConfig
from long1k.chat import Chat
from long1k.errors import DataError, EngineError, MissingExtraError, RecipeError
from long1k.generation.base import Job, Output, Sampling, Serving, identity
from long1k.generation.flow import piece_seed
from long1k.generation.vllm import VllmConfig, VllmEngine
from long1k.plugins import validate
from long1k.stages.predict import EngineSpec, predict
from long1k.tokens import load_tokenizer
from standin import drawn

CHAT = Chat(load_tokenizer("package:micro"))
SAMPLING = Sampling(max_new_tokens=12, temperature=0.7, top_p=0.9, top_k=20, min_p=0.01, repetition_penalty=1.05)
assert CHAT.end_id == fakevllm.END


STARTED: list[VllmEngine] = []


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[fakevllm.AsyncLLM]]:
    yield fakevllm.install(monkeypatch)
    while STARTED:
        STARTED.pop().close()


def engine(**keys: Any) -> VllmEngine:
    STARTED.append(VllmEngine(VllmConfig(**keys), Serving(Path("model"), CHAT)))
    return STARTED[-1]


def jobs(count: int = 30) -> list[Job]:
    return [Job(f"q/{n}", [2, 10 + n % 7, 3], 2**62 + n, 12) for n in range(count)]


def run(used: VllmEngine, asked: list[Job], **keys: Any) -> dict[str, Output]:
    outputs: dict[str, Output] = {}
    used.run(asked, SAMPLING, lambda output: outputs.__setitem__(output.key, output), **keys)
    return outputs


def test_ids_seeds_and_settings_reach_the_engine(made: list[fakevllm.AsyncLLM]) -> None:
    used = engine(tensor_parallel_size=2, max_model_len=512, concurrency=7)
    assert (used.name, used.max_positions) == ("vllm 0.0.fake", 512)
    asked = jobs()
    outputs = run(used, asked)
    assert {key: one.token_ids for key, one in outputs.items()} == {
        job.key: drawn(job.prompt_ids, job.seed, 12, fakevllm.VOCAB, fakevllm.END) for job in asked
    }
    assert {one.finish_reason for one in outputs.values()} == {"stop", "length"}
    arguments = made[0].args
    assert (arguments.model, arguments.tensor_parallel_size, arguments.enable_prefix_caching) == ("model", 2, True)
    assert arguments.generation_config == "vllm"  # not the model's own settings
    params = made[0].requests[0]["params"]
    assert (params.temperature, params.top_p, params.top_k, params.min_p, params.repetition_penalty) == (
        0.7, 0.9, 20, 0.01, 1.05,
    )  # fmt: skip
    assert params.ignore_eos
    assert not params.detokenize
    assert len({one["params"].seed for one in made[0].requests}) == 30
    assert 1 < made[0].most_running <= 7


def test_one_engine_for_several_runs_and_only_what_is_missing(made: list[fakevllm.AsyncLLM]) -> None:
    used, asked = engine(), jobs()
    first = run(used, asked)
    second = run(used, asked, finished={job.key for job in asked[3:]})
    assert second == {job.key: first[job.key] for job in asked[:3]}
    used.close()
    assert len(made) == 1
    assert made[0].closed


def test_pieces_go_on_at_once_with_a_seed_of_their_own(made: list[fakevllm.AsyncLLM]) -> None:
    used = engine(concurrency=1)
    rounds: list[tuple[str, int]] = []

    def done(output: Output) -> Job | None:
        before = sum(key == output.key for key, _ in rounds)
        rounds.append((output.key, before))
        job = next(job for job in jobs(3) if job.key == output.key)
        return (
            Job(job.key, [*job.prompt_ids, *output.token_ids], job.seed, 5, drawn=len(output.token_ids))
            if before < 2
            else None
        )

    used.run(jobs(3), SAMPLING, done)
    assert rounds == [(f"q/{n}", piece) for n in range(3) for piece in range(3)]
    assert len({one["params"].seed for one in made[0].requests}) == 9
    assert piece_seed(jobs(1)[0]) == jobs(1)[0].seed


def test_one_request_that_fails_is_one_error(made: list[fakevllm.AsyncLLM]) -> None:
    used = engine(max_model_len=8)

    def spoil(number: int, answer: fakevllm.CompletionOutput) -> None:
        if number == 2:
            answer.finish_reason = "abort"

    made[0].hook = spoil
    outputs = run(used, [*jobs(5), Job("long", [5] * 9, 0, 12)])
    errors = {key: one.error or "" for key, one in outputs.items() if one.finish_reason == "error"}
    assert len(outputs) == 6
    assert "longer than the maximum" in errors.pop("long")
    assert ["'abort'" in reason for reason in errors.values()] == [True]


def test_an_engine_that_dies_ends_the_run_and_keeps_what_was_drawn(made: list[fakevllm.AsyncLLM]) -> None:
    used = engine(concurrency=2)

    def die(number: int, answer: fakevllm.CompletionOutput) -> None:
        made[0].errored = number >= 5

    made[0].hook = die
    outputs: list[Output] = []
    with pytest.raises(EngineError, match=r"vLLM stopped: RuntimeError: EngineCore[\s\S]*run it again"):
        used.run(jobs(), SAMPLING, outputs.append)
    assert 4 <= len(outputs) <= 8
    assert all(one.error is None for one in outputs)
    used.close()


def test_an_adapter_is_sent_with_each_request(made: list[fakevllm.AsyncLLM], tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"adapter_config\.json"):
        engine(lora=str(tmp_path))
    (tmp_path / "adapter_config.json").write_text("{}")
    run(engine(lora=str(tmp_path)), jobs(2))
    assert made[0].args.enable_lora
    assert {one["lora"].lora_path for one in made[0].requests} == {str(tmp_path)}


def test_what_vllm_refuses_is_said(made: list[fakevllm.AsyncLLM]) -> None:
    with pytest.raises(EngineError, match=r"greater than the derived max_model_len[\s\S]*gpu_memory_utilization"):
        engine(max_model_len=4096)
    with pytest.raises(EngineError, match="no_such_argument"):
        engine(extra={"no_such_argument": 1})
    with pytest.raises(RecipeError, match="dtype: has a key of its own"):
        validate(VllmConfig, {"extra": {"dtype": "float16"}}, "engine (vllm)")


def test_how_it_is_run_is_not_what_an_output_depends_on() -> None:
    assert identity("vllm", VllmConfig(tensor_parallel_size=8, concurrency=3)) == identity("vllm", VllmConfig())
    assert identity("vllm", VllmConfig(dtype="float16")) != identity("vllm", VllmConfig())


def test_without_vllm_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)
    with pytest.raises(MissingExtraError, match=r"long1k\[vllm\]"):
        engine()


def test_a_table_of_predictions_is_made_with_it(made: list[fakevllm.AsyncLLM], tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    header = json.dumps({"a": {"dtype": "F32", "shape": [0], "data_offsets": [0, 0]}}).encode()
    (tmp_path / "model" / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    manifest = predict(
        tmp_path / "out", checkpoint=tmp_path / "model", benchmark_name="micro",
        benchmark=MicroBenchmark(MicroBenchmarkConfig(count=10, steps=(1, 3))),
        sampling=Sampling(max_new_tokens=12, temperature=1, samples=4), chat=CHAT, engine=EngineSpec({"type": "vllm"}),
        arm="a", train_seed=None,
    )  # fmt: skip
    assert (manifest.rows_out, manifest.info["engine"]) == (40, "vllm 0.0.fake")
    assert made[0].closed
