"""From a trace back to its origin: the samples it stands in, its row of the pool, its row of the source.

Nothing is taken on trust: the pool is accepted only if its digest is the one that the samples name, and the
source's row is read again from the source only if its digest is the one that the pool names.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from long1k.errors import DataError, Long1kError
from long1k.jsonlines import BadRow
from long1k.recipe import make_sources
from long1k.rows import Example, Trace
from long1k.tables import MANIFEST, Manifest, iter_table, read_manifest

_LEVELS = 5  # how far above a table its run may begin


@dataclass(frozen=True, slots=True)
class Use:
    """One sample that a trace stands in; ``row`` and ``part`` count from 0."""

    table: Path
    arm: str
    row: int
    example_id: str
    part: int
    num_parts: int
    linker: str | None
    mode: str


@dataclass(frozen=True, slots=True)
class Origin:
    """What the source itself holds in a trace's row; ``row`` is None where ``state`` says why not."""

    name: str
    place: str
    state: str
    row: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Walk:
    """A trace and all that is known of where it came from and where it went."""

    trace: Trace
    pool: Path
    pool_row: int
    pool_manifest: Manifest
    uses: list[Use]
    tables: list[Path]
    origin: Origin


def stage_of(manifest: Manifest) -> str:
    """The stage that made a table, without its version."""
    return manifest.stage.split("/")[0]


def run_of(folder: Path) -> Path | None:
    """The run that a folder is, or belongs to; None outside any."""
    here = folder.resolve()
    return next((one for one in [here, *here.parents][:_LEVELS] if (one / "recipe.json").is_file()), None)


def trace_walk(folder: Path, trace_id: str, pool: Path | None = None) -> Walk:
    """Walk from a trace's id (or its beginning) to its samples, its pool and its source.

    Args:
        folder: a run, a pool, or a table of samples; the samples are those of the run, or of the table.
        pool: the pool, where it does not lie in the run of ``folder``.

    Raises:
        DataError: no such trace, no pool, or one with another digest than the samples were made from.
    """
    tables, pool = _tables_and_pool(folder, pool)
    manifest = read_manifest(pool)
    if stage_of(manifest) != "collect":
        raise DataError(f"{pool} is no trace pool but the result of {stage_of(manifest)}", "give --pool FOLDER")
    row, trace = _find(pool, trace_id)
    made_from = [table for table in tables if read_manifest(table).inputs.get("pool") == manifest.digest]
    if tables and not made_from:
        raise DataError(
            f"{tables[0]} was made from another pool than {pool} (the digests differ)", "give --pool FOLDER"
        )
    uses = [use for table in made_from for use in find_uses(table, trace.trace_id)]
    return Walk(trace, pool, row, manifest, uses, made_from, find_origin(pool, manifest, trace))


def _tables_and_pool(folder: Path, pool: Path | None) -> tuple[list[Path], Path]:
    """Tables of samples to look through, and the pool they came from."""
    run = run_of(folder)
    if not (folder / MANIFEST).is_file() and run is not None and folder.resolve() == run:
        return _sample_tables(folder), pool or folder / "collect"
    manifest = read_manifest(folder)
    if stage_of(manifest) == "collect":
        # A pool of its own knows no samples; one in a run has those of the run that name its digest.
        return [] if run is None else [t for t in _sample_tables(run) if _is_from(t, manifest.digest)], folder
    if stage_of(manifest) != "synthesize":
        raise DataError(f"{folder} holds no traces and no samples", "give a run, a pool or a table of samples")
    if pool is None and run is not None:
        beside = [run / "base" / "collect", run / "collect"]
        digest = manifest.inputs.get("pool")
        pool = next((p for p in beside if (p / MANIFEST).is_file() and read_manifest(p).digest == digest), None)
    if pool is None:
        raise DataError(f"{folder} does not say where its pool lies", "give --pool FOLDER")
    return [folder], pool


def _sample_tables(run: Path) -> list[Path]:
    found = [run / "base" / "synthesize", *sorted(run.glob("arms/*/seed-*/synthesize"))]
    return [path for path in found if (path / MANIFEST).is_file()]


