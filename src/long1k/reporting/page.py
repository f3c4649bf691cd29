"""The page as one HTML text: template, style sheet, scripts, and a policy that lets nothing else in."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from long1k.reporting import scripts, text
from long1k.reporting.figures import Album

HERE = Path(__file__).resolve().parent
# The headings of sections; no text of a row can be one, as its brackets are escaped.
_HEADING = re.compile(r'<h2 id="([\w-]+)">(.*?)</h2>')


def render(context: Mapping[str, Any], album: Album, template: str = "study.html.j2") -> str:
    """The page of a context; every text in it is escaped, every invisible character made visible.

    Args:
        album: the figures of the page; with any, what draws them comes with it.
        template: what stands in the page's main part.
    """
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, finalize=text.clean,
    )  # fmt: skip
    environment.filters.update(
        count=text.count,
        percent=text.percent,
        points_number=text.points_number,
        bounds=text.bounds,
        one_line=text.one_line,
    )
    body = environment.get_template(template).render(**context, nothing=text.NOTHING)
    # Our own files, no text of a row: they may stand as they are.  Their hashes are all the policy allows.
    style = scripts.own_style()
    programs = [*([scripts.vega_bundle()] if album.figures else []), *scripts.own_scripts()]
    page = environment.get_template("page.html.j2").render(
        name=context["name"], body=Markup(body),
        contents=[(id_, Markup(title)) for id_, title in _HEADING.findall(body)],
        figures=album.block(), style=Markup(style), programs=[Markup(program) for program in programs],
        policy=Markup(scripts.policy(programs, style)),
    )  # fmt: skip
    return page if page.endswith("\n") else page + "\n"


def design_digest() -> str:
    """SHA-256 of what decides how a page looks, so that a changed design makes it anew."""
    hasher = hashlib.sha256()
    for path in sorted([*HERE.iterdir(), *scripts.WEB.iterdir()]):
        if path.suffix in (".py", ".j2", ".css", ".js"):
            hasher.update(path.name.encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()
