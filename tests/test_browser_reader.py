"""The trace reader in a real browser: filters, flips, links, keys, long traces, hostile texts, files that are not there."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from axe_playwright_python.sync_playwright import Axe

from browser import Watched, opened
from long1k.reporting import reader_blocks
from long1k.stages.report import report
from reader_study import ARMS, HOSTILE, LONG, QUESTIONS, SEEDS, status_of, write_study

READY = "document.documentElement.dataset.reader === 'ready'"


def made(root: Path, words: str = "ordinary", questions: int = QUESTIONS, bare: bool = True) -> Path:
    write_study(root, words, questions, bare=bare)
    report(root / "report", root)
    return root / "report" / "report.html"


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(tmp_path_factory.mktemp("study"), bare=False)


@pytest.fixture(scope="module")
def shown(page: Path) -> Iterator[Watched]:
    with opened(page) as watched:
        watched.page.wait_for_function(READY)
        yield watched
        assert watched.errors() == []
        assert watched.left() == []


@pytest.fixture
def fresh(shown: Watched) -> Watched:
    """The page with no filter set and nothing open."""
    go(shown, "#/list")
    return shown


def go(watched: Watched, address: str) -> None:
    watched.page.evaluate("address => { location.hash = address; }", address)
    watched.page.wait_for_function("address => location.hash.startsWith(address.split('?')[0])", arg=address)
    settle(watched)


def settle(watched: Watched) -> None:
    watched.page.evaluate(
        "() => new Promise((done) => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(done)), 120))"
    )


def set_filter(watched: Watched, **values: str) -> None:
    for name, value in values.items():
        field = watched.page.locator(f"#reader-filters [name={name}]")
        if field.evaluate("element => element.tagName") == "SELECT":
            field.select_option(value)
        else:
            field.fill(value)
    settle(watched)


def counted(watched: Watched) -> str:
    return watched.page.locator("#reader-counts").inner_text()


def serious(watched: Watched) -> list[tuple[str, Any]]:
    """What axe-core finds in the reader; the rest of the page has tests of its own."""
    found = Axe().run(watched.page, context="#reader").response["violations"]
    return [
        (one["id"], [node["html"][:200] for node in one["nodes"][:3]])
        for one in found
        if one["impact"] in ("serious", "critical")
    ]


def rows_of_tables() -> list[dict[str, Any]]:
    """What the study's tables say, by the rules that made them."""
    rows = [
        {"arm": arm, "seed": seed, "question": question, "benchmark": "single", "tokens": 100 + question, "status": status_of(arm, seed, question)}
        for arm in ARMS for seed in SEEDS for question in range(QUESTIONS)
    ]  # fmt: skip
    for arm in ARMS:
        for seed in SEEDS:
            for question in range(QUESTIONS):
                for status in ("correct", "wrong"):
                    rows.append(
                        {
                            "arm": arm,
                            "seed": seed,
                            "question": question,
                            "benchmark": "pairs",
                            "tokens": 40,
                            "status": status,
                        }
                    )
    return rows


@pytest.mark.parametrize(
    ("filters", "passes"),
    [
        ({}, lambda row: True),
        ({"arm": "L128", "benchmark": "single"}, lambda row: row["arm"] == "L128" and row["benchmark"] == "single"),
        ({"kind": "control"}, lambda row: row["arm"] == "same-tokens"),
        ({"kind": "rung 64", "seed": "1"}, lambda row: row["arm"] == "L64" and row["seed"] == 1),
        ({"status": "wrong"}, lambda row: row["status"] == "wrong"),
        ({"min": "103", "max": "105"}, lambda row: 103 <= row["tokens"] <= 105),
        ({"end": "length"}, lambda row: row["status"] == "truncated"),
        ({"end": "forced", "seed": "0"}, lambda row: row["benchmark"] == "pairs" and row["seed"] == 0),
        ({"text": "QUESTION 7"}, lambda row: row["benchmark"] == "single" and row["question"] == 7),
        ({"text": "y-L64-1-3"}, lambda row: (row["benchmark"], row["arm"], row["seed"], row["question"]) == ("single", "L64", 1, 3)),
        ({"text": "nothing says this"}, lambda row: False),
    ],
)  # fmt: skip
def test_filters_count_what_the_tables_hold(fresh: Watched, filters: dict[str, str], passes: Any) -> None:
    set_filter(fresh, **filters)
    rows = rows_of_tables()
    wanted = [row for row in rows if passes(row)]
    assert counted(fresh).startswith(f"{len(wanted)} of {len(rows)} answers")
    for status, number in Counter(row["status"] for row in wanted).items():
        assert f"{number} {status.replace('_', ' ')}" in counted(fresh)
    drawn = fresh.page.locator("#reader-list [role=option]")
    assert (drawn.count() > 0) == bool(wanted)
    if wanted:
        assert drawn.first.get_attribute("aria-setsize") == str(len(wanted))
    hash_ = fresh.page.evaluate("location.hash")
    for name, value in filters.items():
        assert f"{name}={value.replace(' ', '+')}" in hash_


