"""The page's charts in a real browser: drawn whole, answering to pointer and choices, still when they cannot."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator

from browser import Watched, opened
from long1k.stages.analyze.outputs import outputs_of
from long1k.stages.report import report
from test_outputs import graded, some_rows
from test_report import HOSTILE, interval, put_findings, whole_run

_DRAW_ALL = """async () => {
  for (const frame of document.querySelectorAll('.chart[data-figure]')) await window.long1k.charts.draw(frame);
}"""


def rich_run(root: Path, words: str = "ordinary words") -> dict[str, Any]:
    """A run of which every kind of figure can be drawn; its findings."""
    whole_run(root, words)
    found: dict[str, Any] = json.loads((root / "analyze" / "findings.json").read_text())
    curve = [[float(x), 0.1, 0.2 + 0.001 * x, 0.5] for x in (32, 64, 128)]
    shape = {"formula": "a", "parameters": {"a": 1.0}, "r2": 0.5, "aicc": 1.0, "delta": 0.0, "left_out_points": 1.0,
             "lack_of_fit_p": 0.5, "num_parameters": 1, "curve": curve}  # fmt: skip
    law = found["benchmarks"][0]["law"]
    law["shapes"] = [{**shape, "name": name} for name in ("log-linear", "logit-linear", "quadratic")]
    law |= {"said": [], "turn": None, "slope_equal_weights": None, "slope_drawn": None}
    for arm in found["benchmarks"][0]["arms"]:
        arm["law_tokens"] = arm["target_tokens"] if arm["role"] == "rung" else None
    for name in ("L32", "L64"):
        folder = root / "arms" / name / "seed-0" / "train"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [json.dumps({"step": step, "loss": 2.0 / step, "tokens": 10.0 * step}) for step in range(1, 201)]
        (folder / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 201, "lo']))
    found["ledger"] = [
        {"stage": "predict", "folder": f"arms/L64/seed-{seed}/predict/bench", "rows": 10, "cut": 3, "left_out": 0,
         "reasons": {"budget_exhausted": 3}, "note": f"outputs that ran into the limit {words}"}
        for seed in (0, 1)
    ]  # fmt: skip
    point = {"how": "free", "name": words, "mean_tokens": 20.0, "accuracy": interval(0.4)}
    found["budgets"] = {
        "of": "bench",
        "arms": [
            {"arm": name, "role": "rung", "points": [point, {**point, "how": "forced", "mean_tokens": 40.0}]}
            for name in ("L32", "L64", "L128")
        ],
    }
    found["outputs"] = outputs_of([(graded(root / "outputs", some_rows()), None)])
    put_findings(root, found)
    return found


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rich")
    rich_run(folder)
    report(folder / "report", folder)
    return folder


@pytest.fixture(scope="module")
def shown(root: Path) -> Iterator[Watched]:
    with opened(root / "report" / "report.html") as page:
        page.page.evaluate(_DRAW_ALL)
        yield page


def frame(shown: Watched, name: str) -> Locator:
    return shown.page.locator(f'.chart[data-figure="{name}"]')


def test_every_figure_is_drawn_with_all_its_points(shown: Watched, root: Path) -> None:
    names = shown.page.eval_on_selector_all(".chart", "all => all.map(one => one.dataset.figure)")
    for kind in ("ladder", "differences", "spent", "shapes", "budgets", "lengths", "ledger", "training"):
        assert any(name.startswith(kind) for name in names), kind
    states = shown.page.eval_on_selector_all(".chart", "all => all.map(one => one.dataset.state)")
    assert states == ["live"] * len(names)
    arms = json.loads((root / "analyze" / "findings.json").read_text())["benchmarks"][0]["arms"]
    seeds = sum(len(arm["accuracy_by_seed"]) for arm in arms if len(arm["accuracy_by_seed"]) > 1)
    symbols = ".live .mark-symbol.role-mark path"
    assert frame(shown, "ladder-bench").locator(symbols).count() == len(arms) + seeds
    assert frame(shown, "differences-bench").locator(symbols).count() == 2
    assert frame(shown, "ledger").locator(".live .mark-rect path").count() == 1  # both seeds in one bar
    # Every line of the two arms that have metrics, 67 points of 200 steps each, in its place.
    assert frame(shown, "training").locator(".live .mark-line path").count() == 2
    assert shown.errors() == []
    assert shown.left() == []


def test_the_pointer_is_told_the_interval_and_the_rows(shown: Watched) -> None:
    mark = frame(shown, "ladder-bench").locator(".live .mark-symbol.role-mark path").last
    mark.scroll_into_view_if_needed()
    mark.hover()
    tooltip = shown.page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    said = tooltip.inner_text()
    assert "untrained" in said
    assert "5.0 % [3.0,\u00a07.0]" in said
    assert "arms/untrained/seed-0/score/bench/math" in said
    shown.page.mouse.move(0, 0)
    shown.page.locator("#vg-tooltip-element:not(.visible)").wait_for(state="attached")


def test_another_fit_can_be_chosen(shown: Watched) -> None:
    chosen = frame(shown, "ladder-bench").locator("xpath=..").get_by_label("quadratic")
    fitted = frame(shown, "ladder-bench").locator(".live .mark-area path")
    assert fitted.count() == 1
    shown.page.get_by_role("radio", name="none").first.check()
    shown.page.wait_for_function(
        "document.querySelectorAll('[data-figure=\"ladder-bench\"] .live .mark-area path').length === 0"
    )
    chosen.check()
    fitted.wait_for(state="attached")
    assert shown.errors() == []


def test_series_can_be_hidden_without_a_mouse(shown: Watched) -> None:
    box = frame(shown, "budgets-bench").locator("xpath=..").get_by_role("checkbox").first
    lines = "document.querySelectorAll('[data-figure=\"budgets-bench\"] .live .mark-line path').length"
    assert shown.page.evaluate(lines) == 3
    box.focus()
    shown.page.keyboard.press("Space")
    shown.page.wait_for_function(f"{lines} === 2")
    shown.page.keyboard.press("Space")
    shown.page.wait_for_function(f"{lines} === 3")


def test_a_chart_that_fails_leaves_the_picture_and_says_so(root: Path) -> None:
    with opened(root / "report" / "report.html") as page:
        page.page.evaluate("() => { window.long1kEmbed = () => Promise.reject(new Error('no drawing today')); }")
        page.page.evaluate(_DRAW_ALL)
        one = page.page.locator('.chart[data-figure="training"]')
        assert "no drawing today" in one.locator(".failed").inner_text()
        assert one.locator(".still svg").first.is_visible()
        assert page.errors() == []


def test_the_toggle_turns_dark_and_back(root: Path) -> None:
    with opened(root / "report" / "report.html") as page:
        ground = "getComputedStyle(document.body).backgroundColor"
        mark = "getComputedStyle(document.querySelector('.chart svg [fill=\"#1d5fd0\"]')).fill"
        light = page.page.evaluate(ground), page.page.evaluate(mark)
        page.page.get_by_role("button", name="Show the page dark").click()
        dark = page.page.evaluate(ground), page.page.evaluate(mark)
        assert all(one != other for one, other in zip(light, dark, strict=True))
        page.page.get_by_role("button", name="Show the page light").click()
        assert (page.page.evaluate(ground), page.page.evaluate(mark)) == light


def test_on_paper_the_pictures_stand_still_and_all_is_open(root: Path) -> None:
    with opened(root / "report" / "report.html") as page:
        page.page.evaluate(_DRAW_ALL)
        page.page.emulate_media(media="print")
        page.page.evaluate("() => dispatchEvent(new Event('beforeprint'))")
        assert page.page.locator(".live:visible").count() == 0
        assert page.page.locator("nav:visible").count() == 0
        stills = page.page.locator(".chart").count()
        assert page.page.locator(".still:visible").count() == stills
        assert page.page.locator("main details:not([open])").count() == 0


def test_the_contents_list_leads_to_every_section(root: Path) -> None:
    with opened(root / "report" / "report.html", width=400) as page:
        links = page.page.eval_on_selector_all("nav a", "all => all.map(one => one.hash.slice(1))")
        ids = page.page.eval_on_selector_all("main h2", "all => all.map(one => one.id)")
        assert links == ids
        assert page.page.locator("nav ol").is_hidden()  # at this width it opens on demand
        page.page.keyboard.press("Tab")
        assert page.page.evaluate("document.activeElement.className").startswith("skip")
        page.page.keyboard.press("Tab")
        page.page.keyboard.press("Enter")
        page.page.locator("nav a", has_text="Training curves").click()
        assert page.page.locator("nav ol").is_hidden()
        top = page.page.locator("#training").bounding_box()
        assert top is not None
        assert 0 <= top["y"] < 400


@pytest.mark.parametrize(("width", "dark"), [(400, True), (1400, False)])
def test_drawn_charts_have_no_serious_violation_and_fit(root: Path, width: int, dark: bool) -> None:
    with opened(root / "report" / "report.html", width=width, dark=dark) as page:
        page.page.evaluate(_DRAW_ALL)
        assert page.serious() == []
        assert page.page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.errors() == []


def test_hostile_names_do_nothing_in_charts_and_tooltips(tmp_path: Path) -> None:
    rich_run(tmp_path, HOSTILE)
    report(tmp_path / "report", tmp_path)
    with opened(tmp_path / "report" / "report.html") as page:
        asked: list[str] = []
        page.page.on("dialog", lambda dialog: asked.append(dialog.message))
        page.page.evaluate(_DRAW_ALL)
        for name in ("differences-bench", "budgets-bench", "ledger"):
            mark = page.page.locator(
                f'.chart[data-figure="{name}"] .live :is(.mark-symbol, .mark-rect).role-mark path'
            ).last
            mark.scroll_into_view_if_needed()
            mark.hover()
            page.page.locator("#vg-tooltip-element.visible").wait_for()
        assert page.page.locator("img").count() == 0
        assert asked == []
        assert page.errors() == []
        assert page.left() == []
