"""How several problems stand in one prompt: in training samples, in benchmarks, and where answers are read back."""

from __future__ import annotations

from collections.abc import Sequence

APART = "\n\n"


def part_label(part: int) -> str:
    """What stands before problem ``part`` (from 0), and before its answer; grading looks for it at a line's start."""
    return f"Problem {part + 1}: "


def labelled(texts: Sequence[str]) -> str:
    """Problems, or their answers, one after another, each behind its label; a single one stands alone."""
    if len(texts) == 1:
        return texts[0]
    return APART.join(part_label(part) + text for part, text in enumerate(texts))
