"""Checks a built site: nothing that a page loads comes from the network, and every link between pages leads somewhere.

python scripts/check_site.py site
"""

from __future__ import annotations

import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_LOADS = {"script": "src", "img": "src", "iframe": "src", "source": "src", "link": "href"}
_HARMLESS = {"canonical", "prev", "next", "alternate"}  # links that a browser does not follow by itself


class Page(HTMLParser):
    """What a page loads, where it leads, and the places in it that can be led to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.places: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note one element."""
        given = dict(attrs)
        self.places.update(value for name in ("id", "name") if (value := given.get(name)))
        address = given.get(_LOADS.get(tag, ""))
        if address and not (tag == "link" and given.get("rel") in _HARMLESS):
            self.loads.append(address)
        if tag == "a" and (href := given.get("href")):
            self.links.append(href)


def faults(site: Path) -> list[str]:
    """Everything that is wrong, one line each."""
    pages = {path: Page(path) for path in sorted(site.rglob("*.html"))}
    found = [] if pages else [f"{site} has no pages"]
    for path, page in pages.items():
        name = path.relative_to(site)
        found += [f"{name} loads {one}" for one in page.loads if urlsplit(one).netloc]
        if name.name == "404.html":  # its addresses begin at the root of a server
            continue
        for link in (*page.loads, *page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / unquote(parts.path)).resolve() if parts.path else path.resolve()
            if not target.exists():
                found.append(f"{name}: {link} leads nowhere")
            elif target.suffix == ".html" and unquote(parts.fragment) not in pages[site.resolve() / target].places:
                found.append(f"{name}: {link}: no such place")
    return found


def main() -> int:
    """Print what is wrong; 1 if anything is."""
    found = faults(Path(sys.argv[1]).resolve())
    print("\n".join(found) or "the site loads nothing from the network, and every link leads somewhere")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
