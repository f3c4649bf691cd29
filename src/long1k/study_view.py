"""A study's stages as a tree for the terminal: at most 100 columns, and as many lines as there are."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

from rich.console import Group, RenderableType
from rich.text import Text
from rich.tree import Tree

from long1k.reporting.text import clean
from long1k.study_tree import FINISHED, Estimate, Node, State, left_of

_WORDS: Mapping[State, str] = {
    "waiting": "waiting", "running": "running", "kept": "finished before", "done": "done", "begun": "begun",
    "failed": "failed", "stopped": "stopped", "killed": "killed",
}  # fmt: skip
_STYLES: Mapping[State, str] = {
    "waiting": "dim", "running": "bold cyan", "kept": "green", "done": "green", "begun": "yellow", "failed": "bold red",
    "stopped": "yellow", "killed": "bold red",
}  # fmt: skip
# The one that decides what a group of stages is called: the first of these that one of them is.
_RANK: tuple[State, ...] = ("failed", "killed", "stopped", "running", "begun")


@dataclass(slots=True)
class Line:
    """One line of the tree and the lines below it."""

    name: str
    state: State
    text: str = ""
    below: list[Line] = field(default_factory=list)

    def count(self) -> int:
        """Lines, this one with them."""
        return 1 + sum(line.count() for line in self.below)


def clock(seconds: float) -> str:
    """0:07, 12:03, 3:04:05."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"


def roughly(seconds: float) -> str:
    """An estimate in words that are no more exact than it is."""
    if seconds < 90:
        return f"{max(5, math.ceil(seconds / 5) * 5)} s"
    return f"{round(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def state_of(nodes: Sequence[Node]) -> State:
    """What a group of stages is as a whole."""
    states = {node.state for node in nodes}
    for one in _RANK:
        if one in states:
            return one
    if states <= set(FINISHED):
        return "kept" if states == {"kept"} else "done"
    return "begun" if states & set(FINISHED) else "waiting"


def lines(
    nodes: Sequence[Node], details: Mapping[str, str], now: float, *, height: int | None = None, whole: bool = False
) -> list[Line]:
    """The tree in as few lines as it takes: finished and waiting arms fold first.

    Args:
        height: lines there are; None: any number.
        whole: nothing folds.
    """
    folding = (0,) if whole else (1, 2, 3)
    made: list[Line] = []
    for level in folding:
        made = list(_top(nodes, details, now, level))
        if height is None or sum(line.count() for line in made) <= height:
            return made
    return made if whole else _cropped(made, max(1, height or 1))


def _top(nodes: Sequence[Node], details: Mapping[str, str], now: float, level: int) -> Iterator[Line]:
    for top, members in groupby(nodes, key=lambda node: node.key.split("/")[0]):
        group = list(members)
        if top == "arms":
            yield _arms(group, details, now, level)
        elif len(group) == 1 and "/" not in group[0].key:
            yield _stage(group[0], top, details, now)
        else:
            line = Line(top, state_of(group), _took(group))
            if level == 0 or line.state not in ("done", "kept", "waiting"):
                line.below = [_stage(node, node.key.removeprefix(f"{top}/"), details, now) for node in group]
            yield line


def _stage(node: Node, name: str, details: Mapping[str, str], now: float) -> Line:
    """One stage."""
    parts = []
    if node.state == "running":
        parts.append(_running(node, now))
    elif node.state in FINISHED:
        if node.seconds is not None:
            parts.append(clock(node.seconds))
        if node.key in details:
            parts.append(details[node.key])
        elif node.rows:
            parts.append(f"{node.rows:,} rows")
    elif node.total:
        parts.append(f"at {node.done:,} of {node.total:,}")
    return Line(name, node.state, " · ".join(part for part in parts if part))


def _running(node: Node, now: float) -> str:
    parts = []
    if node.total:
        parts.append(f"{node.done:,}/{node.total:,}")
    elif node.done:
        parts.append(f"{node.done:,}")
    if node.started is not None:
        parts.append(clock(now - node.started))
    left = left_of(node, now)
    if left is not None:
        parts.append(f"{clock(left)} left")
    note = node.note
    if left is not None and note.endswith(" left"):  # the trainer's own says it, too
        note = note.rpartition(", ")[0]
    return " · ".join((*parts, note) if note else parts)


def _arms(nodes: Sequence[Node], details: Mapping[str, str], now: float, level: int) -> Line:
    arms = [(name, list(members)) for name, members in groupby(nodes, key=lambda node: str(node.arm))]
    cells = [list(cell) for _, arm in arms for _, cell in groupby(_by_seed(arm), key=lambda node: node.seed)]
    finished = sum(state_of(cell) in FINISHED for cell in cells)
    line = Line("arms", state_of(nodes), f"{finished} of {len(cells)} cells finished")
    folded: list[Line] = []
    for name, members in arms:
        one = _arm(name, members, details, now, level)
        if level >= 2 and one.state in ("kept", "done", "waiting"):
            folded.append(one)
            continue
        line.below += _folded(folded)
        folded = []
        line.below.append(one)
    line.below += _folded(folded)
    return line


def _by_seed(nodes: Sequence[Node]) -> list[Node]:
    return sorted(nodes, key=lambda node: node.seed or 0)  # stable: stages keep their order


