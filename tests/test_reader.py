"""The trace reader's data: every row is in the index, every text can be read again, and no text is more than text."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from long1k.reporting import reader, reader_blocks, reader_index, reader_math, reader_samples
from long1k.reporting.text import clean
from long1k.rows import Example, Prediction, Score
from long1k.tables import iter_table
from reader_study import ARMS, HOSTILE, LONG, QUESTIONS, SEEDS, put_findings, write_study

MATH = "{http://www.w3.org/1998/Math/MathML}"


def unpack(packed: str) -> Any:
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def summed(steps: list[int]) -> list[int]:
    out, at = [], 0
    for step in steps:
        at += step
        out.append(at)
    return out


class Read:
    """What a page's reader finds: the index, and every block by its number."""

    def __init__(self, out: Path, made: reader.Reader) -> None:
        inline = [
            re.fullmatch(r'<script type="text/plain" id="([\w-]+)">([\w+/=]+)</script>', one) for one in made.blocks
        ]
        held = {block[1]: unpack(block[2]) for block in inline if block}
        assert len(held) == len(made.blocks)
        self.index = held.pop("reader-index")
        self.blocks = {int(name.removeprefix("texts-")): value for name, value in held.items()}
        for number, name in self.index["files"].items():
            call = re.fullmatch(r'long1k\.arrived\("(texts/\d+\.js)","([\w+/=]+)"\);\n', (out / name).read_text())
            assert call is not None
            assert call[1] == name
            self.blocks[int(number)] = unpack(call[2])
        outputs = self.index["outputs"]
        for name in ("cell", "prompt", "row", "block"):
            outputs[name] = summed(outputs[name])
        self.outputs = outputs
        self.rows = self.index["rows"]
        self.rows["output"] = summed(self.rows["output"])

    def pieces(self, output: int) -> list[Any]:
        return self.blocks[self.outputs["block"][output]]["o"][str(output)]


def read(root: Path, out: Path, findings: dict[str, Any] | None = None) -> Read:
    out.mkdir(parents=True, exist_ok=True)
    known = findings if findings is not None else json.loads((root / "analyze" / "findings.json").read_text())
    return Read(out, reader.build(out, root, known))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    write_study(folder, HOSTILE)
    return folder


def check_whole(root: Path, found: Read) -> None:
    """Every row of every table stands in the index with what it says, every text in a block."""
    at = {(found.index["cells"][cell]["table"], row): output
          for output, (cell, row) in enumerate(zip(found.outputs["cell"], found.outputs["row"], strict=True))}  # fmt: skip
    parts = {key: at for at, key in enumerate(zip(found.rows["output"], found.rows["part"], strict=True))}
    seen = 0
    for folder in sorted(root.glob("arms/*/seed-*/predict/*")):
        scores: dict[str, list[Score]] = {}
        for score in iter_table(folder.parents[1] / "score" / folder.name / "math", Score):
            scores.setdefault(score.prediction_id, []).append(score)
        for number, row in enumerate(iter_table(folder, Prediction)):
            output = at[(folder.relative_to(root).as_posix(), number)]
            cell = found.index["cells"][found.outputs["cell"][output]]
            prompt = found.index["prompts"][found.outputs["prompt"][output]]
            assert found.outputs["id"][output] == clean(row.prediction_id)
            assert (cell["arm"], cell["seed"]) == (row.arm, row.train_seed)
            assert found.index["benchmarks"][prompt["b"]] == row.benchmark
            assert found.outputs["tokens"][output] == row.num_tokens
            assert found.index["finishes"][found.outputs["finish"][output]] == row.finish_reason
            assert "".join(piece[1] for piece in found.pieces(output)) == clean(row.text)
            block = found.blocks[found.outputs["block"][output]]
            question = [clean(row.question), [clean(answer) for answer in row.answers]]
            assert block["q"][str(found.outputs["prompt"][output])] == question
            for score in scores[row.prediction_id]:
                seen += 1
                graded = parts[(output, score.part)]
                assert found.index["statuses"][found.rows["status"][graded]] == score.status
                marked = [p[1] for p in found.pieces(output) if p[0] == "extracted" and p[2] == score.part + 1]
                assert marked == ([] if score.extracted is None else [score.extracted])
    assert seen == len(found.rows["output"]) == 2 * 3 * len(SEEDS) * QUESTIONS * 3 // 2
    assert len(at) == len(found.outputs["id"])


