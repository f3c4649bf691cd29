"""One sample in the row shapes that other trainers read: pure functions (``formats_reading`` reads them back).

shape              row
prompt-completion  {"prompt": [{role, content}…], "completion": [{role, content}…]}
messages           {"messages": [{role, content}…]}
sharegpt           {"system", "conversations": [{"from": "human" | "gpt", "value"}…]}
alpaca             {"system", "history": [[user, assistant]…], "instruction", "input", "output"}
text               {"text": ChatML}                          (read only)

A shape that cannot hold a sample's meaning refuses it: messages, sharegpt and alpaca train every assistant
turn, so a turn that stands in the sample as untrained context would be trained by their readers.  None of them
holds a masked pair: its two conversations would be read as one, of which the second half sees the first.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from long1k.chat import documents
from long1k.rows import Example, Message, Span, to_dict

PROVENANCE = "long1k"
"""The column that holds, as one JSON text, every field of a sample that a shape has no place for.

One text, not a column a field: readers infer the types of nested JSON columns from the first rows of a file,
and fail at a later row where a list that was empty so far is not.
"""
CARRIED = ("example_id", "prompt", "completion")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a shape cannot hold a sample, or a row is no sample."""

    reason: str
    evidence: str


def with_system(example: Example, system: str | None) -> Example:
    """The sample with a system message of its own, so that a reader's template adds no other; spans move along."""
    if system is None or (example.prompt and example.prompt[0].role == "system"):
        return example
    spans = tuple(Span(s.kind, s.part, s.message + 1, s.start, s.end) for s in example.spans)
    return replace(example, prompt=(Message("system", system), *example.prompt), spans=spans)


def provenance_of(example: Example) -> str:
    """Every field but the id and the messages, as JSON; the messages are told apart by the prompt's count."""
    values = {name: value for name, value in to_dict(example).items() if name not in CARRIED}
    return json.dumps({"num_prompt_messages": len(example.prompt), **values}, ensure_ascii=False)


def untrained_turns(example: Example) -> int:
    """Assistant turns that stand in the sample as context only."""
    return sum(message.role == "assistant" for message in example.prompt)


def _apart(example: Example) -> Refusal | None:
    """Why a list of messages cannot hold the sample, if it is more than one conversation."""
    number = len(documents(example))
    if number == 1:
        return None
    return Refusal(
        "several_conversations",
        f"a {example.mode} is {number} conversations of which none sees another; messages in one row would be one "
        "(parquet, jsonl and tokenized hold it)",
    )


def _turns(example: Example, context: bool) -> tuple[str, list[Message]] | Refusal:
    """The system text ("" if none) and the alternating turns after it."""
    apart = _apart(example)
    if apart is not None:
        return apart
    if not context and untrained_turns(example):
        return Refusal(
            "untrained_turn", f"{untrained_turns(example)} assistant turns are context, and would be trained"
        )
    messages = [*example.prompt, *example.completion]
    system = ""
    if messages and messages[0].role == "system":
        system = messages.pop(0).content
        if not system:
            return Refusal("empty_system", "an empty system message cannot be told from none")
    expected = ["user", "assistant"] * (len(messages) // 2)
    if not messages or [message.role for message in messages] != expected:
        shown = " ".join(message.role for message in messages)
        return Refusal("turns_do_not_alternate", f"needs user, assistant, user, …, assistant; has {shown[:200]}")
    return system, messages


def listed(messages: Sequence[Message]) -> list[dict[str, str]]:
    """Messages as role and content."""
    return [{"role": message.role, "content": message.content} for message in messages]


def to_prompt_completion(example: Example) -> dict[str, Any] | Refusal:
    """TRL's conversational prompt and completion; holds every sample of one conversation."""
    return _apart(example) or {"prompt": listed(example.prompt), "completion": listed(example.completion)}


def to_messages(example: Example) -> dict[str, Any] | Refusal:
    """One list of messages; every assistant turn is trained."""
    apart = _apart(example)
    if apart is not None:
        return apart
    if untrained_turns(example):
        return Refusal(
            "untrained_turn", f"{untrained_turns(example)} assistant turns are context, and would be trained"
        )
    return {"messages": listed([*example.prompt, *example.completion])}


def to_sharegpt(example: Example, context: bool = False) -> dict[str, Any] | Refusal:
    """ShareGPT turns; ``context`` lets untrained turns pass (the reader is told to train the last turn only)."""
    found = _turns(example, context)
    if isinstance(found, Refusal):
        return found
    if context and len(example.completion) > 1:
        return Refusal(
            "several_trained_turns", "the table has samples with untrained turns, so only the last is trained"
        )
    system, turns = found
    names = {"user": "human", "assistant": "gpt"}
    return {"system": system, "conversations": [{"from": names[m.role], "value": m.content} for m in turns]}


def to_alpaca(example: Example) -> dict[str, Any] | Refusal:
    """Alpaca with history; the question stands in ``instruction`` whole, ``input`` is empty."""
    found = _turns(example, False)
    if isinstance(found, Refusal):
        return found
    system, turns = found
    texts = [message.content for message in turns]
    history = [[texts[i], texts[i + 1]] for i in range(0, len(texts) - 2, 2)]
    return {"system": system, "history": history, "instruction": texts[-2], "input": "", "output": texts[-1]}


SHAPES: dict[str, Callable[[Example], dict[str, Any] | Refusal]] = {
    "prompt-completion": to_prompt_completion,
    "messages": to_messages,
    "sharegpt": to_sharegpt,
    "alpaca": to_alpaca,
}
