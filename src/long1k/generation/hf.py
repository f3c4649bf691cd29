"""A local checkpoint through transformers, on the CPU or a GPU, with a decoding loop of our own."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from long1k.errors import DataError, EngineError
from long1k.generation.base import Done, Job, Output, Sampling, Serving
from long1k.generation.batch import Batch
from long1k.generation.draw import Chooser
from long1k.plugins import need
from long1k.tables import digest_json, file_digest
from long1k.training.checkpoint import load_model
from long1k.training.positions import positions_in, rope_in

_ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")


class TransformersConfig(BaseModel):
    """How a local checkpoint is run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: int = Field(default=64, ge=1, description="outputs drawn together", json_schema_extra={"how": True})
    max_batch_tokens: int = Field(
        default=262_144, ge=1, description="rows × (longest prompt + max_new_tokens) of a batch: bounds its cache",
        json_schema_extra={"how": True},
    )  # fmt: skip
    dtype: Literal["float32", "bfloat16", "float16"] = Field(default="float32", description="of weights and cache")
    attention: str | None = Field(default=None, description="sdpa, eager, flash_attention_2, …; default: the library's")
    adapter: Path | None = Field(
        default=None, description="folder of a LoRA adapter (peft), merged into the model",
        json_schema_extra={"how": True},
    )  # fmt: skip

    def contents(self) -> dict[str, str]:
        """The adapter by what is in it, not by where it lies."""
        if self.adapter is None:
            return {}
        return {"adapter": digest_json([file_digest(path) for path in _adapter_files(self.adapter)])}


def _adapter_files(folder: Path) -> list[Path]:
    """Configuration and weights of an adapter.

    Raises:
        DataError: one is missing, or the weights are pickled.
    """
    paths = [folder / name for name in _ADAPTER_FILES]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"{folder} is no adapter that can be served: it has no {path.name}",
                "give the folder that peft wrote, with safetensors",
            )
    return paths


def batches(jobs: Sequence[Job], config: TransformersConfig, max_new_tokens: int) -> Iterator[list[Job]]:
    """Jobs of like length together, the longest first, so that too little memory shows at once.

    What a batch holds follows from the jobs and the configuration alone.
    """
    batch: list[Job] = []
    for job in sorted(jobs, key=lambda job: (-len(job.prompt_ids), job.key)):
        widest = len((batch or [job])[0].prompt_ids) + max_new_tokens
        if batch and (len(batch) == config.batch_size or (len(batch) + 1) * widest > config.max_batch_tokens):
            yield batch
            batch = []
        batch.append(job)
    if batch:
        yield batch


class TransformersEngine:
    """Runs a local checkpoint.

    Greedy outputs are those of the library's ``generate`` for each prompt alone.  A sampled output is decided by its
    job's seed, whatever else is in the batch (but for the last bit of a float).  A job that ``done`` answers with
    goes on in its place in the batch where it can, and else in a later round of the same batch.
    """

    Config = TransformersConfig

    def __init__(self, config: TransformersConfig, serving: Serving) -> None:
        self.config = config
        self._torch, self._transformers = need("torch"), need("transformers")
        more = {} if config.attention is None else {"attn_implementation": config.attention}
        self._model = load_model(serving.model, config.dtype, **more)
        if config.adapter is not None:
            self._model = _adapted(self._model, config.adapter)
        self._device = "cuda" if self._torch.cuda.is_available() else "cpu"
        self._model.to(self._device).eval()
        self._end_ids = serving.end_ids
        self._takes = frozenset(inspect.signature(self._model.forward).parameters)

    @property
    def name(self) -> str:
        """Library and version, type of numbers and device."""
        return f"transformers {self._transformers.__version__} ({self.config.dtype}, {self._device})"

    @property
    def max_positions(self) -> int:
        """Positions of the model, those of stretched rotary embeddings counted."""
        return positions_in(self._model.config.to_dict()) or int(self._model.config.max_position_embeddings)

    def run(self, jobs: Sequence[Job], sampling: Sampling, done: Done, finished: Collection[str] = ()) -> None:
        """Draw all jobs, in batches of prompts of like length that do not depend on what is finished."""
        chooser = Chooser(sampling)
        most = self.max_positions
        # Rotary embeddings of this kind turn with the longest row, so rows of a batch would change one another.
        alone = rope_in(self._model.config.to_dict()).get("rope_type") == "dynamic"
        config = self.config.model_copy(update={"batch_size": 1}) if alone else self.config
        for batch in batches(jobs, config, sampling.max_new_tokens):
            if all(job.key in finished for job in batch):
                continue
            while batch:
                fitting = []
                for job in batch:
                    total = len(job.prompt_ids) + job.max_new_tokens
                    if total <= most:
                        fitting.append(job)
                    else:
                        done(Output(job.key, [], "error", error=f"{total:,} tokens, the model has {most:,} positions"))
                batch = self._drawn(fitting, chooser, done) if fitting else []

    def _drawn(self, jobs: Sequence[Job], chooser: Chooser, done: Done) -> list[Job]:
        """Draw a batch; the jobs of its next round."""
        try:
            return Batch(self._model, jobs, chooser, self._end_ids, self._takes).run(done)
        except RuntimeError as error:  # the CPU's has no class of its own
            if not (isinstance(error, self._torch.OutOfMemoryError) or "can't allocate memory" in str(error)):
                raise
            longest = max(len(job.prompt_ids) + job.max_new_tokens for job in jobs)
            raise EngineError(
                f"no memory left for {len(jobs):,} outputs of up to {longest:,} tokens at once on {self._device}",
                "set --engine-option max_batch_tokens or batch_size lower (or dtype=bfloat16); what was drawn is kept",
            ) from None

    def close(self) -> None:
        """Drop the model."""
        del self._model
        if self._device == "cuda":
            self._torch.cuda.empty_cache()


def _adapted(model: Any, folder: Path) -> Any:
    """The model with an adapter merged into its weights."""
    _adapter_files(folder)
    try:
        with warnings.catch_warnings():  # notices to developers: the library uses names that transformers gave up
            warnings.simplefilter("ignore")
            return need("peft").PeftModel.from_pretrained(model, str(folder)).merge_and_unload()
    except (ValueError, RuntimeError, KeyError, OSError) as error:
        raise DataError(
            f"the adapter in {folder} does not fit the model: {error}", "give the adapter of this model"
        ) from None
