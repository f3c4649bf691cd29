"""Exact values of closed forms: sums of rational multiples of symbols and square roots, or a float with its error.

A value is kept as a sum of rational multiples of products of symbols and one square root of a square-free number.
These products are linearly independent over the rationals (for \\pi and letters as indeterminates), so that equal
sums are equal values and other sums are other values. What leaves this form (nested roots, roots of other degrees)
is kept as a float with a bound of its error, from which only "different" can be concluded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_MAX_TERMS = 64
_MAX_BITS = 512
_MAX_POWER = 32
_EPSILON = 2.0**-50

# (square-free number under the root, ((symbol, exponent), ...)) -> coefficient
Monomial = tuple[int, tuple[tuple[str, int], ...]]
Terms = dict[Monomial, Fraction]


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


def exact(terms: Terms) -> Value:
    """The value of a sum of terms.

    Raises:
        Unknown: beyond the limits of terms, bits or powers.
    """
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


def rational_value(value: Fraction | int) -> Value:
    """A rational number as a value."""
    return exact({(1, ()): Fraction(value)})


def added(a: Value, b: Value, sign: int = 1) -> Value:
    """a + b; a - b with the sign -1."""
    if a.terms is None or b.terms is None:
        return _float(a.approx + sign * b.approx, a.error + b.error)
    terms = dict(a.terms)
    for monomial, factor in b.terms.items():
        terms[monomial] = terms.get(monomial, Fraction(0)) + sign * factor
    return exact(terms)


def multiplied(a: Value, b: Value) -> Value:
    """a b."""
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
    return exact(terms)


def inverse(a: Value) -> Value:
    """1 / a.

    Raises:
        Unknown: a may be zero, or holds a symbol in a sum.
    """
    if a.terms is not None and len(a.terms) == 1:
        ((root, symbols), factor), *_ = a.terms.items()
        return exact({(root, tuple((name, -power) for name, power in symbols)): 1 / (factor * root)})
    if abs(a.approx) <= 4 * a.error or math.isnan(a.approx):
        raise Unknown
    return _float(1 / a.approx, 2 * a.error / a.approx**2)


def _float(approx: float, error: float) -> Value:
    if math.isnan(approx) or abs(approx) > 1e100 or error > 1e90:
        raise Unknown
    return Value(None, approx, error + abs(approx) * _EPSILON)


def root_of(a: Value, degree: int = 2) -> Value:
    """The root of a positive value; exact only for square roots of rational numbers."""
    if a.terms is not None and not a.terms:
        return a
    if degree == 2 and a.terms is not None and len(a.terms) == 1 and (1, ()) in a.terms:
        value = a.terms[1, ()]
        if value > 0:
            square, free = _square_part(value.numerator * value.denominator)
            if free:
                return exact({(free, ()): Fraction(square, value.denominator)})
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


def power_of(a: Value, b: Value) -> Value:
    """a to the power of a rational number; exact only for whole powers."""
    if b.terms is None or any(monomial != (1, ()) for monomial in b.terms):
        raise Unknown
    power = b.terms.get((1, ()), Fraction(0))
    number = a.terms is not None and a.terms.keys() <= {(1, ())}
    if power.denominator == 1 and abs(power) <= (_MAX_BITS if number else _MAX_POWER):
        result = rational_value(1)
        for _ in range(abs(int(power))):
            result = multiplied(result, a)
        return result if power >= 0 else inverse(result)
    if power.denominator == 1 or abs(power) > 100 or not a.constant or a.approx <= 4 * a.error:
        raise Unknown
    approx = a.approx ** float(power)
    return _float(approx, approx * (abs(float(power)) * a.error / a.approx + 64 * _EPSILON))


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
