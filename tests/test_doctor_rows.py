"""doctor: findings name the row of the file; rows, ids and options are looked at in what the file says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from long1k.benchmarks.base import Item
from long1k.errors import DataError, RecipeError
from long1k.jsonlines import BadRow, parse_line
from long1k.rows import Message
from long1k.stages.doctor.check import Check, summary
from long1k.stages.doctor.choices import letters_shown
from test_benchmarks_gpqa import row
from test_benchmarks_stored import items, lines, make
from test_doctor import by_name, failing, look
from test_recipe_cli import Run, long1k  # noqa: F401


def sums(count: int, **change: Any) -> list[dict[str, Any]]:
    return [
        {"unique_id": f"test/{n}", "problem": f"What is {n} + {n}?", "answer": str(2 * n), **change}
        for n in range(count)
    ]


def lettered(count: int, letters: str = "ABCD", options: str = "ABCD", **change: Any) -> list[dict[str, Any]]:
    shown = "\n".join(f"{letter}) {at}" for at, letter in enumerate(options))
    return [
        {"problem": f"Which is number {n}?\n{shown}", "answer": letters[n % len(letters)], **change}
        for n in range(count)
    ]


# --- what stands twice ------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", ["unique_id", "id", "problem_id", "Record ID"])
def test_an_id_of_the_file_that_stands_twice_fails_and_is_named(field: str, tmp_path: Path) -> None:
    rows = [{field: one.pop("unique_id"), **one} for one in sums(30)]
    rows[7][field] = rows[3][field]
    checks = look(make("jsonl", lines(tmp_path / "r.jsonl", *rows)))
    assert failing(checks) == {"the file's ids"}
    (evidence,) = by_name(checks)["the file's ids"].evidence
    assert f"row 4 ({field} test/3), item-" in evidence
    assert f"row 8 ({field} test/3), item-" in evidence


def test_ids_of_different_files_are_different_ids(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    rows = sums(20)
    lines(folder / "a.jsonl", *rows[:10])
    lines(folder / "b.jsonl", *({**one, "unique_id": f"test/{n}"} for n, one in enumerate(rows[10:])))
    assert failing(look(make("jsonl", folder))) == set()
    lines(folder / "b.jsonl", *({**one, "unique_id": "same"} for one in rows[10:12]))
    checks = look(make("jsonl", folder))
    assert failing(checks) == {"the file's ids"}
    assert "b.jsonl, row 2 (unique_id same)" in by_name(checks)["the file's ids"].evidence[0]


def test_ids_that_say_nothing_are_no_ids(tmp_path: Path) -> None:
    rows = [{**one, "unique_id": empty} for one, empty in zip(sums(4), (None, "", float("nan"), " "), strict=True)]
    assert failing(look(make("jsonl", lines(tmp_path / "r.jsonl", *rows)))) == set()
    (only, *_) = items("jsonl", lines(tmp_path / "s.jsonl", {"id": "half \ud800", "problem": "p", "answer": 1}))
    assert str(only.origins[0]) == "row 1 (id half ?)"  # shown, so it must be text


@pytest.mark.parametrize("own", [True, False])
def test_a_whole_row_that_stands_twice_fails(own: bool, tmp_path: Path) -> None:
    rows = sums(20)
    if not own:
        rows = [{key: value for key, value in one.items() if key != "unique_id"} for one in rows]
    checks = look(make("jsonl", lines(tmp_path / "r.jsonl", *rows, rows[4])))
    assert failing(checks) == {"equal rows"} | ({"the file's ids"} if own else set())
    assert "equal prompts" not in by_name(checks)
    (evidence,) = by_name(checks)["equal rows"].evidence
    assert "row 5" in evidence
    assert "row 21" in evidence


def test_a_prompt_under_two_ids_or_with_two_golds_warns(tmp_path: Path) -> None:
    rows = sums(20)
    checks = look(make("jsonl", lines(tmp_path / "r.jsonl", *rows, {**rows[4], "unique_id": "other"})))
    assert failing(checks) == set()
    assert by_name(checks)["equal prompts"].status == "warn"
    assert "different golds" not in by_name(checks)["equal prompts"].text
    twice = {"problem": rows[4]["problem"], "answer": "77"}
    checks = look(make("jsonl", lines(tmp_path / "s.jsonl", *rows, twice)))
    assert "1 of them with different golds" in by_name(checks)["equal prompts"].text
    assert failing(checks) == set()


def test_problems_that_are_asked_together_stand_twice_only_in_their_file(tmp_path: Path) -> None:
    path = lines(tmp_path / "r.jsonl", *sums(9))
    values = {"of": {"type": "jsonl", "path": str(path)}, "k": [1, 2], "design": "rotated"}
    checks = look(make("multi", **values), tokenized=False)
    assert failing(checks) == set()
    lines(path, *sums(9), sums(9)[2])
    checks = look(make("multi", **values), tokenized=False)
    assert failing(checks) == {"the file's ids", "equal rows"}


# --- options and letters ----------------------------------------------------------------------------------


def test_a_gold_that_is_no_option_is_found(tmp_path: Path) -> None:
    rows = lettered(40)
    rows[10]["answer"] = "F"
    checks = look(make("jsonl", lines(tmp_path / "r.jsonl", *rows), grader="choice"))
    assert "gold options" in failing(checks)
    (evidence,) = by_name(checks)["gold options"].evidence
    assert evidence.startswith("row 11, item-")
    assert evidence.endswith("gold 'F', options A to D")
    assert "gold options" not in by_name(
        look(make("jsonl", lines(tmp_path / "s.jsonl", *lettered(40)), grader="choice"))
    )


def test_golds_are_held_against_the_options_also_of_problems_asked_together(tmp_path: Path) -> None:
    path = lines(tmp_path / "r.jsonl", *lettered(39), *lettered(1, letters="E"))
    values = {"of": {"type": "jsonl", "path": str(path), "grader": "choice"}, "k": 2}
    assert "gold options" in failing(look(make("multi", **values)))


@pytest.mark.parametrize("letters", ["AB", "ABC", "ABCDEFGHIJ"])
def test_golds_are_spread_over_the_options_that_are_shown(letters: str, tmp_path: Path) -> None:
    rows = lettered(200, letters, letters)
    checks = look(make("jsonl", lines(tmp_path / "r.jsonl", *rows), grader="choice"))
    assert failing(checks) == set()
    assert set(by_name(checks)["gold letters"].figures["counts"]) == set(letters)


def test_a_rare_option_does_not_decide(tmp_path: Path) -> None:
    rows = [*lettered(200), *lettered(1, "J", "ABCDEFGHIJ")]
    assert failing(look(make("jsonl", lines(tmp_path / "r.jsonl", *rows), grader="choice"))) == set()


@pytest.mark.parametrize("grader", [None, "choice"])
@pytest.mark.parametrize("options", ["ABCD", ""])
def test_letters_that_are_all_one_are_found_without_a_word_against_the_grader(
    grader: str | None, options: str, tmp_path: Path
) -> None:
    path = lines(tmp_path / "r.jsonl", *lettered(40, "D", options))
    checks = look(make("jsonl", path, grader=grader))
    assert failing(checks) == {"gold letters"} | ({"options"} if grader and not options else set())
    assert by_name(checks)["shuffled golds"].status == "info"
    assert ("grader" in by_name(checks)) == (grader is None)


def test_skewed_letters_accuse_no_grader(tmp_path: Path) -> None:
    path = lines(tmp_path / "r.jsonl", *lettered(60, "DDDDDDDDDA"))
    checks = look(make("jsonl", path, grader="choice"))
    assert failing(checks) == {"gold letters"}
    assert by_name(checks)["shuffled golds"].figures["equal"] > 40


def test_letters_in_questions_without_options_are_no_choice(tmp_path: Path) -> None:
    rows = [{"problem": f"Which letter stands at place {n + 1}?", "answer": chr(65 + n % 3)} for n in range(40)]
    checks = look(make("jsonl", lines(tmp_path / "r.jsonl", *rows)))
    assert failing(checks) == set()
    assert "gold letters" not in by_name(checks)


def asked(text: str) -> Item:
    return Item("i", text, (Message("user", text),), ("A",))


@pytest.mark.parametrize(
    ("text", "letters"),
    [
        ("Which?\nA) 1\nB) 2\nC) 3", "ABC"), ("Which?\n(A) 1\n(B) 2", "AB"), ("Which? (A) 1 (B) 2 (C) 3 (D) 4 (E) 5", "ABCDE"),
        ("Which?\n- **A.** 1\n- **B.** 2", "AB"), ("Which? A. one B. two C. three", "ABC"), ("Which?\nA 1\nB 2", "AB"),
        ("Which?\n[A] 1\n[B] 2", "AB"), ("A ball falls.\nA: 1\nB: 2\nC: 3", "ABC"),
        ("$\\textbf{(A)}\\ 1 \\qquad \\textbf{(B)}\\ 2$", "AB"), ("How far is A from B?", ""), ("", ""),
        ("Let f(A) = 1.", ""), ("A) alone", ""), ("Which?\nB) 1\nC) 2", ""),
    ],
)  # fmt: skip
def test_options_are_read_out_of_a_text(text: str, letters: str) -> None:
    assert letters_shown(asked(text)) == letters


@given(st.integers(2, 26), st.sampled_from(["\n{}) {}", "\n({}) {}", "\n{}. {}", " ({}) {}", "\n{}: {}"]))
def test_all_options_of_a_text_are_read(count: int, form: str) -> None:
    letters = "".join(chr(65 + at) for at in range(count))
    text = "Which?" + "".join(form.format(letter, at) for at, letter in enumerate(letters))
    assert letters_shown(asked(text)) == letters


def test_gpqa_says_its_letters(tmp_path: Path) -> None:
    (item,) = items("gpqa", lines(tmp_path / "g.jsonl", row(1, Question="(A) or (B)?")))
    assert letters_shown(item) == "ABCD"
    assert str(item.origins[0]) == "row 1 (Record ID rec1)"


# --- how it is said ---------------------------------------------------------------------------------------


def test_findings_name_row_and_own_id(tmp_path: Path) -> None:
    rows = sums(30)
    rows[11]["answer"] = "\\frac{1}{"
    (evidence,) = by_name(look(make("jsonl", lines(tmp_path / "r.jsonl", *rows))))["gold answers"].evidence
    assert evidence.startswith("row 12 (unique_id test/11), item-")
    values = {"of": {"type": "jsonl", "path": str(tmp_path / "r.jsonl")}, "k": 3}
    (evidence,) = by_name(look(make("multi", **values)))["gold answers"].evidence
    assert evidence.startswith("row 12 (unique_id test/11), multi-")


def test_notes_are_not_counted_as_checks() -> None:
    checks = [Check(str(n), status, "t", "m") for n, status in enumerate(("ok", "ok", "warn", "fail", "info", "info"))]  # type: ignore[arg-type]
    assert summary(checks) == "4 checks, 1 failed, 1 warning; 2 notes"
    assert summary(checks[:2]) == "2 checks, none failed"


@pytest.mark.parametrize("name", ["empty.jsonl", "empty.json", "blank.jsonl"])
def test_an_empty_file_is_called_empty(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text({"empty.jsonl": "", "empty.json": "[]", "blank.jsonl": "\n\n"}[name])
    with pytest.raises(DataError, match=f"{name}.* is empty|{name}.* holds nothing") as caught:
        items("jsonl", path)
    assert "subset" not in str(caught.value)
    assert caught.value.mend


def test_several_empty_files_are_called_empty(tmp_path: Path) -> None:
    for name in ("a.jsonl", "b.jsonl"):
        (tmp_path / name).write_text("\n")
    with pytest.raises(DataError, match=r"all 2 files are empty: .*a\.jsonl"):
        items("jsonl", tmp_path)


def test_rows_that_are_all_left_out_do_not_speak_of_an_empty_subset(tmp_path: Path) -> None:
    path = lines(tmp_path / "o.jsonl", {"question": "p", "final_answer": ["1"], "question_type": "Theorem proof"})
    with pytest.raises(DataError, match="no question is left of 1 rows") as caught:
        items("olympiadbench", path)
    assert "subset" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "kind"), [(["p", "q"], "a list"), ({"text": "p"}, "an object"), (7, "a number"), (True, "a truth value")]
)
def test_a_question_that_is_no_text_is_called_what_it_is(value: Any, kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"row 1: field 'problem' holds {kind}, not text") as caught:
        items("jsonl", lines(tmp_path / "r.jsonl", {"problem": value, "answer": "1"}))
    assert "--option question=FIELD" in (caught.value.mend or "")


def test_a_broken_line_has_one_line_number(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in sums(8)) + '{"problem": "p" "answer": 1}\n')
    with pytest.raises(DataError, match=r"malformed_json: line 9, column 17: Expecting ',' delimiter") as caught:
        items("jsonl", path)
    assert "line 1" not in caught.value.what
    assert "row 9" in caught.value.what
    broken = parse_line(b'{"a": ' + b"1" * 5000 + b"}", 3)
    assert isinstance(broken, BadRow)
    assert broken.evidence.startswith("line 3: ")


def test_hints_name_the_option_of_the_command_line(long1k: Run) -> None:  # noqa: F811
    with pytest.raises(RecipeError, match="--option path=FILE"):
        make("jsonl")
    ran = long1k("doctor", "--benchmark", "jsonl")
    assert (ran.code, "--option path=FILE" in ran.err) == (2, True)
    told = " ".join(long1k("doctor", "--help").out.replace("│", " ").split())
    assert "the one the input was made with" not in told
    assert "Default: that of --train" in told