def _folded(found: list[Line]) -> Iterator[Line]:
    """Neighbours of one state in a line."""
    for state, group in groupby(found, key=lambda line: line.state):
        some = list(group)
        name = some[0].name if len(some) == 1 else f"{some[0].name} … {some[-1].name}"
        yield some[0] if len(some) == 1 else Line(name, state, f"{len(some)} arms")


def _arm(name: str, nodes: Sequence[Node], details: Mapping[str, str], now: float, level: int) -> Line:
    cells = [(seed, list(cell)) for seed, cell in groupby(_by_seed(nodes), key=lambda node: node.seed)]
    state = state_of(nodes)
    # Samples are made for all arms first: an arm with nothing else is waiting still.
    if state == "begun" and all(
        n.state == "waiting" or (n.kind == "synthesize" and n.state in FINISHED) for n in nodes
    ):
        state = "waiting"
    finished = sum(state_of(cell) in FINISHED for _, cell in cells)
    text = f"{finished} of {len(cells)} seeds" if 0 < finished < len(cells) else f"{len(cells)} seeds"
    text = (text if len(cells) > 1 else "") + (f" · {_took(nodes)}" if state in FINISHED and _took(nodes) else "")
    if state in FINISHED and len(cells) == 1 and level < 2:
        text += f" · {details[place]}" if (place := f"arms/{name}/seed-{cells[0][0]}") in details else ""
    line = Line(name, state, text.removeprefix(" · "))
    if level == 0 or state not in ("waiting", *FINISHED):
        line.below = [
            _cell(f"seed-{seed}", f"arms/{name}/seed-{seed}", cell, details, now, level)
            for seed, cell in cells
            if level < 3 or state_of(cell) not in ("waiting", "begun", *FINISHED)
        ]
    return line


def _cell(name: str, place: str, nodes: Sequence[Node], details: Mapping[str, str], now: float, level: int) -> Line:
    """An arm with a seed: in one line, that of the stage at work."""
    state = state_of(nodes)
    if level == 0:
        below = [_stage(node, node.key.removeprefix(f"{place}/"), details, now) for node in nodes]
        return Line(name, state, details.get(place, ""), below)
    if state in FINISHED:
        return Line(name, state, " · ".join(part for part in (_took(nodes), details.get(place, "")) if part))
    at = next((node for node in nodes if node.state == state), None)
    if at is None:
        parts = [node.key.removeprefix(f"{place}/") for node in nodes if node.state in FINISHED]
        return Line(name, state, f"finished: {', '.join(parts)}" if parts else "")
    stage = _stage(at, at.key.removeprefix(f"{place}/"), details, now)
    return Line(name, state, f"{stage.name} {stage.text}".rstrip())


def _took(nodes: Sequence[Node]) -> str:
    known = [node.seconds for node in nodes if node.state in FINISHED and node.seconds is not None]
    return clock(sum(known)) if known else ""


def _cropped(found: list[Line], height: int) -> list[Line]:
    """The first lines, and how many more there are; what is at work comes first where that saves it."""
    arms = next((line for line in found if line.name == "arms"), None)
    if arms is not None:
        over = sum(line.count() for line in found) - height
        kept: list[Line] = []
        room, left_out = arms.count() - 1 - over - 1, 0
        for line in sorted(arms.below, key=lambda line: line.state in ("waiting", *FINISHED)):
            if line.count() <= room:
                room -= line.count()
                kept.append(line)
            else:
                left_out += 1
        order = {id(line): at for at, line in enumerate(arms.below)}
        kept.sort(key=lambda line: order[id(line)])
        arms.below = [*kept, Line(f"… {left_out} more", "waiting")] if left_out else kept
    return found


def head(
    name: str, nodes: Sequence[Node], life: str, spent: float | None, left: Estimate | None, ended: str = ""
) -> Text:
    """The first line: what the run is, how far, and how long still."""
    finished = sum(node.state in FINISHED for node in nodes)
    parts = [f"{life} {clock(spent)}" if spent is not None and life == "running" else life]
    parts.append(f"{finished} of {len(nodes)} stages")
    if life == "running" and left is not None:
        ground = f"{left.ground} finished" if left.ground else "its pace so far"
        parts.append(f"about {roughly(left.seconds)} left (estimate from {ground})")
    elif life == "running" and any(node.arm is not None and node.state == "waiting" for node in nodes):
        parts.append("no estimate yet")
    if ended:
        parts.append(ended)
    text = Text(no_wrap=True, overflow="ellipsis")
    text.append(name, "bold")
    text.append("  " + " · ".join(parts))
    return text


def drawn(first: Text, found: Sequence[Line], *after: str) -> RenderableType:
    """The tree with what stands under it."""
    tree = Tree(first, guide_style="dim")

    def add(to: Tree, line: Line) -> None:
        label = Text(no_wrap=True, overflow="ellipsis")
        label.append(clean(line.name))
        label.append(f"  {_WORDS[line.state]}" if not line.name.startswith("…") else "", _STYLES[line.state])
        if line.text:
            running = line.state == "running"
            label.append(" " if running else " · ", "dim")
            label.append(clean(line.text), "" if running else "dim")
        branch = to.add(label)
        for one in line.below:
            add(branch, one)

    for line in found:
        add(tree, line)
    return Group(tree, *(Text(clean(text), no_wrap=True, overflow="ellipsis", style="dim") for text in after if text))
