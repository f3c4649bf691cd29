"""What a complete table or checkpoint says of itself, and what decides its content."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from long1k.errors import DataError, IncompleteError
from long1k.rows import SCHEMA_VERSION, canonical_json
from long1k.run_names import meant
from long1k.tables.digests import digest_json
from long1k.tables.disk import read_json, write_atomic

MANIFEST = "manifest.json"
PROGRESS = "progress.json"


@dataclass(frozen=True)
class Manifest:
    """What a complete table or checkpoint says of itself (the content of manifest.json)."""

    stage: str
    fingerprint: str
    digest: str
    config: dict[str, Any]
    inputs: dict[str, str]
    rows_in: int
    rows_out: int
    rejected: dict[str, int]
    info: dict[str, Any]
    files: dict[str, int]
    versions: dict[str, str]
    git_commit: str | None
    schema_version: int
    wall_seconds: float
    created: str

    def write(self, folder: Path) -> None:
        """Write manifest.json into the folder, atomically, and drop the progress mark."""
        text = json.dumps(self.__dict__, indent=1, ensure_ascii=False, sort_keys=True, default=str)
        write_atomic(folder / MANIFEST, text.encode())
        (folder / PROGRESS).unlink(missing_ok=True)


def fingerprint(stage: str, config: Mapping[str, Any], inputs: Mapping[str, str]) -> str:
    """What decides a stage's result: its name and version, configuration and input digests."""
    return digest_json({"stage": stage, "config": config, "inputs": inputs, "schema": SCHEMA_VERSION})


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a complete table or checkpoint.

    Raises:
        DataError: the folder does not exist or its manifest is unreadable.
        IncompleteError: it has no manifest: the stage that makes it was never finished.
    """
    if not folder.is_dir():
        raise DataError(f"there is no folder {folder}", meant(folder, "check the path, or run the stage that makes it"))
    path = folder / MANIFEST
    if not path.is_file():
        stage = str(read_json(folder / PROGRESS).get("stage") or "").split("/")[0]
        if not stage:
            raise IncompleteError(
                f"{folder} has no {MANIFEST}: it holds no result of this program, or one that was never finished",
                "check the path, or run the command that makes it",
            )
        raise IncompleteError(
            f"{folder} has no {MANIFEST}: it was never finished", f"run {stage} again with the same --out: it goes on"
        )
    try:
        return Manifest(**json.loads(path.read_text()))
    except (ValueError, TypeError) as error:
        raise DataError(f"{path} is not a manifest of this version: {error}", "remove the folder, run again") from None


def changes(before: Mapping[str, Any], config: Mapping[str, Any], inputs: Mapping[str, str]) -> list[str]:
    """What differs from a manifest or progress mark: lines ``key.path: old → new``; digests are shortened.

    Args:
        before: holds ``config`` and ``inputs`` of what was made.
    """
    if "config" not in before:
        return []
    # Old and new come from JSON, so that a list and a tuple of the same values are the same.
    old, new = leaves("", before["config"]), leaves("", json.loads(canonical_json(dict(config))))
    old |= {f"inputs.{name}": value[:12] for name, value in before.get("inputs", {}).items()}
    new |= {f"inputs.{name}": value[:12] for name, value in inputs.items()}
    return [
        f"{key}: {_shown(old[key]) if key in old else 'not set'} → {_shown(new[key]) if key in new else 'not set'}"
        for key in sorted(old | new)
        if (key in old) != (key in new) or canonical_json(old[key]) != canonical_json(new[key])  # 1 is not true
    ]


def leaves(path: str, value: Any) -> dict[str, Any]:
    """Plain values of nested mappings, and of lists of them, by dotted path."""
    if isinstance(value, list) and any(isinstance(one, dict) for one in value):
        value = {str(at): inner for at, inner in enumerate(value)}
    if not isinstance(value, dict) or (not value and path):
        return {path: value}
    return {
        key: leaf
        for name, inner in value.items()
        for key, leaf in leaves(f"{path}.{name}" if path else str(name), inner).items()
    }


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:40] + "…"
