"""What is said of a table without reading its texts: lengths, sources, licences, teachers, problems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

import pyarrow.parquet as pq

from long1k.errors import DataError
from long1k.rows import Example, Trace
from long1k.tables import Manifest

UNKNOWN = "unknown"
_BATCH_ROWS = 4096
_COLUMNS: dict[type, tuple[str, ...]] = {
    Example: ("num_tokens", "num_supervised_tokens", "num_problems", "target_tokens", "mode", "sources", "licenses",
              "problem_ids"),
    Trace: ("num_question_tokens", "num_thinking_tokens", "num_solution_tokens", "source", "license", "teacher",
            "problem_id", "correct"),
}  # fmt: skip


@dataclass
class Facts:
    """Running totals over rows; every one is a count, so the order of rows does not matter."""

    rows: int = 0
    lengths: Counter[int] = field(default_factory=Counter)
    supervised_tokens: int = 0
    by_target: dict[str, Counter[int]] = field(default_factory=dict)
    sources: Counter[str] = field(default_factory=Counter)
    licenses: Counter[str] = field(default_factory=Counter)
    teachers: Counter[str] = field(default_factory=Counter)
    modes: Counter[str] = field(default_factory=Counter)
    problems: Counter[int] = field(default_factory=Counter)
    uses: Counter[str] = field(default_factory=Counter)

    def add_examples(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count samples (the columns of ``_COLUMNS[Example]``)."""
        for row in rows:
            self.rows += 1
            self.lengths[row["num_tokens"]] += 1
            self.supervised_tokens += row["num_supervised_tokens"]
            target = "–" if row["target_tokens"] is None else f"{row['target_tokens']:,}"
            self.by_target.setdefault(target, Counter())[row["num_tokens"]] += 1
            self.sources.update(source.partition("#")[0] for source in row["sources"])
            self.licenses.update(row["licenses"] or [UNKNOWN])
            self.modes[row["mode"]] += 1
            self.problems[row["num_problems"]] += 1
            self.uses.update(row["problem_ids"])

    def add_traces(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Count traces (the columns of ``_COLUMNS[Trace]``)."""
        for row in rows:
            self.rows += 1
            length = row["num_question_tokens"] + row["num_thinking_tokens"] + row["num_solution_tokens"]
            self.lengths[length] += 1
            self.sources[row["source"]] += 1
            self.licenses[row["license"] or UNKNOWN] += 1
            self.teachers[row["teacher"] or UNKNOWN] += 1
            self.uses[row["problem_id"]] += 1
            self.modes[{True: "correct", False: "wrong", None: "not checked"}[row["correct"]]] += 1

    def summary(self) -> dict[str, Any]:
        """The totals as plain values, for a manifest."""
        once = Counter(self.uses.values())
        return {
            "rows": self.rows,
            "tokens": sum(length * count for length, count in self.lengths.items()),
            "supervised_tokens": self.supervised_tokens,
            "lengths": describe_lengths(self.lengths),
            "by_target": {
                name: describe_lengths(counts) for name, counts in sorted(self.by_target.items(), key=_number)
            },
            "sources": _sorted(self.sources),
            "licenses": _sorted(self.licenses),
            "teachers": _sorted(self.teachers),
            "modes": _sorted(self.modes),
            "problems_a_row": {str(n): count for n, count in sorted(self.problems.items())},
            "unique_problems": len(self.uses),
            "most_uses_of_a_problem": max(once, default=0),
        }


def _number(item: tuple[str, Any]) -> tuple[bool, int]:
    digits = item[0].replace(",", "")
    return (not digits.isdigit(), int(digits) if digits.isdigit() else 0)


def _sorted(counts: Counter[str]) -> dict[str, int]:
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def describe_lengths(counts: Counter[int]) -> dict[str, float]:
    """Rows, least, quartiles, most and mean of lengths in tokens; the quartiles are lengths that occur."""
    total = sum(counts.values())
    if not total:
        return {"rows": 0}
    ordered = sorted(counts)
    found: dict[str, float] = {"rows": total, "min": ordered[0]}
    for name, share in (("p25", 0.25), ("median", 0.5), ("p75", 0.75)):
        passed = 0
        for length in ordered:
            passed += counts[length]
            if passed >= share * total:
                found[name] = length
                break
    found["max"] = ordered[-1]
    found["mean"] = round(sum(length * count for length, count in counts.items()) / total, 1)
    return found


def table_facts(folder: Path, manifest: Manifest, row_type: type) -> dict[str, Any]:
    """The facts of a complete Trace or Example table, read from its narrow columns only."""
    columns = _COLUMNS[row_type]
    facts = Facts()
    for name in data_files(manifest):
        try:
            with pq.ParquetFile(folder / name) as file:
                for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns)):
                    rows = batch.to_pylist()
                    facts.add_examples(rows) if row_type is Example else facts.add_traces(rows)
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{folder / name} cannot be read: {error}", "run the stage again") from None
    return facts.summary()


def data_files(manifest: Manifest) -> list[str]:
    """The files of a table or an export that hold its rows, in order."""
    return sorted(name for name in manifest.files if Path(name).name.startswith(("part-", "data-")))


def unknown_licenses(licenses: Mapping[str, int] | Sequence[str]) -> int:
    """How many entries name no licence."""
    counts = licenses if isinstance(licenses, Mapping) else Counter(licenses)
    return sum(count for name, count in counts.items() if not name.strip() or name.strip().lower() == UNKNOWN)


def without_paths(value: Any) -> Any:
    """A manifest's values fit to be published: a folder or file of this machine is shortened to its last name."""
    if isinstance(value, Mapping):
        return {key: without_paths(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_paths(item) for item in value]
    if isinstance(value, str) and PurePath(value).is_absolute() and "\n" not in value:
        return PurePath(value).name
    return value
