"""Words that tell correct from wrong outputs, as a picture: log-odds with their intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from long1k.reporting.drawing import CONTROL, INK, MUTED, RUNG, data, tips
from long1k.reporting.figures import HALF, Choice, Figure
from long1k.reporting.text import clean, figure, known, one_line, p_value

_WORDS = 8


def words_figure(benchmark: Mapping[str, Any]) -> Figure | None:
    """The words of each arm that differ most between correct and wrong outputs; None without any.

    Args:
        benchmark: one entry of the findings' ``outputs``.
    """
    rows: list[dict[str, Any]] = []
    # The longest rung is shown first; of the others one can be chosen.
    arms = sorted(benchmark["arms"], key=lambda arm: (arm.get("role") == "rung", arm.get("target_tokens") or 0))
    for arm in reversed(arms):
        contrast = arm["contrast"]
        found = [(side, word) for side in ("for_a", "for_b") for word in contrast[side][:_WORDS]]
        # A word that is as frequent in both has no side, and an arm of such words no picture.
        found = [(side, word) for side, word in found if abs(word["log_odds"]["estimate"]) > 0.005]
        for at, (side, word) in enumerate(sorted(found, key=lambda one: -one[1]["log_odds"]["estimate"])):
            odds = word["log_odds"]
            rows.append(
                {"arm": clean(one_line(str(arm["name"]), 40)), "row": at,
                 "word": clean(one_line(word["word"], 24)) + ("*" if word["sure"] else ""), "sure": bool(word["sure"]),
                 "more": contrast["a" if side == "for_a" else "b"], "value": odds["estimate"],
                 "low": odds["low"] if known(odds["low"]) else None,
                 "high": odds["high"] if known(odds["high"]) else None, "said": figure(odds, 2, signed=True),
                 "within": figure(word["within"], 2, signed=True), "p": p_value(word.get("p"))}
            )  # fmt: skip
    if not rows:
        return None
    names = tuple(dict.fromkeys(row["arm"] for row in rows))
    spoken = "; ".join(f"{row['word']} {row['said']}" for row in rows if row["arm"] == names[0])
    listed = [
        {"arm": row["arm"], "word": row["word"][:-1] if row["sure"] else row["word"], "beyond_chance": row["sure"],
         "more_in": row["more"], "log_odds": row["value"], "low": row["low"], "high": row["high"]}
        for row in rows
    ]  # fmt: skip
    return Figure(
        f"words-{benchmark['benchmark']}",
        f"Words of {names[0]} that tell correct from wrong outputs on {benchmark['benchmark']}, log-odds: {spoken}.",
        lambda width: _chart(rows, names[0], width), listed, width=HALF,
        choices=(Choice("of", "Arm", names),) if len(names) > 1 else (),
    )  # fmt: skip


def _chart(rows: Sequence[Mapping[str, Any]], first: str, width: int) -> Any:
    import altair as alt

    ends = [0.0, *(row[key] for row in rows for key in ("low", "value", "high") if row[key] is not None)]
    room = 0.06 * (max(ends) - min(ends))
    scale = alt.Scale(domain=[min(ends) - room, max(ends) + room], nice=False)
    ticks = alt.Axis(tickCount=5, grid=False)
    x = {"scale": scale, "axis": ticks, "title": "log-odds: right of zero more in correct, left more in wrong"}
    longest = max(sum(row["arm"] == name for row in rows) for name in {row["arm"] for row in rows})
    colours = alt.Scale(domain=["correct", "wrong"], range=[RUNG, CONTROL])
    base = alt.Chart(data(alt, rows)).transform_filter("datum.arm == of").encode(
        y=alt.Y("row:O", axis=None, scale=alt.Scale(domain=list(range(longest)), padding=0.2)),
        color=alt.Color("more:N", scale=colours, legend=alt.Legend(title="more in", orient="bottom")),
        tooltip=tips(alt, arm="arm", word="word", more="more in", said="log-odds", within="the same questions", p="p"),
    )  # fmt: skip
    zero = (
        alt.Chart(data(alt, [{"zero": 0}]))
        .mark_rule(color=MUTED, strokeDash=[2, 2], opacity=0.4)
        .encode(x=alt.X("zero:Q", **x))
    )
    bars = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2).encode(
        x=alt.X("low:Q", **x), x2="high:Q"
    )  # fmt: skip
    dots = base.mark_point(filled=True, opacity=1, size=60).encode(x=alt.X("value:Q", **x))
    names = base.mark_text(align="center", dy=-9, fontSize=11).encode(
        x=alt.X("value:Q", **x), text="word:N", color=alt.value(INK)
    )  # fmt: skip
    chart = alt.layer(zero, bars, dots, names).add_params(alt.param(name="of", value=first))
    return chart.properties(width=width - 24, height=30 * longest + 12)
