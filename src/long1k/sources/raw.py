"""What a source yields, before anything is checked: raw traces (or ``BadRow``s), one by one or in chunks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel

from long1k.jsonlines import BadRow

_SHORT_ANSWER = 100


@dataclass(frozen=True, slots=True)
class RawTrace:
    """A solved problem as its source has it.

    Either ``response`` holds the whole output (tags and all), or ``thinking`` and
    ``solution`` are given apart.  ``tags`` says whether a response must close its thinking by a
    tag (``required``) or may be split at its final answer (``auto``).  ``correct`` is the
    verdict that the source itself gives.  ``gold_parts`` holds the answers of a question in several
    parts, in order; ``answer`` is then their text in one.  Where the source has no gold answer but a
    worked gold solution, that stands in ``gold_solution`` and ``answer`` is null.
    """

    source_row: str
    question: str
    answer: str | None = None
    thinking: str | None = None
    solution: str | None = None
    response: str | None = None
    teacher: str | None = None
    subject: str | None = None
    difficulty: float | None = None
    difficulty_origin: str | None = None
    license: str | None = None
    tags: str = "auto"
    correct: bool | None = None
    gold_parts: tuple[str, ...] = ()
    gold_solution: str | None = None


def gold_of(text: str | None) -> tuple[str | None, str | None]:
    """(answer, gold solution) of a gold text that may be either: a short line without a box is an answer."""
    if text is None or not text.strip():
        return None, None
    bare = text.strip()
    if len(bare) <= _SHORT_ANSWER and "\n" not in bare and "\\boxed" not in bare:
        return bare, None
    return None, text


class Source(Protocol):
    """Where traces come from.  Made from its own strict ``Config``.

    A source whose rows can be read in parallel has ``chunks`` too, see ``ChunkedSource``.
    """

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


class Chunk(Protocol):
    """Some rows of a source: picklable, cheap to make, read by whichever process calls ``load``."""

    def load(self) -> Sequence[RawTrace | BadRow]:
        """The rows, in order."""
        ...


class ChunkedSource(Source, Protocol):
    """A source that hands out its rows for others to read."""

    def chunks(self, size: int) -> Iterator[Chunk]:
        """All rows once, in the order of ``load``, at most ``size`` stored rows a chunk and at least one."""
        ...


class SourceFactory(Protocol):
    """The class behind a name in ``SOURCES``."""

    Config: ClassVar[type[BaseModel]]

    def __call__(self, config: Any) -> Source:
        """Make the source from its validated configuration."""
        ...


@dataclass(frozen=True, slots=True)
class RowsChunk:
    """Rows that were read already."""

    rows: tuple[RawTrace | BadRow, ...]

    def load(self) -> Sequence[RawTrace | BadRow]:
        """The rows."""
        return self.rows


def chunks_of(source: Source, size: int) -> Iterator[Chunk]:
    """A source's own chunks, or its rows by ``size`` if it has none."""
    own = getattr(source, "chunks", None)
    if own is not None:
        yield from own(size)
        return
    rows = source.load()
    while held := tuple(islice(rows, size)):
        yield RowsChunk(held)
