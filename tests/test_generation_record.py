"""What is kept of a run under way: nothing is lost, torn or held in memory, and no second run comes between."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from long1k.benchmarks.micro import MicroBenchmark, MicroBenchmarkConfig
from long1k.chat import Chat
from long1k.errors import DataError, EngineError
from long1k.generation.base import Sampling, Serving
from long1k.generation.budget import Sample
from long1k.generation.ends import end_ids
from long1k.generation.flow import close_runner, new_runner, run_on
from long1k.generation.record import FILE, open_record
from long1k.generation.repeats import Seen
from long1k.locks import locked
from long1k.rows import Prediction
from long1k.stages.predict import EngineSpec, predict
from long1k.summary import predict_summary
from long1k.tables import is_current, read_manifest, read_table
from scripted import ScriptedEngine, letters, model_folder
from standin import StandIn, send, serving


def sample(key: str, tokens: int = 3) -> Sample:
    return Sample(key, list(range(1000, 1000 + tokens)), "stop", "natural", [(0, 1)])


@pytest.fixture
def record_file(tmp_path: Path) -> Path:
    path = tmp_path / FILE
    with open_record(path) as record:
        for n in range(6):
            record.add(sample(f"q/{n}", n + 1), "engine 1", "m")
    return path


def test_samples_come_back_as_they_were(record_file: Path) -> None:
    with open_record(record_file) as record:
        assert [record.read(f"q/{n}")[0].token_ids for n in (5, 0, 3)] == [
            sample("", n + 1).token_ids for n in (5, 0, 3)
        ]
        assert record.read("q/2") == (sample("q/2", 3), "engine 1")
        record.add(sample("q/6"), "engine 2")
        assert (len(record), record.served) == (7, {"m"})
        record.add(Sample("q/7", [], "error", None, [], error="gone"), "engine 2")
    with open_record(record_file) as record:
        assert list(record.keys()) == [f"q/{n}" for n in range(7)]  # what failed is drawn again


@pytest.mark.parametrize("left", [1, 20, 80])
def test_a_torn_end_is_cut_off_and_gone_on_from(record_file: Path, left: int) -> None:
    whole = record_file.read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    record_file.write_bytes(whole[: last + left])
    with open_record(record_file) as record:
        assert list(record.keys()) == [f"q/{n}" for n in range(5)]
        record.add(sample("q/5", 6), "engine 1", "m")
    assert record_file.read_bytes() == whole


NO_IDS = (
    b'{"key": "q/9", "ids": null, "finish_reason": "stop", "flag": null, "forced": [], "text": null, "engine": "e"}'
)


@pytest.mark.parametrize(
    "damage",
    [b"\x00" * 9, b"{}", b'{"key": "q/9"}', b"[1]", b"\xff", b"7", NO_IDS, NO_IDS.replace(b'"e"', b"1")],
)
def test_a_damaged_line_costs_that_sample_alone(record_file: Path, damage: bytes) -> None:
    lines = record_file.read_bytes().splitlines()
    record_file.write_bytes(b"\n".join([*lines[:2], damage, *lines[3:], b""]))
    with open_record(record_file) as record:
        assert list(record.keys()) == ["q/0", "q/1", "q/3", "q/4", "q/5"]
        assert record.read("q/5")[0].token_ids == sample("", 6).token_ids


def test_outputs_are_not_held_in_memory(tmp_path: Path) -> None:
    tracemalloc.start()
    try:
        with open_record(tmp_path / FILE) as record:
            for n in range(100):  # each of them 70 kB as numbers
                record.add(sample(f"q/{n}", 2000), "e")
            assert tracemalloc.get_traced_memory()[0] < 1_000_000
        with open_record(tmp_path / FILE) as record:
            assert len(record) == 100
            assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


# --- predict ----------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path: Path) -> Path:
    ScriptedEngine.says = staticmethod(lambda prompt, sample: (f"<think>\n{sample}\n</think>\n\n\\boxed{{1}}", "stop"))
    return model_folder(tmp_path / "model")


def arguments(model: Path, **engine: Any) -> dict[str, Any]:
    return {
        "checkpoint": model, "benchmark_name": "micro", "benchmark": MicroBenchmark(MicroBenchmarkConfig(count=4)),
        "sampling": Sampling(max_new_tokens=64, temperature=1, samples=2), "chat": letters(),
        "engine": EngineSpec({"type": "scripted:ScriptedEngine", **engine}), "arm": "a", "train_seed": None,
    }  # fmt: skip


def test_a_second_run_on_the_same_folder_is_refused(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with locked(out, "--out"), pytest.raises(EngineError, match=r"another run is working on .*out"):
        predict(out, **arguments(model))
    predict(out, **arguments(model))
    assert not (out / ".lock").exists()


def test_a_table_that_was_finished_while_we_looked_is_left_alone(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    whole = predict(out, **arguments(model))
    looks: list[str] = []

    def current(folder: Path, wanted: str) -> bool:
        looks.append(wanted)
        return len(looks) > 1 and is_current(folder, wanted)

    monkeypatch.setattr("long1k.stages.predict.is_current", current)
    before = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert predict(out, **arguments(model)) == whole
    assert before == {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert len(looks) == 2


def test_a_kill_between_manifest_and_record_leaves_no_record(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    whole = predict(out, **arguments(model))
    (out / FILE).write_text("{}\n")
    assert predict(out, **arguments(model)).digest == whole.digest
    assert not (out / FILE).exists()


def test_a_kill_before_the_manifest_needs_no_engine(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    whole = predict(tmp_path / "whole", **arguments(model))
    with monkeypatch.context() as patch:
        patch.setattr("long1k.stages.predict._Account.info", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            predict(out, **arguments(model))

    def start() -> Any:
        raise AssertionError("nothing is left to draw")

    assert predict(out, **arguments(model), start=start).digest == whole.digest


def test_parts_hold_some_outputs_each(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = read_table(whole_of(tmp_path / "whole", model), Prediction)
    monkeypatch.setattr("long1k.stages.predict._PART_ROWS", 3)
    parted = whole_of(tmp_path / "parted", model)
    assert read_table(parted, Prediction) == rows
    assert sum(name.startswith("part-") for name in read_manifest(parted).files) == 3
    info, other = read_manifest(parted).info, read_manifest(tmp_path / "whole").info
    assert info == other
    assert info["equal_outputs"] == len(rows) - len({(row.problem_id, row.text) for row in rows})
    assert len({Seen.of(row).digest for row in rows}) == len({row.token_ids for row in rows})


def whole_of(folder: Path, model: Path) -> Path:
    predict(folder, **arguments(model))
    return folder


# --- end tokens -------------------------------------------------------------------------------------------


def folder_with(folder: Path, **files: Any) -> Path:
    folder.mkdir()
    for name, values in files.items():
        (folder / f"{name}.json").write_text(json.dumps(values))
    return folder


def test_end_tokens_of_template_settings_and_tokenizer(tmp_path: Path) -> None:
    chat = letters()
    end, x, y = chat.end_id, *chat.tokenizer.encode("xy")
    assert end_ids(folder_with(tmp_path / "none"), chat) == (end,)
    assert end_ids(folder_with(tmp_path / "one", generation_config={"eos_token_id": x}), chat) == (end, x)
    assert end_ids(folder_with(tmp_path / "two", generation_config={"eos_token_id": [y, end]}), chat) == (end, y)
    assert end_ids(folder_with(tmp_path / "config", config={"eos_token_id": y}), chat) == (end, y)
    both = folder_with(tmp_path / "both", generation_config={"eos_token_id": x}, config={"eos_token_id": y})
    assert end_ids(both, chat) == (end, x)  # as generate reads them
    beyond = folder_with(tmp_path / "beyond", generation_config={"eos_token_id": [10**6, -1, x]})
    assert end_ids(beyond, chat) == (end, x)
    tag = chat.tokenizer.encode("k")[0]  # stands in <think>, so it ends nothing
    assert end_ids(folder_with(tmp_path / "tag", generation_config={"eos_token_id": tag}), chat) == (end,)
    (tmp_path / "none" / "generation_config.json").write_text("{half")
    assert end_ids(tmp_path / "none", chat) == (end,)


def test_an_output_that_ends_with_the_models_own_token_has_ended(model: Path, tmp_path: Path) -> None:
    chat = letters()
    other = chat.tokenizer.encode("~")[0]
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": [other]}))

    class Ends(ScriptedEngine):
        def run(self, jobs: Any, sampling: Any, done: Any, finished: Any = ()) -> None:
            def ended(output: Any) -> Any:
                output.token_ids[-1] = other
                return done(output)

            super().run(jobs, sampling, ended, finished)

    made = predict(tmp_path / "out", **arguments(model), start=lambda: Ends(None, Serving(model, chat)))  # type: ignore[arg-type]
    assert made.config["end_ids"] == [chat.end_id, other]
    assert (made.info["ended_otherwise"], made.info["finish_reasons"]) == (8, {"stop": 8})
    for row in read_table(tmp_path / "out", Prediction):
        assert row.text.endswith("~")  # what was drawn is kept whole
        assert row.answer_text == "\\boxed{1}"
    (model / "generation_config.json").write_text(json.dumps({"eos_token_id": chat.end_id}))
    assert predict(tmp_path / "b", **arguments(model)).fingerprint != made.fingerprint


# --- what a server serves ---------------------------------------------------------------------------------


@pytest.fixture
def server() -> Iterator[StandIn]:
    with serving(StandIn(letters())) as running:
        yield running


def served(server: StandIn, folder: Path, chat: Chat, **sampling: Any) -> Any:
    keys = {"type": "openai", "url": server.url, "backoff_seconds": 0.01, "retries": 0, "concurrency": 1}
    return predict(
        folder, checkpoint=chat.tokenizer.folder, benchmark_name="micro",
        benchmark=MicroBenchmark(MicroBenchmarkConfig(count=8)),
        sampling=Sampling(max_new_tokens=16, temperature=1, **sampling), chat=chat, engine=EngineSpec(keys), arm="a",
        train_seed=None,
    )  # fmt: skip


def test_a_server_with_another_model_does_not_go_on_with_a_table(server: StandIn, tmp_path: Path) -> None:
    chat, entry = letters(), {"id": "m", "root": "org/first", "owned_by": "vllm", "max_model_len": 4096}
    server.models = {"data": [entry]}
    honest = server.answer
    server.answer = lambda h, b, number: send(h, {}, 401) if number > 5 else honest(h, b, number)  # type: ignore[func-returns-value]
    out = tmp_path / "out"
    with pytest.raises(EngineError):
        served(server, out, chat)
    with open_record(out / FILE) as record:
        assert record.served == {"m (org/first)"}
        kept = len(record)
    assert kept
    server.answer = honest
    server.models = {"data": [{**entry, "root": "/models/second"}]}
    with pytest.raises(DataError, match=r"outputs of m \(org/first\), and the server has m \(second\) now"):
        served(server, out, chat)
    server.models = {"data": [entry]}
    asked = len(server.bodies)
    made = served(server, out, chat)
    assert made.info["served"] == ["m (org/first)"]
    assert "answered by m (org/first)" in predict_summary(out, made)
    assert len(server.bodies) - asked == 8 - kept


@pytest.mark.parametrize("whole", [b"x" * 2**16, b"x"])
def test_a_list_of_models_without_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bytes) -> None:
    monkeypatch.setattr("long1k.generation.openai._LOOK_BYTES", 2**18)
    monkeypatch.setattr("long1k.generation.openai._LOOK_SECONDS", 0.4 if whole == b"x" else 30.0)

    class Endless(BaseHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            with suppress(OSError):  # until the client goes
                while True:
                    self.wfile.write(whole)
                    time.sleep(0.01)

    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        spec = EngineSpec({"type": "openai", "url": f"http://127.0.0.1:{server.server_port}/v1"})
        with pytest.raises(EngineError, match="does not come to an end"):
            spec.start(tmp_path, letters())
        server.shutdown()


def test_a_server_is_asked_from_within_a_running_loop_as_in_a_notebook(server: StandIn, tmp_path: Path) -> None:
    async def cell() -> Any:
        return served(server, tmp_path / "cell", letters())

    made = asyncio.run(cell())
    assert made.digest == served(server, tmp_path / "plain", letters()).digest


def test_ctrl_c_in_a_notebook_ends_what_runs_beside_it() -> None:
    started, ended = threading.Event(), []

    async def forever() -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("forever")

    async def cell() -> None:
        run_on(runner, forever())

    def interrupt() -> None:
        if started.wait(30):
            os.kill(os.getpid(), signal.SIGINT)

    runner, loop, thread = new_runner(), asyncio.new_event_loop(), threading.Thread(target=interrupt)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            loop.run_until_complete(cell())
        assert ended == ["forever"]
    finally:
        thread.join()
        close_runner(runner)
        loop.close()


def test_servers_end_at_the_models_end_tokens_and_say_at_which(server: StandIn, tmp_path: Path) -> None:
    chat = letters()
    other = chat.tokenizer.encode("~")[0]
    folder = model_folder(tmp_path / "model")
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [other]}))
    honest = server.honest

    def answer(handler: Any, body: Any, number: int) -> Any:
        values = honest(handler, body, number)
        choice = values["choices"][0]
        ids = chat.tokenizer.encode("ab")
        choice |= {
            "finish_reason": "stop",
            "text": "ab",
            "stop_reason": other,
            "token_ids": [*ids, other][: 2 + number % 2],
        }
        return values

    server.answer = answer
    for prompts in ("ids", "text"):
        spec = EngineSpec({"type": "openai", "url": server.url, "prompts": prompts, "server": "vllm"})
        values = {**arguments(folder), "engine": spec}
        made = predict(tmp_path / prompts, **values)
        assert {tuple(body["stop_token_ids"]) for body in server.bodies} == {(chat.end_id, other)}
        assert made.info["ended_otherwise"] == 8
        assert {row.answer_text for row in read_table(tmp_path / prompts, Prediction)} == {"ab"}
