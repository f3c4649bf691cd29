"""A stage's folder: made ready for work, found current, and finished by its manifest."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from long1k.errors import DataError
from long1k.rows import SCHEMA_VERSION, canonical_json
from long1k.tables.disk import make_folder, read_json, write_atomic
from long1k.tables.made_by import git_commit, versions
from long1k.tables.manifest import MANIFEST, PROGRESS, Manifest, changes, fingerprint, read_manifest

keep_finished: ContextVar[bool | str] = ContextVar("keep_finished", default=False)
"""Whether a finished result of another configuration is refused instead of replaced: so in commands with --out."""


def is_current(folder: Path, wanted_fingerprint: str) -> bool:
    """Whether the folder holds exactly the result that is wanted, with all its files."""
    if not (folder / MANIFEST).is_file():
        return False
    try:
        manifest = read_manifest(folder)
    except DataError:
        return False
    if manifest.fingerprint != wanted_fingerprint:
        return False
    return all(
        (folder / name).is_file() and (folder / name).stat().st_size == size for name, size in manifest.files.items()
    )


def begin(
    folder: Path,
    stage: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    *,
    precious: bool = False,
    say: Callable[[str], None] | None = None,
) -> str:
    """Prepare a folder for a stage and return the fingerprint.

    Unfinished work of the same fingerprint is kept; work of any other is removed.  A folder
    that holds something else than a result of ours is refused, never emptied.

    Args:
        precious: unfinished work of other settings is refused like a finished result, in commands with --out.
        say: is told what has changed when work of other settings is removed.
    """
    wanted = fingerprint(stage, config, inputs)
    make_folder(folder)
    marker, manifest = folder / PROGRESS, folder / MANIFEST
    known = read_json(marker)
    if known.get("fingerprint") == wanted and not manifest.is_file():
        return wanted
    entries = [entry for entry in folder.iterdir() if not entry.name.startswith(".")]
    owner = known.get("stage") or read_json(manifest).get("stage")
    if entries and owner is None:
        raise DataError(
            f"{folder} holds files that this program did not make ({entries[0].name})", "name an empty or a new folder"
        )
    if entries and str(owner).split("/")[0] != stage.split("/")[0]:
        raise DataError(f"{folder} holds the result of {str(owner).split('/')[0]}", "name an empty or a new folder")
    found = read_json(manifest) or known
    if found.get("fingerprint") not in (None, wanted):
        # Where no row could be used, there is nothing to keep: the settings are mended, and given again.
        empty = bool(found.get("rows_in")) and not found.get("rows_out")
        finished = "config" in found and manifest.is_file() and not empty
        differing = changes(found, config, inputs)
        if found.get("stage") != stage:
            differing.insert(0, f"stage: {found.get('stage')} → {stage}")
        listed = "".join(f"\n    {line}" for line in differing)
        # A start that failed before it made anything leaves nothing that would be lost.
        worth = any(one.name != PROGRESS and (one.is_dir() or one.stat().st_size) for one in entries)
        kept = keep_finished.get()
        if kept and (finished or (precious and worth)):
            what = "a finished result" if finished else "unfinished work"
            raise DataError(
                f"{folder} holds {what} of {stage.split('/')[0]} with other settings or inputs{listed}",
                kept
                if isinstance(kept, str)
                else "name another folder with --out, take the change back, or remove the folder first",
            )
        if say is not None:
            say(f"{folder} starts anew: its settings or inputs have changed{listed}")
    # A mark without a fingerprint stands while old work is removed, so that a kill in between
    # leaves neither a table that looks complete nor old parts that look new.
    write_atomic(marker, json.dumps({"stage": stage, "fingerprint": None}).encode())
    manifest.unlink(missing_ok=True)
    for entry in entries:
        if entry.name not in (PROGRESS, MANIFEST):
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    mark = {"stage": stage, "fingerprint": wanted, "config": config, "inputs": inputs}
    write_atomic(marker, canonical_json(mark).encode("utf-8", "surrogatepass"))
    return wanted


def finish(
    folder: Path,
    *,
    stage: str,
    config: Mapping[str, Any],
    inputs: Mapping[str, str],
    digest: str,
    files: Sequence[Path],
    started: float,
    rows_in: int = 0,
    rows_out: int = 0,
    rejected: Mapping[str, int] | None = None,
    info: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write the manifest of a finished stage."""
    manifest = Manifest(
        stage=stage,
        fingerprint=fingerprint(stage, config, inputs),
        digest=digest,
        config=dict(config),
        inputs=dict(inputs),
        rows_in=rows_in,
        rows_out=rows_out,
        rejected=dict(rejected or {}),
        info=dict(info or {}),
        files={str(path.relative_to(folder)): path.stat().st_size for path in sorted(files)},
        versions=versions(),
        git_commit=git_commit(),
        schema_version=SCHEMA_VERSION,
        wall_seconds=round(time.time() - started, 3),
        created=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    manifest.write(folder)
    return manifest
