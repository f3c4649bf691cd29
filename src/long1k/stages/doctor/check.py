"""One line of the doctor's report: what was looked at, what was found, what it means, how to mend it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "info", "warn", "fail"]
SHOWN = 8
"""Rows of evidence that are printed; all are in the JSON."""
_WIDTH = 100


@dataclass(frozen=True, slots=True)
class Check:
    """A finding; ``evidence`` are lines that show it, ``figures`` what it was computed from."""

    name: str
    status: Status
    text: str
    mend: str | None = None
    evidence: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    block: str = ""
    """Text printed as it is, under the line."""


def render(checks: Sequence[Check]) -> str:
    """The report, under 100 columns."""
    lines: list[str] = []
    for check in checks:
        head = f"{check.status.upper() if check.status in ('warn', 'fail') else check.status:<5}{check.name}: "
        lines += textwrap.wrap(check.text, _WIDTH, initial_indent=head, subsequent_indent="     ") or [head]
        if check.mend is not None and check.status in ("warn", "fail"):
            lines += textwrap.wrap(check.mend, _WIDTH, initial_indent="     -> ", subsequent_indent="        ")
        lines += [f"       {line}" for line in check.evidence[:SHOWN]]
        lines += [f"     | {line}" for line in check.block.splitlines()]
        if len(check.evidence) > SHOWN:
            lines.append(f"       … and {len(check.evidence) - SHOWN:,} more (--json shows all)")
    return "\n".join(lines)


def summary(checks: Sequence[Check]) -> str:
    """How many failed of those that could: a note can not."""
    count = {status: sum(check.status == status for check in checks) for status in ("info", "warn", "fail")}
    failed = f"{count['fail']:,} failed" if count["fail"] else "none failed"
    warned = f", {plural(count['warn'], 'warning')}" if count["warn"] else ""
    notes = f"; {plural(count['info'], 'note')}" if count["info"] else ""
    return f"{plural(len(checks) - count['info'], 'check')}, {failed}{warned}{notes}"


def plural(count: int, noun: str) -> str:
    """1 question, 2 questions."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def short(text: str, most: int = 60) -> str:
    """A text on one line, cut in its middle."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most // 2 - 1]} … {text[-most // 2 + 2 :]}"
