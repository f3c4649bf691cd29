"""Prompts of several problems: how many were answered, in their order, and in the form that was asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from long1k.grading.extract import labelled_sections
from long1k.statistics import clustered

_FIGURES = ("answered", "correct", "labelled", "boxed")


@dataclass
class Multi:
    """Prompts by the number of their problems."""

    prompts: dict[int, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, row: Mapping[str, Any], parts: Sequence[Mapping[str, Any]]) -> None:
        """One output and the verdicts on its parts.

        A part is answered if something was read out, labelled if a line of its own begins with its label, and boxed
        if that section holds a box. Labels are in order if none stands behind a later one, and the whole is in the
        form asked for if each label stands exactly once, in order, before a box.
        """
        k = len(parts)
        text = row["answer_text"] or ""
        sections = labelled_sections(text)
        numbers = [number for number, _, _ in sections]
        boxed = {number for number, start, end in sections if "\\boxed" in text[start:end]}
        wanted = list(range(1, k + 1))
        self.prompts.setdefault(k, []).append(
            {
                # Prompts of the same problems, turned round, are one observation.
                "cluster": " ".join(sorted(row["part_ids"] or [row["problem_id"]])),
                "answered": [float(one["extracted"] is not None) for one in parts],
                "correct": [float(one["status"] == "correct") for one in parts],
                "labelled": [float(number in numbers) for number in wanted],
                "boxed": [float(number in boxed) for number in wanted],
                "in_order": float(bool(numbers) and numbers == sorted(numbers)),
                "in_format": float(numbers == wanted and boxed == set(wanted)),
                "cut": float(row["finish_reason"] == "length"),
            }
        )

    def described(self, confidence: float) -> list[dict[str, Any]]:
        """By k: shares of parts and of prompts with intervals over groups of problems, and by place in the prompt.

        Empty where no prompt has several problems. Prompts of one problem need no label: their labels are not told.
        """
        if not any(k > 1 for k in self.prompts):
            return []
        return [_of(k, self.prompts[k], confidence) for k in sorted(self.prompts)]


def _of(k: int, prompts: Sequence[Mapping[str, Any]], confidence: float) -> dict[str, Any]:
    clusters = [one["cluster"] for one in prompts]

    def share(values: Sequence[float]) -> dict[str, Any] | None:
        found = clustered.mean(values, clusters, confidence)
        return None if found is None else found.as_dict()

    by_part: dict[str, Any] = {name: share([sum(one[name]) / k for one in prompts]) for name in _FIGURES}
    whole: dict[str, Any] = {
        "all_answered": share([float(all(one["answered"])) for one in prompts]),
        "all_correct": share([float(all(one["correct"])) for one in prompts]),
        "in_order": share([one["in_order"] for one in prompts]),
        "in_format": share([one["in_format"] for one in prompts]),
        "cut": share([one["cut"] for one in prompts]),
    }
    if k == 1:
        for name in ("labelled", "boxed"):
            by_part[name] = None
        for name in ("in_order", "in_format"):
            whole[name] = None
    return {
        "k": k, "prompts": len(prompts), "groups": len(set(clusters)), "parts": k * len(prompts),
        **by_part, **whole,
        "correct_by_place": [share([one["correct"][at] for one in prompts]) for at in range(k)],
        "answered_by_place": [share([one["answered"][at] for one in prompts]) for at in range(k)],
    }  # fmt: skip
