"""Recipes are strict and errors are messages: what the user did, where, and what to do instead."""

from __future__ import annotations

import json
import math
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from conftest import MakePool, MakeTrace
from long1k import cli, cli_pool
from long1k.errors import DataError, RecipeError
from long1k.recipe import RECIPES, expand_arms, load_recipe, parse_leaf, recipe_of_run
from long1k.rows import Example
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.summary import study_summary
from long1k.tables import read_manifest, read_table

HEAVY = ("torch", "transformers", "trl", "datasets", "vllm", "ray", "accelerate")
COMMANDS = (
    "run", "collect", "synthesize", "train", "predict", "import", "score", "analyze", "report", "show",
)  # fmt: skip

GROUP = {"target": 60, "samples": 2, "linkers": "micro"}
SMALL: dict[str, Any] = {
    "name": "small",
    "tokenizer": "package:micro",
    "sources": {"one": {"type": "micro", "count": 50}},
    "arms": [
        {"kind": "ladder", "targets": [26, 52], "samples": 4, "num_problems": [1, 3]},
        {"kind": "samples", "name": "own", "groups": [GROUP]},
        {"kind": "token_matched", "of": "L52", "short": "L26"},
        {"kind": "repeated", "of": "L52", "short": "L26"},
        {"kind": "untrained"},
    ],
    "model": "somewhere",
    "train": {"steps": 5, "batch_size": 2, "learning_rate": 0.001},
    "benchmarks": {"single": {"type": "micro", "count": 5}},
}


def _write(folder: Path, change: Callable[[dict[str, Any]], Any] | None = None) -> str:
    values = json.loads(json.dumps(SMALL))
    if change is not None:
        change(values)
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return str(path)


# --- recipes ----------------------------------------------------------------------------------------------


def test_a_recipe_expands_into_its_arms(tmp_path: Path) -> None:
    arms = {arm.name: arm for arm in expand_arms(load_recipe(_write(tmp_path)))}
    assert list(arms) == ["L26", "L52", "own", "tokens-of-L52", "repeat-L26-as-L52", "untrained"]
    assert [arm.role for arm in arms.values()] == ["rung", "rung", "arm", "control", "control", "baseline"]
    matched, repeated = arms["tokens-of-L52"], arms["repeat-L26-as-L52"]
    assert (matched.of, matched.specs[0].target, matched.specs[0].samples, matched.data_arm) == (
        "L52",
        26,
        8,
        matched.name,
    )
    assert (repeated.of, repeated.data_arm, repeated.specs) == ("L52", "L26", arms["L26"].specs)
    assert arms["L26"].train is not None
    for control in (matched, repeated):
        assert control.train is not None
        assert (control.train.batch_size, control.train.steps) == (2 * arms["L26"].train.batch_size, 5)
    assert arms["untrained"].train is None


