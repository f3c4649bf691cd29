"""What was drawn so far, one line a sample, appended as each is finished: a kill -9 loses only what is in flight."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from long1k.generation.budget import Sample

FILE = "samples.jsonl"


def _line(sample: Sample, engine: str) -> str:
    values = {
        "key": sample.key, "ids": sample.token_ids, "finish_reason": sample.finish_reason,
        "flag": sample.budget_flag, "forced": sample.forced, "text": sample.text, "engine": engine,
    }  # fmt: skip
    return json.dumps(values) + "\n"


def _sample(values: dict[str, Any]) -> tuple[Sample, str]:
    forced = [(int(start), int(end)) for start, end in values["forced"]]
    sample = Sample(
        values["key"], values["ids"], values["finish_reason"], values["flag"], forced, values["text"]
    )  # fmt: skip
    return sample, values["engine"]


def read_record(path: Path) -> dict[str, tuple[Sample, str]]:
    """Finished samples and the engine that drew them, by key; a torn last line is cut off the file."""
    done: dict[str, tuple[Sample, str]] = {}
    if not path.is_file():
        return done
    good = 0
    with path.open("rb") as handle:
        for line in handle:
            if not line.endswith(b"\n"):
                break
            try:
                sample, engine = _sample(json.loads(line))
            except (ValueError, KeyError, TypeError):
                break
            done.setdefault(sample.key, (sample, engine))
            good += len(line)
    with path.open("r+b") as handle:
        handle.truncate(good)
    return done


class Record:
    """The open file of samples; one that failed is never written, so that it is drawn again."""

    def __init__(self, handle: IO[str], engine: str) -> None:
        self._handle, self._engine = handle, engine

    def add(self, sample: Sample) -> None:
        """Append one finished sample and hand it to the operating system at once."""
        if sample.error is None:
            self._handle.write(_line(sample, self._engine))
            self._handle.flush()


@contextmanager
def open_record(path: Path, engine: str) -> Iterator[Record]:
    """The record of a folder, to be gone on with."""
    with path.open("a", encoding="utf-8") as handle:
        yield Record(handle, engine)
