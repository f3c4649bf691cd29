"""The page's tables in a real browser: sorted, filtered, taken along as text; no cell leaves its place."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator

from browser import Watched, opened
from long1k.stages.report import report
from test_report import arm, interval, put_findings

ODD = ['a|b', "c & d % $ # _ { } ~ ^ \\", '=HYPERLINK("x")', 'say "x", y', "+cmd", "<b>bold</b>", "`code` *stars*", "−3", "@at", "[x](y)"]  # fmt: skip
_CATCH = "() => { navigator.clipboard.writeText = (text) => { window.caught = text; return Promise.resolve(); }; }"
_REFUSE = "() => { navigator.clipboard.writeText = () => Promise.reject(new Error('refused')); }"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tables")
    arms = [arm(name, "arm", None, 0.09 * at + 0.05, seeds=1) for at, name in enumerate(ODD)]
    arms.append(
        arm("none", "arm", None, 0.001, seeds=1, cut_frac=None, accuracy=interval(1.0, None, "no interval here"))
    )
    entry = {"benchmark": "bench", "questions": 4, "arms": arms, "law": None, "contrasts": [], "verdict": []}
    put_findings(root, {"name": "s", "benchmarks": [entry]})
    report(root / "report", root)
    return root / "report" / "report.html"


@pytest.fixture
def shown(path: Path) -> Iterator[Watched]:
    with opened(path) as page:
        yield page
        assert page.errors() == []
        assert page.left() == []


def table(shown: Watched) -> Locator:
    return shown.page.locator("main table", has_text="Accuracy of every arm")


def column(shown: Watched, at: int) -> list[str]:
    cells: list[str] = table(shown).locator("tbody tr:visible").evaluate_all(
        "(rows, at) => rows.map((row) => row.cells[at].textContent.trim())", at
    )  # fmt: skip
    return cells


def said(shown: Watched) -> str:
    return shown.page.locator("#said").inner_text()


def test_sorts_by_the_number_in_a_cell_and_back(shown: Watched) -> None:
    first = column(shown, 0)
    head = table(shown).locator("thead th", has_text="accuracy")
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    assert "Sorted by accuracy, ascending." in said(shown)
    values = [float(re.match(r"[\d.]+", cell)[0]) for cell in column(shown, 2)]  # type: ignore[index]
    assert values == sorted(values)
    assert values[-1] == 100  # by its value, not by its first digit
    head.get_by_role("button").press("Enter")
    assert head.get_attribute("aria-sort") == "descending"
    assert [float(re.match(r"[\d.]+", cell)[0]) for cell in column(shown, 2)] == values[::-1]  # type: ignore[index]
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    assert column(shown, 0) == first


def test_what_is_not_known_comes_last_both_ways(shown: Watched) -> None:
    head = table(shown).locator("thead th", has_text="cut")
    at = table(shown).locator("thead th").evaluate_all("all => all.findIndex(one => one.textContent.trim() === 'cut')")
    for _ in range(2):
        head.get_by_role("button").click()
        assert column(shown, at)[-1] == "–"


def test_filters_rows_by_their_words(shown: Watched) -> None:
    box = shown.page.get_by_role("searchbox", name=re.compile("Accuracy of every arm"))
    box.fill("STARS code")
    assert column(shown, 0) == ["`code` *stars*"]
    assert "1 of 11 rows" in said(shown)
    box.fill("no such row")
    assert column(shown, 0) == []
    box.fill("")
    assert len(column(shown, 0)) == 11


def content(shown: Watched) -> dict[str, Any]:
    found: dict[str, Any] = table(shown).evaluate("(one) => window.long1k.contentOf(one)")
    return found


def copied(shown: Watched, form: str) -> str:
    shown.page.evaluate(_CATCH)
    shown.page.get_by_role("button", name=re.compile(f"Copy as {form}: Accuracy of every arm")).click()
    shown.page.wait_for_function("window.caught !== undefined")
    assert said(shown) == f"Copied as {form}."
    text: str = shown.page.evaluate("window.caught")
    return text


def test_csv_reads_back_and_runs_no_formula(shown: Watched) -> None:
    rows = list(csv.reader(io.StringIO(copied(shown, "CSV"))))
    wanted = content(shown)
    assert rows[0] == wanted["head"]
    assert [len(row) for row in rows] == [len(wanted["head"])] * 12
    # A text that a spreadsheet would run has a mark before it; a negative number has none.
    assert [row[0] for row in rows[1:]] == [f"'{name}" if name[0] in "=+@" else name for name in [*ODD, "none"]]
    assert [row[1:] for row in rows[1:]] == [row[1:] for row in wanted["rows"]]


def test_markdown_keeps_every_cell(shown: Watched) -> None:
    lines = copied(shown, "Markdown").splitlines()
    start = next(at for at, line in enumerate(lines) if line.startswith("| arm"))
    assert set(lines[start + 1]) <= set("|:- ")
    for line, name in zip(lines[start + 2 :], [*ODD, "none"], strict=True):
        cells = re.split(r"(?<!\\)(?:\\\\)*\|", line)
        assert len(cells) == len(content(shown)["head"]) + 2
        read = re.sub(r"\\([\\`*_{}\[\]<>#|~$!])", r"\1", cells[1].strip()).replace("&amp;", "&")
        assert read == name
        assert not re.search(r"(?<!\\)[`*_<>\[\]]", cells[1])


def test_latex_escapes_what_it_would_read(shown: Watched) -> None:
    text = copied(shown, "LaTeX")
    assert text.count("\\toprule") == text.count("\\midrule") == text.count("\\bottomrule") == 1
    body = text[text.index("\\toprule") : text.index("\\bottomrule")]
    rows = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert len(rows) == 12
    for row in rows:
        assert len(re.findall(r"(?<!\\)&", row)) == len(content(shown)["head"]) - 1
        assert not re.search(r"(?<!\\)[%#_]", row)
    assert r"c \& d \% \$ \# \_ \{ \} \textasciitilde{} \textasciicircum{} \textbackslash{}" in body
    depth = 0
    for mark in re.findall(r"(?<!\\)[{}]", re.sub(r"\\\\", "", text)):
        depth += 1 if mark == "{" else -1
        assert depth >= 0
    assert depth == 0


def test_a_refused_clipboard_shows_the_text_selected(shown: Watched) -> None:
    shown.page.evaluate(_REFUSE)
    shown.page.get_by_role("button", name=re.compile("Copy as CSV: Accuracy of every arm")).click()
    area = shown.page.get_by_role("textbox", name="The table as CSV")
    area.wait_for()
    assert area.input_value().startswith("arm,role,accuracy")
    assert area.evaluate("(one) => one.selectionEnd - one.selectionStart") == len(area.input_value())
    assert "does not let this page copy" in said(shown)
    shown.page.get_by_role("button", name="Close").click()
    assert area.count() == 0
    assert shown.page.evaluate("document.activeElement.textContent") == "CSV"


def test_saves_a_csv_file(shown: Watched, tmp_path: Path) -> None:
    with shown.page.expect_download() as waiting:
        shown.page.get_by_role("button", name=re.compile("Save as CSV: Accuracy of every arm")).click()
    waiting.value.save_as(tmp_path / "saved.csv")
    assert waiting.value.suggested_filename == "accuracy-of-every-arm-on-bench.csv"
    rows = list(csv.reader(io.StringIO((tmp_path / "saved.csv").read_text(encoding="utf-8-sig"))))
    assert len(rows) == 12


def test_tools_have_names_and_no_serious_violation(shown: Watched) -> None:
    assert shown.serious() == []
    buttons = shown.page.locator(".tools button")
    assert buttons.count() >= 4
    names = buttons.evaluate_all("all => all.map(one => one.getAttribute('aria-label'))")
    assert len(set(names)) == len(names)


def test_without_scripts_the_tables_are_whole(path: Path) -> None:
    with opened(path, java_script_enabled=False) as page:
        assert page.page.locator("main table").first.locator("tbody tr").count() == 11
        assert page.page.locator("button:visible").count() == 0
        assert page.page.locator(".still:visible svg").count() >= 1
