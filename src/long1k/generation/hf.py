"""transformers' ``generate`` on the CPU or a GPU, in batches of prompts of like length."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from long1k.generation.base import Done, Job, Output, Sampling, Serving
from long1k.plugins import need
from long1k.training.checkpoint import load_model, pad_id
from long1k.training.positions import positions_in


class TransformersConfig(BaseModel):
    """How a local checkpoint is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: int = Field(default=64, ge=1, description="outputs drawn together", json_schema_extra={"how": True})


class TransformersEngine:
    """Runs a local checkpoint.

    Sampling adds Gumbel noise, drawn from each job's own generator, to the scaled logits and takes
    the maximum.  That is an exact draw from the softmax (Gumbel, 1954), and the seed of a job
    decides its output whatever else is in the batch.
    """

    Config = TransformersConfig

    def __init__(self, config: TransformersConfig, serving: Serving) -> None:
        self.config = config
        self._torch, self._transformers = need("torch"), need("transformers")
        self._model = load_model(serving.model)
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        self._model.to(self._device).eval()
        tokenizer, end_id = serving.chat.tokenizer, serving.chat.end_id
        # A model's own generation_config may hold a repetition penalty or a least length; only what
        # the recipe says may decide how outputs are drawn.
        self._model.generation_config = self._transformers.GenerationConfig(
            eos_token_id=end_id, pad_token_id=pad_id(tokenizer, end_id), do_sample=False
        )
        self._end_id = end_id
        self._pad_id = pad_id(tokenizer, end_id)

    @property
    def name(self) -> str:
        """Library and version."""
        return f"transformers {self._transformers.__version__}"

    @property
    def max_positions(self) -> int:
        """Positions of the model, those of stretched rotary embeddings counted."""
        return positions_in(self._model.config.to_dict()) or int(self._model.config.max_position_embeddings)

    def run(self, jobs: Sequence[Job], sampling: Sampling, done: Done, finished: Collection[str] = ()) -> None:
        """Draw all jobs, in batches of prompts of like length that do not depend on what is finished."""
        ordered = sorted(jobs, key=lambda job: (len(job.prompt_ids), job.key))
        for at in range(0, len(ordered), self.config.batch_size):
            batch = ordered[at : at + self.config.batch_size]
            if all(job.key in finished for job in batch):
                continue
            while batch:
                following = [done(output) for output in self._generate(batch, sampling)]
                batch = [job for job in following if job is not None]

    def close(self) -> None:
        """Drop the model."""
        del self._model

    def _generate(self, batch: Sequence[Job], sampling: Sampling) -> Iterator[Output]:
        torch = self._torch
        longest = max(len(job.prompt_ids) for job in batch)
        input_ids = torch.full((len(batch), longest), self._pad_id, dtype=torch.long)
        mask = torch.zeros((len(batch), longest), dtype=torch.long)
        for at, job in enumerate(batch):
            input_ids[at, longest - len(job.prompt_ids) :] = torch.tensor(job.prompt_ids)
            mask[at, longest - len(job.prompt_ids) :] = 1
        processors = self._transformers.LogitsProcessorList()
        if sampling.temperature > 0:
            processors.append(_gumbel(self._torch, [job.seed for job in batch], sampling))
        with torch.inference_mode():
            whole = self._model.generate(
                input_ids=input_ids.to(self._device), attention_mask=mask.to(self._device),
                max_new_tokens=max(job.max_new_tokens for job in batch), do_sample=False, logits_processor=processors,
                eos_token_id=self._end_id, pad_token_id=self._pad_id, use_cache=True,
            )  # fmt: skip
        for job, ids in zip(batch, whole[:, longest:].tolist(), strict=True):
            if self._end_id in ids:
                yield Output(job.key, ids[: ids.index(self._end_id) + 1], "stop")
            else:
                yield Output(job.key, ids, "length")


def _gumbel(torch: Any, seeds: Sequence[int], sampling: Sampling) -> Any:
    """A logits processor that makes arg max a draw, with one generator a row."""
    generators = [torch.Generator().manual_seed(seed % 2**63) for seed in seeds]

    def process(_: Any, scores: Any) -> Any:
        scaled = scores.float() / sampling.temperature
        if sampling.top_p < 1:
            ordered, order = scaled.sort(dim=-1, descending=True)
            above = ordered.softmax(-1).cumsum(-1) - ordered.softmax(-1)
            ordered = ordered.masked_fill(above >= sampling.top_p, float("-inf"))
            scaled = torch.full_like(scaled, float("-inf")).scatter(-1, order, ordered)
        uniform = torch.stack([torch.rand(scaled.shape[-1], generator=g) for g in generators]).to(scaled.device)
        return scaled - torch.log(-torch.log(uniform.clamp(1e-20, 1 - 1e-7)))

    return process
