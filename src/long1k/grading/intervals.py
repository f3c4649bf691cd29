r"""Sets of real numbers as intervals: `x < -1 \text{ or } x > 1` and `(-\infty,-1) \cup (1,\infty)` are one set.

Inequalities in one variable, intervals (also with brackets turned outwards, `]0, 1[`), single numbers in braces, and
unions of them. Ends are values of `closed`, compared exactly; what is not of this form, or overlaps, is not decided.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import pairwise

from long1k.grading.expressions import MAX_CHARS, evaluate
from long1k.grading.normalize import normalize
from long1k.grading.values import Value, compare_values

_MAX_PIECES = 16
_RELATION = re.compile(r"<|>|\\(?:le|ge|ne)(?![A-Za-z])")
_SIGN_OF_A_SET = re.compile(r"[<>|]|\\(?:le|ge|ne|cup|mid|mathbb|infty)(?![A-Za-z])|^\]|\[$")
_OR = re.compile(r"\\(?:cup|lor|vee)(?![A-Za-z])|\\text ?\{ ?or ?\}|(?<![A-Za-z\\])or(?![A-Za-z])")
_MEMBER = re.compile(r"([A-Za-z]) ?\\in(?![A-Za-z]) ?(.+)")
_REALS = r"\\mathbb ?(?:\{ ?R ?\}|R)"
_BUILDER = re.compile(rf"\\\{{ ?([A-Za-z]) ?(?:\\in ?{_REALS} ?)?(?:\\mid(?![A-Za-z])|[|:]) ?(.+)\\\}}")
_VARIABLE = re.compile(r"[A-Za-z]")
_INTERVAL = re.compile(r"([(\[\]])(.+),(.+)([)\]\[])")
_INFINITIES = {"\\infty": math.inf, "-\\infty": -math.inf}


class _Unknown(Exception):
    """The text is not of this form."""


@dataclass(frozen=True)
class _End:
    """An end: ``at`` for order, ``value`` of a finite one, and whether it belongs to the set."""

    at: float
    value: Value | None
    closed: bool


_Piece = tuple[_End, _End]


def compare_as_sets(gold: str, answer: str) -> bool | None:
    """Whether two prepared texts are one set of real numbers; None where this cannot tell.

    At least one of them must look like a set: an inequality, a union, an end at infinity.
    """
    if max(len(gold), len(answer)) > MAX_CHARS or not (_SIGN_OF_A_SET.search(gold) or _SIGN_OF_A_SET.search(answer)):
        return None
    try:
        (ours, our_name), (theirs, their_name) = _pieces(gold), _pieces(answer)
    except _Unknown:
        return None
    if our_name and their_name and our_name != their_name:
        return None
    if len(ours) != len(theirs):
        return False
    same = [
        _same_end(one, other)
        for piece, opposite in zip(ours, theirs, strict=True)
        for one, other in zip(piece, opposite, strict=True)
    ]
    return False if False in same else None if None in same else True


def _same_end(one: _End, other: _End) -> bool | None:
    if one.value is None or other.value is None:
        return one.at == other.at
    same = compare_values(one.value, other.value)
    return same if same is not True else one.closed == other.closed


def _pieces(text: str) -> tuple[list[_Piece], str]:
    """The pieces of a set in ascending order, and the name of its variable, if it has one."""
    name = ""
    for pattern in (_MEMBER, _BUILDER):
        found = pattern.fullmatch(text.strip())
        if found is not None:
            name, text = found[1], found[2]
    texts = _OR.split(text)
    if len(texts) > _MAX_PIECES:
        raise _Unknown
    pieces: list[_Piece] = []
    for each in texts:
        made, named = _piece(each.strip())
        if named and name and named != name:
            raise _Unknown
        name = name or named
        pieces += made
    pieces.sort(key=lambda piece: piece[0].at)
    for before, after in pairwise(pieces):
        touching = before[1].at == after[0].at and (before[1].closed or after[0].closed)
        if before[1].at > after[0].at or touching:
            raise _Unknown
    return pieces, name


def _piece(text: str) -> tuple[list[_Piece], str]:
    if re.fullmatch(_REALS, text):
        return [(_end("-\\infty", closed=False), _end("\\infty", closed=False))], ""
    signs = _RELATION.findall(text)
    if signs:
        return _of_relation([part.strip() for part in _RELATION.split(text)], signs)
    if text.startswith("\\{") and text.endswith("\\}"):
        point = _end(text[2:-2], closed=True)
        return [(point, point)], ""
    found = _INTERVAL.fullmatch(text)
    if found is None:
        raise _Unknown
    return [_ordered(_end(found[2], closed=found[1] == "["), _end(found[3], closed=found[4] == "]"))], ""


def _of_relation(parts: list[str], signs: list[str]) -> tuple[list[_Piece], str]:
    r"""x < 5, 5 > x, x \ne 5, 2 \le x < 5."""
    lowest, highest = _end("-\\infty", closed=False), _end("\\infty", closed=False)
    if len(parts) == 2 and _VARIABLE.fullmatch(parts[1]) and not _VARIABLE.fullmatch(parts[0]):
        turned = {"<": ">", ">": "<", "\\le": "\\ge", "\\ge": "\\le"}
        parts, signs = parts[::-1], [turned.get(signs[0], signs[0])]
    if len(parts) == 2 and _VARIABLE.fullmatch(parts[0]):
        end = _end(parts[1], closed=signs[0] in ("\\le", "\\ge"))
        if signs[0] == "\\ne":
            return [(lowest, end), (end, highest)], parts[0]
        return [_ordered(lowest, end) if signs[0] in ("<", "\\le") else _ordered(end, highest)], parts[0]
    if len(parts) != 3 or not _VARIABLE.fullmatch(parts[1]):
        raise _Unknown
    if set(signs) <= {">", "\\ge"}:
        parts, signs = parts[::-1], [{">": "<", "\\ge": "\\le"}[sign] for sign in reversed(signs)]
    if not set(signs) <= {"<", "\\le"}:
        raise _Unknown
    return [_ordered(_end(parts[0], closed=signs[0] == "\\le"), _end(parts[2], closed=signs[1] == "\\le"))], parts[1]


def _ordered(lower: _End, upper: _End) -> _Piece:
    if not lower.at < upper.at:
        raise _Unknown
    return lower, upper


def _end(text: str, *, closed: bool) -> _End:
    core = normalize(text)
    if core in _INFINITIES:
        return _End(_INFINITIES[core], None, closed=False)
    value = evaluate(core)
    if value is None or not value.constant:
        raise _Unknown
    return _End(value.approx, value, closed)
