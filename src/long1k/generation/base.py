"""What an engine is: token ids in, token ids and the reason for the end out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from long1k.chat import Chat
from long1k.generation.ends import end_ids
from long1k.rows import Message


class Budget(BaseModel):
    """How many tokens a model may think for: budget forcing (Muennighoff et al. 2025, arXiv 2501.19393)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_thinking_tokens: int | None = Field(
        default=None, ge=1, description="thinking that reaches it is closed by us, and an answer is drawn"
    )
    max_answer_tokens: int | None = Field(default=None, ge=1, description="tokens drawn after thinking we closed")
    answer_prefix: str = Field(default="", description="text put behind the closing tag where we close the thinking")
    min_thinking_tokens: int = Field(default=0, ge=0, description="thinking that ends before is made to go on")
    waits: int = Field(default=1, ge=1, description="how often at most thinking is made to go on")
    wait_text: str = Field(default="Wait", description="text put in place of the closing tag then")
    close_loops: bool = Field(default=False, description="end thinking that repeats itself without end")
    check_tokens: int = Field(default=2048, ge=64, description="how often repetition is looked for")

    @property
    def closes(self) -> bool:
        """Whether thinking may be closed by us."""
        return self.max_thinking_tokens is not None or self.close_loops

    @model_validator(mode="after")
    def _in_force(self) -> Self:
        """Refuse what could not be in force as it is set."""
        if not self.closes and (self.max_answer_tokens is not None or self.answer_prefix):
            raise ValueError(
                "max_answer_tokens and answer_prefix are for thinking that is closed by us: "
                "set max_thinking_tokens or close_loops"
            )
        if self.max_thinking_tokens is not None and self.max_thinking_tokens < self.min_thinking_tokens:
            raise ValueError(
                f"min_thinking_tokens ({self.min_thinking_tokens:,}) is more than "
                f"max_thinking_tokens ({self.max_thinking_tokens:,})"
            )
        if not self.min_thinking_tokens and (self.waits, self.wait_text) != (1, "Wait"):
            raise ValueError("waits and wait_text are for thinking that is too short: set min_thinking_tokens")
        if not self.wait_text:
            raise ValueError("wait_text is empty: the model would end its thinking at the same place again")
        if not self.close_loops and self.check_tokens != 2048:
            raise ValueError("check_tokens is for loops: set close_loops")
        return self


