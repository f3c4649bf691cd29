"""What was drawn so far, one line a sample, appended as each is finished: a kill -9 loses only what is in flight.

Outputs stay in the file; memory holds where each of them stands.  (Sixty thousand outputs of ten thousand tokens are
some gigabytes there, and ten times as much as Python's numbers.)
"""

from __future__ import annotations

import json
from collections.abc import Iterator, KeysView
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from long1k.errors import DataError
from long1k.generation.budget import Sample

FILE = "samples.jsonl"


class Record:
    """The open file of samples; one that failed is never written, so that it is drawn again."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._places: dict[str, int] = {}
        self.served: set[str] = set()
        """The models of servers that drew them."""
        self._index()

    def _index(self) -> None:
        """Find every whole line; what a kill tore off at the end is removed, and a line that is damaged is left out."""
        self._handle.seek(0)
        place = 0
        for line in self._handle:
            if not line.endswith(b"\n"):
                self._handle.truncate(place)
                break
            try:
                values = json.loads(line)
                _sample(values)
                self._add_place(values, place)
            except (ValueError, KeyError, TypeError, AttributeError):
                pass  # drawn again
            place += len(line)
        self._end = place

    def _add_place(self, values: dict[str, Any], place: int) -> None:
        self._places.setdefault(values["key"], place)
        if values.get("served") is not None:
            self.served.add(values["served"])

    def __len__(self) -> int:
        return len(self._places)

    def __contains__(self, key: str) -> bool:
        return key in self._places

    def keys(self) -> KeysView[str]:
        """Keys of the samples that are there."""
        return self._places.keys()

    def add(self, sample: Sample, engine: str, served: str | None = None) -> None:
        """Append one finished sample and hand it to the operating system at once.

        Args:
            engine: its name and version.
            served: the model, as a server calls it.
        """
        if sample.error is not None:
            return
        values = {
            "key": sample.key, "ids": sample.token_ids, "finish_reason": sample.finish_reason,
            "flag": sample.budget_flag, "forced": sample.forced, "text": sample.text, "engine": engine,
            "served": served,
        }  # fmt: skip
        line = (json.dumps(values) + "\n").encode()
        self._handle.seek(self._end)
        self._handle.write(line)
        self._handle.flush()
        self._add_place(values, self._end)
        self._end += len(line)

    def read(self, key: str) -> tuple[Sample, str]:
        """One sample, and the engine that drew it."""
        self._handle.seek(self._places[key])
        values = json.loads(self._handle.readline())
        return _sample(values), values["engine"]


def _sample(values: dict[str, Any]) -> Sample:
    forced = [(int(start), int(end)) for start, end in values["forced"]]
    values["engine"].encode()
    return Sample(values["key"], list(values["ids"]), values["finish_reason"], values["flag"], forced, values["text"])


@contextmanager
def open_record(path: Path) -> Iterator[Record]:
    """The record of a folder, to be gone on with."""
    path.touch()
    with path.open("r+b") as handle:
        yield Record(handle)


def refuse_mix(record: Record, served: str | None, folder: Path) -> None:
    """Refuse to go on with another model than the one that drew what is there.

    Raises:
        DataError: with the names of both.
    """
    others = sorted(record.served - {served})
    if others and served is not None:
        raise DataError(
            f"{folder} holds outputs of {', '.join(others)}, and the server has {served} now",
            "serve that model again (--engine-option model=NAME says which), or name another folder with --out",
        )
