"""Runs the twins of the studies, each from scratch in a folder of its own, and prints their findings as Markdown.

    python scripts/run_twins.py --runs twins                      all twelve; twins/NAME is emptied first
    python scripts/run_twins.py --runs twins --only steps-cpu --only words-cpu
    python scripts/run_twins.py --runs twins --shared             one folder: base model and checkpoints are made once
    python scripts/run_twins.py --runs twins --read               runs nothing, prints what lies there

Seconds are wall time of `long1k run`, with everything a twin stands on unless --shared.  Exit code 1 if a twin failed.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

# In the order in which they can share what they make.
TWINS = (
    "length-ladder-cpu", "same-problem-cpu", "difficulty-cpu", "steps-cpu", "token-matched-cpu", "mixture-cpu",
    "composition-cpu", "coherence-cpu", "long1k-32b-cpu", "words-cpu", "instructions-cpu", "inference-budget-cpu",
)  # fmt: skip
TOOK = "seconds.json"


def main() -> int:
    """Run, time, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder for all runs")
    parser.add_argument("--only", action="append", choices=TWINS, help="this twin (may be given several times)")
    parser.add_argument("--workers", type=int, default=2, help="as in long1k run")
    parser.add_argument("--smoke", action="store_true", help="the smallest forms")
    parser.add_argument("--shared", action="store_true", help="one folder for all, nothing emptied")
    parser.add_argument("--read", action="store_true", help="run nothing")
    options = parser.parse_args()
    wanted = [name for name in TWINS if options.only is None or name in options.only]
    failed = [] if options.read else [name for name in wanted if not run(name, options)]
    print("\n".join(table(wanted, options)))
    for name in failed:
        print(f"\n{name} failed: see {log(name, options)}")
    return 1 if failed else 0


def folder(name: str, options: argparse.Namespace) -> Path:
    """Where a twin's runs lie."""
    return Path(options.runs if options.shared else options.runs / name)


def found(name: str, options: argparse.Namespace) -> Path:
    """The folder of one twin's own run."""
    return folder(name, options) / ("smoke" if options.smoke else "") / name


def log(name: str, options: argparse.Namespace) -> Path:
    """What a twin's run printed."""
    return folder(name, options) / f"{name}.log"


def run(name: str, options: argparse.Namespace) -> bool:
    """Run one twin; False if it failed."""
    runs = folder(name, options)
    if not options.shared and runs.exists():
        if (runs / "recipe.json").is_file():
            sys.exit(f"{runs} is a run itself and is not emptied: name another folder with --runs")
        shutil.rmtree(runs)
    runs.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "long1k.cli", "run", name, "--runs", str(runs), "--workers", str(options.workers)]
    started = time.monotonic()
    with log(name, options).open("w") as said:
        done = subprocess.run([*command, *(["--smoke"] if options.smoke else [])], stdout=said, stderr=said)
    took = time.monotonic() - started
    if done.returncode == 0:
        (found(name, options) / TOOK).write_text(json.dumps(took))
    print(f"{name}: {'done' if done.returncode == 0 else 'FAILED'}, {took:.0f} s", file=sys.stderr, flush=True)
    return done.returncode == 0


def table(names: list[str], options: argparse.Namespace) -> list[str]:
    """The Markdown table of all twins that have findings."""
    lines = ["| twin | seconds | cells | what it found |", "|---|---:|---:|---|"]
    for name in names:
        path = found(name, options) / "analyze" / "findings.json"
        if not path.is_file():
            lines.append(f"| `{name}` | – | – | not run |")
            continue
        findings = json.loads(path.read_text(encoding="utf-8"))
        took = found(name, options) / TOOK
        seconds = f"{json.loads(took.read_text()):.0f}" if took.is_file() else "–"
        cells = sum(len(arm["rows"]) for one in findings["benchmarks"] for arm in one["arms"])
        said = "<br>".join(line.replace("|", "\\|") for line in findings["verdict"])
        lines.append(f"| `{name}` | {seconds} | {cells} | {said} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