def test_sorting(fresh: Watched) -> None:
    set_filter(fresh, benchmark="single", arm="L64", sort="tokens")
    fresh.page.locator("#reader-filters [name=down]").check()
    settle(fresh)
    tokens = [int(words) for words in fresh.page.locator("#reader-list .c-tokens").all_inner_texts()]
    assert tokens[0] == 100 + QUESTIONS - 1
    assert tokens == sorted(tokens, reverse=True)


def test_flips_between_two_arms(fresh: Watched) -> None:
    set_filter(fresh, benchmark="single", a="L64", b="L128")
    pairs = Counter(
        (status_of("L64", seed, question) == "correct", status_of("L128", seed, question) == "correct")
        for seed in SEEDS for question in range(QUESTIONS)
    )  # fmt: skip
    said = fresh.page.locator(".flip-buttons button").all_inner_texts()
    assert said == [f"right → wrong: {pairs[True, False]}", f"wrong → right: {pairs[False, True]}",
                    f"right in both: {pairs[True, True]}", f"wrong in both: {pairs[False, False]}"]  # fmt: skip
    assert pairs[True, False] > 0
    fresh.page.locator("[data-flip=right-wrong]").click()
    settle(fresh)
    assert counted(fresh) == f"{pairs[True, False]} pairs of answers."
    fresh.page.locator("#reader-list [role=option]").first.click()
    fresh.page.wait_for_selector(".columns")
    heads = fresh.page.locator(".column .badge").all_inner_texts()
    assert heads == ["correct", "wrong"]
    assert "/compare/single" in fresh.page.evaluate("location.hash")


def test_flips_against_an_arm_of_one_seed(tmp_path: Path) -> None:
    write_study(tmp_path, bare=True)
    shutil.rmtree(tmp_path / "arms" / "same-tokens" / "seed-1")
    report(tmp_path / "report", tmp_path)
    with opened(tmp_path / "report" / "report.html") as shown:
        shown.page.wait_for_function(READY)
        set_filter(shown, benchmark="single", a="same-tokens", b="L64")
        worse = [
            (seed, question) for question in range(QUESTIONS) for seed in SEEDS
            if status_of("same-tokens", 0, question) == "correct" != status_of("L64", seed, question)
        ]  # fmt: skip
        button = shown.page.locator("[data-flip=right-wrong]")
        assert button.inner_text() == f"right → wrong: {len(worse)}"
        button.click()
        settle(shown)
        assert counted(shown) == f"{len(worse)} pairs of answers."
        # The arm of more seeds stands in the list, so that every pair has a row of its own.
        named = shown.page.locator("#reader-list .c-who").all_inner_texts()
        assert named == [f"L64, seed {seed}" for seed, _ in worse]
        shown.page.locator("#reader-list [role=option]").last.click()
        shown.page.wait_for_selector(".columns")
        assert shown.page.locator(".column .badge").all_inner_texts() == ["correct", "wrong"]


