"""One process at a time on a folder."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from long1k.errors import EngineError
from long1k.tables import make_folder


@contextmanager
def locked(folder: Path, option: str) -> Iterator[None]:
    """Hold a folder's lock; it goes with the process, also after a kill -9, and leaves no file behind otherwise.

    Args:
        option: of the command line that names another folder.

    Raises:
        EngineError: another process holds it.
    """
    make_folder(folder)
    path = folder / ".lock"
    while True:
        with path.open("w") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise EngineError(
                    f"another run is working on {folder}", f"wait for it, or name another folder with {option}"
                ) from None
            except OSError:
                pass  # a file system without locks: one goes without
            if not _is_at(handle, path):
                continue
            try:
                yield
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(handle: IO[str], path: Path) -> bool:
    """Whether an open file is the one of that name: if its last holder just removed it, it locks nothing."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    own = os.fstat(handle.fileno())
    return (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino)