def _arms(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    return {arm.name: arm for arm in expand_arms(load_recipe(_write(tmp_path, change)))}


def test_controls_match_steps_and_tokens_with_epochs_too(tmp_path: Path) -> None:
    def change(r: dict[str, Any]) -> None:
        r["arms"] = [
            {"kind": "ladder", "targets": [100, 400], "samples": 50},
            {"kind": "repeated", "of": "L400", "short": "L100"},
            {"kind": "token_matched", "of": "L400", "short": "L100"},
        ]
        r["train"] = {"epochs": 4, "batch_size": 16, "learning_rate": 1e-5}

    arms = _arms(tmp_path, change)
    steps = math.ceil(4 * 50 / 16)
    for name in ("repeat-L100-as-L400", "tokens-of-L400"):
        train = arms[name].train
        assert (train.steps, train.epochs, train.batch_size) == (steps, None, 64)
        taken = train.steps * train.batch_size * 100
        assert taken == steps * 16 * 400  # as many tokens as L400 takes in as many steps
    assert arms["tokens-of-L400"].specs[0].samples == 200


@pytest.mark.parametrize(
    ("targets", "train", "message"),
    [
        ([100, 130], {"steps": 5, "batch_size": 2}, "only a batch of 2.6 samples would match"),
        ([100, 200], {"steps": 5, "batch_size": 2, "packing": 400}, "with packing a batch counts rows"),
        ([200, 100], {"steps": 5, "batch_size": 2}, "swap of and short"),
    ],
)
def test_controls_that_cannot_match_are_refused(
    targets: list[int], train: dict[str, Any], message: str, tmp_path: Path
) -> None:
    def change(r: dict[str, Any]) -> None:
        r["arms"] = [
            {"kind": "ladder", "targets": targets, "samples": 50},
            {"kind": "repeated", "of": f"L{targets[1]}", "short": f"L{targets[0]}"},
        ]
        r["train"] = train

    with pytest.raises(RecipeError, match=message):
        _arms(tmp_path, change)


UNKNOWN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "top": (lambda r: r.update(tokeniser="x"), r"unknown key 'tokeniser'; did you mean 'tokenizer'\?"),
    "train": (lambda r: r["train"].update(learning_rte=1), r"'train.learning_rte'; did you mean 'learning_rate'\?"),
    "chat": (lambda r: r.update(chat={"thinkin": "think"}), r"'chat.thinkin'; did you mean 'thinking'\?"),
    "collect": (lambda r: r.update(collect={"verfy": "drop"}), r"'collect.verfy'; did you mean 'verify'\?"),
    "sampling": (lambda r: r.update(sampling={"temprature": 1}), r"did you mean 'temperature'\?"),
    "ladder": (lambda r: r["arms"][0].update(sampels=1), r"'arms.0.sampels'; did you mean 'samples'\?"),
    "control": (lambda r: r["arms"][2].update(shrt="L26"), r"'arms.2.shrt'; did you mean 'short'\?"),
    "source": (lambda r: r["sources"]["one"].update(cuont=1), r"'cuont'; did you mean 'count'\?"),
    "benchmark": (lambda r: r["benchmarks"]["single"].update(histroy=1), r"'histroy'; did you mean 'history'\?"),
}


@pytest.mark.parametrize("place", UNKNOWN)
def test_an_unknown_key_names_the_nearest_known_one(place: str, tmp_path: Path) -> None:
    change, message = UNKNOWN[place]
    with pytest.raises(RecipeError, match=message):
        load_recipe(_write(tmp_path, change))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda r: r["arms"][1]["groups"][0].update(targt=1), id="group in an arm"),
        pytest.param(lambda r: r.update(published={"x": {"path": "p", "fiels": {}}}), id="published"),
    ],
)
def test_an_unknown_key_deep_down_names_the_nearest_known_one(change: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"did you mean '(target|fields)'"):
        load_recipe(_write(tmp_path, change))


