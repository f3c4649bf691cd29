"""A real server (transformers serve) with a tiny model: its greedy outputs are those of the engine in process."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from long1k.benchmarks.micro import MicroBenchmark, MicroBenchmarkConfig
from long1k.chat import Chat
from long1k.errors import EngineError
from long1k.generation.base import Engine, Job, Output, Sampling, Serving
from long1k.rows import Prediction
from long1k.stages.predict import EngineSpec, predict
from long1k.tables import read_table
from long1k.tokens import load_tokenizer
from long1k.training.config import ModelInit
from realdata import need_extra

for module in ("trl", "httpx2", "fastapi", "uvicorn", "openai"):
    need_extra(module)
import torch  # noqa: E402
import transformers  # noqa: E402

from long1k.generation.hf import TransformersConfig, TransformersEngine  # noqa: E402
from long1k.generation.openai import ServerEngine  # noqa: E402
from long1k.generation.server import ServerConfig  # noqa: E402
from long1k.training.checkpoint import new_model  # noqa: E402
from long1k.training.saving import save_checkpoint  # noqa: E402

CHAT = Chat(load_tokenizer("package:micro"))
GREEDY = Sampling(max_new_tokens=24)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained tiny model of a family whose tokenizer the server reads as it stands."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("served")
    config = transformers.GraniteConfig(
        vocab_size=CHAT.tokenizer.vocab_size, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, initializer_range=0.3, max_position_embeddings=512,
        pad_token_id=0, bos_token_id=None, eos_token_id=CHAT.end_id,
    )  # fmt: skip
    model = transformers.AutoModelForCausalLM.from_config(config)
    others = [CHAT.tokenizer.token_id(token) for token in CHAT.tokenizer.special_tokens if token != CHAT.end_token]
    with torch.no_grad():  # special tokens are cut out of the server's texts; only the end token can be put back
        model.get_output_embeddings().weight[others] = 0
    save_checkpoint(model, CHAT.tokenizer, CHAT.end_id, folder)
    return folder


@pytest.fixture(scope="module")
def misread(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One of a family for which the server's library takes pre-tokenization rules of its own."""
    folder = tmp_path_factory.mktemp("misread")
    model = new_model(ModelInit(hidden_size=32, num_heads=2), CHAT.tokenizer, CHAT.end_id)
    save_checkpoint(model, CHAT.tokenizer, CHAT.end_id, folder)
    return folder


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The server's address; it is killed at the end."""
    home = tmp_path_factory.mktemp("home")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    code = "from transformers.cli.transformers import main; main()"
    command = [sys.executable, "-c", code, "serve", "--host", "127.0.0.1", "--port", str(port),
               "--device", "cpu"]  # fmt: skip
    env = {**os.environ, "HF_HOME": str(home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "DS_ACCELERATOR": "cpu"}
    log = (home / "log").open("w+")
    server = subprocess.Popen(command, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        for _ in range(900):
            try:
                urllib.request.urlopen(address + "/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert server.poll() is None, (home / "log").read_text()[-2000:]
                time.sleep(0.1)
        yield address
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
        log.close()


def jobs(count: int = 40) -> list[Job]:
    items = MicroBenchmark(MicroBenchmarkConfig(count=count, steps=(1, 3))).load()
    return [
        Job(item.item_id, CHAT.encode_prompt(item.messages), n, GREEDY.max_new_tokens, messages=tuple(item.messages))
        for n, item in enumerate(items)
    ]


def drawn(engine: Engine, asked: list[Job], sampling: Sampling = GREEDY) -> dict[str, Output]:
    outputs: dict[str, Output] = {}
    engine.run(asked, sampling, lambda output: outputs.__setitem__(output.key, output))
    return outputs


def over_http(url: str, checkpoint: Path, prompts: str) -> ServerEngine:
    config = ServerConfig(url=url, model=str(checkpoint), prompts=prompts, concurrency=4)  # type: ignore[arg-type]
    return ServerEngine(config, Serving(checkpoint, CHAT))


@pytest.mark.parametrize("prompts", ["text", "chat"])
def test_greedy_outputs_over_http_are_those_in_process(url: str, served: Path, prompts: str) -> None:
    asked = jobs()
    ours = drawn(TransformersEngine(TransformersConfig(), Serving(served, CHAT)), asked)
    theirs = drawn(over_http(url, served, prompts), asked)
    equal = sum(
        (CHAT.tokenizer.decode(output.token_ids), output.finish_reason) == (theirs[key].text, theirs[key].finish_reason)
        for key, output in ours.items()
    )
    assert equal == len(asked) == len(theirs) == 40
    assert {output.finish_reason for output in ours.values()} == {"stop", "length"}


def test_whole_predictions_over_http_are_those_in_process(url: str, served: Path, tmp_path: Path) -> None:
    specs = {"here": {"type": "transformers"}, "there": {"type": "openai", "url": url, "model": str(served)}}
    tables = {}
    for name, spec in specs.items():
        predict(
            tmp_path / name, checkpoint=served, benchmark_name="micro",
            benchmark=MicroBenchmark(MicroBenchmarkConfig(count=12, steps=(1, 3))), sampling=GREEDY, chat=CHAT,
            engine=EngineSpec(spec if name == "here" else {**spec, "prompts": "chat"}), arm="a", train_seed=0,
        )  # fmt: skip
        tables[name] = read_table(tmp_path / name, Prediction)
    for here, there in zip(tables["here"], tables["there"], strict=True):
        assert here.prompt_token_ids == there.prompt_token_ids
        assert (here.text, here.answer_text, here.finish_reason) == (there.text, there.answer_text, there.finish_reason)
        assert there.engine == f"openai: plain, {served.name}"


def test_seeds_reach_the_server(url: str, served: Path) -> None:
    asked = [replace(job, key=f"{job.key}/{seed}", seed=seed) for job in jobs(4) for seed in range(3)]
    settings = {"generation_config": json.dumps({"do_sample": True, "eos_token_id": CHAT.end_id, "pad_token_id": 0})}
    config = ServerConfig(url=url, model=str(served), prompts="text", concurrency=1, extra=settings)
    once, twice = (
        drawn(ServerEngine(config, Serving(served, CHAT)), asked, Sampling(max_new_tokens=24, temperature=1.0))
        for _ in range(2)
    )
    assert once == twice
    assert len({output.text for output in once.values()}) == 12


def test_a_server_that_reads_the_tokenizer_otherwise_is_found_out(url: str, misread: Path) -> None:
    with pytest.raises(EngineError, match=r"the server counts \d+ tokens in a prompt that has \d+ here"):
        drawn(over_http(url, misread, "text"), jobs())


def test_a_server_that_takes_no_ids_says_so(url: str, served: Path) -> None:
    with pytest.raises(EngineError, match=r"prompt must be a string[\s\S]*prompts: text or chat"):
        drawn(over_http(url, served, "ids"), jobs())
