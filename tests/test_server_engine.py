"""The engine on OpenAI-compatible servers, against a stand-in that is honest or hostile."""

from __future__ import annotations

import contextlib
import email.utils
import json
import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from long1k.benchmarks.micro import MicroBenchmark, MicroBenchmarkConfig
from long1k.chat import Chat
from long1k.errors import EngineError, Long1kError, RecipeError
from long1k.generation.base import Budget, Engine, Job, Output, Sampling, Serving, identity
from long1k.generation.flow import piece_seed
from long1k.generation.record import FILE, open_record
from long1k.generation.wire import BadAnswer, read_answer, read_json
from long1k.plugins import validate
from long1k.rows import Message, Prediction
from long1k.stages.predict import EngineSpec, predict
from long1k.summary import predict_warnings
from long1k.tables import read_table
from long1k.tokens import load_tokenizer
from realdata import need_extra
from standin import StandIn, drawn, send, serving

need_extra("httpx2")

from long1k.generation.openai import ServerEngine  # noqa: E402
from long1k.generation.server import ServerConfig  # noqa: E402

CHAT = Chat(load_tokenizer("package:micro"))
SAMPLING = Sampling(max_new_tokens=12, temperature=1.0)


@pytest.fixture
def server() -> Iterator[StandIn]:
    with serving(StandIn(CHAT)) as made:
        yield made


def engine(server: StandIn, **keys: Any) -> ServerEngine:
    config = ServerConfig(**{"url": server.url, "backoff_seconds": 0.01, "concurrency": 8, **keys})
    return ServerEngine(config, Serving(Path("none"), CHAT))


def jobs(count: int = 20) -> list[Job]:
    made = []
    for n in range(count):
        messages = (Message("user", f"{'abcdefgh'[n % 8]}⊕b"),)
        made.append(Job(f"q{n % 8}/{n}", CHAT.encode_prompt(messages), 2**62 + n, 12, messages=messages))
    return made


def run(made: Engine, asked: list[Job], sampling: Sampling = SAMPLING, **keys: Any) -> dict[str, Output]:
    outputs: dict[str, Output] = {}
    thread = threading.get_ident()

    def done(output: Output) -> None:
        assert threading.get_ident() == thread
        assert output.key not in outputs
        outputs[output.key] = output

    made.run(asked, sampling, done, **keys)
    return outputs


def expected(job: Job) -> list[int]:
    return drawn(job.prompt_ids, piece_seed(job) % 2**31, job.max_new_tokens, 60, CHAT.end_id)


# --- an honest server -------------------------------------------------------------------------------------


def test_ids_in_ids_out_a_seed_a_sample_and_no_n(server: StandIn) -> None:
    made, server.pause_seconds = engine(server), 0.02
    asked = jobs()
    outputs = run(made, asked)
    assert made.max_positions == 4096
    assert made.name == "openai: vllm 0.0-stand-in, m"
    assert {key: one.token_ids for key, one in outputs.items()} == {job.key: expected(job) for job in asked}
    assert all(one.text is None and one.error is None for one in outputs.values())
    assert {one.finish_reason for one in outputs.values()} == {"stop", "length"}
    assert len({body["seed"] for body in server.bodies}) == 20
    assert all("n" not in body and "stream" not in body for body in server.bodies)
    assert all(body["top_k"] == -1 and body["repetition_penalty"] == 1 for body in server.bodies)
    assert 1 < server.most_at_once <= 8


@pytest.mark.parametrize("prompts", ["text", "chat"])
def test_text_and_chat_give_the_same_outputs_with_the_end_token_put_back(server: StandIn, prompts: str) -> None:
    server.models = {"data": [{"id": "m", "owned_by": "somebody"}]}
    made = engine(server, prompts=prompts)
    assert made.max_positions is None
    for job, output in zip(asked := jobs(), (outputs := run(made, asked)).values(), strict=True):
        assert outputs[job.key].text == CHAT.tokenizer.decode(expected(job))
        assert outputs[job.key].token_ids == CHAT.tokenizer.encode(outputs[job.key].text or "")
        assert (output.finish_reason == "stop") == output.text.endswith(CHAT.end_token)  # type: ignore[union-attr]
    assert all("top_k" not in body and "return_token_ids" not in body for body in server.bodies)


