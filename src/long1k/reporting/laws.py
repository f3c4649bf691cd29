"""Charts of the law: the shapes that were fitted to the rungs, and the paper's points beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from long1k.reporting.drawing import BASELINE, CONTROL, MUTED, OTHERS, RUNG, data, tips
from long1k.reporting.figures import Album, Choice, Figure
from long1k.reporting.text import bounds, clean, known, one_line, p_value, percent

_COLOURS = (CONTROL, RUNG, BASELINE, *OTHERS)
_DASHES = ([3, 3], [1, 0], [7, 3], [9, 3, 2, 3], [2, 2], [5, 2])


def shapes_figure(benchmark: Mapping[str, Any]) -> Figure | None:
    """The rungs with their intervals and every fitted shape as a line; None if there is nothing to draw.

    Args:
        benchmark: one entry of the findings' benchmarks, with a law and its shapes.
    """
    law = benchmark.get("law") or {}
    rungs = _points(benchmark.get("arms") or [])
    rows = [
        {"shape": one["name"], "tokens": point[0], "fit": 100 * point[2], "said": f"{100 * point[2]:.1f} %"}
        for one in law.get("shapes") or []
        for point in one["curve"]
    ]
    if not rows or not rungs:
        return None
    names = tuple(dict.fromkeys(row["shape"] for row in rows))
    spoken = "; ".join(f"{row['tokens']:,.0f} tokens {row['value']:.1f} %" for row in rungs)
    listed = [
        {"what": "rung", "name": row["name"], "tokens": row["tokens"], "accuracy_percent": row["value"],
         "low": row["low"], "high": row["high"]}
        for row in rungs
    ] + [
        {"what": "shape", "name": one["name"], "tokens": at, "accuracy_percent": 100 * fit,
         "low": 100 * low if known(low) else None, "high": 100 * high if known(high) else None}
        for one in law["shapes"] for at, low, fit, high in one["curve"]
    ]  # fmt: skip
    return Figure(
        f"shapes-{benchmark.get('benchmark')}",
        f"Shapes fitted to accuracy on {benchmark.get('benchmark')}: {', '.join(names)}. Rungs: {spoken}.",
        lambda width: _shapes_chart(rows, rungs, names, width), listed,
        choices=(Choice("hidden", "Shown", names, many=True),),
    )  # fmt: skip


def _shapes_chart(
    rows: Sequence[Mapping[str, Any]], rungs: Sequence[Mapping[str, Any]], names: Sequence[str], width: int
) -> Any:
    import altair as alt

    x = _length_axis(alt, [row["tokens"] for row in rungs])
    dashes = [_DASHES[at % len(_DASHES)] for at in range(len(names))]
    lines = (
        alt.Chart(data(alt, rows))
        .transform_filter("indexof(hidden, datum.shape) < 0")
        .mark_line(strokeWidth=1.7, clip=False)
        .encode(
            x=x, y=alt.Y("fit:Q", scale=alt.Scale(zero=False), title="accuracy, %"),
            color=alt.Color("shape:N", scale=_scale(alt, names), legend=_legend(alt, width)),
            strokeDash=alt.StrokeDash(
                "shape:N", scale=alt.Scale(domain=list(names), range=dashes)
            ),
            tooltip=tips(alt, shape="shape"),
        )
    )  # fmt: skip
    chart = alt.layer(lines, *_dots(alt, rungs, x, MUTED)).add_params(alt.param(name="hidden", value=[]))
    return chart.properties(width=width - 62, height=270)


def paper_figure(entry: Mapping[str, Any]) -> Figure | None:
    """The paper's points and ours by length, each with its interval and line; None without lengths.

    Args:
        entry: one entry of the findings' ``paper``.
    """
    rows: list[dict[str, Any]] = []
    for row in entry.get("rows") or []:
        if known(row.get("tokens")) and not known(row.get("steps")):
            rows.append(_row(f"paper: {row['benchmark']}", row))
    for ours in entry.get("ours") or []:
        rows += [_row(f"here: {ours['benchmark']}", point) for point in ours["points"]]
    if not rows:
        return None
    names = tuple(dict.fromkeys(row["series"] for row in rows))
    spoken = "; ".join(f"{row['series']} at {row['tokens']:,.0f} tokens {row['value']:.1f} %" for row in rows)
    listed = [
        {"series": row["series"], "arm": row["arm"], "tokens": row["tokens"], "accuracy_percent": row["value"],
         "low": row["low"], "high": row["high"]}
        for row in rows
    ]  # fmt: skip
    return Figure(
        f"paper-{entry.get('experiment')}", f"The paper's experiment {entry.get('experiment')} beside ours: {spoken}.",
        lambda width: _paper_chart(rows, names, width), listed,
        choices=(Choice("hidden", "Shown", names, many=True),) if len(names) > 1 else (),
    )  # fmt: skip


def _paper_chart(rows: Sequence[Mapping[str, Any]], names: Sequence[str], width: int) -> Any:
    import altair as alt

    x = _length_axis(alt, [row["tokens"] for row in rows])
    colour = alt.Color("series:N", scale=_scale(alt, names), legend=_legend(alt, width))
    forms = ["diamond" if name.startswith("paper") else "circle" for name in names]
    shape = alt.Shape("series:N", scale=alt.Scale(domain=list(names), range=forms))
    base = alt.Chart(data(alt, rows)).transform_filter("indexof(hidden, datum.series) < 0").encode(
        x=x, color=colour, tooltip=tips(alt, series="benchmark", arm="arm", length="tokens", said="accuracy")
    )  # fmt: skip
    y = alt.Y("value:Q", scale=alt.Scale(domain=[0, 100]), title="accuracy, %")
    bars = base.transform_filter("isValid(datum.low)").mark_rule(strokeWidth=1.4).encode(y="low:Q", y2="high:Q")
    lines = base.mark_line(strokeWidth=1.4, opacity=0.6).encode(y=y, order="tokens:Q")
    dots = base.mark_point(filled=True, opacity=1, size=60).encode(y=y, shape=shape)
    chart = alt.layer(bars, lines, dots).add_params(alt.param(name="hidden", value=[]))
    return chart.properties(width=width - 62, height=290)


def _row(series: str, point: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "series": clean(one_line(series, 40)), "tokens": point["tokens"], "value": 100 * point["accuracy"],
        **_ends(point), "arm": clean(one_line(str(point.get("arm") or ""), 60)), "length": f"{point['tokens']:,.0f}",
        "said": f"{percent(point['accuracy'])} {bounds(point)}",
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
            made.append(
                {"name": clean(one_line(str(arm.get("name")), 60)), "tokens": arm["law_tokens"],
                 "value": 100 * accuracy["estimate"], **_ends(accuracy),
                 "said": f"{percent(accuracy['estimate'])} {clean(bounds(accuracy))}"}
            )  # fmt: skip
    return made


def _dots(alt: Any, rows: Sequence[Mapping[str, Any]], x: Any, colour: str) -> list[Any]:
    base = alt.Chart(data(alt, rows)).encode(x=x, tooltip=tips(alt, name="arm", said="accuracy"))
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


def law_context(benchmark: Mapping[str, Any], album: Album) -> dict[str, Any] | None:
    """The section on the shape of the law and on what length stands for; None without either."""
    law, predictors = benchmark.get("law") or {}, benchmark.get("predictors") or {}
    shapes = law.get("shapes") or []
    tables = [
        _predictors(predictors[label], predictors["names"], label) for label in ("rungs", "all") if label in predictors
    ]
    if not shapes and not tables:
        return None
    lines = [*(law.get("said") or []), *([law["turn"]] if law.get("turn") else [])]
    return {
        "figure": album.add(shapes_figure(benchmark)),
        "shapes": [_shape(one) for one in shapes],
        "equal": law.get("slope_equal_weights"), "drawn": law.get("slope_drawn"),
        "said": [f"{line[:1].upper()}{line[1:]}." for line in lines], "tables": tables,
    }  # fmt: skip


def _shape(one: Mapping[str, Any]) -> dict[str, Any]:
    values = ", ".join(f"{name} = {value:.4g}" for name, value in one["parameters"].items())
    return {
        **one, "aicc": _number(one["aicc"], 1), "delta": _number(one["delta"], 1), "values": values,
        "left_out": _number(one["left_out_points"], 2), "p": p_value(one["lack_of_fit_p"]),
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


def paper_context(entry: Mapping[str, Any], album: Album) -> dict[str, Any]:
    """The section with one experiment of the paper."""
    rows = [
        {**row, "interval": f"[{percent(row['low'])}, {percent(row['high'])}]" if known(row.get("low")) else ""}
        for row in entry["rows"]
    ]
    writing = [
        {**one, "words": ", ".join(f"{word} {share:.2f}" for word, share in one["words_percent"].items())}
        for one in entry["writing"]
    ]
    return {
        **entry, "figure": album.add(paper_figure(entry)), "rows": rows, "writing": writing,
    }  # fmt: skip


def _number(value: Any, digits: int) -> str:
    return f"{value:.{digits}f}" if known(value) else "–"
