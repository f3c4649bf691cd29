"""Training curves: the loss of every arm over its steps, from metrics.jsonl beside each checkpoint."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from long1k.reporting.drawing import COLOURS, data, tips
from long1k.reporting.figures import Choice, Figure
from long1k.reporting.text import clean, known, one_line

METRICS = "metrics.jsonl"
_POINTS = 80


def read_losses(file: Path) -> list[tuple[float, float, float | None]]:
    """(step, loss, tokens so far) of every step of a training; a line that is not whole ends it."""
    found: list[tuple[float, float, float | None]] = []
    try:
        with file.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if known(row.get("step")) and known(row.get("loss")):
                    tokens = row.get("tokens")
                    found.append((row["step"], row["loss"], tokens if known(tokens) else None))
    except (OSError, ValueError, AttributeError):
        pass
    return found


def thinned(points: Sequence[tuple[float, float, float | None]], most: int = _POINTS) -> list[dict[str, float | None]]:
    """At most ``most`` points: each the mean loss of the steps up to it, so that no peak is shown as the rule."""
    size = max(1, -(-len(points) // most))
    made: list[dict[str, float | None]] = []
    for start in range(0, len(points), size):
        some = points[start : start + size]
        made.append({"step": some[-1][0], "loss": sum(p[1] for p in some) / len(some), "tokens": some[-1][2]})
    return made


def losses_figure(root: Path, trained: Mapping[str, Sequence[str]]) -> Figure | None:
    """Loss over steps, a line for each arm and seed; None where no metrics lie.

    Args:
        root: folder of the run.
        trained: arm -> folders of its checkpoints, relative to root.
    """
    rows = list(_rows(root, trained))
    if not rows:
        return None
    names = tuple(dict.fromkeys(row["arm"] for row in rows))
    ends = {(row["arm"], row["folder"]): row for row in rows}
    spoken = "; ".join(f"{arm}: {row['loss']:.3f} at step {row['step']:,.0f}" for (arm, _), row in ends.items())
    listed = [{key: row[key] for key in ("arm", "folder", "step", "tokens", "loss")} for row in rows]
    return Figure(
        "training", f"Training loss, last of each line: {spoken}.", lambda width: _chart(rows, names, width), listed,
        choices=(Choice("hidden", "Shown", names, many=True),) if len(names) > 1 else (),
        source=f"{METRICS} beside each checkpoint",
    )  # fmt: skip


def _rows(root: Path, trained: Mapping[str, Sequence[str]]) -> Iterator[dict[str, Any]]:
    for arm, folders in trained.items():
        for folder in folders:
            for point in thinned(read_losses(root / folder / METRICS)):
                loss, step = point["loss"], point["step"]
                yield {
                    "arm": clean(one_line(arm, 40)), "folder": clean(folder), **point, "said": f"{loss:.4f}",
                    "at": f"{step:,.0f}",
                }  # fmt: skip


def _chart(rows: Sequence[Mapping[str, Any]], names: Sequence[str], width: int) -> Any:
    import altair as alt

    scale = alt.Scale(domain=list(names), range=[COLOURS[at % len(COLOURS)] for at in range(len(names))])
    dashes = ([1, 0], [7, 3], [2, 2], [9, 3, 2, 3])
    # More arms than colours: the next seven are told apart by their dashes.
    forms = alt.Scale(domain=list(names), range=[dashes[at // len(COLOURS) % 4] for at in range(len(names))])
    legend = alt.Legend(title=None, orient="bottom", columns=2 if width < 450 else 4, labelLimit=width // 3)
    low = min(row["loss"] for row in rows)
    kind = {"type": "log", "nice": False} if low > 0 else {"zero": False}
    base = alt.Chart(data(alt, rows)).transform_filter("indexof(hidden, datum.arm) < 0").encode(
        x=alt.X("step:Q", title="optimiser steps", axis=alt.Axis(format=",d", tickCount=6, grid=False)),
        y=alt.Y("loss:Q", title="training loss" + (" (log scale)" if low > 0 else ""), scale=alt.Scale(**kind)),
        color=alt.Color("arm:N", scale=scale, legend=legend), detail="folder:N",
    )  # fmt: skip
    line = base.mark_line(strokeWidth=1.3, opacity=0.8).encode(strokeDash=alt.StrokeDash("arm:N", scale=forms))
    # Points that are not seen, but found by the pointer.
    dots = base.mark_point(filled=True, size=40, opacity=0.001).encode(
        tooltip=tips(alt, arm="arm", at="step", said="loss", folder="checkpoint")
    )
    return alt.layer(line, dots).add_params(alt.param(name="hidden", value=[])).properties(width=width - 70, height=280)