def test_only_what_is_missing_is_asked(server: StandIn) -> None:
    asked = jobs()
    outputs = run(engine(server), asked, finished={job.key for job in asked[:15]})
    assert set(outputs) == {job.key for job in asked[15:]}
    assert len(server.bodies) == 5


@pytest.mark.parametrize("prompts", ["ids", "text"])
def test_further_pieces_go_on_from_the_output_with_a_seed_of_their_own(server: StandIn, prompts: str) -> None:
    first = jobs(4)
    pieces: list[Job] = []

    def done(output: Output) -> Job | None:
        job = next(job for job in [*pieces, *first] if job.key == output.key)
        if job.drawn:
            return None
        pieces.append(Job(job.key, job.prompt_ids + output.token_ids, job.seed, 5, drawn=len(output.token_ids)))
        return pieces[-1]

    engine(server, prompts=prompts).run(first, SAMPLING, done)
    assert len(server.bodies) == 8
    assert len({body["seed"] for body in server.bodies}) == 8
    with pytest.raises(RecipeError, match="half a turn"):
        run(engine(server, prompts="chat"), pieces)
    for budget in (Budget(max_thinking_tokens=4), Budget(min_thinking_tokens=4), Budget(close_loops=True)):
        with pytest.raises(RecipeError, match="prompts: chat"):
            run(engine(server, prompts="chat"), first, Sampling(budget=budget))


def test_llama_cpp_is_asked_in_its_own_words(server: StandIn) -> None:
    server.models = {"data": [{"id": "m", "owned_by": "llamacpp", "meta": {"n_ctx_train": 4096}}]}
    made = engine(server)
    assert (made.max_positions, made.name) == (512, "openai: llama.cpp b1, m")
    run(made, jobs(1), Sampling(temperature=0.5, top_k=7, repetition_penalty=1.1))
    body = server.bodies[0]
    assert (body["top_k"], body["repeat_penalty"], body["min_p"]) == (7, 1.1, 0)
    assert body["seed"] < 2**31


def test_an_adapter_has_the_length_of_its_model(server: StandIn) -> None:
    base = {"id": "m", "owned_by": "vllm", "max_model_len": 4096}
    server.models = {"data": [base, {"id": "tuned", "owned_by": "vllm", "max_model_len": None, "parent": "m"}]}
    assert engine(server, model="tuned").max_positions == 4096


def test_settings_that_a_server_would_drop_are_refused(server: StandIn) -> None:
    server.models = {"data": [{"id": "m"}]}
    with pytest.raises(RecipeError, match="top_k, repetition_penalty"):
        run(engine(server), jobs(1), Sampling(top_k=5, repetition_penalty=1.2))
    run(engine(server, extra={"top_k": 5}), jobs(1), Sampling(top_k=5, temperature=1))
    assert server.bodies[0]["top_k"] == 5


