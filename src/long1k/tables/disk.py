"""Folders and small files whose names only ever hold whole content."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from long1k.errors import DataError


@contextmanager
def written_aside(path: Path) -> Iterator[Path]:
    """A temporary name beside a file, which gets its own name once all is written; nothing stays of what failed."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_atomic(path: Path, data: bytes) -> None:
    """Write a file so that its name only ever holds the whole content."""
    with written_aside(path) as temporary, temporary.open("wb") as handle:
        handle.write(data)
        handle.flush()
        os.fsync(handle.fileno())


def make_folder(path: Path) -> Path:
    """Make a folder, or say plainly why it cannot be written."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        probe = path / f".probe.{os.getpid()}"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise DataError(
            f"cannot write to the output folder {path}: {error.strerror or error}",
            "choose another folder with --out / --runs, or change its permissions",
        ) from None
    return path


def read_json(path: Path) -> dict[str, Any]:
    """The object in a small JSON file; empty if it is not there, not whole, or no object."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
