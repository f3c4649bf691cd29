"""How a run stands: nodes from manifests, the state file, what is left, and the tree in few lines."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from long1k import study_board
from long1k.cli import app
from long1k.errors import DataError
from long1k.recipe import Recipe, load_recipe
from long1k.rows import canonical_json
from long1k.study_board import Board
from long1k.study_layout import Layout
from long1k.study_state import FILE, Process, RunState, read_state, remove_state, write_state
from long1k.study_status import newest_run, read_status
from long1k.study_tree import Node, estimate, left_of, plan_nodes
from long1k.study_view import drawn, head, lines
from long1k.tables import write_atomic


def make_run(root: Path, recipe: Recipe) -> Layout:
    root.mkdir(parents=True)
    write_atomic(root / "recipe.json", canonical_json(recipe.model_dump(mode="json")).encode())
    return Layout(recipe, root)


def finish(folder: Path, seconds: float = 4.0, rows: int = 7, created: str = "2026-01-01T00:00:00Z") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found = {"stage": "x", "wall_seconds": seconds, "rows_out": rows, "created": created}
    (folder / "manifest.json").write_text(json.dumps(found))


def finish_all(layout: Layout, *, but: str = "none") -> None:
    for node in plan_nodes(layout):
        if but not in node.key:
            finish(node.folder / "math" if node.kind.startswith("score") and node.arm else node.folder)


def text_of(nodes: list[Node], width: int = 100, height: int | None = None, **more: Any) -> list[str]:
    console = Console(width=width, file=None, color_system=None, force_terminal=False)
    with console.capture() as kept:
        found = lines(nodes, more.pop("details", {}), 1000.0, height=height, **more)
        console.print(drawn(head("study", nodes, "running", 5.0, None), found, "CPU 1 %"))
    return kept.get().splitlines()


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    return make_run(tmp_path / "runs" / "quickstart", load_recipe("quickstart"))


def test_the_stages_are_those_of_the_run_in_its_order(layout: Layout) -> None:
    keys = [node.key for node in plan_nodes(layout)]
    assert keys[:4] == ["base/collect", "base/synthesize", "base/train", "collect"]
    assert keys[-2:] == ["analyze", "report"]
    one = [key.removeprefix("arms/L32/seed-3/") for key in keys if key.startswith("arms/L32/seed-3/")]
    assert one == ["synthesize", "train", "predict/single", "score/single", "predict/after-7", "score/after-7"]
    assert "arms/repeat-L32-as-L527/seed-0/synthesize" not in keys  # it has L32's samples
    assert [key for key in keys if key.startswith("arms/untrained/") and "seed-0" not in key] == []
    assert len(keys) == len(set(keys)) == 198


def test_a_run_on_another_recipes_arms_looks_for_them_there(tmp_path: Path) -> None:
    layout = make_run(tmp_path / "instructions-cpu", load_recipe("instructions-cpu"))
    nodes = {node.key: node for node in plan_nodes(layout)}
    other = tmp_path / "length-ladder-cpu"
    trained = next(node for node in nodes.values() if node.kind == "train")
    assert trained.folder == other / trained.key
    assert nodes["collect"].folder == other / "collect"
    assert nodes["analyze"].folder == layout.root / "analyze"
    predicted = next(node for node in nodes.values() if node.kind.startswith("predict"))
    assert predicted.folder == layout.root / predicted.key
    finish_all(layout)
    assert read_status(layout.root).life == "finished"


def test_a_run_that_makes_data_only_has_no_cells(tmp_path: Path) -> None:
    layout = make_run(tmp_path / "q", load_recipe("quickstart", ["train=null", "base=null"]))
    kinds = {node.kind for node in plan_nodes(layout)}
    assert kinds == {"collect", "synthesize", "analyze", "report"}


def test_finished_half_finished_and_begun(layout: Layout) -> None:
    assert read_status(layout.root).life == "unfinished"
    finish_all(layout)
    found = read_status(layout.root)
    assert found.life == "finished"
    assert found.go_on is None
    (layout.root / "arms/L131/seed-2/train/manifest.json").unlink()
    (layout.root / "arms/L131/seed-2/train/progress.json").write_text("{}")
    found = read_status(layout.root)
    assert found.life == "unfinished"
    assert [node.key for node in found.nodes if node.state == "begun"] == ["arms/L131/seed-2/train"]
    assert found.go_on == f"long1k run quickstart --runs {layout.root.parent}"


def test_of_two_graders_the_newer_one_counts(layout: Layout) -> None:
    finish_all(layout)
    folder = layout.root / "arms/L32/seed-0/score/single"
    finish(folder / "choice", rows=11)
    os.utime(folder / "math" / "manifest.json", (1, 1))
    node = next(node for node in read_status(layout.root).nodes if node.key == "arms/L32/seed-0/score/single")
    assert node.rows == 11


@pytest.mark.parametrize("content", ["", "[1]", "{", '{"version": 1}', '{"version": 1, "process": {"pid": "x"}}'])
def test_a_state_file_that_is_not_whole_is_as_none(layout: Layout, content: str) -> None:
    (layout.root / FILE).write_text(content)
    assert read_state(layout.root) is None
    assert read_status(layout.root).life == "unfinished"


def state_of(process: Process, nodes: dict[str, dict[str, Any]] | None = None) -> RunState:
    return RunState(process, time.time() - 60, 2, nodes=nodes or {})


def test_a_living_process_is_known_by_number_and_beginning(layout: Layout) -> None:
    root, this = layout.root, Process.this()
    nodes = plan_nodes(layout)
    nodes[2].state, nodes[2].started, nodes[2].done, nodes[2].total = "running", time.time() - 50, 10, 60
    write_state(root, state_of(this), nodes, None)
    found = read_status(root)
    assert found.life == "running"
    assert found.go_on is None
    assert (found.nodes[2].state, found.nodes[2].done, found.nodes[2].total) == ("running", 10, 60)
    assert this.began is not None
    # A number that was given again to another process, which began at another time.
    write_state(root, state_of(replace(this, began=this.began - 1000)), nodes, None)
    found = read_status(root)
    assert (found.life, found.nodes[2].state) == ("killed", "killed")
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    write_state(root, state_of(replace(this, pid=gone.pid)), nodes, None)
    assert read_status(root).life == "killed"
    assert read_status(root).go_on is not None
    remove_state(root)
    assert not list(root.glob(".state*"))


def test_a_run_on_another_machine_is_silent_after_a_minute(layout: Layout) -> None:
    away = replace(Process.this(), host=socket.gethostname() + "-elsewhere", pid=1)
    write_state(layout.root, state_of(away), [], None)
    assert read_status(layout.root).life == "running"
    content = json.loads((layout.root / FILE).read_text())
    content["updated"] -= 61
    (layout.root / FILE).write_text(json.dumps(content))
    assert read_status(layout.root).life == "silent"


def test_what_a_killed_run_had_not_come_to_is_read_from_its_folder(layout: Layout) -> None:
    finish_all(layout)
    gone = replace(Process.this(), began=0.0)
    nodes = plan_nodes(layout)
    nodes[0].state = "kept"
    nodes[1].state = "running"  # it wrote its manifest, and then was killed
    write_state(layout.root, state_of(gone), nodes, None)
    found = read_status(layout.root)
    assert found.life == "killed"
    assert {node.state for node in found.nodes} == {"kept", "done"}
    nodes[-1].state = "done"  # killed after its last stage: nothing is left to do
    write_state(layout.root, state_of(gone), nodes, None)
    assert read_status(layout.root).life == "finished"


def test_folders_that_are_no_run_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a run"):
        read_status(tmp_path)
    with pytest.raises(DataError, match="no folder"):
        read_status(tmp_path / "none")
    with pytest.raises(DataError, match="no run below"):
        newest_run(tmp_path)
    (tmp_path / "recipe.json").write_text('{"name": 3}')
    with pytest.raises(DataError, match="no recipe of this version"):
        read_status(tmp_path)


def test_the_newest_run_is_the_one_heard_of_last(tmp_path: Path) -> None:
    recipe = load_recipe("quickstart")
    for at, name in enumerate(("a", "smoke/b", "c")):
        make_run(tmp_path / name, recipe)
        os.utime(tmp_path / name / "recipe.json", (100 + at, 100 + at))
    assert newest_run(tmp_path) == tmp_path / "c"
    (tmp_path / "smoke" / "b" / FILE).write_text("{}")
    assert newest_run(tmp_path) == tmp_path / "smoke" / "b"


# --- how long is left ---------------------------------------------------------------------------------------


def cell(arm: str, seed: int, state: str, seconds: float | None = None, tokens: int = 100, **more: Any) -> Node:
    key = f"arms/{arm}/seed-{seed}/train"
    return Node(key, "train", Path(key), arm, seed, tokens, state, seconds=seconds, **more)  # type: ignore[arg-type]


def test_nothing_is_estimated_without_ground() -> None:
    assert estimate([cell("a", 0, "waiting"), cell("b", 0, "waiting")], 2, 0.0) is None
    assert estimate([cell("a", 0, "running", started=0.0), cell("b", 0, "waiting")], 2, 100.0) is None
    other = Node("collect", "collect", Path("collect"), state="done", seconds=9.0)
    assert estimate([other, cell("a", 0, "waiting")], 2, 0.0) is None


def test_times_are_those_of_the_same_arm_else_of_the_nearest_length() -> None:
    done = [cell("a", 0, "done", 10.0, 100), cell("a", 1, "kept", 20.0, 100), cell("b", 0, "done", 100.0, 1000)]
    same = estimate([*done, cell("a", 2, "waiting", tokens=100)], 2, 0.0)
    assert same is not None
    assert (same.seconds, same.ground) == (15.0, 2)
    near = estimate([*done, cell("c", 0, "waiting", tokens=800)], 2, 0.0)
    assert near is not None
    assert (near.seconds, near.ground) == (100.0, 1)


def test_cells_go_side_by_side_and_stages_one_after_another() -> None:
    done = [cell("a", 0, "done", 10.0)]
    todo = [cell("a", seed, "waiting") for seed in range(1, 5)]
    last = [Node("analyze", "analyze", Path("analyze")), Node("report", "report", Path("report"))]
    for workers, seconds in ((1, 40.0), (2, 20.0), (3, 40 / 3), (9, 10.0)):
        found = estimate([*done, *todo, *last], workers, 0.0)
        assert found is not None
        assert found.seconds == pytest.approx(seconds)


def test_what_runs_goes_by_its_own_pace_once_it_has_one() -> None:
    # Ten of forty in twenty seconds, after a minute that it took to load.
    running = cell("a", 0, "running", started=40.0, done=11, total=41, paced=(100.0, 1))
    assert left_of(running, 120.0) == pytest.approx(60.0)
    assert left_of(running, 101.0) is None  # too early to say
    assert left_of(cell("a", 0, "running", started=0.0, done=0, total=40), 50.0) is None
    assert left_of(cell("a", 0, "running", started=0.0, done=9, total=40, paced=(0.0, 9)), 50.0) is None
    found = estimate([running], 2, 120.0)
    assert found is not None
    assert (found.seconds, found.ground) == (pytest.approx(60.0), 0)


# --- the tree ------------------------------------------------------------------------------------------------


def many(count: int, running: int) -> list[Node]:
    nodes = []
    for at in range(count):
        state = "running" if at % max(1, count // running) == 0 else ("done" if at < count // 2 else "waiting")
        for seed in range(3):
            for kind in ("train", "predict single", "score single"):
                key = f"arms/an-arm-{at:03}/seed-{seed}/{kind.replace(' ', '/')}"
                node = Node(key, kind, Path(key), f"an-arm-{at:03}", seed, 100, state, started=900.0, seconds=5.0)  # type: ignore[arg-type]
                node.note, node.done, node.total = "loss 0.123, " + "9" * 90, 3, 10
                nodes.append(node)
    return [Node("collect", "collect", Path("collect"), state="done"), *nodes, Node("report", "report", Path("report"))]


@pytest.mark.parametrize("height", [8, 12, 20, 40, 400])
@pytest.mark.parametrize("running", [1, 4, 40])
@pytest.mark.parametrize("width", [100, 60, 30])
def test_a_tree_keeps_within_the_terminal(height: int, running: int, width: int) -> None:
    nodes = many(120, running)
    text = text_of(nodes, width, height - 2)
    assert len(text) <= height
    assert max(len(line) for line in text) <= width
    if width == 100:
        assert "running" in "\n".join(text[2:])  # what is at work is seen, whatever else folds
        assert any("report" in line for line in text)


def test_finished_arms_fold_and_all_unfolds() -> None:
    nodes = many(6, 1)
    text = text_of(nodes)
    assert sum("an-arm-001" in line for line in text) == 1
    assert not any("synthesize" in line or "done · 0:05 · " in line for line in text)
    assert sum("score/single" in line for line in text_of(nodes, whole=True)) == 18


def test_what_a_name_or_a_note_holds_is_text() -> None:
    nodes = [Node("collect", "collect", Path("collect"), state="running", note="[bold]not markup[/bold] :smile:")]
    assert "[bold]not markup[/bold] :smile:" in "\n".join(text_of(nodes))
    nodes[0].note = "\x1b[2Jgone \u202eturned \ud800 half"
    text = "\n".join(text_of(nodes))
    assert "\x1b" not in text
    assert "\u202e" not in text
    text.encode()


def test_half_a_character_in_a_note_does_not_stop_the_state_file(layout: Layout) -> None:
    nodes = plan_nodes(layout)
    nodes[0].state, nodes[0].note = "running", "\ud800"
    write_state(layout.root, state_of(Process.this()), nodes, None)
    assert read_status(layout.root).nodes[0].note == "\ud800"
    assert json.loads(status(str(layout.root), "--json")[1])["stages"][0]["note"] == "\ud800"


# --- the board -----------------------------------------------------------------------------------------------


def test_a_board_hears_of_stages_and_leaves_nothing_behind(layout: Layout) -> None:
    from long1k.progress import doing, progress

    with Board(layout, workers=2, live=False) as board:
        assert (layout.root / FILE).is_file()
        with doing("base/collect"), progress("collect", 9) as step:
            step(9, "the last one")
            assert (board.nodes["base/collect"].done, board.nodes["base/collect"].note) == (9, "the last one")
        assert board.nodes["base/collect"].state == "done"
        with doing("collect"):
            finish(layout.root / "collect", created="2001-01-01T00:00:00Z")
        assert board.nodes["collect"].state == "kept"
        with doing("no such place"):
            pass
    assert not list(layout.root.glob(".state*"))


def test_a_failure_is_written_down_with_its_stage(layout: Layout) -> None:
    from long1k.progress import doing

    with pytest.raises(DataError), Board(layout, workers=2, live=False), doing("base/train"):
        raise DataError("no disk\nmore", "buy one")
    found = read_status(layout.root)
    assert found.life == "failed"
    assert found.state is not None
    assert found.state.message == "no disk"
    assert next(node for node in found.nodes if node.key == "base/train").state == "failed"
    with pytest.raises(KeyboardInterrupt), Board(layout, workers=2, live=False), doing("collect"):
        raise KeyboardInterrupt
    assert read_status(layout.root).life == "stopped"


def test_a_worker_is_heard_and_a_lost_listener_is_not_missed(layout: Layout) -> None:
    tell = (
        "from long1k.progress import doing, progress\n"
        "with doing('base/train'), progress('train', 5) as step:\n    step(3, 'loss 0.5')\n    step(2, 'loss 0.4')\n"
    )
    with Board(layout, workers=2, live=False) as board:
        subprocess.run([sys.executable, "-c", tell], check=True)
        node = board.nodes["base/train"]
        deadline = time.monotonic() + 30
        while node.state != "done" and time.monotonic() < deadline:
            time.sleep(0.05)
        assert (node.state, node.done, node.total, node.note) == ("done", 5, 5, "loss 0.4")
    subprocess.run([sys.executable, "-c", tell], check=True, env={**os.environ, "LONG1K_TELL": "/nowhere/at/all"})


def test_a_state_that_cannot_be_written_does_not_stop_a_run(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("a fault of the writer")

    for name in ("write_state", "remove_state"):
        monkeypatch.setattr(study_board, name, broken)
    (layout.root / FILE).mkdir()
    with Board(layout, workers=2, live=False) as board:
        board.detail("collect", "text")
    monkeypatch.undo()
    assert read_state(layout.root) is None
    with Board(layout, workers=2, live=False):  # where the file should be lies a folder
        pass


# --- the command ---------------------------------------------------------------------------------------------


def status(*arguments: str) -> tuple[int, str]:
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, ["status", *arguments])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout


def test_the_command_that_goes_on_can_be_copied(layout: Layout) -> None:
    long = "long1k run quickstart --set name=quickstart " + " ".join(f"--set train.steps={n}" for n in range(100, 110))
    nodes = plan_nodes(layout)
    state = state_of(replace(Process.this(), pid=2**30, command=long, folder=str(Path.cwd())))
    write_state(layout.root, state, nodes, None)
    code, text = status(str(layout.root))
    assert code == 3
    assert text.splitlines()[-1] == f"What is finished is kept; go on with:  {long}"


def test_the_command_says_how_to_go_on(layout: Layout) -> None:
    finish_all(layout, but="score")
    code, text = status(str(layout.root))
    assert code == 3
    assert "unfinished" in text.splitlines()[0]
    assert "go on with:  long1k run quickstart" in text
    assert "\x1b" not in text
    assert status("--runs", str(layout.root.parent)) == (code, text)
    finish_all(layout)
    code, text = status(str(layout.root), "--all")
    assert code == 0
    assert sum("after-7" in line for line in text.splitlines()) == 66
    code, text = status(str(layout.root), "--watch")
    assert code == 0
    found = json.loads(status(str(layout.root), "--json")[1])
    assert found["state"] == "finished"
    assert found["stages"][0] == {
        "stage": "base/collect", "state": "done", "seconds": 4.0, "rows": 7, "done": 0, "total": None, "note": "",
        "folder": str(layout.root / "base" / "collect"), "detail": "",
    }  # fmt: skip
    assert len(status(str(layout.root), "--json", "--watch")[1].splitlines()) == 1