def test_the_key_comes_from_the_environment_and_stands_nowhere(
    server: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MY_KEY", raising=False)
    with pytest.raises(RecipeError, match="MY_KEY"):
        engine(server, api_key_variable="MY_KEY")
    monkeypatch.setenv("MY_KEY", "s3cret")
    made = engine(server, api_key_variable="MY_KEY")
    run(made, jobs(2))
    assert {headers["authorization"] for headers in server.headers} == {"Bearer s3cret"}
    assert "s3cret" not in repr(made.config) + json.dumps(identity("openai", made.config)) + made.name


def test_address_and_pace_are_not_what_an_output_depends_on(server: StandIn) -> None:
    one = identity("openai", ServerConfig(url="http://a", concurrency=3, retries=1, requests_per_minute=5))
    two = identity("openai", ServerConfig(url="http://b/v1", concurrency=4, api_key_variable="X"))
    assert one == two
    assert identity("openai", ServerConfig(url="http://a", extra={"x": 1})) != one


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"url": "localhost:8000"}, "http://"),
        ({"url": "http://me:pw@host"}, "api_key_variable"),
        ({"url": "http://host:99999"}, "no address"),
        ({"url": "http://[::1"}, "no address"),
        ({"url": "http://h", "extra": {"n": 4}}, "n: set by the engine"),
        ({"url": "http://h", "promts": "ids"}, "did you mean 'prompts'"),
        ({}, "url"),
    ],
)
def test_wrong_settings_are_named(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        validate(ServerConfig, keys, "engine (openai)")


def test_a_rate_is_kept(server: StandIn) -> None:
    started = time.monotonic()
    run(engine(server, requests_per_minute=60 / 0.05), jobs(7))
    assert time.monotonic() - started >= 6 * 0.05
    started = time.monotonic()
    longest = max(len(job.prompt_ids) for job in jobs(5)) + 12
    run(engine(server, tokens_per_minute=60 * longest / 0.05), jobs(5))
    assert time.monotonic() - started >= 3 * 0.05


@pytest.mark.parametrize("prompts", ["ids", "text"])
def test_a_budget_of_thinking_is_held_over_a_server(server: StandIn, prompts: str, tmp_path: Path) -> None:
    """Thinking of six tokens, closed by us, then an answer: every piece is a request of its own."""
    [opening] = CHAT.tokenizer.encode(CHAT.style.open)
    closing = CHAT.tokenizer.encode(CHAT.style.close)

    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> dict[str, Any]:
        made = server.honest(handler, body, number)
        ids = [20] * body["max_tokens"]
        if server.ids_of(body)[-1:] == CHAT.tokenizer.encode("<|assistant|>"):
            ids[0] = opening
        if server.ids_of(body)[-len(closing) :] == closing:
            ids = [21, CHAT.end_id]
        made["choices"][0] |= {"finish_reason": "stop" if ids[-1] == CHAT.end_id else "length", "token_ids": ids}
        if prompts == "text":
            made["choices"][0] |= {
                "text": CHAT.tokenizer.decode([i for i in ids if i != CHAT.end_id]),
                "token_ids": None,
            }
        return made

    server.answer = answer
    predict(
        tmp_path / "out", checkpoint=CHAT.tokenizer.folder, benchmark_name="micro",
        benchmark=MicroBenchmark(MicroBenchmarkConfig(count=6, steps=(1, 3))),
        sampling=Sampling(max_new_tokens=30, budget=Budget(max_thinking_tokens=6)), chat=CHAT,
        engine=EngineSpec({"type": "openai", "url": server.url, "prompts": prompts}), arm="a", train_seed=None,
    )  # fmt: skip
    rows = read_table(tmp_path / "out", Prediction)
    assert len(server.bodies) == 12
    assert {row.budget_flag for row in rows} == {"forced"}
    for row in rows:
        assert list(row.token_ids) == [opening, *[20] * 5, *closing, 21, CHAT.end_id]
        assert (row.forced, row.answer_text) == ((6, 6 + len(closing)), CHAT.tokenizer.decode([21]))


# --- before anything is drawn ------------------------------------------------------------------------------


def test_no_server_no_model_two_models(server: StandIn) -> None:
    gone = StandIn(CHAT)
    gone.url = "http://127.0.0.1:9/v1"
    with pytest.raises(EngineError, match="no server answers"):
        engine(gone)
    with pytest.raises(EngineError, match=r"no model x[\s\S]*it lists: m"):
        engine(server, model="x")
    server.models = {"data": [{"id": "m"}, {"id": "k"}]}
    with pytest.raises(EngineError, match=r"lists 2 models \(m, k\)[\s\S]*model=NAME"):
        engine(server)
    assert engine(server, model="k").name == "openai: plain, k"
    server.models_status = 404  # a server without a list answers all the same
    assert engine(server, model="k").max_positions is None
    with pytest.raises(EngineError, match="404"):
        engine(server)
    server.models_status = 401
    with pytest.raises(EngineError, match="api_key_variable"):
        engine(server, model="k")


def test_a_context_too_short_is_said_with_numbers_before_more_is_asked(server: StandIn) -> None:
    def refuse(handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> None:
        send(handler, {"error": {"message": "This model's maximum context length is 16 tokens."}}, 400)

    server.models, server.answer = {"data": [{"id": "m"}]}, refuse
    with pytest.raises(EngineError, match=r"too short for \d+ tokens of prompt and 12 of output: .*16 tokens"):
        run(engine(server, concurrency=1), jobs())
    assert len(server.bodies) == 1


# --- a hostile one -----------------------------------------------------------------------------------------


def now_and_then(server: StandIn, bad: Any, every: int = 3) -> None:
    """Every third request goes wrong, the others are answered."""

    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> dict[str, Any] | None:
        if number % every == 0:
            bad(handler)
            return None
        return server.honest(handler, body, number)

    server.answer = answer


def cut(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [{"te')
    handler.wfile.flush()
    handler.close_connection = True
    handler.connection.shutdown(2)


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True
    handler.connection.shutdown(2)


PASSING: dict[str, Any] = {
    "429": lambda h: send(h, {"error": "slow down"}, 429),
    "429 with seconds": lambda h: send(h, {"error": "slow down"}, 429, Retry_After="0.02"),
    "429 with a date": lambda h: send(h, {}, 429, Retry_After=email.utils.formatdate(time.time() - 5, usegmt=True)),
    "429 with nonsense": lambda h: send(h, {}, 429, Retry_After="soon"),
    "503 with seconds": lambda h: send(h, {}, 503, Retry_After="0"),
    "500": lambda h: send(h, {"error": "boom"}, 500),
    "HTML page": lambda h: send(h, b"<html><h1>502 Bad Gateway</h1></html>", 502, "text/html"),
    "HTML page with 200": lambda h: send(h, b"<html>Sign in</html>", 200, "text/html"),
    "garbage": lambda h: send(h, bytes(range(256)) * 4),
    "half JSON": lambda h: send(h, b'{"choices": [{"text": "a'),
    "a list": lambda h: send(h, [1, 2]),
    "deep brackets": lambda h: send(h, b"[" * 100_000),
    "a huge number": lambda h: send(h, b'{"choices": ' + b"9" * 10_000 + b"}"),
    "no choices": lambda h: send(h, {"choices": []}),
    "null text": lambda h: send(h, {"choices": [{"text": None, "finish_reason": "stop"}]}),
    "empty": lambda h: send(h, b""),
    "no gzip": lambda h: send(h, b"plain", Content_Encoding="gzip"),
    "cut in the middle": cut,
    "closed connection": hang_up,
    "nonsense for HTTP": lambda h: h.wfile.write(b"SSH-2.0-OpenSSH\r\n\r\n"),
}  # fmt: skip


@pytest.mark.parametrize("bad", PASSING)
def test_what_passes_is_tried_again_and_every_output_is_had(server: StandIn, bad: str) -> None:
    now_and_then(server, PASSING[bad])
    asked = jobs(12)
    outputs = run(engine(server, concurrency=3), asked)
    assert {key: one.token_ids for key, one in outputs.items()} == {job.key: expected(job) for job in asked}


def test_json_of_another_content_type_is_read(server: StandIn) -> None:
    server.answer = lambda handler, body, number: send(  # type: ignore[assignment]
        handler, server.honest(handler, body, number), 200, "text/plain"
    )
    assert all(one.error is None for one in run(engine(server), jobs(4)).values())


def change(**values: Any) -> Any:
    def made(answer: dict[str, Any]) -> dict[str, Any]:
        choice = answer["choices"][0]
        for name, value in values.items():
            answer["usage" if name in answer["usage"] else name] = (
                {**answer["usage"], name: value} if name in answer["usage"] else answer.get(name)
            )
            if name not in answer["usage"]:
                choice[name] = value
        return answer

    return made


SPOILT = {
    "finish_reason missing": (change(finish_reason=None), "finish_reason is 'None'"),
    "finish_reason unknown": (change(finish_reason="content_filter"), "content_filter"),
    "longer than asked": (change(token_ids=[5] * 13), "13 tokens where at most 12"),
    "longer by its own count": (change(completion_tokens=4000), "4,000 tokens where at most 12"),
    "half a surrogate": (change(token_ids=None, text="a\ud800"), "Unicode"),
    "far too much text": (change(token_ids=None, text="a⊕b=c. " * 500, completion_tokens=None), "at most 12"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_one_spoilt_output_is_an_error_with_its_reason_and_the_others_are_had(server: StandIn, case: str) -> None:
    spoil, reason = SPOILT[case]
    asked = jobs(8)
    spoilt = asked[5].prompt_ids

    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> dict[str, Any]:
        made = server.honest(handler, body, number)
        return spoil(made) if body["prompt"] == spoilt else made

    server.answer = answer
    outputs = run(engine(server), asked)
    assert [key for key, one in outputs.items() if one.error] == [asked[5].key]
    assert reason in (outputs[asked[5].key].error or "")
    assert outputs[asked[5].key].finish_reason == "error"
    assert len(server.bodies) == 8  # asking again would not help


def test_a_huge_answer_is_not_read_to_its_end(server: StandIn) -> None:
    asked = jobs(4)
    sent = []

    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> dict[str, Any] | None:
        if body["prompt"] != asked[0].prompt_ids:
            return server.honest(handler, body, number)
        handler.send_response(200)
        handler.send_header("Content-Length", str(10**12))
        handler.end_headers()
        for _ in range(2000):
            sent.append(handler.wfile.write(b'{"choices": "' + b"x" * 2**16))
        return None

    server.answer = answer
    outputs = run(engine(server), asked)
    assert "longer than" in (outputs[asked[0].key].error or "")
    assert sum(one.error is None for one in outputs.values()) == 3
    assert len(sent) < 500


@pytest.mark.parametrize("token", [[1], "echo"])
def test_another_tokenizer_or_template_stops_the_run_with_the_numbers(server: StandIn, token: Any) -> None:
    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> dict[str, Any]:
        made = server.honest(handler, body, number)
        if token == "echo":
            made["choices"][0]["prompt_token_ids"] = [*body["prompt"][:-1], body["prompt"][-1] + 1]
        else:
            del made["choices"][0]["prompt_token_ids"]
            made["usage"]["prompt_tokens"] += 3
        return made

    server.answer = answer
    length = max(len(job.prompt_ids) for job in jobs())
    words = rf"token {length - 1} of a prompt is" if token == "echo" else rf"counts {length + 3} tokens .* has {length}"
    with pytest.raises(EngineError, match=words):
        run(engine(server, concurrency=1), jobs())
    assert len(server.bodies) == 1
    assert all(one.error is None for one in run(engine(server, check_prompt=False), jobs()).values())


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (401, {}, "does not let us in"),
        (403, {}, "does not let us in"),
        (404, {}, "answers 404"),
        (307, {"Location": "http://elsewhere/v1"}, "sends us on to http://elsewhere"),
        (301, {}, "sends us on"),
        (429, {"Retry_After": "7200"}, "7,200 s more"),
    ],
)
def test_what_no_request_would_survive_stops_the_run_at_once(
    server: StandIn, status: int, headers: dict[str, str], words: str
) -> None:
    server.answer = lambda handler, body, number: send(handler, {"error": "no"}, status, **headers)  # type: ignore[assignment]
    with pytest.raises(EngineError, match=words):
        run(engine(server, concurrency=1), jobs(1000))
    assert len(server.bodies) == 1


def test_a_server_that_refuses_everything_is_not_asked_a_thousand_times(server: StandIn) -> None:
    server.answer = lambda handler, body, number: send(handler, {"detail": "prompt must be a string."}, 400)  # type: ignore[assignment]
    with pytest.raises(EngineError, match=r"prompt must be a string[\s\S]*prompts: text or chat"):
        run(engine(server, concurrency=1), jobs(1000))
    assert len(server.bodies) == 4


def test_a_server_that_is_always_busy_ends_the_run(server: StandIn) -> None:
    server.answer = lambda handler, body, number: send(handler, {"error": "busy"}, 429)  # type: ignore[assignment]
    with pytest.raises(EngineError, match=r"429: busy[\s\S]*requests_per_minute"):
        run(engine(server, patience_seconds=0.3), jobs(100))
    assert len(server.bodies) < 100


def test_a_server_that_dies_in_the_middle_stops_the_run_soon_and_keeps_what_was_drawn() -> None:
    stand_in = StandIn(CHAT)
    asked = jobs(1000)
    with serving(stand_in):
        made = engine(stand_in, retries=3)

        def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> dict[str, Any] | None:
            if number > 50:
                hang_up(handler)
                return None
            return stand_in.honest(handler, body, number)

        stand_in.answer = answer
        outputs: dict[str, Output] = {}
        with pytest.raises(EngineError, match=r"draws nothing any more[\s\S]*run the same command again"):
            made.run(asked, SAMPLING, lambda output: outputs.__setitem__(output.key, output))
        assert sum(one.error is None for one in outputs.values()) == 50
        assert len(stand_in.bodies) < 150
    with pytest.raises(EngineError, match="ConnectError"):  # and gone altogether
        run(made, asked)


def test_a_server_that_hangs_costs_two_waits(server: StandIn) -> None:
    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> None:
        server.released.wait(30)

    server.answer = answer
    with pytest.raises(EngineError, match=r"no answer within 0 s"):
        run(engine(server, read_timeout_seconds=0.2, concurrency=4), jobs(1000))
    assert 8 <= server.at_once == len(server.bodies) < 16  # it hangs still


def test_drops_per_byte_do_not_stretch_the_time(server: StandIn) -> None:
    asked = jobs(3)

    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> dict[str, Any] | None:
        if body["prompt"] != asked[0].prompt_ids:
            return server.honest(handler, body, number)
        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        while not server.released.wait(0.05):
            handler.wfile.write(b" ")
            handler.wfile.flush()
        return None

    server.answer = answer
    outputs = run(engine(server, read_timeout_seconds=0.3), asked)
    assert [key for key, one in outputs.items() if one.error] == [asked[0].key]


def test_ctrl_c_ends_promptly_and_keeps_what_was_drawn(server: StandIn) -> None:
    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> dict[str, Any] | None:
        if number <= 8:
            return server.honest(handler, body, number)
        if number == 16:
            os.kill(os.getpid(), signal.SIGINT)
        server.released.wait(30)
        return None

    server.answer = answer
    outputs: list[Output] = []
    with pytest.raises(KeyboardInterrupt):
        engine(server).run(jobs(100), SAMPLING, lambda output: outputs.append(output))
    assert len(outputs) == 8
    assert server.at_once > 0  # requests under way were not waited for


def test_an_error_of_ours_while_an_output_is_kept_is_not_swallowed(server: StandIn) -> None:
    def done(output: Output) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        engine(server).run(jobs(), SAMPLING, done)


def test_a_folder_with_the_tokenizer_is_enough_and_an_outage_is_gone_on_from(server: StandIn, tmp_path: Path) -> None:
    def table(name: str) -> Any:
        keys = {"type": "openai", "url": server.url, "backoff_seconds": 0.01, "retries": 1, "concurrency": 1}
        return predict(
            tmp_path / name, checkpoint=CHAT.tokenizer.folder, benchmark_name="micro",
            benchmark=MicroBenchmark(MicroBenchmarkConfig(count=10, steps=(1, 3))),
            sampling=Sampling(max_new_tokens=12, temperature=1, samples=4), chat=CHAT, engine=EngineSpec(keys),
            arm="a", train_seed=None,
        )  # fmt: skip

    whole = table("whole")
    assert (whole.rows_out, whole.info["equal_outputs"] < 4) == (40, True)
    server.bodies.clear()
    server.answer = lambda h, b, n: server.honest(h, b, n) if n <= 25 else hang_up(h)  # type: ignore[func-returns-value]
    with pytest.raises(EngineError, match="draws nothing any more"):
        table("cut")
    with open_record(tmp_path / "cut" / FILE) as kept:
        assert len(kept) == 25
    server.answer = server.honest
    server.bodies.clear()
    assert table("cut").digest == whole.digest
    assert len(server.bodies) == 15


def test_a_server_that_ignores_seeds_shows_in_the_account(server: StandIn, tmp_path: Path) -> None:
    def answer(handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> dict[str, Any]:
        made = server.honest(handler, body, number)
        ids = random.Random(str(body["prompt"])).choices(range(20, 60), k=body["max_tokens"])
        made["choices"][0] |= {"token_ids": ids, "finish_reason": "length"}
        return made

    server.answer = answer
    manifest = predict(
        tmp_path / "out", checkpoint=CHAT.tokenizer.folder, benchmark_name="micro",
        benchmark=MicroBenchmark(MicroBenchmarkConfig(count=5, steps=(1, 3))),
        sampling=Sampling(max_new_tokens=120, temperature=1, samples=4), chat=CHAT,
        engine=EngineSpec({"type": "openai", "url": server.url}), arm="a", train_seed=None,
    )  # fmt: skip
    assert manifest.info["equal_outputs"] == 15
    assert any("seeds are not in force" in warning for warning in predict_warnings(manifest))


# --- answers -------------------------------------------------------------------------------------------------

JOB = Job("k", [1, 2], 0, 8)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 99) | st.floats() | st.text("a<\ud800", max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["choices", "usage", "text", "message", "content", "finish_reason", "token_ids", "tokens",
                         "prompt_token_ids", "prompt_tokens", "completion_tokens", "__verbose", "reasoning"]),
        inner | st.sampled_from(["stop", "length"]), max_size=5,
    ),
    max_leaves=10,
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["choices", "usage", "__verbose"]), JSON), st.booleans())
def test_any_answer_is_an_output_or_a_bad_answer(values: dict[str, Any], check: bool) -> None:
    try:
        output = read_answer(values, JOB, CHAT, JOB.prompt_ids if check else None)
    except BadAnswer:
        return
    assert output.finish_reason in ("stop", "length")
    assert (output.token_ids[-1:] == [CHAT.end_id]) >= (output.finish_reason == "stop")


@given(st.binary(max_size=60))
def test_any_bytes_are_an_object_or_a_bad_answer(data: bytes) -> None:
    with contextlib.suppress(BadAnswer):
        assert isinstance(read_json(data, ""), dict)


def test_thinking_that_the_server_took_out_is_put_back() -> None:
    def said(message: dict[str, Any], reason: str = "stop") -> str | None:
        values = {"choices": [{"message": message, "finish_reason": reason}]}
        return read_answer(values, JOB, CHAT, JOB.prompt_ids).text

    assert said({"reasoning_content": "a=b", "content": "\n\nb"}) == "<think>\na=b\n</think>\n\nb" + CHAT.end_token
    assert said({"reasoning": "a=b", "content": None}, "length") == "<think>\na=b"
    assert said({"content": ""}) == CHAT.end_token


def test_errors_have_no_traceback_for_the_user(server: StandIn) -> None:
    server.answer = lambda handler, body, number: send(handler, b"\xff" * 5000, 400, "text/html")  # type: ignore[assignment]
    with pytest.raises(Long1kError) as caught:
        run(engine(server), jobs())
    assert len(str(caught.value)) < 1000
