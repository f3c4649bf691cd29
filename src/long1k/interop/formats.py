"""One sample in the row shapes that other trainers read, and back: pure functions.

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
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from long1k.chat import documents
from long1k.rows import Example, Message, Span, from_dict, to_dict

PROVENANCE = "long1k"
"""The column that holds, as one JSON text, every field of a sample that a shape has no place for.

One text, not a column a field: readers infer the types of nested JSON columns from the first rows of a file,
and fail at a later row where a list that was empty so far is not.
"""
_CARRIED = ("example_id", "prompt", "completion")
_ROLES = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
    "model": "assistant",
}  # fmt: skip
_CHATML_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a shape cannot hold a sample, or a row is no sample."""

    reason: str
    evidence: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """A row read back: its messages, and what came with them."""

    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    example_id: str | None = None
    provenance: Mapping[str, Any] | None = None


# --- out --------------------------------------------------------------------------------------------------


def with_system(example: Example, system: str | None) -> Example:
    """The sample with a system message of its own, so that a reader's template adds no other; spans move along."""
    if system is None or (example.prompt and example.prompt[0].role == "system"):
        return example
    spans = tuple(Span(s.kind, s.part, s.message + 1, s.start, s.end) for s in example.spans)
    return replace(example, prompt=(Message("system", system), *example.prompt), spans=spans)


def provenance_of(example: Example) -> str:
    """Every field but the id and the messages, as JSON; the messages are told apart by the prompt's count."""
    values = {name: value for name, value in to_dict(example).items() if name not in _CARRIED}
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


