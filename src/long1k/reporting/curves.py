"""The chart of accuracy against tokens: what an answer cost, and what it was worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from long1k.reporting.charts import BASELINE, CONTROL, MUTED, RUNG, svg_of
from long1k.reporting.text import clean, one_line

_OTHERS = ("#2d7d46", "#8a6d00", "#a3165f", "#00757d")


def curve_chart(curves: Sequence[Mapping[str, Any]], width: int = 760, height: int = 300) -> str | None:
    """Accuracy with its interval by mean tokens of an output, a line for each benchmark and arm; None without points.

    Args:
        curves: with benchmark, arm and points, as ``stages.curve`` writes them.
    """
    import altair as alt

    rows: list[dict[str, Any]] = []
    for curve in curves:
        name = clean(one_line(f"{curve['benchmark']}, {curve['arm']}", 60))
        for point in curve["points"]:
            accuracy = point["accuracy"]
            label = "all" if point["budget_tokens"] is None else f"{point['budget_tokens']:,}"
            low, high = (None if accuracy[end] is None else 100 * accuracy[end] for end in ("low", "high"))
            rows.append(
                {"curve": name, "tokens": max(1.0, point["mean_tokens"]), "value": 100 * accuracy["estimate"],
                 "low": low, "high": high, "label": label}
            )  # fmt: skip
    if not rows:
        return None
    names = list(dict.fromkeys(row["curve"] for row in rows))
    colours = (RUNG, CONTROL, BASELINE, *_OTHERS)
    scale = alt.Scale(domain=names, range=[colours[at % len(colours)] for at in range(len(names))])
    legend = alt.Legend(title=None, orient="bottom", columns=1, labelLimit=width - 60)
    base = alt.Chart(alt.Data(values=rows)).encode(
        x=alt.X("tokens:Q", scale=alt.Scale(type="log", base=2, nice=False, padding=14), title="mean tokens an output"),
        color=alt.Color("curve:N", scale=scale, legend=legend),
    )
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, 100]), title="accuracy, %")
    bars = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=y, order="tokens:Q")
    dots = base.mark_point(filled=True, opacity=1, size=55).encode(y=y)
    layers = [bars, line, dots]
    if len(names) < 3:  # the budgets of more curves would stand on one another
        layers.append(base.mark_text(dy=-12, fontSize=10.5).encode(y=y, text="label:N", color=alt.value(MUTED)))
    chart = alt.layer(*layers).properties(width=width - 70, height=height)
    spoken = "; ".join(
        f"{row['curve']}, budget {row['label']}: {row['value']:.1f} % at {row['tokens']:,.0f} tokens" for row in rows
    )
    return svg_of(alt, chart, f"Accuracy against tokens: {spoken}.")
