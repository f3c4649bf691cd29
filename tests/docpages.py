"""What the pages of the documentation hold: commands, and files that a reader is asked to write."""

from __future__ import annotations

import re
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
GUIDES = ("tutorial", "add-a-source", "add-a-linker", "add-a-benchmark", "add-a-grader", "add-an-engine", "faq")
"""Pages to be followed from top to bottom in an empty folder: each is run by itself, files and all."""
_BLOCK = re.compile(r"^( *)```(\w+)(?: title=\"([^\"]+)\")?\n(.*?)^\1```$", re.DOTALL | re.MULTILINE)


def pages() -> list[Path]:
    """Every page that a reader may start from."""
    outside = [PROJECT / name for name in ("README.md", "CONTRIBUTING.md")]
    return [*(page for page in outside if page.is_file()), *sorted((PROJECT / "docs").glob("*.md"))]


def steps(page: Path) -> list[tuple[str, str]]:
    """(file name, its text) and ("", command) in the order of the page.

    Commands are the lines of ```sh blocks, continuation lines joined, comments dropped; files are blocks with a title.
    """
    found: list[tuple[str, str]] = []
    for _, language, title, body in _BLOCK.findall(page.read_text(encoding="utf-8")):
        if title:
            found.append((title, body))
        elif language == "sh":
            lines = body.replace("\\\n", " ").splitlines()
            stripped = (re.sub(r"(^|\s+)#.*$", "", line).strip() for line in lines)
            found += [("", line) for line in stripped if line]
    return found


def commands(page: Path) -> list[str]:
    """The commands of a page."""
    return [text for name, text in steps(page) if not name]


def files(page: Path) -> dict[str, str]:
    """The files of a page by name."""
    return {name: text for name, text in steps(page) if name}
