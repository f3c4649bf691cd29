"""Reading JSON Lines row by row: bad rows are data, a broken file is an error."""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from long1k.errors import DataError, RecipeError

_SPACE = re.compile(r"[ \t\r\n]*")
MAX_ROW_BYTES = 32 << 20
BOM = b"\xef\xbb\xbf"
_SHOWN = 2000
# Names under which published files hold our fields; used where the recipe maps nothing.
_ALIASES = {
    "question": ("problem", "prompt", "instruction"),
    "answer": ("final_answer", "ground_truth", "gold"),
    "response": ("output", "completion", "generation"),
    "thinking": ("reasoning", "deepseek_reasoning", "deepseek_thinking_trajectory"),
    "solution": ("deepseek_solution", "deepseek_attempt"),
    "teacher": ("model",),
    "subject": ("type", "domain"),
    "difficulty": ("level",),
    "label": ("is_correct",),
    "correct": ("is_correct",),
    "benchmark": ("dataset",),
}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that could not be read: where it stands, why, and its text as far as it is text."""

    source_row: str
    reason: str
    evidence: str
    row: str


Row = tuple[int, dict[str, Any] | BadRow]  # number in its file, from 1


def field_name(field: str, row: Mapping[str, Any], mapped: Mapping[str, str]) -> str:
    """What a row calls one of our fields: as mapped, else our name, else the first known alias it has."""
    if field in mapped or field in row:
        return mapped.get(field, field)
    return next((alias for alias in _ALIASES.get(field, ()) if alias in row), field)


def alias_names(field: str) -> tuple[str, ...]:
    """Names under which published files hold one of our fields."""
    return _ALIASES.get(field, ())


def unstorable(text: str) -> str | None:
    """What makes a text impossible to store or tokenize (NUL, half a surrogate pair), or None."""
    if "\x00" in text:
        return f"a NUL at character {text.index(chr(0)):,}"
    return half_surrogate(text)


def half_surrogate(text: str) -> str | None:
    """Where half of a surrogate pair stands (no table can hold it), or None."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        return f"half of a surrogate pair at character {error.start:,}"
    return None


def expand_path(path: str) -> Path:
    """A path with ~ and ${VARIABLE} filled in.

    Raises:
        RecipeError: a variable is not set, or the path is not UTF-8.
    """
    if half_surrogate(path) is not None:  # how Python writes bytes of a name that are not UTF-8
        raise RecipeError(f"the path {path!r} is not UTF-8", "rename it: names are stored with every row")
    missing = [name for name in re.findall(r"\$\{(\w+)\}", path) if name not in os.environ]
    if missing:
        raise RecipeError(f"the path {path} needs the environment variable {missing[0]}", f"export {missing[0]}=FOLDER")
    return Path(os.path.expandvars(path)).expanduser()


def read_json_lines(path: Path, max_row_bytes: int = MAX_ROW_BYTES) -> Iterator[tuple[int, dict[str, Any] | BadRow]]:
    """(line number from 1, row or bad row) of a JSON Lines file, plain or gzip.

    Raises:
        DataError: the file is missing or unreadable, or its compression is broken.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}", "check the path")
    opener: Any = gzip.open if path.suffix == ".gz" else open
    number = 0
    try:
        handle: IO[bytes]
        with opener(path, "rb") as handle:
            for number, line in iter_lines(handle, max_row_bytes):
                yield number, parse_line(line, number, max_row_bytes)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} is not a whole gzip file (after line {number}): {error}", "fetch the file again"
        ) from None
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}", "check its permissions") from None


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line above the limit: its size, and how it begins; the rest was never held."""

    num_bytes: int
    head: bytes


def iter_lines(handle: IO[bytes], max_row_bytes: int, first: int = 1) -> Iterator[tuple[int, bytes | LongLine]]:
    """(line number, line) of all lines that are not blank; memory is bounded by ``max_row_bytes``.

    Args:
        handle: anything with ``readline(limit)``; a byte order mark at line 1 is taken off.
        first: number of the first line.
    """
    number = first
    while line := handle.readline(max_row_bytes + 1):
        if number == 1:
            line = line.removeprefix(BOM)
        if len(line) > max_row_bytes and not line.endswith(b"\n"):
            num_bytes, head = len(line), line[:_SHOWN]
            while line := handle.readline(1 << 20):
                num_bytes += len(line)
                if line.endswith(b"\n"):
                    num_bytes -= 1
                    break
            yield number, LongLine(num_bytes, head)
        elif line.strip():
            yield number, line
        number += 1


def parse_line(line: bytes | LongLine, number: int, max_row_bytes: int = MAX_ROW_BYTES) -> dict[str, Any] | BadRow:
    """The object of one line, or why there is none.  Of two equal keys neither is taken for the right one."""
    if isinstance(line, LongLine):
        size = f"{line.num_bytes:,} bytes, more than max_row_bytes ({max_row_bytes:,})"
        return BadRow(str(number), "row_too_large", size, line.head.decode("utf-8", "replace"))
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as error:
        return BadRow(str(number), "invalid_utf8", str(error), line.decode("utf-8", "replace")[:_SHOWN])
    try:
        row = json.loads(text, object_pairs_hook=_object)
    except _DuplicateKey as error:
        return BadRow(str(number), "duplicate_key", f"the key {error} stands twice", text[:_SHOWN])
    except json.JSONDecodeError as error:  # its own line number is that within this one line
        place = f"line {number}, column {error.colno}"
        return BadRow(str(number), "malformed_json", f"{place}: {error.msg}", text[:_SHOWN])
    except (ValueError, RecursionError) as error:  # a number of thousands of digits; brackets in brackets
        return BadRow(str(number), "malformed_json", f"line {number}: {error}", text[:_SHOWN])
    if not isinstance(row, dict):
        return BadRow(str(number), "not_an_object", f"a {type(row).__name__}, not an object", text[:_SHOWN])
    return row


class _DuplicateKey(Exception):
    """Two members of one object have the same name."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise _DuplicateKey(repr(first_twice([name for name, _ in pairs])))
    return made


def after_space(text: str, at: int) -> int:
    """Where JSON goes on behind the white space that stands there."""
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def first_twice(names: Sequence[str]) -> str | None:
    """The first name that stands twice, or None; a row may have a million."""
    return next((name for name, count in Counter(names).items() if count > 1), None)
