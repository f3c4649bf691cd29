"""Held-out problems of the micro-world, alone or after a history of solved ones."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from long1k.benchmarks.base import Item
from long1k.errors import RecipeError
from long1k.micro import MicroProblem, count_problems, draw_problem, write_thinking
from long1k.rows import Message, content_id, derive_seed


class MicroBenchmarkConfig(BaseModel):
    """Which problems to ask."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    operation: int = Field(default=1, ge=0, description="which random table")
    count: int = Field(default=500, ge=1, description="questions")
    steps: tuple[int, int] = Field(default=(2, 2), description="least and most operations a problem")
    check: float = Field(default=0.0, ge=0, le=1, description="as in the source, for the solved problems")
    history: int = Field(default=0, ge=0, description="solved problems that stand before the question")
    grader: Literal["math", "steps"] = Field(
        default="math",
        description="math: is the answer right; steps: does each step of the output follow the one before",
    )
    seed: int = Field(default=0, description="of the draw")
    thinking_open: str = Field(
        default="<think>\n", description="tag before the thinking of solved problems in the history"
    )
    thinking_close: str = Field(default="\n</think>\n\n", description="tag after it")


class MicroBenchmark:
    """Distinct problems of the test split, by the ordinary math grader, or by the form of what was written."""

    Config = MicroBenchmarkConfig

    def __init__(self, config: MicroBenchmarkConfig) -> None:
        self.config = config

    @property
    def grader(self) -> str:
        """What judges the outputs."""
        return self.config.grader

    def digest(self) -> str:
        """The items are decided by the configuration alone."""
        return "procedural-1"

    def load(self) -> Iterator[Item]:
        """Yield ``count`` items with distinct questions."""
        c = self.config
        rng = random.Random(derive_seed("micro-benchmark", c.seed, c.operation, c.history))
        seen: set[str] = set()
        available = [count_problems(steps, "test") for steps in range(c.steps[0], c.steps[1] + 1)]
        if c.count > sum(available):
            raise RecipeError(
                f"the micro benchmark has {sum(available):,} test problems of {c.steps[0]} to {c.steps[1]} steps, "
                f"and {c.count:,} are asked for",
                "lower count, or allow more steps",
            )
        while len(seen) < c.count:
            problem = draw_problem(rng, c.operation, c.steps, "test")
            if problem.question in seen:
                continue
            seen.add(problem.question)
            history = [draw_problem(rng, c.operation, c.steps, "train") for _ in range(c.history)]
            messages = [m for past in history for m in self._turn(past)]
            yield Item(
                item_id=content_id("micro", str(c.operation), str(c.history), problem.question),
                question=problem.question,
                messages=(*messages, Message("user", problem.question)),
                answers=(problem.solve()[-1],),
            )

    def _turn(self, problem: MicroProblem) -> tuple[Message, Message]:
        thinking = write_thinking(problem, random.Random(0), check=self.config.check)
        answer = f"{self.config.thinking_open}{thinking}{self.config.thinking_close}\\boxed{{{problem.solve()[-1]}}}"
        return Message("user", problem.question), Message("assistant", answer)
