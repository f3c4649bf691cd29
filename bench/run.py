"""The table of speeds: `make bench`, or `python -m bench.run NAME ...` for some of its lines.

Each file beside this one measures one thing and has ``rows() -> list[Row]``.
"""

from __future__ import annotations

import importlib
import sys

FILES = ("tokens", "near_duplicates", "decontamination", "fuzzy", "pairing", "collect")


def main(names: list[str]) -> int:
    """Print the table; exit status 1 if a line misses its target."""
    unknown = set(names) - set(FILES)
    if unknown:
        print(f"no such measurement: {', '.join(sorted(unknown))}; known: {', '.join(FILES)}", file=sys.stderr)
        return 2
    missed = 0
    for name in names or FILES:
        for row in importlib.import_module(f"bench.{name}").rows():
            missed += not row.met
            verdict = "met" if row.met else "NOT MET"
            print(f"{row.what} ({row.data})")
            print(f"    ours {row.ours_seconds:.4g} s, {row.peer} {row.peer_seconds:.4g} s: ", end="")
            print(f"×{row.ratio:,.0f} (target {row.target})")
            print(f"    {row.equal}{'; ' + row.note if row.note else ''}; {verdict}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
