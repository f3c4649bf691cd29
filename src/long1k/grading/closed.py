"""Whether two canonical texts have equal values: numbers, polynomials, tuples and matrices of them, sets.

Values are those of ``expressions``; what they cannot tell, rounding or an unknown form, is not decided here.
"""

from __future__ import annotations

import re

from long1k.grading.expressions import MAX_CHARS, evaluate
from long1k.grading.values import Value, compare_values

_PARTS = re.compile(r"[,&]|\\\\")
_MATRIX = re.compile(r"\\begin\{([pb]?)matrix\}(.*)\\end\{\1matrix\}")


def compare(gold: str, answer: str) -> bool | None:
    """Whether two canonical texts have equal values: numbers, polynomials, tuples and matrices of them, sets.

    None where this arithmetic cannot tell.
    """
    left, right = evaluate(gold), evaluate(answer)
    if left is not None and right is not None:
        return compare_values(left, right)
    if (left is None) != (right is None) or max(len(gold), len(answer)) > MAX_CHARS:
        return None
    ours, theirs = _structure(gold), _structure(answer)
    if ours is None or theirs is None:
        return None
    if ours[0] != theirs[0]:
        # {1, 2} is neither a point nor an interval; a bare list may be any of them.
        braces = gold.startswith("\\{") or answer.startswith("\\{")
        return False if braces and "set" in (ours[0], theirs[0]) and len(ours[0]) + len(theirs[0]) == 5 else None
    kind, values, others = ours[0], ours[1], theirs[1]
    if kind == "set":
        return _compare_sets(values, others)
    if len(values) != len(others):
        return None
    same = [compare_values(one, other) for one, other in zip(values, others, strict=True)]
    return False if False in same else None if None in same else True


def _compare_sets(values: list[Value], others: list[Value]) -> bool | None:
    if len(values) != len(others):
        return None
    matches = [[compare_values(one, other) for other in others] for one in values]
    if any(all(match is False for match in row) for row in [*matches, *zip(*matches, strict=True)]):
        return False
    clear = all(row.count(True) == 1 and row.count(False) == len(row) - 1 for row in matches)
    return True if clear and len({row.index(True) for row in matches}) == len(values) else None


def _structure(text: str) -> tuple[str, list[Value]] | None:
    r"""(kind, values): a tuple or interval by its brackets, a matrix by its shape, a set or bare list as "set"."""
    matrix = _MATRIX.fullmatch(text)
    if matrix is not None:
        kind, inner = f"matrix {[row.count('&') for row in _split_rows(matrix[2])]}", matrix[2]
    elif text.startswith("\\{") and text.endswith("\\}"):
        kind, inner = "set", text[2:-2]
    elif len(text) > 2 and text[0] in "([" and text[-1] in ")]" and _encloses(text):
        kind, inner = text[0] + text[-1], text[1:-1]
    else:
        kind, inner = "set", text
    pieces = _PARTS.split(inner) if matrix is not None else inner.split(",")
    if matrix is not None and pieces and not pieces[-1].strip():
        pieces.pop()  # a line end behind the last line
    values = [evaluate(piece.strip()) for piece in pieces]
    known = [value for value in values if value is not None]
    # One value is no list, and 1,234 may be a number.
    if len(known) != len(values) or (matrix is None and len(values) < 2) or ("," in inner and matrix is not None):
        return None
    return kind, known


def _split_rows(inner: str) -> list[str]:
    rows = inner.split("\\\\")
    return rows[:-1] if len(rows) > 1 and not rows[-1].strip() else rows


def _encloses(text: str) -> bool:
    """True if the first bracket is closed by the last character (a square one by a round one, too)."""
    depth = 0
    for at, character in enumerate(text):
        depth += (character in "([") - (character in ")]")
        if depth == 0:
            return at == len(text) - 1
    return False
