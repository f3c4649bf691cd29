"""transformers' ``generate`` on the CPU or a GPU, in batches of prompts of like length."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from long1k.generation.base import Job, Output, Sampling
from long1k.plugins import need
from long1k.tokens import Tokenizer
from long1k.training.checkpoint import load_model, pad_id
from long1k.training.positions import positions_in


class TransformersEngine:
    """Runs a local checkpoint.

    Sampling adds Gumbel noise, drawn from each job's own generator, to the scaled logits and takes
    the maximum.  That is an exact draw from the softmax (Gumbel, 1954), and the seed of a job
    decides its output whatever else is in the batch.
    """

    def __init__(self, folder: Path, tokenizer: Tokenizer, end_id: int) -> None:
        self._torch, self._transformers = need("torch"), need("transformers")
        self._model = load_model(folder)
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        self._model.to(self._device).eval()
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

    def generate(self, batch: Sequence[Job], sampling: Sampling) -> Iterator[Output]:
        """Draw one output a job; the batch is padded on the left."""
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
                max_new_tokens=sampling.max_new_tokens, do_sample=False, logits_processor=processors,
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
