"""The page's own scripts and data blocks, and the policy that lets nothing else run.

Every script stands in the page and is allowed by its hash alone.  Side files (texts of a large study) are scripts
in a folder beside the page, which hold nothing but one call with compressed text; `'self'` lets them load,
from a disk too, where a page may read no other file.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from markupsafe import Markup

WEB = Path(__file__).resolve().parent / "web"
# In this order: later ones use what the earlier define on `window.long1k`.
OWN_SCRIPTS = (
    "core.js", "page.js", "charts.js", "forms.js", "tables.js", "reader-data.js", "reader-math.js", "reader-text.js",
    "reader-list.js", "reader-view.js", "reader-filters.js", "reader.js",
)  # fmt: skip
OWN_STYLES = ("style.css", "reader.css")


def own_scripts() -> list[str]:
    """The page's scripts, those of `OWN_SCRIPTS` that the package holds."""
    return [(WEB / name).read_text(encoding="utf-8") for name in OWN_SCRIPTS if (WEB / name).is_file()]


def own_style() -> str:
    """The page's style sheet, of `OWN_STYLES` those that the package holds."""
    return "\n".join((WEB / name).read_text(encoding="utf-8") for name in OWN_STYLES if (WEB / name).is_file())


@functools.cache
def vega_bundle() -> str:
    """Vega-Lite with all it needs, about 0.9 MB, as `long1kEmbed(element, spec, options)`; taken from vl-convert.

    Its expressions must be interpreted (`ast: true`): the policy lets no text be made into a program.
    """
    import vl_convert

    bundle = vl_convert.javascript_bundle("window.long1kEmbed = vegaEmbed;")
    # In a function of its own: its names would otherwise be those of the whole page.
    return "(() => {\n" + bundle.replace("</script", "<\\/script") + "\n})();\n"


def source_hash(text: str) -> str:
    """The hash by which a policy names a script or a style that stands in the page."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def policy(scripts: list[str], style: str) -> str:
    """The page's Content-Security-Policy: these scripts and this style by hash, files beside the page, else nothing."""
    allowed = " ".join([*(source_hash(script) for script in scripts), "'self'"]) if scripts else "'none'"
    return (
        f"default-src 'none'; script-src {allowed}; style-src {source_hash(style)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )


def data_block(name: str, value: Any) -> Markup:
    """A value for the scripts, as JSON in a block that is never run: `long1k.data(name)` reads it."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    # No text of a row can end the block, or open a comment: every bracket is written as an escape.
    safe = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(f'<script type="application/json" id="{name}">{safe}</script>')


def packed_block(name: str, value: Any) -> Markup:
    """A value for the scripts, as compressed JSON: `await long1k.packed(name)` reads it."""
    return Markup(f'<script type="text/plain" id="{name}">{packed(value)}</script>')


def packed(value: Any) -> str:
    """JSON of a value, compressed, in base 64; equal values give equal texts (no time is written)."""
    raw = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False).encode()
    return base64.b64encode(gzip.compress(raw, 6, mtime=0)).decode()
