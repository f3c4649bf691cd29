"""A folder's lock: one holder, none after its death, no file left behind."""

from __future__ import annotations

import errno
import fcntl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from long1k.errors import EngineError
from long1k.locks import locked

HOLD = """
import sys, time
from pathlib import Path
from long1k.locks import locked
with locked(Path(sys.argv[1]), "--out"):
    print("held", flush=True)
    time.sleep(600)
"""


def test_a_killed_holder_leaves_nothing_locked(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "held\n"
            with pytest.raises(EngineError, match="another run is working on") as refused, locked(tmp_path, "--out"):
                pass
            assert "--out" in str(refused.value)
        finally:
            process.kill()
    assert (tmp_path / ".lock").exists()
    with locked(tmp_path, "--out"):
        pass
    assert not (tmp_path / ".lock").exists()


def test_the_file_goes_with_an_error_too(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), locked(tmp_path / "new", "--out"):
        _ = 1 / 0
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_that_its_holder_just_removed_locks_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flock, calls = fcntl.flock, []

    def late(handle: Any, operation: int) -> None:
        if not calls:  # the holder of before removes its file and goes, between our opening and our locking
            (tmp_path / ".lock").unlink()
        calls.append(operation)
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    with locked(tmp_path, "--out"):
        assert (tmp_path / ".lock").exists()
        with pytest.raises(EngineError), locked(tmp_path, "--out"):
            pass
    assert len(calls) == 3


def test_a_file_system_without_locks_is_no_reason_to_refuse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: Any) -> None:
        raise OSError(errno.ENOTSUP, "no locks here")

    monkeypatch.setattr(fcntl, "flock", unknown)
    with locked(tmp_path, "--out"):
        assert (tmp_path / ".lock").exists()
