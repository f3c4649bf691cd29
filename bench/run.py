"""The table of speeds: `make bench`, or `python -m bench.run NAME ...` for some of its lines.

Each file beside this one measures one thing and has ``rows() -> list[Row]``.  Each runs in a process of its own, so
that its number of threads is the same for both sides and nothing of one measurement is left for the next.
"""

from __future__ import annotations

import importlib
import os
import subprocess
import sys

from long1k.executors.local import THREADS

# name -> threads of either side (None: all cores)
FILES: dict[str, int | None] = {
    "tokens": None, "near_duplicates": 1, "decontamination": 1, "fuzzy": 1, "pairing": 1, "collect": 1,
    "scoring": 1,
    "servers": 1, "training": None, "decoding": 1, "page": None,
}  # fmt: skip
_HERE = "--here"


def main(names: list[str]) -> int:
    """Print the table; exit status 1 if a line misses its target."""
    if names[:1] == [_HERE]:
        return _measure(names[1])
    unknown = set(names) - set(FILES)
    if unknown:
        print(f"no such measurement: {', '.join(sorted(unknown))}; known: {', '.join(FILES)}", file=sys.stderr)
        return 2
    worst = 0
    for name in names or FILES:
        threads = FILES[name]
        env = dict(os.environ)
        for variable in THREADS:
            env.pop(variable, None)
            if threads is not None:
                env[variable] = str(threads)
        worst = max(worst, subprocess.run([sys.executable, "-m", "bench.run", _HERE, name], env=env).returncode)
    return worst


def _measure(name: str) -> int:
    missed = 0
    for row in importlib.import_module(f"bench.{name}").rows():
        missed += not row.met
        verdict = "met" if row.met else "NOT MET"
        print(f"{row.what} ({row.data})")
        print(f"    ours {row.ours_seconds:.4g} s, {row.peer} {row.peer_seconds:.4g} s: ", end="")
        ratio = f"{row.ratio:,.0f}" if row.ratio >= 10 else f"{row.ratio:.2f}"
        print(f"×{ratio} (target {row.target}) {verdict}")
        print(f"    {row.equal}{'; ' + row.note if row.note else ''}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
