"""Words and numbers as the page shows them; nothing here trusts its input."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

NOTHING = "–"
# Control characters, what turns the writing direction, and what UTF-8 or XML cannot hold.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)


def clean(value: Any) -> Any:
    """Text with every invisible character made visible; other values (and markup) as they are.

    A NUL becomes its picture, a direction override its code point in brackets, half a surrogate pair the
    replacement mark.  So a text cannot hide anything or turn its surroundings round.
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):
        return value
    return _HIDDEN.sub(_visible, value.replace("\r\n", "\n"))


def _visible(match: re.Match[str]) -> str:
    code = ord(match[0])
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    return "\ufffd" if code >= 0xD800 else f"[U+{code:04X}]"


def shorten(text: str, limit: int) -> tuple[str, int, str]:
    """(head, characters left out, tail) of a text of at most about ``limit`` characters."""
    if len(text) <= limit + 40:  # saying that a few characters are missing takes as much room as they do
        return text, 0, ""
    half = limit // 2
    return text[:half], len(text) - 2 * half, text[-half:]


def one_line(text: str, limit: int) -> str:
    """A text on one line, its middle left out and counted."""
    head, missing, tail = shorten(" ".join(text.split()), limit)
    return f"{head} … {missing:,} characters left out … {tail}" if missing else head


def known(value: Any) -> TypeGuard[float]:
    """Whether a value is a finite number."""
    return isinstance(value, int | float) and math.isfinite(value)


def count(value: Any) -> str:
    """A whole number with separators."""
    return f"{round(value):,}" if known(value) else NOTHING


def percent(value: Any) -> str:
    """A share as a percentage."""
    return f"{100 * value:.1f} %" if known(value) else NOTHING


def points_number(value: Any) -> str:
    """A difference of shares (0.012) as a signed number of percentage points, without the unit (+1.2)."""
    return f"{100 * value:+.1f}" if known(value) else NOTHING


def p_value(value: Any) -> str:
    """A p value."""
    if not known(value):
        return NOTHING
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.1 else f"{value:.2f}"


def number_range(low: Any, high: Any) -> str:
    """Two whole numbers, or one if they are equal."""
    return count(low) if low == high else f"{count(low)}–{count(high)}"


def bounds(interval: Mapping[str, Any], signed: bool = False) -> str:
    """An interval of shares in brackets, in per cent or points; in its place, why there is none."""
    low, high = interval.get("low"), interval.get("high")
    if not (known(low) and known(high)):
        return f"[{interval.get('over') or 'no interval'}]"
    shown = points_number if signed else lambda value: f"{100 * value:.1f}"
    return f"[{shown(low)},\u00a0{shown(high)}]"


def excludes_zero(interval: Mapping[str, Any]) -> bool:
    """Whether an interval exists and lies on one side of zero."""
    low, high = interval.get("low"), interval.get("high")
    return known(low) and known(high) and not low <= 0 <= high


def law_words(law: Mapping[str, Any]) -> str:
    """Slope and fit of a law in one line."""
    slope = law["slope"]
    return f"{points_number(slope['estimate'])} points a doubling of length {bounds(slope, True)}, R² {law['r2']:.2f}"


def unbroken(sentence: str) -> str:
    """A sentence whose intervals and percentages are not torn apart at the end of a line."""
    sentence = re.sub(r"\[([^\[\]\s]+), ([^\[\]\s]+)\]", "[\\1,\u00a0\\2]", sentence)
    return re.sub(r"(\d) (%|points)", "\\1\u00a0\\2", sentence)


def join_paths(paths: Sequence[str]) -> str:
    """Paths that differ in their seed only as one: arms/L26/seed-{0,1}/score."""
    merged: dict[str, list[str]] = {}
    for path in paths:
        pattern, found = re.subn(r"/seed-(\d+)/", "/seed-\x00/", path, count=1)
        seed = re.search(r"/seed-(\d+)/", path)
        merged.setdefault(pattern if found else path, []).append(seed[1] if seed else "")
    return "\n".join(
        pattern.replace("\x00", seeds[0] if len(seeds) == 1 else "{" + ",".join(seeds) + "}")
        for pattern, seeds in merged.items()
    )


def figure(interval: Mapping[str, Any] | None, digits: int, signed: bool = False) -> str:
    """An estimate with its interval in brackets; a dash where there is none."""
    if interval is None or not known(interval["estimate"]):
        return NOTHING
    form = f"{'+' if signed else ''},.{digits}f"
    said = format(interval["estimate"], form)
    if known(interval["low"]) and known(interval["high"]):
        said += f" [{format(interval['low'], form)},\u00a0{format(interval['high'], form)}]"
    return said
