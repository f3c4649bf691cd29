"""The judge of the LONG1k paper, in its exact set-up: five lines, sampled hot, and no verdict counts as wrong.

Question, last line of the reference, last five lines of the output joined without newlines; a Chinese prompt that asks
for [[0]] or [[1]] at the end; temperature 0.9, top-p 0.7. The prompts are written for this project after that
description, since the paper's own sentences are not ours to publish. Nothing here resists what an output says
to its judge: that is part of what is reproduced.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from long1k.grading.base import Case, Grade
from long1k.grading.replies import AskStarter, Query, Replies
from long1k.rows import Message, derive_seed

_MATH = (
    "请你批改一道数学题。下面依次是题目、参考答案和一份作答的末尾部分。请判断作答的最终结果与参考答案是否相同："
    "形式不同而数值或含义相同，算相同；没有给出最终结果，算不相同。请先用一两句话说明依据，"
    "最后单独写出结论：相同写[[1]]，不相同写[[0]]。\n\n题目：{question}\n\n参考答案：{gold}\n\n作答的末尾部分：{tail}"
)
_SCIENCE = (
    "请你批改一道涉及计算的科学题。下面依次是题目、参考答案和一份作答的末尾部分。请判断作答所选的选项或所得的数值"
    "与参考答案是否相同：单位换算或合理的四舍五入之后相等，算相同；没有选出选项或没有给出数值，算不相同。"
    "请先用一两句话说明依据，最后单独写出结论：相同写[[1]]，不相同写[[0]]。\n\n"
    "题目：{question}\n\n参考答案：{gold}\n\n作答的末尾部分：{tail}"
)
_VERDICT = re.compile(r"\[\[([01])\]\]")


class PaperJudgeConfig(BaseModel):
    """The paper's set-up; only what it left open can be set."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    science: bool = Field(default=False, description="the second prompt: science questions that involve calculation")
    max_tokens: int = Field(default=2048, ge=1, description="of a reply")
    seed: int = Field(default=42, description="of the judge's draws")


class PaperJudge:
    """The paper's judge: also for outputs whose thinking was never closed, since it reads their last lines."""

    name = "judge-paper"
    version = "1"
    Config = PaperJudgeConfig

    def __init__(self, config: PaperJudgeConfig, start: AskStarter, cache: Path, engine: Mapping[str, Any]) -> None:
        self._config = config
        self._replies = Replies(start, cache, engine)

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        """One grade a case, in order; a reply without a verdict is wrong."""
        asked = [case for case in cases if case.finish_reason != "error"]
        replies = iter(self._replies.get([self._query(case) for case in asked]))
        return [
            Grade("error", "the engine gave up: there is no output", None)
            if case.finish_reason == "error"
            else _grade(case, next(replies))
            for case in cases
        ]

    def _query(self, case: Case) -> Query:
        template = _SCIENCE if self._config.science else _MATH
        text = template.format(question=case.question, gold=_last_lines(case.gold, 1), tail=_last_lines(case.output, 5))
        seed = derive_seed("judge-paper", self._config.seed, text)
        return Query((Message("user", text),), 0.9, 0.7, self._config.max_tokens, seed)

    def close(self) -> None:
        """Free the engine."""
        self._replies.close()


def _last_lines(text: str, count: int) -> str:
    return "".join(text.strip().split("\n")[-count:])


def _grade(case: Case, reply: str) -> Grade:
    found = _VERDICT.findall(reply)
    if not found:
        return Grade("wrong", "no verdict in the reply: counts 0", case.answer)
    return Grade("correct" if found[-1] == "1" else "wrong", "", case.answer)
