"""What stands in a log of inspect_ai: its samples, and question, thinking and text of one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from long1k.errors import DataError
from long1k.interop.outcomes import bad_row
from long1k.interop.streams import MAX_MEMBER_BYTES, Archive
from long1k.jsonlines import BadRow

MOST = 1 << 31
"""Counts and epochs from here on are damage."""
_SAMPLE = re.compile(r"samples/.*\.json")
_STOPS = {"max_tokens": "length", "model_length": "length"}


def held_beside(carried: Any, text: str, golds: Sequence[str]) -> dict[str, Any] | None:
    """What an export of ours put beside a sample (answers, text, provenance), if it is whole."""
    try:
        found = json.loads(carried) if isinstance(carried, str) else None
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict):
        return None
    answers, whole = found.get("answers", list(golds)), found.get("text", text)
    if not isinstance(answers, list) or not answers or not all(isinstance(one, str) for one in answers):
        return None
    return {**found, "answers": answers, "text": whole} if isinstance(whole, str) else None


def samples_of(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadRow, dict[str, Any]]]:
    """(place, sample or bad row, header) of a log."""
    if path.suffix != ".eval":
        if path.stat().st_size > MAX_MEMBER_BYTES:
            raise DataError(
                f"{path} is a JSON log of more than {MAX_MEMBER_BYTES >> 20} MiB, which must be held whole",
                "convert it: inspect log convert --to eval --output-dir FOLDER FILE",
            )
        try:
            whole = json.loads(path.read_bytes())
            samples = whole.pop("samples", None) or []
            if not isinstance(samples, list):
                raise ValueError(f"its samples are a {type(samples).__name__}, not a list")
        except (ValueError, RecursionError, AttributeError, TypeError) as error:
            raise DataError(f"{path} is no whole log: {error}", "fetch the file again") from None
        for number, sample in enumerate(samples, 1):
            yield str(number), _object_of(str(number), sample), whole
        return
    archive = Archive(path)
    try:
        names = [name for name in dict.fromkeys(archive.names) if _SAMPLE.fullmatch(name)]
        try:
            head = "header.json" if "header.json" in archive.names else "_journal/start.json"
            header = json.loads(archive.read(head))
        except (KeyError, ValueError, RecursionError) as error:
            raise DataError(f"{path} is no log of inspect_ai: {error}", "fetch the file again") from None
        for name in names:
            try:
                sample = _object_of(name, json.loads(archive.read(name)))
            except (ValueError, RecursionError) as error:
                sample = bad_row(name, "malformed_json", str(error), {})
            yield name, sample, header if isinstance(header, dict) else {}
    finally:
        archive.close()


def _object_of(key: str, sample: Any) -> dict[str, Any] | BadRow:
    return sample if isinstance(sample, dict) else bad_row(key, "not_an_object", type(sample).__name__, sample)


def text_of(value: Any) -> str | None:
    """A text that is not empty."""
    return value if isinstance(value, str) and value else None


def count_of(value: Any) -> int | None:
    """A number of tokens."""
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST else None


def finish_of(choice: Mapping[str, Any]) -> str:
    """Why a choice ended, in our words."""
    said = text_of(choice.get("stop_reason")) or "unknown"
    return _STOPS.get(said, said)


def _resolved(text: str, attached: Mapping[str, Any]) -> str:
    """A text, or the long one that the log keeps elsewhere in the sample."""
    found = attached.get(text.removeprefix("attachment://")) if text.startswith("attachment://") else None
    return found if isinstance(found, str) else text


def _pieces(content: Any, attached: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """(reasoning, text) of a message's content."""
    if isinstance(content, str):
        return [], [_resolved(content, attached)]
    thoughts, texts = [], []
    for piece in content if isinstance(content, list) else []:
        if isinstance(piece, dict) and isinstance(piece.get("reasoning"), str):
            thoughts.append(_resolved(piece["reasoning"], attached))
        elif isinstance(piece, dict) and isinstance(piece.get("text"), str):
            texts.append(_resolved(piece["text"], attached))
    return thoughts, texts


def question_of(given: Any, attached: Mapping[str, Any]) -> str:
    """The input, or the last user message of it."""
    if isinstance(given, str):
        return _resolved(given, attached)
    users = (
        [one for one in given if isinstance(one, dict) and one.get("role") == "user"] if isinstance(given, list) else []
    )
    return "\n".join(_pieces(users[-1].get("content"), attached)[1]) if users else ""


def content_of(choice: Any, attached: Mapping[str, Any]) -> tuple[str | None, str] | None:
    """(reasoning or None, text) of a choice."""
    message = choice.get("message") if isinstance(choice, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, str | list):
        return None
    thoughts, texts = _pieces(content, attached)
    return ("\n".join(thoughts) if thoughts else None), "\n".join(texts)