def _listed(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def to_prompt_completion(example: Example) -> dict[str, Any] | Refusal:
    """TRL's conversational prompt and completion; holds every sample of one conversation."""
    return _apart(example) or {"prompt": _listed(example.prompt), "completion": _listed(example.completion)}


def to_messages(example: Example) -> dict[str, Any] | Refusal:
    """One list of messages; every assistant turn is trained."""
    apart = _apart(example)
    if apart is not None:
        return apart
    if untrained_turns(example):
        return Refusal(
            "untrained_turn", f"{untrained_turns(example)} assistant turns are context, and would be trained"
        )
    return {"messages": _listed([*example.prompt, *example.completion])}


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


# --- in ---------------------------------------------------------------------------------------------------


def parse_chatml(text: str) -> list[Message] | Refusal:
    """The messages of a ChatML text; a text after the last end token makes it no sample."""
    messages, at = [], 0
    text = text.removeprefix("<|endoftext|>").removesuffix("<|endoftext|>")
    for turn in _CHATML_TURN.finditer(text):
        if text[at : turn.start()].strip():
            break
        messages.append(Message(turn[1], turn[2]))
        at = turn.end()
    rest = text[at:].strip()
    if rest:
        reason = "unclosed_turn" if rest.startswith("<|im_start|>") else "not_chatml"
        return Refusal(reason, f"after {len(messages)} whole messages: {rest[:200]!r}")
    return messages


def is_sample(row: Mapping[str, Any]) -> bool:
    """Whether a row has one of the shapes of samples (an answer to check against makes it an output instead)."""
    if isinstance(row.get("text"), str) or any(
        isinstance(row.get(key), list) for key in ("messages", "conversations", "input_ids", "prompt")
    ):
        return True
    return ("output" in row or "completion" in row) and ("instruction" in row or "prompt" in row)


def read_row(row: Mapping[str, Any]) -> Parsed | Refusal:
    """A sample from any of the shapes.  ``text`` is read before the shorter shapes: it holds the whole sample."""
    messages: list[Message] | Refusal
    split: int | None = None
    if isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        prompt = _messages(row["prompt"], "role", "content")
        completion = _messages(row["completion"], "role", "content")
        if isinstance(prompt, Refusal):
            return prompt
        if isinstance(completion, Refusal):
            return completion
        messages, split = [*prompt, *completion], len(prompt)
    elif isinstance(row.get("messages"), list):
        messages = _messages(row["messages"], "role", "content")
    elif isinstance(row.get("conversations"), list):
        first = next((item for item in row["conversations"] if isinstance(item, dict)), {})
        keys = ("from", "value") if "from" in first else ("role", "content")
        messages = _messages(row["conversations"], *keys)
        if isinstance(messages, list) and row.get("system"):
            messages.insert(0, Message("system", str(row["system"])))
    elif isinstance(row.get("text"), str):
        messages = parse_chatml(row["text"])
    else:
        messages = _alpaca(row)
    if isinstance(messages, Refusal):
        return messages
    return _divide(messages, split, row)


def _messages(items: Sequence[Any], role_key: str, content_key: str) -> list[Message] | Refusal:
    made = []
    for number, item in enumerate(items):
        if not isinstance(item, dict) or not isinstance(item.get(content_key), str):
            return Refusal("wrong_type", f"message {number} has no text in '{content_key}'")
        made.append(Message(str(item.get(role_key)), item[content_key]))
    return made


def _alpaca(row: Mapping[str, Any]) -> list[Message] | Refusal:
    instruction = "instruction" if "instruction" in row else "prompt"
    answer = "output" if "output" in row else "completion"
    for key in (instruction, answer):
        if not isinstance(row.get(key), str):
            return Refusal("missing_field", f"no text in '{key}' (the row has: {', '.join(map(str, row))[:200]})")
    messages = [Message("system", str(row["system"]))] if row.get("system") else []
    for pair in row.get("history") or ():
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            return Refusal("wrong_type", "'history' is no list of [user, assistant] texts")
        messages += [Message("user", pair[0]), Message("assistant", pair[1])]
    question = "\n".join(str(text) for text in (row[instruction], row.get("input")) if text)
    return [*messages, Message("user", question), Message("assistant", row[answer])]


def _divide(messages: Sequence[Message], split: int | None, row: Mapping[str, Any]) -> Parsed | Refusal:
    """Prompt and completion: as given, else as the provenance says, else at the first assistant turn."""
    made = []
    for message in messages:
        if message.role not in _ROLES:
            return Refusal("unknown_role", f"role {message.role!r}; known: {', '.join(_ROLES)}")
        made.append(Message(_ROLES[message.role], message.content))
    roles = [message.role for message in made]
    if "user" not in roles:
        return Refusal("no_user", f"no user message among {len(made)}")
    if "assistant" not in roles or roles[-1] != "assistant":
        return Refusal("no_answer_turn", "the last message is not the assistant's, so there is nothing to train")
    if not made[-1].content.strip():
        return Refusal("empty_completion", "the last assistant message is empty")
    own_id, carried = row.get("example_id", row.get("id")), read_provenance(row)
    if split is None:
        split = carried["num_prompt_messages"] if carried else roles.index("assistant")
    if not 0 < split < len(made):
        return Refusal("wrong_type", f"{split} of {len(made)} messages are the prompt")
    known = isinstance(own_id, str) and re.fullmatch(r"e-[0-9a-f]{20}", own_id) is not None
    return Parsed(tuple(made[:split]), tuple(made[split:]), own_id if known else None, carried)


def read_provenance(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """What an export of ours stored beside the messages, or None; another program's column of that name is left."""
    wanted = {field.name for field in fields(Example)}
    if wanted <= set(row):
        values = {name: row[name] for name in wanted}
        return {**values, "num_prompt_messages": len(row["prompt"])} if _fits(values) else None
    text = row.get(PROVENANCE)
    if not isinstance(text, str):
        return None
    try:
        values = json.loads(text)
    except ValueError:
        return None
    if not isinstance(values, dict) or set(values) != wanted - set(_CARRIED) | {"num_prompt_messages"}:
        return None
    count = values["num_prompt_messages"]
    return values if _fits(values) and type(count) is int and count > 0 else None


_TEXTS = ("answers", "trace_ids", "problem_ids", "sources", "licenses", "linkers")
_SPAN = {"kind": str, "part": int, "message": int, "start": int, "end": int}


def _fits(values: Mapping[str, Any]) -> bool:
    """Whether carried values have the types of a sample's fields."""
    return (
        all(isinstance(values[k], list) and all(isinstance(text, str) for text in values[k]) for k in _TEXTS)
        and isinstance(values["spans"], list)
        and all(
            isinstance(s, dict) and set(s) == set(_SPAN) and all(type(s[k]) is kind for k, kind in _SPAN.items())
            for s in values["spans"]
        )
        and all(isinstance(values[key], str) for key in ("arm", "mode"))
        and (values["target_tokens"] is None or type(values["target_tokens"]) is int)
        and type(values["num_problems"]) is int
    )


def restore(parsed: Parsed, example_id: str, num_tokens: int, num_supervised_tokens: int) -> Example:
    """The sample of a row that carries its provenance, with the counts of today's tokenizer."""
    assert parsed.provenance is not None
    values = {key: value for key, value in parsed.provenance.items() if key != "num_prompt_messages"}
    counts = {"num_tokens": num_tokens, "num_supervised_tokens": num_supervised_tokens}
    messages = {"prompt": _listed(parsed.prompt), "completion": _listed(parsed.completion)}
    return from_dict({**values, **messages, **counts, "example_id": example_id}, Example)
