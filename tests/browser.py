"""A real browser for the tests of pages: what it says, what it asks for, what it shows.

The tests drive Chromium itself, from a page on disk.  One browser serves a process; each page gets a context of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Playwright, sync_playwright
from scripts.browser_path import chromium

_TIMEOUT_MS = 15_000
# Laid out without a GPU, alike on every machine; a container has no sandbox of its own to give.
_FLAGS = ("--no-sandbox", "--disable-gpu", "--font-render-hinting=none", "--force-color-profile=srgb")


@dataclass
class Watched:
    """An open page with everything it said and asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)

    def errors(self) -> list[str]:
        """Console errors and warnings, refused policies and uncaught errors."""
        return self.said

    def left(self) -> list[str]:
        """Requests to anything but files."""
        return [url for url in self.asked if not url.startswith(("file:", "data:", "blob:", "about:"))]

    def serious(self) -> list[dict[str, Any]]:
        """What axe-core calls a serious or critical violation, with the elements."""
        found = Axe().run(self.page).response["violations"]
        return [
            {
                "rule": v["id"],
                "impact": v["impact"],
                "help": v["help"],
                "where": [n["html"][:200] for n in v["nodes"][:5]],
            }
            for v in found
            if v["impact"] in ("serious", "critical")
        ]


_running: dict[str, Any] = {}


def _browser() -> Browser:
    if not _running:
        path = chromium()  # before the driver is started: it may start one of its own to ask
        playwright: Playwright = sync_playwright().start()
        try:
            browser = playwright.chromium.launch(executable_path=path, args=list(_FLAGS))
        except BaseException:
            playwright.stop()
            raise
        _running.update(playwright=playwright, browser=browser)
    return _running["browser"]


def stop_browser() -> None:
    """End the browser of this process, if one runs."""
    if _running:
        try:
            _running.pop("browser").close()
        finally:
            _running.pop("playwright").stop()


@contextmanager
def opened(
    path: Path, *, width: int = 1400, height: int = 900, dark: bool = False, **options: Any
) -> Iterator[Watched]:
    """A page of a file, opened from file://, with its console and requests watched."""
    context = _browser().new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        reduced_motion="reduce",
        **options,
    )
    try:
        page = context.new_page()
        page.set_default_timeout(_TIMEOUT_MS)
        watched = Watched(page)
        page.on(
            "console", lambda m: watched.said.append(f"{m.type}: {m.text}") if m.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: watched.said.append(f"uncaught: {error}"))
        page.on("request", lambda request: watched.asked.append(request.url))
        page.goto(path.resolve().as_uri())
        yield watched
    finally:
        context.close()
