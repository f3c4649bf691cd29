"""GPQA: the order of options depends on the question alone, gold letters are spread evenly, faulty rows are left out."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from long1k.benchmarks.base import Item, account
from long1k.benchmarks.gpqa import LETTERS, shuffled
from long1k.errors import DataError
from test_benchmarks_stored import items, lines, make

RIGHT, *WRONG = "Correct Answer", "Incorrect Answer 1", "Incorrect Answer 2", "Incorrect Answer 3"


def row(number: int, **change: Any) -> dict[str, Any]:
    return {
        "Record ID": f"rec{number}", "Question": f"Which of them is number {number}?", RIGHT: f"right {number}",
        **{name: f"wrong {number}.{at}" for at, name in enumerate(WRONG)},
        "High-level domain": "Physics", "Subdomain": "Optics", "Canary String": "a canary", **change,
    }  # fmt: skip


def option(item: Item, letter: str) -> str:
    return item.messages[0].content.split(f"\n{letter}) ")[1].split("\n")[0]


def test_the_gold_letter_stands_before_the_right_option(tmp_path: Path) -> None:
    for number, item in enumerate(items("gpqa", lines(tmp_path / "g.jsonl", *map(row, range(50))))):
        (letter,) = item.answers
        assert option(item, letter) == f"right {number}"
        assert {option(item, one) for one in LETTERS} == {row(number)[name] for name in (RIGHT, *WRONG)}
        assert item.messages[0].content.endswith("put the letter of your answer, A, B, C or D, within \\boxed{}.")
        assert (item.subject, item.question) == ("Physics", row(number)["Question"])


def test_gold_letters_are_spread_evenly(tmp_path: Path) -> None:
    found = items("gpqa", lines(tmp_path / "g.jsonl", *map(row, range(4000))))
    counts = Counter(item.answers[0] for item in found)
    assert set(counts) == set(LETTERS)
    assert chisquare(list(counts.values())).pvalue > 1e-4
    # And so is the place of every other option, given where the right one is.
    first = Counter(option(item, "A")[:5] == "right" for item in found)
    assert abs(first[True] / 4000 - 0.25) < 0.03


def test_the_order_depends_neither_on_other_questions_nor_on_the_seed_of_a_process(tmp_path: Path) -> None:
    rows = [row(n) for n in range(40)]
    before = {item.question: item.messages for item in items("gpqa", lines(tmp_path / "a.jsonl", *rows))}
    random.Random(1).shuffle(rows)
    assert {item.question: item.messages for item in items("gpqa", lines(tmp_path / "b.jsonl", *rows[:30]))} == {
        r["Question"]: before[r["Question"]] for r in rows[:30]
    }
    other = {i.question: i.messages for i in items("gpqa", tmp_path / "a.jsonl", seed=1)}
    assert sum(other[q] != before[q] for q in before) > 30


@given(
    st.text(max_size=20), st.lists(st.text(max_size=8), min_size=4, max_size=4, unique=True), st.permutations(range(4))
)
def test_which_option_is_right_has_no_part_in_the_order(question: str, options: list[str], other: list[int]) -> None:
    shown = [options[at] for at in shuffled(question, options, 0)]
    moved = [options[at] for at in other]
    assert [moved[at] for at in shuffled(question, moved, 0)] == shown


def test_options_that_cannot_be_told_apart_are_left_out(tmp_path: Path) -> None:
    rows = [
        row(0), row(1, **{WRONG[0]: "  right\n1 "}), row(2, **{WRONG[0]: "x", WRONG[1]: "x"}),
        row(3, **{WRONG[2]: None}), row(4, **{WRONG[2]: "  "}), row(5, **{RIGHT: " right 5\n\n  or so \n"}),
    ]  # fmt: skip
    made = make("gpqa", lines(tmp_path / "g.jsonl", *rows))
    found = list(made.load())
    assert account(made)["left_out"] == {"an option is missing": 2, "two options are equal": 2}
    assert [item.question for item in found] == [row(0)["Question"], row(5)["Question"]]
    assert f"\n{found[1].answers[0]}) right 5\nor so\n" in found[1].messages[0].content


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no field 'Incorrect Answer 3'"):
        items("gpqa", lines(tmp_path / "g.jsonl", {k: v for k, v in row(1).items() if k != WRONG[2]}))


def test_no_question_stands_in_an_error(tmp_path: Path) -> None:
    path = lines(tmp_path / "g.jsonl", row(1))
    path.write_text(path.read_text() + '{"Question": "a secret", "Correct Answer": 1, "Correct Answer": 2}\n')
    with pytest.raises(DataError, match="row 2: duplicate_key") as caught:
        items("gpqa", path)
    assert "secret" not in str(caught.value)


def test_numbers_are_options_too(tmp_path: Path) -> None:
    (item,) = items(
        "gpqa", lines(tmp_path / "g.jsonl", row(1, **dict(zip((RIGHT, *WRONG), (1, 2.0, 3.5, "4"), strict=True))))
    )
    assert option(item, item.answers[0]) == "1"