def test_links_open_what_they_name(shown: Watched) -> None:
    go(shown, "#/output/y-L128-1-3?arm=L128")
    shown.page.wait_for_selector("#reader-title")
    assert shown.page.locator("#reader-title").inner_text() == "L128, seed 1: single, question 4"
    assert shown.page.locator("#reader-filters [name=arm]").input_value() == "L128"
    text = shown.page.locator(".trace").inner_text()
    assert "ordinary thinking of L128 1 on 3" in text
    go(shown, "#/output/m-L64-0-2?part=1")
    assert "question 3, problem 2 of 2" in shown.page.locator("#reader-title").inner_text()
    assert shown.page.locator(".facts-of .badge").inner_text() == "wrong"
    assert shown.page.locator(".trace .k-extracted").all_inner_texts() == ["2", "9"]
    go(shown, "#/sample/e-L64-1")
    assert shown.page.locator(".trace .k-linker").inner_text() == "Next, "
    go(shown, "#/compare/single%3A3/x/y")
    assert "nothing of that name" in shown.page.locator("#reader-title").inner_text()
    go(shown, "#/compare/single:3/L64~1/same-tokens~1")
    assert len(shown.page.locator(".column .trace").all()) == 2
    go(shown, "#/output/%E0%A4%A")
    assert "nothing of that name" in shown.page.locator("#reader-title").inner_text()
    shown.page.go_back()
    shown.page.wait_for_selector(".columns")


def test_formulas_are_drawn_or_left_as_they_were_written(shown: Watched) -> None:
    go(shown, "#/output/y-L64-1-3")
    assert shown.page.locator(".trace math msup").count() == 1
    assert shown.page.locator(".trace math msqrt").count() == 1
    assert shown.page.locator(".trace math .boxed").count() == 1
    assert shown.page.locator("details.question math").count() == 1
    shown.page.get_by_role("button", name="Formulas").click()
    assert shown.page.locator(".trace math").count() == 0
    assert "$x^2 + 3$ and \\[\\sqrt{y}\\] in it." in shown.page.locator(".trace").inner_text()
    assert shown.page.locator(".trace .k-extracted").count() == 1
    shown.page.get_by_role("button", name="Formulas").click()
    assert shown.page.locator(".trace math").count() == 3


def test_keys_alone_lead_everywhere(fresh: Watched) -> None:
    page = fresh.page
    page.locator("#reader-list").focus()
    for key in ("Home", "ArrowDown", "j", "k"):
        page.keyboard.press(key)
    active = page.locator("#reader-list").get_attribute("aria-activedescendant")
    assert active == "reader-row-1"
    assert page.locator("#reader-row-1").get_attribute("aria-selected") == "true"
    page.keyboard.press("Enter")
    page.wait_for_selector("#reader-title")
    assert page.evaluate("document.activeElement.id") == "reader-title"
    first = page.locator("#reader-title").inner_text()
    page.keyboard.press("j")
    page.wait_for_function("old => document.getElementById('reader-title').textContent !== old", arg=first)
    page.keyboard.press("c")
    page.wait_for_selector(".columns")
    page.keyboard.press("m")
    assert page.locator("#reader-view math").count() == 0
    page.keyboard.press("m")
    page.keyboard.press("?")
    assert page.locator("#reader-keys").is_visible()
    page.keyboard.press("Escape")
    assert not page.locator("#reader-keys").is_visible()
    page.keyboard.press("Escape")
    settle(fresh)
    assert page.evaluate("document.activeElement.id") == "reader-list"
    assert page.locator(".columns").count() == 0
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "text"
    page.keyboard.type("y-L64-0-5")
    settle(fresh)
    assert counted(fresh).startswith("1 of ")
    set_filter(fresh, text="", a="L64", b="L128")
    page.locator("#reader-list").focus()
    page.keyboard.press("f")
    assert page.locator("[data-flip=right-wrong]").get_attribute("aria-pressed") == "true"
    # Letters typed elsewhere on the page do nothing here.
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("f")
    assert page.locator("[data-flip=right-wrong]").get_attribute("aria-pressed") == "true"


def test_what_carries_loss(shown: Watched) -> None:
    go(shown, "#/sample/e-L128-0?show=samples")
    assert shown.page.locator(".trace .carries").count() == 0
    shown.page.locator("#reader-title").focus()
    shown.page.keyboard.press("t")
    trained = "".join(shown.page.locator(".trace .carries").all_inner_texts())
    assert "thinking ordinary" in trained
    assert "A0? B?" not in trained
    assert "A0? B?" in "".join(shown.page.locator(".trace .bare").all_inner_texts())
    shown.page.keyboard.press("t")


