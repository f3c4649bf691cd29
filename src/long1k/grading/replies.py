"""Questions to a model that judges, and its replies, kept by content: the same question is never asked twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from long1k.errors import DataError, EngineError
from long1k.rows import Message, canonical_json


@dataclass(frozen=True, slots=True)
class Query:
    """One question to the judging model, and how its reply is drawn."""

    messages: tuple[Message, ...]
    temperature: float
    top_p: float
    max_tokens: int
    seed: int


Told = Callable[[int, str | None], None]
"""Is told the number of a query and its reply (None: the engine failed), as soon as there is one."""


class Asker(Protocol):
    """A running engine that answers queries."""

    def ask(self, queries: Sequence[Query], told: Told) -> None:
        """Answer every query, in any order."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


AskStarter = Callable[[], Asker]


class Replies:
    """Replies by content: from a file of JSON lines, and from the model for those that are not in it.

    A reply is written as soon as it is there, so that a kill loses what is in flight only.

    Args:
        start: reaches the model, at the first query without a reply.
        path: the file; may be shared by runs, since a reply is found by the query and by the engine.
        engine: what of the engine can change a reply.
    """

    def __init__(self, start: AskStarter, path: Path, engine: Mapping[str, Any]) -> None:
        self._start, self._path = start, path
        self._engine = canonical_json(dict(engine))
        self._known: dict[str, str] = {}
        self._asker: Asker | None = None
        if path.is_dir():
            raise DataError(f"{path} is a folder", "name a file with --judge-cache")
        if path.is_file():
            self._load()

    def _load(self) -> None:
        """Read what is there; a torn line is passed over, so that a kill, or a second writer, costs one reply only."""
        lines = bad = 0
        with self._path.open("rb") as handle:
            for line in handle:
                lines += 1
                try:
                    values = json.loads(line)
                    key, reply = values["key"], values["reply"]
                except (ValueError, KeyError, TypeError, RecursionError):
                    bad += 1
                    continue
                if isinstance(key, str) and isinstance(reply, str):
                    self._known[key] = reply
                else:
                    bad += 1
        if bad and bad == lines and lines > 1:
            raise DataError(
                f"{self._path} holds no replies of a judge", "name another file with --judge-cache, or leave it out"
            )

    def key(self, query: Query) -> str:
        """The content of a query as one word."""
        text = self._engine + canonical_json(asdict(query))
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def get(self, queries: Sequence[Query]) -> list[str]:
        """One reply a query, in order.

        Raises:
            EngineError: the model gave no reply to some; all others are kept.
        """
        keys = [self.key(query) for query in queries]
        missing = {key: query for key, query in zip(keys, queries, strict=True) if key not in self._known}
        if missing:
            self._ask(missing)
        failed = sum(key not in self._known for key in missing)
        if failed:
            raise EngineError(
                f"the judge gave no reply to {failed:,} of {len(missing):,} questions",
                f"the other replies are kept in {self._path}: mend the engine and run the same command again",
            )
        return [self._known[key] for key in keys]

    def _ask(self, missing: Mapping[str, Query]) -> None:
        if self._asker is None:
            self._asker = self._start()
        keys = list(missing)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        torn = not _ends_with_a_line(self._path)
        with self._path.open("a", encoding="utf-8") as handle:
            if torn:
                handle.write("\n")

            def told(number: int, reply: str | None) -> None:
                if reply is not None and keys[number] not in self._known:
                    self._known[keys[number]] = reply
                    handle.write(json.dumps({"key": keys[number], "reply": reply}) + "\n")
                    handle.flush()

            self._asker.ask(list(missing.values()), told)

    def close(self) -> None:
        """Free the engine, if it was ever started."""
        if self._asker is not None:
            self._asker.close()
            self._asker = None


def _ends_with_a_line(path: Path) -> bool:
    if not path.is_file() or not path.stat().st_size:
        return True
    with path.open("rb") as handle:
        handle.seek(-1, 2)
        return handle.read(1) == b"\n"
