"""What benchmarks of stored rows share: how their rows are read, asked and counted."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from long1k.benchmarks import golds
from long1k.benchmarks.base import Item
from long1k.benchmarks.origin import Origin, own_id
from long1k.benchmarks.stored_config import StoredConfig
from long1k.errors import DataError
from long1k.files import LocalFile, Place, find_files
from long1k.hub import HubData, fetch, hub_errors, resolve
from long1k.jsonlines import BadRow, expand_path, unstorable
from long1k.readers import row_chunks
from long1k.rows import Message, canonical_json, content_id
from long1k.tables import file_digest

Row = dict[str, Any]
_KINDS: dict[type, str] = {
    list: "a list", tuple: "a list", dict: "an object", bool: "a truth value", int: "a number", float: "a number",
}  # fmt: skip
_ROWS = 1024  # held at once


@dataclass(frozen=True, slots=True)
class Asked:
    """One row, understood."""

    question: str
    gold: str
    body: str | None = None
    solution: str | None = None
    subject: str | None = None
    level: str | None = None
    letters: str | None = None


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A row that is not asked, and why."""

    reason: str


class StoredBenchmark:
    """Every row is asked, or left out for a stated reason; one that cannot be read stops the benchmark.

    A named benchmark says what its fields are called (``names``), and how a gold answer is found (``gold``) or a
    whole row read (``read``).
    """

    Config: ClassVar[type[StoredConfig]] = StoredConfig
    own_grader: ClassVar[str] = "math"
    withheld: ClassVar[bool] = False
    """Whether its authors ask that questions are not shown in public."""
    names: ClassVar[dict[str, tuple[str, ...]]] = {
        "question": ("problem", "question", "prompt", "instruction", "Problem", "Question"),
        "answer": ("answer", "final_answer", "expected_answer", "gold", "target", "ground_truth", "Answer"),
        "solution": ("solution", "Solution"),
        "subject": ("subject", "type", "domain"),
        "level": ("level", "difficulty"),
    }

    def __init__(self, config: Any) -> None:
        self.config = config
        self.path: Path | None = None if config.path is None else expand_path(config.path)
        self._account: dict[str, Any] | None = None

    @property
    def grader(self) -> str:
        """The configured grader, else the benchmark's own."""
        return str(self.config.grader or self.own_grader)

    def digest(self) -> str:
        """SHA-256 of the file; of several, of names and digests; on the hub, of repository, commit and files.

        Raises:
            DataError: there are none, or the hub cannot be reached.
        """
        if self.path is None:
            data = self._data
            return hashlib.sha256(canonical_json([data.repo, data.commit, data.files]).encode()).hexdigest()
        files = self._files(self.path)
        if self.path.is_file():
            return file_digest(self.path)
        digests = [(file.name, file_digest(Path(file.path))) for file in files]
        return hashlib.sha256(canonical_json(digests).encode()).hexdigest()

    def load(self) -> Iterator[Item]:
        """Yield the items; equal questions keep their own ids by row number.

        Raises:
            DataError: a row that cannot be read, or no row is left.
        """
        yield from self._load()

    def account(self) -> dict[str, Any]:
        """Where the rows came from, how many there were, and how many were left out, by reason."""
        if self._account is None:
            self._load()
        assert self._account is not None
        return self._account

    def gold(self, row: Row, where: str) -> str | None:
        """The gold answer of a row, or None if it is not there."""
        return golds.plain(self.field(row, "answer"))

    def read(self, row: Row, where: str) -> Asked | LeftOut:
        """What a row asks.

        Raises:
            DataError: question or gold answer cannot be found.
        """
        question = self.question_of(row, where)
        gold = self.gold(row, where)
        if gold is None:
            self.fail(row, where, "answer")
        return Asked(
            question, gold, solution=golds.plain(self.field(row, "solution")),
            subject=golds.plain(self.field(row, "subject")), level=golds.plain(self.field(row, "level")),
        )  # fmt: skip

    def field(self, row: Row, name: str) -> Any:
        """The value that a row has for one of our names; None if it has none."""
        given = getattr(self.config, name)
        known = (given,) if given is not None else self.names.get(name, ())
        return next((row[one] for one in known if row.get(one) not in (None, "")), None)

    def question_of(self, row: Row, where: str) -> str:
        """A row's question without white space and instruction at its end."""
        value = self.field(row, "question")
        if not isinstance(value, str) or not value.strip():
            self.fail(row, where, "question")
        text = value.strip()
        instruction = self.config.instruction
        return text.removesuffix(instruction).strip() if instruction else text

    def fail(self, row: Row, where: str, name: str) -> NoReturn:
        """Stop, because a row has no question or no gold answer."""
        given = getattr(self.config, name)
        wanted = f"'{given}'" if given is not None else " or ".join(f"'{one}'" for one in self.names[name][:4])
        held = next((one for one in ((given,) if given else self.names[name]) if one in row), None)
        what = f"no field {wanted} (it has {', '.join(map(str, row))})"
        if held is not None:
            what = f"no {'gold answer' if name == 'answer' else name} can be found in field '{held}'"
            kind = _KINDS.get(type(row[held]))
            if name == "question" and kind is not None:
                raise DataError(
                    f"{where}: field '{held}' holds {kind}, not text",
                    "write the question as one text, or name a field that holds one (--option question=FIELD)",
                )
        raise DataError(
            f"{where}: {what}", f"set {name}: to the field's name (long1k … --option {name}=FIELD), or mend the row"
        )

    def _load(self) -> list[Item]:
        c, subset = self.config, self.config.subset
        items: list[Item] = []
        left_out: Counter[str] = Counter()
        seen: dict[str, set[str]] = {"subject": set(), "level": set()}
        num_rows = 0
        for origin, key, where, row in self._rows():
            if c.limit is not None and len(items) >= c.limit:
                break
            num_rows += 1
            asked = self.read(row, where)
            if isinstance(asked, LeftOut):
                left_out[asked.reason] += 1
                continue
            for name, wanted in (("subject", subset.subject), ("level", subset.level)):
                seen[name].add(str(getattr(asked, name)))
                if wanted is not None and str(getattr(asked, name)) not in wanted:
                    left_out["not in the subset"] += 1
                    break
            else:
                items.append(self._item(origin, key, where, asked))
        if not num_rows:
            labels = [place.label for place in self._places()]
            raise DataError(
                f"{labels[0]} is empty: it has no row" if len(labels) == 1
                else f"all {len(labels)} files are empty: {', '.join(labels[:4])}",
                "give a file with a question and a gold answer in each row (--option path=FILE)",
            )  # fmt: skip
        if not items:
            known = "".join(f"; {name}: {', '.join(sorted(values)[:12])}" for name, values in seen.items() if values)
            why = ", ".join(f"{reason} {count:,}" for reason, count in left_out.items())
            raise DataError(
                f"no question is left of {num_rows:,} rows ({why})",
                f"change subset{known}" if "not in the subset" in left_out else "give a file with other questions",
            )
        self._account = {**self._from(), "rows": num_rows, "left_out": dict(sorted(left_out.items()))}
        return items

    def _item(self, origin: Origin, key: str, where: str, asked: Asked) -> Item:
        body = asked.body or asked.question
        prompt = f"{body}\n{self.config.instruction}" if self.config.instruction else body
        for text in (prompt, asked.gold, asked.solution or ""):
            if (fault := unstorable(text)) is not None:
                raise DataError(f"{where}: {fault}", "mend the benchmark file")
        return Item(
            item_id=content_id("item", key, asked.question), question=asked.question,
            messages=(Message("user", prompt),), answers=(asked.gold,), solution=asked.solution,
            subject=asked.subject, level=asked.level, body=asked.body,
            letters=asked.letters, origins=(origin,),
        )  # fmt: skip

    def _rows(self) -> Iterator[tuple[Origin, str, str, Row]]:
        """(where it is from; number, with the file's name where there are several; what errors call it; row)."""
        with nullcontext() if self.path is not None else hub_errors(self.config.repository):
            places = self._places()
            for place in places:
                for chunk in row_chunks(place, _ROWS, wanted=self.config.format):
                    for number, row in chunk.rows():
                        where = f"{place.label}, row {number}"
                        if isinstance(row, BadRow):
                            shown = "" if self.withheld else f": {row.evidence}"
                            raise DataError(f"{where}: {row.reason}{shown}", "mend the benchmark file")
                        short = f"row {number}" if len(places) == 1 else f"{place.name}, row {number}"
                        key = str(number) if len(places) == 1 else f"{place.name}:{number}"
                        yield Origin(place.name, short, *own_id(row)), key, where, row

    def _places(self) -> Sequence[Place]:
        return self._files(self.path) if self.path is not None else fetch(self._data)

    def _files(self, path: Path) -> list[LocalFile]:
        try:
            return find_files(path)
        except DataError as error:
            raise DataError(
                error.what,
                "say where it lies: --option path=FILE; in a recipe --set benchmarks.NAME.path=FILE, of a benchmark "
                "that another recipe keeps out of its pool (arms_of) --set kept_out.NAME.path=FILE",
            ) from None

    def _from(self) -> dict[str, Any]:
        if self.path is not None:
            return {"files": [file.name for file in self._files(self.path)][:16]}
        data = self._data
        return {"hub": data.repo, "revision": data.revision, "commit": data.commit, "files": list(data.files)[:16]}

    @cached_property
    def _data(self) -> HubData:
        c = self.config
        return resolve(
            c.repository, revision=c.revision,
            config=c.config or (c.default_config if c.repository == c.default_repo else None),
            split=c.split or c.default_split, patterns=None, endpoint=c.endpoint,
        )  # fmt: skip
