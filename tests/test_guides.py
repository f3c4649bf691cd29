"""The guides are followed from top to bottom: their files are written, their commands run, in a folder of their own."""

from __future__ import annotations

import gzip
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from docpages import GUIDES, PROJECT, commands, files, pages, steps
from realdata import real_data
from warmcli import WarmCli, warm_cli

# What the guides' studies are shrunk to; the commands themselves are as shown.
SMALL = ("seeds=[0]", "train.steps=3", "benchmarks.held-out.limit=10")
SMALL_QUICKSTART = (
    "seeds=[0]", "train.steps=3", "benchmarks.single.count=8", "benchmarks.after-7.count=6",
    "arms=[{kind: ladder, targets: [32, 65], samples: 8, num_problems: [1, 2], layout: turns, linkers: micro}]",
)  # fmt: skip
_ELSEWHERE = ("git", "cd", "make", "pip")  # set up what is there already; test_docs looks at their targets and extras


@pytest.fixture(scope="module")
def cli() -> Iterator[WarmCli]:
    with warm_cli() as made:
        yield made


def follow(page: Path, folder: Path, cli: WarmCli) -> list[str]:
    """Do what a page says, in order; returns what its commands printed."""
    paths = [str(PROJECT / "src"), os.environ.get("PYTHONPATH", "")]
    env = {
        **os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(path for path in paths if path), "LONG1K_DATA": str(real_data()),
    }  # fmt: skip
    printed = []
    for name, text in steps(page):
        if name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, encoding="utf-8")
            continue
        words = shlex.split(text)
        if words[0] in _ELSEWHERE:
            continue
        if words[0] == "export":
            name, _, value = words[1].partition("=")
            value = value.replace("$PWD", str(folder)).replace("$PATH", env["PATH"])
            # The package is not installed here but found by this path, which a page need not know.
            env[name] = f"{value}{os.pathsep}{PROJECT / 'src'}" if name == "PYTHONPATH" else value
            continue
        if words[:2] == ["long1k", "run"]:
            words += _small(words[2], folder)
        if words[0] == "long1k":
            done = cli.run(words[1:], folder, env)
        else:
            done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, f"{page.name}: {text}\n{done.stdout[-1500:]}\n{done.stderr[-1500:]}"
        printed.append(done.stdout + done.stderr)
        smoke = folder / "runs" / "smoke"
        for run in smoke.iterdir() if smoke.is_dir() else ():  # the small run stands where the page looks for the whole
            if not (folder / "runs" / run.name).exists():
                (folder / "runs" / run.name).symlink_to(run, target_is_directory=True)
    return printed


def _small(recipe: str, folder: Path) -> list[str]:
    """--smoke where there is such a form, and --set of those small leaves that a recipe of the page has."""
    path = folder / recipe
    if not path.is_file():  # a packaged one; its base model stays that of its smoke form
        leaves, smoke = SMALL_QUICKSTART, True
    else:
        given = yaml.safe_load(path.read_text(encoding="utf-8")).get("smoke", {})
        leaves, smoke = tuple(leaf for leaf in SMALL if leaf.split("=")[0] in given), bool(given)
    return [*(["--smoke"] if smoke else []), *(word for leaf in leaves for word in ("--set", leaf))]


def page_named(name: str) -> Path:
    return PROJECT / "docs" / f"{name}.md"


@pytest.mark.slow
@pytest.mark.parametrize("name", GUIDES)
def test_a_guide_can_be_followed(name: str, tmp_path: Path, cli: WarmCli) -> None:
    if any(" run " in line for line in commands(page_named(name))):
        pytest.importorskip("trl")
    for target, parts in {
        "traces.jsonl.gz": ("traces", "limo_multi_source.jsonl.gz"), "math500.jsonl": ("benchmarks", "math500.jsonl"),
        "Qwen2.5-7B-Instruct": ("tokenizer_qwen2",),
    }.items():  # fmt: skip
        (tmp_path / target).symlink_to(real_data(*parts))
    with gzip.open(real_data("predictions", "math500_aime24_runs.jsonl.gz"), "rt", encoding="utf-8") as lines:
        some = "".join(line for number, line in enumerate(lines) if number % 5 == 0)
    (tmp_path / "outputs.jsonl.gz").write_bytes(gzip.compress(some.encode()))
    printed = follow(page_named(name), tmp_path, cli)
    assert len(printed) == sum(line.split()[0] not in (*_ELSEWHERE, "export") for line in commands(page_named(name)))
    assert not any("Traceback" in text for text in printed)


@pytest.mark.parametrize("name", [name for name in GUIDES if name.startswith("add-")])
def test_a_plug_in_of_a_guide_is_small_and_comes_with_its_contract(name: str) -> None:
    written = files(page_named(name))
    tests = [file for file in written if file.startswith("test_")]
    (plug_in,) = [file for file in written if file.endswith(".py") and file not in tests]
    assert tests
    assert 10 <= len(written[plug_in].splitlines()) <= 60
    assert any("pytest" in line and tests[0] in line for line in commands(page_named(name)))


def test_every_page_has_its_place_in_the_navigation() -> None:
    def named(tree: object) -> list[str]:
        if isinstance(tree, str):
            return [tree]
        inner = tree.values() if isinstance(tree, dict) else tree
        return [page for one in inner for page in named(one)]

    in_nav = named(yaml.safe_load((PROJECT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"])
    there = [page.name for page in pages() if page.parent.name == "docs"]
    assert sorted(in_nav) == sorted(there)
