"""What is printed keeps to 100 columns: long names, many seeds, many reasons; words that cannot be broken stay whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from long1k.balance_table import terminal_table
from long1k.cli import app
from long1k.recipe_files import RECIPES
from long1k.summary import study_summary
from long1k.wide import WIDTH, fit

NAME = "an-arm-with-a-name-that-somebody-found-telling"
RECIPE = f"""
name: wide
tokenizer: package:micro
sources:
  operation-1: {{type: micro, operation: 1, count: 400, check: 1}}
arms:
  - {{kind: ladder, targets: [32, 65, 131], samples: 8, num_problems: [1, 4], layout: turns, linkers: micro}}
  - {{kind: samples, name: {NAME}, groups: [{{target: 65, samples: 8, num_problems: [1, 2], layout: turns, linkers: micro}}]}}
  - {{kind: token_matched, of: L131, short: L32}}
  - {{kind: repeated, of: L131, short: L32}}
train: null
"""


def long1k(*arguments: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(arguments))
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == code, done.output
    return done.output


def too_wide(text: str) -> list[str]:
    """Lines over the width that could have been broken: those of more than one word after the indent."""
    return [line for line in text.splitlines() if len(line) > WIDTH and " " in line.strip()[: WIDTH - 20]]


@given(st.lists(st.text(alphabet="ab .,", max_size=300), max_size=5), st.integers(20, 100))
def test_fitting_loses_no_word_and_breaks_what_it_can(lines: list[str], width: int) -> None:
    text = "\n".join(lines)
    fitted = fit(text, width)
    assert fitted.split() == text.split()
    for line in fitted.split("\n"):
        indent = len(line) - len(line.lstrip(" "))
        assert len(line) <= width or max(len(word) for word in line.split()) + indent > width or not line.strip()
    assert fit(fitted, width) == fitted or any(len(line) > width for line in fitted.split("\n"))


def test_narrow_text_is_left_as_it_is() -> None:
    text = "a table   of  columns\n  - \tand a line\n" + "x" * 100
    assert fit(text) == text


def findings(seeds: int, name: str) -> dict[str, Any]:
    interval = {"estimate": 0.512, "low": 0.4, "high": 0.6}
    arm = {
        "name": name, "target_tokens": 12345, "training": {"samples": 123456, "tokens": 1234567890},
        "accuracy": interval, "accuracy_by_seed": {str(at): 1.0 for at in range(seeds)},
    }  # fmt: skip
    slope = {"estimate": 0.0123, "low": -0.1, "high": 0.2}
    law = {"intercept": -1.234, "slope": slope, "r2": 0.9123, "r2_pooled": 0.8123}
    return {
        "confidence": 0.95, "verdict": ["a sentence of many words " * 12], "notes": ["a note of many words " * 12],
        "benchmarks": [{"benchmark": "b" * 40, "questions": 12345, "arms": [arm, arm | {"name": "L1"}], "law": law}],
    }  # fmt: skip


@pytest.mark.parametrize("seeds", [1, 4, 5, 30])
@pytest.mark.parametrize("length", [2, 30, 38, 39, 90])
def test_the_table_of_a_study_with_many_seeds_and_long_names(seeds: int, length: int, tmp_path: Path) -> None:
    (tmp_path / "analyze").mkdir()
    (tmp_path / "analyze" / "findings.json").write_text(json.dumps(findings(seeds, "n" * length)))
    text = study_summary(tmp_path)
    assert max(len(line) for line in text.splitlines()) <= WIDTH
    assert text.count("100.0") == 2 * seeds
    figures = [line for line in text.splitlines() if "1,234,567,890" in line]
    assert len({line.index("51.2") for line in figures}) == 1  # in one column, wherever the name stands


def test_collect_to_report_and_back_in_100_columns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wide.yaml").write_text(RECIPE)
    printed = long1k("run", "wide.yaml", "--workers", "1")
    assert NAME in printed
    assert "against" in printed  # the balance table
    run = "runs/wide"
    letters = "abcdefgh"
    traces = [
        {"question": f"{x}⊕{y}", "answer": y, "thinking": f"{x}⊕{y}={y}.", "solution": f"\\boxed{{{y if y > 'c' else 'a'}}}"}
        for x in letters for y in letters
    ]  # fmt: skip
    Path("traces.jsonl").write_text("".join(json.dumps(row) + "\n" for row in traces))
    answered = [
        {"question": f"what is {at}", "answer": str(at), "response": f"so so \\boxed{{{at % 7}}}", "dataset": "ours"}
        for at in range(60)
    ]
    Path("rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answered))
    field = ["--field", "benchmark=dataset", "--arm", "dataset"]
    printed += "".join(
        long1k(*words)
        for words in (
            ["analyze", run], ["report", run], ["show", run], ["status", run], ["status", run, "--all"],
            ["collect", "traces.jsonl", "--tokenizer", "package:micro", "--out", "pool"],
            ["synthesize", f"{run}/collect", "--target", "65", "--problems", "1-2", "--samples", "9", "--layout",
             "turns", "--linkers", "micro", "--out", "examples"],
            ["export", "examples", "--format", "sharegpt", "--out", "exported"],
            ["import", "rows.jsonl", *field, "--out", "outputs"],
            ["score", "outputs", "--out", "outputs-scores", "--grader", "math"],
            ["rates", "outputs-scores", "--predictions", "outputs"],
            ["outputs", "outputs-scores"],
            ["compare", run, run],
            ["compare", f"{run}/arms/L32", f"{run}/arms/{NAME}"],
        )
    )  # fmt: skip
    printed += long1k("doctor", "--benchmark", "micro", "--option", "count=30", "--tokenizer", "package:micro")
    assert len(printed.splitlines()) > 150
    assert too_wide(printed) == []


@pytest.mark.parametrize("arguments", [("paper",), ("paper", "--later"), ("paper", "F")])
def test_the_papers_figures(arguments: tuple[str, ...]) -> None:
    assert too_wide(long1k(*arguments)) == []


@pytest.mark.parametrize("recipe", sorted(path.stem for path in RECIPES.glob("*.yaml")))
def test_plans(recipe: str) -> None:
    done = CliRunner().invoke(app, ["plan", recipe, "--gpus", "8xH100-80"])
    assert done.exit_code in (0, 1, 2)  # some recipes train nothing, or need --tokens: said in a sentence
    assert too_wide(done.stdout) == []


def test_balance_of_arms_with_long_names() -> None:
    from long1k.balance_table import COLUMNS

    row = {
        "arm": NAME, "seed": 0, "kind": "samples", "against": NAME + "-2", "description": "", **dict.fromkeys(COLUMNS),
        "samples": 123456, "target": 12000, "tokens": 1234567890, "mean_tokens": 12000.0, "problems": 123456,
        "steps": 123456, "unique_problems": 12345, "parts": 2.5, "difficulty": 3.5, "prompt_tokens": 99.0,
        "supervised_tokens": 123456789, "teachers": {"a": 0.5, "b": 0.5}, "licenses": {"MIT": 1.0},
    }  # fmt: skip
    other = {**row, "arm": NAME + "-2", "against": None, "samples": 1, "tokens": 7, "teachers": {"c": 1.0}}
    text = terminal_table([row, other])
    table = text.split("\n\n")[0].splitlines()
    assert max(len(line) for line in table) <= WIDTH
    assert len(table) == 5  # the headings, and of both arms a name and its figures
    assert too_wide(fit(text)) == []