def test_a_long_trace_scrolls_and_is_searched(shown: Watched) -> None:
    go(shown, "#/output/y-L64-0-0")
    trace = shown.page.locator(".trace")
    assert len(trace.text_content()) > LONG / 2
    shown.page.get_by_role("button", name="Formulas").click()
    assert len(trace.text_content()) > LONG
    shown.page.get_by_role("button", name="Formulas").click()
    # What is out of sight is not laid out: nearly all chunks are skipped by the browser.
    skipped = shown.page.evaluate(
        "() => [...document.querySelectorAll('.trace .chunk')].filter((c) => !c.firstChild.checkVisibility({ contentVisibilityAuto: true })).length"
    )
    chunks = shown.page.locator(".trace .chunk").count()
    assert chunks > 40
    assert skipped > chunks * 0.6
    find = shown.page.locator("#reader-find")
    find.fill("SO THE ANSWER")
    settle(shown)
    assert "1 of 1 places" in shown.page.locator(".bar [role=status]").inner_text()
    assert shown.page.evaluate("document.querySelector('.trace').scrollTop") > 5000
    find.fill("let $a_{777}")
    settle(shown)
    assert "1 of 1 places" in shown.page.locator(".bar [role=status]").inner_text()


def test_two_texts_scroll_together(shown: Watched) -> None:
    go(shown, "#/compare/single:11/L128~0/L128~1")
    shown.page.set_viewport_size({"width": 1400, "height": 500})
    tops = "[...document.querySelectorAll('.trace')].map((one) => Math.round(one.scrollTop))"
    shown.page.evaluate("document.querySelector('.trace').scrollTop = 60")
    settle(shown)
    left, right = shown.page.evaluate(tops)
    assert left == right == 60
    shown.page.get_by_role("button", name="Scroll together").click()
    shown.page.evaluate("document.querySelector('.trace').scrollTop = 20")
    settle(shown)
    assert shown.page.evaluate(tops) == [20, 60]
    shown.page.get_by_role("button", name="Scroll together").click()
    shown.page.set_viewport_size({"width": 1400, "height": 900})


def test_only_rows_in_sight_are_drawn(tmp_path: Path) -> None:
    page = made(tmp_path, questions=200)
    with opened(page) as shown:
        shown.page.wait_for_function(READY)
        total = len(ARMS) * len(SEEDS) * 200 * 3
        assert f"{total:,} of {total:,}" in counted(shown)
        options = shown.page.locator("#reader-list [role=option]")
        assert options.count() < 60
        shown.page.locator("#reader-list").focus()
        shown.page.keyboard.press("End")
        settle(shown)
        assert options.count() < 60
        assert options.last.get_attribute("aria-posinset") == str(total)
        shown.page.evaluate("document.getElementById('reader-list').scrollTop = 0")
        settle(shown)
        # The marked row stays, for what reads the page aloud.
        assert shown.page.locator(f"#reader-row-{total - 1}").count() == 1
        assert shown.errors() == []


def test_files_beside_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (
        ("ALL_INLINE_BYTES", 9000),
        ("INLINE_BYTES", 6000),
        ("_SMALL_BLOCK", 3000),
        ("_LARGE_BLOCK", 8000),
    ):
        monkeypatch.setattr(reader_blocks, name, size)
    page = made(tmp_path)
    assert len(list((page.parent / "texts").iterdir())) > 1
    beside = (
        "(() => { const { study } = long1k.reader.shown; return study.outputs.id.find((id, at) =>"
        " id.startsWith('y-') && !id.endsWith('-10') && study.files[study.outputs.block[at]]); })()"
    )
    with opened(page) as shown:
        shown.page.wait_for_function(READY)
        name = shown.page.evaluate(beside)
        _, arm, seed, question = name.replace("same-tokens", "same_tokens").split("-")
        table = f"arms/{arm.replace('_', '-')}/seed-{seed}/predict/single"
        go(shown, f"#/output/{name}")
        assert f" on {question}," in shown.page.locator(".trace").inner_text()
        assert shown.errors() == []
        assert shown.left() == []
    alone = tmp_path / "mailed" / "report.html"
    alone.parent.mkdir()
    shutil.copy(page, alone)
    with opened(alone) as shown:
        shown.page.wait_for_function(READY)
        go(shown, f"#/output/{name}")
        said = shown.page.locator(".absent").inner_text()
        assert "texts/00" in said
        assert f"is row {question} (from 0) of {table}" in said
        assert f"long1k show {table} --row {question} --full" in said
        # Once the folder lies beside the page, the text can be opened.
        shutil.copytree(page.parent / "texts", alone.parent / "texts")
        go(shown, "#/list")
        go(shown, f"#/output/{name}")
        assert f" on {question}," in shown.page.locator(".trace").inner_text()


