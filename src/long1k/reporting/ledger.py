"""The truncation ledger: what was cut or left out between the sources and the outputs, as lines and as a picture."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from long1k.reporting import text
from long1k.reporting.drawing import BASELINE, CONTROL, MUTED, data, tips
from long1k.reporting.figures import Figure

_ROWS = 24
_SEED = re.compile(r"/seed-\d+/")


def ledger_lines(lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The ledger's lines; tables of which the same is said stand in one line, their rows added up."""
    merged: dict[tuple[str, ...], dict[str, Any]] = {}
    for line in lines:
        known = (line["stage"], line["note"], str(line["cut"] is None), str(bool(line["cut"] or line["left_out"])))
        # What was cut is told table by table: which one, is the news.
        key = (*known, line["folder"]) if line["cut"] or line["left_out"] or line["reasons"] else known
        one = merged.setdefault(key, {**line, "rows": 0, "folders": []})
        one["rows"] += line["rows"]
        one["folders"].append(line["folder"])
    return [{**one, "folder": text.join_paths([f"{path}/" for path in one["folders"]])} for one in merged.values()]


def ledger_figure(lines: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Shares of rows that were cut or left out, seeds together, the most first; None where nothing was."""
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for line in lines:
        where = _SEED.sub("/", line["folder"]).removeprefix("arms/")
        one = merged.setdefault((line["stage"], where), {"rows": 0, "cut": 0, "left_out": 0})
        for key in one:
            one[key] += line[key] or 0
    rows = []
    for (stage, where), one in merged.items():
        for what, key in (("cut", "cut"), ("left out", "left_out")):
            if one[key] and one["rows"] + one["left_out"]:
                # Rows of a table are those that stayed; what was left out of it comes on top.
                total = one["rows"] + (one["left_out"] if what == "left out" else 0)
                rows.append(
                    {"where": text.clean(text.one_line(where, 48)), "stage": stage, "what": what,
                     "share": 100 * one[key] / max(1, total), "said": f"{one[key]:,} of {total:,}",
                     "count": one[key], "of": total}
                )  # fmt: skip
    if not rows:
        return None
    rows.sort(key=lambda row: (-row["share"], row["where"]))
    shown = rows[:_ROWS]
    spoken = "; ".join(f"{row['where']}: {row['said']} {row['what']}" for row in shown)
    listed = [
        {"table": r["where"], "stage": r["stage"], "what": r["what"], "rows": r["count"], "of": r["of"]} for r in rows
    ]
    return Figure("ledger", f"Rows cut or left out, per cent: {spoken}.", lambda width: _chart(shown, width), listed)


def _chart(rows: Sequence[Mapping[str, Any]], width: int) -> Any:
    import altair as alt

    order = [{**row, "row": at} for at, row in enumerate(rows)]
    top = min(100.0, 1.1 * max(row["share"] for row in rows))
    x = alt.X("share:Q", title="rows, %", scale=alt.Scale(domain=[0, top], nice=False), axis=alt.Axis(tickCount=6))
    base = alt.Chart(data(alt, order)).encode(
        y=alt.Y("row:O", axis=None, scale=alt.Scale(padding=0.1)),
        tooltip=tips(alt, where="table", stage="stage", what="what", said="rows"),
    )
    whats = list(dict.fromkeys(row["what"] for row in rows))
    colours = alt.Scale(domain=whats, range=[CONTROL if what == "cut" else BASELINE for what in whats])
    legend = alt.Legend(title=None, orient="bottom") if len(whats) > 1 else None
    bars = base.mark_bar(height=9, yOffset=8).encode(x=x, color=alt.Color("what:N", scale=colours, legend=legend))
    names = base.transform_calculate(name="datum.where + ': ' + datum.said + ' ' + datum.what").mark_text(
        align="left", baseline="middle", dy=-7, fontSize=11, color=MUTED
    ).encode(x=alt.value(0), text="name:N")  # fmt: skip
    return alt.layer(bars, names).properties(width=width - 24, height=32 * len(order))
