"""What may be said: every sentence is chosen by an interval, never by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from long1k.statistics.power import POWER
from long1k.statistics.rates import Interval


def in_points(value: float) -> str:
    """A difference of rates (0.012) in words, signed and with the unit (+1.2 points)."""
    return f"{_signed(value)} points"


def _signed(value: float) -> str:
    """A difference in points; with a second digit where one would round it to zero."""
    return f"{100 * value:+.1f}" if abs(value) >= 0.0005 or value == 0 else f"{100 * value:+.2f}"


def span(interval: Mapping[str, Any]) -> str:
    """An interval in percentage points, in brackets."""
    if interval["low"] is None:
        return f"[no interval: {str(interval['over']).removesuffix(': no interval')}]"
    return f"[{_signed(interval['low'])}, {_signed(interval['high'])}]"


def _excludes_zero(interval: Mapping[str, Any]) -> bool:
    return Interval(**interval).excludes(0.0)


def verdict(
    name: str,
    law: Mapping[str, Any] | None,
    contrasts: Sequence[Mapping[str, Any]],
    rungs: Sequence[object],
    confidence: float,
    amount: str = "at an equal number of samples",
) -> list[str]:
    """Sentences that follow from the intervals.

    Args:
        law: a fitted law as plain values, or None.
        contrasts: a, b, why and the interval of their difference.
        amount: how much data the rungs have, in words; said of every slope.
    """
    level = f"{round(100 * confidence)} %"
    lines: list[str] = []
    if law is not None:
        slope = law["slope"]
        found = (
            f"{in_points(slope['estimate'])} a doubling of length, {level} interval {span(slope)}, R² {law['r2']:.2f}"
        )
        if slope["low"] is None:
            lines.append(f"{name}: nothing can be said of an effect of length ({found}).")
        elif not _excludes_zero(slope):
            lines.append(f"{name}: no effect of length found {amount} ({found}).{_could_see(law, ' a doubling')}")
        elif slope["estimate"] > 0:
            lines.append(f"{name}: {amount}, longer samples give higher accuracy: {found}.")
        else:
            lines.append(f"{name}: {amount}, longer samples give lower accuracy: {found}.")
        bend = law["bend"]
        if bend is not None and _excludes_zero(bend):
            shape = "steeper at the long end" if bend["estimate"] > 0 else "flatter, or falling, at the long end"
            lines.append(
                f"{name}: the curve is not a straight line in log2(length); it is {shape} "
                f"({in_points(bend['estimate'])} for the squared term, {span(bend)})."
            )
    lines += [line for contrast in contrasts for line in contrast_lines(name, contrast, confidence)]
    if not lines and len(rungs) == 1:
        lines.append(f"{name}: one rung only; nothing can be said about length.")
    return lines


def _could_see(found: Mapping[str, Any], of: str = "") -> str:
    """How small an effect would have been found; nothing where that is not known."""
    least = found.get("could_see")
    return "" if least is None else f" It could have seen {100 * least:.1f} points{of} (power {100 * POWER:.0f} %)."


def p_words(p: float) -> str:
    """A p value with as many digits as it deserves."""
    if p < 0.001:
        return "p < 0.001"
    return f"p {p:.3f}" if p < 0.1 else f"p {p:.2f}"


def contrast_lines(name: str, contrast: Mapping[str, Any], confidence: float) -> list[str]:
    """What a comparison of two arms says: which is higher, or how small a difference it could have seen."""
    difference, test = contrast["difference"], contrast.get("test") or {}
    a, b, level = contrast["a"], contrast["b"], f"{round(100 * confidence)} %"
    figures = f"{in_points(difference['estimate'])}, {level} interval {span(difference)}"
    corrected = test.get("p_holm")
    if test.get("p") is not None:
        figures += f", {p_words(test['p'])}"
        if corrected is not None and test["comparisons"] > 1:
            figures += f", {p_words(corrected).removeprefix('p ')} corrected for {test['comparisons']} comparisons"
    if _excludes_zero(difference):
        side = "higher" if difference["estimate"] > 0 else "lower"
        line = f"{name}: {contrast['why']}: {a} is {side} than {b} ({figures})."
        if test.get("p") is not None and test["p"] > 1 - confidence:
            line += " The interval excludes zero only just, and the test does not find it: take it as undecided."
        elif corrected is not None and corrected > 1 - confidence:
            line += " Among so many comparisons that may be chance."
    elif difference["low"] is None:
        line = f"{name}: {contrast['why']} ({a} − {b}): nothing can be said ({figures})."
    else:
        line = f"{name}: {contrast['why']} ({a} − {b}): no difference found ({figures})."
        if test.get("p") is not None and test["p"] <= 1 - confidence:
            line += " The interval holds zero only just, and the test finds a difference: take it as undecided."
        line += _could_see(contrast)
    lines = [line]
    found = contrast.get("equivalence")
    if found is not None:
        margin = f"±{100 * found['margin']:g} points"
        said = {
            "equivalent": f"{a} and {b} are equivalent within {margin}",
            "different": f"{a} and {b} differ, and not shown to lie within {margin}",
            "different, but within the margin": f"{a} and {b} differ, by less than {margin}",
            "undecided": f"whether {a} and {b} are equivalent within {margin} is undecided",
        }[found["finding"]]
        shown = found["interval"]
        lines.append(f"{name}: {said} ({round(100 * shown['confidence'])} % interval {span(shown)}).")
    return lines
