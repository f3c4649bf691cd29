"""Several problems a prompt: laid out as training samples are, each asked equally often, each graded by itself."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from long1k.benchmarks.base import account, problems
from long1k.benchmarks.multi import MultiBenchmark, MultiConfig
from long1k.errors import RecipeError
from long1k.grading.extract import extract_parts
from long1k.joining.render import join
from long1k.plugins import validate
from long1k.rows import Trace
from long1k.thinking import STYLES
from test_benchmarks_gpqa import row
from test_benchmarks_stored import lines


def multi(
    folder: Path, count: int = 10, rows: list[dict[str, Any]] | None = None, kind: str = "jsonl", **config: Any
) -> MultiBenchmark:
    rows = rows or [
        {"problem": f"p{n}", "answer": str(n), "solution": f"\\boxed{{{n}}}", "subject": "s"} for n in range(count)
    ]
    path = lines(folder / "rows.jsonl", *rows)
    return MultiBenchmark(validate(MultiConfig, {"of": {"type": kind, "path": str(path)}, **config}, "multi"))


def trace(question: str) -> Trace:
    return Trace(
        "t", "p", question, "1", "think", "\\boxed{1}", None, True, 1, 1, 1, None, None, None, "tags", "s", "1", None,
    )  # fmt: skip


def test_prompts_look_as_joined_training_samples_do(tmp_path: Path) -> None:
    made = multi(tmp_path, 6, k=3, instruction="")
    for item in made.load():
        questions = [part.removeprefix(f"Problem {n}: ") for n, part in enumerate(item.question.split("\n\n"), 1)]
        joined = join([trace(q) for q in questions], ["so", "so", "so"], "english", STYLES["think"])
        assert joined is not None
        assert joined.prompt == item.messages


def test_answers_are_read_part_by_part(tmp_path: Path) -> None:
    for item in multi(tmp_path, 9, k=3).load():
        assert item.solution is not None
        read = extract_parts(item.solution, 3)
        assert tuple(None if one is None else one.value for one in read) == item.answers
        assert [f"p{answer}" in item.question for answer in item.answers] == [True] * 3
        assert len(item.part_ids) == len(set(item.part_ids)) == 3


@settings(max_examples=30, deadline=None)
@given(
    count=st.integers(1, 25), low=st.integers(1, 4), more=st.integers(0, 3), rotated=st.booleans(), drop=st.booleans(),
    seed=st.integers(0, 3),
)  # fmt: skip
def test_every_problem_is_asked_equally_often(
    tmp_path_factory: pytest.TempPathFactory, count: int, low: int, more: int, rotated: bool, drop: bool, seed: int
) -> None:
    high = low + more
    made = multi(
        tmp_path_factory.mktemp("multi"), count, k=[low, high], design="rotated" if rotated else "once",
        leftover="drop" if drop else "short", seed=seed,
    )  # fmt: skip
    if high > count:
        with pytest.raises(RecipeError, match="lower k"):
            list(made.load())
        return
    items = list(made.load())
    assert len({item.item_id for item in items}) == len(items)
    ids = {item.item_id for item in problems(made)}
    told = account(made)
    wholes: Counter[int] = Counter()
    for k in range(low, high + 1):
        ordinary = told["passes"][str(k)]
        prompts = items[: ordinary["prompts"]]
        items = items[ordinary["prompts"] :]
        asked: Counter[str] = Counter(part for item in prompts for part in item.part_ids)
        places: Counter[tuple[str, int]] = Counter(
            (part, at) for item in prompts if len(item.part_ids) == k for at, part in enumerate(item.part_ids)
        )
        assert ordinary["leftover"] == count % k
        full = count - count % k
        assert sum(len(item.part_ids) == k for item in prompts) == full // k * (k if rotated else 1)
        if drop:
            assert len(asked) == full
            assert set(asked.values()) == {k if rotated else 1}
        else:
            assert set(asked) == ids
            rest = {part for item in prompts if len(item.part_ids) < k for part in item.part_ids}
            assert len(rest) == count % k
            assert all(n == ((count % k if part in rest else k) if rotated else 1) for part, n in asked.items())
        assert set(places.values()) <= {1}
        assert len(places) == full * (k if rotated else 1)
        wholes[k] = full
    assert not items


def test_one_problem_a_prompt_is_the_plain_benchmark(tmp_path: Path) -> None:
    made = multi(tmp_path, 5, k=1)
    plain = {item.item_id: item for item in problems(made)}
    for item in made.load():
        (part,) = item.part_ids
        assert item.messages == plain[part].messages
        assert item.item_id != part


def test_the_order_is_a_hash_of_the_problems(tmp_path: Path) -> None:
    pairs = {item.part_ids for item in multi(tmp_path, 12, k=2).load()}
    assert pairs == {item.part_ids for item in multi(tmp_path, 12, k=2).load()}
    assert pairs != {item.part_ids for item in multi(tmp_path, 12, k=2, seed=1).load()}
    assert len({item.subject for item in multi(tmp_path, 12, k=2).load()}) == 1


def test_options_come_along(tmp_path: Path) -> None:
    made = multi(tmp_path, rows=[row(n) for n in range(6)], kind="gpqa", k=2)
    assert made.grader == "choice"
    for item in made.load():
        content = item.messages[0].content
        assert content.count("\nA) ") == content.count("\nD) ") == 2
        assert content.endswith("each with the letter of your answer within \\boxed{}.")
        assert set(item.answers) <= set("ABCD")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"of": {"type": "multi", "of": {}}}, "one benchmark of single problems"),
        ({"of": {"path": "x"}}, "one benchmark of single problems"),
        ({"k": 0}, "1 <= least"),
        ({"k": [3, 2]}, "least <= most"),
        ({"of": {"type": "micro", "history": 2, "count": 5}}, "one turn"),
    ],
)
def test_mistakes(config: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        list(multi(tmp_path, **config).load())
