"""Graders: what a model's answer is worth against the gold answer.

`extract` finds the answer in a text, `math` and `choice` compare it with the gold, `pool` runs the part
of that which cannot be trusted to end (symbolic algebra on model output) in processes that can be killed.
A grader is named here by "module:attribute", so that listing graders imports none of them.
"""

GRADERS: dict[str, str] = {
    "math": "long1k.grading.math:MathGrader",
    "choice": "long1k.grading.choice:ChoiceGrader",
}
JUDGES: dict[str, str] = {
    "judge": "long1k.grading.judge:Judge",
    "judge-paper": "long1k.grading.judge_paper:PaperJudge",
}
