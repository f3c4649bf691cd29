"""The page in a real browser: opened from the disk, nothing said, nothing asked for."""

from __future__ import annotations

from pathlib import Path

import pytest

from browser import opened
from long1k.stages.report import report
from test_report import HOSTILE, whole_run


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("run")
    whole_run(root)
    report(root / "report", root)
    return root / "report" / "report.html"


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("dark", [False, True])
def test_opens_without_a_word_and_asks_for_nothing(page: Path, width: int, dark: bool) -> None:
    with opened(page, width=width, dark=dark) as shown:
        assert shown.page.title().endswith("long1k report")
        shown.page.wait_for_function("document.documentElement.classList.contains('scripted')")
        assert shown.errors() == []
        assert shown.left() == []
        assert shown.serious() == []
        # Nothing is wider than the screen: what must be wide scrolls in a frame of its own.
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= width


def test_folded_parts_are_open_on_paper_and_without_scripts_of_the_page(page: Path) -> None:
    for scripts in (True, False):
        with opened(page, java_script_enabled=scripts) as shown:
            folded = shown.page.locator("main details:not([open]) > :is(.scroll, .card, .output, ul)").first
            assert not folded.is_visible()
            shown.page.emulate_media(media="print")
            assert folded.is_visible()


def test_hostile_texts_do_nothing(tmp_path: Path) -> None:
    whole_run(tmp_path, HOSTILE, 'L64 <script>alert("arm")< aria-label="')
    report(tmp_path / "report", tmp_path)
    with opened(tmp_path / "report" / "report.html") as shown:
        opened_dialogs: list[str] = []
        shown.page.on("dialog", lambda dialog: opened_dialogs.append(dialog.message))
        assert shown.page.locator("img").count() == 0
        assert "<script>alert(1)</script>" in shown.page.locator("main").inner_text()
        assert opened_dialogs == []
        assert shown.errors() == []
        assert shown.left() == []
