"""What all sources of stored rows share: where their files are, and how they are read in chunks."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from long1k.chunks import RowChunk
from long1k.errors import DataError
from long1k.files import LocalFile, Place, find_files
from long1k.hub import HubData, fetch, hub_errors, resolve, stream
from long1k.jsonlines import MAX_ROW_BYTES, BadRow, expand_path
from long1k.readers import column_names, row_chunks
from long1k.rows import canonical_json
from long1k.sources.raw import RawTrace
from long1k.sources.shapes import Unusable
from long1k.tables import file_digest

_LOAD_ROWS = 256  # held at once by whoever reads row by row


class ReadConfig(BaseModel):
    """Where the rows are: files under ``path``, or a data set on the hub."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    default_repo: ClassVar[str | None] = None

    path: str | None = Field(
        default=None, description="file, folder or glob; ${VARIABLE} is taken from the environment"
    )
    hub: str | None = Field(
        default=None, description="OWNER/NAME of a data set on the hub; true: the one that the source is named after"
    )
    revision: str | None = Field(default=None, description="hub: branch, tag or commit; null: the newest")
    config: str | None = Field(default=None, description="hub: configuration of the data set")
    split: str = Field(default="train", description="hub: split of the data set")
    files: tuple[str, ...] | None = Field(
        default=None, description="hub: patterns of files, in place of config and split"
    )
    streaming: bool = Field(default=False, description="hub: read over the network, keep no copy")
    endpoint: str | None = Field(
        default=None, description="hub: another server; null: HF_ENDPOINT, else huggingface.co"
    )
    format: Literal["auto", "jsonl", "json", "csv", "parquet"] = Field(
        default="auto", description="what the files are, if their names do not say it"
    )
    max_row_bytes: int = Field(
        default=MAX_ROW_BYTES, ge=1, description="a longer line of JSON Lines is rejected without being held"
    )
    license: str | None = Field(default=None, description="licence of all rows, if no field holds it")
    limit: int | None = Field(default=None, ge=1, description="stored rows to read at most")

    @field_validator("hub", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        if value is True:
            if cls.default_repo is None:
                raise ValueError("hub: OWNER/NAME")
            return cls.default_repo
        return None if value is False else value

    @model_validator(mode="after")
    def _one_place(self) -> ReadConfig:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give exactly one of path and hub")
        stray = {"revision", "config", "split", "files", "streaming", "endpoint"} & self._given_for_hub()
        if self.path is not None and stray:
            raise ValueError(f"{', '.join(sorted(stray))}: for hub only, not for path")
        return self

    def _given_for_hub(self) -> set[str]:
        return {name for name, info in type(self).model_fields.items() if getattr(self, name) != info.default}


class Converter(Protocol):
    """Turns stored rows into raw traces; picklable."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """Names that it looks at; None: any."""
        ...

    @property
    def needs(self) -> tuple[tuple[str, ...], ...]:
        """Of each group at least one column must be there."""
        ...

    def __call__(self, row: dict[str, Any], key: str) -> list[RawTrace | BadRow]:
        """The traces of a row whose place in the source is ``key``.

        Raises:
            Unusable: the row has none, and why.
        """
        ...


@dataclass(frozen=True, slots=True)
class TraceChunk:
    """Stored rows of one or more files, (what goes before their numbers, rows), and what makes traces of them."""

    parts: tuple[tuple[str, RowChunk], ...]
    convert: Converter

    def load(self) -> Sequence[RawTrace | BadRow]:
        """Read and convert the rows."""
        found: list[RawTrace | BadRow] = []
        for prefix, rows in self.parts:
            for number, row in rows.rows():
                key = f"{prefix}{number}"
                if isinstance(row, BadRow):
                    found.append(replace(row, source_row=key))
                    continue
                try:
                    found.extend(self.convert(row, key))
                except Unusable as error:
                    found.append(error.row(key, row))
        return found


class TabularSource:
    """A source of stored rows; a named one adds its ``converter`` and its ``patterns`` on the hub."""

    Config: ClassVar[type[ReadConfig]] = ReadConfig
    kind: ClassVar[str] = "files"

    def __init__(self, config: Any) -> None:
        self.config = config
        self.path: Path | None = None if config.path is None else expand_path(config.path)

    def converter(self) -> Converter:
        """What makes traces of this source's rows."""
        raise NotImplementedError

    def patterns(self) -> tuple[str, ...] | None:
        """Files to read from the hub; None: as the data set's card says."""
        files: tuple[str, ...] | None = self.config.files
        return files

    def describe(self) -> str:
        """One line for progress and summaries."""
        place = self.path.name if self.path is not None else self.config.hub
        return f"{self.kind} {place}"[:79]

    def digest(self) -> str:
        """SHA-256 of the file; of several, of their names and digests; on the hub, of commit and files.

        Files are hashed anew every time.

        Raises:
            DataError: there are no files.
        """
        if self.path is None:
            data = self._data
            return hashlib.sha256(canonical_json([data.repo, data.commit, data.files]).encode()).hexdigest()
        files = find_files(self.path)
        if self.path.is_file():
            return file_digest(self.path)
        digests = [(file.name, file_digest(Path(file.path))) for file in files]
        return hashlib.sha256(canonical_json(digests).encode()).hexdigest()

    def load(self) -> Iterator[RawTrace | BadRow]:
        """Yield every row once; rows that cannot be used come as BadRow."""
        for chunk in self.chunks(_LOAD_ROWS):
            yield from chunk.load()

    def chunks(self, size: int) -> Iterator[TraceChunk]:
        """All stored rows once, in order, at most ``size`` a chunk.

        Raises:
            DataError: a file is broken, or lacks a column that every row needs.
        """
        convert, left = self.converter(), self.config.limit
        parts: list[tuple[str, RowChunk]] = []
        held = 0
        with nullcontext() if self.path is not None else hub_errors(self.config.hub):
            places = self._places()
            for place in places:
                self._check_columns(place, convert)
                prefix = f"{place.name}:" if len(places) > 1 else ""
                for rows in row_chunks(
                    place,
                    size,
                    wanted=self.config.format,
                    limit=left,
                    columns=convert.columns,
                    max_row_bytes=self.config.max_row_bytes,
                ):
                    if held + rows.num_rows > size:
                        yield TraceChunk(tuple(parts), convert)
                        parts, held = [], 0
                    parts.append((prefix, rows))
                    held += rows.num_rows
                    left = None if left is None else left - rows.num_rows
                if left is not None and left <= 0:
                    break
        if parts:
            yield TraceChunk(tuple(parts), convert)

    @cached_property
    def _data(self) -> HubData:
        c = self.config
        return resolve(
            c.hub,
            revision=c.revision,
            config=c.config,
            split=c.split,
            patterns=self.patterns(),
            endpoint=c.endpoint,
        )

    def _places(self) -> Sequence[Place]:
        if self.path is not None:
            return find_files(self.path)
        found: Sequence[LocalFile] | Sequence[Place] = (
            stream(self._data) if self.config.streaming else fetch(self._data)
        )
        return found

    def _check_columns(self, place: Place, convert: Converter) -> None:
        names = column_names(place, self.config.format)
        for group in convert.needs if names is not None else ():
            if names is not None and not set(group) & set(names):
                wanted = " or ".join(f"'{name}'" for name in group[:4])
                close = difflib.get_close_matches(group[0], names, 1, cutoff=0.5)
                hint = f"did you mean '{close[0]}'? " if close else ""
                raise DataError(f"{place.label} has no column {wanted}", f"{hint}its columns: {', '.join(names)}")