class Sampling(BaseModel):
    """How outputs are drawn.  Temperature 0 is greedy."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    max_new_tokens: int = Field(default=1024, ge=1, description="of the whole output: thinking, answer, what we put in")
    temperature: float = Field(default=0.0, ge=0, description="0 is greedy: the likeliest token")
    top_p: float = Field(
        default=1.0, gt=0, le=1, description="draw from the likeliest tokens that have this share together"
    )
    top_k: int = Field(default=0, ge=0, description="0: all")
    min_p: float = Field(
        default=0.0, ge=0, le=1, description="leave out tokens below this share of the likeliest one's probability"
    )
    repetition_penalty: float = Field(default=1.0, gt=0, description="1: none")
    samples: int = Field(default=1, ge=1, description="outputs a question")
    seed: int = Field(default=0, description="with the question and the sample's number it decides every draw")
    budget: Budget = Budget()

    @model_validator(mode="after")
    def _room(self) -> Self:
        """Refuse a budget that the whole output has no room for."""
        budget = self.budget
        for name in ("min_thinking_tokens", "max_thinking_tokens", "max_answer_tokens"):
            tokens = getattr(budget, name) or 0
            if tokens >= self.max_new_tokens:
                raise ValueError(
                    f"budget.{name} ({tokens:,}) is not less than max_new_tokens ({self.max_new_tokens:,}), "
                    "which counts thinking and answer"
                )
        both = (budget.max_thinking_tokens or 0) + (budget.max_answer_tokens or 0)
        if both >= self.max_new_tokens:
            raise ValueError(
                f"budget.max_thinking_tokens and budget.max_answer_tokens are {both:,} together; max_new_tokens "
                f"({self.max_new_tokens:,}) must hold them and the closing tag"
            )
        return self


@dataclass(frozen=True, slots=True)
class Job:
    """One piece to be drawn: the ids it goes on from, a seed of its own, and how many tokens at most.

    ``drawn`` counts the tokens at the end of ``prompt_ids`` that belong to the output already: an output that is
    drawn in several pieces has several jobs of one key.  An engine that can draws position ``drawn + i`` of a
    key from (seed, drawn + i), so that the pieces are what one piece would have been.  ``messages`` is what the
    prompt was rendered from, for servers that render it themselves (of an output's first piece).
    """

    key: str
    prompt_ids: list[int]
    seed: int
    max_new_tokens: int
    drawn: int = 0
    messages: tuple[Message, ...] | None = None


@dataclass(frozen=True, slots=True)
class Output:
    """What was drawn for one job.

    ``finish_reason`` is stop (an end token was drawn, and stands at the end of ``token_ids``), length, or error
    (with the reason in ``error``: the engine gave up on this job, and only on this one).  An engine that
    is told text only sets ``text``, and ``token_ids`` to its encoding.
    """

    key: str
    token_ids: list[int]
    finish_reason: str
    text: str | None = None
    error: str | None = None


Done = Callable[[Output], Job | None]
"""Takes what was drawn for a job and may answer with the job that goes on from it (of the same key)."""


@dataclass(frozen=True, slots=True)
class Serving:
    """What an engine is told of the model: its folder and the renderer of its prompts.

    ``model`` of an engine that runs elsewhere holds at least the tokenizer.
    """

    model: Path
    chat: Chat

    @property
    def end_ids(self) -> tuple[int, ...]:
        """The tokens that end an output, the chat template's first."""
        return end_ids(self.model, self.chat)


class Engine(Protocol):
    """Draws outputs for prompts.  Made by ``factory(config, serving)``."""

    Config: ClassVar[type[BaseModel]]

    @property
    def name(self) -> str:
        """Name and version, stored with every prediction."""
        ...

    @property
    def max_positions(self) -> int | None:
        """Most tokens that prompt and output may have together; None if the engine does not say."""
        ...

    def run(self, jobs: Sequence[Job], sampling: Sampling, done: Done, finished: Collection[str] = ()) -> None:
        """Draw every job and what ``done`` answers with; ``done`` is called by one thread, in any order.

        ``jobs`` are all jobs of the table, ``finished`` the keys that need not be drawn again: an engine whose
        outputs depend on what else is in a batch (in the last bit of a float) makes its batches of all jobs, and
        draws a batch again of which one job is missing.
        """
        ...

    def close(self) -> None:
        """Free what the engine holds."""
        ...


class EngineFactory(Protocol):
    """The class behind a name in ``ENGINES``; ``remote = True`` if a folder with the tokenizer is all it needs."""

    Config: ClassVar[type[BaseModel]]

    def __call__(self, config: Any, serving: Serving) -> Engine:
        """Start the engine (loads the model, or reaches the server)."""
        ...


def identity(engine: str, config: BaseModel) -> dict[str, Any]:
    """What of an engine's configuration can change outputs: all but the fields marked ``how``.

    A field that says only how the work is done (batch size, address, time-outs) is declared with
    ``json_schema_extra={"how": True}``.  What a folder holds counts by its digest: ``contents()`` of the
    configuration, if it has that, gives such digests by name.
    """
    fields = type(config).model_fields
    extra = {name: field.json_schema_extra for name, field in fields.items()}
    how = {name for name, one in extra.items() if isinstance(one, dict) and one.get("how")}
    contents = getattr(config, "contents", dict)
    return {"type": engine, **config.model_dump(mode="json", exclude=how), **contents()}
