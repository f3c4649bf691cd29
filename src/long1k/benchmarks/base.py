"""What a benchmark is: items, each a prompt with one or more gold answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel

from long1k.rows import Message

BOXED_INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt.

    ``question`` is the problem as its source has it, without instructions.  ``part_ids`` are the ids of the
    problems asked together (empty: the item is its one problem), ``solution`` is what the source gives as a
    model solution, if it does.
    """

    item_id: str
    question: str
    messages: tuple[Message, ...]
    answers: tuple[str, ...]
    part_ids: tuple[str, ...] = ()
    solution: str | None = None
    subject: str | None = None
    level: str | None = None


class Benchmark(Protocol):
    """A list of items and the grader that judges answers to them."""

    Config: ClassVar[type[BaseModel]]
    grader: str

    @property
    def config(self) -> BaseModel:
        """The validated configuration it was made from."""
        ...

    def digest(self) -> str:
        """A digest of what the items are made from."""
        ...

    def load(self) -> Iterator[Item]:
        """Yield every item once, in a fixed order."""
        ...


class BenchmarkFactory(Protocol):
    """The class behind a name in ``BENCHMARKS``."""

    Config: ClassVar[type[BaseModel]]

    def __call__(self, config: Any) -> Benchmark:
        """Make the benchmark from its validated configuration."""
        ...
