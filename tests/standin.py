"""A stand-in for an OpenAI-compatible server on this machine, for tests: honest, or hostile as a script says."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from long1k.chat import Chat

Answer = Callable[[BaseHTTPRequestHandler, dict[str, Any], int], dict[str, Any] | None]


def drawn(prompt: list[int], seed: int, most: int, vocab: int, end_id: int) -> list[int]:
    """Some tokens that follow from the prompt and the seed, as a model's would."""
    ids: list[int] = []
    for at in range(most):
        digest = hashlib.sha256(json.dumps([prompt, seed, at]).encode()).digest()
        token = int.from_bytes(digest[:4], "big") % vocab
        ids.append(end_id if token % 7 == 0 else token)
        if ids[-1] == end_id:
            break
    return ids


class StandIn:
    """What the server was asked, and how it answers; ``answer`` may be exchanged by a test."""

    def __init__(self, chat: Chat, models: Any = None) -> None:
        self.chat, self.answer = chat, self.honest
        self.models = models or {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 4096}]}
        self.models_status = 200
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.at_once = self.most_at_once = 0
        self.pause_seconds = 0.0
        self.lock, self.released = threading.Lock(), threading.Event()
        self.url = ""

    def ids_of(self, body: dict[str, Any]) -> list[int]:
        """The prompt's tokens as the server sees them."""
        if "messages" in body:
            from long1k.rows import Message

            return self.chat.encode_prompt([Message(m["role"], m["content"]) for m in body["messages"]])
        prompt = body["prompt"]
        return self.chat.tokenizer.encode(prompt) if isinstance(prompt, str) else prompt

    def honest(self, handler: BaseHTTPRequestHandler, body: dict[str, Any], number: int) -> dict[str, Any]:
        """As vLLM answers; text and ids without and with the end token."""
        time.sleep(self.pause_seconds)
        prompt = self.ids_of(body)
        end_id = self.chat.end_id
        ids = drawn(prompt, body["seed"] if body["temperature"] else 0, body["max_tokens"], 60, end_id)
        ended = ids[-1] == end_id
        text = self.chat.tokenizer.decode(ids[:-1] if ended else ids)
        choice: dict[str, Any] = {"index": 0, "finish_reason": "stop" if ended else "length"}
        choice |= {"message": {"role": "assistant", "content": text}} if "messages" in body else {"text": text}
        if body.get("return_token_ids"):
            choice |= {"token_ids": ids, "prompt_token_ids": prompt}
        usage = {"prompt_tokens": len(prompt), "completion_tokens": len(ids)}
        return {"id": str(number), "object": "text_completion", "choices": [choice], "usage": usage}


def send(
    handler: BaseHTTPRequestHandler, data: Any, status: int = 200, kind: str = "application/json", **headers: str
) -> None:
    """Write a whole answer; a dictionary as JSON, bytes as they are."""
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    handler.send_response(status)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(raw)))
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()
    handler.wfile.write(raw)


@contextmanager
def serving(stand_in: StandIn) -> Iterator[StandIn]:
    """The server on a free port, stopped at the end."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def log_message(self, *_: Any) -> None:
            pass

        def do_GET(self) -> None:
            if self.path.endswith("/models"):
                send(self, stand_in.models, stand_in.models_status)
            elif self.path == "/version":
                send(self, {"version": "0.0-stand-in"})
            elif self.path == "/props":
                send(self, {"default_generation_settings": {"n_ctx": 512}, "build_info": "b1"})
            else:
                send(self, {}, 404)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with stand_in.lock:
                stand_in.bodies.append(body)
                stand_in.headers.append({name.lower(): value for name, value in self.headers.items()})
                number = len(stand_in.bodies)
                stand_in.at_once += 1
                stand_in.most_at_once = max(stand_in.most_at_once, stand_in.at_once)
            try:
                answer = stand_in.answer(self, body, number)
                if answer is not None:
                    send(self, answer)
            except OSError:  # the client has gone
                self.close_connection = True
            finally:
                with stand_in.lock:
                    stand_in.at_once -= 1

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def handle_error(self, *_: Any) -> None:
            pass

    server = Server(("127.0.0.1", 0), Handler)
    stand_in.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield stand_in
    finally:
        stand_in.released.set()
        server.shutdown()
        server.server_close()
        thread.join()
