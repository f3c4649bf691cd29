"""Modules with the documented names and signatures of vLLM (0.11 to 0.33); what is not documented is an error."""

from __future__ import annotations

import asyncio
import enum
import sys
import types
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, TypedDict

import pytest

from standin import drawn

VOCAB, END = 60, 4


class RequestOutputKind(enum.Enum):
    CUMULATIVE = 0
    DELTA = 1
    FINAL_ONLY = 2


@dataclass(kw_only=True)
class SamplingParams:
    n: int = 1
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0
    seed: int | None = None
    stop: Any = None
    stop_token_ids: list[int] | None = None
    ignore_eos: bool = False
    max_tokens: int | None = 16
    min_tokens: int = 0
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    detokenize: bool = True
    skip_special_tokens: bool = True
    spaces_between_special_tokens: bool = True
    include_stop_str_in_output: bool = False
    output_kind: RequestOutputKind = RequestOutputKind.CUMULATIVE

    def __post_init__(self) -> None:
        assert self.temperature >= 0
        assert 0 < self.top_p <= 1
        assert self.top_k >= -1
        assert (self.max_tokens or 0) >= 1
        assert self.seed is None or -(2**63) <= self.seed < 2**63


class TokensPrompt(TypedDict):
    prompt_token_ids: list[int]


@dataclass
class LoRARequest:
    lora_name: str
    lora_int_id: int
    lora_path: str


@dataclass(kw_only=True)
class AsyncEngineArgs:
    model: str
    tokenizer: str | None = None
    dtype: str = "auto"
    seed: int = 0
    quantization: str | None = None
    max_model_len: int | None = None
    tensor_parallel_size: int = 1
    pipeline_parallel_size: int = 1
    data_parallel_size: int = 1
    gpu_memory_utilization: float = 0.9
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    enable_prefix_caching: bool | None = None
    enforce_eager: bool = False
    enable_lora: bool = False
    max_lora_rank: int = 16
    generation_config: str = "auto"
    disable_log_stats: bool = False
    trust_remote_code: bool = False
    kv_cache_dtype: str = "auto"

    def __post_init__(self) -> None:
        if self.max_model_len is not None and self.max_model_len > 1024:
            raise ValueError("User-specified max_model_len (4096) is greater than the derived max_model_len (1024)")


@dataclass
class CompletionOutput:
    index: int
    text: str
    token_ids: list[int]
    finish_reason: str | None


@dataclass
class RequestOutput:
    request_id: str
    prompt_token_ids: list[int]
    outputs: list[CompletionOutput]
    finished: bool


Hook = Callable[[int, CompletionOutput], None]


@dataclass
class AsyncLLM:
    """Draws as the stand-in server does; every request in the one loop that the engine was made in."""

    args: AsyncEngineArgs
    vllm_config: Any = None
    errored: bool = False
    closed: bool = False
    requests: list[dict[str, Any]] = field(default_factory=list)
    running: int = 0
    most_running: int = 0
    hook: Hook | None = None

    @classmethod
    def from_engine_args(
        cls, engine_args: AsyncEngineArgs, start_engine_loop: bool = True, usage_context: Any = None,
        stat_loggers: Any = None,
    ) -> AsyncLLM:  # fmt: skip
        engine = cls(engine_args)
        engine.loop = asyncio.get_running_loop()  # type: ignore[attr-defined]
        model = types.SimpleNamespace(max_model_len=engine_args.max_model_len or 1024)
        engine.vllm_config = types.SimpleNamespace(model_config=model)
        MADE.append(engine)
        return engine

    async def generate(
        self, prompt: TokensPrompt, sampling_params: SamplingParams, request_id: str, *, prompt_text: str | None = None,
        lora_request: LoRARequest | None = None, tokenization_kwargs: Any = None, trace_headers: Any = None,
        priority: int = 0, data_parallel_rank: int | None = None,
    ) -> AsyncIterator[RequestOutput]:  # fmt: skip
        assert asyncio.get_running_loop() is self.loop, "another loop than the engine's"  # type: ignore[attr-defined]
        assert not self.closed
        assert (lora_request is not None) <= self.args.enable_lora
        assert sampling_params.output_kind is RequestOutputKind.FINAL_ONLY
        assert request_id not in [one["id"] for one in self.requests]
        if self.errored:
            raise RuntimeError("EngineCore encountered an issue. See stack trace (above) for the root cause.")
        ids = prompt["prompt_token_ids"]
        number = len(self.requests)
        self.requests.append({"id": request_id, "ids": ids, "params": sampling_params, "lora": lora_request})
        if len(ids) > self.vllm_config.model_config.max_model_len:
            raise ValueError(f"The decoder prompt (length {len(ids)}) is longer than the maximum model length")
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await asyncio.sleep(0.001 * (number % 3))
            most = sampling_params.max_tokens or 0
            out = drawn(ids, sampling_params.seed or 0 if sampling_params.temperature else 0, most, VOCAB, END)
            stop = sampling_params.stop_token_ids == [END] and out[-1] == END
            answer = CompletionOutput(0, "", out, "stop" if stop else "length")
            if self.hook is not None:
                self.hook(number, answer)
            yield RequestOutput(request_id, ids, [answer], True)
        finally:
            self.running -= 1

    def shutdown(self) -> None:
        self.closed = True


MADE: list[AsyncLLM] = []


def install(monkeypatch: pytest.MonkeyPatch) -> list[AsyncLLM]:
    """Put the modules where vLLM's would be; returns the engines made from then on."""
    MADE.clear()
    members: dict[str, dict[str, Any]] = {
        "vllm": {"SamplingParams": SamplingParams, "TokensPrompt": TokensPrompt, "__version__": "0.0.fake"},
        "vllm.engine": {},
        "vllm.engine.arg_utils": {"AsyncEngineArgs": AsyncEngineArgs},
        "vllm.sampling_params": {"SamplingParams": SamplingParams, "RequestOutputKind": RequestOutputKind},
        "vllm.lora": {},
        "vllm.lora.request": {"LoRARequest": LoRARequest},
        "vllm.v1": {},
        "vllm.v1.engine": {},
        "vllm.v1.engine.async_llm": {"AsyncLLM": AsyncLLM},
    }
    for name, values in members.items():
        module = types.ModuleType(name)
        module.__dict__.update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return MADE
