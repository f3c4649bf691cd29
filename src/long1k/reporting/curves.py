"""Accuracy against tokens: what an answer cost, and what it was worth."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from long1k.reporting.drawing import COLOURS, MUTED, data, tips
from long1k.reporting.figures import HALF, Choice, Figure
from long1k.reporting.text import bounds, clean, join_paths, known, one_line, percent


def curve_figure(curves: Sequence[Mapping[str, Any]], name: str = "curve", height: int = 300) -> Figure | None:
    """Accuracy with its interval by mean tokens of an output, a line for each benchmark and arm; None without points.

    Args:
        curves: with benchmark, arm and points, as ``stages.curve`` writes them.
    """
    rows, listed = [], []
    for curve in curves:
        title = clean(one_line(f"{curve['benchmark']}, {curve['arm']}", 60))
        for point in curve["points"]:
            accuracy = point["accuracy"]
            label = "all" if point["budget_tokens"] is None else f"{point['budget_tokens']:,}"
            label = clean(one_line(str(point.get("name") or label), 40))
            low, high = (None if accuracy[end] is None else 100 * accuracy[end] for end in ("low", "high"))
            rows.append(
                {"curve": title, "tokens": max(1.0, point["mean_tokens"]), "value": 100 * accuracy["estimate"],
                 "low": low, "high": high, "label": label,
                 "said": f"{percent(accuracy['estimate'])} {bounds(accuracy)}", "cost": f"{point['mean_tokens']:,.1f}"}
            )  # fmt: skip
            listed.append(
                {"benchmark": curve["benchmark"], "arm": curve["arm"], "outputs": point.get("how"),
                 "budget": point.get("name") or point["budget_tokens"], "mean_tokens": point["mean_tokens"],
                 **{end: accuracy.get(end) for end in ("estimate", "low", "high", "confidence", "over")}}
            )  # fmt: skip
    if not rows:
        return None
    names = tuple(dict.fromkeys(row["curve"] for row in rows))
    spoken = "; ".join(
        f"{row['curve']}, budget {row['label']}: {row['value']:.1f} % at {row['tokens']:,.0f} tokens" for row in rows
    )
    return Figure(
        name, f"Accuracy against tokens: {spoken}.", lambda width: _lines(rows, names, width, height), listed,
        choices=(Choice("hidden", "Shown", names, many=True),) if len(names) > 1 else (),
    )  # fmt: skip


def spent_figure(benchmark: Mapping[str, Any]) -> Figure | None:
    """Accuracy of every arm by the mean tokens of its outputs; None where tokens were not counted."""
    rows = []
    for arm in benchmark.get("arms") or []:
        accuracy, tokens = arm["accuracy"], arm.get("mean_output_tokens")
        if known(accuracy.get("estimate")) and known(tokens):
            low, high = accuracy.get("low"), accuracy.get("high")
            both = known(low) and known(high)
            rows.append(
                {"arm": clean(one_line(str(arm["name"]), 40)), "role": arm.get("role") or "arm",
                 "tokens": max(1.0, tokens), "value": 100 * accuracy["estimate"], "low": 100 * low if both else None,
                 "high": 100 * high if both else None, "said": f"{percent(accuracy['estimate'])} {bounds(accuracy)}",
                 "cost": f"{tokens:,.1f}", "rows": clean(one_line(join_paths(arm.get("rows") or []), 120))}
            )  # fmt: skip
    if len(rows) < 2:
        return None
    spoken = "; ".join(f"{row['arm']}: {row['value']:.1f} % at {row['cost']} tokens" for row in rows)
    return Figure(
        f"spent-{benchmark.get('benchmark')}",
        f"Accuracy on {benchmark.get('benchmark')} against the mean tokens of an output: {spoken}.",
        lambda width: _spent(rows, width), rows, width=HALF,
    )  # fmt: skip


def _lines(rows: Sequence[Mapping[str, Any]], names: Sequence[str], width: int, height: int) -> Any:
    import altair as alt

    scale = alt.Scale(domain=list(names), range=[COLOURS[at % len(COLOURS)] for at in range(len(names))])
    legend = alt.Legend(title=None, orient="bottom", columns=1 if width < 450 else 2, labelLimit=width // 2)
    base = alt.Chart(data(alt, rows)).transform_filter("indexof(hidden, datum.curve) < 0").encode(
        x=alt.X("tokens:Q", scale=alt.Scale(type="log", base=2, nice=False, padding=14), title="mean tokens an output"),
        color=alt.Color("curve:N", scale=scale, legend=legend),
        tooltip=tips(alt, curve="benchmark, arm", label="budget", said="accuracy", cost="mean tokens"),
    )  # fmt: skip
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, 100]), title="accuracy, %")
    bars = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q")
    line = base.mark_line(strokeWidth=2).encode(y=y, order="tokens:Q")
    dots = base.mark_point(filled=True, opacity=1, size=55).encode(y=y)
    layers = [bars, line, dots]
    if len(names) < 3:  # the budgets of more curves would stand on one another
        layers.append(base.mark_text(dy=-12, fontSize=10.5).encode(y=y, text="label:N", color=alt.value(MUTED)))
    hidden = alt.param(name="hidden", value=[])
    return alt.layer(*layers).add_params(hidden).properties(width=width - 70, height=height)


def _spent(rows: Sequence[Mapping[str, Any]], width: int) -> Any:
    import altair as alt

    roles = list(dict.fromkeys(str(row["role"]) for row in rows))
    known_roles = ("rung", "control", "baseline")
    colours = [COLOURS[known_roles.index(role)] if role in known_roles else COLOURS[2] for role in roles]
    legend = alt.Legend(title=None, orient="bottom") if len(set(colours)) > 1 else None
    top = next((top for top in range(5, 100, 5) if top >= 1.04 * max(r["high"] or r["value"] for r in rows)), 100)
    least, most = min(row["tokens"] for row in rows), max(row["tokens"] for row in rows)
    wide = most > 4 * least
    room = 2**0.3 if wide else max(0.15 * (most - least), 0.05 * most)
    domain = [least / room, most * room] if wide else [max(0.0, least - room), most + room]
    scale = alt.Scale(type="log" if wide else "linear", domain=domain, nice=False, **({"base": 2} if wide else {}))
    axis = alt.Axis(format=",~g", tickCount=5, labelOverlap="greedy")
    inner, height = width - 70, 250
    base = alt.Chart(data(alt, rows)).encode(
        x=alt.X("tokens:Q", scale=scale, axis=axis, title="mean tokens an output" + (" (log scale)" if wide else "")),
        color=alt.Color("role:N", scale=alt.Scale(domain=roles, range=colours), legend=legend),
        tooltip=tips(alt, arm="arm", said="accuracy", cost="mean tokens", rows="rows"),
    )
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, top]), title="accuracy, %")
    bars = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.5).encode(y="low:Q", y2="high:Q")
    dots = base.mark_point(filled=True, opacity=1, size=70).encode(y=y)

    def place(row: Mapping[str, Any]) -> tuple[float, float]:
        low, high = (math.log(end) if wide else end for end in domain)
        at = math.log(row["tokens"]) if wide else row["tokens"]
        return inner * (at - low) / (high - low), height * (1 - row["value"] / top)

    text = alt.Chart(data(alt, _legible(rows, place, inner))).encode(
        x=alt.X("tokens:Q", scale=scale, axis=axis), y=y, text="arm:N", color=alt.value(MUTED)
    )
    names = [
        text.transform_filter(side).mark_text(align=align, dx=dx, dy=-7, fontSize=10.5)
        for side, align, dx in (("!datum.left", "left", 7), ("datum.left", "right", -7))
    ]
    return alt.layer(bars, dots, *names).properties(width=inner, height=height)


def _legible(rows: Sequence[Mapping[str, Any]], place: Any, inner: float) -> list[dict[str, Any]]:
    """The rows whose names can stand beside their marks, on which side; one that would cover another has none."""
    taken: list[tuple[float, float, float]] = []
    kept = []
    for row in sorted(rows, key=lambda row: -row["value"]):
        x, y = place(row)
        long = 6.2 * len(row["arm"])
        left = x + 7 + long > inner
        start = x - 7 - long if left else x + 7
        if all(start + long < other or start > end or abs(y - at) > 12 for other, end, at in taken):
            taken.append((start, start + long, y))
            kept.append({**row, "left": left})
    return kept