def test_a_file_that_holds_something_else_is_told_as_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (("ALL_INLINE_BYTES", 0), ("INLINE_BYTES", 0)):
        monkeypatch.setattr(reader_blocks, name, size)
    page = made(tmp_path, questions=2)
    for path in (page.parent / "texts").iterdir():
        path.write_text("long1k.arrived('texts/elsewhere.js', 'AAAA');\n")
    with opened(page) as shown:
        shown.page.wait_for_function(READY)
        for address in ("#/output/y-L64-1-1", "#/sample/e-L64-0"):
            go(shown, address)
            assert "a file that is not beside this page" in shown.page.locator(".absent").inner_text()
        assert shown.errors() == []


@pytest.mark.parametrize(
    "rest",
    ["?part=-1", "?part=0.5", "?part=-Infinity", "?part=1e9", "?min=abc&max=1e", "?flip=__proto__&a=L64&b=constructor"],
)
def test_no_address_stops_the_reader(fresh: Watched, rest: str) -> None:
    go(fresh, f"#/output/y-L64-1-3{rest}")
    assert fresh.page.locator("#reader-title").inner_text() == "L64, seed 1: single, question 4"
    assert "thinking of L64 1 on 3" in fresh.page.locator(".trace").inner_text()
    assert fresh.errors() == []


def test_a_link_to_an_arm_that_is_not_there_is_told(fresh: Watched) -> None:
    go(fresh, "#/list?arm=L999&status=wrong")
    said = counted(fresh)
    assert said.endswith("Nothing here has the arm “L999”: that filter is off.")
    assert said.startswith(f"{sum(row['status'] == 'wrong' for row in rows_of_tables())} of ")
    set_filter(fresh, status="correct")
    assert "Nothing here" not in counted(fresh)


def test_hostile_texts_stay_text(tmp_path: Path) -> None:
    big = "x" * 1_000_000
    with opened(made(tmp_path, HOSTILE + big, questions=2)) as shown:
        dialogs: list[str] = []
        shown.page.on("dialog", lambda dialog: dialogs.append(dialog.message))
        shown.page.wait_for_function(READY)
        for address in (
            "#/output/y-L64-1-1",
            "#/sample/e-L64-0",
            "#/compare/single:2/L64/L128",
            f"#/output/{quote(HOSTILE)}",
        ):
            go(shown, address)
            assert shown.page.locator("#reader img, #reader script, #reader a").count() == 0
            assert shown.page.locator("#reader [href], #reader [style*=color]").count() == 0
        go(shown, "#/output/y-L64-1-1")
        text = shown.page.locator(".trace").text_content()
        assert "<script>alert(1)</script><img src=x onerror=alert(2)>" in text
        assert "[U+202E]evil[U+2066] \u2400\u241b" in text
        assert len(text) > len(big)
        # A line of a million characters is filled in where it comes into sight.
        assert shown.page.locator(".trace .chunk").count() > 200
        assert dialogs == []
        assert shown.errors() == []
        assert shown.left() == []


@pytest.mark.parametrize("width", [400, 1400])
@pytest.mark.parametrize("dark", [False, True])
def test_everyone_can_read_it(page: Path, width: int, dark: bool) -> None:
    with opened(page, width=width, dark=dark) as shown:
        shown.page.wait_for_function(READY)
        for address in (
            "#/output/y-L64-1-3",
            "#/compare/single:11/L128~0/L64~1?a=L64&b=L128",
            "#/sample/e-L64-0?show=samples",
        ):
            go(shown, address)
            if address.startswith("#/sample"):
                shown.page.locator("#reader-title").focus()
                shown.page.keyboard.press("t")
            assert serious(shown) == []
            assert shown.page.evaluate("document.documentElement.scrollWidth") <= width
        assert shown.errors() == []


def test_paper_shows_what_is_open(shown: Watched) -> None:
    go(shown, "#/output/y-L64-1-3")
    shown.page.emulate_media(media="print")
    assert not shown.page.locator("#reader-list").is_visible()
    assert not shown.page.locator(".bar").is_visible()
    assert shown.page.locator(".trace").is_visible()
    assert shown.page.evaluate("getComputedStyle(document.querySelector('.trace')).overflowY") == "visible"
    shown.page.emulate_media(media="screen")
