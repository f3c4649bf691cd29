"""The page of a study of 1,000, 5,000 and 20,000 outputs of 4,000 tokens: time to make, to open, to scroll.

The peer is one HTML page with every text in it, as plain as can be; it is made and opened for the smaller studies.
Needs Chromium (LONG1K_BROWSER, or one on the path) and Playwright.
"""

from __future__ import annotations

import html
import resource
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

from scripts.browser_path import chromium

from bench.common import Row, timed
from bench.studies import write_study
from long1k.rows import Prediction
from long1k.stages.report import report
from long1k.tables import iter_columns

SIZES = (1000, 5000, 20_000)
_PLAIN = 5000  # of a larger study the plain page is too large to be opened in reasonable time
_READY = "document.documentElement.dataset.reader === 'ready'"
_FRAMES = """async () => {
  const text = document.querySelector('.trace');
  const times = [];
  let last = await new Promise(requestAnimationFrame);
  const step = Math.max(40, (text.scrollHeight - text.clientHeight) / 240);
  while (text.scrollTop + text.clientHeight < text.scrollHeight - 2 && times.length < 600) {
    text.scrollTop += step;
    const now = await new Promise(requestAnimationFrame);
    times.push(now - last);
    last = now;
  }
  return times;
}"""


def _plain(root: Path, out: Path) -> None:
    with out.open("w", encoding="utf-8") as page:
        page.write("<!doctype html><meta charset=utf-8><title>plain</title>")
        for folder in sorted(root.glob("arms/*/*/predict/*")):
            for row in iter_columns(folder, Prediction, ("prediction_id", "text")):
                page.write(f"<h2>{html.escape(row['prediction_id'])}</h2><pre>{html.escape(row['text'])}</pre>\n")


def _opened(browser: Any, path: Path, ready: str) -> tuple[float, Any]:
    """(seconds until the page is usable, the page)."""
    page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
    page.set_default_timeout(300_000)
    started = time.perf_counter()
    page.goto(path.resolve().as_uri(), timeout=300_000)
    page.wait_for_function(ready)
    return time.perf_counter() - started, page


def _in_reader(page: Any) -> tuple[float, list[float], float]:
    """(seconds to filter and sort the whole list, frame times of the longest trace in ms, seconds to open it)."""
    filtering = page.evaluate(
        "() => { const s = performance.now(); long1k.reader.shown.study.list({ status: 'wrong', sort: 'tokens' });"
        " return performance.now() - s; }"
    )
    longest = page.evaluate(
        "() => { const o = long1k.reader.shown.study.outputs; return o.id[o.tokens.indexOf(Math.max(...o.tokens))]; }"
    )
    started = time.perf_counter()
    page.evaluate("id => { location.hash = `#/output/${id}`; }", longest)
    page.wait_for_selector(".trace .chunk span")
    opening = time.perf_counter() - started
    return filtering / 1000, page.evaluate(_FRAMES), opening


def rows() -> list[Row]:
    """A line for each size of study."""
    from playwright.sync_api import sync_playwright

    made = []
    path = chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox", "--disable-gpu"])
        for outputs in SIZES:
            with tempfile.TemporaryDirectory() as folder:
                made.append(_measure(browser, Path(folder), outputs))
        browser.close()
    return made


def _measure(browser: Any, root: Path, outputs: int) -> Row:
    write_study(root, outputs)
    used = time.process_time()
    building, _ = timed(lambda: report(root / "report", root))
    used = time.process_time() - used
    page_file = root / "report" / "report.html"
    beside = sum(path.stat().st_size for path in (root / "report" / "texts").glob("*.js"))
    opening, page = _opened(browser, page_file, _READY)
    filtering, frames, trace = _in_reader(page)
    page.context.close()
    size = page_file.stat().st_size / 1e6
    plain_seconds, peer = opening, "no peer: the page itself"
    if outputs <= _PLAIN:
        plain = root / "plain.html"
        _plain(root, plain)
        plain_seconds, page = _opened(browser, plain, f"document.querySelectorAll('pre').length >= {outputs}")
        page.context.close()
        peer = f"one plain page of {plain.stat().st_size / 1e6:.0f} MB"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Row(
        f"page of a study, until its list can be used ({size:.2f} MB, {beside / 1e6:.0f} MB beside it)",
        f"{outputs:,} outputs of 4,000 tokens", opening, peer, plain_seconds, "5 MB; 20 ms a frame",
        f"made in {building:.1f} s ({used:.1f} s of a processor); filter and sort {1000 * filtering:.0f} ms",
        size <= 5 and median(frames) <= 20,
        f"a trace of 32,000 tokens opens in {1000 * trace:.0f} ms and scrolls with {median(frames):.1f} ms a frame "
        f"(worst {max(frames):.0f} ms of {len(frames)}); {memory:.0f} MiB at most while making",
    )  # fmt: skip


if __name__ == "__main__":
    for line in rows():
        print(line)
