r"""Exact arithmetic on closed forms and polynomials, for answers that need no algebra system: `11+\sqrt{605}`.

A strict little grammar: numbers, one-letter symbols, \pi, + - * /, \frac, \sqrt, whole powers. A value is kept as a
sum of rational multiples of products of symbols and one square root of a square-free number. These products are
linearly independent over the rationals (for \pi and letters as indeterminates), so that equal sums are equal values
and other sums are other values. What leaves this form (nested roots, roots of other degrees) is kept as a
float with a bound of its error, from which only "different" can be concluded. Everything else is not decided
here: work is bounded by the length of the text and the limits below, and nothing is evaluated as code.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from long1k.grading.normalize import rational

MAX_CHARS = 300
_MAX_TERMS = 64
_MAX_BITS = 512
_MAX_POWER = 32
_MAX_DEPTH = 20
_EPSILON = 2.0**-50

# (square-free number under the root, ((symbol, exponent), ...)) -> coefficient
Monomial = tuple[int, tuple[tuple[str, int], ...]]
Terms = dict[Monomial, Fraction]

_TOKEN = re.compile(
    r"(?P<number>\d+\.\d+|\d+|\.\d+)|(?P<symbol>[A-Za-z](?![A-Za-z]{2})|\\(?:pi|alpha|beta|theta|lambda)(?![A-Za-z]))"
    r"|(?P<command>\\(?:frac|sqrt|cdot|times|div)(?![A-Za-z]))|(?P<mark>[-+*/^(){}\[\]])|(?P<blank> )"
)
_NOT_SYMBOLS = frozenset("dei")  # e and i are numbers, d may be a differential


class Unknown(Exception):
    """The text is outside of the grammar or its limits."""


@dataclass(frozen=True)
class Value:
    """A value: exact ``terms``, or a float ``approx`` within ``error`` of it."""

    terms: Terms | None
    approx: float
    error: float

    @property
    def constant(self) -> bool:
        """Whether it holds no symbol but the number pi."""
        return not math.isnan(self.approx)


def _exact(terms: Terms) -> Value:
    terms = {monomial: factor for monomial, factor in terms.items() if factor}
    if len(terms) > _MAX_TERMS:
        raise Unknown
    approx = error = 0.0
    for (root, symbols), factor in terms.items():
        if max(factor.numerator.bit_length(), factor.denominator.bit_length()) > _MAX_BITS:
            raise Unknown
        if any(abs(power) > _MAX_POWER for _, power in symbols):
            raise Unknown
        if any(name != "\\pi" for name, _ in symbols):
            approx = math.nan
            break
        term = float(factor) * math.sqrt(root) * math.pi ** (symbols[0][1] if symbols else 0)
        approx += term
        error += abs(term) * _EPSILON * 8
    return Value(terms, approx, error)


def _number(value: Fraction | int) -> Value:
    return _exact({(1, ()): Fraction(value)})


def _add(a: Value, b: Value, sign: int = 1) -> Value:
    if a.terms is None or b.terms is None:
        return _float(a.approx + sign * b.approx, a.error + b.error)
    terms = dict(a.terms)
    for monomial, factor in b.terms.items():
        terms[monomial] = terms.get(monomial, Fraction(0)) + sign * factor
    return _exact(terms)


def _multiply(a: Value, b: Value) -> Value:
    if a.terms is None or b.terms is None:
        return _float(a.approx * b.approx, abs(a.approx) * b.error + abs(b.approx) * a.error + a.error * b.error)
    if len(a.terms) * len(b.terms) > _MAX_TERMS**2:
        raise Unknown
    terms: Terms = {}
    for (root, symbols), factor in a.terms.items():
        for (other_root, other_symbols), other in b.terms.items():
            common = math.gcd(root, other_root)
            powers = dict(symbols)
            for name, power in other_symbols:
                powers[name] = powers.get(name, 0) + power
            kept = tuple(sorted((name, power) for name, power in powers.items() if power))
            monomial = (root // common * (other_root // common), kept)
            terms[monomial] = terms.get(monomial, Fraction(0)) + factor * other * common
    return _exact(terms)


def _inverse(a: Value) -> Value:
    if a.terms is not None and len(a.terms) == 1:
        ((root, symbols), factor), *_ = a.terms.items()
        return _exact({(root, tuple((name, -power) for name, power in symbols)): 1 / (factor * root)})
    if abs(a.approx) <= 4 * a.error or math.isnan(a.approx):
        raise Unknown
    return _float(1 / a.approx, 2 * a.error / a.approx**2)


def _float(approx: float, error: float) -> Value:
    if math.isnan(approx) or abs(approx) > 1e100 or error > 1e90:
        raise Unknown
    return Value(None, approx, error + abs(approx) * _EPSILON)


def _root(a: Value, degree: int = 2) -> Value:
    if a.terms is not None and not a.terms:
        return a
    if degree == 2 and a.terms is not None and len(a.terms) == 1 and (1, ()) in a.terms:
        value = a.terms[1, ()]
        if value > 0:
            square, free = _square_part(value.numerator * value.denominator)
            if free:
                return _exact({(free, ()): Fraction(square, value.denominator)})
    if not a.constant or a.approx <= 4 * a.error:
        raise Unknown
    approx = a.approx ** (1 / degree)
    return _float(approx, approx * (a.error / a.approx + 4 * _EPSILON))


@lru_cache(maxsize=4096)
def _square_part(number: int) -> tuple[int, int]:
    """(s, f) with number = s² f and f square-free; f is 0 where that takes too long to find out."""
    whole = math.isqrt(number)
    if whole * whole == number:
        return whole, 1
    if number > 10**9:
        return 1, 0
    square, free, prime = 1, number, 2
    while prime * prime <= free:
        while free % (prime * prime) == 0:
            free //= prime * prime
            square *= prime
        prime += 1
    return square, free


def _power(a: Value, b: Value) -> Value:
    if b.terms is None or any(monomial != (1, ()) for monomial in b.terms):
        raise Unknown
    power = b.terms.get((1, ()), Fraction(0))
    number = a.terms is not None and a.terms.keys() <= {(1, ())}
    if power.denominator == 1 and abs(power) <= (_MAX_BITS if number else _MAX_POWER):
        result = _number(1)
        for _ in range(abs(int(power))):
            result = _multiply(result, a)
        return result if power >= 0 else _inverse(result)
    if power.denominator == 1 or abs(power) > 100 or not a.constant or a.approx <= 4 * a.error:
        raise Unknown
    approx = a.approx ** float(power)
    return _float(approx, approx * (abs(float(power)) * a.error / a.approx + 64 * _EPSILON))


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
        value = _multiply(_number(sign), self._product())
        while (mark := self._peek()) in ("+", "-"):
            self._at += 1
            value = _add(value, self._product(), -1 if mark == "-" else 1)
        self._depth -= 1
        return value

    def _product(self) -> Value:
        value = self._factor()
        divided = False
        while (mark := self._peek()) is not None:
            if mark in ("*", "\\cdot", "\\times"):
                self._at += 1
                value = _multiply(value, self._factor())
            elif mark in ("/", "\\div"):
                self._at += 1
                value = _multiply(value, _inverse(self._factor()))
                divided = True
            elif mark in ("+", "-", ")", "]", "}", "^"):
                break
            else:
                before = self._tokens[self._at - 1]
                # 1/2x may be half of x or one over 2x; 3\frac12 may be a mixed number; f(x) may be a function.
                mixed = before[0] == "number" and (mark == "\\frac" or self._tokens[self._at][0] == "number")
                if divided or mixed or (before[0] == "symbol" and mark == "(") or mark in ("[", "{"):
                    raise Unknown
                value = _multiply(value, self._factor())
        return value

    def _factor(self) -> Value:
        value = self._base()
        if self._peek() == "^":
            self._at += 1
            value = _power(value, self._argument())
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
        return _number(int(mark))

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
            return _number(Fraction(mark))
        if kind == "symbol":
            if mark in _NOT_SYMBOLS:
                raise Unknown
            self._at += 1
            return _exact({(1, ((mark, 1),)): Fraction(1)})
        self._at += 1
        if mark == "\\frac":
            top = self._group("{", "}")
            return _multiply(top, _inverse(self._group("{", "}")))
        if mark == "\\sqrt":
            degree = 2
            if self._peek() == "[":
                of = self._group("[", "]").terms or {}
                degree = next((n for n in range(2, 10) if of == {(1, ()): n}), 0)
                if not degree:
                    raise Unknown
            return _root(self._group("{", "}"), degree)
        raise Unknown


@lru_cache(maxsize=4096)
def evaluate(text: str) -> Value | None:
    """The value of a canonical text; None where it is outside of the grammar."""
    if len(text) > MAX_CHARS:
        return None
    try:
        number = rational(text)  # mixed numbers, too
        return _number(number) if number is not None else _Parser(text).whole()
    except (Unknown, ArithmeticError):
        return None


def compare_values(a: Value, b: Value) -> bool | None:
    """Whether two values are equal; None where rounding could have made the difference, or hide it."""
    if a.terms is not None and a.terms == b.terms:
        return True
    if a.constant and b.constant:
        distance = abs(a.approx - b.approx)
        largest = max(abs(a.approx), abs(b.approx))
        # A decimal may be rounded; of a small number (Planck's constant) the last of its digits, not of all digits.
        rounding = 1e-5 if largest >= 1e-4 else 1e-3 * largest
        slack = a.error + b.error + max(rounding, 1e-8 * largest)
        return False if distance > slack else None
    if a.terms is None or b.terms is None:
        return None
    monomials = a.terms.keys() | b.terms.keys()
    difference = max(abs(a.terms.get(m, Fraction(0)) - b.terms.get(m, Fraction(0))) for m in monomials)
    return False if difference > Fraction(1, 10**4) else None


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
