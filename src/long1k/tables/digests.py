"""Digests of values, files and tables: the same content gives the same digest in any layout."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from long1k.rows import canonical_json


def digest_json(value: Any) -> str:
    """SHA-256 of a value's canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode("utf-8", "surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _hash_array(array: pa.Array, hasher: Any) -> None:
    """Feed an array's values, independent of its offsets, padding and null storage."""
    # A list's inner field is called "item" in memory and "element" in Parquet: its name is no content.
    kind = "list" if pa.types.is_list(array.type) else "struct" if pa.types.is_struct(array.type) else str(array.type)
    hasher.update(f"{kind}|{len(array)}|".encode())
    if array.null_count:
        valid = np.asarray(array.is_valid().to_numpy(zero_copy_only=False), dtype=bool)
        hasher.update(np.packbits(valid).tobytes())
    if pa.types.is_list(array.type):
        lengths = pc.list_value_length(array).fill_null(0)
        hasher.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        _hash_array(array.flatten(), hasher)
    elif pa.types.is_struct(array.type):
        for child in array.flatten():
            _hash_array(child, hasher)
    elif pa.types.is_string(array.type) or pa.types.is_binary(array.type) or pa.types.is_fixed_size_binary(array.type):
        whole = array.cast(pa.binary()) if pa.types.is_fixed_size_binary(array.type) else array
        filled = whole.fill_null(b"" if pa.types.is_binary(whole.type) else "") if array.null_count else whole
        lengths = pc.binary_length(filled)
        hasher.update(lengths.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        data, offsets = filled.buffers()[2], np.frombuffer(filled.buffers()[1], "<i4")[filled.offset :]
        if data is not None and len(filled):
            hasher.update(memoryview(data)[int(offsets[0]) : int(offsets[len(filled)])])
    elif pa.types.is_boolean(array.type):
        hasher.update(np.asarray(array.fill_null(False).to_numpy(zero_copy_only=False), dtype=bool).tobytes())
    else:
        hasher.update(array.fill_null(0).to_numpy(zero_copy_only=False).tobytes())


def content_digest(table: pa.Table) -> str:
    """SHA-256 of a table's values: the same rows give the same digest in any file layout."""
    hasher = hashlib.sha256()
    for name in table.column_names:
        hasher.update(name.encode())
        combined = table.column(name).combine_chunks()
        if isinstance(combined, pa.ChunkedArray):  # an empty column, or one over 2 GB
            for chunk in combined.chunks or [pa.array([], combined.type)]:
                _hash_array(chunk, hasher)
        else:
            _hash_array(combined, hasher)
    return hasher.hexdigest()
