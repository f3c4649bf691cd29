"""The ladder: accuracy by sample length with the law and its alternatives, and arms without a length beside it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from long1k.reporting.drawing import BASELINE, CONTROL, FONT, INK, MUTED, RUNG, data, on_white, spec_of, svg_of, tips
from long1k.reporting.figures import Choice, Figure
from long1k.reporting.text import bounds, clean, join_paths, known, law_words, one_line, percent

LINE, NO_LINE = "line", "none"
_COLOURS = {"rung": RUNG, "control": CONTROL, "baseline": BASELINE}
_SHAPES = {"rung": "circle", "control": "diamond", "baseline": "square"}
_NARROW = 450
# The line is the law itself; a flat one is no alternative that anybody would read off the picture.
_NOT_OFFERED = ("log-linear", "flat")


def ladder_figure(benchmark: Mapping[str, Any], top: float | None = None) -> Figure | None:
    """Accuracy by sample length with the fitted law, the other arms beside it; None if there is nothing to draw.

    Args:
        benchmark: one entry of the findings' benchmarks.
        top: upper end of the accuracy axis; its own if not given.
    """
    arms = _drawn_arms(benchmark)
    if not arms:
        return None
    offered = _offered(benchmark)
    rows = [
        {"arm": arm["name"], "role": arm.get("role"), "tokens": _length(arm) or None,
         **{end: arm["accuracy"].get(end) for end in ("estimate", "low", "high", "confidence", "over")},
         "by_seed": " ".join(f"{seed}={value}" for seed, value in (arm.get("accuracy_by_seed") or {}).items()),
         "rows": " ".join(arm.get("rows") or [])}
        for arm in arms
    ]  # fmt: skip
    choices = (Choice("fit", "Fitted to the rungs", (*offered, NO_LINE)),) if len(offered) > 1 else ()
    return Figure(
        f"ladder-{benchmark.get('benchmark')}", ladder_words(benchmark),
        lambda width: ladder_chart(benchmark, width, top=top), rows, choices=choices,
    )  # fmt: skip


def ladder_chart(
    benchmark: Mapping[str, Any], width: int, *, height: int = 270, title: Sequence[str] = (), top: float | None = None
) -> Any:
    """The ladder as an Altair chart; its parameter ``fit`` names the line that is drawn.

    Args:
        width: of the whole picture, in pixels; a narrow one puts the other arms below.
        title: lines above the chart; the page writes its own.
    """
    import altair as alt

    arms = _drawn_arms(benchmark)
    rungs = [arm for arm in arms if _length(arm) > 0]
    others = [arm for arm in arms if arm not in rungs]
    law = benchmark.get("law") if len(rungs) > 1 else None
    scale = alt.Scale(domain=[0, top or top_of(benchmark)], nice=False)
    narrow = width < _NARROW
    beside = 0 if narrow or not rungs else min(70 * len(others) + 10, width // 2)
    panels: list[Any] = []
    if rungs:
        inner = width - 62 - (beside + 14 if others and not narrow else 0)
        panels.append(_rung_panel(alt, benchmark, rungs, law, scale).properties(width=inner, height=height))
    if others:
        alone = narrow or not rungs
        size = {"width": width - 62 if alone else beside, "height": 150 if narrow and rungs else height}
        panel = _other_panel(alt, others, scale, labelled=alone, width=size["width"])
        panels.append(panel.properties(**size))
    chart: Any = panels[0] if len(panels) == 1 else (alt.vconcat if narrow else alt.hconcat)(*panels, spacing=14)
    if _offered(benchmark):
        chart = chart.add_params(alt.param(name="fit", value=_offered(benchmark)[0]))
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
                font=FONT,
                subtitleFont=FONT,
            )
        )
    return chart


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
    if entry is None or not _drawn_arms(entry):
        raise KeyError(benchmark)
    seeds = max(len(arm["seeds"]) for arm in entry["arms"])
    lines = [f"{found['name']}: accuracy on “{benchmark}” by sample length"]
    if entry.get("law"):
        lines.append(law_words(entry["law"]))
    lines.append(
        f"Large marks: mean with {100 * found['confidence']:.0f} % interval over {seeds} training seeds and "
        f"{entry['questions']} questions. Faint dots: seeds. Band: the fitted line's interval."
    )
    svg = svg_of(spec_of(ladder_chart(entry, width, title=lines), 16), ladder_words(entry))
    out.write_text(on_white(svg), encoding="utf-8")


def _drawn_arms(benchmark: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [arm for arm in benchmark.get("arms") or [] if known(arm["accuracy"].get("estimate"))]


def _fits(benchmark: Mapping[str, Any]) -> dict[str, Sequence[Sequence[float]]]:
    """Every line that was fitted to the rungs, by name: [tokens, low, accuracy, high] along the axis."""
    law = benchmark.get("law") or {}
    rungs = [arm for arm in _drawn_arms(benchmark) if _length(arm) > 0]
    if len(rungs) < 2 or not law.get("band"):
        return {}
    shapes = {one["name"]: one["curve"] for one in law.get("shapes") or [] if one["name"] not in _NOT_OFFERED}
    return {LINE: law["band"], **shapes}


def _offered(benchmark: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(_fits(benchmark))


def top_of(benchmark: Mapping[str, Any]) -> float:
    """The upper end of the accuracy axis: a round share above everything drawn."""
    arms = _drawn_arms(benchmark)
    drawn = [v for arm in arms for v in (arm["accuracy"]["estimate"], arm["accuracy"].get("high"), *_seeds(arm))]
    drawn += [point[3] for point in _fits(benchmark).get(LINE, ())]
    highest = max((float(v) for v in drawn if known(v)), default=1.0)
    return next((step / 20 for step in range(1, 20) if step / 20 >= 1.04 * highest), 1.0)


def _seeds(arm: Mapping[str, Any]) -> list[float]:
    by_seed = arm.get("accuracy_by_seed") or {}
    return [float(v) for v in by_seed.values() if known(v)] if len(by_seed) > 1 else []


def _about(arm: Mapping[str, Any]) -> dict[str, Any]:
    """An arm's mean, interval and where its rows lie, as its mark shows and says them."""
    interval = arm["accuracy"]
    low, high = interval.get("low"), interval.get("high")
    ends = {"low": low, "high": high} if known(low) and known(high) else {"low": None, "high": None}
    return {
        "value": interval["estimate"], **ends, "role": arm.get("role"), "name": clean(one_line(str(arm["name"]), 60)),
        "said": f"{percent(interval['estimate'])} {clean(bounds(interval))}",
        "rows": clean(one_line(join_paths(arm.get("rows") or []), 120)),
    }  # fmt: skip


