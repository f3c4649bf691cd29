"""Memory and cost of collect by the number of rows, and what a kill -9 does to it.

    python -m bench.scale --rows 10000 100000 1000000 --workers 1 2 [--kills 3] [--near 0.8]

Writes made-up traces (see bench/synthetic.py) into --folder and runs `long1k collect` on them as processes of
their own.  Printed are seconds a row, the most memory that any one process held, and the digest of the pool.
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

from bench.common import DATA
from bench.synthetic import write_traces


def processes(group: int) -> dict[int, str]:
    """(pid: command line) of the processes of a group."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if os.getpgid(int(entry.name)) == group:
                    found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            except (OSError, ProcessLookupError):
                continue
    return found


def peak_mib(pid: int) -> float:
    """The most memory that a process has held so far (VmHWM), in MiB."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)


def run(command: list[str], kill_after: float | None = None) -> tuple[float, float, float]:
    """(seconds, largest MiB of the parent, largest MiB of any other process); killed with all it started if asked."""
    started = time.time()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)
    parent = child = 0.0
    while process.poll() is None:
        for pid in processes(process.pid):
            if pid == process.pid:
                parent = max(parent, peak_mib(pid))
            else:
                child = max(child, peak_mib(pid))
        if kill_after is not None and time.time() - started > kill_after:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return time.time() - started, parent, child
        time.sleep(0.5)
    if process.returncode != 0:
        assert process.stderr is not None
        raise SystemExit(f"{' '.join(command)} ended with {process.returncode}: {process.stderr.read().decode()}")
    return time.time() - started, parent, child


def main() -> int:
    """Run the measurement; exit status 1 if two digests of the same rows differ."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--row-bytes", type=int, default=5000)
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    parser.add_argument("--executor", default="local")
    parser.add_argument("--kills", type=int, default=0, help="kills at random moments of a further run")
    parser.add_argument("--near", type=float, help="also drop near-duplicate traces at this similarity")
    parser.add_argument("--folder", type=Path, default=Path("runs/scale"))
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(
        f"{'rows':>9} {'MB':>8} {'workers':>7} {'seconds':>8} {'µs/row':>7} {'parent':>8} {'worker':>8}  digest (MiB)"
    )
    same = True
    for rows in options.rows:
        path = options.folder / f"traces-{rows}-{options.row_bytes}.jsonl"
        if not path.is_file():
            write_traces(path, rows, options.row_bytes)
        digests = set()
        out = options.folder / "pool"
        for workers in options.workers:
            shutil.rmtree(out, ignore_errors=True)
            command = [
                sys.executable, "-m", "long1k.cli", "collect", str(path), "--tags", "required", "--out", str(out),
                "--tokenizer", str(DATA / "tokenizer_qwen2"), "--workers", str(workers), "--executor", options.executor,
            ]  # fmt: skip
            if options.near:
                command += ["--set", f"near_duplicates.traces={options.near}"]
            seconds, parent, child = run(command)
            digests.add(_report(rows, path, workers, seconds, parent, child, out))
        if options.kills:
            digests.add(_killed(rows, path, command, seconds, options, out))
        same &= len(digests) == 1
    print("digests equal" if same else "DIGESTS DIFFER")
    return 0 if same else 1


def _killed(rows: int, path: Path, command: list[str], seconds: float, options: argparse.Namespace, out: Path) -> str:
    shutil.rmtree(out, ignore_errors=True)
    rng = random.Random(options.seed)
    for _ in range(options.kills):
        at, _, _ = run(command, kill_after=rng.uniform(0.05, 0.6) * seconds)
        there = sum(1 for _ in out.rglob("keys-*")), sum(1 for _ in out.glob("part-*"))
        print(f"          kill -9 after {at:.1f} s: {there[0]} parts staged, {there[1]} written", flush=True)
    took, parent, child = run(command)
    return _report(rows, path, options.workers[-1], took, parent, child, out)


def _report(rows: int, path: Path, workers: int, seconds: float, parent: float, child: float, out: Path) -> str:
    digest = str(json.loads((out / "manifest.json").read_text())["digest"])
    size = path.stat().st_size / 1e6
    print(
        f"{rows:>9,} {size:>8,.0f} {workers:>7} {seconds:>8.1f} {1e6 * seconds / rows:>7.0f} {parent:>8,.0f} "
        f"{child:>8,.0f}  {digest[:16]}", flush=True,
    )  # fmt: skip
    return digest


if __name__ == "__main__":
    sys.exit(main())
