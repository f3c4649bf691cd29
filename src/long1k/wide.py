"""Text for a terminal of 100 columns."""

from __future__ import annotations

import textwrap

WIDTH = 100


def fit(text: str, width: int = WIDTH) -> str:
    """The text with every line that is too long broken at a space and indented below; words (paths, say) stay whole."""
    return "\n".join(_fitted(line, width) for line in text.split("\n"))


def tell(text: str) -> None:
    """Print a summary, fitted."""
    print(fit(text), flush=True)


def _fitted(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    indent = " " * (len(line) - len(line.lstrip(" ")) + 2)
    place, _, rest = line.lstrip(" ").partition(": ")
    if rest and "/" in place and " " not in place:  # "folder: what it holds": not in the middle of what it holds
        return f"{indent[2:]}{place}:\n{_fitted(indent + rest, width)}"
    found = textwrap.wrap(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return "\n".join(found) or line.rstrip()
