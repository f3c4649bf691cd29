"""The values of texts that need no algebra system: `11+\\sqrt{605}`.

A strict little grammar: numbers, one-letter symbols, \\pi, + - * /, \\frac, \\sqrt, whole powers. Everything else is
not decided here: work is bounded by the length of the text and the limits below, and nothing is evaluated as code.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from long1k.grading.normalize import rational
from long1k.grading.values import Unknown, Value, added, exact, inverse, multiplied, power_of, rational_value, root_of

MAX_CHARS = 300
_MAX_DEPTH = 20

_TOKEN = re.compile(
    r"(?P<number>\d+\.\d+|\d+|\.\d+)|(?P<symbol>[A-Za-z](?![A-Za-z]{2})|\\(?:pi|alpha|beta|theta|lambda)(?![A-Za-z]))"
    r"|(?P<command>\\(?:frac|sqrt|cdot|times|div)(?![A-Za-z]))|(?P<mark>[-+*/^(){}\[\]])|(?P<blank> )"
)
_NOT_SYMBOLS = frozenset("dei")  # e and i are numbers, d may be a differential


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self._tokens: list[tuple[str, str]] = []
        at = 0
        while at < len(text):
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise Unknown
            self._tokens.append((match.lastgroup, match[0]))
            at = match.end()
        self._at = self._depth = 0

    def whole(self) -> Value:
        value = self._sum()
        if self._peek() is not None:
            raise Unknown
        return value

    def _peek(self) -> str | None:
        while self._at < len(self._tokens) and self._tokens[self._at][0] == "blank":
            # Between two numbers a blank is not nothing: 1 2 is neither 12 nor 2.
            if self._at and self._tokens[self._at - 1][0] == "number":
                following = self._tokens[self._at + 1 : self._at + 2]
                if not following or following[0][0] == "number":
                    raise Unknown
            self._at += 1
        return self._tokens[self._at][1] if self._at < len(self._tokens) else None

    def _take(self, wanted: str) -> None:
        if self._peek() != wanted:
            raise Unknown
        self._at += 1

    def _sum(self) -> Value:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise Unknown
        sign = 1
        if self._peek() in ("+", "-"):
            sign = -1 if self._peek() == "-" else 1
            self._at += 1
        value = multiplied(rational_value(sign), self._product())
        while (mark := self._peek()) in ("+", "-"):
            self._at += 1
            value = added(value, self._product(), -1 if mark == "-" else 1)
        self._depth -= 1
        return value

    def _product(self) -> Value:
        value = self._factor()
        divided = False
        while (mark := self._peek()) is not None:
            if mark in ("*", "\\cdot", "\\times"):
                self._at += 1
                value = multiplied(value, self._factor())
            elif mark in ("/", "\\div"):
                self._at += 1
                value = multiplied(value, inverse(self._factor()))
                divided = True
            elif mark in ("+", "-", ")", "]", "}", "^"):
                break
            else:
                before = self._tokens[self._at - 1]
                # 1/2x may be half of x or one over 2x; 3\frac12 may be a mixed number; f(x) may be a function.
                mixed = before[0] == "number" and (mark == "\\frac" or self._tokens[self._at][0] == "number")
                if divided or mixed or (before[0] == "symbol" and mark == "(") or mark in ("[", "{"):
                    raise Unknown
                value = multiplied(value, self._factor())
        return value

    def _factor(self) -> Value:
        value = self._base()
        if self._peek() == "^":
            self._at += 1
            value = power_of(value, self._argument())
        if self._peek() == "^":
            raise Unknown
        return value

    def _argument(self) -> Value:
        """What follows ^: one character, or a group."""
        mark = self._peek()
        if mark == "{":
            return self._group("{", "}")
        if mark is None or len(mark) > 1 or not mark.isascii() or not mark.isdigit():
            raise Unknown
        self._at += 1
        return rational_value(int(mark))

    def _group(self, opening: str, closing: str) -> Value:
        self._take(opening)
        value = self._sum()
        self._take(closing)
        return value

    def _base(self) -> Value:
        mark = self._peek()
        if mark is None:
            raise Unknown
        kind = self._tokens[self._at][0]
        if mark == "(":
            return self._group("(", ")")
        if kind == "number":
            self._at += 1
            return rational_value(Fraction(mark))
        if kind == "symbol":
            if mark in _NOT_SYMBOLS:
                raise Unknown
            self._at += 1
            return exact({(1, ((mark, 1),)): Fraction(1)})
        self._at += 1
        if mark == "\\frac":
            top = self._group("{", "}")
            return multiplied(top, inverse(self._group("{", "}")))
        if mark == "\\sqrt":
            degree = 2
            if self._peek() == "[":
                of = self._group("[", "]").terms or {}
                degree = next((n for n in range(2, 10) if of == {(1, ()): n}), 0)
                if not degree:
                    raise Unknown
            return root_of(self._group("{", "}"), degree)
        raise Unknown


@lru_cache(maxsize=4096)
def evaluate(text: str) -> Value | None:
    """The value of a canonical text; None where it is outside of the grammar."""
    if len(text) > MAX_CHARS:
        return None
    try:
        number = rational(text)  # mixed numbers, too
        return rational_value(number) if number is not None else _Parser(text).whole()
    except (Unknown, ArithmeticError):
        return None
