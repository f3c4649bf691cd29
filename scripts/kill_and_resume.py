"""Kills a study with SIGKILL at random moments, resumes it each time, and compares every digest.

    python scripts/kill_and_resume.py --kills 10 --work runs/kill-test [--smoke]

An undisturbed run comes first; then a second one is killed (the whole process group, workers
and all) at moments drawn over the time that the first one took, and resumed by the same
command.  Exit code 0 if all tables and checkpoints of both have equal digests.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path


def command(recipe: str, runs: Path, smoke: bool, extra: list[str]) -> list[str]:
    """The command line of one run."""
    return [
        sys.executable,
        "-m",
        "long1k.cli",
        "run",
        recipe,
        "--runs",
        str(runs),
        *(["--smoke"] if smoke else []),
        *extra,
    ]


def digests(runs: Path) -> dict[str, str]:
    """Digest of every finished table, checkpoint and page below a folder."""
    return {
        str(path.parent.relative_to(runs)): json.loads(path.read_text())["digest"]
        for path in sorted(runs.rglob("manifest.json"))
    }


def main() -> int:
    """Run, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--work", type=Path, required=True, help="a folder of its own; emptied first")
    parser.add_argument("--set", dest="sets", action="append", default=[], help="passed on to long1k run")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    extra = [part for text in options.sets for part in ("--set", text)]
    whole, killed = options.work / "whole", options.work / "killed"

    started = time.time()
    subprocess.run(command(options.recipe, whole, options.smoke, extra), check=True, stdout=subprocess.DEVNULL)
    took = time.time() - started
    print(f"undisturbed: {took:.1f} s, {len(digests(whole))} tables and checkpoints", flush=True)

    rng = random.Random(options.seed)
    # Work that is kept makes every resumed run shorter: kills are spread over the time of the whole.
    moments = sorted(rng.uniform(0.01, 0.97) * took for _ in range(options.kills))
    done = 0.0
    kills = 0
    for number, moment in enumerate(moments, 1):
        # Start-up is repeated by every resumed run: it is not progress.
        wait = moment - done + (2.5 if number > 1 else 0.0)
        process = subprocess.Popen(
            command(options.recipe, killed, options.smoke, extra),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            process.wait(timeout=wait)
            print(f"kill {number}: the run had already ended", flush=True)
            continue
        except subprocess.TimeoutExpired:
            pass
        finished = len(digests(killed)) if killed.exists() else 0
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done = moment
        kills += 1
        print(f"kill {number} at about {moment:.1f} s of work: {finished} finished", flush=True)
    subprocess.run(command(options.recipe, killed, options.smoke, extra), check=True, stdout=subprocess.DEVNULL)

    first, second = digests(whole), digests(killed)
    different = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    for name in different:
        print(f"differs: {name}: {first.get(name)} / {second.get(name)}")
    print(f"{len(first) - len(different)} of {len(first)} digests equal")
    if not kills:
        print("no run was killed: every one had ended before its moment")
    return 1 if different or not kills else 0


if __name__ == "__main__":
    sys.exit(main())
