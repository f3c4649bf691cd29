"""Charts of the law: the shapes that were fitted to the rungs, and the paper's points beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from long1k.reporting.charts import BASELINE, CONTROL, MUTED, RUNG, svg_of
from long1k.reporting.text import clean, known, one_line, percent

_COLOURS = (CONTROL, RUNG, BASELINE, "#2d7d46", "#8a6d00", "#a3165f", "#00757d")
_DASHES = ([3, 3], [1, 0], [7, 3], [9, 3, 2, 3], [2, 2], [5, 2])


def shapes_chart(benchmark: Mapping[str, Any], width: int, height: int = 270) -> str | None:
    """The rungs with their intervals and every fitted shape as a line; None if there is nothing to draw.

    Args:
        benchmark: one entry of the findings' benchmarks, with a law and its shapes.
    """
    import altair as alt

    law = benchmark.get("law") or {}
    rungs = _points(benchmark.get("arms") or [])
    rows = [
        {"shape": one["name"], "tokens": point[0], "fit": 100 * point[2]}
        for one in law.get("shapes") or []
        for point in one["curve"]
    ]
    if not rows or not rungs:
        return None
    names = list(dict.fromkeys(row["shape"] for row in rows))
    x = _length_axis(alt, [row["tokens"] for row in rungs])
    lines = (
        alt.Chart(alt.Data(values=rows))
        .mark_line(strokeWidth=1.7, clip=False)
        .encode(
            x=x, y=alt.Y("fit:Q", scale=alt.Scale(zero=False), title="accuracy, %"),
            color=alt.Color("shape:N", scale=_scale(alt, names), legend=_legend(alt, width)),
            strokeDash=alt.StrokeDash(
                "shape:N", scale=alt.Scale(domain=names, range=[_DASHES[n % len(_DASHES)] for n in range(len(names))])
            ),
        )
    )  # fmt: skip
    chart = alt.layer(lines, *_dots(alt, rungs, x, MUTED)).properties(width=width - 62, height=height)
    spoken = "; ".join(f"{row['tokens']:,.0f} tokens {row['value']:.1f} %" for row in rungs)
    return svg_of(
        alt, chart, f"Shapes fitted to accuracy on {benchmark.get('benchmark')}: {', '.join(names)}. Rungs: {spoken}."
    )


def paper_chart(entry: Mapping[str, Any], width: int, height: int = 290) -> str | None:
    """The paper's points and ours by length, each with its interval and line; None without lengths.

    Args:
        entry: one entry of the findings' ``paper``.
    """
    import altair as alt

    rows: list[dict[str, Any]] = []
    for row in entry.get("rows") or []:
        if known(row.get("tokens")) and not known(row.get("steps")):
            rows.append(_row(f"paper: {row['benchmark']}", row))
    for ours in entry.get("ours") or []:
        rows += [_row(f"here: {ours['benchmark']}", point) for point in ours["points"]]
    if not rows:
        return None
    names = list(dict.fromkeys(row["series"] for row in rows))
    x = _length_axis(alt, [row["tokens"] for row in rows])
    colour = alt.Color("series:N", scale=_scale(alt, names), legend=_legend(alt, width))
    forms = ["diamond" if name.startswith("paper") else "circle" for name in names]
    shape = alt.Shape("series:N", scale=alt.Scale(domain=names, range=forms))
    base = alt.Chart(alt.Data(values=rows)).encode(x=x, color=colour)
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, 100]), title="accuracy, %")
    bars = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.4).encode(y="low:Q", y2="high:Q")
    lines = base.mark_line(strokeWidth=1.4, opacity=0.6).encode(y=y, order="tokens:Q")
    dots = base.mark_point(filled=True, opacity=1, size=60).encode(y=y, shape=shape)
    chart = alt.layer(bars, lines, dots).properties(width=width - 62, height=height)
    spoken = "; ".join(f"{row['series']} at {row['tokens']:,.0f} tokens {row['value']:.1f} %" for row in rows)
    return svg_of(alt, chart, f"The paper's experiment {entry.get('experiment')} beside ours: {spoken}.")


def _row(series: str, point: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "series": clean(one_line(series, 40)), "tokens": point["tokens"], "value": 100 * point["accuracy"],
        **_ends(point),
    }  # fmt: skip


def _ends(interval: Mapping[str, Any]) -> dict[str, float | None]:
    """Both ends of an interval in per cent, or neither."""
    low, high = interval.get("low"), interval.get("high")
    return {"low": 100 * low, "high": 100 * high} if known(low) and known(high) else {"low": None, "high": None}


def _points(arms: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    made = []
    for arm in arms:
        accuracy = arm.get("accuracy") or {}
        if known(arm.get("law_tokens")) and known(accuracy.get("estimate")):
            made.append({"tokens": arm["law_tokens"], "value": 100 * accuracy["estimate"], **_ends(accuracy)})
    return made


def _dots(alt: Any, rows: Sequence[Mapping[str, Any]], x: Any, colour: str) -> list[Any]:
    base = alt.Chart(alt.Data(values=[dict(row) for row in rows])).encode(x=x)
    bars = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.5, color=colour)
    dots = base.mark_point(filled=True, opacity=1, size=60, color=colour)
    return [bars.encode(y="low:Q", y2="high:Q"), dots.encode(y="value:Q")]


def _length_axis(alt: Any, lengths: Sequence[float]) -> Any:
    least, most = min(lengths), max(lengths)
    room = 2**0.15
    scale = alt.Scale(type="log", base=2, domain=[least / room, most * room], nice=False)
    axis = alt.Axis(values=sorted({round(n) for n in lengths}), format=",d", labelOverlap="greedy", grid=False)
    return alt.X("tokens:Q", scale=scale, axis=axis, title="tokens a sample (log scale)")


def _scale(alt: Any, names: Sequence[str]) -> Any:
    return alt.Scale(domain=list(names), range=[_COLOURS[at % len(_COLOURS)] for at in range(len(names))])


def _legend(alt: Any, width: int) -> Any:
    return alt.Legend(title=None, orient="bottom", columns=2 if width < 450 else 3, labelLimit=width // 2)


# --- what the page shows of them ----------------------------------------------------------------------------------


def law_context(benchmark: Mapping[str, Any]) -> dict[str, Any] | None:
    """The section on the shape of the law and on what length stands for; None without either."""
    from markupsafe import Markup

    law, predictors = benchmark.get("law") or {}, benchmark.get("predictors") or {}
    shapes = law.get("shapes") or []
    tables = [
        _predictors(predictors[label], predictors["names"], label) for label in ("rungs", "all") if label in predictors
    ]
    if not shapes and not tables:
        return None
    wide, narrow = shapes_chart(benchmark, 620), shapes_chart(benchmark, 340)
    lines = [*(law.get("said") or []), *([law["turn"]] if law.get("turn") else [])]
    return {
        "charts": None if wide is None or narrow is None else (Markup(wide), Markup(narrow)),
        "shapes": [_shape(one) for one in shapes],
        "equal": law.get("slope_equal_weights"), "drawn": law.get("slope_drawn"),
        "said": [f"{line[:1].upper()}{line[1:]}." for line in lines], "tables": tables,
    }  # fmt: skip


def _shape(one: Mapping[str, Any]) -> dict[str, Any]:
    values = ", ".join(f"{name} = {value:.4g}" for name, value in one["parameters"].items())
    return {
        **one, "aicc": _number(one["aicc"], 1), "delta": _number(one["delta"], 1), "values": values,
        "left_out": _number(one["left_out_points"], 2), "p": _number(one["lack_of_fit_p"], 3),
        "r2": _number(one["r2"], 3),
    }  # fmt: skip


def _predictors(found: Mapping[str, Any], names: Mapping[str, str], label: str) -> dict[str, Any]:
    pairs = {pair["second"]: pair for pair in found["pairs"]}
    rows = []
    for one in found["alone"]:
        pair = pairs.get(one["name"])
        rows.append(
            {"name": names[one["name"]], "slope": one["slope"], "r2": _number(one["r2"], 3),
             "left_out": _number(one["left_out_points"], 2),
             "correlation": None if pair is None else _number(pair["correlation"], 3),
             "inflation": None if pair is None else _inflation(pair["inflation"]),
             "main": None if pair is None else pair["slope_first"],
             "beside": None if pair is None else pair["slope_second"]}
        )  # fmt: skip
    where = "the rungs" if label == "rungs" else "all arms that differ in amounts"
    said = [f"{line[:1].upper()}{line[1:]}." for line in found["said"]]
    return {"where": where, "arms": found["num_arms"], "rows": rows, "said": said}


def _inflation(value: Any) -> str:
    return "∞" if value is None else _number(value, 1)


def paper_context(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The section with one experiment of the paper."""
    from markupsafe import Markup

    wide, narrow = paper_chart(entry, 620), paper_chart(entry, 340)
    rows = [
        {**row, "interval": f"[{percent(row['low'])}, {percent(row['high'])}]" if known(row.get("low")) else ""}
        for row in entry["rows"]
    ]
    writing = [
        {**one, "words": ", ".join(f"{word} {share:.2f}" for word, share in one["words_percent"].items())}
        for one in entry["writing"]
    ]
    return {
        **entry, "charts": None if wide is None or narrow is None else (Markup(wide), Markup(narrow)), "rows": rows,
        "writing": writing,
    }  # fmt: skip


def _number(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if known(value) else "–"
