"""Samples as token ids and labels, made by the renderer that the trainer uses, and back to text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from long1k.chat import Chat
from long1k.interop.formats import PROVENANCE, Refusal, provenance_of
from long1k.interop.formats_reading import Parsed, parse_chatml, read_row
from long1k.rows import Example, to_dict

IGNORED = -100  # the label that PyTorch's cross-entropy skips


def to_tokenized(example: Example, chat: Chat) -> dict[str, Any] | Refusal:
    """``input_ids`` and ``labels`` (-100 where no loss is taken), as the trainer has them; shapes T, T.

    ``lengths`` are those of the conversations in the row, in order; ``position_ids`` (T) begin again at 0 in each.
    """
    encoded = chat.encode_documents(example)
    ids = [token for one in encoded for token in one.ids]
    if len(ids) != example.num_tokens:
        return Refusal("other_tokenizer", f"{len(ids):,} tokens here, {example.num_tokens:,} in the table")
    labels = [token if on else IGNORED for one in encoded for token, on in zip(one.ids, one.trained, strict=True)]
    if all(label == IGNORED for label in labels):
        return Refusal("nothing_trained", "no token carries loss")
    positions = [at for one in encoded for at in range(len(one.ids))]
    lengths = [len(one.ids) for one in encoded]
    return {"input_ids": ids, "labels": labels, "length": len(ids), "lengths": lengths, "position_ids": positions}


def tokenized_provenance(example: Example) -> str:
    """The provenance with the messages in it: ids do not say how a text was before the tokenizer's normalisation."""
    values = {name: to_dict(example)[name] for name in ("prompt", "completion")}
    return json.dumps({**values, "provenance": provenance_of(example)}, ensure_ascii=False)


def from_tokenized(row: Mapping[str, Any], chat: Chat) -> Parsed | Refusal:
    """The sample that ids and labels were made from; refused unless its tokens come out the same again."""
    try:
        ids = [int(token) for token in row["input_ids"]]
        trained = [int(label) != IGNORED for label in row["labels"]]
    except (KeyError, TypeError, ValueError) as error:
        return Refusal("wrong_type", f"input_ids and labels must be lists of integers: {error!r}")
    if len(ids) != len(trained):
        return Refusal("wrong_type", f"{len(ids):,} ids but {len(trained):,} labels")
    for candidate in _candidates(row, ids, trained, chat):
        if isinstance(candidate, Refusal):
            return candidate
        mode = candidate.provenance["mode"] if candidate.provenance is not None else ""
        encoded = chat.encode_documents_of(mode, candidate.prompt, candidate.completion)
        if [token for one in encoded for token in one.ids] == ids and [
            on for one in encoded for on in one.trained
        ] == trained:
            return candidate
    return Refusal("other_tokens", "the ids do not come out again: another tokenizer, template or loss mask")


def _candidates(row: Mapping[str, Any], ids: list[int], trained: list[bool], chat: Chat) -> list[Parsed | Refusal]:
    carried = row.get(PROVENANCE)
    if isinstance(carried, str):
        try:
            values = json.loads(carried)
            inner = {**values, "id": row.get("id"), PROVENANCE: values["provenance"]}
        except (ValueError, TypeError, KeyError):
            inner = {}
        if isinstance(inner.get("prompt"), list):
            return [read_row(inner)]
    lengths = row.get("lengths")
    if isinstance(lengths, list) and len(lengths) > 1:
        return [Refusal("several_conversations", f"{len(lengths)} conversations in one row, and no provenance")]
    vocab = chat.tokenizer.vocab_size
    if not ids or min(ids) < 0 or max(ids) >= vocab:
        return [Refusal("other_tokens", f"ids outside of the tokenizer's {vocab:,}")]
    messages = parse_chatml(chat.tokenizer.decode(ids))
    if isinstance(messages, Refusal):
        return [messages]
    runs = sum(on for on, _ in groupby(trained))
    turns = [at for at, message in enumerate(messages) if message.role == "assistant"]
    if not 0 < runs <= len(turns):
        return [Refusal("other_tokens", f"{runs} trained pieces in {len(turns)} assistant turns")]
    split = turns[len(turns) - runs]
    whole = {"id": row.get("id")}
    # A system message that the template writes by itself was no message of the sample.
    without = messages[1:] if messages[0].role == "system" else messages
    made = []
    for shown, at in ((without, split - (len(messages) - len(without))), (messages, split)):
        listed = [{"role": m.role, "content": m.content} for m in shown]
        made.append(read_row({**whole, "prompt": listed[:at], "completion": listed[at:]}))
    return made
