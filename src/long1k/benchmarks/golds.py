r"""Gold answers, taken out of what published files hold: 42.0, `\boxed{x}`, "#### 18", ["$1$", "$2$"]."""

from __future__ import annotations

import re
from typing import Any

from long1k.grading.extract import extract_answer

_HASHES = re.compile(r"####[ \t]*(?P<value>[^\n]*)")
_WHOLE = re.compile(r"(?P<digits>-?\d+)\.0+")
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_POWER = re.compile(r"(?P<digits>[-+]?\d+(?:\.\d*)?)[eE](?P<power>[-+]?\d{1,4})")
_MATH = re.compile(r"\$+")


def plain(value: Any) -> str | None:
    """A number or a text as an answer; None for nothing, and for what is neither (a list, an object, a truth value)."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if isinstance(value, int | float) and not isinstance(value, bool):
        return str(value)
    return value.strip() or None if isinstance(value, str) else None


def whole(text: str) -> str:
    """A number that a table of floats has spoiled: 42.0 is 42."""
    found = _WHOLE.fullmatch(text)
    return found["digits"] if found else text


def powers(text: str) -> str:
    r"""A number as programs write it, as mathematics does: 4.5e33 is 4.5 \times 10^{33}."""
    found = _POWER.fullmatch(text)
    return f"{found['digits']} \\times 10^{{{int(found['power'])}}}" if found else text


def of_solution(text: str) -> str | None:
    """The answer that a worked solution ends with: its last box, else its last statement."""
    found = extract_answer(text)
    return found.value if found is not None else None


def after_hashes(text: str) -> str | None:
    """The number behind the last ``####``, without commas between thousands and without a currency sign."""
    found = list(_HASHES.finditer(text))
    return _THOUSANDS.sub("", found[-1]["value"].strip().lstrip("$")) or None if found else None


def listed(value: Any) -> str | None:
    """One answer or several, as one text without dollar signs around formulas, several divided by commas."""
    values = value if isinstance(value, list | tuple) else [value]
    texts = [_MATH.sub("", text).strip() for one in values if (text := plain(one)) is not None]
    return ", ".join(text.rstrip(".").strip() for text in texts if text) or None
