"""Measures training on one GPU: `python -m bench.gpu.run --out FOLDER [PART ...]`.

Each part runs in a process of its own, at most so long as it is given, and what it found is written at once: one JSON
file a part, and all of them as tables in results.md.  A part whose file is whole is not run again (unless --again).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_HERE = "--here"


def main(arguments: list[str]) -> int:
    """Run the parts that are asked for; exit status 1 if one failed or ran out of time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help="names of parts; default: all, in order")
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT", ".")), help="default: $OUT")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--tiny", action="store_true", help="small models and short samples: a test of the script")
    parser.add_argument("--again", action="store_true", help="also parts that are done")
    parser.add_argument("--seconds", type=int, default=None, help="start no part after so long")
    parser.add_argument(_HERE, action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    from bench.gpu.parts import PARTS

    unknown = set(chosen.parts) - set(PARTS)
    if unknown:
        print(f"no such part: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}", file=sys.stderr)
        return 2
    chosen.out.mkdir(parents=True, exist_ok=True)
    if chosen.here:
        return _measure(chosen.parts[0], chosen.out, chosen.device, chosen.tiny)
    started, missed = time.monotonic(), 0
    for name in chosen.parts or PARTS:
        path = chosen.out / f"{name}.json"
        if not chosen.again and path.is_file() and json.loads(path.read_text())["state"] == "done":
            continue
        if chosen.seconds is not None and time.monotonic() - started > chosen.seconds:
            print(f"{name}: not started, {chosen.seconds} s are over", flush=True)
            missed += 1
            continue
        state = _run_part(name, chosen, PARTS[name][1])
        missed += state != "done"
        print(f"{name}: {state}, {time.monotonic() - started:.0f} s since the start", flush=True)
        (chosen.out / "results.md").write_text(tables(chosen.out))
    (chosen.out / "results.md").write_text(tables(chosen.out))
    print(tables(chosen.out))
    return 1 if missed else 0


def _run_part(name: str, chosen: argparse.Namespace, seconds: int) -> str:
    """Run a part in a process of its own; what it wrote so far stays if it does not come to its end."""
    path = chosen.out / f"{name}.json"
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "bench.gpu.run", _HERE, name, "--out", str(chosen.out), "--device", chosen.device]
    with (chosen.out / f"{name}.log").open("wb") as log:
        try:
            code = subprocess.run(
                command + ["--tiny"] * chosen.tiny, stdout=log, stderr=subprocess.STDOUT, timeout=seconds, check=False,
                env={"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True", **os.environ},
            ).returncode  # fmt: skip
            state = "done" if code == 0 else f"failed with exit code {code} ({name}.log)"
        except subprocess.TimeoutExpired:
            state = f"stopped after {seconds} s"
    _write(path, state, json.loads(path.read_text())["rows"] if path.is_file() else [])
    return state


def _measure(name: str, out: Path, device: str, tiny: bool) -> int:
    import transformers

    from bench.gpu.common import Place
    from bench.gpu.parts import PARTS

    transformers.utils.logging.set_verbosity_error()
    rows: list[dict[str, Any]] = []
    for row in PARTS[name][0](Place(device, tiny)):
        rows.append(row)
        _write(out / f"{name}.json", "unfinished", rows)
    return 0


def _write(path: Path, state: str, rows: list[dict[str, Any]]) -> None:
    new = path.with_suffix(".new")
    new.write_text(json.dumps({"part": path.stem, "state": state, "rows": rows}, indent=1) + "\n")
    new.replace(path)


def tables(out: Path) -> str:
    """All parts that were written so far, each as a Markdown table; lists are left to the JSON."""
    from bench.gpu.parts import PARTS

    blocks = []
    for name, (part, _) in PARTS.items():
        path = out / f"{name}.json"
        if not path.is_file():
            continue
        found = json.loads(path.read_text())
        rows = [{k: v for k, v in row.items() if not isinstance(v, list | dict)} for row in found["rows"]]
        columns = list(dict.fromkeys(key for row in rows for key in row))
        lines = [f"## {name}", "", (part.__doc__ or "").split("\n")[0], "", f"State: {found['state']}", ""]
        if columns:
            lines += [
                "| " + " | ".join(column.replace("_", " ") for column in columns) + " |",
                "|---" * len(columns) + "|",
            ]
            lines += ["| " + " | ".join(_shown(row.get(column)) for column in columns) + " |" for row in rows]
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _shown(value: Any) -> str:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return {None: "–", True: "yes", False: "no"}.get(value, str(value))
    return f"{value:,.4g}" if isinstance(value, float) and abs(value) < 1000 else f"{value:,.0f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
