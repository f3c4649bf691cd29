"""What an engine is: token ids in, token ids and the reason for the end out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict, Field


class Sampling(BaseModel):
    """How outputs are drawn.  Temperature 0 is greedy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int = Field(default=1024, ge=1)
    temperature: float = Field(default=0.0, ge=0)
    top_p: float = Field(default=1.0, gt=0, le=1)
    samples: int = Field(default=1, ge=1, description="outputs a question")
    batch_size: int = Field(default=64, ge=1)
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Job:
    """One output to be drawn: the prompt's ids and a seed of its own."""

    key: str
    prompt_ids: list[int]
    seed: int


@dataclass(frozen=True, slots=True)
class Output:
    """One finished output; ``finish_reason`` is stop or length."""

    key: str
    token_ids: list[int]
    finish_reason: str


class Engine(Protocol):
    """Draws outputs for prompts."""

    @property
    def name(self) -> str:
        """Name and version, stored with every prediction."""
        ...

    @property
    def max_positions(self) -> int:
        """Most tokens that prompt and output may have together."""
        ...

    def generate(self, batch: Sequence[Job], sampling: Sampling) -> Iterator[Output]:
        """Draw one output a job."""
        ...
