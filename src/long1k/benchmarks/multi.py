r"""Any benchmark, several problems a prompt: how well does a model keep them apart?

Every problem is asked equally often.  A pass over the benchmark for one k puts the problems into an order decided by
a hash, cuts it into prompts of k, and asks each problem once (``design: once``) or, by turning every group round,
once at every position (``design: rotated``, k times).  A range of k makes one such pass for each k, over the same
problems.  What is left when k does not divide the number of problems is asked in a shorter prompt, or left out
of that pass and counted (``leftover``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from long1k.benchmarks import BENCHMARKS
from long1k.benchmarks.base import Benchmark, Item, account
from long1k.errors import RecipeError
from long1k.labels import labelled
from long1k.plugins import load_plugin, validate
from long1k.rows import Message, content_id, derive_seed

INSTRUCTIONS = {
    "choice": "Please reason step by step. Then answer every problem behind its label (Problem 1:, Problem 2:, …), "
    "each with the letter of your answer within \\boxed{}.",
    "other": "Please reason step by step. Then answer every problem behind its label (Problem 1:, Problem 2:, …), "
    "each with the final answer within \\boxed{}.",
}


class MultiConfig(BaseModel):
    """Which benchmark, and how many of its problems a prompt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    of: dict[str, Any] = Field(description="the benchmark that is wrapped: type and its keys")
    k: tuple[int, int] = Field(default=(2, 2), description="problems a prompt: a number, or [least, most]")
    design: Literal["once", "rotated"] = Field(
        default="once", description="each problem once for every k, or once at every position"
    )
    leftover: Literal["short", "drop"] = Field(
        default="short", description="problems that fill no prompt: in a shorter one, or left out"
    )
    seed: int = Field(default=0, description="another seed, another order of the problems")
    instruction: str | None = Field(default=None, description="after the problems; null: one that asks for labels")

    @field_validator("k", mode="before")
    @classmethod
    def _range(cls, value: object) -> object:
        return (value, value) if isinstance(value, int) else value

    @field_validator("k")
    @classmethod
    def _ordered(cls, value: tuple[int, int]) -> tuple[int, int]:
        if not 1 <= value[0] <= value[1]:
            raise ValueError("k is a number or [least, most] with 1 <= least <= most")
        return value


class MultiBenchmark:
    """Several problems in one prompt, laid out as joined training samples are; every part is graded."""

    Config = MultiConfig

    def __init__(self, config: MultiConfig) -> None:
        self.config = config
        values = dict(config.of)
        name = values.pop("type", None)
        if not isinstance(name, str) or name == "multi":
            raise RecipeError("multi wraps one benchmark of single problems", "of: {type: math500, path: …}")
        factory = load_plugin(name, BENCHMARKS, "benchmark")
        self.inner: Benchmark = factory(validate(factory.Config, values, f"multi, of ({name})"))
        self.withheld = bool(getattr(self.inner, "withheld", False))

    @property
    def grader(self) -> str:
        """The wrapped benchmark's."""
        return self.inner.grader

    def digest(self) -> str:
        """The wrapped benchmark's; the rest is in the configuration."""
        return self.inner.digest()

    def account(self) -> dict[str, Any]:
        """The wrapped benchmark's, the problems, and the prompts and leftover problems of every k."""
        problems = list(self.inner.load())
        passes = {
            str(k): {
                "prompts": sum(1 for group in self._groups(problems, k) for _ in self._turns(group)),
                "leftover": len(problems) % k,
            }
            for k in range(self.config.k[0], self.config.k[1] + 1)
        }
        return {**account(self.inner), "problems": len(problems), "passes": passes, "leftover": self.config.leftover}

    def load(self) -> Iterator[Item]:
        """Yield the prompts, k by k."""
        problems = list(self.inner.load())
        for item in problems:
            if len(item.messages) != 1 or len(item.answers) != 1:
                raise RecipeError(
                    "multi wraps benchmarks that ask one problem in one turn", "set history: 0, or wrap another one"
                )
        least, most = self.config.k
        if most > len(problems):
            raise RecipeError(
                f"k is {most}, and the benchmark has {len(problems)} problems", "lower k, or ask more problems"
            )
        for k in range(least, most + 1):
            for group in self._groups(problems, k):
                for turned in self._turns(group):
                    yield self._joined(turned, k)

    def _groups(self, problems: list[Item], k: int) -> Iterator[list[Item]]:
        ordered = sorted(problems, key=lambda item: derive_seed("multi", self.config.seed, k, item.item_id))
        for start in range(0, len(ordered), k):
            group = ordered[start : start + k]
            if len(group) == k or self.config.leftover == "short":
                yield group

    def _turns(self, group: list[Item]) -> Iterator[list[Item]]:
        for turn in range(len(group) if self.config.design == "rotated" else 1):
            yield [*group[turn:], *group[:turn]]

    def _joined(self, group: list[Item], k: int) -> Item:
        ids = tuple(item.item_id for item in group)
        item_id = content_id("multi", str(k), *ids)
        if len(group) == 1:  # as training samples of one trace: no label
            return replace(group[0], item_id=item_id, part_ids=ids)
        question = labelled([(item.body or item.question).strip() for item in group])
        instruction = self.config.instruction
        if instruction is None:
            instruction = INSTRUCTIONS.get(self.grader, INSTRUCTIONS["other"])
        solutions = [item.solution for item in group]
        same = {item.subject for item in group}
        return Item(
            item_id=item_id, question=question,
            messages=(Message("user", f"{question}\n\n{instruction}" if instruction else question),),
            answers=tuple(item.answers[0] for item in group), part_ids=ids,
            solution=labelled([one for one in solutions if one is not None]) if None not in solutions else None,
            subject=same.pop() if len(same) == 1 else None,
            origins=tuple(origin for item in group for origin in item.origins),
        )  # fmt: skip
