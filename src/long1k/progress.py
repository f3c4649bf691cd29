"""Progress on long work: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

SILENT = "LONG1K_NO_PROGRESS"  # set in processes that work side by side: their bars would overwrite each other


class Step(Protocol):
    """Tells a progress bar how far the work is."""

    def __call__(self, done: int, note: str = "") -> None:
        """Add ``done`` units; ``note`` replaces the text at the end of the bar."""
        ...


def _silent(done: int, note: str = "") -> None:
    del done, note


@contextmanager
def progress(title: str, total: int | None) -> Iterator[Step]:
    """A bar titled ``title`` over ``total`` units (None: unknown) while the block runs."""
    if not sys.stderr.isatty() or os.environ.get(SILENT):
        yield _silent
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(), TextColumn("{task.fields[note]}"),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(title, total=total, note="")

        def step(done: int, note: str = "") -> None:
            bar.update(task, advance=done, note=note)

        yield step
