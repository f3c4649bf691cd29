"""Which files a path means, what each of them holds, and how to open it; bad rows are not known here."""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

import pyarrow as pa

from long1k.errors import DataError

# In a folder the first kind that is there is read: data sets often keep small notes in .json beside the rows.
_KINDS = {
    "parquet": (".parquet", ".pq"),
    "jsonl": (".jsonl", ".ndjson"),
    "csv": (".csv", ".tsv"),
    "json": (".json",),
}
_COMPRESSED = {".gz": "gzip", ".zst": "zstd"}
_MAGIC = {b"\x1f\x8b\x08": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}
_BUFFER = 1 << 20


class Place(Protocol):
    """A file somewhere; small, picklable, and opened by whoever reads it."""

    @property
    def name(self) -> str:
        """Its name within the source, with / between folders."""
        ...

    @property
    def label(self) -> str:
        """What errors call it."""
        ...

    @property
    def near(self) -> bool:
        """Whether several processes may read parts of it at no cost."""
        ...

    def open(self) -> IO[bytes]:
        """Its bytes as stored, seekable."""
        ...


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file on a disk."""

    path: str
    name: str
    near: bool = True

    @property
    def label(self) -> str:
        """Its path."""
        return self.path

    def open(self) -> IO[bytes]:
        """Its bytes as stored."""
        return open(self.path, "rb", buffering=_BUFFER)


def kind_of_name(name: str) -> tuple[str | None, str | None]:
    """(format, compression) that a file name states; None where it states none."""
    path = PurePosixPath(name.lower())
    compression = _COMPRESSED.get(path.suffix)
    suffix = PurePosixPath(path.stem).suffix if compression else path.suffix
    return next((kind for kind, suffixes in _KINDS.items() if suffix in suffixes), None), compression


def prefer_one_kind(names: list[str]) -> list[str]:
    """Of the names those with rows: all Parquet files, else all JSON Lines, else CSV, else JSON."""
    kinds = {name: kind_of_name(name)[0] for name in names}
    for kind in _KINDS:
        if chosen := sorted(name for name in names if kinds[name] == kind):
            return chosen
    return []


def find_files(path: Path) -> list[LocalFile]:
    """The files that a file, a folder or a glob stands for, sorted by name.

    Hidden files and folders are left out.  A folder is read through all its subfolders.

    Raises:
        DataError: there is no such file, or nothing in it that can be read.
    """
    if path.is_file():
        return [LocalFile(str(path), path.name)]
    if path.is_dir():
        names = [name for file in path.rglob("*") if file.is_file() and not _hidden(name := _below(file, path))]
        if not (chosen := prefer_one_kind(names)):
            raise DataError(
                f"the folder {path} holds no file with rows",
                "it needs .jsonl, .json, .parquet or .csv files (.gz, .zst)",
            )
        return [LocalFile(str(path / name), name) for name in chosen]
    if any(character in str(path) for character in "*?["):
        parts = path.parts
        fixed = next(i for i, part in enumerate(parts) if any(character in part for character in "*?["))
        root, pattern = Path(*parts[:fixed]) if fixed else Path(), PurePosixPath(*parts[fixed:]).as_posix()
        try:
            names = [_below(file, root) for file in root.glob(pattern) if file.is_file()]
        except ValueError as error:
            raise DataError(f"{path} is no pattern of files: {error}", "write ** between two slashes") from None
        found = sorted(name for name in names if _hidden(pattern) or not _hidden(name))
        if not found:
            raise DataError(f"no file matches {path}", "check the path; ** goes through folders")
        return [LocalFile(str(root / name), name) for name in found]
    raise DataError(f"there is no file {path}", "check the path")


def _below(file: Path, folder: Path) -> str:
    return file.relative_to(folder).as_posix()


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in PurePosixPath(name).parts)


def look_at(place: Place, wanted: str = "auto") -> tuple[str, str | None]:
    """(format, compression) of a file: as its name says, checked against its first bytes.

    ``format`` is parquet, jsonl, csv or json (one array).

    Raises:
        DataError: the file is not what its name says, or a Git LFS pointer stands in its place.
    """
    kind, compression = kind_of_name(place.name)
    with reading(place, None), place.open() as handle:
        head = handle.read(64)
    if head.startswith(b"version https://git-lfs"):
        raise DataError(f"{place.label} is a Git LFS pointer, not the file itself", "git lfs pull")
    is_parquet = head.startswith(b"PAR1")
    if wanted != "auto":
        kind = wanted
    elif kind is None:
        kind = "parquet" if is_parquet else "jsonl"
    if kind == "parquet":
        if not is_parquet:
            raise DataError(
                f"{place.label} is not a Parquet file", "fetch the file again, or say what it is by format:"
            )
        return kind, None
    if is_parquet:
        raise DataError(f"{place.label} is a Parquet file", "give it the ending .parquet, or say format: parquet")
    inside = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), None)
    if inside is not None and compression is None:
        ending = next(suffix for suffix, name in _COMPRESSED.items() if name == inside)
        raise DataError(f"{place.label} is compressed ({inside})", f"give it the ending {ending}")
    if kind == "json":  # one array, or one object a line
        with reading(place, compression), open_plain(place, compression) as handle:
            while (head := handle.read(4096)) and not head.strip(b" \t\r\n\xef\xbb\xbf"):
                pass
            kind = "json" if head.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"[") else "jsonl"
    return kind, compression


@contextmanager
def open_plain(place: Place, compression: str | None) -> Iterator[IO[bytes]]:
    """The file's bytes, decompressed, with ``readline``; call it inside ``reading``."""
    with place.open() as raw:
        if compression is None:
            yield raw
        elif compression == "gzip":
            with gzip.open(raw, "rb") as unpacked:
                yield unpacked  # type: ignore[misc]
        else:
            stream: Any = pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")
            yield io.BufferedReader(stream, _BUFFER)


@contextmanager
def reading(place: Place, compression: str | None) -> Iterator[None]:
    """Turn what a broken or unreadable file raises into an error that says which file and what to do.

    Raises:
        DataError: always in place of the library's own.
    """
    try:
        yield
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{place.label} is not a whole gzip file: {error}", "fetch the file again") from None
    except pa.ArrowInvalid as error:
        raise DataError(f"{place.label} is not a whole Parquet file: {error}", "fetch the file again") from None
    except OSError as error:
        if compression == "zstd" and error.errno is None:
            raise DataError(f"{place.label} is not a whole zstd file: {error}", "fetch the file again") from None
        if error.errno is None:
            raise DataError(f"{place.label} cannot be read: {error}", "fetch the file again") from None
        raise DataError(f"cannot read {place.label}: {error.strerror or error}", "check its permissions") from None
