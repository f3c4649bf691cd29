"""`run` on a terminal: the tree, what libraries print above it, Ctrl-C, kill -9, and status beside it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
RECIPE = """
name: noisy
tokenizer: package:micro
sources:
  loud: {{type: "noisy:NoisySource", until: {until}, fails: {fails}}}
arms:
  - {{kind: ladder, targets: [32, 65], samples: 4, num_problems: [1, 2], layout: turns, linkers: micro}}
train: null
"""
_CODE = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")


class Terminal:
    """A command on a terminal of its own, and all that it wrote there."""

    def __init__(self, *arguments: str, cwd: Path, rows: int = 24, columns: int = 100, **variables: str) -> None:
        main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        env = {**os.environ, "TERM": "xterm-256color", "PYTHONPATH": f"{TESTS}:{os.environ.get('PYTHONPATH', '')}"}
        env.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "long1k.cli", *arguments], cwd=cwd, env={**env, **variables},
            stdin=subprocess.DEVNULL, stdout=side, stderr=side, start_new_session=True,
        )  # fmt: skip
        os.close(side)
        self.main, self.written = main, b""
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        while True:
            try:
                data = os.read(self.main, 1 << 16)
            except OSError:  # its other side is closed
                return
            self.written += data

    @property
    def text(self) -> str:
        return self.written.decode("utf-8", "replace")

    @property
    def plain(self) -> str:
        return _CODE.sub("", self.text).replace("\r\n", "\n").replace("\r", "\n")

    def last(self, word: str) -> str:
        """From the last line that holds a word to the end: the last drawing of the tree."""
        return word + self.plain.rpartition(word)[2]

    def wait(self) -> int:
        code = self.process.wait(timeout=120)
        self.reader.join(timeout=10)
        return code

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.main)


def wait_for(path: Path, terminal: Terminal) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert terminal.process.poll() is None, terminal.plain
        assert time.monotonic() < deadline, terminal.plain
        time.sleep(0.05)


def write_recipe(folder: Path, fails: bool = False) -> Path:
    path = folder / "noisy.yaml"
    path.write_text(RECIPE.format(until=folder / "go", fails=str(fails).lower()))
    return path


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Terminal]:
    """A run that waits inside collect."""
    write_recipe(tmp_path)
    terminal = Terminal("run", "noisy.yaml", "--workers", "1", cwd=tmp_path)
    wait_for(tmp_path / "go.here", terminal)
    yield terminal
    terminal.stop()


def status(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "PYTHONPATH": f"{TESTS}:{os.environ.get('PYTHONPATH', '')}"}
    return subprocess.run(
        [sys.executable, "-m", "long1k.cli", "status", *arguments], cwd=folder, env=env, capture_output=True, text=True
    )


def wait_until_running(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while json.loads(status(folder, "--json").stdout)["stages"][0]["state"] != "running":
        assert time.monotonic() < deadline


def test_a_tree_is_drawn_and_prints_stand_above_it(started: Terminal, tmp_path: Path) -> None:
    deadline = time.monotonic() + 60
    while "collect  running" not in started.plain and time.monotonic() < deadline:
        time.sleep(0.05)
    (tmp_path / "go").touch()
    assert started.wait() == 0, started.plain
    assert started.plain.count("printed by a library") == 1  # once, and without the colours that it came with
    assert started.plain.count("written below Python") == 1
    assert started.plain.index("written below Python") < started.plain.rindex("noisy  finished")
    assert "\x1b[31mlibrary" not in started.text
    tree = started.last("noisy  finished")
    assert [line.strip("├└│─ \xa0").split("  ")[0] for line in tree.splitlines()[:6]] == [
        "noisy", "collect", "arms", "L32", "L65", "analyze",
    ]  # fmt: skip
    assert re.search(r"collect  done · [0-9:]+ · ", tree)
    assert "running" not in tree.split("Verdict")[0]
    assert "300 rows in" in tree
    assert "[   " not in started.plain  # the lines of a run without a tree
    assert "\x1b[?25l" not in started.text  # the cursor is never hidden: a killed run could not show it again
    assert not (tmp_path / "runs" / "noisy" / ".state.json").exists()


def test_status_beside_a_run_then_ctrl_c(started: Terminal, tmp_path: Path) -> None:
    wait_until_running(tmp_path)
    found = json.loads(status(tmp_path, "--json").stdout)
    assert found["state"] == "running"
    assert found["process"]["pid"] == started.process.pid
    assert found["go_on"] is None
    beside = status(tmp_path)
    assert beside.returncode == 0
    assert "noisy  running" in beside.stdout
    assert "\x1b" not in beside.stdout
    started.process.send_signal(signal.SIGINT)
    assert started.wait() == 130
    tree = started.last("noisy  stopped")
    assert "collect  stopped" in tree
    assert tree.rstrip().endswith("stopped; the same command goes on from here")
    after = status(tmp_path)
    assert after.returncode == 3
    assert "noisy  stopped" in after.stdout
    assert "go on with:  long1k run noisy.yaml --workers 1" in after.stdout


def test_a_killed_run_is_known_and_goes_on(started: Terminal, tmp_path: Path) -> None:
    wait_until_running(tmp_path)
    watching = subprocess.Popen(
        [sys.executable, "-m", "long1k.cli", "status", "--watch"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    started.process.kill()
    started.process.wait()
    seen, _ = watching.communicate(timeout=120)
    assert watching.returncode == 3
    assert "noisy  killed" in seen
    found = status(tmp_path)
    assert found.returncode == 3
    assert "collect  killed" in found.stdout
    assert f"Its process ({started.process.pid}) is gone without a word" in found.stdout
    assert "go on with:  long1k run noisy.yaml --workers 1" in found.stdout
    elsewhere = status(Path("/"), str(tmp_path / "runs" / "noisy"))
    assert f"cd {tmp_path} && long1k run" in elsewhere.stdout.replace("\n", " ")
    (tmp_path / "go").touch()
    again = Terminal("run", "noisy.yaml", "--workers", "1", cwd=tmp_path)
    assert again.wait() == 0, again.plain
    again.stop()
    assert status(tmp_path).returncode == 0


def test_a_failure_leaves_the_tree_and_its_reason(tmp_path: Path) -> None:
    write_recipe(tmp_path, fails=True)
    (tmp_path / "go").touch()
    terminal = Terminal("run", "noisy.yaml", "--workers", "1", cwd=tmp_path, NO_COLOR="1")
    assert terminal.wait() == 1
    tree = terminal.last("noisy  failed")
    assert "collect  failed" in tree
    assert "No space left on device" in tree
    colours = re.findall(r"\x1b\[([0-9;]*)m", terminal.text)
    assert not {code for codes in colours for code in codes.split(";")} & {str(at) for at in range(30, 50)}
    terminal.stop()
    found = status(tmp_path)
    assert "It failed: " in found.stdout
    assert "No space left" in found.stdout


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"plain": "--plain"}, {"LONG1K_NO_PROGRESS": "1"}])
def test_lines_instead_of_a_tree(tmp_path: Path, variables: dict[str, str]) -> None:
    (tmp_path / "go").touch()
    write_recipe(tmp_path)
    more = [variables.pop("plain")] if "plain" in variables else []
    terminal = Terminal("run", "noisy.yaml", "--workers", "1", *more, cwd=tmp_path, **variables)
    assert terminal.wait() == 0
    assert re.search(r"^\[ *[0-9.]+ s\] collect +300 rows in", terminal.plain, re.MULTILINE)
    assert "├" not in terminal.plain.partition("Verdict")[0]
    terminal.stop()


def test_a_small_terminal_holds_the_tree(tmp_path: Path) -> None:
    (tmp_path / "go").touch()
    write_recipe(tmp_path)
    terminal = Terminal("run", "noisy.yaml", "--workers", "1", cwd=tmp_path, rows=9, columns=44)
    assert terminal.wait() == 0
    tree = terminal.last("noisy  finished").splitlines()
    drawn = [line for line in tree if line.startswith(("noisy", "├", "│", "└"))]
    assert 0 < len(drawn) <= 9
    assert max(len(line) for line in drawn) <= 44
    terminal.stop()
