"""Two answers in one notation, for a parser of LaTeX: powers of ten, and angles in radians."""

from __future__ import annotations

import re

_POWER = re.compile(r"(?<![\w.\\}])([-+]?)(\d+(?:\.\d*)?|\.\d+)[eE]([-+]?)(\d{1,4})(?![\w.^{(])")
_BARE_E = re.compile(r"(?<![A-Za-z\\])e(?![A-Za-z])")


def in_powers(gold: str, answer: str) -> tuple[str, str]:
    r"""Both with powers of ten as mathematics writes them: 4.5e33 is 4.5 \times 10^{33}.

    2e-3 may be the number e, too: 2e - 3. It is read so where both sides hold an e.
    """
    if not (_POWER.search(gold) or _POWER.search(answer)):
        return gold, answer
    both = [_POWER.sub(lambda found: _as_power(found, sure=True), text) for text in (gold, answer)]
    if not all(_BARE_E.search(_POWER.sub("e", text)) for text in both):
        both = [_POWER.sub(lambda found: _as_power(found, sure=False), text) for text in both]
    return both[0], both[1]


def _as_power(found: re.Match[str], *, sure: bool) -> str:
    sign, digits, power_sign, power = found.groups()
    if sure and power_sign and "." not in digits and digits != "1":
        return found[0]
    return f"{sign}{digits} \\times 10^{{{int(power_sign + power)}}}"


_FUNCTION = r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])(?: ?\^ ?\{? ?\d ?\}?)?"
_IN_DEGREES = r" ?\d+(?:\.\d+)? ?\^ ?(?:\\circ(?![A-Za-z])|\{ ?\\circ ?\}) ?"
_OF_DEGREES = re.compile(rf"({_FUNCTION}) ?(\({_IN_DEGREES}\)|\{{{_IN_DEGREES}\}}|{_IN_DEGREES})")
_ANY_FUNCTION = re.compile(_FUNCTION)


def in_radians(gold: str, answer: str) -> tuple[str, str]:
    r"""Both with angles of trigonometric functions in radians: \sin 30^\circ is \sin(\frac{30\pi}{180}).

    A parser drops the sign of degrees. \sin 30 on the other side means degrees, too, so that both are left alone.
    """
    degrees = [_OF_DEGREES.search(text) is not None for text in (gold, answer)]
    plain = [_ANY_FUNCTION.search(text) is not None for text in (gold, answer)]
    if not any(degrees) or (not all(degrees) and all(plain)):
        return gold, answer
    return _of_degrees(gold), _of_degrees(answer)


def _of_degrees(text: str) -> str:
    def radians(found: re.Match[str]) -> str:
        number = re.search(r"[\d.]+", found[2])
        return f"{found[1]}(\\frac{{{number[0]}\\pi}}{{180}})" if number is not None else found[0]

    return _OF_DEGREES.sub(radians, text)