def _is_from(table: Path, digest: str) -> bool:
    return read_manifest(table).inputs.get("pool") == digest


def _find(pool: Path, trace_id: str) -> tuple[int, Trace]:
    """Row number and trace of an id, or of the only id that begins so."""
    found: dict[str, tuple[int, Trace]] = {}
    for row, trace in enumerate(iter_table(pool, Trace)):
        if trace.trace_id == trace_id:
            return row, trace
        if trace.trace_id.startswith(trace_id):
            found.setdefault(trace.trace_id, (row, trace))
    if not found:
        raise DataError(f"{pool} has no trace {trace_id}", f"long1k show {pool} --row 0 shows what an id looks like")
    if len(found) > 1:
        some = ", ".join(list(found)[:3])
        raise DataError(f"{len(found)} traces of {pool} begin with {trace_id} ({some}, …)", "give more of the id")
    return next(iter(found.values()))


def find_uses(table: Path, trace_id: str) -> list[Use]:
    """The samples of one table that a trace stands in; only their ids are read to find them."""
    manifest = read_manifest(table)
    rows: list[tuple[int, int]] = []
    at = 0
    for name in sorted(name for name in manifest.files if name.startswith("part-")):
        lists = pq.read_table(table / name, columns=["trace_ids"]).column("trace_ids").to_pylist()
        rows += [(at + row, part) for row, ids in enumerate(lists) for part, one in enumerate(ids) if one == trace_id]
        at += len(lists)
    if not rows:
        return []
    wanted = dict[int, list[int]]()
    for row, part in rows:
        wanted.setdefault(row, []).append(part)
    uses = []
    for row, example in enumerate(iter_table(table, Example)):
        for part in wanted.get(row, ()):
            linker = example.linkers[part] if part < len(example.linkers) else None
            uses.append(Use(table, example.arm, row, example.example_id, part, len(example.trace_ids), linker,
                            example.mode))  # fmt: skip
    return uses


def source_specs(pool: Path, manifest: Manifest) -> dict[str, dict[str, Any]]:
    """What each source of a pool was, as a recipe would say it; empty where nothing is known."""
    told = manifest.info.get("source_configs")
    if isinstance(told, dict) and told:
        return told
    run = run_of(pool)
    if run is None:
        return {}
    recipe = json.loads((run / "recipe.json").read_text())
    of_base = pool.resolve() == (run / "base" / "collect").resolve()
    specs = (recipe.get("base") or {}).get("sources") if of_base else recipe.get("sources")
    return dict(specs or {})


def find_origin(pool: Path, manifest: Manifest, trace: Trace) -> Origin:
    """The row of the source that a trace was made of, read again if the source is still what it was."""
    name = trace.source
    spec = source_specs(pool, manifest).get(name)
    if spec is None:
        return Origin(name, "an unknown place", "neither the pool nor a run beside it says where the source lies", None)
    place = str(spec.get("path") or spec.get("type"))
    try:
        source = make_sources({name: spec})[0][1]
        place = str(getattr(source, "path", place))
        digest = source.digest()
    except (Long1kError, OSError) as error:
        return Origin(name, place, f"not there any more: {getattr(error, 'what', error)}", None)
    if digest != manifest.inputs.get(name):
        return Origin(
            name, place, "changed since the pool was made (its digest is another): its row is not shown", None
        )
    row = next((row for row in _rows(source) if row[0] == trace.source_row), None)
    if row is None:
        return Origin(name, place, f"unchanged, but has no row {trace.source_row}", None)
    return Origin(name, place, "unchanged since the pool was made", row[1])


def _rows(source: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """(row name as a pool stores it, fields that are there) of each row of a source."""
    for row in source.load():
        fields = {"row": row.row} if isinstance(row, BadRow) else asdict(row)
        fields = {key: value for key, value in fields.items() if value not in (None, ())}
        yield row.source_row.encode("utf-8", "backslashreplace").decode(), fields
