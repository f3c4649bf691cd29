"""Kills a study, or one command, with SIGKILL at random moments, resumes it each time, and compares every digest.

    python scripts/kill_and_resume.py --kills 10 --work runs/kill-test [--smoke]
    python scripts/kill_and_resume.py --kills 20 --work kills --by-outputs --command "predict model --benchmark micro"

An undisturbed run comes first; then a second one is killed (the whole process group, workers
and all) at moments drawn over the time that the first one took, and resumed by the same
command.  With --by-outputs or --by-tables a moment is a number of outputs that are kept, or of tables and checkpoints
that are finished (and a part of a second), so that it does not depend on how busy the machine is.  Exit code 0 if all
tables and checkpoints of both have equal digests, and a run was killed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path


def command(options: argparse.Namespace, out: Path) -> list[str]:
    """The command line of one run: of a study, or of the command that was given, with its output folder."""
    start = [sys.executable, "-m", "long1k.cli"]
    if options.command is not None:
        return [*start, *shlex.split(options.command), "--out", str(out)]
    extra = [part for text in options.sets for part in ("--set", text)]
    return [*start, "run", options.recipe, "--runs", str(out), *(["--smoke"] if options.smoke else []), *extra]


def digests(runs: Path) -> dict[str, str]:
    """Digest of every finished table, checkpoint and page below a folder."""
    return {
        str(path.parent.relative_to(runs)): json.loads(path.read_text())["digest"]
        for path in sorted(runs.rglob("manifest.json"))
    }


def progress(folder: Path) -> str:
    """How far a run has come: tables that are finished, and outputs of one that is being predicted."""
    kept = sum(path.read_bytes().count(b"\n") for path in folder.rglob("samples.jsonl"))
    return f"{len(digests(folder))} finished" + (f", {kept:,} outputs kept" if kept else "")


def outputs_in(folder: Path) -> int:
    """Outputs that are kept below a folder, in finished tables and in those under way."""
    manifests = [json.loads(path.read_text()) for path in folder.rglob("manifest.json")]
    finished = sum(one["rows_out"] for one in manifests if one["stage"].startswith("predict/"))
    # A table's record is removed behind its manifest; in between its outputs count twice, which is late enough.
    return finished + sum(path.read_bytes().count(b"\n") for path in folder.rglob("samples.jsonl"))


def still_runs(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Whether the process runs for so many seconds more."""
    try:
        process.wait(timeout=seconds)
    except subprocess.TimeoutExpired:
        return True
    return False


def reaches(process: subprocess.Popen[bytes], amount: int, folder: Path, measure: Callable[[Path], int]) -> bool:
    """Whether the process still runs when so much is there."""
    while process.poll() is None:
        if measure(folder) >= amount:
            return True
        time.sleep(0.005)
    return False


def tables_in(folder: Path) -> int:
    """Finished tables and checkpoints below a folder."""
    return sum(1 for _ in folder.rglob("manifest.json"))


def main() -> int:
    """Run, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="quickstart")
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--work", type=Path, required=True, help="a folder of its own; emptied first")
    parser.add_argument("--command", help="in place of a recipe: a long1k command with its options, without --out")
    parser.add_argument("--by-outputs", action="store_true", help="moments are numbers of outputs kept, not seconds")
    parser.add_argument("--by-tables", action="store_true", help="moments are numbers of finished tables, not seconds")
    parser.add_argument("--set", dest="sets", action="append", default=[], help="passed on to long1k run")
    options = parser.parse_args()
    shutil.rmtree(options.work, ignore_errors=True)
    whole, killed = options.work / "whole", options.work / "killed"

    started = time.time()
    subprocess.run(command(options, whole), check=True, stdout=subprocess.DEVNULL)
    took = time.time() - started
    print(f"undisturbed: {took:.1f} s, {len(digests(whole))} tables and checkpoints", flush=True)

    rng = random.Random(options.seed)
    # Work that is kept makes every resumed run shorter: kills are spread over the time of the whole.
    measure = tables_in if options.by_tables else outputs_in if options.by_outputs else None
    whole_length = took if measure is None else measure(whole)
    latest = 0.9 if options.by_tables else 0.97  # the last tables of a study take no time
    moments = sorted(rng.uniform(0.01, latest) * whole_length for _ in range(options.kills))
    done = 0.0
    kills = 0
    for number, moment in enumerate(moments, 1):
        # Start-up is repeated by every resumed run: it is not progress.
        wait = moment % 1 if options.by_tables else moment - done + (2.5 if number > 1 else 0.0)
        process = subprocess.Popen(
            command(options, killed),
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        there = measure is None or reaches(process, max(1, int(moment)), killed, measure)
        if not there or (not options.by_outputs and not still_runs(process, wait)):
            print(f"kill {number}: the run had already ended", flush=True)
            continue
        finished = progress(killed)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        done = moment
        kills += 1
        unit = "tables" if options.by_tables else "outputs" if options.by_outputs else "s of work"
        print(f"kill {number} at about {moment:.1f} {unit}: {finished}", flush=True)
    subprocess.run(command(options, killed), check=True, stdout=subprocess.DEVNULL)

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