WRONG: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "two arms of one name": (lambda r: r["arms"].append({"kind": "untrained"}), "two arms are called 'untrained'"),
    "two equal rungs": (lambda r: r["arms"][0].update(targets=[26, 26]), "two arms are called 'L26'"),
    "control of nothing": (
        lambda r: r["arms"][2].update(of="L9"),
        r"token_matched names the arm 'L9', which does not stand before it\n  -> arms so far: L26, L52, own",
    ),
    "control before its arm": (lambda r: r["arms"].reverse(), "which does not stand before it"),
    "control of the untrained": (
        lambda r: r["arms"].append({"kind": "repeated", "of": "untrained", "short": "L26"}), "names the arm 'untrained'",
    ),
    "unknown kind": (lambda r: r["arms"][0].update(kind="ledder"), r"arms.0: no kind 'ledder': one of ladder, single_long, .*; did you mean 'ladder'"),
    "no name": (lambda r: r.pop("name"), "name: is missing"),
    "bad name": (lambda r: r.update(name="../up"), "name: String should match"),
    "no arms": (lambda r: r.update(arms=[]), "arms: List should have at least 1"),
    "a kind's key": (lambda r: r["arms"][0].pop("samples"), r"\n  arms.0.samples: is missing\n"),
    "no kind": (lambda r: r["arms"][0].pop("kind"), r"arms.0: kind is missing"),
    "source of an arm": (
        lambda r: r["arms"][0].update(where={"sources": ["won"]}),
        r"where.sources of arm L26 names 'won'\n  -> sources of the recipe: one; did you mean 'one'\?",
    ),
    "equal seeds": (lambda r: r.update(seeds=[1, 1]), "seeds must differ"),
    "no model": (lambda r: r.pop("model"), "exactly one of base and model"),
    "no type": (lambda r: r["sources"]["one"].pop("type"), r"source 'one' has no type[\s\S]*micro, files"),
    "unknown source": (lambda r: r["sources"]["one"].update(type="jsonll"), r"unknown source 'jsonll'[\s\S]*did you mean 'jsonl'\?"),
    "unknown benchmark": (lambda r: r["benchmarks"]["single"].update(type="math50"), r"did you mean 'math500'\?"),
    "outside source": (lambda r: r["sources"]["one"].update(type="no_such_module:X"), r"cannot load source[\s\S]*PYTHONPATH"),
    "outside class": (lambda r: r["sources"]["one"].update(type="long1k.errors:RecipeErorr"), r"cannot load source[\s\S]*classes of .*RecipeError"),
    "wrong type": (lambda r: r["sources"]["one"].update(count="many"), r"count: Input should be a valid integer.*'many'"),
    "arm's training": (lambda r: r["arms"][1].update(train={"stpes": 1}), r"did you mean 'steps'\?"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", WRONG)
def test_a_wrong_recipe_is_a_recipe_error(mistake: str, tmp_path: Path) -> None:
    change, message = WRONG[mistake]
    with pytest.raises(RecipeError, match=message):
        load_recipe(_write(tmp_path, change))


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda r: r["arms"][0].update(targets=[0]), id="a rung of no tokens"),
        pytest.param(lambda r: r["arms"][0].update(num_problems=[3, 1]), id="more problems at least than at most"),
        pytest.param(lambda r: r["arms"][0].update(linkers="german"), id="unknown linkers"),
    ],
)
def test_a_wrong_ladder_is_a_recipe_error(change: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        load_recipe(_write(tmp_path, change))


def test_a_control_of_a_much_shorter_arm_is_refused(tmp_path: Path) -> None:
    def swap(r: dict[str, Any]) -> None:
        r["arms"][0]["targets"] = [26, 416]
        r["arms"][2:4] = [{"kind": "token_matched", "of": "L26", "short": "L416"}]

    with pytest.raises(RecipeError):
        load_recipe(_write(tmp_path, swap))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "Invalid JSON"), ('{"name": "x", "oldkey": 1}', "unknown key 'oldkey'"), (b"\xff\xfe", "cannot be read"),
    ],
)  # fmt: skip
def test_a_run_whose_recipe_is_damaged_or_of_another_version_is_told(
    text: str | bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / "recipe.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=rf"{message}[\s\S]*damaged, or of another version[\s\S]*writes it anew"):
        recipe_of_run(tmp_path)
    result = CliRunner().invoke(cli.app, ["analyze", str(tmp_path)])
    assert isinstance(result.exception, DataError)


def test_a_seed_without_scores_keeps_its_place_in_the_table(tmp_path: Path) -> None:
    accuracy = {"estimate": 0.5, "low": 0.4, "high": 0.6}
    by_seed = {"L1": {"0": 0.1, "2": 0.3}, "L2": {"0": 0.1, "1": 0.2, "10": 0.3}, "untrained": {"0": 0.5}}
    arms = [
        {"name": name, "training": {}, "target_tokens": None, "accuracy": accuracy, "accuracy_by_seed": values}
        for name, values in by_seed.items()
    ]
    benchmark = {"benchmark": "b", "questions": 9, "arms": arms, "law": None}
    (tmp_path / "analyze").mkdir()
    (tmp_path / "analyze" / "findings.json").write_text(
        json.dumps({"confidence": 0.95, "benchmarks": [benchmark], "verdict": []})
    )
    lines = study_summary(tmp_path).splitlines()
    assert [line.split("]")[1].split() for line in lines if "[40.0, 60.0]" in line] == [
        ["10.0", "–", "30.0"], ["10.0", "20.0", "–", "30.0"], ["50.0"],
    ]  # fmt: skip


def test_an_arm_name_cannot_lead_out_of_the_run(tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        load_recipe(_write(tmp_path, lambda r: r["arms"][1].update(name="../../up")))


def test_files_that_are_no_recipes(tmp_path: Path) -> None:
    for text, message in (
        ("- a", "not a recipe"),
        ("a: [", "cannot be read"),
        ("", "not a recipe"),
        ("x\x00", "cannot be read"),
    ):
        path = tmp_path / "bad.yaml"
        path.write_text(text)
        with pytest.raises(RecipeError, match=message):
            load_recipe(str(path))
    with pytest.raises(RecipeError, match="there is no recipe file"):
        load_recipe(str(tmp_path / "absent.yaml"))
    with pytest.raises(RecipeError, match=r"no recipe 'quickstrat'[\s\S]*quickstart, real-traces"):
        load_recipe("quickstrat")


def test_set_changes_leaves(tmp_path: Path) -> None:
    path = _write(tmp_path)
    made = load_recipe(path, ["train.learning_rate=1e-5", "arms.0.targets.1=60", "arms.0.targets=[26, 78]", "arms.2.of=L78",
                              "arms.3.of=L78", "seeds=[3, 4]", "chat.thinking=openthoughts"])  # fmt: skip
    assert made.train is not None
    assert made.train.learning_rate == 1e-5
    assert [arm.name for arm in expand_arms(made)][:2] == ["L26", "L78"]
    assert (made.seeds, made.chat.thinking) == ([3, 4], "openthoughts")
    assert load_recipe(path).seeds == [0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seeds", r"--set seeds: expected key.path=value"),
        ("arms.9.samples=1", r"'9' is not a place in a list of 5"),
        ("arms.x.samples=1", r"'x' is not a place in a list"),
        ("arms.0.targets.2=1", r"'2' is not a place in a list of 2"),
        ("name.first=x", r"'name' is a single value"),
        ("seeds=[1", "is not YAML"),
        ("trian.steps=1", r"unknown key 'trian'; did you mean 'train'\?"),
        ("train.stpes=1", r"did you mean 'steps'\?"),
        ("train.steps=many", "train.steps: Input should be a valid integer"),
        ("=1", "expected key.path=value"),
    ],
)
def test_a_wrong_set_is_a_recipe_error(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(_write(tmp_path), [text])


def test_leaves_are_read_as_yaml() -> None:
    assert [parse_leaf(text) for text in ("1e-5", "5", "true", "null", "[1, 2]", "a b", "1.5", '"1"')][:7] == [
        1e-5, 5, True, None, [1, 2], "a b", 1.5,
    ]  # fmt: skip


def test_packaged_recipes_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONG1K_DATA", str(tmp_path))
    names = sorted(path.stem for path in RECIPES.glob("*.yaml"))
    assert {"quickstart", "real-traces"} <= set(names)
    for name in names:
        for smoke in (False, True):
            recipe = load_recipe(name, smoke=smoke)
            assert recipe.name == name
            assert expand_arms(recipe)
    small, whole = load_recipe("quickstart", smoke=True), load_recipe("quickstart")
    assert small.train is not None
    assert whole.train is not None
    assert small.train.steps != whole.train.steps


def test_a_missing_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("LONG1K_DATA", raising=False)
    with pytest.raises(RecipeError, match=r"environment variable LONG1K_DATA[\s\S]*export LONG1K_DATA=FOLDER"):
        load_recipe("real-traces")


# --- the command line -------------------------------------------------------------------------------------


class Ran:
    """What a command left: exit code, and what it printed."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Run = Callable[..., Ran]


@pytest.fixture
def long1k(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command in this process; an exception that is no message would end the test."""
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def run(*arguments: Any) -> Ran:
        monkeypatch.setattr(sys, "argv", ["long1k", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as end:
            code = int(end.code or 0)
        printed = capsys.readouterr()
        return Ran(code, printed.out, printed.err)

    return run


def _jsonl(folder: Path, count: int = 60, name: str = "rows.jsonl") -> Path:
    rows = []
    for raw in MicroSource(MicroConfig(count=count, steps=(1, 4), seed=4)).load():
        rows.append({key: getattr(raw, key) for key in ("question", "answer", "thinking", "solution")})
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


MICRO = ("--tokenizer", "package:micro")


def test_from_rows_to_samples(tmp_path: Path, long1k: Run) -> None:
    path, pool, examples = _jsonl(tmp_path), tmp_path / "pool", tmp_path / "examples"
    with path.open("a") as handle:
        handle.write("{\n")
    first = long1k("collect", path, *MICRO, "--out", pool)
    assert (first.code, first.err) == (0, "")
    assert "61 rows in = " in first.out
    assert re.search(r"1\s+malformed_json", first.out)
    assert "told apart by: given" in first.out
    second = long1k("synthesize", pool, "--target", 60, "--target", 90, "--samples", 3, "--problems", "2-4",
                    "--linkers", "micro", "--tolerance", "0.05", "--out", examples)  # fmt: skip
    assert (second.code, second.err) == (0, "")
    manifest = read_manifest(examples)
    assert [group["made"] for group in manifest.info["groups"]] == [3, 3]
    assert manifest.digest[:16] in second.out
    again = long1k("synthesize", pool, "--target", 60, "--target", 90, "--samples", 3, "--problems", "2-4",
                   "--linkers", "micro", "--tolerance", "0.05", "--out", examples)  # fmt: skip
    assert manifest.digest[:16] in again.out
    shown = long1k("show", examples, "--row", 1)
    example = read_table(examples, Example)[1]
    assert shown.code == 0
    assert example.example_id in shown.out
    assert f"{example.num_tokens:,} tokens (target {example.target_tokens:,})" in shown.out
    assert "not trained: " in shown.out
    for part in range(example.num_problems):
        assert f"⟦question {part + 1}⟧" in shown.out
        assert f"⟦solution {part + 1}⟧" in shown.out
        assert example.trace_ids[part] in shown.out
    by_id = long1k("show", examples, "--id", example.example_id[:10])
    assert by_id.out == shown.out
    tokens = long1k("show", examples, "--row", 1, "--tokens")
    assert f"{example.num_supervised_tokens:,} of {example.num_tokens:,} tokens are trained" in tokens.out
    assert "malformed_json" in long1k("show", pool, "--rejected").out
    assert "trace_id: t-" in long1k("show", pool).out
    short = str(tmp_path)
    for ran in (first, second):
        lines = [line.replace(short, "") for line in ran.out.splitlines()]
        assert max(map(len, lines)) < 100


def test_import_and_score_compare_with_labels(tmp_path: Path, long1k: Run) -> None:
    path = tmp_path / "outputs.jsonl"
    rows = [
        {
            "question": f"q{i}",
            "answer": "5",
            "response": f"<think>hm</think>\\boxed{{{5 if i % 2 else 6}}}",
            "good": i != 0,
            "run": "r",
        }
        for i in range(4)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + '{"question": "q"}\n')
    made = long1k("import", path, "--field", "label=good", "--arm", "run", "--out", tmp_path / "predictions")
    assert made.code == 0
    assert "5 rows in = 4 out + 1 rejected" in " ".join(made.out.split())
    scored = long1k(
        "score", tmp_path / "predictions", "--out", tmp_path / "scores", "--disagreements", tmp_path / "d.jsonl"
    )
    assert scored.code == 0
    assert "2 of 4 correct (50.0 %)" in scored.out
    assert "75.00 % of 4" in scored.out
    assert "1 disagreements" in scored.out
    assert json.loads((tmp_path / "d.jsonl").read_text())["extracted"] == "6"


@pytest.fixture
def world(tmp_path: Path, make_pool: MakePool, make_trace: MakeTrace) -> dict[str, Path]:
    """A folder with what users have, some of it broken."""
    names = ("rows", "empty", "pool", "unfinished", "file", "photos", "out", "model")
    paths = {name: tmp_path / name for name in names}
    paths["rows"] = _jsonl(tmp_path, 5)
    paths["empty"] = tmp_path / "empty.jsonl"
    paths["empty"].touch()
    make_pool(paths["pool"], [make_trace(f"{s}⊕b", f"{s}⊕b=c.", "\\boxed{c}", "c") for s in "abcd"])
    paths["unfinished"].mkdir()
    (paths["unfinished"] / "progress.json").write_text("{}")
    paths["file"].write_text("a file")
    paths["photos"].mkdir()
    (paths["photos"] / "holiday.jpg").write_text("precious")
    paths["recipe"] = Path(_write(tmp_path))
    paths["gz"] = tmp_path / "broken.jsonl.gz"
    paths["gz"].write_bytes(b"no gzip")
    return paths


MISTAKES: dict[str, tuple[str, int, str]] = {
    "missing file": ("collect absent.jsonl --tokenizer package:micro -o {out}", 1, "there is no file absent.jsonl"),
    "empty source": ("collect {empty} --tokenizer package:micro -o {out}", 1, "no rows in empty"),
    "broken gzip": ("collect {gz} --tokenizer package:micro -o {out}", 1, "not a whole gzip file"),
    "out is a file": ("collect {rows} --tokenizer package:micro -o {file}", 1, "cannot write to the output folder"),
    "out below a file": ("collect {rows} --tokenizer package:micro -o {file}/x", 1, "cannot write to the output folder"),
    "out is foreign": ("collect {rows} --tokenizer package:micro -o {photos}", 1, "holds files that this program did not make"),
    "no tokenizer": ("collect {rows} -o {out}", 2, "collect needs --tokenizer"),
    "no such tokenizer": ("collect {rows} --tokenizer nowhere -o {out}", 1, "no tokenizer folder nowhere"),
    "packaged tokenizer's bare name": ("collect {rows} --tokenizer micro -o {out}", 1, "did you mean package:micro?"),
    "no packaged tokenizer": ("collect {rows} --tokenizer package:x -o {out}", 1, "packaged tokenizers: micro"),
    "wrong verify": ("collect {rows} --tokenizer package:micro --verify maybe -o {out}", 2, "verify: Input should be 'drop'"),
    "wrong field": ("collect {rows} --tokenizer package:micro --field quest=x -o {out}", 2, "unknown field"),
    "field without =": ("collect {rows} --tokenizer package:micro --field quest -o {out}", 2, "expected key=value"),
    "wrong thinking": ("collect {rows} --tokenizer package:micro --thinking x -o {out}", 2, "unknown thinking style"),
    "unknown recipe": ("run quickstrat", 2, "there is no recipe 'quickstrat'"),
    "set without =": ("run {recipe} --set seeds", 2, "expected key.path=value"),
    "set of unknown": ("run {recipe} --set trian.steps=1", 2, "did you mean 'train'?"),
    "unfinished table": ("synthesize {unfinished} --target 60 -o {out}", 1, "never finished"),
    "missing table": ("synthesize absent --target 60 -o {out}", 1, "there is no folder absent"),
    "out of reach": ("synthesize {pool} --target 9999 -o {out}", 1, "could be made"),
    "wrong problems": ("synthesize {pool} --target 60 --problems two -o {out}", 2, "expected a number or a range"),
    "problems backwards": ("synthesize {pool} --target 60 --problems 3-2 -o {out}", 2, "least <= most"),
    "wrong layout": ("synthesize {pool} --target 60 --layout spiral -o {out}", 2, "layout: Input should be 'blocks'"),
    "wrong linkers": ("synthesize {pool} --target 60 --linkers german -o {out}", 2, "english, micro, none"),
    "no target": ("synthesize {pool} -o {out}", 2, "--target"),
    "not a number": ("synthesize {pool} --target ten -o {out}", 2, "valid integer"),
    "score of a pool": ("score {pool} -o {out}", 1, "holds no Prediction rows"),
    "unknown grader": ("score {pool} --grader meth -o {out}", 2, "did you mean 'math'?"),
    "unknown benchmark": ("predict {pool} --benchmark math50 -o {out}", 2, "did you mean 'math500'?"),
    "option without =": ("predict {pool} --benchmark micro --option x -o {out}", 2, "expected key=value"),
    "unknown option": ("predict {pool} --benchmark micro --option cuont=1 -o {out}", 2, "did you mean 'count'?"),
    "no checkpoint": ("predict absent --benchmark micro -o {out}", 1, "there is no folder absent"),
    "train on nothing": ("train absent --model {model} -o {out}", 1, "there is no folder absent"),
    "unknown training key": ("train {pool} --model {model} --set epoch=1 -o {out}", 2, "did you mean 'epochs'?"),
    "import of nothing": ("import absent.jsonl -o {out}", 1, "there is no file absent.jsonl"),
    "import of traces": ("import {rows} -o {out}", 1, "no usable outputs"),
    "import of unknown field": ("import {rows} --field lable=x -o {out}", 2, "unknown field 'lable'"),
    "row beyond the end": ("show {pool} --row 99", 1, "has 4 rows and none of them is row 99"),
    "unknown id": ("show {pool} --id t-zzz", 1, "none of them is id t-zzz"),
    "show of nothing": ("show absent", 1, "there is no folder absent"),
    "show of no table": ("show {photos}", 1, "manifest.json"),
    "no run": ("analyze {pool}", 1, "is not a run"),
    "no run to report": ("report {pool}", 1, "is not a run"),
    "unknown command": ("colect", 2, "colect"),
    "unknown flag": ("collect {rows} --tokeniser x -o {out}", 2, "--tokeniser"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_a_message_and_an_exit_code(
    mistake: str, world: dict[str, Path], long1k: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(world["rows"].parent)
    line, code, message = MISTAKES[mistake]
    ran = long1k(*(word.format(**world) for word in line.split()))
    assert "Traceback" not in ran.err + ran.out
    assert message in ran.err.replace("\n  -> ", " -> ")
    assert ran.code == code
    assert ran.out == ""
    assert (world["photos"] / "holiday.jpg").read_text() == "precious"
    assert world["file"].read_text() == "a file"
    assert not (world["out"] / "manifest.json").exists()
    assert read_manifest(world["pool"]).rows_out == 4


@pytest.mark.parametrize("line", ["synthesize {pool} --target 24 --tolerance 0.9 --linkers none -o {pool}"])
def test_the_input_is_never_emptied(line: str, world: dict[str, Path], long1k: Run) -> None:
    ran = long1k(*(word.format(**world) for word in line.split()))
    assert ran.code != 0
    assert read_manifest(world["pool"]).stage == "collect/1"


DEFECTS: dict[str, str] = {
    "disagreements nowhere": "score {predictions} -o {out} --disagreements {file}/x.jsonl",
    "choice grader": "score {predictions} -o {out} --grader choice",
    "rejected file lost": "show {pool} --rejected",
}


@pytest.mark.parametrize("mistake", DEFECTS)
def test_more_mistakes_give_no_traceback(mistake: str, world: dict[str, Path], long1k: Run, tmp_path: Path) -> None:
    (tmp_path / "o.jsonl").write_text('{"question": "q", "answer": "A", "response": "\\\\boxed{A}", "label": false}\n')
    world["predictions"] = tmp_path / "predictions"
    assert long1k("import", tmp_path / "o.jsonl", "-o", world["predictions"]).code == 0
    (world["pool"] / "rejected.parquet").unlink()
    ran = long1k(*(word.format(**world) for word in DEFECTS[mistake].split()))
    assert ran.code in ((0,) if mistake == "choice grader" else (1, 2))


def test_a_first_try_that_used_no_row_does_not_stand_in_the_way(long1k: Run, tmp_path: Path) -> None:
    mine, out = tmp_path / "mine.jsonl", tmp_path / "pool"
    rows = [{"Frage": f"{s}⊕b", "answer": "c", "thinking": f"{s}⊕b=c.", "solution": "\\boxed{c}"} for s in "abc"]
    collect = ("collect", mine, "--tokenizer", "package:micro", "--out", out)
    mine.write_text("question: 2\n", encoding="utf-8")
    ran = long1k(*collect)
    assert (ran.code, "these lines are no JSON" in ran.err) == (1, True)
    mine.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    ran = long1k(*collect)
    assert (ran.code, "--field question=NAME" in ran.err) == (1, True)
    assert "row 1 of 3 rejected; the next: --row 2" in long1k("show", out, "--rejected", "--row", 1).out
    assert "row 2 of 3 rejected\n" in long1k("show", out, "--rejected", "--row", 2).out
    assert long1k(*collect, "--field", "question=Frage").code == 0
    assert read_manifest(out).rows_out == 3
    ran = long1k(*collect, "--field", "question=thinking")
    assert (ran.code, "finished result of collect" in ran.err) == (1, True)


def test_every_file_gets_a_name_of_its_own() -> None:
    assert len(cli_pool._names(["a.jsonl", "a-2.jsonl", "x/a.jsonl"])) == 3


# --- a process of its own ---------------------------------------------------------------------------------


def _process(*arguments: str, code: str | None = None) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *(["-c", code] if code is not None else ["-m", "long1k.cli"]), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, "COLUMNS": "100"})


def test_exit_codes_of_a_real_process(tmp_path: Path) -> None:
    for arguments, code, message in (
        (("--version",), 0, ""),
        (("show", str(tmp_path / "absent")), 1, "error: there is no folder"),
        (("run", "quickstrat"), 2, "error: there is no recipe"),
    ):
        ran = _process(*arguments)
        assert ran.returncode == code
        assert ran.stderr.startswith(message)
        assert "Traceback" not in ran.stderr
        assert message == "" or "\n  -> " in ran.stderr


@pytest.mark.parametrize(
    "code",
    [
        "import long1k",
        "import sys; sys.argv = ['long1k', '--help']\nfrom long1k.cli import main\ntry: main()\nexcept SystemExit: pass",
        "import long1k.recipe; long1k.recipe.load_recipe('quickstart')",
    ],
    ids=["import", "help", "recipe"],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    shown = f"\nimport sys; print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    ran = _process(code=code + shown)
    assert ran.returncode == 0
    assert ran.stderr.strip().splitlines()[-1] == "HEAVY []"


def test_collect_loads_nothing_heavy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.argv = ['long1k', 'collect', sys.argv[1], '--tokenizer', 'package:micro', '-o', sys.argv[2]]\n"
        "from long1k.cli import main\ntry: main()\nexcept SystemExit as end: assert not end.code\n"
        f"print('HEAVY', [m for m in {HEAVY!r} if m in sys.modules], file=sys.stderr)"
    )
    ran = _process(str(_jsonl(tmp_path, 5)), str(tmp_path / "out"), code=code)
    assert ran.returncode == 0
    assert ran.stderr.strip().splitlines()[-1] == "HEAVY []"


def test_the_list_of_commands_is_whole() -> None:
    names = {
        command.name or (command.callback.__name__ if command.callback else "")
        for command in cli.app.registered_commands
    }
    assert set(COMMANDS) <= names


@pytest.mark.parametrize(
    "command", sorted(c.name or (c.callback.__name__ if c.callback else "") for c in cli.app.registered_commands)
)
def test_every_help_shows_an_example(command: str, long1k: Run) -> None:
    ran = long1k(command, "--help")
    assert ran.code == 0
    assert f"Example:  long1k {command} " in " ".join(ran.out.split()).replace("Example: ", "Example:  ")
    assert max(map(len, ran.out.splitlines())) <= 100


def test_help_comes_without_a_command(long1k: Run) -> None:
    ran = long1k("--help")
    assert ran.code == 0
    for command in COMMANDS:
        assert re.search(rf"^\s+{command}\s", ran.out, re.MULTILINE)
