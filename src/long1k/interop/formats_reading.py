"""Samples from the row shapes of other trainers (see ``formats``); an export of ours comes back whole."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from long1k.interop.formats import CARRIED, PROVENANCE, Refusal, listed
from long1k.rows import Example, Message, from_dict

_ROLES = {
    "system": "system", "user": "user", "human": "user", "assistant": "assistant", "gpt": "assistant",
    "model": "assistant",
}  # fmt: skip
_CHATML_TURN = re.compile(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>\n?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A row read back: its messages, and what came with them."""

    prompt: tuple[Message, ...]
    completion: tuple[Message, ...]
    example_id: str | None = None
    provenance: Mapping[str, Any] | None = None


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
    if not isinstance(values, dict) or set(values) != wanted - set(CARRIED) | {"num_prompt_messages"}:
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
    messages = {"prompt": listed(parsed.prompt), "completion": listed(parsed.completion)}
    return from_dict({**values, **messages, **counts, "example_id": example_id}, Example)
