"""What is printed below a tree, and what a run takes of the machine."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from long1k.captured import Captured
from long1k.resources import Measured, Resources, started_at

CATCH = """
import os, subprocess, sys, threading
from long1k.captured import captured
with captured() as caught:
    print("from Python")
    sys.stderr.write("an error, half a line")
    sys.stderr.flush()
    os.write(1, b" and its rest\\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    sys.stdout.flush()
    lines = caught.lines(1.0)
print("back again:", lines)
"""


def test_whoever_prints_is_caught_and_the_terminal_comes_back() -> None:
    done = subprocess.run([sys.executable, "-c", CATCH], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    name, _, lines = done.stdout.strip().partition(": ")
    assert name == "back again"
    assert sorted(eval(lines)) == ["an error, half a line and its rest", "from Python", "from a child"]


def fed(*pieces: bytes) -> tuple[list[str], str]:
    source, sink = os.pipe()
    caught = Captured(-1, source)
    found: list[str] = []
    try:
        for piece in pieces:
            os.write(sink, piece)
            found += caught.lines(0.0)
    finally:
        os.close(sink)
        os.close(source)
    return found, caught.bar


@pytest.mark.parametrize(
    ("pieces", "lines", "bar"),
    [
        ([b"one\ntwo\nthr", b"ee\n"], ["one", "two", "three"], ""),
        ([b"  0%|  |\r 50%|# |\r"], [], " 50%|# |"),
        ([b"  0%|  |\r", b" 50%|# |", b"\r100%|##|\nend\n"], ["100%|##|", "end"], ""),
        ([b"\r", b"\r 1%"], [], " 1%"),
        ([b"dos\r\nline\r\n"], ["dos", "line"], ""),
        ([b"\x1b[31mred\x1b[0m \x1b]0;title\x07\x1b[2Jx\x07\n"], ["red x"], ""),
        ([b"\xff\xfe\n", "ü∑\n".encode()], ["\ufffd\ufffd", "ü∑"], ""),
    ],
)
def test_lines_bars_and_codes(pieces: list[bytes], lines: list[str], bar: str) -> None:
    assert fed(*pieces) == (lines, bar)


@given(st.lists(st.binary(max_size=50), max_size=6))
def test_no_code_reaches_the_terminal_whatever_is_printed(pieces: list[bytes]) -> None:
    lines, bar = fed(*pieces)
    for line in (*lines, bar):
        assert "\n" not in line
        assert not [one for one in line if ord(one) < 32 or 127 <= ord(one) < 160]


def test_a_line_without_end_is_not_kept_for_ever() -> None:
    lines, _ = fed(*[b"x" * 30_000] * 3)
    assert "".join(lines) == "x" * 90_000


def test_what_a_run_takes_of_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = Measured(tmp_path)
    assert found.gpus is None
    found.look()
    code = "import sys; kept = bytearray(64 << 20); print('here', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        with_child = found.look()
        began = started_at(child.pid)
    without = found.look()
    assert with_child.memory_gib is not None
    assert without.memory_gib is not None
    assert with_child.memory_gib - without.memory_gib > 0.05  # bytearray pages are touched
    assert began is not None
    assert started_at(child.pid) is None
    assert without.disk_free_gib is not None
    assert without.gpu_gib is None
    assert Measured(tmp_path / "none").look().disk_free_gib is None
    assert Resources(None, None, None, None).line() == ""


@pytest.mark.parametrize(
    ("script", "wanted"),
    [
        ("echo '1024, 81559'; echo '2048, 81559'", (3.0, 2 * 81559 / 1024)),
        ("echo '[N/A], 81559'", None),
        ("exit 9", None),
    ],
)
def test_memory_of_gpus_is_asked_of_the_driver(
    script: str, wanted: tuple[float, float] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text(f"#!/bin/sh\necho called >> {tmp_path}/calls\n{script}\n")
    tool.chmod(tool.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    found = Measured(tmp_path)
    first, second = found.look(), found.look()
    assert first.gpu_gib == second.gpu_gib == wanted
    assert len((tmp_path / "calls").read_text().split()) == (2 if wanted else 1)  # one that fails is not asked again
    if wanted:
        assert "GPU memory 3.0 of 159 GiB" in first.line()
