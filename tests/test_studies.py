"""The packaged studies: all load and can be planned, twins ask what their studies ask, and their data balance."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from long1k.arms import optimiser_steps
from long1k.balance_table import balance_row, differences
from long1k.errors import DataError, Long1kError, RecipeError
from long1k.hardware import parse_machines
from long1k.recipe import RECIPES, Recipe, expand_arms, load_recipe, make_benchmarks
from long1k.recipe_files import recipe_values
from long1k.stages.analyze.ledger import find_folders, ledger_of
from long1k.study import Study, run_study
from long1k.study_plan import find_layouts, plan_study
from long1k.tables import read_manifest
from realdata import need_extra

STUDIES = (
    "same-problem", "difficulty", "length-ladder", "steps", "words", "long1k-32b", "coherence", "instructions",
    "inference-budget", "mixture", "composition", "token-matched",
)  # fmt: skip
DATA = (
    "same-problem",
    "difficulty",
    "length-ladder",
    "token-matched",
    "mixture",
    "composition",
    "coherence",
    "long1k-32b",
)
ALL = sorted(path.stem for path in RECIPES.glob("*.yaml"))


@pytest.fixture(autouse=True)
def _data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LONG1K_DATA", str(tmp_path))


def test_every_study_has_a_twin_and_nothing_else_is_called_one() -> None:
    assert {f"{name}-cpu" for name in STUDIES} == {name for name in ALL if name.endswith("-cpu")}
    assert set(STUDIES) <= set(ALL)


@pytest.mark.parametrize("name", ALL)
def test_every_recipe_loads_whole_and_in_its_smallest_form(name: str) -> None:
    whole, smallest = load_recipe(name), load_recipe(name, smoke=True)
    assert whole.name == smallest.name == name
    assert whole != smallest
    assert whole.description
    assert expand_arms(smallest)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_says_what_it_asks_and_which_sentences_to_read(name: str) -> None:
    for one in (name, f"{name}-cpu"):
        comment = [line for line in (RECIPES / f"{one}.yaml").read_text("utf-8").splitlines() if line.startswith("#")]
        assert any("Sentences to read" in line for line in comment), one


@pytest.mark.parametrize("name", [name for name in STUDIES if name != "long1k-32b"])
def test_a_twin_has_the_arms_and_the_budgets_of_its_study(name: str) -> None:
    def kinds(recipe: Recipe) -> list[tuple[str, str]]:
        return sorted({(arm.kind, arm.role) for arm in expand_arms(recipe)})

    study, twin = load_recipe(name), load_recipe(f"{name}-cpu")
    assert kinds(twin) == kinds(study)
    assert (study.arms_of is None) == (twin.arms_of is None)
    assert (study.budget_curves is None) == (twin.budget_curves is None)


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_of_full_size_can_be_planned(name: str, tmp_path: Path) -> None:
    study = plan_study(load_recipe(name), runs=tmp_path)
    assert study.shape.parameters > 30e9
    trained = [arm for arm in expand_arms(load_recipe(name)) if arm.train is not None]
    assert [arm.name for arm in study.arms] == [arm.name for arm in trained]
    assert all(arm.steps > 0 and arm.lengths.longest <= 32768 for arm in study.arms)
    _, found = find_layouts(study, parse_machines("8xH200"), None)
    assert found.fits


def test_a_plan_counts_prompts_of_several_questions_and_says_what_is_trained_elsewhere(tmp_path: Path) -> None:
    study = plan_study(load_recipe("instructions"), runs=tmp_path)
    assert study.questions == {"one": 500, "two": 250, "four": 125, "eight": 62}
    assert any("arms_of length-ladder" in note for note in study.notes)
    changes = ["benchmarks.two.design=rotated", "benchmarks.two.k=[2, 3]", "benchmarks.four.of={type: jsonl, path: x}"]
    study = plan_study(load_recipe("instructions", changes), runs=tmp_path)
    assert study.questions == {"one": 500, "two": 2 * 250 + 3 * 167, "eight": 62}


@pytest.mark.parametrize("name", STUDIES)
def test_a_twin_can_be_planned(name: str, tmp_path: Path) -> None:
    # The lengths of the sets of same-problem are known once they are made: 60 tokens are their longest there.
    tokens = 60 if name == "same-problem" else None
    study = plan_study(load_recipe(f"{name}-cpu"), runs=tmp_path, tokens=tokens)
    assert study.questions
    rows = sum(arm.seeds * arm.tokens_a_run for arm in study.arms)
    assert rows < 4e6  # minutes, not hours


@pytest.mark.slow
@pytest.mark.parametrize("name", DATA)
def test_the_data_of_a_twin_balance(name: str, tmp_path: Path) -> None:
    """What a kind of arm holds equal is equal in the samples that are really made, with the training as it is."""
    whole = load_recipe(f"{name}-cpu")
    data = load_recipe(f"{name}-cpu", ["train=null", "base=null", "seeds=[0]"])
    run_study(data, tmp_path, num_workers=1, say=lambda _: None)
    study = Study(data, tmp_path / data.name)
    rows = []
    for arm in expand_arms(whole):
        balance = read_manifest(study.examples(arm, 0)).info["balance"] if arm.specs else None
        rows.append(balance_row(arm, balance))
        if balance is not None:
            assert balance["samples"] == arm.planned_samples or arm.kind == "problem_matched"
    broken = {(one["arm"], one["column"]) for one in differences(rows) if one["design"] == "equal" and not one["ok"]}
    # Two conversations in one row need neither labels nor linking words: a seventh of so short a sample.
    allowed = {
        ("masked-pair-of-L75", column)
        for column in ("tokens", "mean_tokens", "supervised_tokens", "tokens_a_step", "tokens_trained")
    }
    assert broken == (allowed if name == "composition" else set())


def test_equal_steps_are_equal_and_share_their_samples() -> None:
    arms = {arm.name: arm for arm in expand_arms(load_recipe("steps-cpu"))}
    assert len(arms) == 10
    for name, arm in arms.items():
        target, steps = name.removeprefix("L").split("-")
        assert optimiser_steps(arm.train, arm.planned_samples) == int(steps)
        assert (arm.target_tokens, arm.data_arm) == (int(target), f"L{target}-60")
        assert arm.against == (None if target == "32" else f"L32-{steps}")


# --- recipes that stand on another -------------------------------------------------------------------------


def _write(folder: Path, name: str, **keys: Any) -> str:
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({"name": name, **keys}), encoding="utf-8")
    return str(path)


MICRO: dict[str, Any] = {"operation-1": {"type": "micro", "count": 200}}
LADDER: list[dict[str, Any]] = [
    {"kind": "ladder", "targets": [32], "samples": 4, "num_problems": [1, 1], "linkers": "micro"}
]


def _first(folder: Path, **more: Any) -> str:
    base = {"sources": {"zero": {"type": "micro", "operation": 0, "count": 300}},
            "groups": [{"target": 32, "samples": 20, "num_problems": [1, 1], "linkers": "micro"}],
            "init": {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "intermediate_size": 32, "max_positions": 128},
            "train": {"steps": 3, "batch_size": 4, "learning_rate": 1e-3}}  # fmt: skip
    keys: dict[str, Any] = {
        "tokenizer": "package:micro", "sources": MICRO, "base": base, "arms": LADDER,
        "train": {"steps": 2, "batch_size": 2}, "benchmarks": {"one": {"type": "micro", "count": 5}},
        "sampling": {"max_new_tokens": 8}, "smoke": {"train.steps": 1},
    }  # fmt: skip
    return _write(folder, "first", **{**keys, **more})


def test_a_recipe_takes_over_what_it_stands_on(tmp_path: Path) -> None:
    first = _first(tmp_path)
    second = _write(tmp_path, "second", base_of=first, sources=MICRO, arms=LADDER, train={"steps": 9})
    third = _write(tmp_path, "third", arms_of=first, benchmarks={"two": {"type": "micro", "count": 4, "steps": [3, 3]}})
    one, two, three = load_recipe(first), load_recipe(second), load_recipe(third)
    assert (two.base, two.base_of, two.arms_of, two.tokenizer) == (one.base, "first", None, "package:micro")
    assert two.train is not None
    assert two.train.steps == 9
    assert (three.arms, three.train, three.sources, three.seeds) == (one.arms, one.train, one.sources, one.seeds)
    assert (three.base_of, three.arms_of, set(three.kept_out), set(three.benchmarks)) == (
        "first",
        "first",
        {"one"},
        {"two"},
    )
    smallest = recipe_values(Path(first), smoke=True)
    assert smallest["train"]["steps"] == 1
    runs = Study(three, tmp_path / "runs" / "third")
    arm = runs.arms[0]
    assert runs.checkpoint(arm, 0) == tmp_path / "runs" / "first" / "arms" / "L32" / "seed-0" / "train"
    assert runs.score_folder(arm, 0, "two").is_relative_to(tmp_path / "runs" / "third")
    assert runs.train_seed(arm, 0) == Study(one, tmp_path / "runs" / "first").train_seed(arm, 0)
    assert runs.start_model == Study(two, tmp_path / "runs" / "second").start_model


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"base_of": "FIRST", "arms_of": "FIRST"}, "give one of base_of and arms_of"),
        ({"arms_of": "FIRST", "seeds": [1]}, "arms_of takes seeds from"),
        ({"base_of": "FIRST", "base": {}}, "base_of takes base from"),
        ({"arms_of": "FIRST", "kept_out": {}}, "takes the pool as it is"),
        ({"arms_of": "words-cpu"}, "stands on another recipe itself"),
        ({"base_of": "real-traces"}, "has no base model"),
        ({"arms_of": "real-traces"}, "are not trained"),
        ({"arms_of": "nowhere"}, "there is no recipe 'nowhere'"),
    ],
)
def test_a_recipe_that_cannot_stand_on_another_is_refused(keys: dict[str, Any], message: str, tmp_path: Path) -> None:
    first = _first(tmp_path)
    path = _write(tmp_path, "x", **{key: first if value == "FIRST" else value for key, value in keys.items()})
    with pytest.raises(RecipeError, match=message):
        load_recipe(path)


def test_a_benchmark_of_the_recipe_below_is_changed_under_kept_out(tmp_path: Path) -> None:
    """Overriding it under benchmarks reaches nothing: what is said then names the leaf that does."""
    far = {"type": "math500", "path": str(tmp_path / "far.jsonl")}
    first = _first(tmp_path, benchmarks={"one": far, "other": far})
    third = _write(tmp_path, "third", arms_of=first, benchmarks={"one": far})
    with pytest.raises(RecipeError, match=r"'other' has no type; first has one[\s\S]*--set kept_out\.other\.KEY"):
        load_recipe(third, ["benchmarks.other.path=near.jsonl"])
    found = load_recipe(third, ["benchmarks.one.path=near.jsonl"])
    with pytest.raises(DataError, match=r"no file .*far\.jsonl[\s\S]*--set kept_out\.NAME\.path=FILE"):
        list(make_benchmarks(found.kept_out)[0][1].load())
    assert load_recipe(third, ["kept_out.one.path=near.jsonl"]).kept_out["one"]["path"] == "near.jsonl"


def test_the_recipe_that_one_stands_on_can_be_named_on_the_command_line(tmp_path: Path) -> None:
    first = _first(tmp_path)
    keys = json.loads(Path(first).read_text("utf-8"))
    del keys["name"]
    other = _write(tmp_path, "other", **keys | {"seeds": [7]})
    third = _write(tmp_path, "third", arms_of=first, benchmarks={"two": {"type": "micro", "count": 4}})
    found = load_recipe(third, [f"arms_of={other}", "benchmarks.two.count=3"])
    assert (found.arms_of, found.base_of, found.seeds) == ("other", "other", [7])
    assert found.benchmarks["two"]["count"] == 3
    same = tmp_path / "copy"
    same.mkdir()
    with pytest.raises(RecipeError, match="has the name of the recipe that it stands on, 'first'"):
        load_recipe(_write(same, "first", arms_of=first))


def test_a_run_that_is_here_finds_the_one_it_stands_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    third = load_recipe(_write(tmp_path, "third", arms_of=_first(tmp_path)))
    (tmp_path / "runs" / "third").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "runs" / "third")
    assert Study(third, Path()).pool == tmp_path / "runs" / "first" / "collect"


@pytest.mark.slow
def test_arms_are_made_once_and_asked_twice(tmp_path: Path) -> None:
    need_extra("trl")
    first = _first(tmp_path)
    third = _write(
        tmp_path, "third", arms_of=first, sampling={"max_new_tokens": 30},
        benchmarks={
            "free": {"type": "micro", "count": 4, "steps": [3, 3]},
            "forced": {"type": "micro", "count": 4, "steps": [3, 3], "sampling": {"budget": {"max_thinking_tokens": 4}}},
        },
        budget_curves={"of": "free", "forced": ["forced"], "cut": [5, 10]},
    )  # fmt: skip
    runs = tmp_path / "runs"
    run_study(load_recipe(third), runs, num_workers=1, say=lambda _: None)
    trained = runs / "first" / "arms" / "L32" / "seed-0" / "train" / "manifest.json"
    before = trained.stat().st_mtime_ns
    run_study(load_recipe(first), runs, num_workers=1, say=lambda _: None)
    assert trained.stat().st_mtime_ns == before
    assert not (runs / "third" / "arms" / "L32" / "seed-0" / "train").exists()
    findings = json.loads((runs / "third" / "analyze" / "findings.json").read_text(encoding="utf-8"))
    (arm,) = findings["budgets"]["arms"]
    assert [(one["how"], one["name"]) for one in arm["points"]] == [
        ("free", "free"), ("forced", "forced"), ("cut", "5 tokens"), ("cut", "10 tokens"),
    ]  # fmt: skip
    assert arm["points"][2]["mean_tokens"] <= 5
    page = (runs / "third" / "report" / "report.html").read_text(encoding="utf-8")
    assert "Training length against tokens at inference" in page
    assert "The arms are those of first" in page
    assert str(tmp_path) not in page
    assert {line["folder"] for line in findings["ledger"]} >= {"../first/collect", "../first/base/train"}
    ledger = ledger_of(find_folders(runs / "third"), runs / "third")
    assert [line["folder"] for line in ledger if line["stage"] == "train"] == [
        "../first/base/train", "../first/arms/L32/seed-0/train",
    ]  # fmt: skip

    # What is finished in another recipe's run is never replaced, neither by other training nor by other data.
    before = {path: path.stat().st_mtime_ns for path in sorted((runs / "first").rglob("manifest.json"))}
    second = _write(tmp_path, "second", base_of=first, sources=MICRO, arms=LADDER, train={"steps": 1, "batch_size": 2})
    for path, change, differs in (
        (third, "train.steps=3", "train.steps: 2 → 3"),
        (third, "sources.operation-1.count=150", "count: 200 → 150"),
        (third, "base.train.steps=4", "train.steps: 3 → 4"),
        (second, "chat.thinking=openthoughts", "thinking"),
        (second, "base.groups.0.samples=19", "samples: 20 → 19"),
    ):
        with pytest.raises(Long1kError, match="belongs to the run of first") as caught:
            run_study(load_recipe(path, [change]), runs, num_workers=1, say=lambda _: None)
        assert re.search(differs, str(caught.value)), caught.value
    assert {path: path.stat().st_mtime_ns for path in sorted((runs / "first").rglob("manifest.json"))} == before
    run_study(load_recipe(first, ["train.steps=3"]), runs, num_workers=1, say=lambda _: None)  # it is its own
    assert trained.stat().st_mtime_ns != before[trained]


@pytest.mark.parametrize(
    ("budgets", "message"),
    [
        ({"of": "two"}, "names the benchmark 'two', which is not there"),
        ({"of": "one", "forced": ["other"]}, "which asks other questions"),
        ({"of": "one", "cut": [0]}, "a limit below one token"),
        ({"of": "one", "force": []}, "did you mean 'forced'"),
    ],
)
def test_budgets_of_other_questions_are_refused(budgets: dict[str, Any], message: str, tmp_path: Path) -> None:
    benchmarks = {"one": {"type": "micro", "count": 5}, "other": {"type": "micro", "count": 6}}
    with pytest.raises(RecipeError, match=message):
        load_recipe(_first(tmp_path, benchmarks=benchmarks, budget_curves=budgets))
