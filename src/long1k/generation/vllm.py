"""vLLM in this process: one engine for all seeds and benchmarks, on one or more GPUs."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.config import JsonDict

from long1k.errors import DataError, EngineError
from long1k.generation.base import Done, Job, Output, Sampling, Serving
from long1k.generation.flow import close_runner, draw_all, new_runner, piece_seed, run_on, waiting
from long1k.plugins import need

_HOW: JsonDict = {"how": True}


class VllmConfig(BaseModel):
    """How vLLM runs a model; names and defaults are those of its engine arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tensor_parallel_size: int = Field(default=1, ge=1, description="GPUs that share one model", json_schema_extra=_HOW)
    data_parallel_size: int = Field(default=1, ge=1, description="models side by side", json_schema_extra=_HOW)
    dtype: str = Field(default="auto", description="auto, bfloat16, float16, float32")
    quantization: str | None = Field(default=None, description="as vLLM names it, e.g. fp8")
    max_model_len: int | None = Field(
        default=None, ge=1, description="positions; default: the model's", json_schema_extra=_HOW
    )
    gpu_memory_utilization: float = Field(
        default=0.9, gt=0, le=1, json_schema_extra=_HOW, description="share of the GPU's memory; null: vLLM's own"
    )
    max_num_seqs: int | None = Field(default=None, ge=1, description="outputs in one step", json_schema_extra=_HOW)
    enable_prefix_caching: bool = Field(
        default=True, description="samples of one question share its prompt", json_schema_extra=_HOW
    )
    enforce_eager: bool = Field(default=False, description="no CUDA graphs", json_schema_extra=_HOW)
    concurrency: int = Field(default=1024, ge=1, description="requests handed over at once", json_schema_extra=_HOW)
    lora: str | None = Field(default=None, description="folder of an adapter of the model")
    max_lora_rank: int = Field(default=64, ge=1, json_schema_extra=_HOW, description="the largest rank of an adapter")
    extra: dict[str, Any] = Field(default={}, description="further engine arguments of vLLM")

    @field_validator("extra")
    @classmethod
    def _not_ours(cls, extra: dict[str, Any]) -> dict[str, Any]:
        ours = {*cls.model_fields, *_SET, "model", "enable_lora"} - {"extra", "concurrency", "lora"}
        if found := sorted(ours & extra.keys()):
            raise ValueError(f"{', '.join(found)}: has a key of its own here, or is set by the engine itself")
        return extra


# generation_config "vllm": a model's own generation_config.json must not decide how outputs are drawn.
_SET = {"generation_config": "vllm", "disable_log_stats": True}
_GIVEN = ("tensor_parallel_size", "data_parallel_size", "dtype", "quantization", "max_model_len",
          "gpu_memory_utilization", "max_num_seqs", "enable_prefix_caching", "enforce_eager")  # fmt: skip


class VllmEngine:
    """Runs a local checkpoint with vLLM's AsyncLLM.

    AsyncLLM and not LLM: each output comes as it is finished, further pieces of an output go in at once, and it is
    the only in-process engine of vLLM that spreads requests over data-parallel copies (LLM refuses them).
    """

    Config = VllmConfig

    def __init__(self, config: VllmConfig, serving: Serving) -> None:
        self.config, self._end_ids = config, list(serving.end_ids)
        self._vllm = need("vllm")
        arguments = need("vllm.engine.arg_utils").AsyncEngineArgs
        engines = need("vllm.v1.engine.async_llm").AsyncLLM
        given = {name: getattr(config, name) for name in _GIVEN if getattr(config, name) is not None}
        given |= {"model": str(serving.model), **_SET}
        self._lora = self._adapter()
        if self._lora is not None:
            given |= {"enable_lora": True, "max_lora_rank": config.max_lora_rank}
        self._numbers = itertools.count()
        # One loop for the engine's whole life: its background task belongs to the loop it was started in.
        self._runner = new_runner()
        try:
            self._engine = run_on(self._runner, _start(engines, arguments, given | config.extra))
        except BaseException as error:
            close_runner(self._runner)
            if isinstance(error, (TypeError, ValueError, RuntimeError, OSError)):
                raise EngineError(
                    f"vLLM does not start: {type(error).__name__}: {str(error)[:500]}",
                    "its own log above says more; less memory: gpu_memory_utilization, max_model_len, "
                    "more GPUs: tensor_parallel_size",
                ) from error
            raise

    def _adapter(self) -> Any:
        if self.config.lora is None:
            return None
        folder = Path(self.config.lora).expanduser()
        if not (folder / "adapter_config.json").is_file():
            raise DataError(f"no adapter in {folder} (no adapter_config.json)", "give the folder of a LoRA adapter")
        return need("vllm.lora.request").LoRARequest(folder.name, 1, str(folder))

    @property
    def name(self) -> str:
        """Library and version."""
        return f"vllm {self._vllm.__version__}"

    @property
    def max_positions(self) -> int:
        """What the engine was started with: the model's own, or max_model_len."""
        return int(self._engine.vllm_config.model_config.max_model_len)

    def run(self, jobs: Sequence[Job], sampling: Sampling, done: Done, finished: Collection[str] = ()) -> None:
        """Draw what is missing; vLLM makes its own batches."""

        async def draw(job: Job) -> Output:
            return await self._draw(job, sampling)

        run_on(self._runner, draw_all(waiting(jobs, finished), draw, done, self.config.concurrency))

    def close(self) -> None:
        """Stop the engine's processes and free the GPUs."""
        try:
            self._engine.shutdown()
        finally:
            close_runner(self._runner)

    async def _draw(self, job: Job, sampling: Sampling) -> Output:
        vllm, last = self._vllm, None
        params = vllm.SamplingParams(
            n=1, temperature=sampling.temperature, top_p=sampling.top_p, top_k=sampling.top_k, min_p=sampling.min_p,
            repetition_penalty=sampling.repetition_penalty, seed=piece_seed(job), max_tokens=job.max_new_tokens,
            # End tokens as in the engine on transformers; they stand in token_ids.
            ignore_eos=True, stop_token_ids=self._end_ids, detokenize=False, skip_special_tokens=False,
            output_kind=need("vllm.sampling_params").RequestOutputKind.FINAL_ONLY,
        )  # fmt: skip
        try:
            async for answer in self._engine.generate(
                prompt=vllm.TokensPrompt(prompt_token_ids=job.prompt_ids), sampling_params=params,
                request_id=f"{job.key}#{next(self._numbers)}", lora_request=self._lora,
            ):  # fmt: skip
                last = answer
        except Exception as error:
            reason = f"{type(error).__name__}: {str(error)[:300]}"
            if self._engine.errored:
                raise EngineError(
                    f"vLLM stopped: {reason}", "its own log above says why; what was drawn is kept: run it again"
                ) from error
            return Output(job.key, [], "error", error=reason)
        if last is None or not last.outputs:
            return Output(job.key, [], "error", error="vLLM gave no output")
        drawn = last.outputs[0]
        if drawn.finish_reason not in ("stop", "length"):
            return Output(job.key, [], "error", error=f"vLLM ended an output with {drawn.finish_reason!r}")
        return Output(job.key, [int(one) for one in drawn.token_ids], drawn.finish_reason)


async def _start(engines: Any, arguments: Any, given: dict[str, Any]) -> Any:
    """Within the loop that all requests will run in."""
    return engines.from_engine_args(arguments(**given))
