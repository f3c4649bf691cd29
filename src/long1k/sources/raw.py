"""What a source yields, before anything is checked: a raw trace (or a ``BadRow``)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel

from long1k.jsonlines import BadRow


@dataclass(frozen=True, slots=True)
class RawTrace:
    """A solved problem as its source has it.

    Either ``response`` holds the whole output (tags and all), or ``thinking`` and
    ``solution`` are given apart.  ``tags`` says whether a response must close its thinking by a
    tag (``required``) or may be split at its final answer (``auto``).  ``correct`` is the
    verdict that the source itself gives.  ``gold_parts`` holds the answers of a question in several
    parts, in order; ``answer`` is then their text in one.
    """

    source_row: str
    question: str
    answer: str | None
    thinking: str | None
    solution: str | None
    response: str | None
    teacher: str | None
    subject: str | None
    difficulty: float | None
    difficulty_origin: str | None
    license: str | None
    tags: str = "auto"
    correct: bool | None = None
    gold_parts: tuple[str, ...] = ()


class Chunk(Protocol):
    """Some rows of a source that a worker can read on its own; small enough to be sent to it."""

    def load(self) -> Sequence[RawTrace | BadRow]:
        """The rows, in the source's order."""
        ...


@dataclass(frozen=True, slots=True)
class RowsChunk:
    """Rows that were read already."""

    rows: tuple[RawTrace | BadRow, ...]

    def load(self) -> Sequence[RawTrace | BadRow]:
        """The rows themselves."""
        return self.rows


def chunks_of(source: Source, size: int) -> Iterator[Chunk]:
    """A source in chunks of ``size`` rows: its own, if it can make them, else what ``load`` yields."""
    own = getattr(source, "chunks", None)
    if own is not None:
        yield from own(size)
        return
    rows = iter(source.load())
    while taken := tuple(islice(rows, size)):
        yield RowsChunk(taken)


class Source(Protocol):
    """Where traces come from.  Made from its own strict ``Config``."""

    Config: ClassVar[type[BaseModel]]

    @property
    def config(self) -> BaseModel:
        """The validated configuration it was made from."""
        ...

    def describe(self) -> str:
        """One line for progress and summaries."""
        ...

    def digest(self) -> str:
        """A digest of what will be read, so that a changed file is noticed."""
        ...

    def load(self) -> Iterator[RawTrace | BadRow]:
        """Yield every row once, in a fixed order."""
        ...


class SourceFactory(Protocol):
    """The class behind a name in ``SOURCES``."""

    Config: ClassVar[type[BaseModel]]

    def __call__(self, config: Any) -> Source:
        """Make the source from its validated configuration."""
        ...
