"""How a run stands: read from the manifests in its folder, and from what its process writes down."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from long1k.errors import DataError
from long1k.recipe import RECIPES, Recipe
from long1k.resources import Resources
from long1k.study_layout import Layout
from long1k.study_state import FILE, RunState, read_state
from long1k.study_tree import FINISHED, Estimate, Node, estimate, look, plan_nodes

_RECIPE = "recipe.json"


@dataclass(frozen=True, slots=True)
class Status:
    """How a run stands.

    Args:
        life: finished, running, or what it is instead: unfinished, stopped, failed, killed, silent (on another
            machine, without a word for a minute).
        go_on: the command that goes on with it; None: nothing is left to do, or it runs.
    """

    root: Path
    life: str
    nodes: list[Node]
    state: RunState | None
    left: Estimate | None
    go_on: str | None
    now: float

    @property
    def resources(self) -> Resources | None:
        """Of a run at work."""
        if self.state is None or self.state.resources is None or self.life != "running":
            return None
        return Resources(**self.state.resources)

    def as_json(self) -> dict[str, Any]:
        """Everything, for programs."""
        state = self.state
        return {
            "run": str(self.root),
            "state": self.life,
            "message": state.message if state is not None else "",
            "go_on": self.go_on,
            "process": None if state is None else {"pid": state.process.pid, "host": state.process.host},
            "started": None if state is None else state.started,
            "updated": None if state is None else state.updated,
            "seconds_left": None if self.left is None else round(self.left.seconds, 1),
            "estimated_from": None if self.left is None else self.left.ground,
            "resources": None if state is None or self.life != "running" else state.resources,
            "stages": [
                {
                    "stage": node.key, "state": node.state, "seconds": node.seconds, "rows": node.rows,
                    "done": node.done, "total": node.total, "note": node.note, "folder": str(node.folder),
                    "detail": "" if state is None else state.details.get(node.key, ""),
                }
                for node in self.nodes
            ],
        }  # fmt: skip


def read_status(root: Path) -> Status:
    """How a run stands now; reads manifests and changes nothing.

    Raises:
        DataError: the folder is no run.
    """
    recipe = _recipe(root)
    state, nodes = read_state(root), plan_nodes(Layout(recipe, root))
    for node in nodes:
        look(node)
    now = time.time()
    if state is not None:
        _overlay(nodes, state)
    if state is not None and state.nodes.get("report", {}).get("state") not in FINISHED:
        life = str(state.life)
    elif state is not None and state.life == "running":
        life = "running"
    elif all(node.state in FINISHED for node in nodes):
        life = "finished"
    else:
        life = "unfinished"
    workers = 1 if state is None else state.workers
    left = estimate(nodes, workers, now) if life == "running" else None
    return Status(root, life, nodes, state, left, _go_on(root, recipe, state, life), now)


def newest_run(runs: Path) -> Path:
    """The run below a folder that was started, or heard of, last.

    Raises:
        DataError: there is none.
    """
    found = [path.parent for pattern in ("*", "smoke/*") for path in runs.glob(f"{pattern}/{_RECIPE}")]
    if not found:
        raise DataError(f"there is no run below {runs}", "give the folder of a run, e.g. runs/quickstart, or --runs")
    return max(found, key=_heard_of)


def _heard_of(root: Path) -> float:
    return max(path.stat().st_mtime for name in (_RECIPE, FILE) if (path := root / name).is_file())


def _recipe(root: Path) -> Recipe:
    path = root / _RECIPE
    if not root.is_dir():
        raise DataError(
            f"there is no folder {root}", "check the path; without one, the newest run below runs/ is taken"
        )
    if not path.is_file():
        raise DataError(f"{root} is not a run (it has no {_RECIPE})", "give runs/<recipe name>")
    try:
        return Recipe.model_validate_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, ValidationError) as error:
        reason = str(error).split("\n")[0]
        raise DataError(
            f"{path} is no recipe of this version: {reason}", "run its recipe again with this one"
        ) from None


def _overlay(nodes: list[Node], state: RunState) -> None:
    """What the run itself says of its stages; once it is gone, what was running ended as it did."""
    for node in nodes:
        told: Mapping[str, Any] = state.nodes.get(node.key, {})
        at = told.get("state")
        if at is None:
            if state.life == "running":  # it has not come to it, and decides then whether what lies there is current
                node.state = "waiting"
            continue
        if at == "running" and node.state in FINISHED and state.life != "running":
            continue  # its last act, after the last word of it
        if at in FINISHED and node.state not in FINISHED:
            if node.kind in ("analyze", "report") and state.life == "running":
                node.state = at
            continue  # somebody removed what it had made
        if at == "running" and state.life != "running":
            at = "killed" if state.life == "silent" else state.life
        for name, value in told.items():
            if hasattr(node, name):
                setattr(node, name, value)
        node.state = at


def _go_on(root: Path, recipe: Recipe, state: RunState | None, life: str) -> str | None:
    """The command that goes on: the one that was given, from where it was given."""
    if life in ("finished", "running"):
        return None
    if state is not None:
        inside = Path(state.process.folder) == Path.cwd()
        return ("" if inside else f"cd {shlex.quote(state.process.folder)} && ") + state.process.command
    return command_of(root, recipe)


def command_of(root: Path, recipe: Recipe) -> str:
    """The command that makes a run of this recipe in this folder, as far as it can be told from them."""
    known = recipe.name if (RECIPES / f"{recipe.name}.yaml").is_file() else "<its recipe>"
    smoke = root.parent.name == "smoke"
    runs = root.parent.parent if smoke else root.parent
    folder = "" if runs == Path("runs") else f" --runs {shlex.quote(str(runs))}"
    return f"long1k run {known}{' --smoke' if smoke else ''}{folder}"


def as_line(status: Status) -> str:
    """JSON in one line."""
    return json.dumps(status.as_json())
