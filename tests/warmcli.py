"""Runs many commands without paying for the imports each time: a warm process forks a child for each.

The child runs the same `main` as the command line, in its own folder and environment, and ends; nothing
of one command reaches the next.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

# Imported ahead where they are installed; a command that needs none of them is not slower for it.
_AHEAD = (
    "scipy.stats", "pyarrow.parquet", "altair", "jinja2", "tokenizers", "rich.progress", "math_verify", "torch",
    "transformers.models.qwen2.modeling_qwen2", "transformers.trainer", "datasets", "trl.trainer.sft_trainer",
)  # fmt: skip


class WarmCli:
    """The warm process; `run` is like subprocess.run of the command with its output captured."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def run(self, words: Sequence[str], cwd: Path, env: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """One command (without the program's name), in a child of its own."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        out, err = cwd / ".warm-stdout", cwd / ".warm-stderr"
        order = {"words": list(words), "cwd": str(cwd), "env": dict(env), "out": str(out), "err": str(err)}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, "the warm process ended"
        said = [path.read_text(encoding="utf-8", errors="replace") for path in (out, err)]
        out.unlink()
        err.unlink()
        return subprocess.CompletedProcess(list(words), int(answer), *said)


@contextlib.contextmanager
def warm_cli() -> Iterator[WarmCli]:
    """A warm process for as long as the block lasts."""
    command = [sys.executable, __file__]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
    ) as process:
        yield WarmCli(process)


def _child(order: dict[str, Any]) -> None:
    """The command itself, in the child; never returns."""
    code = 70
    try:
        os.chdir(order["cwd"])
        os.environ.clear()
        os.environ.update(order["env"])
        paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[1:1] = [path for path in paths if path and path not in sys.path]  # where plug-ins are found
        for path, descriptor in ((os.devnull, 0), (order["out"], 1), (order["err"], 2)):
            os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644), descriptor)
        sys.argv = ["long1k", *order["words"]]
        from long1k.cli import main

        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            import traceback

            traceback.print_exc()
            code = 1
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        # What stops at the end of a process (pools, threads, temporary files) stops as it would.
        import atexit

        atexit._run_exitfuncs()
        os._exit(code)


def _serve() -> None:
    for name in _AHEAD:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    importlib.import_module("long1k.cli")
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            _child(json.loads(line))
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    _serve()
