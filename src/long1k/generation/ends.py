"""Which tokens end an output: the chat template's, and those that the model's own files name.

A base model has never seen the template's end token and ends with the one it was trained with.  What it would write
behind that is another document, so engines end an output there, as ``generate`` and servers do.
"""

from __future__ import annotations

from pathlib import Path

from long1k.chat import Chat
from long1k.tables import read_json


def end_ids(folder: Path, chat: Chat) -> tuple[int, ...]:
    """The template's end token first, then others of the model's generation settings and of its tokenizer.

    A token that stands in a tag of the thinking style ends nothing.

    Args:
        folder: of the model; what it does not hold is passed over.
    """
    named = chat.tokenizer.named_token("eos_token")
    own = chat.tokenizer.token_id(named) if named is not None else None
    found = sorted((named_end_ids(folder) or set()) | ({own} if own is not None else set()))
    tags = chat.style.open + chat.style.close + chat.style.end
    others = [one for one in found if one != chat.end_id and one >= 0 and _text(chat, one) not in tags]
    return (chat.end_id, *others)


def _text(chat: Chat, token_id: int) -> str:
    # An id beyond the tokenizer's decodes to nothing, and "" stands in every text: it is left out, too.
    return chat.tokenizer.decode([token_id])


def named_end_ids(folder: Path) -> set[int] | None:
    """What ``generate`` would end an output at: eos_token_id of generation_config.json, else of config.json."""
    for name in ("generation_config.json", "config.json"):
        found = read_json(folder / name).get("eos_token_id")
        if found is not None:
            return {one for one in (found if isinstance(found, list) else [found]) if type(one) is int}
    return None
