"""predict for its users: several benchmarks, sampling and grader of each, summary, warnings, exit codes."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from long1k.errors import RecipeError
from long1k.recipe import load_recipe, make_samplings
from long1k.rows import Prediction, Score
from long1k.study import Study
from long1k.tables import read_manifest, read_table
from scripted import ScriptedEngine, letters, model_folder
from test_benchmarks_gpqa import row
from test_benchmarks_stored import OLYMPIAD, lines
from test_recipe_cli import SMALL, Run, long1k  # noqa: F401

ENGINE = ("--engine", "scripted:ScriptedEngine")


def says(prompt: str, sample: int) -> tuple[str, str]:
    if "(cut)" in prompt:
        return "<think>\nstill", "length"
    found = re.findall(r"What is (\d+)", prompt)
    parts = [f"Problem {n}: \\boxed{{{int(one) + 1}}}" for n, one in enumerate(found, 1)]
    answer = "\\boxed{B}" if "Which of them" in prompt else "\n\n".join(parts)
    return f"<think>\nsample {sample}\n</think>\n\n{answer}", "stop"


@pytest.fixture
def model(tmp_path: Path) -> Path:
    ScriptedEngine.says = staticmethod(says)
    return model_folder(tmp_path / "model")


def sums(path: Path, count: int = 6, cut: int = 0) -> Path:
    return lines(
        path,
        *({"problem": f"What is {n}{' (cut)' if n < cut else ''}, plus 1?", "answer": n + 1} for n in range(count)),
    )


def test_each_benchmark_has_its_sampling_and_its_folder(model: Path, tmp_path: Path, long1k: Run) -> None:  # noqa: F811
    ran = long1k(
        "predict", model, *ENGINE, "--benchmark", "sums=jsonl", "--benchmark", "gpqa",
        "--option", f"sums.path={sums(tmp_path / 's.jsonl')}", "--option", f"gpqa.path={lines(tmp_path / 'g.jsonl', *map(row, range(5)))}",
        "--set", "max_new_tokens=100", "--set", "temperature=1.0", "--set", "sums.samples=3", "--set", "sums.budget.max_thinking_tokens=60", "--out", tmp_path / "out",
    )  # fmt: skip
    assert (ran.code, ran.err) == (0, "")
    one, other = read_manifest(tmp_path / "out" / "sums"), read_manifest(tmp_path / "out" / "gpqa")
    assert (one.rows_out, other.rows_out) == (18, 5)
    assert one.config["sampling"]["budget"]["max_thinking_tokens"] == 60
    assert one.config["sampling"]["max_new_tokens"] == other.config["sampling"]["max_new_tokens"] == 100
    assert (one.info["grader"], other.info["grader"]) == ("math", "choice")
    assert one.info["source"]["rows"] == 6
    # score asks the table which grader is its own; another one can be named.
    for folder, asked, used in (("sums", "auto", "math"), ("gpqa", "auto", "choice"), ("gpqa", "math", "math")):
        out = tmp_path / f"{folder}-{asked}"
        assert long1k("score", tmp_path / "out" / folder, "--grader", asked, "--out", out).code == 0
        assert {s.grader for s in read_table(out, Score)} == {used}
    golds = [r.answers[0] for r in read_table(tmp_path / "out" / "gpqa", Prediction)]
    assert [s.status for s in read_table(tmp_path / "gpqa-auto", Score)] == [
        "correct" if g == "B" else "wrong" for g in golds
    ]


def test_several_problems_a_prompt_are_graded_by_part(model: Path, tmp_path: Path, long1k: Run) -> None:  # noqa: F811
    path = sums(tmp_path / "s.jsonl", 7)
    ran = long1k(
        "predict", model, *ENGINE, "--benchmark", "multi", "--option", "of.type=jsonl", "--option", f"of.path={path}",
        "--option", "k=[2, 3]", "--set", "max_new_tokens=200", "--out", tmp_path / "out",
    )  # fmt: skip
    assert ran.code == 0
    assert "2 a prompt: 4 prompts, 1 problems in a shorter prompt" in ran.out
    rows = read_table(tmp_path / "out", Prediction)
    assert sorted(len(r.part_ids) for r in rows) == [1, 1, 2, 2, 2, 3, 3]
    summary = long1k("score", tmp_path / "out", "--out", tmp_path / "scores").out
    assert "1 a prompt, problem 1: 2 of 2 correct" in summary
    assert "3 a prompt, problem 3: 2 of 2 correct (100.0 %)" in summary
    scores = read_table(tmp_path / "scores", Score)
    assert len(scores) == 14
    assert {s.status for s in scores} == {"correct"}


def test_doubtful_outputs_are_warned_of(model: Path, tmp_path: Path, long1k: Run) -> None:  # noqa: F811
    path = sums(tmp_path / "s.jsonl", 10, cut=1)
    common = (
        "predict",
        model,
        *ENGINE,
        "--benchmark",
        "jsonl",
        "--option",
        f"path={path}",
        "--set",
        "max_new_tokens=100",
    )
    ran = long1k(*common, "--out", tmp_path / "a")
    assert ran.code == 0
    assert "warning: jsonl: 10.0 % of outputs were cut at max_new_tokens" in ran.err
    ScriptedEngine.says = staticmethod(lambda prompt, sample: says(prompt, 0))
    ran = long1k(*common, "--set", "samples=4", "--set", "temperature=0", "--out", tmp_path / "b")
    assert "temperature is 0, so the samples of a question are one and the same" in ran.err


def test_what_was_not_asked_is_said(model: Path, tmp_path: Path, long1k: Run) -> None:  # noqa: F811
    path = lines(tmp_path / "o.jsonl", OLYMPIAD, {**OLYMPIAD, "question_type": "Theorem proof"})
    ran = long1k(
        "predict", model, *ENGINE, "--benchmark", "olympiadbench", "--option", f"path={path}", "--out", tmp_path / "o"
    )
    assert "not asked, of 2 rows: a proof is asked for 1" in ran.out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("--benchmark math500 --option path=nowhere.jsonl", 1, "there is no file nowhere.jsonl"),
        ("--benchmark meth500", 2, "did you mean 'math500'?"),
        ("--benchmark micro --benchmark micro", 2, "stands twice"),
        ("--benchmark micro --set micro.sample=2", 2, "did you mean 'samples'?"),
        ("--benchmark micro --set sample=2", 2, "did you mean 'samples'?"),
        ("--benchmark micro --set samples", 2, "expected key=value"),
        ("--benchmark micro --option cout=2", 2, "did you mean 'count'?"),
        ("--benchmark jsonl", 2, "give path: FILE, or hub: OWNER/NAME"),
    ],
)
def test_mistakes_are_messages(
    arguments: str,
    code: int,
    message: str,
    model: Path,
    tmp_path: Path,
    long1k: Run,  # noqa: F811
) -> None:
    ran = long1k("predict", model, *ENGINE, *arguments.split(), "--out", tmp_path / "out")
    assert ran.code == code
    assert message in ran.err
    assert not (tmp_path / "out").exists()


# --- recipes ----------------------------------------------------------------------------------------------


def recipe(folder: Path, **change: Any) -> str:
    values = {**json.loads(json.dumps(SMALL)), **change}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(path)


def test_a_recipes_benchmarks_have_samplings_of_their_own(tmp_path: Path) -> None:
    g = lines(tmp_path / "g.jsonl", *map(row, range(3)))
    path = recipe(
        tmp_path, sampling={"temperature": 0.6, "samples": 4, "budget": {"waits": 3, "min_thinking_tokens": 7}},
        benchmarks={
            "single": {"type": "micro", "count": 5},
            "gpqa": {"type": "gpqa", "path": str(g), "sampling": {"samples": 64, "budget": {"waits": 5}}},
        },
    )  # fmt: skip
    loaded = load_recipe(path)
    drawn = make_samplings(loaded)
    assert (drawn["single"].samples, drawn["gpqa"].samples) == (4, 64)
    assert drawn["gpqa"].temperature == 0.6
    assert (drawn["gpqa"].budget.waits, drawn["gpqa"].budget.min_thinking_tokens) == (5, 7)
    study = Study(loaded, tmp_path / "run")
    assert (study.grader("single"), study.grader("gpqa")) == ("math", "choice")
    assert study.score_folder(study.arms[0], 0, "gpqa").name == "choice"
    assert study.predict_arguments(study.arms[0], 0, "gpqa", None)["sampling"].samples == 64
    fixed = Study(load_recipe(path, ["grader=math", "benchmarks.gpqa.sampling.samples=2"]), tmp_path / "run")
    assert fixed.grader("gpqa") == "math"
    assert fixed.samplings["gpqa"].samples == 2


@pytest.mark.parametrize(
    ("sampling", "message"), [({"sample": 2}, "did you mean 'samples'"), (3, "is a mapping of keys")]
)
def test_mistakes_in_a_benchmarks_sampling(sampling: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe(tmp_path, benchmarks={"single": {"type": "micro", "sampling": sampling}}))


def test_letters_is_a_whole_tokenizer() -> None:
    text = "Problem 1: What is 3^2?\n\\boxed{9}"
    assert letters().tokenizer.decode(letters().tokenizer.encode(text)) == text
