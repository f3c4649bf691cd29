"""Which code made a result: versions of packages, and the commit of a checkout."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
from functools import lru_cache
from pathlib import Path

_PACKAGES = ("pyarrow", "tokenizers", "fastokens", "math-verify", "torch", "transformers", "trl", "accelerate")


@lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Versions of this package and of those that can change a result."""
    found = {}
    for name in ("long1k", *_PACKAGES):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@lru_cache(maxsize=1)
def git_commit() -> str | None:
    """The commit of the checkout this code runs from, with '+' if it was changed; None outside one."""
    here = Path(__file__).resolve().parent
    if shutil.which("git") is None or not (here.parents[2] / ".git").exists():
        return None
    try:
        head = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()
        dirty = subprocess.run(
            ["git", "-C", str(here), "status", "--porcelain", "--untracked-files=no"],
            capture_output=True, text=True, timeout=10, check=True,
        ).stdout.strip()  # fmt: skip
    except (subprocess.SubprocessError, OSError):
        return None
    return head + ("+" if dirty else "")
