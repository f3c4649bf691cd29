"""The stages of a study as nodes, each waiting, running, kept, done, begun, failed or stopped; and how long is left.

A node's key is its path below the run, e.g. ``arms/L32/seed-0/train``; in a run that stands on another recipe's the
folder behind a key may lie in that one's run.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from long1k.study_layout import Layout
from long1k.tables import MANIFEST, PROGRESS, read_json

State = Literal["waiting", "running", "kept", "done", "begun", "failed", "stopped", "killed"]
FINISHED: tuple[State, ...] = ("kept", "done")


@dataclass(slots=True)
class Node:
    """One stage of a study.

    Args:
        key: its place, e.g. ``base/train`` or ``arms/L32/seed-0/predict/single``.
        kind: what its time can be compared with, e.g. ``train`` or ``predict single``.
        folder: where its manifest will lie; of ``score`` the folder above, whose name is the grader's.
        tokens: the length that its arm aims at; None: no single one.
        seconds: it took, of a finished one; started: when it began, in seconds since 1970.
        paced: (when, done) of the first word of its progress: loading a model before it is no pace.
    """

    key: str
    kind: str
    folder: Path
    arm: str | None = None
    seed: int | None = None
    tokens: int | None = None
    state: State = "waiting"
    started: float | None = None
    seconds: float | None = None
    rows: int | None = None
    done: int = 0
    total: int | None = None
    note: str = ""
    paced: tuple[float, int] | None = None


def plan_nodes(layout: Layout) -> list[Node]:
    """All stages of a study in the order of a run, every one waiting."""
    recipe, root = layout.recipe, layout.root
    nodes = []
    if recipe.base is not None:
        nodes += [Node(f"base/{one}", f"base {one}", layout.base / one) for one in ("collect", "synthesize", "train")]
    nodes.append(Node("collect", "collect", layout.pool))
    for arm in layout.arms:
        own = bool(arm.specs) and arm.data_arm == arm.name
        trained = arm.train is not None and recipe.train is not None
        for seed in recipe.seeds if own else layout.seeds(arm):
            place, about = f"arms/{arm.name}/seed-{seed}", (arm.name, seed, arm.target_tokens)
            made = layout.made(arm.name, seed)
            if own:
                nodes.append(Node(f"{place}/synthesize", "synthesize", made / "synthesize", *about))
            if trained:
                nodes.append(Node(f"{place}/train", "train", made / "train", *about))
            if recipe.train is None or seed not in layout.seeds(arm):
                continue
            for name in recipe.benchmarks:
                for stage in ("predict", "score"):
                    folder = layout.folder(arm.name, seed) / stage / name
                    nodes.append(Node(f"{place}/{stage}/{name}", f"{stage} {name}", folder, *about))
    for name in recipe.published:
        folder = root / "published" / name
        nodes.append(Node(f"published/{name}/import", "import", folder / "predictions"))
        nodes.append(Node(f"published/{name}/score", "score published", folder / "score"))
    nodes += [Node(one, one, root / one) for one in ("analyze", "report")]
    return nodes


def look(node: Node) -> str | None:
    """Read from its folder whether a stage is finished (done) or begun; returns when, of a finished one."""
    folder = finished_folder(node)
    found = read_json(folder / MANIFEST)
    if found:
        node.state, node.seconds, node.rows = "done", found.get("wall_seconds"), found.get("rows_out")
        node.done, node.total, node.note = 0, None, ""
        return str(found.get("created"))
    node.state = "begun" if (folder / PROGRESS).is_file() else "waiting"
    return None


def finished_folder(node: Node) -> Path:
    """The folder that holds a node's manifest: of scores that of the newest grader."""
    if not node.kind.startswith("score") or node.key.startswith("published/"):
        return node.folder
    found = [path for name in (MANIFEST, PROGRESS) for path in node.folder.glob(f"*/{name}")]
    return max(found, key=lambda path: path.stat().st_mtime).parent if found else node.folder


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds that are left, guessed from ``ground`` finished stages of the same kinds (and what runs right now)."""

    seconds: float
    ground: int


def estimate(nodes: Sequence[Node], workers: int, now: float) -> Estimate | None:
    """How long the rest takes; None while a cell to come has no finished one of its kind beside it.

    A stage to come takes what the same stage of the same arm took (mean over seeds), else what that of the arm with
    the nearest length took.  Cells go side by side on ``workers`` processes, the other stages one after another; of
    these, one that never ran here is left out, as they are short.
    """
    measured = [node for node in nodes if node.state in FINISHED and node.seconds is not None]
    cells: dict[str, float] = {}
    alone, used = 0.0, set[str]()
    for node in nodes:
        if node.state in FINISHED or node.state in ("failed", "stopped", "killed"):
            continue
        left, ground = _left(node, measured, now)
        used |= ground
        if node.arm is not None and node.kind != "synthesize":
            if left is None:
                return None
            cell = f"{node.arm}/{node.seed}"
            cells[cell] = cells.get(cell, 0.0) + left
        elif left is None and (node.kind.startswith("base") or node.state == "running"):
            return None
        else:
            alone += left or 0.0
    together = max(sum(cells.values()) / max(1, min(workers, len(cells))), max(cells.values())) if cells else 0.0
    if not used and not any(node.state == "running" for node in nodes):
        return None
    return Estimate(alone + together, len(used))


def left_of(node: Node, now: float) -> float | None:
    """Seconds that a running stage still takes at its pace so far; None before it has shown one."""
    if node.state != "running" or not node.total or node.paced is None or node.done > node.total:
        return None
    since, before = node.paced
    spent, made = now - since, node.done - before
    if spent < 2 or made < 1:
        return None
    return spent * (node.total - node.done) / made


def _left(node: Node, measured: Iterable[Node], now: float) -> tuple[float | None, set[str]]:
    """Seconds that a stage still takes, and the finished stages that say so."""
    pace = left_of(node, now)
    if pace is not None:
        return pace, set()
    mates = [one for one in measured if one.kind == node.kind]
    own = [one for one in mates if one.arm == node.arm]
    if not own and mates:
        nearest = min(abs((one.tokens or 0) - (node.tokens or 0)) for one in mates)
        own = [one for one in mates if abs((one.tokens or 0) - (node.tokens or 0)) == nearest]
    if not own:
        return None, set()
    took = sum(one.seconds or 0.0 for one in own) / len(own)
    spent = now - node.started if node.state == "running" and node.started is not None else 0.0
    return max(0.0, took - spent), {one.key for one in own}
