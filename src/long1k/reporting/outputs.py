"""What the models wrote, as the page shows it: charts of lengths and of markers over a text, and plain tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from long1k.reporting.drawing import CONTROL, MUTED, RUNG, data, tips
from long1k.reporting.figures import HALF, Album, Figure
from long1k.reporting.text import clean, count, figure, known, one_line
from long1k.reporting.words import words_figure

_OUTCOMES = ("correct", "wrong")
_NARROW = 450
_MARKERS = ("verification", "backtracking", "branching", "transition")


def length_figure(benchmark: Mapping[str, Any]) -> Figure | None:
    """Mean length of correct and of wrong outputs by arm, with intervals over questions; None without any."""
    rows: list[dict[str, Any]] = []
    for at, arm in enumerate(benchmark["arms"]):
        for outcome in _OUTCOMES:
            mean = arm["outcomes"][outcome]["mean_length"]
            if mean is not None:
                ends = {end: mean[end] if known(mean[end]) else None for end in ("low", "high")}
                name = clean(one_line(str(arm["name"]), 34))
                rows.append(
                    {"row": at, "arm": name, "outcome": outcome, "value": mean["estimate"], **ends, "unit": arm["unit"],
                     "said": figure(mean, 1), "outputs": f"{arm['outcomes'][outcome]['outputs']:,}"}
                )  # fmt: skip
    if not rows:
        return None
    units = {arm["unit"] for arm in benchmark["arms"]}
    unit = units.pop() if len(units) == 1 else "tokens or words"
    spoken = "; ".join(f"{row['arm']}, {row['outcome']}: {count(row['value'])}" for row in rows)
    listed = [{key: value for key, value in row.items() if key not in ("row", "said")} for row in rows]
    return Figure(
        f"lengths-{benchmark['benchmark']}", f"Mean length of outputs on {benchmark['benchmark']} in {unit}: {spoken}.",
        lambda width: _length_chart(rows, unit, len(benchmark["arms"]), width), listed,
    )  # fmt: skip


def _length_chart(rows: Sequence[Mapping[str, Any]], unit: str, arms: int, width: int) -> Any:
    import altair as alt

    top = 1.06 * max(row["high"] or row["value"] for row in rows)
    x = {"scale": alt.Scale(domain=[0, top], nice=False), "title": f"mean length of an output, {unit}",
         "axis": alt.Axis(format=",d", tickCount=6, labelOverlap="greedy")}  # fmt: skip
    base = alt.Chart(data(alt, rows)).encode(
        y=alt.Y("row:O", axis=None, scale=alt.Scale(padding=0.2)),
        color=_colour(alt),
        yOffset=alt.YOffset("outcome:N", scale=alt.Scale(domain=list(_OUTCOMES), range=[2, 14])),
        tooltip=tips(alt, arm="arm", outcome="outcome", said=f"mean {unit}", outputs="outputs"),
    )
    bars = (
        base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=2).encode(x=alt.X("low:Q", **x), x2="high:Q")
    )
    dots = base.mark_point(filled=True, opacity=1, size=60).encode(x=alt.X("value:Q", **x))
    first = [row for at, row in enumerate(rows) if at == 0 or rows[at - 1]["row"] != row["row"]]
    names = (
        alt.Chart(data(alt, first))
        .mark_text(align="left", baseline="middle", dy=-14, fontSize=11.5, color=MUTED)
        .encode(x=alt.value(0), y=alt.Y("row:O", axis=None), text="arm:N")
    )
    return alt.layer(bars, dots, names).properties(width=width - 24, height=40 * arms)


def course_figure(arm: Mapping[str, Any], benchmark: str = "outputs") -> Figure | None:
    """Markers a thousand words in each tenth of a text, correct and wrong outputs apart; None without markers."""
    shown = [name for name in _MARKERS if _course_rows(arm, name)]
    if not shown:
        return None
    words = "; ".join(f"{name}: {_spoken(arm, name)}" for name in shown)
    listed = [{"arm": arm["name"], "marker": name, **row} for name in shown for row in _course_rows(arm, name)]
    return Figure(
        f"course-{benchmark}", f"Markers over the course of the outputs of {arm['name']}, a thousand words: {words}.",
        lambda width: _course_chart(arm, shown, width),
        [{k: v for k, v in row.items() if k != "said"} for row in listed],
    )  # fmt: skip


def _course_chart(arm: Mapping[str, Any], shown: Sequence[str], width: int) -> Any:
    import altair as alt

    panels = []
    narrow = width < _NARROW
    inner = width - 60 if narrow else (width - 44 * len(shown)) // len(shown)
    for name in shown:
        rows = _course_rows(arm, name)
        top = 1.05 * max(row["high"] if known(row["high"]) else row["value"] for row in rows)
        y = {"scale": alt.Scale(domain=[0, top], nice=False), "title": None, "axis": alt.Axis(tickCount=4)}
        ticks = alt.Axis(values=[1, 5, 10], format="d", grid=False)
        x = alt.X(
            "tenth:Q", scale=alt.Scale(domain=[1, 10], nice=False, padding=4), axis=ticks, title="tenth of the text"
        )
        base = alt.Chart(data(alt, rows)).encode(
            x=x, color=_colour(alt), tooltip=tips(alt, outcome="outcome", tenth="tenth", said="a thousand words")
        )
        band = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=3, opacity=0.25).encode(
            y=alt.Y("low:Q", **y), y2="high:Q"
        )  # fmt: skip
        line = base.mark_line(strokeWidth=1.6, point=alt.OverlayMarkDef(size=22)).encode(y=alt.Y("value:Q", **y))
        title = alt.Title(name, anchor="start", fontSize=11, fontWeight=600, color=MUTED)
        panels.append(alt.layer(band, line).properties(width=inner, height=110, title=title))
    return (alt.vconcat if narrow else alt.hconcat)(*panels, spacing=16)


def _colour(alt: Any) -> Any:
    scale = alt.Scale(domain=list(_OUTCOMES), range=[RUNG, CONTROL])
    return alt.Color("outcome:N", scale=scale, legend=alt.Legend(title=None, orient="bottom", symbolOpacity=1))


def _course_rows(arm: Mapping[str, Any], name: str) -> list[dict[str, Any]]:
    """What is drawn of one marker; empty where it never stands."""
    rows = [
        {"tenth": at + 1, "outcome": outcome, "value": each[0], "low": each[1], "high": each[2],
         "said": figure({"estimate": each[0], "low": each[1], "high": each[2]}, 2)}
        for outcome in _OUTCOMES
        for at, each in enumerate(arm["outcomes"][outcome]["course_a_thousand_words"][name])
        if each is not None
    ]  # fmt: skip
    return rows if any(row["value"] for row in rows) else []


def _spoken(arm: Mapping[str, Any], name: str) -> str:
    parts = []
    for outcome in _OUTCOMES:
        tenths = [each for each in arm["outcomes"][outcome]["course_a_thousand_words"][name] if each is not None]
        if tenths:
            parts.append(f"{outcome} from {tenths[0][0]:.1f} to {tenths[-1][0]:.1f}")
    return ", ".join(parts)


def output_sections(found: Sequence[Mapping[str, Any]], album: Album) -> list[dict[str, Any]]:
    """Charts and tables of every benchmark, as the template shows them."""
    sections = []
    for benchmark in found:
        arms = benchmark["arms"]
        # The course is drawn for one arm: the longest rung, else the last that wrote anything with a marker in it.
        ordered = sorted(arms, key=lambda arm: (arm.get("role") == "rung", arm.get("target_tokens") or 0))
        drawn = next((arm for arm in reversed(ordered) if any(_course_rows(arm, name) for name in _MARKERS)), None)
        sections.append(
            {
                "name": benchmark["benchmark"],
                "lengths": album.add(length_figure(benchmark)),
                "course": None if drawn is None else album.add(course_figure(drawn, benchmark["benchmark"])),
                "contrast": album.add(words_figure(benchmark), (HALF,)),
                "course_arm": None if drawn is None else drawn["name"],
                "arms": [_arm(arm) for arm in arms],
                "multi": [{"arm": arm["name"], **row} for arm in arms for row in arm["multi"]],
                "words": any(any(arm["words"].values()) for arm in arms),
            }
        )
    return sections


def _arm(arm: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": arm["name"], "unit": arm["unit"], "not_gradable": arm["not_gradable"],
        "ratio": figure(arm["wrong_to_correct_length"], 2),
        "outcomes": [
            {
                "name": name, "outputs": one["outputs"], "mean": figure(one["mean_length"], 0),
                "median": figure(one["median_length"], 0), "loops": one["loop_frac"], "cut": one["cut_frac"],
                "markers": [figure(one["markers_a_thousand"][marker], 2) for marker in _MARKERS],
                "words": [(one_line(word["word"], 24), 100 * word["share"]["estimate"], _bounds(word["share"]),
                           100 * word["share_an_output"]["estimate"]) for word in arm["words"][name]],
            }
            for name, one in arm["outcomes"].items()
            if one["outputs"]
        ],
        "tested": arm["contrast"]["tested"], "beyond": arm["contrast"]["beyond_chance"],
        "contrast": [
            (kind, [(one_line(o["word"], 24), figure(o["log_odds"], 2, signed=True), o["sure"],
                     figure(o["within"], 2, signed=True)) for o in arm["contrast"][side]])
            for side, kind in (("for_a", arm["contrast"]["a"]), ("for_b", arm["contrast"]["b"]))
        ],
    }  # fmt: skip


def _bounds(interval: Mapping[str, Any]) -> str:
    if not (known(interval["low"]) and known(interval["high"])):
        return "no interval"
    return f"{100 * interval['low']:.2f} to {100 * interval['high']:.2f}"
