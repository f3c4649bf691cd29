"""Every command shown in the README and docs is run here, in order, on small data."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from realdata import real_data
from warmcli import warm_cli

PROJECT = Path(__file__).resolve().parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
# What the quickstart is shrunk to here; the command itself is as shown.
SMALL = (
    "base.train.steps=6", "base.train.save_steps=6", "train.steps=3", "seeds=[0]", "benchmarks.after-7.count=6",
    "benchmarks.single.count=8", "base.sources.operation-0.count=3000", "sources.operation-1.count=6000",
    "base.groups=[{target: 32, samples: 40, num_problems: [1, 1], layout: turns, linkers: micro}]",
)  # fmt: skip


def commands(page: Path) -> list[str]:
    """The lines of a page's ```sh blocks, continuation lines joined, comments dropped."""
    blocks = re.findall(r"^```sh\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    stripped = (re.sub(r"\s+#.*$", "", line).strip() for line in lines)
    return [line for line in stripped if line and not line.startswith("#")]


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
                assert (PROJECT / words[1]).is_file(), f"{page.name}: {line}"
            else:
                assert words[0] in ("long1k", "git", "cd", "export"), f"{page.name}: nothing here runs '{line}'"


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
    with warm_cli() as cli:
        for page, line in [(path, text) for path in PAGES for text in commands(path)]:
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
