r"""Formulas in texts: LaTeX between $…$, $$…$$, \(…\) or \[…\] becomes MathML, which browsers draw by themselves.

The MathML goes to the page as a tree of lists and is built there node by node from a list of names and attributes
that may stand in it; no text of a row is ever markup.  What cannot be converted stays as its source.
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any

# Every branch begins with one of two characters, so that text without formulas is passed over at once; none lets a
# formula begin within a formula, so that no text makes the search go over it twice.  JavaScript reads the same pattern.
PATTERN = (
    r"\$(?<!\\\$)\$([^$]{1,2000})\$\$"
    r"|\\(?<!\\\\)\[((?:[^\\]|\\[^\[\]]){1,2000})\\\]"
    r"|\\(?<!\\\\)\(((?:[^\\]|\\[^()]){1,2000})\\\)"
    r"|\$(?<!\\\$)(?![\s$])([^$\n]{1,400})(?<![\s\\])\$(?![\d$])"
)
_FORMULA = re.compile(PATTERN)
MAX_CHARACTERS = 1000
MAX_DEPTH = 24
MAX_NODES = 2000
TAGS = frozenset((
    "mrow", "mi", "mn", "mo", "mtext", "mspace", "mfrac", "msqrt", "mroot", "msub", "msup", "msubsup", "munder",
    "mover", "munderover", "mtable", "mtr", "mtd", "menclose", "mstyle", "mpadded", "mphantom",
))  # fmt: skip
ATTRIBUTES = frozenset((
    "stretchy", "fence", "form", "separator", "lspace", "rspace", "minsize", "maxsize", "movablelimits", "accent",
    "accentunder", "linethickness", "mathvariant", "displaystyle", "scriptlevel", "columnalign", "width", "height",
    "depth", "largeop", "symmetric", "notation",
))  # fmt: skip
_VALUE = re.compile(r"[\w.%+ -]{1,40}")
_OPENS = re.compile(r"\\(?:left|begin)(?![A-Za-z])|(?<!\\)\{")
_CLOSES = re.compile(r"\\(?:right|end)(?![A-Za-z])|(?<!\\)\}")

Tree = list[Any]


class NotDrawnError(Exception):
    """A formula that is shown as its source."""


def formulas(text: str) -> Iterator[str]:
    """The formulas of a text with their marks, in order."""
    for found in _FORMULA.finditer(text):
        yield found[0]


def tree_of(formula: str) -> Tree | None:
    """A formula (with its marks) as a tree ``[tag, {attribute: value}?, child…]``; None if it cannot be drawn.

    A display formula's tree has the tag ``display``, another's ``inline``; texts are strings.  Long or deeply nested
    sources are not tried: converting takes more than linear time in them.
    """
    found = _FORMULA.fullmatch(formula)
    source = "" if found is None else next(group for group in found.groups() if group is not None).strip()
    if not source or len(source) > MAX_CHARACTERS or _depth(source) > MAX_DEPTH:
        return None
    import latex2mathml.converter

    try:
        element = latex2mathml.converter.convert_to_element(source)
        children, _ = _children(element, 0)
    except Exception:  # what the library raises on a malformed formula is of many kinds: any of them means "not drawn"
        return None
    if len(children) == 1 and children[0][0] == "mrow" and not isinstance(children[0][1], dict):
        children = children[0][1:]
    return ["display" if formula[:2] in ("$$", "\\[") else "inline", *children]


def _depth(source: str) -> int:
    marks = [(m.start(), 1) for m in _OPENS.finditer(source)] + [(m.start(), -1) for m in _CLOSES.finditer(source)]
    depth = deepest = 0
    for _, step in sorted(marks):
        depth = max(0, depth + step)
        deepest = max(deepest, depth)
    # A chain of commands without braces (\sqrt\sqrt\sqrt x, a^b^c) nests as well.
    chain = max((m[0].count("\\") for m in re.finditer(r"(?:\\[A-Za-z]+\s*){8,}", source)), default=0)
    return max(deepest, chain)


def _children(element: Any, count: int) -> tuple[list[Any], int]:
    """The children of an element as trees, and the number of nodes so far."""
    made: list[Any] = []
    if element.text:
        words = html.unescape(element.text)
        if element.tag == "mi" and words.startswith("\\"):
            raise NotDrawnError(words)  # a command that the library does not know
        made.append(words)
    for child in element:
        count += 1
        if child.tag not in TAGS or count > MAX_NODES:
            raise NotDrawnError(child.tag)
        inner, count = _children(child, count)
        if child.tag == "mrow" and len(inner) == 1 and not child.attrib:
            made += inner
            continue
        kept = {
            name: value for name, value in child.attrib.items() if name in ATTRIBUTES and _VALUE.fullmatch(value)
        }  # fmt: skip
        made.append([child.tag, kept, *inner] if kept else [child.tag, *inner])
    return made, count


class Drawn:
    """Formulas already converted, and how many more may be: a page of any study is made in bounded time."""

    def __init__(self) -> None:
        self._known: dict[str, Tree | None] = {}
        self._left = 0
        self.converted = self.kept_as_source = self.beyond = 0

    def allow(self, characters: int) -> None:
        """Let at most so many more characters of unlike formulas be converted."""
        self._left = characters

    def of(self, texts: Iterator[str]) -> dict[str, Tree]:
        """The drawn formulas of texts, by source with marks."""
        drawn: dict[str, Tree] = {}
        for text in texts:
            for formula in formulas(text):
                if formula in drawn:
                    continue
                if formula not in self._known:
                    if self._left < len(formula):
                        self.beyond += 1
                        continue
                    self._left -= len(formula)
                    tree = self._known[formula] = tree_of(formula)
                    self.converted += tree is not None
                    self.kept_as_source += tree is None
                known = self._known[formula]
                if known is not None:
                    drawn[formula] = known
        return drawn
