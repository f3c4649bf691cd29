"""The micro-world as a source of traces."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from long1k.jsonlines import BadRow
from long1k.micro import Detail, draw_problem, write_detailed, write_thinking
from long1k.rows import derive_seed
from long1k.sources.raw import RawTrace


class MicroConfig(BaseModel):
    """What to draw from the micro-world."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    operation: int = Field(default=1, ge=0, description="which random table; 0 is the base model's")
    count: int = Field(default=1000, ge=1, description="number of traces")
    steps: tuple[int, int] = Field(default=(2, 2), description="least and most operations a problem (difficulty)")
    check: float = Field(default=0.25, ge=0, le=1, description="chance of a 'wait, check' of the last step")
    opening: float = Field(default=0.0, ge=0, le=1, description="chance of an opening phrase")
    solutions: tuple[Detail, ...] = Field(
        default=(), description="each problem is solved once in every one of these ways; count counts the traces"
    )
    seed: int = Field(default=0, description="of the draw")
    split: str = Field(default="train", pattern="^(train|test|all)$", description="problems are split by content")


class MicroSource:
    """Draws traces from the micro-world."""

    Config = MicroConfig

    def __init__(self, config: MicroConfig) -> None:
        self.config = config

    def describe(self) -> str:
        """One line for progress and summaries."""
        return f"micro (operation {self.config.operation}, {self.config.count:,} traces)"

    def digest(self) -> str:
        """The source's content is decided by its configuration alone."""
        return "procedural-1"

    def load(self) -> Iterator[RawTrace | BadRow]:
        """Yield the traces in a fixed order."""
        for index in range(self.config.count):
            yield _trace(self.config, index)

    def chunks(self, size: int) -> Iterator[MicroChunk]:
        """Ranges of indices."""
        for start in range(0, self.config.count, size):
            yield MicroChunk(self.config, start, min(start + size, self.config.count))


@dataclass(frozen=True, slots=True)
class MicroChunk:
    """The traces from one index up to another."""

    config: MicroConfig
    start: int
    stop: int

    def load(self) -> Sequence[RawTrace | BadRow]:
        """Draw them."""
        return [_trace(self.config, index) for index in range(self.start, self.stop)]


def _trace(config: MicroConfig, index: int) -> RawTrace:
    """Row ``index``; it depends on (seed, index) alone.  Several solutions of a problem stand side by side."""
    number, way = divmod(index, max(1, len(config.solutions)))
    rng = random.Random(derive_seed("micro", config.seed, config.operation, config.split, number))
    problem = draw_problem(rng, config.operation, config.steps, config.split)
    answer = problem.solve()[-1]
    if config.solutions:
        thinking = write_detailed(problem, config.solutions[way])
    else:
        thinking = write_thinking(problem, rng, config.check, config.opening)
    return RawTrace(
        source_row=str(index),
        question=problem.question,
        answer=answer,
        thinking=thinking,
        solution=f"\\boxed{{{answer}}}",
        teacher="micro-solver",
        subject=f"operation {config.operation}",
        difficulty=float(len(problem.symbols) - 1),
        difficulty_origin="steps",
        license="Apache-2.0",
    )
