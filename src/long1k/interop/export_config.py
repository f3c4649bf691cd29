"""How a table of samples is written for another trainer: the format, its columns, what is said beside the rows."""

from __future__ import annotations

import difflib
from typing import Any, Literal, get_args

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from long1k.errors import RecipeError
from long1k.interop.formats import PROVENANCE
from long1k.rows import Example, schema_of
from long1k.tables import PART_ROWS

Format = Literal["parquet", "jsonl", "prompt-completion", "messages", "sharegpt", "alpaca", "llamafactory", "tokenized"]
FORMATS: tuple[str, ...] = get_args(Format)

_TURNS = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
_SHAREGPT = (
    ("system", pa.string()),
    ("conversations", pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))),
)
_COLUMNS: dict[str, tuple[tuple[str, pa.DataType], ...]] = {
    "prompt-completion": (("prompt", _TURNS), ("completion", _TURNS)),
    "messages": (("messages", _TURNS),),
    "sharegpt": _SHAREGPT,
    "llamafactory": _SHAREGPT,
    "alpaca": (
        ("system", pa.string()), ("history", pa.list_(pa.list_(pa.string()))), ("instruction", pa.string()),
        ("input", pa.string()), ("output", pa.string()),
    ),
    "tokenized": (("input_ids", pa.list_(pa.int32())), ("labels", pa.list_(pa.int32())), ("length", pa.int32())),
}  # fmt: skip

# Only where they are needed: collators that pad ids and labels do not know what to do with positions.
_APART = (("lengths", pa.list_(pa.int32())), ("position_ids", pa.list_(pa.int32())))


class ExportConfig(BaseModel):
    """How a table of samples is written."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Format
    provenance: bool = Field(default=True, description=f"a column '{PROVENANCE}' with what the format has no place for")
    template: str | None = Field(default=None, description="LLaMA-Factory's template; null finds it by rendering")
    rows_per_file: int = Field(default=PART_ROWS, ge=1, description="samples read for each file")
    training: dict[str, Any] | None = Field(
        default=None, description="a recipe's train with model and seed, for LLaMA-Factory's training file"
    )


def export_config(format_name: str, provenance: bool | None = None, **more: Any) -> ExportConfig:
    """A configuration; provenance defaults to on, but for token ids, whose readers want numbers only.

    Raises:
        RecipeError: unknown format.
    """
    if format_name not in FORMATS:
        close = difflib.get_close_matches(format_name.lower(), FORMATS, 1, cutoff=0.4)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise RecipeError(f"unknown format '{format_name}'", f"{hint}known: {', '.join(FORMATS)}")
    if more.get("template") is not None and format_name != "llamafactory":
        raise RecipeError("--template goes with --format llamafactory only", "leave it out")
    if more.get("training") is not None and format_name != "llamafactory":
        raise RecipeError("--recipe goes with --format llamafactory only", "leave it out")
    on = format_name != "tokenized" if provenance is None else provenance
    return ExportConfig(format=format_name, provenance=on, **more)  # type: ignore[arg-type]


def row_schema(config: ExportConfig, several: bool = False) -> pa.Schema:
    """The columns of an export; for JSON Lines they go into the card, as types cannot be told from early rows alone.

    Args:
        several: rows may hold more than one conversation: token ids then say where each begins.
    """
    if config.format in ("parquet", "jsonl"):
        return schema_of(Example)
    carried = [(PROVENANCE, pa.string())] if config.provenance else []
    apart = _APART if several and config.format == "tokenized" else ()
    return pa.schema([("id", pa.string()), *_COLUMNS[config.format], *apart, *carried])
