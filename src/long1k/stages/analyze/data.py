"""Arms of data that nothing was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from long1k.tables import read_manifest


def data_of(path: Path, root: Path) -> dict[str, Any]:
    """What an arm's samples are, from their manifest."""
    manifest = read_manifest(path)
    return {"groups": manifest.info["groups"], "rows": str(path.relative_to(root)), "digest": manifest.digest}


def reached(group: Mapping[str, Any]) -> str:
    """How well a group has the lengths that it was made to; of one without a target what its length is."""
    exact, within = group["exactly_on_target"], f"{100 * group['within_tolerance']:.0f} % within"
    if group["target"] is not None:
        return f", {100 * exact:.0f} % exactly on target, {within} ±{group['tolerance_tokens']} tokens"
    if exact is not None:  # each sample has a target of its own
        return f" (length: {group['wanted']}), {100 * exact:.0f} % exactly on target, {within} the tolerance"
    return f" (length: {group['wanted']})"


def data_verdict(findings: Mapping[str, Any]) -> list[str]:
    """Sentences on the arms of data, and on published outputs that were graded here."""
    lines = []
    for name, arm in findings["data"].items():
        for group in arm["groups"]:
            share = f"{group['made']} of {group['requested']} samples made"
            lengths = f"{group['min_tokens']:,}–{group['max_tokens']:,} tokens"
            lines.append(f"{name}: {share}, {lengths}{reached(group)}.")
    for entry in findings["published"]:
        if entry["agreement"] is not None:
            lines.append(
                f"{entry['name']}: grader and published labels agree on {100 * entry['agreement']:.2f} % of "
                f"{entry['labelled']:,} gradable outputs ({entry['not_gradable']} more could not be graded); all "
                f"{len(entry['disagreements'])} that differ from their label are listed."
            )
    return lines
