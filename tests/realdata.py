"""The real data that tests read: a folder outside of the project, absent on most machines."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest

_PROJECT_ROOT = Path(__file__).resolve().parents[1]


def real_data(*parts: str) -> Path:
    """Return the path of a file of the real data, such as `real_data("benchmarks", "math500.jsonl")`.

    The folder is $LONG1K_DATA, relative paths counted from the project's root (default `../shared/data`). A
    test that needs an absent file is skipped, or fails when LONG1K_REQUIRE_DATA=1.
    """
    folder = _PROJECT_ROOT / os.environ.get("LONG1K_DATA", "../shared/data")
    path = folder.joinpath(*parts)
    if not path.exists():
        reason = f"real data {'/'.join(parts)} not found in {folder} (set LONG1K_DATA to its folder)"
        if os.environ.get("LONG1K_REQUIRE_DATA") == "1":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    return path


def need_extra(module: str) -> None:
    """Skip a test module without an optional dependency, or fail where all data and extras are required."""
    if importlib.util.find_spec(module) is None:
        if os.environ.get("LONG1K_REQUIRE_DATA") == "1":
            pytest.fail(f"{module} is not installed", pytrace=False)
        pytest.skip(f"{module} is not installed (pip install '.[train]')", allow_module_level=True)
