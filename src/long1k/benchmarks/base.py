"""What a benchmark is: items, each a prompt with one or more gold answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel

from long1k.benchmarks.origin import Origin
from long1k.rows import Message

BOXED_INSTRUCTION = "Please reason step by step, and put your final answer within \\boxed{}."
_WHERE = ("path", "endpoint")  # keys that say where rows lie; what they hold is in the digest


@dataclass(frozen=True, slots=True)
class Item:
    """One prompt.

    ``question`` is the problem as its source has it, without instructions.  ``part_ids`` are the ids of the
    problems asked together (empty: the item is its one problem), ``solution`` is what the source gives as a
    model solution, if it does.  ``body`` is what is asked without the instruction, where that is more than the
    question (options, a context); None: the question.  ``letters`` are those of the options that the problem
    shows, where its benchmark knows them; ``origins`` are the rows of its problems, where they came from rows.
    """

    item_id: str
    question: str
    messages: tuple[Message, ...]
    answers: tuple[str, ...]
    part_ids: tuple[str, ...] = ()
    solution: str | None = None
    subject: str | None = None
    level: str | None = None
    body: str | None = None
    letters: str | None = None
    origins: tuple[Origin, ...] = ()


class Benchmark(Protocol):
    """A list of items and the grader that judges answers to them.

    Two more attributes are looked for and may be missing: ``account()``, which says where the rows came from and how
    many were left out, and ``inner``, the benchmark that this one wraps.
    """

    Config: ClassVar[type[BaseModel]]

    @property
    def grader(self) -> str:
        """The name of the grader that judges its answers."""
        ...

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


def identity(benchmark: Benchmark) -> dict[str, Any]:
    """What of a benchmark's configuration can change its items, beside the digest of its rows."""

    def without_places(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: without_places(one) for key, one in value.items() if key not in _WHERE}
        return value

    made: dict[str, Any] = without_places(benchmark.config.model_dump(mode="json"))
    return made


def account(benchmark: Benchmark) -> dict[str, Any]:
    """Where a benchmark's rows came from and how many were left out, by reason; empty if it does not say."""
    told = getattr(benchmark, "account", None)
    return dict(told()) if told is not None else {}


def problems(benchmark: Benchmark) -> Iterator[Item]:
    """The single problems that a benchmark asks, also where it asks several in one prompt."""
    inner = getattr(benchmark, "inner", None)
    yield from (inner if inner is not None else benchmark).load()