def _marks(alt: Any, arms: Sequence[Mapping[str, Any]], x: Any, keys: Sequence[Mapping[str, Any]], y: Any) -> list[Any]:
    """Seeds, interval bars and means of some arms; ``keys`` holds what places each on the x axis."""
    layers: list[Any] = []
    dots = [
        dict(key, seed=value, role=arm.get("role"), name=clean(one_line(f"{arm['name']}, one seed", 60)),
             said=percent(value))
        for arm, key in zip(arms, keys, strict=True) for value in _seeds(arm)
    ]  # fmt: skip
    bars = [_about(arm) | dict(key) for arm, key in zip(arms, keys, strict=True)]
    shown = {"name": "arm", "said": "accuracy"}
    for role in dict.fromkeys(row["role"] for row in bars):
        colour, shape = _COLOURS.get(role, BASELINE), _SHAPES.get(role, "square")
        seeds = [row for row in dots if row["role"] == role]
        means = alt.Chart(data(alt, [row for row in bars if row["role"] == role]))
        if seeds:
            chart = alt.Chart(data(alt, seeds))
            layers.append(
                chart.mark_point(shape="circle", size=16, filled=True, opacity=0.45, color=colour, xOffset=8).encode(
                    x=x, y=alt.Y("seed:Q", **y), tooltip=tips(alt, **shown)
                )
            )
        layers.append(
            means.transform_filter("isValid(datum.low)")
            .mark_rule(color=colour, strokeWidth=2)
            .encode(x=x, y=alt.Y("low:Q", **y), y2="high:Q")
        )
        layers.append(
            means.mark_point(shape=shape, size=85, filled=True, opacity=1, color=colour).encode(
                x=x, y=alt.Y("value:Q", **y), tooltip=tips(alt, **shown, rows="rows")
            )
        )
    return layers


