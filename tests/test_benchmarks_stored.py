"""Benchmarks of stored rows: every published shape, from files and from a hub on this machine; golds and left-out rows."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubserver import COMMITS, FakeHub, fake_hub
from long1k.benchmarks import BENCHMARKS, golds
from long1k.benchmarks.base import Item, account, identity
from long1k.benchmarks.stored import StoredBenchmark
from long1k.errors import DataError, Long1kError, RecipeError
from long1k.plugins import load_plugin, need, validate
from realdata import need_extra, real_data
from test_sources_files import write_rows

OLYMPIAD = {
    "id": 1, "question": "How many?", "solution": ["First way: 7 or 9.", "Second way."], "final_answer": ["$7$, $9$"],
    "context": None, "image_1": None, "image_2": None, "modality": "Text-only", "difficulty": "Competition",
    "is_multiple_answer": True, "unit": None, "answer_type": "Numerical", "error": None,
    "question_type": "Open-ended", "subfield": "Algebra", "subject": "Math", "language": "English",
}  # fmt: skip
# One row of each published shape, by benchmark: (rows, expected golds).
SHAPES: dict[str, tuple[list[dict[str, Any]], list[str]]] = {
    "math500": (
        [{"problem": "1+1?", "solution": "It is \\boxed{2}.", "answer": "2", "subject": "Algebra", "level": 3,
          "unique_id": "test/1.json"}],
        ["2"],
    ),
    "aime24": ([{"id": 60, "problem": "p", "solution": "\\boxed{033}", "answer": "033", "url": "u", "year": "2024"},
                {"ID": "2024-I-2", "Problem": "q", "Solution": "s", "Answer": 25},
                {"id": 62, "problem": "r", "solution": "so $\\boxed{204}$", "url": "u"}], ["033", "25", "204"]),
    "aime25": ([{"problem": "p", "answer": "70", "id": "0"}, {"problem": "q", "answer": 588, "id": "1"}], ["70", "588"]),
    "amc": ([{"id": 0, "problem": "p", "answer": 142.0, "url": "u"}, {"id": 1, "problem": "q", "answer": 1.5, "url": "u"}],
            ["142", "1.5"]),
    "amc23": ([{"id": 0, "question": "p", "answer": "27.0", "url": "u"}, {"id": 1, "question": "q", "answer": "-3", "url": "u"}],
              ["27", "-3"]),
    "olympiadbench": ([OLYMPIAD], ["7, 9"]),
    "minerva": ([{"question": "p", "answer": "4.5e33"}, {"problem": "q", "solution": "thus $x=\\boxed{3}$ cm", "type": "t"}],
                ["4.5 \\times 10^{33}", "3"]),
    "gsm8k": ([{"question": "p", "answer": "2 * 9 = <<2*9=18>>18\n#### 18"},
               {"question": "q", "answer": "much\n#### $1,234,567"}], ["18", "1234567"]),
}  # fmt: skip


def make(name: str, path: Path | str | None = None, **config: Any) -> StoredBenchmark:
    factory = load_plugin(name, BENCHMARKS, "benchmark")
    values = config if path is None else {"path": str(path), **config}
    made: StoredBenchmark = factory(validate(factory.Config, values, name))
    return made


def items(name: str, path: Path | str | None = None, **config: Any) -> list[Item]:
    return list(make(name, path, **config).load())


def lines(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("ending", ["jsonl", "jsonl.gz", "json", "parquet"])
@pytest.mark.parametrize("name", SHAPES)
def test_published_shapes_give_their_golds(name: str, ending: str, tmp_path: Path) -> None:
    rows, expected = SHAPES[name]
    if ending == "parquet":  # one table has one set of columns
        columns = {key for row in rows for key in row}
        rows = [{key: row.get(key) for key in columns} for row in rows]
        if name == "aime24":
            rows = [{**row, "Answer": None if row["Answer"] is None else str(row["Answer"])} for row in rows]
        if name == "aime25":
            rows = [{**row, "answer": str(row["answer"])} for row in rows]
    found = items(name, write_rows(tmp_path / f"rows.{ending}", rows))
    assert [item.answers[0] for item in found] == expected
    for item in found:
        assert item.messages[0].content.startswith(item.question)
        assert item.messages[0].content.count("\\boxed{}") == 1


def test_subject_level_and_solution_are_kept(tmp_path: Path) -> None:
    (item,) = items("math500", lines(tmp_path / "m.jsonl", SHAPES["math500"][0][0]))
    assert (item.subject, item.level, item.solution) == ("Algebra", "3", "It is \\boxed{2}.")
    (item, _) = items("gsm8k", lines(tmp_path / "g.jsonl", *SHAPES["gsm8k"][0]))
    assert item.solution is not None
    assert item.solution.endswith("#### 18")
    (item,) = items("olympiadbench", lines(tmp_path / "o.jsonl", OLYMPIAD))
    assert (item.subject, item.level, item.solution) == ("Algebra", "Competition", "First way: 7 or 9.")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question_type": "Theorem proof", "final_answer": None}, "a proof is asked for"),
        ({"modality": "Multimodal"}, "an image belongs to it"),
        ({"image_1": {"bytes": "x", "path": None}}, "an image belongs to it"),
        ({"question": "See <image_1>."}, "an image belongs to it"),
        ({"answer_type": "Need_human_evaluate"}, "only a person can grade it"),
        ({"error": "1e-1"}, "graded with a tolerance"),
    ],
)
def test_what_cannot_be_asked_or_graded_is_left_out_and_counted(
    change: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    made = make("olympiadbench", lines(tmp_path / "o.jsonl", OLYMPIAD, {**OLYMPIAD, **change}, OLYMPIAD))
    assert account(made)["left_out"] == {reason: 1}
    assert account(made)["rows"] == 3
    assert len(list(made.load())) == 2


def test_context_and_unit_stand_in_the_prompt(tmp_path: Path) -> None:
    row = {**OLYMPIAD, "context": "A ball falls.", "unit": "m", "final_answer": ["$3$"], "error": "0"}
    (item,) = items("olympiadbench", lines(tmp_path / "o.jsonl", row))
    assert item.messages[0].content.startswith("A ball falls.\n\nHow many?\nGive the answer in the unit m.\nPlease")
    assert item.question == "How many?"


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (["$1$", "$2$"], "1, 2"), (["$(0,1)$."], "(0,1)"), ("$x=3$", "x=3"), ([], None), (["$$"], None), (None, None),
        ([7], "7"), (["\\frac{1}{2}"], "\\frac{1}{2}"), (["$1,-1$"], "1,-1"),
    ],
)  # fmt: skip
def test_answers_that_are_lists(value: Any, expected: str | None) -> None:
    assert golds.listed(value) == expected


@given(st.integers(-(10**9), 10**9))
def test_whole_numbers_survive_tables_of_floats(number: int) -> None:
    assert golds.whole(golds.plain(float(number)) or "") == str(number) == golds.whole(f"{number}.0")
    assert golds.after_hashes(f"so\n#### {number:,}") == str(number)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("4.5e33", "4.5 \\times 10^{33}"), ("-1E-04", "-1 \\times 10^{-4}"), ("2e+3", "2 \\times 10^{3}"), ("e33", "e33"),
     ("3", "3"), ("2e3x", "2e3x"), ("e^{-x}", "e^{-x}")],
)  # fmt: skip
def test_powers_of_ten_are_written_as_models_write_them(text: str, expected: str) -> None:
    assert golds.powers(text) == expected


@pytest.mark.parametrize("value", [True, None, "", "  ", {"a": 1}, ["7"]])
def test_what_is_no_answer_is_none(value: Any) -> None:
    assert golds.plain(value) is None


@pytest.mark.parametrize(
    ("name", "row", "message"),
    [
        ("math500", {"problem": "p", "answer": None}, "row 2: no gold answer can be found in field 'answer'"),
        ("math500", {"problem": "p"}, "no field 'answer' or 'final_answer'"),
        ("math500", {"answer": "1"}, "no field 'problem' or 'question'"),
        ("math500", {"problem": " ", "answer": "1"}, "no question can be found in field 'problem'"),
        ("gsm8k", {"question": "p", "answer": "a long story\nwithout an end"}, "no gold answer can be found"),
        ("gsm8k", {"question": "p", "answer": "nothing behind\n#### "}, "no gold answer can be found"),
        ("minerva", {"question": "p", "solution": "no idea"}, "no field 'answer'"),
        ("aime25", {"problem": "p", "answer": "1234"}, "no answer of the AIME"),
        ("aime25", {"problem": "p", "answer": "1/2"}, "no answer of the AIME"),
        ("olympiadbench", {**OLYMPIAD, "final_answer": []}, "no gold answer can be found"),
        ("math500", {"problem": "half \ud800", "answer": "1"}, "surrogate"),
    ],
)
def test_a_row_without_question_or_gold_stops_with_its_place(
    name: str, row: dict[str, Any], message: str, tmp_path: Path
) -> None:
    good = SHAPES[name][0][0]
    with pytest.raises(DataError, match=message.replace("(", "\\(")) as caught:
        items(name, lines(tmp_path / "rows.jsonl", good, row))
    assert "rows.jsonl, row 2" in caught.value.what
    assert caught.value.mend


def test_fields_can_be_named(tmp_path: Path) -> None:
    path = lines(tmp_path / "x.jsonl", {"q": "p", "a": "1", "answer": "2", "how": "s", "kind": "k", "hard": 2})
    (item,) = items(
        "jsonl", path, question="q", answer="a", solution="how", subject="kind", level="hard", instruction=""
    )
    assert (item.question, item.answers, item.solution, item.subject, item.level) == ("p", ("1",), "s", "k", "2")
    assert item.messages[0].content == "p"


def test_an_instruction_is_not_written_twice(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "a.jsonl",
        {"prompt": "p\nPlease reason step by step, and put your final answer within \\boxed{}.", "answer": 7},
    )
    (item,) = items("aime", path)
    assert item.question == "p"
    assert item.messages[0].content.count("Please reason") == 1


def test_subset_and_limit_choose_questions(tmp_path: Path) -> None:
    rows = [
        {"problem": f"p{n}", "answer": str(n), "subject": "Algebra" if n % 2 else "Geometry", "level": n % 3}
        for n in range(12)
    ]
    path = lines(tmp_path / "m.jsonl", *rows)
    made = make("math500", path, subset={"subject": "Algebra", "level": [1, 2]}, limit=3)
    assert [item.question for item in made.load()] == ["p1", "p5", "p7"]
    assert account(made)["left_out"] == {"not in the subset": 5}
    assert [i.item_id for i in made.load()] == [
        i.item_id for i in items("math500", path) if i.question in ("p1", "p5", "p7")
    ]
    with pytest.raises(DataError, match=r"no question is left.*\n.*subject: Algebra, Geometry"):
        items("math500", path, subset={"subject": "Topology"})


def test_several_files_are_one_benchmark(tmp_path: Path) -> None:
    lines(tmp_path / "a.jsonl", {"problem": "p", "answer": 1})
    lines(tmp_path / "b.jsonl", {"problem": "p", "answer": 1})
    made = make("jsonl", tmp_path)
    first = made.digest()
    assert len({item.item_id for item in made.load()}) == 2
    lines(tmp_path / "b.jsonl", {"problem": "p", "answer": 2})
    assert make("jsonl", tmp_path).digest() != first


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "give path: FILE, or hub: OWNER/NAME"),
        ({"path": "a", "hub": "b/c"}, "one of path and hub"),
        ({"path": "a", "split": "test"}, "split: for hub only"),
        ({"path": "a", "pth": 1}, "did you mean 'path'"),
        ({"path": "a", "subset": {"sbject": 1}}, "did you mean 'subject'"),
    ],
)
def test_mistakes_in_the_configuration(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        make("jsonl", **values)


def test_places_are_no_part_of_the_identity(tmp_path: Path) -> None:
    row = {"problem": "p", "answer": 1}
    one, two = make("jsonl", lines(tmp_path / "a.jsonl", row)), make("jsonl", lines(tmp_path / "b.jsonl", row))
    assert (identity(one), one.digest()) == (identity(two), two.digest())
    assert identity(one) != identity(make("jsonl", tmp_path / "a.jsonl", limit=1))


def test_a_grader_of_ones_own(tmp_path: Path) -> None:
    path = lines(tmp_path / "a.jsonl", {"problem": "p", "answer": "B"})
    assert make("jsonl", path).grader == "math"
    assert make("jsonl", path, grader="choice").grader == "choice"


# --- from the hub -----------------------------------------------------------------------------------------

CARDS = {
    "openai/gsm8k": ("gsm8k", "main", "test", "main/test-0.parquet"),
    "HuggingFaceH4/MATH-500": ("math500", "default", "test", "test.jsonl"),
    "Hothan/OlympiadBench": ("olympiadbench", "OE_TO_maths_en_COMP", "train", "OlympiadBench/x.parquet"),
    "math-ai/aime25": ("aime25", "default", "test", "test.jsonl"),
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    need_extra("huggingface_hub")
    constants = need("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    data: dict[str, dict[str, bytes]] = {}
    for repo, (name, config, split, file) in CARDS.items():
        rows = [{key: str(v) if name == "aime25" else v for key, v in row.items()} for row in SHAPES[name][0]]
        body = write_rows(tmp_path / file.replace("/", "-"), rows).read_bytes()
        card = f"---\nconfigs:\n- config_name: other\n  data_files: other.jsonl\n- config_name: {config}\n  data_files:\n  - split: {split}\n    path: {file}\n---\n"
        data[repo] = {"README.md": card.encode(), file: body, "other.jsonl": b'{"question": "other", "answer": "0"}\n'}
    # A repository without a word on its configurations, as a mirror of GPQA: the file has the configuration's name.
    gpqa = {
        "Question": "Which\nof them?",
        "Correct Answer": "a,\n b",
        **{f"Incorrect Answer {n}": str(n) for n in (1, 2, 3)},
    }
    csv_body = write_rows(tmp_path / "gpqa.csv", [gpqa]).read_bytes()
    data["Idavidrein/gpqa"] = {"gpqa_diamond.csv": csv_body, "gpqa_main.csv": b"x\n"}
    data["mirror/olympiad"] = {
        "OlympiadBench/OE_TO_maths_en_COMP/OE_TO_maths_en_COMP.parquet": data["Hothan/OlympiadBench"][
            "OlympiadBench/x.parquet"
        ],
        "OlympiadBench/OE_MM_maths_en_COMP/OE_MM_maths_en_COMP.parquet": b"",
    }
    with fake_hub(data) as server:
        yield server


def test_repositories_without_a_card_are_read_by_the_names_of_their_files(hub: FakeHub) -> None:
    (item,) = make("gpqa", endpoint=hub.endpoint).load()
    assert item.question == "Which\nof them?"
    assert f"\n{item.answers[0]}) a,\nb\n" in item.messages[0].content
    mirror = make("olympiadbench", hub="mirror/olympiad", config="OE_TO_maths_en_COMP", endpoint=hub.endpoint)
    assert [one.answers[0] for one in mirror.load()] == ["7, 9"]


@pytest.mark.parametrize("repo", CARDS)
def test_the_default_repository_is_asked_in_its_own_configuration(repo: str, hub: FakeHub, tmp_path: Path) -> None:
    name, config, _, _ = CARDS[repo]
    for values in ({}, {"hub": repo}, {"hub": True}) if config != "default" else ({"config": "default"},):
        made = make(name, endpoint=hub.endpoint, **values)
        assert [item.answers[0] for item in made.load()] == SHAPES[name][1]
        told = account(made)
        assert (told["hub"], told["commit"]) == (repo, COMMITS["main"])


def test_a_revision_is_kept_in_digest_and_account(hub: FakeHub) -> None:
    newest = make("gsm8k", endpoint=hub.endpoint)
    tagged = make("gsm8k", hub="openai/gsm8k@v1", endpoint=hub.endpoint)
    assert account(tagged)["revision"] == "v1"
    assert account(tagged)["commit"] == COMMITS["v1"]
    assert newest.digest() != tagged.digest()
    assert "endpoint" not in identity(tagged)


def test_what_was_fetched_is_read_without_the_network(hub: FakeHub) -> None:
    first = make("gsm8k", endpoint=hub.endpoint)
    found = list(first.load())
    hub.data.clear()
    again = make("gsm8k", endpoint=hub.endpoint)
    assert list(again.load()) == found
    assert again.digest() == first.digest()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"hub": "no/such"}, "no data set no/such"),
        ({"hub": "openai/gsm8k@v9"}, "no such revision"),
        ({"split": "dev"}, "no split 'dev'"),
        ({"config": "sokratic"}, "no configuration 'sokratic'"),
    ],
)
def test_faults_of_the_hub_say_how_to_mend_them(values: dict[str, Any], message: str, hub: FakeHub) -> None:
    with pytest.raises(DataError, match=message) as caught:
        make("gsm8k", endpoint=hub.endpoint, **values).digest()
    assert caught.value.mend


def test_without_the_network_a_copy_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_extra("huggingface_hub")
    constants = need("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(Long1kError, match="path:"):
        make("math500").digest()


def test_a_parquet_file_with_images_and_lists_is_read(tmp_path: Path) -> None:
    rows = [OLYMPIAD, {**OLYMPIAD, "image_1": {"bytes": b"x", "path": None}}]
    rows = [{**row, "image_1": row["image_1"] or None} for row in rows]
    made = make("olympiadbench", write_rows(tmp_path / "o.parquet", rows))
    assert account(made)["left_out"] == {"an image belongs to it": 1}


@pytest.mark.parametrize(
    ("name", "file", "count"),
    [("math500", "math500.jsonl", 500), ("aime24", "aime24.jsonl", 30), ("aime25", "aime25.jsonl", 30),
     ("aime", "aime_1983_2023.jsonl.gz", 975)],
)  # fmt: skip
def test_real_files(name: str, file: str, count: int) -> None:
    made = make(name, real_data("benchmarks", file))
    found = list(made.load())
    assert len(found) == count == account(made)["rows"]
    assert account(made)["left_out"] == {}
    if name == "math500":
        assert {item.level for item in found} == {"1", "2", "3", "4", "5"}
        algebra = items(name, real_data("benchmarks", file), subset={"subject": ["Algebra"], "level": [5]})
        assert [i.item_id for i in algebra] == [i.item_id for i in found if i.subject == "Algebra" and i.level == "5"]
