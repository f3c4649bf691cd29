"""The picture of a page that README shows.

python -m scripts.take_screenshot runs/quickstart/report/report.html docs/page.png
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.browser_path import chromium

WIDTH, HEIGHT = 1180, 900


def main() -> None:
    """Open the page in a browser and write what the first screen shows, then what its first chart shows below it."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path)
    parser.add_argument("picture", type=Path)
    parser.add_argument("--at", default="", help="id of what shall stand at the top; default: the page's beginning")
    given = parser.parse_args()
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        page.goto(given.page.resolve().as_uri() + (f"#{given.at}" if given.at else ""))
        page.wait_for_timeout(1500)  # charts are drawn when they come into view
        page.screenshot(path=given.picture)
        browser.close()
    print(f"{given.picture}: {given.picture.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
