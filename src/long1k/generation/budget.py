"""One sample's way from the prompt to its end, in one piece or several: the same for every engine."""

from __future__ import annotations

from dataclasses import dataclass

from long1k.chat import Chat
from long1k.generation.base import Job, Output, Sampling


@dataclass(frozen=True, slots=True)
class Sample:
    """One finished output.

    ``budget_flag`` is natural (the model ended by itself), forced (we closed the thinking, or made it go on),
    exhausted (no token was left) or loop (it repeats itself without end).  ``forced`` holds pairs (start, end) of
    places in ``token_ids`` that were put there by us.
    """

    key: str
    token_ids: list[int]
    finish_reason: str
    budget_flag: str | None
    forced: list[tuple[int, int]]
    text: str | None = None
    error: str | None = None


class Course:
    """Answers an engine's outputs with what is drawn next, until a sample is finished."""

    def __init__(self, chat: Chat, sampling: Sampling) -> None:
        self.chat, self.sampling = chat, sampling

    def first(self, key: str, prompt_ids: list[int], seed: int) -> Job:
        """The job a sample begins with."""
        return Job(key, prompt_ids, seed, self.sampling.max_new_tokens)

    def after(self, output: Output) -> Job | Sample:
        """What follows an output: the sample, or the job that goes on with it."""
        flag = "natural" if output.finish_reason == "stop" else "exhausted"
        return Sample(
            output.key, output.token_ids, output.finish_reason, None if output.error else flag, [], output.text,
            output.error,
        )  # fmt: skip
