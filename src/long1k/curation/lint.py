"""Text that would break or spoil a sample later: found here, once, before anything is counted."""

from __future__ import annotations

import re
from collections.abc import Iterable

from long1k.curation.config import LintConfig
from long1k.curation.language import other_language
from long1k.curation.normalize import Fault
from long1k.jsonlines import unstorable
from long1k.loops import find_loop

# Words that data sets write where they have no answer.  "none", "no", "no solution", "undefined" and the
# empty set are answers, and are not here.
SENTINELS = frozenset(
    ("proof", "notfound", "not found", "answer not found", "no answer", "no answer found", "n/a", "nan", "null",
     "unknown", "see solution", "see above", "not provided", "not available", "not given", "tbd", "todo")
)  # fmt: skip
_WRAPPING = re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf)\b|[{}$\\*_\"'`.!?:;()\[\]]")


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


def is_sentinel(answer: str) -> bool:
    """Whether an answer only says that there is none."""
    if len(answer) > 60:
        return False
    return " ".join(_WRAPPING.sub(" ", answer).casefold().split()) in SENTINELS


def lint_trace(question: str, answer: str, thinking: str, solution: str, config: LintConfig) -> Fault | None:
    """The first fault of a trace as a whole: an answer that is none, endless repetition, another language.

    Reasons: ``sentinel_answer``, ``loop``, ``other_language``; the evidence says what and where.

    Raises:
        MissingExtraError: ``config.language`` needs the extra ``language``.
    """
    if config.sentinels and is_sentinel(answer):
        return Fault("sentinel_answer", f"the answer {answer!r} says that there is none")
    if config.loops:
        for name, text in (("thinking", thinking), ("solution", solution)):
            loop = find_loop(text)
            if loop is not None:
                return Fault("loop", f"{name}: {loop.describe(text)}")
    if config.language is not None:
        for name, text in (("question", question), ("thinking", thinking), ("solution", solution)):
            other = other_language(text, config.language, config.foreign_share)
            if other is not None:
                return Fault("other_language", f"{name}: {other}")
    return None
