"""Files of other tools read in bounded memory: JSON arrays item by item, JSON Lines, members of a zip archive."""

from __future__ import annotations

import codecs
import gzip
import json
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pyarrow as pa

from long1k.errors import DataError
from long1k.jsonlines import BOM, MAX_ROW_BYTES, BadRow, after_space, parse_line, read_json_lines

MAX_MEMBER_BYTES = 256 << 20
"""A member of an archive, or a JSON document, that unpacks to more is refused."""
MAX_MEMBERS = 1_000_000
_BLOCK = 1 << 20
# Only where an item ends is asked, so numbers of any length do no harm here; parse_line reads it afterwards.
_SCAN = json.JSONDecoder(parse_int=len, parse_float=len, parse_constant=len)
_ZSTD = 93  # method number in zip archives


def first_bytes(path: Path, count: int = 4096) -> bytes:
    """The beginning of a file, unpacked if it is gzip, without a byte order mark.

    Raises:
        DataError: there is no such file, or it cannot be read.
    """
    if not path.is_file():
        raise DataError(f"there is no file {path}", "check the path")
    try:
        with _open(path) as handle:
            return handle.read(count).removeprefix(BOM)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}", "fetch the file again") from None


def _open(path: Path) -> IO[bytes]:
    with path.open("rb") as handle:
        packed = handle.read(2) == b"\x1f\x8b"
    return gzip.open(path, "rb") if packed else path.open("rb")  # type: ignore[return-value]


def read_objects(path: Path, max_row_bytes: int = MAX_ROW_BYTES) -> Iterator[tuple[str, dict[str, Any] | BadRow]]:
    """(row number from 1, object or bad row) of a JSON array or of JSON Lines; neither is ever held whole.

    Raises:
        DataError: the file is missing, no array to its end, or has an item above ``max_row_bytes``.
    """
    if first_bytes(path).lstrip()[:1] == b"[":
        yield from _array(path, max_row_bytes)
        return
    for number, row in read_json_lines(path, max_row_bytes):
        yield str(number), row


def _array(path: Path, max_row_bytes: int) -> Iterator[tuple[str, dict[str, Any] | BadRow]]:
    number = 0
    try:
        with _open(path) as handle:
            for number, text in enumerate(_items(handle, max_row_bytes), 1):
                yield str(number), parse_line(text.encode("utf-8", "surrogateescape"), number, max_row_bytes)
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} is no whole JSON array: after row {number:,}: {error}", "fetch the file again"
        ) from None


def _items(handle: IO[bytes], max_row_bytes: int) -> Iterator[str]:
    """The texts of an array's items; the buffer holds one item and a block."""
    decode = codecs.getincrementaldecoder("utf-8")("surrogateescape").decode
    text = decode(handle.read(_BLOCK).removeprefix(BOM))
    at = after_space(text, 0) + 1  # behind the [
    wanted, before_first = _BLOCK, True
    while True:
        at = after_space(text, at)
        if before_first and text.startswith("]", at):
            break
        try:
            end = _SCAN.raw_decode(text, at)[1]
            behind = after_space(text, end)
        except ValueError:
            behind = len(text)
        if behind == len(text):  # the item, or what follows it, is not whole yet
            if len(text) - at > max_row_bytes:
                raise ValueError(f"an item of more than {max_row_bytes:,} characters")
            block = handle.read(wanted)
            if not block:
                raise ValueError("the file ends within an item, or before the closing ]")
            wanted *= 2
            text, at = text[at:] + decode(block), 0
            continue
        yield text[at:end]
        before_first, wanted = False, _BLOCK
        if text[behind] == "]":
            at = behind
            break
        if text[behind] != ",":
            raise ValueError(f"{text[behind]!r} where , or ] must stand")
        at = behind + 1
    if (text[at + 1 :] + decode(handle.read(_BLOCK))).strip(" \t\r\n"):
        raise ValueError("text after the closing ]")


class Archive:
    """A zip archive of JSON members, each unpacked within a limit.

    Reads stored, deflated and Zstandard members; nothing is ever written to the disk.

    Raises:
        DataError: the file is no zip archive, or has absurdly many members.
    """

    def __init__(self, path: Path, max_bytes: int = MAX_MEMBER_BYTES) -> None:
        self.path, self.max_bytes = path, max_bytes
        try:
            self._zip = zipfile.ZipFile(path)
        except (OSError, zipfile.BadZipFile, ValueError) as error:
            raise DataError(f"{path} is no zip archive: {error}", "fetch the file again") from None
        self.names = [one.filename for one in self._zip.infolist()]
        if len(self.names) > MAX_MEMBERS:
            raise DataError(f"{path} has {len(self.names):,} members", "no log has so many: fetch the file again")

    def read(self, name: str) -> bytes:
        """The bytes of a member.

        Raises:
            ValueError: it unpacks to more than the limit (a zip bomb), or is damaged.
        """
        info = self._zip.getinfo(name)
        if info.flag_bits & 1:
            raise ValueError(f"{name} is encrypted")
        if info.file_size > self.max_bytes:
            raise ValueError(f"{name} unpacks to {info.file_size:,} bytes, more than {self.max_bytes:,}")
        try:
            data = self._zstd(info) if info.compress_type == _ZSTD else self._other(info)
        except (OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, pa.ArrowException) as error:
            raise ValueError(f"{name} is damaged: {error}") from None
        if len(data) > self.max_bytes:
            raise ValueError(f"{name} unpacks to more than {self.max_bytes:,} bytes")
        if zlib.crc32(data) != info.CRC:
            raise ValueError(f"{name} is damaged: its checksum is another one")
        return data

    def _other(self, info: zipfile.ZipInfo) -> bytes:
        with self._zip.open(info) as handle:
            return handle.read(self.max_bytes + 1)

    def _zstd(self, info: zipfile.ZipInfo) -> bytes:
        """Python's zipfile knows no Zstandard before 3.14: the member's bytes are found by its local header."""
        with self.path.open("rb") as handle:
            handle.seek(info.header_offset)
            header = handle.read(30)
            if header[:4] != b"PK\x03\x04":
                raise ValueError(f"{info.filename} has no header")
            skip = int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
            handle.seek(skip, 1)
            packed = handle.read(info.compress_size)
        with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
            return bytes(stream.read(self.max_bytes + 1))

    def close(self) -> None:
        """Close the file."""
        self._zip.close()
