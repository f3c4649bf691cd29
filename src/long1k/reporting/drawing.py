"""From a chart to what can be shown: a still SVG, or a specification that a page brings to life.

Colours are few and fixed, so that the page's style sheet can turn them over for dark screens: it knows them by name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from typing import Any
from xml.etree import ElementTree

from long1k.reporting.text import clean

INK, MUTED, GRID = "#1f2428", "#5b6470", "#e3e6ea"
RUNG, CONTROL, BASELINE = "#1d5fd0", "#b4460a", "#6f42a5"
OTHERS = ("#2d7d46", "#8a6d00", "#a3165f", "#00757d")
COLOURS = (RUNG, CONTROL, BASELINE, *OTHERS)
FONT = "Helvetica, Arial, Liberation Sans, sans-serif"
_SVG = "http://www.w3.org/2000/svg"


# Rows by name while a chart is made: Altair copies a chart at every step, with all that is in it.
_rows: ContextVar[dict[str, list[dict[str, Any]]] | None] = ContextVar("rows", default=None)


def data(alt: Any, rows: Sequence[Mapping[str, Any]]) -> Any:
    """Rows as a chart's data."""
    values, held = [dict(row) for row in rows], _rows.get()
    if held is None:
        return alt.Data(values=values)
    name = next((name for name, known in held.items() if known == values), f"rows-{len(held)}")
    held[name] = values
    return alt.NamedData(name=name)


def drawn(draw: Callable[[int], Any], width: int) -> dict[str, Any]:
    """The specification of a chart that ``draw`` makes for a width, every table of rows in it once."""
    held: dict[str, list[dict[str, Any]]] = {}
    token = _rows.set(held)
    try:
        return {**spec_of(draw(width)), "datasets": held}
    finally:
        _rows.reset(token)


def tips(alt: Any, **fields: str) -> list[Any]:
    """What is said of a mark under the pointer: field = title; every field is a text."""
    return [alt.Tooltip(f"{field}:N", title=title) for field, title in fields.items()]


def spec_of(chart: Any, padding: int = 6) -> dict[str, Any]:
    """The chart's Vega-Lite specification in the page's type and colours."""
    axis = {"gridColor": GRID, "domainColor": MUTED, "tickColor": MUTED, "labelColor": MUTED, "titleColor": INK}
    axis |= {"labelFont": FONT, "titleFont": FONT, "titleFontWeight": "normal"}
    chart = chart.configure(background="transparent", padding=padding, font=FONT).configure_view(stroke=None)
    chart = chart.configure_axis(labelFontSize=11, titleFontSize=11.5, titlePadding=8, **axis)
    # Legends are written in the colour of the text by the style sheet's rule for it, on dark screens too.
    chart = chart.configure_legend(labelColor=INK, labelFontSize=11, titleColor=INK)
    made: dict[str, Any] = chart.to_dict(validate=False)
    # Nothing in the page names an address, not even that of the schema.
    return {key: value for key, value in made.items() if key != "$schema"}


def svg_of(spec: Mapping[str, Any], words: str) -> str:
    """A specification as one <svg> element with a spoken label, equal bytes for equal charts."""
    import vl_convert as vlc

    # The drawing is taken apart and put together by a parser: names of arms are in it, and no
    # pattern on the raw text could be trusted to stay inside one attribute.
    root = ElementTree.fromstring(vlc.vegalite_to_svg(dict(spec)))
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


def on_white(svg: str, inches_a_pixel: float | None = None) -> str:
    """The drawing on a white ground, as a file of its own; its size in inches if one is given, then in one weight.

    A PDF numbers the fonts in it in another order each time: with one font there is one order.
    """
    root = ElementTree.fromstring(svg)
    ElementTree.register_namespace("", _SVG)
    root.insert(0, ElementTree.Element(f"{{{_SVG}}}rect", {"width": "100%", "height": "100%", "fill": "#ffffff"}))
    if inches_a_pixel is not None:
        for node in root.iter():
            node.attrib.pop("font-weight", None)
        for side in ("width", "height"):
            root.set(side, f"{float(root.attrib[side]) * inches_a_pixel:.3f}in")
    return ElementTree.tostring(root, encoding="unicode") + "\n"


def _drop_empty(node: Any) -> None:
    """Take out groups and paths that draw nothing."""
    for child in list(node):
        _drop_empty(child)
        hidden = child.get("display") == "none" or child.get("opacity") == "0"
        bare = child.tag == "path" and not any(k in child.attrib for k in ("fill", "stroke"))
        if hidden or bare or (child.tag == "g" and len(child) == 0):
            node.remove(child)
