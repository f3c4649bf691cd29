"""Any server that speaks OpenAI's protocol: vLLM, SGLang, llama.cpp, transformers serve, hosted ones."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from typing import Any
from urllib.parse import urlsplit

from long1k.errors import EngineError, RecipeError
from long1k.generation.attempts import Asking
from long1k.generation.base import Done, Job, Sampling, Serving
from long1k.generation.flow import close_runner, new_runner, run_on, waiting
from long1k.generation.server import Endpoint, ServerConfig, key_header, refused
from long1k.generation.wire import (
    BadAnswer,
    Server,
    error_text,
    guess_server,
    positions_of,
    read_json,
    unknown_to_plain,
)
from long1k.plugins import need

_LOOK_SECONDS, _LOOK_BYTES = 30.0, 2**24  # for what a server says of itself


class ServerEngine:
    """Asks a server, one request a sample, with the sample's own seed.

    Token ids are kept where the server tells them; else its text is encoded here, and the end token, which servers
    cut off, is put back where the output ended by itself.
    """

    Config = ServerConfig
    remote = True

    def __init__(self, config: ServerConfig, serving: Serving) -> None:
        self.config, self._httpx = config, need("httpx2")
        self._headers = {"Accept-Encoding": "identity", "User-Agent": "long1k", **key_header(config)}
        self._local = urlsplit(config.url).hostname in ("localhost", "127.0.0.1", "::1")
        model, server, self.max_positions, version, self.served = self._look()
        self.name = f"openai: {server}{version}, {_shown(model)}"
        self._endpoint = Endpoint(
            config, serving.chat, serving.end_ids, model, server, self._httpx, self._client_options()
        )

    def run(self, jobs: Sequence[Job], sampling: Sampling, done: Done, finished: Collection[str] = ()) -> None:
        """Draw what is missing.

        Raises:
            EngineError: the server is gone, refuses us, or is not the one that was expected.
            RecipeError: a setting that cannot be had from this server.
        """
        left = waiting(jobs, finished)
        self._check(left, sampling)
        if left:
            runner = new_runner()
            try:
                run_on(runner, Asking(self._endpoint, sampling).all(left, done))
            finally:
                close_runner(runner)

    def close(self) -> None:
        """Nothing is held between runs."""

    def _check(self, jobs: Sequence[Job], sampling: Sampling) -> None:
        """Refuse settings that the server would silently leave out."""
        budget = sampling.budget
        going_on = budget.max_thinking_tokens or budget.min_thinking_tokens or budget.close_loops
        if self.config.prompts == "chat" and (going_on or any(job.drawn for job in jobs)):
            raise RecipeError(
                "a budget of thinking cannot be held with prompts: chat, which cannot go on from half a turn",
                "set prompts: ids (or text), or take the budget away",
            )
        missing = [name for name in unknown_to_plain(sampling) if name not in self.config.extra]
        if self._endpoint.server == "plain" and missing:
            raise RecipeError(
                f"{', '.join(missing)}: OpenAI's protocol has no such setting, and the server does not say whose it is",
                "set server (vllm, sglang, llama.cpp), or the server's own field in extra",
            )

    def _client_options(self) -> dict[str, Any]:
        """What every client of ours is made with; a proxy of the environment is not used for this machine itself."""
        timeout = self._httpx.Timeout(
            self.config.read_timeout_seconds, connect=self.config.connect_timeout_seconds, pool=None
        )
        limits = self._httpx.Limits(
            max_connections=self.config.concurrency, max_keepalive_connections=self.config.concurrency
        )
        return {
            "headers": self._headers, "timeout": timeout, "limits": limits, "follow_redirects": False,
            "trust_env": not self._local,
        }  # fmt: skip

    def _look(self) -> tuple[str, Server, int | None, str, str]:
        """Model, kind of server, positions, version, and what is served: what it says of itself before all drawing."""
        config = self.config
        with self._httpx.Client(**self._client_options() | {"timeout": _LOOK_SECONDS}) as client:
            listed = self._get(client, config.url + "/models", must=config.model is None)
            data = listed.get("data")
            entries = [one for one in data if isinstance(one, dict)] if isinstance(data, list) else []
            names = [str(one.get("id")) for one in entries]
            if config.model is None and len(names) != 1:
                raise EngineError(
                    f"{config.url} lists {len(names)} models ({', '.join(names[:5]) or 'none'})",
                    "say which one answers: --engine-option model=NAME",
                )
            model = config.model or names[0] or "unnamed"
            entry = next((one for one in entries if one.get("id") == model), entries[0] if entries else {})
            server = guess_server(entry) if config.server == "auto" else config.server
            if server in ("vllm", "sglang") and names and model not in names:
                raise EngineError(f"{config.url} has no model {model}", f"it lists: {', '.join(names[:5])}")
            # An adapter's entry has no length of its own; it is that of the model beside it.
            positions, version = next((n for one in (entry, *entries) if (n := positions_of(one))), None), ""
            place = config.url.removesuffix("/v1")
            if server == "vllm":
                version = str(self._get(client, place + "/version").get("version", ""))
            if server == "llama.cpp":
                props = self._get(client, place + "/props")
                version = str(props.get("build_info", ""))
                # What one request gets, which may be less than the model was trained on.
                settings = props.get("default_generation_settings")
                positions = positions_of(settings if isinstance(settings, dict) else {}) or positions
        # vLLM and SGLang serve a model under any name; root is what it was loaded from.
        root = _shown(str(entry.get("root") or model)) if entry.get("id") == model else _shown(model)
        served = _shown(model) if root == _shown(model) else f"{_shown(model)} ({root})"
        return model, server, positions, f" {version[:40]}" if version else "", served

    def _get(self, client: Any, url: str, must: bool = False) -> dict[str, Any]:
        """A JSON object of the server, {} where it has none; a server that is not there is always an error."""
        for left in (1, 0):
            try:
                status, kind, data = self._read(client, url)
                break
            except self._httpx.HTTPError as error:
                if not left:
                    raise EngineError(
                        f"no server answers at {self.config.url} ({type(error).__name__}: {str(error)[:200]})",
                        "start it, or mend the address: --engine-option url=http://HOST:PORT/v1",
                    ) from None
                time.sleep(self.config.backoff_seconds)
        if status in (401, 403):
            raise EngineError(*refused(status, error_text(data), self.config))
        if status == 200:
            try:
                return read_json(data, kind)
            except BadAnswer as error:
                if must:
                    raise EngineError(
                        f"{url}: {error}", "is this the address of an OpenAI-compatible server?"
                    ) from None
        elif must:
            raise EngineError(
                f"{url} answers {status}: {error_text(data)}",
                "mend the address, or name the model: --engine-option model=NAME",
            )
        return {}

    def _read(self, client: Any, url: str) -> tuple[int, str, bytes]:
        """Status, type and bytes of an answer that is neither endless nor given drop by drop."""
        until = time.monotonic() + _LOOK_SECONDS
        parts, size = [], 0
        with client.stream("GET", url) as response:
            for part in response.iter_bytes():
                parts.append(part)
                size += len(part)
                if size > _LOOK_BYTES or time.monotonic() > until:
                    raise EngineError(
                        f"{url} does not come to an end ({size:,} bytes in {_LOOK_SECONDS:g} s at most)",
                        "is this the address of an OpenAI-compatible server?",
                    )
        return response.status_code, response.headers.get("content-type", ""), b"".join(parts)


def _shown(model: str) -> str:
    """A model's name; of a local path the last part: where a folder lies says nothing of the model."""
    return model.rstrip("/").rsplit("/", 1)[-1] if model.startswith("/") else model
