"""The report page: whole, offline, inert, the same for the same inputs, and never stopped by a missing piece."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from long1k.errors import DataError
from long1k.reporting import charts, samples, text
from long1k.rows import Example, Message, Prediction, R, Reject, Score, Span
from long1k.stages.report import report
from long1k.tables import TableWriter, digest_json, finish
from pages import without_own_scripts

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)> & \"quoted\" 'x' javascript:alert(3) \u202eevil\u2066 \x00\x1b{{ 7*7 }}"
USUAL = "training seeds and questions"


class Page(HTMLParser):
    """Counts elements and keeps attributes, texts of cells, and every address."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.counts: dict[str, int] = {}
        self.attributes: list[tuple[str, str, str]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in ("meta", "link", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.counts[tag] = self.counts.get(tag, 0) + 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & {*self.open}:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


def interval(estimate: float, half: float | None = 0.05, over: str = USUAL) -> dict[str, Any]:
    low, high = (None, None) if half is None else (estimate - half, estimate + half)
    return {
        "estimate": estimate, "low": low, "high": high, "confidence": 0.95, "over": over, "num_seeds": 2, "num_questions": 4,
    }  # fmt: skip


def arm(name: str, role: str, tokens: int | None, estimate: float, seeds: int = 2, **more: Any) -> dict[str, Any]:
    return {
        "name": name, "role": role, "kind": "ladder", "target_tokens": tokens, "of": None, "seeds": list(range(seeds)),
        "accuracy": interval(estimate), "accuracy_by_seed": {str(s): estimate + 0.01 * s for s in range(seeds)},
        "statuses": {"correct": 3, "wrong": 4, "truncated": 1}, "mean_output_tokens": 12.5, "cut_frac": 0.125,
        "training": {"samples": 8, "unique_problems": 16, "sample_tokens": [tokens, tokens], "steps": 5, "tokens": 1234},
        "rows": [f"arms/{name}/seed-{s}/score/bench/math" for s in range(seeds)], **more,
    }  # fmt: skip


def law() -> dict[str, Any]:
    band = [[float(x), 0.1, 0.2 + 0.001 * x, 0.5] for x in (32, 64, 128)]
    return {"intercept": 0.0, "slope": interval(0.1), "bend": None, "r2": 0.9, "r2_pooled": 0.8, "band": band}


def put(folder: Path, row_type: type[R], rows: list[R], rejected: list[Reject] | None = None, **info: Any) -> None:
    writer = TableWriter(folder, row_type, stage="test/1", config={}, inputs={})
    writer.write_part(0, rows, rejected or [])
    writer.commit(1, info)


def put_findings(root: Path, findings: dict[str, Any]) -> None:
    folder = root / "analyze"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "findings.json").write_text(json.dumps(findings))
    finish(
        folder, stage="analyze/1", config={}, inputs={}, digest=digest_json(findings), files=[folder / "findings.json"],
        started=0.0,
    )  # fmt: skip


def example(name: str, words: str = "thinking") -> Example:
    first, second = f"Problem 1: {words}", "<think>\n"
    spans = (
        Span("label", 0, 0, 0, 11), Span("question", 0, 0, 11, len(first)), Span("thinking", 0, 1, 8, 8 + len(words)),
        Span("linker", 1, 1, 8 + len(words), 14 + len(words)), Span("solution", 1, 1, 20 + len(words), 10**6),
        Span("no such kind", 1, 1, -5, 4),
    )  # fmt: skip
    answer = f"{second}{words}Next, \n</x>\\boxed{{1}}"
    return Example(
        f"e-{name}", name, (Message("user", first),), (Message("assistant", answer),), ("1", "2"), ("t-1", "t-2"),
        ("p-1", "p-2"), ("s#1", "s#2"), ("MIT", "MIT"), ("", "Next, "), spans, "independent", 64, 64, 50, 2,
    )  # fmt: skip


def prediction(
    number: int, words: str, answer_text: str | None, label: bool | None = None, run: str = "L64"
) -> Prediction:
    return Prediction(
        f"y-{number}", f"p-{number}", "bench", words, ("42",), (f"p-{number}",), run, 0, "train", 0, 1, (1, 2),
        f"{words}{answer_text}", (5, 6), (), words if answer_text is not None else None, answer_text, "stop", None, 2, 3, 2,
        "test", label,
    )  # fmt: skip


def score(number: int, status: str, span: tuple[int, ...] | None = None, extracted: str | None = "41") -> Score:
    return Score(f"y-{number}", 0, "math", "1", status, extracted, span, None)


def whole_run(root: Path, words: str = "ordinary words", name: str = "L64", rows: str | None = None) -> None:
    """A run with everything: a ladder, a control, data, published outputs, rejected rows.

    ``words`` stand in everything a recipe's author writes, ``rows`` (the same unless given) in the rows.
    """
    said, words = words, words if rows is None else rows
    put(root / "collect", Example, [example("pool")], [Reject("duplicate", f"the same as {words}", "s", "1", "{}")])
    for seed in (0, 1):
        cell = root / "arms" / name / f"seed-{seed}"
        put(cell / "synthesize", Example, [example(name, words)])
        put(
            cell / "predict" / "bench", Prediction,
            [prediction(1, words, "It is 42."), prediction(2, words, "It is 41."), prediction(3, words, None)],
        )  # fmt: skip
        put(
            cell / "score" / "bench" / "math", Score,
            [score(1, "correct", (6, 8), "42"), score(2, "wrong", (6, 999)), score(3, "no_answer", None, None)],
        )  # fmt: skip
    folder = root / "published" / "paper"
    put(
        folder / "predictions",
        Prediction,
        [prediction(8, words, "so 42", True, "run A"), prediction(9, words, "so 41", True, "run A")],
    )
    put(folder / "score", Score, [score(8, "correct", (3, 5), "42"), score(9, "wrong", (3, 5))])
    rungs = [arm("L32", "rung", 32, 0.2), arm(name, "rung", 64, 0.3), arm("L128", "rung", 128, 0.45)]
    others = [arm("tokens-of-L128", "control", 32, 0.4), arm("untrained", "baseline", None, 0.05, seeds=1, training={})]
    others[1]["accuracy"] = interval(0.05, 0.02, "questions (one training seed: none over seeds)")
    contrasts = [
        {"a": "L128", "b": "L32", "why": "longest against shortest rung", "difference": interval(0.25)},
        {"a": "L32", "b": name, "why": said, "difference": interval(0.01)},
    ]
    group = {
        "target": 64, "tolerance_tokens": 1, "requested": 10, "made": 8, "coverage": 0.5, "shortfall": f"too few: {said}",
        "tokens": 512, "min_tokens": 63, "max_tokens": 65, "exactly_on_target": 0.5, "within_tolerance": 1.0, "problems": 16,
        "unique_problems": 15,
    }  # fmt: skip
    run = {
        "run": "run A",
        "outputs": 2,
        "correct": 1,
        "label_correct": 2,
        "agree": 1,
        "labelled": 2,
        "accuracy": interval(0.5, 0.4),
    }
    differs = {
        "prediction_id": "y-9",
        "run": "run A",
        "gold": "42",
        "extracted": words,
        "status": "wrong",
        "label": True,
    }
    verdict = [f"bench: longer samples give higher accuracy ({said})."]
    put_findings(
        root,
        {
            "name": f"study {said}", "description": f"What is this? {said}", "notes": [f"Take care. {said}"], "confidence": 0.95,
            "benchmarks": [{"benchmark": "bench", "questions": 4, "arms": rungs + others, "law": law(), "contrasts": contrasts, "verdict": verdict}],
            "data": {name: {"groups": [group], "rows": f"arms/{name}/seed-0/synthesize", "digest": "0"}},
            "published": [{"name": "paper", "runs": [run], "labelled": 2, "agreement": 0.5, "disagreements": [differs], "rows": "published/paper/score"}],
            "verdict": [*verdict, f"{name}: 8 of 10 samples made ({said})."],
        },
    )  # fmt: skip


def built(root: Path) -> str:
    report(root / "report", root)
    return (root / "report" / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    whole_run(folder)
    return folder


@pytest.fixture(scope="module")
def html(root: Path) -> str:
    return built(root)


def test_page_holds_every_part(html: str) -> None:
    page = Page(html)
    assert page.counts["svg"] == 4  # the ladder for wide and narrow screens, differences, accuracy against tokens
    assert page.counts["figure"] == 3
    assert page.counts["table"] == page.counts["caption"] == 7
    assert page.counts["h1"] == 1
    assert page.counts["main"] == 1
    assert not page.open
    for words in (
        "Longer samples give higher accuracy", "Take care.", "+10.0 points a doubling of length [+5.0,\u00a0+15.0], R² 0.90",
        "30.0 % [25.0,\u00a035.0]", "arms/L64/seed-{0,1}/score/bench/math", "correct 3, wrong 4, truncated 1; of 8", "12.5 %",
        "8 / 10", "too few: ordinary words", "50.00 % of 2 labelled outputs", "duplicate", "the same as ordinary words",
        "questions (one training seed: none over seeds)", "no difference found", "8 of 10 samples made",
    ):  # fmt: skip
        assert words in page.text, words
    assert (
        page.text.index("higher accuracy")
        < page.text.index("Take care.")
        < page.text.index("Accuracy by sample length")
    )


def test_parts_of_samples_and_answers_are_marked(html: str) -> None:
    for kind in ("label", "question", "linker", "thinking", "solution"):
        assert html.count(f'class="k k-{kind}" title="{kind} of problem') >= 1, kind
    assert "k-no such kind" not in html
    assert '<span class="k k-extracted" title="the answer that was graded">42</span>' in html
    assert "s-correct" in html
    assert "s-wrong" in html
    assert "s-no_answer" in html


def test_policy_lets_nothing_in(root: Path, html: str) -> None:
    page = Page(html)
    policy = next(value for tag, name, value in page.attributes if name == "content" and "default-src" in value)
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    style = re.search(r"<style>(.*?)</style>", html, re.DOTALL)
    assert style is not None
    assert "url(" not in style[1]
    assert "@import" not in style[1]
    assert base64.b64encode(hashlib.sha256(style[1].encode()).digest()).decode() in policy
    assert "<script" not in without_own_scripts(html).lower()
    addresses = [value for _, name, value in page.attributes if name in ("src", "href", "action", "data", "xlink:href")]
    shown = without_own_scripts(html)
    beside = {value for value in addresses if not value.startswith("#")}
    assert beside - {"data:,"} == {f"figures/{path.name}" for path in (root / "report" / "figures").iterdir()}
    assert "url(" not in shown  # nor ids of one chart that another could catch
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "style"]
    assert set(re.findall(r"https?://[^\s\"'<]+", shown)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1998/Math/MathML",
    }


def test_same_inputs_same_bytes(root: Path, html: str, tmp_path: Path) -> None:
    again = report(tmp_path / "elsewhere", root)
    assert (tmp_path / "elsewhere" / "report.html").read_text(encoding="utf-8") == html
    assert again.digest == report(root / "report", root).digest
    assert str(root) not in html
    assert not re.search(r"20\d\d-\d\d-\d\dT", without_own_scripts(html))
    first, second = (
        {path.name: path.read_bytes() for path in sorted((folder / "figures").iterdir())}
        for folder in (root / "report", tmp_path / "elsewhere")
    )
    assert first == second
    assert {name.split(".")[-1] for name in first} == {"svg", "png", "pdf", "csv"}


def test_tests_and_variances_stand_beside_the_differences(tmp_path: Path) -> None:
    shares = {"seed": 0.125, "question": 0.75, "seed_by_question": None, "sampling": 0.125}
    spreads = dict.fromkeys(shares, 0.0123) | {"sampling": None}
    arms = [arm(name, "arm", None, 0.5, variance={"share": shares, "accuracy_sd": spreads}) for name in ("a", "b")]
    tested = {
        "a": "a", "b": "b", "why": "w", "difference": interval(0.1, 0.05), "could_see": 0.0714,
        "test": {"name": "McNemar (mid-p)", "p": 0.0004, "p_holm": 0.25, "comparisons": 3},
        "equivalence": {"finding": "undecided", "margin": 0.02, "interval": interval(0.1)},
    }  # fmt: skip
    entry = {"benchmark": "bench", "questions": 4, "arms": arms, "law": None, "contrasts": [tested], "verdict": []}
    put_findings(tmp_path, {"name": "s", "confidence": 0.95, "benchmarks": [entry], "verdict": []})
    html = built(tmp_path)
    for said in ("McNemar (mid-p)", "&lt; 0.001", ">0.25<", ">7.1<", "undecided (± 2)", "12.5 %", "75.0 %", ">1.23<"):
        assert said in html
    older = {key: tested[key] for key in ("a", "b", "why", "difference")}
    put_findings(tmp_path, {"name": "s", "benchmarks": [entry | {"contrasts": [older]}], "verdict": []})
    assert "could have seen" not in built(tmp_path)


def test_second_call_is_skipped_and_a_change_is_not(tmp_path: Path) -> None:
    whole_run(tmp_path)
    first = report(tmp_path / "report", tmp_path)
    stamp = os.stat(tmp_path / "report" / "report.html").st_mtime_ns
    assert report(tmp_path / "report", tmp_path) == first
    assert os.stat(tmp_path / "report" / "report.html").st_mtime_ns == stamp
    put(tmp_path / "collect", Example, [], [Reject("empty", "no text", "s", "1", "{}")])
    assert report(tmp_path / "report", tmp_path).digest != first.digest
    assert "no text" in (tmp_path / "report" / "report.html").read_text()


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    hostile_arm = 'L64 <script>alert("arm")< aria-label="'  # a folder name cannot hold a slash
    whole_run(tmp_path, HOSTILE, hostile_arm)
    html = built(tmp_path)
    page = Page(html)
    assert "<script" not in without_own_scripts(html).lower()
    assert "<img" not in without_own_scripts(html)
    assert "img" not in page.counts
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") > 8  # shown, as text
    assert "{{ 7*7 }}" in page.text
    assert '<script>alert("arm")<' in page.text
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", html)
    assert "[U+202E]evil[U+2066] \u2400\u241b" in page.text
    assert page.counts["svg"] == 4
    assert page.counts["table"] == 7
    assert not page.open


def test_half_a_surrogate_pair_does_not_stop_the_page(tmp_path: Path) -> None:
    put_findings(tmp_path, {"name": "half \ud800 pair", "verdict": ["odd \udfff sentence"], "notes": []})
    assert "half \ufffd pair" in built(tmp_path)


@pytest.mark.parametrize(
    "benchmark",
    [
        {"arms": [], "law": None, "contrasts": [], "verdict": []},
        {"arms": [arm("only", "arm", None, 0.5, seeds=1)], "law": None, "contrasts": [], "verdict": []},
        {"arms": [arm("L32", "rung", 32, 0.0, seeds=1)], "law": None, "contrasts": [], "verdict": []},
        {"arms": [arm("L32", "rung", 32, 0.1), arm("L64", "rung", 64, 1.0)], "law": law() | {"band": []}, "contrasts": []},
        {
            "arms": [
                arm("a", "rung", 32, 0.5, accuracy=interval(0.5, None, "a single question: no interval"), statuses={}, rows=[]),
                arm("b", "rung", 64, 0.5, training={}, mean_output_tokens=float("nan"), cut_frac=None),
            ],
            "law": law() | {"slope": interval(0.0, None, "every value is the same: no interval"),
                            "band": [[32.0, None, 0.5, None], [64.0, None, 0.5, None]]},
            "contrasts": [{"a": "b", "b": "a", "why": "w", "difference": interval(0.0, None, "every value is the same: no interval")}],
        },
        {"arms": [{"name": "bare", "accuracy": {"estimate": 0.5, "low": None, "high": None}}]},
    ],
    ids=["no arms", "no rungs", "one rung", "no band", "no intervals", "bare"],
)  # fmt: skip
def test_missing_pieces_do_not_stop_the_page(tmp_path: Path, benchmark: dict[str, Any]) -> None:
    put_findings(tmp_path, {"name": "n", "benchmarks": [{"benchmark": "bench", "questions": 1, **benchmark}]})
    page = Page(built(tmp_path))
    assert "Benchmark bench" in page.text
    assert not page.open
    over = {a["accuracy"].get("over") for a in benchmark["arms"] if a["accuracy"]["low"] is None}
    assert all(f"[{words}]" in page.text for words in over if words)


def test_data_only_and_empty_findings(tmp_path: Path) -> None:
    whole_run(tmp_path / "data")
    found = json.loads((tmp_path / "data" / "analyze" / "findings.json").read_text())
    put_findings(tmp_path / "data", found | {"benchmarks": [], "published": []})
    page = Page(built(tmp_path / "data"))
    assert "svg" not in page.counts
    assert "The data that was made" in page.text
    assert "What the model was trained on" in page.text
    put_findings(tmp_path / "empty", {})
    assert "Nothing can be said" in built(tmp_path / "empty")


def test_no_run_or_broken_findings_say_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is not a run"):
        report(tmp_path / "report", tmp_path)
    (tmp_path / "analyze").mkdir()
    with pytest.raises(DataError, match="is not a run"):
        report(tmp_path / "report", tmp_path)
    put_findings(tmp_path, {})
    (tmp_path / "analyze" / "findings.json").write_text("[1")
    with pytest.raises(DataError, match=r"findings\.json"):
        report(tmp_path / "report", tmp_path)


def test_long_texts_are_shortened_and_say_by_how_much(tmp_path: Path) -> None:
    words = "start " + 50_000 * "x" + " end"
    whole_run(tmp_path, rows=words)
    html = built(tmp_path)
    assert len(without_own_scripts(html)) < 200_000
    assert "characters left out" in html
    head, missing, tail = text.shorten(words, 700)
    assert len(head) + missing + len(tail) == len(words)
    assert f"{missing:,} characters left out" in html
    assert re.search(r"<details[^>]*><summary>50,0", html)


def test_cut_up_keeps_every_character() -> None:
    words = "abcdefghij"
    for spans in (
        (), (Span("question", 0, 0, 2, 5),), (Span("thinking", 0, 0, 0, 99), Span("linker", 0, 0, 3, 4)),
        (Span("linker", 0, 0, 5, 3), Span("solution", 0, 0, -4, 2), Span("label", 0, 0, 1, 4)),
    ):  # fmt: skip
        pieces = samples.cut_up(words, spans)
        assert "".join(piece.head + piece.tail for piece in pieces) == words


def test_words() -> None:
    assert text.clean("a\r\nb\rc\x85\u200f") == "a\nb\u240dc[U+0085][U+200F]"
    assert text.percent(None) == text.percent(float("nan")) == text.count(None) == text.NOTHING
    assert text.join_paths(["a/seed-0/b", "a/seed-12/b", "c"]) == "a/seed-{0,12}/b\nc"
    assert text.number_range(64, 64) == "64"
    assert text.number_range(63, 1065) == "63–1,065"


def test_picture_of_its_own(root: Path, tmp_path: Path) -> None:
    for name in ("one.svg", "two.svg"):
        charts.write_ladder(root / "analyze" / "findings.json", "bench", tmp_path / name)
    assert (tmp_path / "one.svg").read_bytes() == (tmp_path / "two.svg").read_bytes()
    drawing = ElementTree.parse(tmp_path / "one.svg").getroot()
    assert drawing.get("role") == "img"
    assert "L128 (rung) 45.0 %" in str(drawing.get("aria-label"))
    with pytest.raises(KeyError):
        charts.write_ladder(root / "analyze" / "findings.json", "other", tmp_path / "none.svg")


def test_importing_the_stage_loads_no_drawing_library() -> None:
    code = "import sys, long1k.stages.report; print(sorted({'altair', 'vl_convert', 'jinja2'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_reference_to_an_earlier_answer_is_marked() -> None:
    pieces = samples.cut_up("Let X be 3. What?", (Span("reference", 1, 0, 0, 12), Span("question", 1, 0, 12, 17)))
    assert [(piece.kind, piece.head) for piece in pieces] == [("reference", "Let X be 3. "), ("question", "What?")]