def test_every_row_and_every_text(root: Path, tmp_path: Path) -> None:
    found = read(root, tmp_path)
    check_whole(root, found)
    assert not found.index["files"]
    assert {(cell["role"], cell["rung"]) for cell in found.index["cells"] if cell["arm"] == "L128"} == {("rung", 128)}
    assert {cell["rung"] for cell in found.index["cells"] if cell["arm"] == "same-tokens"} == {None}


def test_a_large_study_has_files_beside_the_page(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, size in (
        ("ALL_INLINE_BYTES", 9000),
        ("INLINE_BYTES", 6000),
        ("_SMALL_BLOCK", 3000),
        ("_LARGE_BLOCK", 8000),
    ):
        monkeypatch.setattr(reader_blocks, name, size)
    (tmp_path / "texts").mkdir()
    stale = tmp_path / "texts" / "9999.js"
    stale.write_text("of an earlier page")
    found = read(root, tmp_path)
    check_whole(root, found)
    assert not stale.exists()
    written = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.js"))
    assert written == sorted(found.index["files"].values())
    assert len(written) > 3
    inline = set(found.blocks) - {int(number) for number in found.index["files"]}
    # Both benchmarks and the samples have something in the page, of each what comes first.
    prompts = {found.index["prompts"][found.outputs["prompt"][output]]["b"]
               for output, block in enumerate(found.outputs["block"]) if block in inline}  # fmt: skip
    assert prompts == {0, 1}
    # One question's outputs over all arms lie together.
    blocks = found.outputs["block"]
    for prompt in range(len(found.index["prompts"])):
        of_it = {blocks[at] for at, one in enumerate(found.outputs["prompt"]) if one == prompt}
        assert max(of_it) - min(of_it) == len(of_it) - 1
    again = tmp_path / "again"
    read(root, again)
    for name in written:
        assert (again / name).read_bytes() == (tmp_path / name).read_bytes()


def test_same_tables_same_bytes(root: Path, tmp_path: Path) -> None:
    findings = json.loads((root / "analyze" / "findings.json").read_text())
    first, second = (reader.build(tmp_path, root, findings).blocks for _ in range(2))
    assert first == second
    assert reader.digest(root, findings) == reader.digest(root, findings)


def test_a_study_without_findings_or_with_half_its_tables(tmp_path: Path) -> None:
    write_study(tmp_path / "run", findings=False)
    (tmp_path / "run/arms/L64/seed-0/predict/single/manifest.json").unlink()
    (tmp_path / "run/arms/L64/seed-1/score/single/math/manifest.json").unlink()
    found = read(tmp_path / "run", tmp_path / "out", {})
    tables = {cell["table"] for cell in found.index["cells"]}
    assert "arms/L64/seed-0/predict/single" not in tables
    assert "arms/L64/seed-1/predict/single" in tables
    ungraded = found.index["statuses"].index("ungraded")
    assert found.rows["status"].count(ungraded) == QUESTIONS


def test_nothing_finished_is_no_reader(tmp_path: Path) -> None:
    made = reader.build(tmp_path, tmp_path, {})
    assert (made.blocks, made.files, made.outputs, made.samples) == ([], [], 0, 0)


def test_published_outputs_and_questions_in_another_order(tmp_path: Path) -> None:
    from reader_study import prediction, put

    root = tmp_path / "run"
    made = [prediction(arm, 0, question, "words") for arm in ARMS for question in range(4)]
    put(root / "published/paper/predictions", Prediction, [row for row, _ in made])
    put(root / "published/paper/score", Score, [score for _, scores in made for score in scores])
    turned = [prediction("L64", 0, question, "words") for question in (3, 1, 2, 0)]
    for seed, rows in ((0, turned), (1, turned[::-1])):
        put(root / f"arms/L64/seed-{seed}/predict/single", Prediction, [row for row, _ in rows])
    found = read(root, tmp_path / "out", {})
    assert [cell["arm"] for cell in found.index["cells"]] == ["L64", "L64", *ARMS]
    for output, name in enumerate(found.outputs["id"]):
        text = "".join(piece[1] for piece in found.pieces(output))
        assert f"on {name.split('-')[-1]}," in text or len(text) > LONG


def test_loops_are_marked(root: Path, tmp_path: Path) -> None:
    found = read(root, tmp_path)
    loops = [output for output, loop in enumerate(found.outputs["loop"]) if loop]
    assert {found.outputs["id"][output] for output in loops} == {"y-L128-0-10", "y-L128-1-10"}
    for output in loops:
        repeated = [piece[1] for piece in found.pieces(output) if piece[0] == "loop"]
        assert repeated
        assert "check this step again" in repeated[0]


def test_samples_stand_as_the_trainer_sees_them(root: Path, tmp_path: Path) -> None:
    found = read(root, tmp_path)
    samples = found.index["samples"]
    assert [cell["arm"] for cell in samples["cells"]] == list(ARMS)
    assert len(samples["id"]) == 3 * len(ARMS)
    rows = {row.example_id: row for row in iter_table(root / "arms/L64/seed-0/synthesize", Example)}
    for at, name in enumerate(samples["id"]):
        if name not in rows:
            continue
        held = found.blocks[samples["block"][at]]["s"][str(at)]
        assert [(p[0], p[2]) for p in held["p"] if p[0] != "other"] == [
            ("question", 1), ("thinking", 1), ("linker", 2), ("thinking", 2), ("solution", 2)
        ]  # fmt: skip
        # Without a template the messages stand for themselves; the answer carries loss, the question does not.
        trained = "".join(p[1] for p in held["p"] if p[3])
        assert trained == clean(rows[name].completion[0].content)


def test_the_loss_is_that_of_the_chat_template() -> None:
    from long1k.chat import Chat
    from long1k.tokens import load_tokenizer
    from reader_study import example

    chat = Chat(load_tokenizer("package:micro"), "think", None, None)
    row = example("L64", 0, "abc")
    pieces = reader_samples.pieces_of(row, chat)
    segments = chat.segments([*row.prompt, *row.completion])
    assert "".join(p[1] for p in pieces) == "".join(words for words, _ in segments)
    assert "".join(p[1] for p in pieces if p[3]) == "".join(words for words, trained in segments if trained)
    assert [p[0] for p in pieces if p[0] not in ("other",)] == [
        "question",
        "thinking",
        "linker",
        "thinking",
        "solution",
    ]


words = st.text(st.characters(codec="utf-8") | st.sampled_from("$\\{}[]()<>&\r\n\x00\u202e\u2028"), max_size=200)


@settings(max_examples=200, deadline=None)
@given(
    thinking=words,
    answer=words,
    span=st.tuples(st.integers(-5, 250), st.integers(-5, 250)),
    finish=st.sampled_from(["stop", "length"]),
)
def test_pieces_of_any_text_are_the_text(thinking: str, answer: str, span: tuple[int, int], finish: str) -> None:
    row = {
        "text": f"<think>{thinking}</think>{answer}",
        "thinking": thinking,
        "answer_text": answer,
        "finish_reason": finish,
        "budget_flag": None,
    }
    grade = reader_index.Grade("wrong", answer, span, "note")
    pieces, _, _ = reader_blocks.pieces_of(row, [grade, None])
    assert "".join(piece[1] for piece in pieces) == clean(row["text"])
    json.dumps(pieces, allow_nan=False)
    assert not re.search("[\x00\x1b\u202e\ud800-\udfff]", "".join(piece[1] for piece in pieces))


@settings(max_examples=200, deadline=None)
@given(st.text("$\\{}[]()x1^_& \n" + "fracsqtbegin", max_size=120))
def test_any_formula_is_drawn_from_allowed_names_or_left(text: str) -> None:
    def check(tree: Any) -> None:
        if isinstance(tree, str):
            return
        assert tree[0] in reader_math.TAGS
        rest = tree[1:]
        if rest and isinstance(rest[0], dict):
            assert set(rest[0]) <= reader_math.ATTRIBUTES
            rest = rest[1:]
        for child in rest:
            check(child)

    for formula in reader_math.formulas(text):
        assert formula in text
        tree = reader_math.tree_of(formula)
        if tree is not None:
            assert tree[0] in ("display", "inline")
            for child in tree[1:]:
                check(child)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("so $x^2$ and \\(y\\), \\[z\\] $$w$$", ["$x^2$", "\\(y\\)", "\\[z\\]", "$$w$$"]),
        ("it costs $5 and then $6 more", []),
        ("\\$5 and $x$", ["$x$"]),
        ("open $x without an end", []),
        ("a line \\\\[2pt] is no formula \\\\(x\\\\)", []),
        ("\\[\\begin{aligned} a &= b \\\\[2pt] c &= d \\end{aligned}\\]", ["\\[\\begin{aligned} a &= b \\\\[2pt] c &= d \\end{aligned}\\]"]),
    ],
)  # fmt: skip
def test_where_formulas_are(text: str, found: list[str]) -> None:
    assert list(reader_math.formulas(text)) == found


