"""The balance table: what every arm's data and training really hold, and what else differs between arms.

A row is one arm and seed.  A control, a rung and a set are each compared with the arm they stand
against: columns that should be equal by design (a mismatch is marked), columns that are varied on purpose, and the
rest, which differs though nobody asked for it: the confounders.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from long1k.arm_contrasts import EQUAL, VARIED
from long1k.arm_controls import TOLERANCE
from long1k.arms import Arm, optimiser_steps
from long1k.tables import write_atomic
from long1k.wide import WIDTH

Row = dict[str, Any]

# key -> (heading, what it is).  Shares are mappings of name to share, compared by total variation distance.
COLUMNS: dict[str, tuple[str, str]] = {
    "samples": ("samples", "samples made"),
    "target": ("target", "tokens asked of a sample"),
    "tokens": ("tokens", "tokens of all samples"),
    "mean_tokens": ("mean", "tokens of a sample, mean"),
    "supervised_tokens": ("supervised", "tokens that carry loss, over all samples"),
    "prompt_tokens": ("prompt", "tokens of a sample's prompt, mean"),
    "problems": ("problems", "problems in all samples, repetitions counted"),
    "unique_problems": ("unique", "different problems"),
    "unique_traces": ("traces", "different traces"),
    "parts": ("parts", "traces a sample, mean"),
    "subjects": ("domains", "share of traces by subject"),
    "difficulty": ("difficulty", "mean difficulty, where four fifths of the traces or more have one"),
    "correct_share": ("correct", "share of traces whose answer agrees with gold"),
    "teachers": ("teachers", "share of traces by teacher"),
    "licenses": ("licences", "share of traces by licence"),
    "steps": ("steps", "optimiser steps"),
    "batch_size": ("batch", "samples a step"),
    "tokens_a_step": ("tokens/step", "tokens a step, mean"),
    "tokens_trained": ("trained on", "tokens of all steps"),
}
MOST_KNOWN = 0.8
"""Least share of traces with a known difficulty for which an arm's mean is shown and compared."""
_SHARES = ("subjects", "teachers", "licenses")
_TERMINAL = ("samples", "target", "tokens", "problems", "unique_problems", "parts", "prompt_tokens", "difficulty",
             "correct_share", "steps", "tokens_a_step")  # fmt: skip


def balance_row(arm: Arm, balance: Mapping[str, Any] | None, seed: int = 0) -> Row:
    """One row of the table.

    Args:
        arm: what was asked for, with its training.
        balance: what synthesize says of the samples it made; None for an arm without samples.
    """
    row: Row = {
        "arm": arm.name, "kind": "rejoined" if arm.rejoins else arm.kind, "role": arm.role, "seed": seed,
        "against": arm.against,
        "description": arm.description, **dict.fromkeys(COLUMNS),
    }  # fmt: skip
    if not balance or not balance["samples"]:
        return row
    samples, difficulty = balance["samples"], balance["difficulty"] or {}
    # Of a few traces that happen to have one, a mean says nothing of the arm.
    mean_difficulty = difficulty.get("mean") if difficulty.get("known", 1.0) >= MOST_KNOWN else None
    mean = balance["tokens"] / samples
    row |= {
        "samples": samples, "target": arm.target_tokens, "tokens": balance["tokens"], "mean_tokens": mean,
        "supervised_tokens": balance["supervised_tokens"], "prompt_tokens": balance["prompt_tokens_mean"],
        "problems": balance["problems"], "unique_problems": balance["unique_problems"],
        "unique_traces": balance["unique_traces"], "parts": balance["parts_mean"], "subjects": balance["subjects"],
        "difficulty": mean_difficulty, "correct_share": balance["correctness"].get("correct", 0.0),
        "teachers": balance["teachers"], "licenses": balance["licenses"], "difficulty_detail": difficulty,
        "tokens_quantiles": balance["tokens_quantiles"],
    }  # fmt: skip
    if arm.train is not None:
        steps = optimiser_steps(arm.train, samples)
        row |= {"steps": steps, "batch_size": arm.train.batch_size}
        if arm.train.packing is None and steps is not None:
            row["tokens_a_step"] = arm.train.batch_size * mean
            row["tokens_trained"] = steps * arm.train.batch_size * mean
    return row


