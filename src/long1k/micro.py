"""The micro-world: procedural problems with solver-written traces, for laptops and tests.

An operation on 16 symbols is a random table of 256 facts.  A problem applies it one or
more times, ``a⊕f⊕c``; a trace works from left to right, sometimes stops to check a step,
and boxes the last symbol.  Every answer can be verified, the number of steps is the
difficulty, and a model knows an operation exactly as far as it has met its facts.
"""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from long1k.rows import derive_seed

SYMBOLS = "abcdefghijklmnop"
OPERATOR = "⊕"
CHECK = "Wait, check: "
OPENING = "Let me see. "
LINKERS = ("Next, ", "Now, ", "Then, ")
CARRIED = "Answer "
Detail = Literal["answer", "steps", "checked", "twice"]
"""How much a solution says: the result alone, a fact a step, each fact looked at twice, and all of it once more."""


@lru_cache(maxsize=16)
def operation_table(operation: int) -> dict[tuple[str, str], str]:
    """The 256 facts of an operation: (left, right) -> result."""
    rng = random.Random(derive_seed("micro-operation", operation))
    return {(left, right): rng.choice(SYMBOLS) for left in SYMBOLS for right in SYMBOLS}


@dataclass(frozen=True, slots=True)
class MicroProblem:
    """Symbols to be combined from left to right under one operation."""

    operation: int
    symbols: tuple[str, ...]

    @property
    def question(self) -> str:
        """The problem as it is asked."""
        return OPERATOR.join(self.symbols)

    def solve(self) -> list[str]:
        """The result after each step; the last is the answer."""
        table, results = operation_table(self.operation), []
        current = self.symbols[0]
        for symbol in self.symbols[1:]:
            current = table[current, symbol]
            results.append(current)
        return results

    @property
    def is_test(self) -> bool:
        """Whether this problem belongs to the held-out quarter, by a hash of its content."""
        return derive_seed("micro-split", self.question) % 4 == 0


def draw_problem(rng: random.Random, operation: int, steps: tuple[int, int], split: str = "all") -> MicroProblem:
    """A random problem of the wanted split."""
    while True:
        num_steps = rng.randint(*steps)
        problem = MicroProblem(operation, tuple(rng.choice(SYMBOLS) for _ in range(num_steps + 1)))
        if split == "all" or problem.is_test == (split == "test"):
            return problem


@lru_cache(maxsize=8)
def count_problems(steps: int, split: str) -> int:
    """Number of different problems of so many steps in a split; beyond three steps an estimate is enough."""
    if steps > 3:
        return int(16 ** (steps + 1) // 8)
    problems = (MicroProblem(0, symbols) for symbols in itertools.product(SYMBOLS, repeat=steps + 1))
    return sum(problem.is_test == (split == "test") for problem in problems)


def facts(problem: MicroProblem) -> list[str]:
    """The facts that a problem needs, in order: ``a⊕f=k.``"""
    results = problem.solve()
    lefts = [problem.symbols[0], *results]
    return [f"{left}{OPERATOR}{s}={r}." for left, s, r in zip(lefts, problem.symbols[1:], results, strict=False)]


def write_thinking(problem: MicroProblem, rng: random.Random, check: float, opening: float = 0.0) -> str:
    """A solver's thinking: one fact a step; with chance ``check`` the last one is looked at twice."""
    lines = [OPENING.strip()] if rng.random() < opening else []
    lines += facts(problem)
    if rng.random() < check:
        lines.append(CHECK + lines[-1])
    return " ".join(lines)


def write_detailed(problem: MicroProblem, detail: Detail) -> str:
    """The same problem's thinking, shorter or longer."""
    steps = facts(problem)
    if detail == "answer":
        return f"{problem.question}={problem.solve()[-1]}."
    if detail == "steps":
        return " ".join(steps)
    checked = [line for fact in steps for line in (fact, CHECK + fact)]
    return " ".join(checked if detail == "checked" else [*checked, OPENING.strip(), *steps])
