"""Every command shown in the README and docs is run here, in order, on small data."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "scripts"))

import check_site
import write_reference

from docpages import GUIDES, PROJECT, commands, files, pages
from realdata import real_data
from warmcli import warm_cli

PAGES = pages()
# What the quickstart is shrunk to here; the command itself is as shown.
SMALL = (
    "base.train.steps=6", "base.train.save_steps=6", "train.steps=3", "seeds=[0]", "benchmarks.after-7.count=6",
    "benchmarks.single.count=8", "base.sources.operation-0.count=3000", "sources.operation-1.count=6000",
    "base.groups=[{target: 32, samples: 40, num_problems: [1, 1], layout: turns, linkers: micro}]",
)  # fmt: skip


def test_there_are_commands_to_test() -> None:
    assert len(commands(PROJECT / "README.md")) >= 6


def test_make_targets_and_extras_exist() -> None:
    for page in PAGES:
        for line in commands(page):
            words = shlex.split(line)
            if words[0] == "make":
                target = next(word for word in words[1:] if "=" not in word)
                done = subprocess.run(["make", "-n", "-C", str(PROJECT), target], capture_output=True, text=True)
                assert done.returncode == 0, f"{page.name}: {line}: {done.stderr}"
            elif words[0] == "pip":
                extras = re.findall(r"\[([a-z,]+)\]", line)
                text = (PROJECT / "pyproject.toml").read_text()
                assert all(f"\n{name} = [" in text for extra in extras for name in extra.split(",")), line
            elif words[0] in ("python", "sh"):
                named = [word for word in words[1:] if word.endswith((".py", ".sh"))]
                assert all((PROJECT / word).is_file() or word in files(page) for word in named), f"{page.name}: {line}"
            else:
                assert words[0] in ("long1k", "git", "cd", "export", ".", "ruff"), (
                    f"{page.name}: nothing here runs '{line}'"
                )


def small(words: list[str]) -> list[str]:
    """The same command with fewer steps and shorter outputs."""
    if words[1:3] == ["run", "quickstart"]:
        words = words + [part for text in SMALL for part in ("--set", text)]
    for option, less in (("steps", "steps=2"), ("epochs", "steps=2"), ("max_new_tokens", "max_new_tokens=8")):
        words = [less if word.startswith(f"{option}=") else word for word in words]
    if words[1] == "train" and "--nproc" in words and not {"--slurm", "--write-configs"} & set(words):
        # Read whole, but a step at this vocabulary takes minutes; ranks have tests of their own.
        words = [*words, "--print"]
    return words


def test_links_outside_the_site_lead_to_files() -> None:
    """Links between pages of docs/ are the site's to check (`make docs`); these are read on the forge."""
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert "://" in target or (page.parent / target).exists(), f"{page.name}: {target}"


def test_reference_pages_are_what_the_code_says() -> None:
    for name, write in write_reference.PAGES.items():
        assert (PROJECT / "docs" / name).read_text(encoding="utf-8") == write(), "run python scripts/write_reference.py"


def test_every_key_of_a_recipe_says_what_it_is() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", write_reference.recipe_page(), re.MULTILINE)
    assert len(rows) > 200
    assert [key for key, about in rows if not about.strip()] == []


def test_a_site_that_loads_from_the_network_or_leads_nowhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<link rel="stylesheet" href="https://elsewhere.example/x.css"><h2 id="here">A</h2><a href="#here">1</a>'
        '<a href="b.html#there">2</a><a href="b.html#gone">3</a><a href="c.html">4</a><a href="https://x.example">5</a>'
    )
    (tmp_path / "b.html").write_text('<p id="there"><script src="//elsewhere.example/x.js"></script>')
    assert check_site.faults(tmp_path.resolve()) == [
        "a.html loads https://elsewhere.example/x.css",
        "a.html: b.html#gone: no such place",
        "a.html: c.html leads nowhere",
        "b.html loads //elsewhere.example/x.js",
    ]


@pytest.mark.slow
def test_every_long1k_command_runs(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    for name, parts in {
        "traces.jsonl.gz": ("traces", "limo_multi_source.jsonl.gz"),
        "outputs.jsonl.gz": ("predictions", "math500_aime24_runs.jsonl.gz"),
        "math500.jsonl": ("benchmarks", "math500.jsonl"),
    }.items():
        (tmp_path / name).symlink_to(real_data(*parts))
    for name in ("Qwen2.5-7B-Instruct", "Qwen2.5-32B-Instruct"):
        (tmp_path / name).symlink_to(real_data("tokenizer_qwen2"))
    env = {**os.environ, "LONG1K_DATA": str(real_data())}
    ran = 0
    shown = [
        (path, text) for path in PAGES if path.stem not in GUIDES for text in commands(path)
    ]  # those have their own
    with warm_cli() as cli:
        for page, line in shown:
            words = shlex.split(line)
            if words[0] != "long1k":
                continue
            words = small(words)
            if "--out" in words and page.name != "README.md":
                shutil.rmtree(tmp_path / words[words.index("--out") + 1], ignore_errors=True)
            started = time.monotonic()
            done = cli.run(words[1:], tmp_path, env)
            if os.environ.get("LONG1K_SHOW_TIMES"):
                print(f"{time.monotonic() - started:6.1f} s  {page.name}: {line}", flush=True)
            assert done.returncode == 0, f"{page.name}: {line}\n{done.stdout[-500:]}\n{done.stderr[-1500:]}"
            ran += 1
    assert ran >= 8
