"""Pages of unfinished studies and of several side by side, the files of figures, and the command that writes them."""

from __future__ import annotations

import csv
import json
import re
import shutil
import struct
from pathlib import Path
from xml.etree import ElementTree

from typer.testing import CliRunner

from browser import opened
from long1k.cli import app
from long1k.errors import EngineError
from long1k.locks import locked
from long1k.reporting.figures import DPI, Album, Figure, csv_of, slug
from long1k.reporting.losses import read_losses, thinned
from long1k.reporting.several import labels
from long1k.rows import Example, Score
from long1k.stages.report import report
from long1k.stages.report.several import report_several
from test_report import Page, built, example, put, score, whole_run


def unfinished(root: Path) -> None:
    """A run whose second seed was stopped: no analysis, one cell graded, one answered, one only made."""
    whole_run(root)
    shutil.rmtree(root / "analyze")
    (root / "recipe.json").write_text(json.dumps({"name": "halfway", "description": "What is there so far?"}))
    shutil.rmtree(root / "arms" / "L64" / "seed-1" / "score")
    graded = root / "arms" / "L64" / "seed-0" / "score" / "bench" / "math"
    shutil.rmtree(graded)
    rows = [score(1, "correct"), score(2, "wrong"), score(3, "no_answer", None, None)]
    put(graded, Score, rows, statuses={"correct": 1, "wrong": 1, "no_answer": 1})
    put(root / "arms" / "L128" / "seed-0" / "synthesize", Example, [example("L128")], groups=[])


def test_a_study_without_an_analysis_shows_what_is_there_and_says_that_no_verdict_is(tmp_path: Path) -> None:
    unfinished(tmp_path)
    html = built(tmp_path)
    page = Page(html)
    for words in (
        "halfway", "What is there so far?", "No verdict yet.", "How far the study is", "33.3 % of 3",
        "3 outputs, not graded", "1 rows", "What the model was trained on",
    ):  # fmt: skip
        assert words in page.text, words
    assert "Differences in accuracy" not in page.text
    report(tmp_path / "planned", tmp_path, ["arms/L64/seed-1/train", "arms/L256/seed-0/synthesize", "analyze"])
    planned = Page((tmp_path / "planned" / "report.html").read_text()).text
    assert "L256" in planned
    assert planned.count("missing") > html.count(">missing<")
    with opened(tmp_path / "report" / "report.html", width=400) as shown:
        assert shown.errors() == []
        assert shown.serious() == []


def test_scores_that_the_analysis_does_not_know_are_told(tmp_path: Path) -> None:
    whole_run(tmp_path)
    manifest = json.loads((tmp_path / "analyze" / "manifest.json").read_text())
    known = json.loads((tmp_path / "arms/L64/seed-0/score/bench/math/manifest.json").read_text())["digest"]
    manifest["inputs"] = {"bench/L64/0/scores": known}
    (tmp_path / "analyze" / "manifest.json").write_text(json.dumps(manifest))
    said = Page(built(tmp_path)).text
    assert "Graded since." in said
    assert "arms/L64/seed-1/score/bench/math" in said
    assert "arms/L64/seed-0/score/bench/math," not in said


def test_a_grade_more_makes_the_page_anew(tmp_path: Path) -> None:
    unfinished(tmp_path)
    first = report(tmp_path / "report", tmp_path)
    assert report(tmp_path / "report", tmp_path) == first
    put(tmp_path / "arms/L64/seed-1/score/bench/math", Score, [score(1, "correct")], statuses={"correct": 1})
    assert report(tmp_path / "report", tmp_path).digest != first.digest
    assert "100.0 % of 1" in (tmp_path / "report" / "report.html").read_text()


