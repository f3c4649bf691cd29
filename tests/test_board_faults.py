"""What can go wrong around the tree of a run, and must not reach the run: sockets, terminals, a machine without /proc."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import psutil
import pytest

from long1k import study, study_board
from long1k.errors import IncompleteError
from long1k.progress import TELL, doing
from long1k.recipe import load_recipe
from long1k.resources import Measured, is_alive
from long1k.rows import canonical_json
from long1k.study_board import Board
from long1k.study_layout import Layout
from long1k.study_state import FILE, Process, RunState, read_state, write_state
from long1k.study_status import read_status
from long1k.study_tree import plan_nodes
from long1k.tables import read_manifest


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    root = tmp_path / "quickstart"
    root.mkdir()
    recipe = load_recipe("quickstart")
    (root / "recipe.json").write_text(canonical_json(recipe.model_dump(mode="json")))
    return Layout(recipe, root)


def test_where_no_socket_can_be_named_nobody_waits_for_one(
    layout: Layout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("d" * 120)  # longer than the name of a socket may be
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    with Board(layout, workers=1, live=False) as board:
        assert TELL not in os.environ
        with doing("collect"):
            assert board.nodes["collect"].state == "running"
    assert not board._thread.is_alive()
    assert not list(deep.iterdir())
    assert not (layout.root / FILE).exists()


class _Broken:
    """A screen that fails at one of its ends."""

    at = "start"

    def __init__(self, name: str) -> None:
        self.name = name

    def __enter__(self) -> _Broken:
        if self.at == "start":
            raise OSError(24, "Too many open files")
        return self

    def __exit__(self, *_: Any) -> None:
        raise OSError(5, "Input/output error")

    def pause(self, seconds: float) -> None:
        raise OSError(5, "Input/output error")

    def draw(self, *_: Any, **__: Any) -> None:
        raise OSError(5, "Input/output error")


@pytest.mark.parametrize("at", ["start", "end"])
def test_a_terminal_that_is_gone_does_not_stop_a_run(layout: Layout, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    monkeypatch.setattr(study_board, "can_draw", lambda: True)
    monkeypatch.setattr(study_board, "Screen", type("Screen", (_Broken,), {"at": at}))
    monkeypatch.delenv("LONG1K_NO_PROGRESS", raising=False)
    with Board(layout, workers=1, live=True) as board, doing("collect"):
        assert board.live == (at == "end")  # without a tree, lines are said instead
        assert ("LONG1K_NO_PROGRESS" in os.environ) == board.live
    assert "LONG1K_NO_PROGRESS" not in os.environ
    assert not board._thread.is_alive()
    assert not (layout.root / FILE).exists()


HALF_OPENED = """
import os, sys
from long1k import study_screen
def broken(*_, **__):
    raise OSError(24, "Too many open files")
study_screen.Live = broken
try:
    with study_screen.Screen("x"):
        pass
except OSError:
    os.write(1, b"written to where it was before")
"""


def test_a_screen_that_opens_by_half_gives_standard_output_back() -> None:
    done = subprocess.run([sys.executable, "-c", HALF_OPENED], capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("written to where it was before", 0), done.stderr


# On a terminal that controls its session; with a number the command goes on in the background, as with "&" in a shell.
ON_TERMINAL = """
import os, signal, subprocess, sys
code = '''
import sys
from long1k import study_screen
with open(sys.argv[1], "w") as told:
    print(study_screen.can_draw(), file=told, flush=True)
    with study_screen.Screen("x"):  # would be stopped, were the terminal's settings touched
        pass
    print("went on", file=told)
'''
group = 0 if sys.argv[2] == "background" else None
child = subprocess.Popen([sys.executable, "-c", code, sys.argv[1]], process_group=group)
_, status = os.waitpid(child.pid, os.WUNTRACED)
if os.WIFSTOPPED(status):
    os.kill(child.pid, signal.SIGKILL)
"""


@pytest.mark.parametrize(("place", "draws"), [("foreground", "True"), ("background", "False")])
def test_in_the_background_of_a_terminal_nothing_is_drawn_and_nothing_stops(
    tmp_path: Path, place: str, draws: str
) -> None:
    told = tmp_path / "told"
    pid, main = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "xterm"
        os.execv(sys.executable, [sys.executable, "-c", ON_TERMINAL, str(told), place])
    try:
        while os.read(main, 4096):
            pass
    except OSError:  # its other side is closed
        pass
    finally:
        os.close(main)
        os.waitpid(pid, 0)
    assert told.read_text().split("\n")[:2] == [draws, "went on"]


def test_a_machine_without_proc_has_runs_too(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "PROCFS_PATH", "/no/proc")
    this = Process.this()
    assert this.began is None
    found = Measured(layout.root).look()
    assert (found.cpu_percent, found.memory_gib) == (None, None)
    write_state(layout.root, RunState(this, 0.0, 1), plan_nodes(layout), found)
    assert read_status(layout.root).life == "running"
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    assert is_alive(os.getpid())
    assert not is_alive(gone.pid)
    content = (layout.root / FILE).read_text().replace(f'"pid": {os.getpid()}', f'"pid": {gone.pid}')
    (layout.root / FILE).write_text(content)
    state = read_state(layout.root)
    assert state is not None
    assert state.life == "killed"


def test_processes_that_ended_are_forgotten(tmp_path: Path) -> None:
    found = Measured(tmp_path)
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        found.look()
        assert child.pid in found.known
    found.look()
    assert set(found.known) == {os.getpid(), *(one.pid for one in psutil.Process().children(recursive=True))}


def test_an_unfinished_run_is_finished_by_running_it(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    unfinished = layout.root / "arms" / "L32" / "seed-0" / "synthesize"
    unfinished.mkdir(parents=True)
    (unfinished / "progress.json").write_text('{"stage": "synthesize/1", "fingerprint": "x"}')
    monkeypatch.setattr(study, "_analyze", lambda *_: read_manifest(unfinished))
    with pytest.raises(IncompleteError, match="never finished") as told:
        study.analyze_run(layout.root)
    assert told.value.mend == f"run long1k run quickstart --runs {layout.root.parent}: it goes on"
