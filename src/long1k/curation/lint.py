"""Text that would break a sample later: found here, once, before anything is counted."""

from __future__ import annotations

from collections.abc import Iterable

from long1k.curation.normalize import Fault
from long1k.jsonlines import unstorable


def lint_unicode(name: str, text: str) -> Fault | None:
    """A character that no table or tokenizer can hold, or None."""
    fault = unstorable(text)
    if fault is None:
        return None
    return Fault("nul_byte" if "\x00" in text else "invalid_unicode", f"{name}: {fault}")


def lint_text(name: str, text: str, special_tokens: Iterable[str]) -> Fault | None:
    """The first fault of one text, or None.

    A special token written out in a text would become a control token in training, and the
    model would learn to end a turn in the middle of a thought.
    """
    if not text.strip():
        return Fault("empty_field", f"{name} is empty")
    fault = lint_unicode(name, text)
    if fault is not None:
        return fault
    for token in special_tokens:
        if token and token in text:
            return Fault("special_token", f"{token} in {name}")
    return None