def test_files_of_figures_are_whole_and_hold_their_data(tmp_path: Path) -> None:
    whole_run(tmp_path)
    made = report(tmp_path / "report", tmp_path)
    folder = tmp_path / "report" / "figures"
    files = sorted(path.name for path in folder.iterdir())
    assert {f"figures/{name}" for name in files} == set(made.files) - {"report.html"}
    for name in sorted({name.rsplit(".", 1)[0] for name in files}):
        drawing = ElementTree.parse(folder / f"{name}.svg").getroot()
        inches = float(drawing.attrib["width"].removesuffix("in"))
        assert 2.5 < inches < 6.5
        png = (folder / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", png[16:24])
        assert abs(width - DPI * inches) <= 2
        assert abs(height - DPI * float(drawing.attrib["height"].removesuffix("in"))) <= 2
        pdf = (folder / f"{name}.pdf").read_bytes()
        box = re.search(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", pdf)
        assert box is not None
        assert abs(float(box[1]) - 72 * inches) <= 1  # of the size that a page of paper gives it
        assert pdf.startswith(b"%PDF-")
        assert pdf.rstrip().endswith(b"%%EOF")
        assert b"/FontFile" in pdf  # letters, not pictures of them
        assert b"/CreationDate" not in pdf
    rows = list(csv.DictReader((folder / "ladder-bench.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["arm"] for row in rows] == ["L32", "L64", "L128", "tokens-of-L128", "untrained"]
    assert float(rows[2]["estimate"]) == 0.45
    assert "arms/L64/seed-1/score/bench/math" in rows[1]["rows"]


def test_names_of_figures_are_safe_and_their_own() -> None:
    assert slug("../../etc/pass wd\x00<b>") == "etc-pass-wd-b"
    assert slug("…") == "figure"
    assert csv_of([{"a": 1, "b": None}, {"a": 'x,"y"', "c": "z"}]) == 'a,b,c\n1,,\n"x,""y""",,z\n'
    album = Album()
    added = [album.add(Figure("Same", "words", lambda width: width, [], stills={1: "<svg/>"}), (1,)) for _ in range(2)]
    assert [one["name"] for one in added if one] == ["same", "same-again"]


def test_the_folder_of_figures_holds_them_alone(tmp_path: Path) -> None:
    still = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9" viewBox="0 0 9 9"/>'
    album = Album([Figure("one", "words", lambda width: width, [], width=1, stills={1: still})])
    (tmp_path / "figures").mkdir()
    for left in ("old.svg", ".one.svg.77.tmp"):  # by a writing that was killed
        (tmp_path / "figures" / left).write_text("half")
    written = album.write(tmp_path)
    assert sorted((tmp_path / "figures").iterdir()) == sorted(written)
    assert {path.suffix for path in written} == {".svg", ".png", ".pdf", ".csv"}


def test_losses_are_thinned_by_their_means_and_a_torn_line_ends_them(tmp_path: Path) -> None:
    lines = [json.dumps({"step": step, "loss": float(step % 2)}) for step in range(1, 201)]
    (tmp_path / "metrics.jsonl").write_text("\n".join([*lines, '{"step": 201, "lo']))
    points = read_losses(tmp_path / "metrics.jsonl")
    assert len(points) == 200
    few = thinned(points, most=50)
    assert len(few) == 50
    assert {point["loss"] for point in few} == {0.5}
    assert few[-1]["step"] == 200
    assert read_losses(tmp_path / "none.jsonl") == []


def test_several_studies_stand_side_by_side(tmp_path: Path) -> None:
    for name in ("first", "second"):
        whole_run(tmp_path / name, f"{name} words")
    differences = [{"category": "recipe", "stage": "recipe", "key": "train.steps", "a": 240, "b": None, "same": True,
                    "places": ["recipe.json"], "of_tables": 1}]  # fmt: skip
    roots = [tmp_path / "first", tmp_path / "second"]
    made = report_several(tmp_path / "both", roots, [{"rows": differences, "why": ""}])
    html = (tmp_path / "both" / "report.html").read_text()
    said = Page(html).text
    for words in (
        "study first words",
        "study second words",
        "train.steps",
        "240",
        "not set",
        "+25.0 [+20.0,\u00a0+30.0]",
    ):
        assert words in said, words
    assert html.count('data-figure="ladder-') == 2
    assert str(tmp_path) not in html
    assert report_several(tmp_path / "both", roots, [{"rows": differences, "why": ""}]) == made
    assert 'data-figure="slopes"' in html
    with opened(tmp_path / "both" / "report.html") as shown:
        shown.page.locator(".chart[data-state=live]").first.wait_for()
        assert shown.errors() == []
        assert shown.left() == []
        assert shown.serious() == []


def test_studies_of_one_name_are_told_apart(tmp_path: Path) -> None:
    roots = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    assert labels(roots, [{"name": "s"}, {"name": "s"}]) == ["a/run", "b/run"]
    assert labels(roots, [{"name": "s"}, {"name": "t"}]) == ["s", "t"]


def test_the_command(tmp_path: Path) -> None:
    unfinished(tmp_path / "one")
    whole_run(tmp_path / "two")
    runner = CliRunner()
    done = runner.invoke(app, ["report", str(tmp_path / "one")])
    assert done.exit_code == 0, done.output
    assert "no verdict in it" in done.output
    assert (tmp_path / "one" / "report" / "report.html").is_file()
    done = runner.invoke(app, ["report", str(tmp_path / "one"), str(tmp_path / "two")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "one-and-two" / "report.html").is_file()
    done = runner.invoke(app, ["report", str(tmp_path / "two"), "--out", str(tmp_path / "mail")])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "mail" / "report.html").is_file()
    assert max(len(line.replace(str(tmp_path), "")) for line in done.output.splitlines()) <= 100
    with locked(tmp_path / "two", "--runs"):  # as a run does while it works
        refused = runner.invoke(app, ["report", str(tmp_path / "two")])
        assert isinstance(refused.exception, EngineError)
        assert runner.invoke(app, ["report", str(tmp_path / "two"), "--out", str(tmp_path / "mail")]).exit_code == 0
    for wrong in ([str(tmp_path / "none")], [str(tmp_path / "two"), str(tmp_path / "two")]):
        assert runner.invoke(app, ["report", *wrong]).exit_code != 0