def distance(a: Any, b: Any) -> float | None:
    """How far a value is from b's: relative for numbers, total variation for shares; None where unknown."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return 0.5 * sum(abs(float(a.get(name, 0)) - float(b.get(name, 0))) for name in {*a, *b})
    if a is None or b is None or isinstance(a, Mapping) or isinstance(b, Mapping):
        return None
    if b == 0:
        return 0.0 if a == 0 else None
    return float(a / b - 1)


def differences(rows: Sequence[Row], tolerance: float = TOLERANCE) -> list[Row]:
    """What differs between each arm and the one it stands against, the worst over seeds.

    Returns:
        One entry a column: arm, against, column, value and other (of the seed where they differ most),
        difference, and design: ``equal`` (should not differ; ``ok`` says whether it stays within
        the tolerance), ``varied`` (on purpose) or ``confounded`` (more than the tolerance, unasked).
    """
    by_cell = {(row["arm"], row["seed"]): row for row in rows}
    found: list[Row] = []
    for name in dict.fromkeys(row["arm"] for row in rows if row["against"] is not None):
        own = [row for row in rows if row["arm"] == name and (row["against"], row["seed"]) in by_cell]
        for column in COLUMNS:
            worst: Row | None = None
            for row in own:
                other = by_cell[row["against"], row["seed"]]
                a, b = row[column], other[column]
                if a is None and b is None:
                    continue
                entry = _entry(row, column, a, b, tolerance)
                if worst is None or _size(entry) > _size(worst):
                    worst = entry
            if worst is not None and (worst["design"] != "confounded" or not worst["ok"]):
                found.append(worst)
    return found


def _entry(row: Row, column: str, a: Any, b: Any, tolerance: float) -> Row:
    difference = distance(a, b)
    equal, varied = EQUAL.get(row["kind"], ()), VARIED.get(row["kind"], ())
    design = "equal" if column in equal else "varied" if column in varied else "confounded"
    return {
        "arm": row["arm"], "against": row["against"], "column": column, "value": a, "other": b,
        "difference": difference, "design": design, "ok": difference is not None and abs(difference) <= tolerance,
    }  # fmt: skip


def _size(entry: Row) -> float:
    return float("inf") if entry["difference"] is None else abs(float(entry["difference"]))


def cell(column: str, value: Any) -> str:
    """A value as the table shows it."""
    if value is None:
        return "–"
    if isinstance(value, Mapping):
        known = sorted(value.items(), key=lambda pair: (-pair[1], pair[0]))
        shown = ", ".join(f"{name} {100 * share:.0f} %" for name, share in known[:3])
        return shown + (f" + {len(known) - 3} more" if len(known) > 3 else "")
    if column == "correct_share":
        return f"{100 * value:.0f} %"
    if column in ("parts", "difficulty"):
        return f"{value:.2f}"
    return f"{value:,.0f}"


def table_rows(rows: Sequence[Row], columns: Sequence[str] = tuple(COLUMNS)) -> list[list[str]]:
    """The table as text, its headings first; the first seed of every arm."""
    table = [["arm", *(COLUMNS[column][0] for column in columns)]]
    shown: set[str] = set()
    for row in rows:
        if row["arm"] not in shown:
            shown.add(row["arm"])
            table.append([row["arm"], *(cell(column, row[column]) for column in columns)])
    return table


def difference_lines(entries: Sequence[Row]) -> list[str]:
    """A few lines for each pair of arms: what is equal by design, what should be and is not, what else differs."""
    lines = []
    for name, against in dict.fromkeys((entry["arm"], entry["against"]) for entry in entries):
        own = [entry for entry in entries if entry["arm"] == name]
        kept = [_said(e) for e in own if e["design"] == "equal" and e["ok"]]
        broken = [_said(e, both=True) for e in own if e["design"] == "equal" and not e["ok"]]
        varied = [_said(e) for e in own if e["design"] == "varied"]
        other = [_said(e, both=True) for e in own if e["design"] == "confounded"]
        lines.append(f"{name} against {against}")
        if kept:
            lines.append(f"  equal by design: {', '.join(kept)}")
        if broken:
            lines.append(f"  NOT EQUAL though it should be: {', '.join(broken)}")
        if varied:
            lines.append(f"  varied on purpose: {', '.join(varied)}")
        lines.append(f"  differs besides: {', '.join(other) if other else 'nothing by more than 3 %'}")
    return lines


def _said(entry: Row, both: bool = False) -> str:
    column = entry["column"]
    heading, difference = COLUMNS[column][0], entry["difference"]
    if difference is None:
        return f"{heading} {cell(column, entry['value'])} and {cell(column, entry['other'])}"
    if column in _SHARES and difference:
        return f"{heading} of {100 * difference:.0f} % of the traces"
    amount = f"{heading} {100 * difference:+.1f} %" if difference else f"{heading} ±0"
    return f"{amount} ({cell(column, entry['value'])} and {cell(column, entry['other'])})" if both else amount


def terminal_table(rows: Sequence[Row]) -> str:
    """The most needed columns for a terminal, and the differences below."""
    columns = [column for column in _TERMINAL if any(row[column] is not None for row in rows)]
    table = table_rows(rows, columns)
    widths = [max(len(line[at]) for line in table) for at in range(len(table[0]))]
    room = max(8, WIDTH - sum(widths[1:]) - 2 * len(widths[1:]))
    widths[0] = min(widths[0], room)
    text = []
    for name, *cells in table:
        if len(name) > room:  # its figures stand below it
            text.append(name)
            name = ""
        text.append("  ".join([name.ljust(widths[0]), *(c.rjust(w) for c, w in zip(cells, widths[1:], strict=True))]))
    return "\n".join([*text, "", *difference_lines(differences(rows))])


def markdown(rows: Sequence[Row]) -> str:
    """The whole table, what its columns are, and the differences."""
    columns = [column for column in COLUMNS if any(row[column] is not None for row in rows)]
    table = table_rows(rows, columns)
    lines = ["| " + " | ".join(_escaped(one) for one in line) + " |" for line in table]
    lines.insert(1, "|---" * len(table[0]) + "|")
    seeds = sorted({row["seed"] for row in rows})
    text = ["# Balance of the arms", "", *lines, ""]
    if len(seeds) > 1:
        text += [
            f"Shown is seed {rows[0]['seed']} of {len(seeds)}; differences below are the largest of all seeds.",
            "",
        ]
    text += ["## What the arms are", ""]
    text += [f"* {row['arm']}: {row['description']}" for row in rows if row["seed"] == rows[0]["seed"]]
    text += ["", "## What differs between arms besides what should", ""]
    for line in difference_lines(differences(rows)):
        text.append(f"  * {_escaped(line.strip())}" if line.startswith(" ") else f"* **{_escaped(line)}**")
    text += ["", "## Columns", "", *(f"* {COLUMNS[column][0]}: {COLUMNS[column][1]}" for column in columns), ""]
    return "\n".join(text)


def _escaped(text: str) -> str:
    """Names come from data: none may end a cell or open a tag."""
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())


def write_balance(folder: Path, rows: Sequence[Row]) -> bool:
    """Write balance.json and balance.md; a file that says the same already is left alone (False: both were)."""
    headings = {column: heading for column, (heading, _) in COLUMNS.items()}
    content = {"columns": headings, "rows": list(rows), "differences": differences(rows)}
    files = {"balance.json": json.dumps(content, indent=1, ensure_ascii=False), "balance.md": markdown(rows)}
    written = False
    for name, text in files.items():
        path = folder / name
        if not path.is_file() or path.read_bytes() != text.encode():
            write_atomic(path, text.encode())
            written = True
    return written
