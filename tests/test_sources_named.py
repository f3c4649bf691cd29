"""Every named source, on rows of the published shape: its contract, its fields, and what it rejects."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from long1k.curation.lint import lint_text
from long1k.curation.normalize import Fault, Parts, split_response, strip_chat_tags
from long1k.errors import DataError, RecipeError
from long1k.jsonlines import BadRow
from long1k.plugins import load_plugin, validate
from long1k.recipe import make_sources
from long1k.sources import SOURCES
from long1k.sources.raw import RawTrace
from realdata import real_data
from test_sources_files import write_rows

B, E, SB, SE = "<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>"
REPLY = f"{B}\n\nt\n\n{E}\n\n{SB}\n\n\\boxed{{5}}\n\n{SE}"


def _chat(question: str, reply: str, **more: Any) -> dict[str, Any]:
    return {"conversations": [{"from": "user", "value": question}, {"from": "assistant", "value": reply}], **more}


def _openthoughts(i: int) -> dict[str, Any]:
    return {"system": "Think first.", **_chat(f"Return your final response within \\boxed{{}}. q{i}", REPLY)}


def _metadata(i: int) -> dict[str, Any]:
    return {
        "problem": f"q{i}", "deepseek_reasoning": "t", "deepseek_solution": "\\boxed{5}", "domain": "math",
        "ground_truth_solution": "Worked.\nSo \\boxed{5}.", "source": "numina_math", "test_cases": None,
        "starter_code": None,
    }  # fmt: skip


def _openthoughts3(i: int) -> dict[str, Any]:
    return _chat(f"q{i}", "<think>t</think>\\boxed{5}", difficulty=i, domain="math", source="ai2-adapt-dev")


def _s1k_11(i: int) -> dict[str, Any]:
    return {
        "question": f"q{i}", "solution": "5", "cot_type": "math", "source_type": "aime", "metadata": "{}",
        "gemini_thinking_trajectory": "g", "gemini_attempt": "ga", "gemini_grade": "No",
        "deepseek_thinking_trajectory": "d", "deepseek_attempt": "da", "deepseek_grade": "Yes",
    }  # fmt: skip


def _s1k(i: int) -> dict[str, Any]:
    return {
        "solution": "Worked.\n\\boxed{5}", "question": f"q{i}", "cot_type": "crossword", "source_type": "cryptic",
        "metadata": "{}", "cot": None, "thinking_trajectories": ["first", "second"], "attempt": "a",
    }  # fmt: skip


def _limo(i: int) -> dict[str, Any]:
    return {"question": f"q{i}", "solution": "Long.\n\n**Final Answer**\n\\boxed{5}", "answer": 5}


def _openr1(i: int) -> dict[str, Any]:
    return {
        "problem": f"q{i}", "solution": "Worked.", "answer": "5", "problem_type": "Algebra", "uuid": f"u{i}",
        "question_type": "math-word-problem", "source": "olympiads", "is_reasoning_complete": [True, True],
        "generations": ["<think>a</think>5", "<think>b</think>6"], "correctness_math_verify": [True, False],
        "correctness_llama": None, "finish_reasons": ["stop", "stop"], "correctness_count": 1,
    }  # fmt: skip


def _distilled(i: int) -> dict[str, Any]:
    return {
        "question": f"q{i}", "answer": "5", "thinking": "t", "solution": "\\boxed{5}", "teacher": "a-teacher",
        "correct": True, "subject": "math", "difficulty": 0.25, "difficulty_origin": "1 - pass rate", "license": None,
        "source_row": f"p{i}/0",
    }  # fmt: skip


CASES: dict[str, tuple[str, Callable[[int], dict[str, Any]], dict[str, Any]]] = {
    "openthoughts default": ("openthoughts", _openthoughts, {}),
    "openthoughts metadata": ("openthoughts", _metadata, {}),
    "openthoughts 3": ("openthoughts", _openthoughts3, {}),
    "s1k 1.1 deepseek": ("s1k", _s1k_11, {}),
    "s1k 1.1 gemini": ("s1k", _s1k_11, {"teacher": "gemini"}),
    "s1k": ("s1k", _s1k, {"teacher": "gemini"}),
    "limo": ("limo", _limo, {}),
    "openr1": ("openr1", _openr1, {}),
    "distilled": ("distilled", _distilled, {}),
    "files": ("files", lambda i: {"question": f"q{i}", "response": "r"}, {}),
    "jsonl": ("jsonl", lambda i: {"question": f"q{i}", "response": "r"}, {}),
    "hub": ("hub", lambda i: {"question": f"q{i}", "response": "r"}, {}),
}  # fmt: skip


def _source(kind: str, path: Path, **config: Any) -> Any:
    factory = load_plugin(kind, SOURCES, "source")
    return factory(validate(factory.Config, {"path": str(path), **config}, "source"))


def _rows(kind: str, folder: Path, *rows: Any, suffix: str = ".jsonl", **config: Any) -> list[Any]:
    return list(_source(kind, write_rows(folder / f"rows{suffix}", list(rows)), **config).load())


def test_every_source_of_rows_is_tested_here() -> None:
    assert {kind for kind, _, _ in CASES.values()} == set(SOURCES) - {"micro"}


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".json.gz"])
@pytest.mark.parametrize("case", CASES)
def test_a_source_keeps_its_contract(case: str, suffix: str, tmp_path: Path) -> None:
    kind, make, config = CASES[case]
    path = write_rows(tmp_path / f"rows{suffix}", [make(i) for i in range(20)])
    source = _source(kind, path, **config)
    rows = list(source.load())
    assert all(isinstance(row, RawTrace) for row in rows)
    assert len(rows) == (40 if kind == "openr1" else 20)
    assert list(dict.fromkeys(row.question for row in rows)) == [f"q{i}" for i in range(20)]
    assert rows == list(source.load()) == list(_source(kind, path, **config).load())
    assert len({row.source_row for row in rows}) == len(rows)
    chunks = pickle.loads(pickle.dumps(list(source.chunks(7))))
    assert [row for chunk in chunks for row in chunk.load()] == rows
    assert len(chunks) == 3
    assert 0 < len(source.describe()) < 80
    assert "\n" not in source.describe()
    before = source.digest()
    assert before == source.digest()
    write_rows(path, [make(i) for i in range(21)])
    assert source.digest() != before
    limited = list(_source(kind, path, limit=3, **config).load())
    assert limited == rows[: len(limited)]
    assert len({row.question for row in limited}) == 3


@pytest.mark.parametrize("case", CASES)
def test_rows_without_what_they_need_are_bad(case: str, tmp_path: Path) -> None:
    kind, make, config = CASES[case]
    rows = _rows(kind, tmp_path, {}, {"other": 1}, dict.fromkeys(make(0), 5), make(0), **config)
    assert [type(row) for row in rows[:4]] == [BadRow, BadRow, BadRow, RawTrace]
    assert {row.reason for row in rows[:3]} <= {"missing_field", "wrong_type"}
    assert all(row.evidence for row in rows[:3])
    path = write_rows(tmp_path / "rows.parquet", [{"other": "x", "quest": "y"}])
    with pytest.raises(DataError, match=r"has no column[\s\S]*its columns: other, quest"):
        list(_source(kind, path, **config).load())


@pytest.mark.parametrize(
    "case", [case for case, (kind, _, _) in CASES.items() if kind not in ("distilled", "files", "jsonl", "hub")]
)
def test_named_sources_know_licences_and_take_another(case: str, tmp_path: Path) -> None:
    kind, make, config = CASES[case]
    (row, *_) = _rows(kind, tmp_path, make(0), **config)
    assert row.license == ("MIT" if "1.1" in case else "Apache-2.0")
    (row, *_) = _rows(kind, tmp_path, make(0), license="X", **config)
    assert row.license == "X"
    factory = load_plugin(kind, SOURCES, "source")
    assert validate(factory.Config, {"hub": True}, "source").hub == factory.Config.default_repo
    with pytest.raises(RecipeError, match="exactly one of path and hub"):
        validate(factory.Config, {"hub": False}, "source")


def test_the_licence_of_distilled_rows_gives_way_to_one_that_is_named(tmp_path: Path) -> None:
    own = {**_distilled(0), "license": "MIT"}
    assert [row.license for row in _rows("distilled", tmp_path, own, _distilled(1))] == ["MIT", None]
    assert [row.license for row in _rows("distilled", tmp_path, own, license="X")] == ["X"]


def test_openthoughts_default(tmp_path: Path) -> None:
    (row,) = _rows("openthoughts", tmp_path, _openthoughts(0))
    assert (row.question, row.answer, row.response, row.subject) == ("q0", None, REPLY, None)
    assert (row.teacher, row.tags) == ("DeepSeek-R1", "required")
    assert split_response(row.response, row.tags) == Parts("t", "\\boxed{5}", "tags")
    (row,) = _rows("openthoughts", tmp_path, _openthoughts(0), keep_instruction=True)
    assert row.question == "Return your final response within \\boxed{}. q0"


def test_openthoughts_metadata(tmp_path: Path) -> None:
    code = {**_metadata(1), "domain": "code", "starter_code": "def f():", "ground_truth_solution": None}
    short = {**_metadata(2), "ground_truth_solution": " 5 "}
    first, second, third = _rows("openthoughts", tmp_path, _metadata(0), code, short, suffix=".parquet")
    assert (first.thinking, first.solution, first.response) == ("t", "\\boxed{5}", None)
    assert (first.answer, first.gold_solution, first.subject) == (None, "Worked.\nSo \\boxed{5}.", "math")
    assert (second.question, second.gold_solution, second.subject) == ("q1\n\ndef f():", None, "code")
    assert (third.answer, third.gold_solution) == ("5", None)


def test_openthoughts_3(tmp_path: Path) -> None:
    easy = {**_openthoughts3(1), "difficulty": None}
    first, second = _rows("openthoughts", tmp_path, _openthoughts3(7), easy, suffix=".parquet")
    assert (first.teacher, first.subject, first.difficulty) == ("QwQ-32B", "math", 7.0)
    assert (first.difficulty_origin, second.difficulty_origin, second.difficulty) == ("column difficulty", None, None)


def test_s1k_by_teacher(tmp_path: Path) -> None:
    (row,) = _rows("s1k", tmp_path, _s1k_11(0))
    assert (row.thinking, row.solution, row.teacher, row.answer) == ("d", "da", "DeepSeek-R1", "5")
    (row,) = _rows("s1k", tmp_path, _s1k_11(0), teacher="gemini")
    assert (row.thinking, row.solution, row.subject, row.correct) == ("g", "ga", "math", False)
    (row,) = _rows("s1k", tmp_path, _s1k_11(0), teacher="gemini", correct_only=True)
    assert (row.reason, row.evidence) == ("marked_wrong", "gemini_grade is 'No'")
    (row,) = _rows("s1k", tmp_path, _s1k_11(0), correct_only=True)
    assert isinstance(row, RawTrace)
    (row,) = _rows("s1k", tmp_path, _s1k(0), teacher="gemini")
    assert (row.thinking, row.solution, row.subject) == ("first\nsecond", "a", "crossword")
    assert (row.answer, row.gold_solution) == (None, "Worked.\n\\boxed{5}")
    (row,) = _rows("s1k", tmp_path, _s1k(0))
    assert row.reason == "missing_field"
    for steps, reason in (([], "missing_field"), ([5], "wrong_type"), ("text", "wrong_type")):
        (row,) = _rows("s1k", tmp_path, {**_s1k(0), "thinking_trajectories": steps}, teacher="gemini")
        assert row.reason == reason


def test_limo_runs_on_and_is_split_at_its_answer(tmp_path: Path) -> None:
    (row,) = _rows("limo", tmp_path, _limo(0))
    assert (row.answer, row.teacher, row.tags) == ("5", None, "auto")
    parts = split_response(row.response, row.tags)
    assert isinstance(parts, Parts)
    assert (parts.thinking, parts.split) == ("Long.", "final_answer")


def test_openr1_gives_one_trace_a_generation(tmp_path: Path) -> None:
    first, second = _rows("openr1", tmp_path, _openr1(0), suffix=".parquet")
    assert [row.source_row for row in (first, second)] == ["1.0:u0", "1.1:u0"]
    assert [row.response for row in (first, second)] == ["<think>a</think>5", "<think>b</think>6"]
    assert (first.answer, first.gold_solution, first.subject) == ("5", "Worked.", "Algebra")
    assert (first.correct, second.correct) == (True, False)
    first, second = _rows("openr1", tmp_path, _openr1(0), correct_only=True)
    assert (type(first), second.reason, second.source_row) == (RawTrace, "marked_wrong", "1.1:u0")
    cut = {**_openr1(0), "is_reasoning_complete": [False, None]}
    first, second = _rows("openr1", tmp_path, cut)
    assert (first.reason, type(second)) == ("incomplete_reasoning", RawTrace)
    assert len([row for row in _rows("openr1", tmp_path, cut, complete_only=False) if isinstance(row, RawTrace)]) == 2


@pytest.mark.parametrize(
    ("change", "reasons"),
    [
        ({"generations": []}, ["missing_field"]),
        ({"generations": "text"}, ["wrong_type"]),
        ({"generations": ["<think>a</think>5", None]}, [None, "wrong_type"]),
        ({"correctness_math_verify": [True]}, ["wrong_type"]),
        ({"is_reasoning_complete": ["yes", "no"]}, ["wrong_type"]),
        ({"problem": None}, ["missing_field"]),
        ({"correctness_math_verify": None, "is_reasoning_complete": None}, [None, None]),
    ],
)
def test_openr1_rows_out_of_order_are_bad(change: dict[str, Any], reasons: list[str | None], tmp_path: Path) -> None:
    rows = _rows("openr1", tmp_path, {**_openr1(0), **change})
    assert [getattr(row, "reason", None) for row in rows] == reasons


def test_openr1_without_an_answer_has_its_solution(tmp_path: Path) -> None:
    first, _ = _rows("openr1", tmp_path, {**_openr1(0), "answer": "", "solution": "12"})
    assert (first.answer, first.gold_solution) == ("12", None)


# --- tags of chats ----------------------------------------------------------------------------------------

T, A, END = "<|im_start|>think", "<|im_start|>answer", "<|im_end|>"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        (f"{T}\nhm\n{A}\n5", ("hm", "5", "tags")),
        (f"{T}\nhm\n{A}\nAnswer: 5{END}\n", ("hm", "Answer: 5", "tags")),
        (f"<|im_start|>assistant\n{T}\nhm\n{A}\n5{END}", ("hm", "5", "tags")),
        (f"\nhm\n{A}\n5", ("hm", "5", "tags")),
        (f"<|im_start|>assistant\n<think>\nhm\n</think>\n\n5{END}<|endoftext|>", ("hm", "5", "tags")),
        ("<think>hm</think>5<｜end▁of▁sentence｜>", ("hm", "5", "tags")),
        (f"hm.\n\nSo \\boxed{{5}}.{END}", ("hm.", "So \\boxed{5}.", "final_answer")),
    ],
)
def test_tags_of_chats_are_taken_off(text: str, parts: tuple[str, str, str]) -> None:
    found = split_response(text)
    assert found == Parts(*parts)
    assert isinstance(found, Parts)
    for name, part in (("thinking", found.thinking), ("solution", found.solution)):
        assert lint_text(name, part, ["<|im_start|>", END, "<|endoftext|>"]) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (f"{T}\nhm", "unclosed_thinking"),
        (f"{T}\na\n{T}\nb\n{A}\n5", "orphan_tag"),
        (f"{A}\n5", "empty_thinking"),
        (f"{T}\nhm\n{A}\n{END}", "empty_solution"),
        (f"{T}\nhm\n{A}\n5 <think>a</think>", "orphan_tag"),
    ],
)
def test_tags_of_chats_that_are_not_in_order_are_faults(text: str, reason: str) -> None:
    fault = split_response(text)
    assert isinstance(fault, Fault)
    assert fault.reason == reason


def test_end_tokens_within_a_text_stay_for_lint_to_find() -> None:
    parts = split_response(f"<think>a{END}b</think>5")
    assert isinstance(parts, Parts)
    fault = lint_text("thinking", parts.thinking, [END])
    assert fault is not None
    assert fault.reason == "special_token"


@given(st.text(st.sampled_from("ab \n<|>"), max_size=12))
def test_stripping_chat_tags_takes_nothing_else(text: str) -> None:
    once = strip_chat_tags(text)
    assert once == text.strip()
    assert strip_chat_tags(f"<|im_start|>assistant\n{text}{END}\n").strip() == text.strip()


# --- real data --------------------------------------------------------------------------------------------


def test_real_openthoughts_rows_come_back_in_both_forms(tmp_path: Path) -> None:
    path = real_data("contamination", "openthoughts_114k_first500chars.jsonl.gz")
    mapped = list(_source("files", path).load())
    assert len(mapped) == 55
    assert all(isinstance(row, RawTrace) and row.response.startswith(B) for row in mapped)
    # The same rows in the published shape of the default configuration.
    chats = [_chat(row.question, row.response, system="Think.") for row in mapped]
    for suffix in (".parquet", ".jsonl.zst"):
        rows = _rows("openthoughts", tmp_path, *chats, suffix=suffix, keep_instruction=True)
        assert [(row.question, row.response) for row in rows] == [(row.question, row.response) for row in mapped]
    rows = _rows("openthoughts", tmp_path, *chats)
    assert not any(row.question.startswith("Return your final response") for row in rows)
    faults = [split_response(row.response, row.tags) for row in rows]  # all were cut at 500 characters
    assert {fault.reason for fault in faults if isinstance(fault, Fault)} == {"unclosed_thinking"}
    assert json.dumps([row.source_row for row in rows]) == json.dumps([str(i) for i in range(1, 56)])


def test_the_source_shown_in_the_docs_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).resolve().parents[1] / "docs" / "sources.md").read_text(encoding="utf-8")
    (tmp_path / "my_puzzles.py").write_text(page.split("```python\n")[1].split("```")[0], encoding="utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    path = write_rows(
        tmp_path / "rows.parquet", [{"riddle": f"q{i}", "thoughts": "t" if i else None} for i in range(9)]
    )
    source = _source("my_puzzles:PuzzleSource", path)
    rows = list(source.load())
    assert [type(row) for row in rows] == [BadRow] + [RawTrace] * 8
    assert [row for chunk in pickle.loads(pickle.dumps(list(source.chunks(4)))) for row in chunk.load()] == rows
    recipes = [yaml.safe_load(part.split("```")[0])["sources"] for part in page.split("```yaml\n")[1:]]
    monkeypatch.setenv("DATA", str(tmp_path))
    made = [name for specs in recipes for name, _ in make_sources(specs)]
    assert made == ["thoughts", "s1k", "own", "anything", "paper"]
    assert all(f"`{kind}`" in page for kind in SOURCES)
