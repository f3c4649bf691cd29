"""Sentences on what is missing: seeds, questions, arms, grades, and laws that could not be fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from long1k.stages.analyze.cells import ArmInfo, Cell, Grades


def gap_lines(
    name: str, series: Sequence[tuple[ArmInfo, float]], grades: Mapping[str, Grades], law: Mapping[str, Any] | None
) -> list[str]:
    """Sentences on why there is no law over several rungs, or what it had to leave out."""
    cells = [grades[arm.name] for arm, _ in series if arm.name in grades]
    if len(cells) < 2:
        return []
    everyone = {seed for cell in cells for seed in cell.seeds}
    if law is not None:
        asked = len(set.union(*(set(cell.questions) for cell in cells)))
        lines = []
        if len(everyone) > len(law["seeds"]):
            kept = ", ".join(str(seed) for seed in law["seeds"])
            lines.append(f"{name}: the law stands on the training seeds that all rungs have: {kept}.")
        if asked > law["questions"]:
            lines.append(f"{name}: the law stands on the {law['questions']:,} of {asked:,} questions all rungs have.")
        return lines
    if len({length for _, length in series}) < 2 or min(length for _, length in series) <= 0:
        why = "their lengths do not differ, or are not known"
    elif not set.intersection(*(set(cell.questions) for cell in cells)):
        why = "they have no question in common"
    else:
        why = "they have no training seed in common"
    return [f"{name}: no law is fitted to the {len(cells)} rungs: {why}."]


def once_lines(name: str, grades: Mapping[str, Grades]) -> list[str]:
    """A sentence where no arm was trained more than once: what its seed did, no interval knows."""
    trained = [one for one in grades.values() if not one.untrained]
    if not trained or any(len(one.seeds) > 1 for one in trained):
        return []
    return [f"{name}: every arm was trained once; no interval here says what another training seed would give."]


def missing_lines(entry: Mapping[str, Any], cells: Sequence[Cell]) -> list[str]:
    """Sentences on arms, questions and comparisons that are not there."""
    name, lines = entry["benchmark"], []
    shown = {arm["name"]: arm for arm in entry["arms"]}
    absent = [arm for arm in dict.fromkeys(cell.arm for cell in cells) if arm not in shown]
    if absent:
        lines.append(f"{name}: there are no usable grades of {', '.join(absent)}; nothing is compared with it.")
    for arm in shown.values():
        if arm["empty_seeds"]:
            seeds = ", ".join(map(str, arm["empty_seeds"]))
            lines.append(f"{name}: there are no grades of {arm['name']} with seed {seeds}; it stands on the others.")
        if arm["left_out"]:
            lines.append(
                f"{name}: {arm['left_out']:,} questions of {arm['name']} have no grades of some seed and are left out."
            )
    for contrast in entry["contrasts"]:
        if contrast["left_out"]:
            lines.append(
                f"{name}: {contrast['a']} and {contrast['b']} are compared on the "
                f"{contrast['difference']['num_questions']:,} questions both answered."
            )
    return lines


def failed_lines(name: str, shown: Sequence[Mapping[str, Any]]) -> list[str]:
    """A sentence on grades that failed: they are not verdicts, though the rates count them as not correct."""
    total = sum(sum(arm["statuses"].values()) for arm in shown)
    failed = sum(arm["statuses"].get(status, 0) for arm in shown for status in ("error", "timeout"))
    lines = []
    if failed:
        lines.append(
            f"{name}: {failed:,} of {total:,} answers could not be graded; the rates count them as not correct."
        )
    cut = [arm for arm in shown if arm["cut_frac"] > 0.02]
    if cut:
        worst = max(cut, key=lambda arm: float(arm["cut_frac"]))
        lines.append(
            f"{name}: more than 2 % of the outputs were cut at max_new_tokens in {len(cut)} of {len(shown)} arms, "
            f"{100 * worst['cut_frac']:.0f} % in {worst['name']}; their accuracy is a lower bound."
        )
    return lines
