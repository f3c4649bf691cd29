"""The page as one HTML text: template, style sheet, and a policy that lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from long1k.reporting import text

HERE = Path(__file__).resolve().parent


def render(context: Mapping[str, Any]) -> str:
    """The page of a context; every text in it is escaped, every invisible character made visible."""
    import jinja2
    from markupsafe import Markup

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined, finalize=text.clean,
    )  # fmt: skip
    environment.filters.update(
        count=text.count, percent=text.percent, points=text.points, bounds=text.bounds, one_line=text.one_line
    )
    # Our own file, no text of a row: it may stand as it is.  Its hash is all the policy allows.
    style = (HERE / "style.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    page = environment.get_template("page.html.j2").render(
        **context, style=Markup(style), style_digest=Markup(digest), nothing=text.NOTHING
    )
    return page if page.endswith("\n") else page + "\n"


def design_digest() -> str:
    """SHA-256 of what decides how a page looks, so that a changed design makes it anew."""
    hasher = hashlib.sha256()
    for path in sorted(HERE.iterdir()):
        if path.suffix in (".py", ".j2", ".css"):
            hasher.update(path.name.encode() + b"\0" + path.read_bytes())
    return hasher.hexdigest()
