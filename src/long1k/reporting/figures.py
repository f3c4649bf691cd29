"""A figure: one chart, its data and what it says; shown still, alive in the page, and as files beside it."""

from __future__ import annotations

import csv
import io
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from long1k.reporting import drawing, text
from long1k.reporting.scripts import packed_block
from long1k.tables import write_atomic

WIDE, HALF, NARROW = 620, 380, 340
"""Widths in pixels for which figures are drawn: wide screens, half of one, narrow screens."""
INCHES_A_PIXEL = 5.5 / WIDE
"""A wide figure is as wide as the text of a page of one column, a half one as a column of two; type of 7 points."""
DPI = 300
KINDS = ("svg", "png", "pdf", "csv")
_RESOURCES = re.compile(rb"(?:^ +/\w+ \d+ 0 R\n){2,}", re.MULTILINE)
_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a reader chooses of a figure: one value of a chart's parameter, or (``many``) which series are shown."""

    parameter: str
    label: str
    options: tuple[str, ...]
    many: bool = False


@dataclass(frozen=True, slots=True)
class Figure:
    """One chart.

    Args:
        name: of its files.
        words: what it shows, for those who cannot see it.
        draw: makes the Altair chart for a width in pixels.
        rows: its data, as they stand in the file beside it.
        choices: what a reader may choose.
        width: of its files, in pixels.
        source: where its rows lie, relative to the run.
    """

    name: str
    words: str
    draw: Callable[[int], Any]
    rows: Sequence[Mapping[str, Any]]
    choices: tuple[Choice, ...] = ()
    width: int = WIDE
    source: str = "analyze/findings.json"
    specs: dict[int, dict[str, Any]] = field(default_factory=dict, compare=False)
    stills: dict[int, str] = field(default_factory=dict, compare=False)

    def spec(self, width: int) -> dict[str, Any]:
        """The figure's specification for a width in pixels; made once."""
        if width not in self.specs:
            self.specs[width] = drawing.drawn(self.draw, width)
        return self.specs[width]

    def still(self, width: int) -> str:
        """The figure as one <svg> element; made once."""
        if width not in self.stills:
            self.stills[width] = drawing.svg_of(self.spec(width), self.words)
        return self.stills[width]


@dataclass
class Album:
    """The figures of a page, each under a name of its own."""

    figures: list[Figure] = field(default_factory=list)
    folder: str = "figures"

    def add(self, figure: Figure | None, widths: tuple[int, ...] = (WIDE, NARROW)) -> dict[str, Any] | None:
        """Take a figure in; what the template shows of it, None without one."""
        from dataclasses import replace

        from markupsafe import Markup

        if figure is None:
            return None
        name, taken = slug(figure.name), {one.name for one in self.figures}
        while name in taken:
            name += "-again"
        figure = replace(figure, name=name)
        self.figures.append(figure)
        # The drawings come from a parser that has escaped every name in them.
        stills = [Markup(figure.still(width)) for width in dict.fromkeys(widths)]
        return {
            "name": name, "stills": stills, "source": figure.source,
            "files": [(kind, f"{self.folder}/{name}.{kind}") for kind in KINDS],
        }  # fmt: skip

    def block(self) -> Any:
        """The specifications for the page's scripts, compressed; nothing without figures."""
        from markupsafe import Markup

        if not self.figures:
            return Markup("")
        made = {
            one.name: {
                "words": text.clean(one.words),
                "wide": one.spec(WIDE), "narrow": one.spec(NARROW),
                "choices": [
                    {"parameter": c.parameter, "label": c.label, "options": list(c.options), "many": c.many}
                    for c in one.choices
                ],
            }
            for one in self.figures
        }  # fmt: skip
        return packed_block("figures-data", made)

    def write(self, out: Path) -> list[Path]:
        """Write every figure as SVG, PNG and PDF with its data as CSV; the paths, equal bytes for equal figures.

        The folder of the figures holds nothing else afterwards.
        """
        import vl_convert as vlc

        folder = out / self.folder
        shutil.rmtree(folder, ignore_errors=True)  # what a writing that was killed left there
        if self.figures:
            folder.mkdir(parents=True, exist_ok=True)
        written = []
        for one in self.figures:
            svg = drawing.on_white(one.still(one.width), INCHES_A_PIXEL)
            made = {
                "svg": svg.encode("utf-8", "replace"),
                "png": vlc.svg_to_png(svg, scale=72 / 96, ppi=DPI),
                # The drawing's pixels, 96 an inch, are taken for points there.
                "pdf": in_order(vlc.svg_to_pdf(drawing.on_white(one.still(one.width), INCHES_A_PIXEL * 72 / 96))),
                "csv": csv_of(one.rows).encode("utf-8", "replace"),
            }
            for kind, content in made.items():
                path = folder / f"{one.name}.{kind}"
                write_atomic(path, content)
                written.append(path)
        return written


def in_order(pdf: bytes) -> bytes:
    """A PDF with the names in each of its lists of resources sorted; they come in another order each time.

    Every list keeps its length, so that no offset in the file changes.
    """
    return _RESOURCES.sub(lambda found: b"".join(sorted(found[0].splitlines(keepends=True))), pdf)


def slug(name: str) -> str:
    """A name that can stand in a file's name and an address."""
    return _NAME.sub("-", name.lower()).strip("-")[:60] or "figure"


def csv_of(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows as CSV, in the order of their columns' first appearance; what is not known is empty."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    made = io.StringIO()
    writer = csv.writer(made, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow(["" if (value := row.get(name)) is None else text.clean(value) for name in names])
    return made.getvalue()
