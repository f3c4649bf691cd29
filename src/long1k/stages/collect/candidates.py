"""A raw row taken apart and linted: a candidate for a trace, or its first fault."""

from __future__ import annotations

from dataclasses import dataclass, replace

from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.curation.lint import lint_text, lint_trace, lint_unicode
from long1k.curation.normalize import Fault, Parts, check_parts, split_response
from long1k.grading.extract import extract_answer
from long1k.jsonlines import BadRow
from long1k.rows import content_id
from long1k.sources.raw import RawTrace


@dataclass(frozen=True)
class Candidate:
    """A raw row whose text is in order."""

    raw: RawTrace
    parts: Parts


def with_gold(raw: RawTrace | BadRow) -> RawTrace | BadRow:
    """A row whose gold answer stands at the end of a worked solution: taken out of it."""
    if isinstance(raw, BadRow) or raw.answer is not None or raw.gold_solution is None:
        return raw
    found = extract_answer(raw.gold_solution)
    return raw if found is None else replace(raw, answer=found.value)


def problem_id_of(raw: RawTrace) -> str:
    """The content hash of a problem: its question, without surrounding white space."""
    return content_id("p", raw.question.strip())


def candidate_of(raw: RawTrace | BadRow, chat: Chat, config: CollectConfig) -> Candidate | Fault:
    """A raw row with its text taken apart and linted, or its first fault."""
    if isinstance(raw, BadRow):
        return Fault(raw.reason, raw.evidence)
    for name in ("question", "answer", "response", "thinking", "solution"):
        text = getattr(raw, name)
        if text is not None:
            fault = Fault("empty_field", f"{name} is empty") if not text.strip() else lint_unicode(name, text)
            if fault is not None and not (name == "response" and fault.reason == "empty_field"):
                return fault
    for name in ("teacher", "subject", "license", "difficulty_origin"):
        fault = lint_unicode(name, getattr(raw, name) or "")
        if fault is not None:
            return fault
    if config.domains is not None and raw.subject not in config.domains:
        return Fault("other_domain", f"subject {raw.subject!r}; wanted: {', '.join(config.domains)}")
    parts = _parts_of(raw)
    if isinstance(parts, Fault):
        return parts
    specials = chat.tokenizer.special_tokens
    texts = [("question", raw.question), ("thinking", parts.thinking), ("solution", parts.solution)]
    for name, text in [*texts, *([("answer", raw.answer)] if raw.answer is not None else [])]:
        fault = lint_text(name, text, specials)
        if fault is not None:
            return fault
    return lint_trace(raw.question, raw.answer or "", parts.thinking, parts.solution, config.lint) or Candidate(
        raw, parts
    )


def _parts_of(raw: RawTrace) -> Parts | Fault:
    if raw.response is not None:
        return split_response(raw.response, raw.tags)
    return check_parts(Parts((raw.thinking or "").strip(), (raw.solution or "").strip(), "given"))
