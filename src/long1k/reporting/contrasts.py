"""Differences between arms, one under another around a zero line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from long1k.reporting.drawing import INK, MUTED, RUNG, data, tips
from long1k.reporting.figures import HALF, Figure
from long1k.reporting.text import bounds, clean, excludes_zero, known, one_line, p_value, points_number


def contrasts_figure(benchmark: Mapping[str, Any]) -> Figure | None:
    """Differences between arms with their intervals around a zero line; None if there are none.

    Args:
        benchmark: one entry of the findings' benchmarks.
    """
    rows = [
        {**row, "label": f"{one_line(row['a'], 30)} − {one_line(row['b'], 30)}"}
        for row in benchmark.get("contrasts") or []
    ]
    name = benchmark.get("benchmark")
    return forest(f"differences-{name}", f"Differences in accuracy on {name}", rows, "difference in accuracy, points")


def forest(name: str, words: str, found: Sequence[Mapping[str, Any]], title: str) -> Figure | None:
    """Differences or slopes with their intervals around a zero line; None if there are none.

    Args:
        found: each with a label and a difference (shares), perhaps a test, a question, and the two arms.
        title: of the axis.
    """
    rows = [row for row in found if known(row["difference"].get("estimate"))]
    if not rows:
        return None
    shown = [_shown(at, row) for at, row in enumerate(rows)]
    spoken = "; ".join(f"{row['label']}: {row['figures']} points" for row in shown)
    listed = [
        {"what": row["label"], "question": row.get("why"),
         **{end: row["difference"].get(end) for end in ("estimate", "low", "high", "confidence", "over")},
         "p": (row.get("test") or {}).get("p"), "p_corrected": (row.get("test") or {}).get("p_holm")}
        for row in rows
    ]  # fmt: skip
    return Figure(name, f"{words}: {spoken}.", lambda width: _chart(shown, width, title), listed, width=HALF)


def _shown(at: int, contrast: Mapping[str, Any]) -> dict[str, Any]:
    difference, test = contrast["difference"], contrast.get("test") or {}
    low, high = difference.get("low"), difference.get("high")
    both = known(low) and known(high)  # half an interval is none
    return {
        "row": at, "value": 100 * difference["estimate"], "low": 100 * low if both else None,
        "high": 100 * high if both else None, "sure": excludes_zero(difference),
        "label": clean(one_line(contrast["label"], 63)),
        "figures": clean(one_line(f"{points_number(difference['estimate'])} {bounds(difference, True)}", 44)),
        "why": clean(one_line(str(contrast.get("why") or ""), 160)),
        "p": f"{p_value(test.get('p'))}, corrected {p_value(test.get('p_holm'))}",
    }  # fmt: skip


def _chart(rows: Sequence[Mapping[str, Any]], width: int, title: str) -> Any:
    import altair as alt

    ends = [0.0, *(row[key] for row in rows for key in ("low", "value", "high") if row[key] is not None)]
    pad = max(1.0, 0.06 * (max(ends) - min(ends)))
    domain = [min(ends) - pad, max(ends) + pad]
    ticks = alt.Axis(tickCount=6, grid=False, labelExpr="datum.value == 0 ? '0' : format(datum.value, '+~g')")
    x = {"scale": alt.Scale(domain=domain, nice=False), "title": title, "axis": ticks}
    base = alt.Chart(data(alt, rows)).encode(
        y=alt.Y("row:O", axis=None, scale=alt.Scale(padding=0.1)),
        tooltip=tips(alt, label="arms", figures="difference", p="p", why="question"),
    )
    # A mark of zero in every row, not one line: a line would run through the names.
    zero = base.mark_tick(orient="vertical", color=MUTED, thickness=1.2, size=20, yOffset=16).encode(
        x=alt.XDatum(0, **x)
    )
    colour = alt.condition("datum.sure", alt.value(RUNG), alt.value(MUTED))
    bar = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2.5, yOffset=16).encode(
        x=alt.X("low:Q", **x), x2="high:Q", color=colour
    )  # fmt: skip
    dot = base.mark_point(size=70, filled=True, opacity=1, yOffset=16).encode(x=alt.X("value:Q", **x), color=colour)
    text = {"align": "left", "baseline": "middle"}
    name = base.mark_text(dy=-16, fontSize=12, fontWeight=600, color=INK, **text).encode(x=alt.value(0), text="label:N")
    said = base.mark_text(dy=-1, fontSize=11.5, color=MUTED, **text).encode(x=alt.value(0), text="figures:N")
    return alt.layer(zero, bar, dot, name, said).properties(width=width - 18, height=62 * len(rows))
