"""Where the browser is that tests, measurements and pictures of the page drive."""

from __future__ import annotations

import functools
import os
import shutil
from pathlib import Path

_NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")


@functools.cache
def chromium() -> str:
    """Path of the browser: LONG1K_BROWSER, Chromium or Chrome on the path, or Playwright's own.

    Starts Playwright where none is on the path: to be called before it is started otherwise.
    """
    for name in (os.environ.get("LONG1K_BROWSER"), *_NAMES):
        if name and (found := shutil.which(name)):
            return found
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        if Path(playwright.chromium.executable_path).is_file():
            return playwright.chromium.executable_path
    raise RuntimeError("the page needs Chromium here: run `make test`, or sh scripts/make-browser.sh python")