def test_formulas_become_trees() -> None:
    assert reader_math.tree_of("$\\frac{1}{2}$") == ["inline", ["mfrac", ["mn", "1"], ["mn", "2"]]]
    assert reader_math.tree_of("\\[x^2\\]") == ["display", ["msup", ["mi", "x"], ["mn", "2"]]]
    assert reader_math.tree_of("$a < b$") == ["inline", ["mi", "a"], ["mo", "<"], ["mi", "b"]]
    boxed = reader_math.tree_of("$\\boxed{7}$")
    assert boxed == ["inline", ["menclose", {"notation": "box"}, ["mn", "7"]]]


@pytest.mark.parametrize(
    "formula", ["$\\nosuchcommand{x}$", "$x_{$", "$x$ y", "$" + "{" * 60 + "x" + "}" * 60 + "$", "$" + "x" * 399 + "x$ ",
                "$$" + "x+" * 700 + "$$", "$$" + "\\sqrt" * 100 + "x$$", "plain", ""]
)  # fmt: skip
def test_what_cannot_be_drawn_stays_as_it_is(formula: str) -> None:
    assert reader_math.tree_of(formula) is None


def test_links_in_formulas_lead_nowhere() -> None:
    tree = reader_math.tree_of("$\\href{javascript:alert(1)}{x}$")
    assert tree is None or "javascript" not in json.dumps(tree)


def test_no_more_formulas_than_allowed() -> None:
    drawn = reader_math.Drawn()
    drawn.allow(10)
    made = drawn.of(iter(["$x$ $y$ $x$ $z_1$ $w$", "$v$ $x$"]))
    assert list(made) == ["$x$", "$y$", "$w$"]
    assert (drawn.converted, drawn.beyond) == (3, 2)


def test_findings_change_the_digest(root: Path, tmp_path: Path) -> None:
    write_study(tmp_path, "other words")
    assert reader.digest(tmp_path, put_findings(tmp_path)) != reader.digest(root, put_findings(root))
