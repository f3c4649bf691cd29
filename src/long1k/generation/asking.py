"""Single questions to an engine: conversations in, the texts of its replies out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from long1k.chat import Chat
from long1k.errors import DataError
from long1k.generation.base import Engine, Job, Output, Sampling
from long1k.rows import Message


@dataclass(frozen=True, slots=True)
class Conversation:
    """What is put to the model, with the seed of its reply."""

    messages: tuple[Message, ...]
    seed: int


def ask_engine(
    engine: Engine,
    chat: Chat,
    conversations: Sequence[Conversation],
    sampling: Sampling,
    told: Callable[[int, str | None], None],
) -> None:
    """Draw one reply to each conversation; ``told(number, text)`` hears of each as soon as it is there.

    The text is what follows the model's thinking ("" if that was never closed); None where the engine failed.

    Raises:
        DataError: a prompt and its reply do not fit the model's positions.
    """
    jobs = [
        Job(str(number), chat.encode_prompt(one.messages), one.seed, sampling.max_new_tokens, messages=one.messages)
        for number, one in enumerate(conversations)
    ]
    longest = max((len(job.prompt_ids) for job in jobs), default=0)
    if engine.max_positions is not None and longest + sampling.max_new_tokens > engine.max_positions:
        raise DataError(
            f"the longest question to the judge ({longest:,} tokens) and its reply ({sampling.max_new_tokens:,}) are "
            f"more than the model's {engine.max_positions:,} positions",
            "lower --judge-set max_tokens or max_answer_chars, or serve the judge with a longer context",
        )

    def done(output: Output) -> None:
        if output.finish_reason == "error":
            told(int(output.key), None)
            return
        text = output.text if output.text is not None else chat.tokenizer.decode(output.token_ids)
        told(int(output.key), chat.split_answer(text).answer or "")

    engine.run(jobs, sampling, done)
