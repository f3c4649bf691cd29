"""Where a benchmark's rows lie, what their fields are called, how to ask, and which of them."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from long1k.benchmarks.base import BOXED_INSTRUCTION


class Subset(BaseModel):
    """Which questions to ask; a question without that field is not in the subset."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    subject: tuple[str, ...] | None = Field(default=None, description="only of these subjects")
    level: tuple[str, ...] | None = Field(default=None, description="only of these levels")

    @field_validator("subject", "level", mode="before")
    @classmethod
    def _texts(cls, value: object) -> object:
        if value is None:
            return None
        return tuple(str(one) for one in (value if isinstance(value, list | tuple) else [value]))


class StoredConfig(BaseModel):
    """Where the rows lie, what their fields are called, how to ask, and which of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    default_repo: ClassVar[str | None] = None
    default_config: ClassVar[str | None] = None
    default_split: ClassVar[str] = "test"

    path: str | None = Field(default=None, description="file, folder or glob; ${VARIABLE} from the environment")
    hub: str | None = Field(
        default=None, description="OWNER/NAME[@REVISION] on the hub; without path: the repository the benchmark has"
    )
    config: str | None = Field(default=None, description="hub: configuration of the data set")
    split: str | None = Field(default=None, description="hub: split of the data set")
    endpoint: str | None = Field(default=None, description="hub: another server; null: HF_ENDPOINT")
    format: Literal["auto", "jsonl", "json", "csv", "parquet"] = Field(
        default="auto", description="what the files are, if their names do not say it"
    )
    question: str | None = Field(default=None, description="name of the question's field; null: the usual ones")
    answer: str | None = Field(default=None, description="name of the gold answer's field; null: the usual ones")
    solution: str | None = Field(default=None, description="name of the worked solution's field")
    subject: str | None = Field(default=None, description="name of the subject's field")
    level: str | None = Field(default=None, description="name of the level's field")
    instruction: str = Field(default=BOXED_INSTRUCTION, description="put after the question, on a line of its own")
    grader: str | None = Field(default=None, description="another grader than the benchmark's own")
    subset: Subset = Subset()
    limit: int | None = Field(default=None, ge=1, description="questions to ask at most, from the first")

    @field_validator("hub", mode="before")
    @classmethod
    def _named(cls, value: object) -> object:
        return None if value in (True, False) else value

    @model_validator(mode="after")
    def _one_place(self) -> StoredConfig:
        if self.path is not None and self.hub is not None:
            raise ValueError("give one of path and hub, not both")
        if self.path is None and self.repository is None:
            raise ValueError(
                "give path: FILE, or hub: OWNER/NAME (on the command line --option path=FILE, or --option "
                "hub=OWNER/NAME)"
            )
        stray = [name for name in ("config", "split", "endpoint") if getattr(self, name) is not None]
        if self.path is not None and stray:
            raise ValueError(f"{', '.join(stray)}: for hub only, not for path")
        return self

    @property
    def repository(self) -> str | None:
        """OWNER/NAME of the data set on the hub, without the revision."""
        return (self.hub or self.default_repo or "").partition("@")[0] or None

    @property
    def revision(self) -> str | None:
        """Branch, tag or commit; None: the newest."""
        return (self.hub or "").partition("@")[2] or None
