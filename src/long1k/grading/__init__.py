"""Graders: what a model's answer is worth against the gold answer.

`extract` finds the answer in a text, `math` and `choice` compare it with the gold, `pool` runs the part
of that which cannot be trusted to end (symbolic algebra on model output) in processes that can be killed.
A grader is named here by "module:attribute", so that listing graders imports none of them.
"""

from collections.abc import Mapping
from typing import Any

AUTO = "auto"
"""In place of a grader's name: the one that belongs to the benchmark."""

GRADERS: dict[str, str] = {
    "math": "long1k.grading.math:MathGrader",
    "choice": "long1k.grading.choice:ChoiceGrader",
    "steps": "long1k.grading.steps:StepsGrader",
}
JUDGES: dict[str, str] = {
    "judge": "long1k.grading.judge:Judge",
    "judge-paper": "long1k.grading.judge_paper:PaperJudge",
}


def grader_for(name: str, info: Mapping[str, Any]) -> str:
    """A grader's name, or for ``auto`` the one that the account of a table of predictions names (else math)."""
    return str(info.get("grader") or "math") if name == AUTO else name
