"""Traces from JSON Lines, JSON, CSV or Parquet files of any data set, with a mapping from our fields to theirs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from long1k.sources.shapes import FIELDS, FieldMap
from long1k.sources.tabular import ReadConfig, TabularSource


class FilesConfig(ReadConfig):
    """Which files to read, what their rows look like, and what their fields are called."""

    shape: Literal["auto", "qa", "messages", "sharegpt", "alpaca"] = Field(
        default="auto", description="qa: question and response in fields of their own; auto: seen row by row"
    )
    fields: dict[str, str] = Field(default_factory=dict, description="our field -> theirs, e.g. question: problem")
    teacher: str | None = Field(default=None, description="teacher model of all rows, if no field holds it")
    tags: Literal["auto", "required"] = Field(
        default="auto",
        description="auto: untagged text is split at its final answer; required: thinking must be closed by a tag",
    )

    @field_validator("fields")
    @classmethod
    def _known(cls, value: dict[str, str]) -> dict[str, str]:
        unknown = set(value) - set(FIELDS)
        if unknown:
            raise ValueError(f"unknown field {sorted(unknown)}; known: {', '.join(FIELDS)}")
        return value


class FilesSource(TabularSource):
    """Reads traces from files of any of the known shapes, on this machine or on the hub."""

    Config = FilesConfig

    def converter(self) -> FieldMap:
        """The mapping of the configuration."""
        c = self.config
        return FieldMap(tuple(c.fields.items()), c.shape, c.teacher, c.license, c.tags)