def _rung_panel(
    alt: Any,
    benchmark: Mapping[str, Any],
    rungs: Sequence[Mapping[str, Any]],
    law: Mapping[str, Any] | None,
    scale: Any,
) -> Any:
    lengths = [_length(arm) for arm in rungs]
    room = 2 ** (0.06 * max(1.0, _doublings(lengths)))  # so that no mark touches the frame
    ticks = alt.Axis(
        values=sorted({round(length) for length in lengths}), format=",d", labelOverlap="greedy", grid=False
    )
    domain = alt.Scale(type="log", base=2, domain=[min(lengths) / room, max(lengths) * room], nice=False)
    x = alt.X("tokens:Q", scale=domain, axis=ticks, title="tokens a sample (log scale)")
    y = {"scale": scale, "axis": alt.Axis(format=".0%", tickCount=6), "title": "accuracy"}
    layers: list[Any] = []
    # Cut to the frame here: a clip path would need an id, and those of two charts on one page would be mixed up.
    fits = [
        {"shape": name, "tokens": at, "low": _within(low, scale), "fit": fit, "high": _within(high, scale)}
        for name, curve in (_fits(benchmark) if law is not None else {}).items()
        for at, low, fit, high in curve
        if _within(fit, scale) == fit
    ]
    if fits:
        chart = alt.Chart(data(alt, fits)).transform_filter("datum.shape == fit")
        banded = chart.transform_filter("isValid(datum.low) && isValid(datum.high)")
        layers.append(banded.mark_area(color=RUNG, opacity=0.13).encode(x=x, y=alt.Y("low:Q", **y), y2="high:Q"))
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
    return math.log2(max(lengths) / min(lengths))


def _other_panel(alt: Any, arms: Sequence[Mapping[str, Any]], scale: Any, labelled: bool, width: int) -> Any:
    """Arms that have no place on the length axis, side by side."""
    lines = _labels([str(arm["name"]) for arm in arms])
    longest = max(len(line) for label in lines for line in label.split("\n"))
    # Names that would run into one another stand aslant, each on one line.
    slanted = width / (len(lines) + 0.5) < 6.2 * longest
    shown = "replace(datum.value, /\\n/g, '')" if slanted else "split(datum.value, '\\n')"
    aslant = {"labelAngle": -40, "labelAlign": "right"} if slanted else {"labelAngle": 0}
    axis = alt.Axis(
        labelExpr=shown, ticks=False, labelPadding=6, grid=False, labelLimit=130 if slanted else 200, **aslant,
        labelOverlap=False,
    )  # fmt: skip
    title = "controls and baseline" if any(arm.get("role") != "arm" for arm in arms) and not labelled else "arm"
    x = alt.X("arm:N", sort=lines, axis=axis, title=title, scale=alt.Scale(padding=0.5))
    ticks = (
        alt.Axis(format=".0%", tickCount=6)
        if labelled
        else alt.Axis(labels=False, ticks=False, domain=False, tickCount=6)
    )
    y = {"scale": scale, "axis": ticks, "title": "accuracy" if labelled else None}
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
