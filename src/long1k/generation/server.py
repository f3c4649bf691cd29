"""How an OpenAI-compatible server is reached and asked; the key is named, never kept."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from long1k.chat import Chat
from long1k.errors import RecipeError
from long1k.generation.wire import OURS, Prompts, Server

_HOW: JsonDict = {"how": True}


class ServerConfig(BaseModel):
    """Where the server is, in what form prompts are sent, and how hard it is asked."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(description="e.g. http://127.0.0.1:8000/v1 (/v1 is added to a bare host)", json_schema_extra=_HOW)
    model: str | None = Field(
        default=None, min_length=1, description="name at the server; default: the only one it lists"
    )
    prompts: Prompts = Field(
        default="ids", description="ids (tokens), text (rendered here), chat (messages, rendered by the server)"
    )
    server: Literal["auto"] | Server = Field(default="auto", description="whose further settings it knows; plain: none")
    extra: dict[str, Any] = Field(default={}, description="further fields of every request's body")
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] = Field(
        default="max_tokens", description="what the server calls the limit of new tokens"
    )
    check_prompt: bool = Field(
        default=True, description="refuse a server that counts other prompt tokens", json_schema_extra=_HOW
    )
    concurrency: int = Field(default=64, ge=1, description="requests at once", json_schema_extra=_HOW)
    requests_per_minute: float | None = Field(
        default=None, gt=0, json_schema_extra=_HOW, description="most requests sent a minute"
    )
    tokens_per_minute: float | None = Field(
        default=None, gt=0, description="prompt and max_new_tokens counted", json_schema_extra=_HOW
    )
    retries: int = Field(default=5, ge=0, description="of a request that failed", json_schema_extra=_HOW)
    backoff_seconds: float = Field(
        default=0.5, gt=0, description="pause before the first retry, doubled each time", json_schema_extra=_HOW
    )
    patience_seconds: float = Field(
        default=900, gt=0, description="how long a request waits for a server that says it is busy",
        json_schema_extra=_HOW,
    )  # fmt: skip
    connect_timeout_seconds: float = Field(
        default=10, gt=0, json_schema_extra=_HOW, description="to reach the server at all"
    )
    read_timeout_seconds: float = Field(default=3600, gt=0, description="for one whole answer", json_schema_extra=_HOW)
    api_key_variable: str | None = Field(
        default=None, description="environment variable that holds the key", json_schema_extra=_HOW
    )

    @field_validator("url")
    @classmethod
    def _reachable(cls, url: str) -> str:
        try:
            parts = urlsplit(url)
            host, _ = parts.hostname, parts.port
        except ValueError as error:
            raise ValueError(f"no address ({error})") from None
        if parts.scheme not in ("http", "https") or not host:
            raise ValueError("an address begins with http:// or https://")
        if parts.username or parts.password or parts.query:
            raise ValueError("keys do not belong into an address; give api_key_variable")
        return url.rstrip("/") + ("" if parts.path.strip("/") else "/v1")

    @field_validator("extra")
    @classmethod
    def _not_ours(cls, extra: dict[str, Any]) -> dict[str, Any]:
        if found := sorted(OURS & extra.keys()):
            raise ValueError(f"{', '.join(found)}: set by the engine itself (see sampling)")
        return extra


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that was found: what requests to it are made of."""

    config: ServerConfig
    chat: Chat
    end_ids: tuple[int, ...]
    model: str
    server: Server
    httpx: Any
    client_options: dict[str, Any]


def advice(config: ServerConfig) -> str:
    """What to try when a server refuses what we send."""
    return {
        "ids": "a server that takes no token ids wants prompts: text or chat; --engine-option model and url name it",
        "text": "prompts: ids leaves nothing to the server's tokenizer; check model and --template",
        "chat": "the server renders the messages: its template must be that of the model folder, or --template here; "
        "check_prompt: false takes its word for a tokenizer that is not at hand",
    }[config.prompts]


def key_header(config: ServerConfig) -> dict[str, str]:
    """The key, read from the environment: it stands in no file of ours."""
    if config.api_key_variable is None:
        return {}
    key = os.environ.get(config.api_key_variable, "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise RecipeError(
            f"the environment variable {config.api_key_variable} (api_key_variable) holds no key",
            f"export {config.api_key_variable}=… before the run",
        )
    return {"Authorization": f"Bearer {key}"}


def refused(status: int, text: str, config: ServerConfig) -> tuple[str, str]:
    """An error's two parts where a key is missing or wrong."""
    named = config.api_key_variable
    return (
        f"{config.url} does not let us in ({status}: {text})",
        f"check the key in {named}" if named else "name the variable that holds a key: api_key_variable=NAME",
    )
