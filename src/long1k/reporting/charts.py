"""Charts as still SVG, drawn while the page is built: nothing runs when it is read.

Every chart is made for one width; the page holds one for wide and one for narrow screens.
Colours are few and fixed, so that the page's style sheet can turn them over for dark screens.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from long1k.reporting.text import bounds, clean, excludes_zero, known, law_words, one_line, percent, points

INK, MUTED, GRID = "#1f2428", "#5b6470", "#e3e6ea"
RUNG, CONTROL, BASELINE = "#1d5fd0", "#b4460a", "#6f42a5"
_COLOURS = {"rung": RUNG, "control": CONTROL, "baseline": BASELINE}
_SHAPES = {"rung": "circle", "control": "diamond", "baseline": "square"}
_FONT = "Helvetica, Arial, Liberation Sans, sans-serif"
_SVG = "http://www.w3.org/2000/svg"
_NARROW = 450


def ladder(benchmark: Mapping[str, Any], width: int, *, height: int = 270, title: Sequence[str] = ()) -> str | None:
    """Accuracy by sample length with the fitted law, the other arms beside it; None if there is nothing to draw.

    Args:
        benchmark: one entry of the findings' benchmarks.
        width: of the whole picture, in pixels; a narrow one puts the other arms below.
        title: lines above the chart; the page writes its own.
    """
    import altair as alt

    arms = [arm for arm in benchmark.get("arms") or [] if known(arm["accuracy"].get("estimate"))]
    rungs = [arm for arm in arms if _length(arm) > 0]
    others = [arm for arm in arms if arm not in rungs]
    if not arms:
        return None
    law = benchmark.get("law") if len(rungs) > 1 else None
    scale = alt.Scale(domain=[0, _top(arms, law)], nice=False)
    narrow = width < _NARROW
    beside = 0 if narrow or not rungs else min(70 * len(others) + 10, width // 2)
    panels: list[Any] = []
    if rungs:
        inner = width - 62 - (beside + 14 if others and not narrow else 0)
        panels.append(_rung_panel(alt, rungs, law, scale).properties(width=inner, height=height))
    if others:
        alone = narrow or not rungs
        panel = _other_panel(alt, others, scale, labelled=alone)
        size = {"width": width - 62 if alone else beside, "height": 150 if narrow and rungs else height}
        panels.append(panel.properties(**size))
    chart: Any = (alt.vconcat if narrow else alt.hconcat)(*panels, spacing=14)
    if title:
        chart = chart.properties(
            title=alt.Title(
                clean(title[0]),
                subtitle=[clean(line) for line in title[1:]],
                anchor="start",
                fontSize=16,
                fontWeight=600,
                subtitleFontSize=12,
                subtitleColor=MUTED,
                color=INK,
                offset=14,
                font=_FONT,
                subtitleFont=_FONT,
            )
        )
    return svg_of(alt, chart, ladder_words(benchmark), 16 if title else 6)


def contrasts(benchmark: Mapping[str, Any], width: int) -> str | None:
    """Differences between arms with their intervals around a zero line; None if there are none."""
    import altair as alt

    rows: list[dict[str, Any]] = []
    for index, contrast in enumerate(benchmark.get("contrasts") or []):
        difference = contrast["difference"]
        if known(difference.get("estimate")):
            label = f"{one_line(contrast['a'], 30)} − {one_line(contrast['b'], 30)}"
            figures = one_line(f"{points(difference['estimate'])} {bounds(difference, True)}", 44)
            words = {"label": clean(label), "figures": clean(figures)}
            rows.append(_bar(difference, 100) | {"row": index, "sure": excludes_zero(difference)} | words)
    if not rows:
        return None
    ends = [0.0, *(row[key] for row in rows for key in ("low", "value", "high") if row[key] is not None)]
    pad = max(1.0, 0.06 * (max(ends) - min(ends)))
    domain = [min(ends) - pad, max(ends) + pad]
    ticks = alt.Axis(tickCount=6, grid=False, labelExpr="datum.value == 0 ? '0' : format(datum.value, '+~g')")
    x = {"scale": alt.Scale(domain=domain, nice=False), "title": "difference in accuracy, points", "axis": ticks}
    base = alt.Chart(_data(alt, rows)).encode(y=alt.Y("row:O", axis=None, scale=alt.Scale(padding=0.1)))
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
    chart = alt.layer(zero, bar, dot, name, said).properties(width=width - 18, height=62 * len(rows))
    spoken = "; ".join(f"{row['label']}: {row['figures']} points" for row in rows)
    return svg_of(alt, chart, f"Differences in accuracy on {benchmark.get('benchmark')}: {spoken}.")


def ladder_words(benchmark: Mapping[str, Any]) -> str:
    """What the ladder chart shows, for those who cannot see it."""
    arms = [
        f"{arm['name']} ({arm.get('role')}) {percent(arm['accuracy'].get('estimate'))} {bounds(arm['accuracy'])}"
        for arm in benchmark.get("arms") or []
    ]
    law = benchmark.get("law")
    return f"Accuracy on {benchmark.get('benchmark')} by arm: {'; '.join(arms)}." + (
        f" Law: {law_words(law)}." if law else ""
    )


def write_ladder(findings: Path, benchmark: str, out: Path, width: int = 760) -> None:
    """Write the ladder chart of one benchmark as a file of its own, on a white ground.

    Raises:
        KeyError: the findings have no such benchmark, or nothing of it can be drawn.
    """
    found = json.loads(findings.read_text(encoding="utf-8"))
    entry = next((item for item in found["benchmarks"] if item["benchmark"] == benchmark), None)
    if entry is None:
        raise KeyError(benchmark)
    seeds = max(len(arm["seeds"]) for arm in entry["arms"])
    lines = [f"{found['name']}: accuracy on “{benchmark}” by sample length"]
    if entry.get("law"):
        lines.append(law_words(entry["law"]))
    lines.append(
        f"Large marks: mean with {100 * found['confidence']:.0f} % interval over {seeds} training seeds and "
        f"{entry['questions']} questions. Faint dots: seeds. Band: the fitted line's interval."
    )
    svg = ladder(entry, width, title=lines)
    if svg is None:
        raise KeyError(benchmark)
    ground = '<rect width="100%" height="100%" fill="#ffffff"/>'
    out.write_text(re.sub(r"(<svg[^>]*>)", lambda tag: tag[1] + ground, svg, count=1) + "\n", encoding="utf-8")


def _top(arms: Sequence[Mapping[str, Any]], law: Mapping[str, Any] | None) -> float:
    """The upper end of the accuracy axis: a round share above everything drawn."""
    drawn = [v for arm in arms for v in (arm["accuracy"]["estimate"], arm["accuracy"].get("high"), *_seeds(arm))]
    drawn += [point[3] for point in (law or {}).get("band") or []]
    highest = max((float(v) for v in drawn if known(v)), default=1.0)
    return next((step / 20 for step in range(1, 20) if step / 20 >= 1.04 * highest), 1.0)


def _seeds(arm: Mapping[str, Any]) -> list[float]:
    by_seed = arm.get("accuracy_by_seed") or {}
    return [float(v) for v in by_seed.values() if known(v)] if len(by_seed) > 1 else []


def _bar(interval: Mapping[str, Any], unit: float = 1) -> dict[str, Any]:
    low, high = interval.get("low"), interval.get("high")
    bar = {"value": unit * interval["estimate"], "low": None, "high": None}
    if known(low) and known(high):  # both or none: half an interval is none
        bar |= {"low": unit * low, "high": unit * high}
    return bar


def _data(alt: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
    return alt.Data(values=[dict(row) for row in rows])


def _marks(alt: Any, arms: Sequence[Mapping[str, Any]], x: Any, keys: Sequence[Mapping[str, Any]], y: Any) -> list[Any]:
    """Seeds, interval bars and means of some arms; ``keys`` holds what places each on the x axis."""
    layers: list[Any] = []
    dots = [dict(key, seed=v, role=arm.get("role")) for arm, key in zip(arms, keys, strict=True) for v in _seeds(arm)]
    bars = [_bar(arm["accuracy"]) | dict(key, role=arm.get("role")) for arm, key in zip(arms, keys, strict=True)]
    for role in dict.fromkeys(row["role"] for row in bars):
        colour, shape = _COLOURS.get(role, BASELINE), _SHAPES.get(role, "square")
        seeds = [row for row in dots if row["role"] == role]
        means = alt.Chart(_data(alt, [row for row in bars if row["role"] == role]))
        if seeds:
            chart = alt.Chart(_data(alt, seeds))
            layers.append(
                chart.mark_point(shape="circle", size=16, filled=True, opacity=0.45, color=colour, xOffset=8).encode(
                    x=x, y=alt.Y("seed:Q", **y)
                )
            )
        layers.append(
            means.transform_filter("isValid(datum.low)")
            .mark_rule(color=colour, strokeWidth=2)
            .encode(x=x, y=alt.Y("low:Q", **y), y2="high:Q")
        )
        layers.append(
            means.mark_point(shape=shape, size=85, filled=True, opacity=1, color=colour).encode(
                x=x, y=alt.Y("value:Q", **y)
            )
        )
    return layers


def _rung_panel(alt: Any, rungs: Sequence[Mapping[str, Any]], law: Mapping[str, Any] | None, scale: Any) -> Any:
    lengths = [_length(arm) for arm in rungs]
    room = 2 ** (0.06 * max(1.0, _doublings(lengths)))  # so that no mark touches the frame
    ticks = alt.Axis(
        values=sorted({round(length) for length in lengths}), format=",d", labelOverlap="greedy", grid=False
    )
    domain = alt.Scale(type="log", base=2, domain=[min(lengths) / room, max(lengths) * room], nice=False)
    x = alt.X("tokens:Q", scale=domain, axis=ticks, title="tokens a sample (log scale)")
    y = {"scale": scale, "axis": alt.Axis(format=".0%", tickCount=6), "title": "accuracy"}
    layers: list[Any] = []
    if law is not None:
        # Cut to the frame here: a clip path would need an id, and those of two charts on one page would be mixed up.
        band = [
            {"tokens": x, "low": _within(low, scale), "fit": fit, "high": _within(high, scale)}
            for x, low, fit, high in law.get("band") or []
            if _within(fit, scale) == fit
        ]
        chart = alt.Chart(_data(alt, band))
        if band and all(known(row["low"]) and known(row["high"]) for row in band):
            layers.append(chart.mark_area(color=RUNG, opacity=0.13).encode(x=x, y=alt.Y("low:Q", **y), y2="high:Q"))
        layers.append(
            chart.mark_line(color=RUNG, strokeWidth=1.6, strokeDash=[6, 3]).encode(x=x, y=alt.Y("fit:Q", **y))
        )
    return alt.layer(*layers, *_marks(alt, rungs, x, [{"tokens": n} for n in lengths], y))


def _length(arm: Mapping[str, Any]) -> float:
    """Where an arm stands on the axis of lengths; 0 if it has no place there."""
    tokens = arm.get("law_tokens") or (arm.get("target_tokens") if arm.get("role") == "rung" else 0)
    return tokens if known(tokens) else 0.0


def _within(value: float | None, scale: Any) -> float | None:
    """A value cut to the ends of a scale."""
    low, high = scale.domain
    return min(max(value, low), high) if known(value) else None


def _doublings(lengths: Sequence[float]) -> float:
    import math

    return math.log2(max(lengths) / min(lengths))


def _other_panel(alt: Any, arms: Sequence[Mapping[str, Any]], scale: Any, labelled: bool) -> Any:
    """Arms that have no place on the length axis, side by side."""
    lines = _labels([str(arm["name"]) for arm in arms])
    axis = alt.Axis(
        labelAngle=0, labelExpr="split(datum.value, '\\n')", ticks=False, labelPadding=6, grid=False, labelLimit=200
    )
    x = alt.X("arm:N", sort=lines, axis=axis, title="controls and baseline", scale=alt.Scale(padding=0.5))
    shown = (
        alt.Axis(format=".0%", tickCount=6)
        if labelled
        else alt.Axis(labels=False, ticks=False, domain=False, tickCount=6)
    )
    y = {"scale": scale, "axis": shown, "title": "accuracy" if labelled else None}
    return alt.layer(*_marks(alt, arms, x, [{"arm": line} for line in lines], y))


def _labels(names: Sequence[str]) -> list[str]:
    """Names broken into short lines at their hyphens; all different."""
    made: list[str] = []
    for name in names:
        lines = [""]
        for word in re.findall(r"[^-_ ]*[-_ ]?", one_line(clean(name), 42)):
            for piece in (word[i : i + 13] for i in range(0, len(word), 13)):
                if len(lines[-1]) + len(piece) > 13:
                    lines.append("")
                lines[-1] += piece
        label = "\n".join(lines[:4])
        made.append(label if label not in made else f"{label}\n({len(made) + 1})")
    return made


def svg_of(alt: Any, chart: Any, words: str, padding: int = 6) -> str:
    """The chart as one <svg> element with a spoken label, equal bytes for equal charts."""
    import vl_convert as vlc

    axis = {"gridColor": GRID, "domainColor": MUTED, "tickColor": MUTED, "labelColor": MUTED, "titleColor": INK}
    axis |= {"labelFont": _FONT, "titleFont": _FONT, "titleFontWeight": "normal"}
    chart = chart.configure(background="transparent", padding=padding, font=_FONT).configure_view(stroke=None)
    chart = chart.configure_axis(labelFontSize=11, titleFontSize=11.5, titlePadding=8, **axis)
    # The drawing is taken apart and put together by a parser: names of arms are in it, and no
    # pattern on the raw text could be trusted to stay inside one attribute.
    root = ElementTree.fromstring(vlc.vegalite_to_svg(chart.to_dict()))
    for node in root.iter():
        node.tag = node.tag.removeprefix(f"{{{_SVG}}}")
        for name in list(node.attrib):
            if name.startswith("aria-") or name in ("role", "class", "pointer-events", "style") or "}" in name:
                del node.attrib[name]
            elif name in ("transform", "d"):
                node.set(name, re.sub(r"-?\d+\.\d{3,}", lambda m: f"{float(m[0]):.2f}", node.attrib[name]))
    _drop_empty(root)
    root.attrib = {key: root.attrib[key] for key in ("width", "height", "viewBox")}
    root.attrib |= {"xmlns": _SVG, "role": "img", "aria-label": clean(words)}
    return ElementTree.tostring(root, encoding="unicode")


def _drop_empty(node: Any) -> None:
    """Take out groups and paths that draw nothing."""
    for child in list(node):
        _drop_empty(child)
        hidden = child.get("display") == "none" or child.get("opacity") == "0"
        bare = child.tag == "path" and not any(k in child.attrib for k in ("fill", "stroke"))
        if hidden or bare or (child.tag == "g" and len(child) == 0):
            node.remove(child)
