"""The pool of grading processes: time, memory, crashes, order, and no process left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from long1k.grading.pool import GraderPool, Verdict

CHECKS = """
import os, sys, time

def check(gold, answer):
    if answer == "loop":
        while True:
            pass
    if answer == "bignum":  # one operation in C that cannot be interrupted from Python
        return "wrong", str(len(bin(3 ** (10 ** 9))))
    if answer == "memory":
        return "wrong", str(len(bytearray(8 * 1024 ** 3)))
    if answer == "abort":
        os.abort()
    if answer == "exit":
        sys.exit(0)
    if answer == "raise":
        raise ValueError("no")
    if answer == "deep":
        return check(gold, answer)
    if answer == "print":
        print('{"id": 0, "status": "wrong"}', flush=True)
    if answer == "slow":
        time.sleep(0.2)
    if answer == "nonsense":
        return "maybe", ""
    return ("correct" if answer != "other" else "wrong"), f"{os.getpid()} {gold}"
"""


MakePool = Callable[..., GraderPool]


@pytest.fixture
def make_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakePool:
    (tmp_path / "pool_checks.py").write_text(CHECKS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def make(num_workers: int = 1, timeout_seconds: float = 20.0, memory_mib: int = 512) -> GraderPool:
        return GraderPool(num_workers, timeout_seconds, memory_mib, check="pool_checks:check")

    return make


def pid_of(verdict: Verdict) -> int:
    return int(verdict.note.split()[0])


def is_running(pid: int) -> bool:
    """False for a process that is gone, or that is dead and waits for someone to read its exit status."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return not Path("/proc").exists()
    return stat.read_text().rpartition(")")[2].split()[0] not in ("Z", "X")


def wait_until_gone(pid: int, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while is_running(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_running(pid)


@pytest.mark.parametrize("hang", ["loop", "bignum"])
def test_a_hanging_pair_is_killed_and_the_next_one_graded(make_pool: MakePool, hang: str) -> None:
    with make_pool(timeout_seconds=0.7) as pool:
        before = pool.run([("a", "ok")])[0]
        start = time.monotonic()
        verdicts = pool.run([("b", hang), ("c", "ok")])
        assert time.monotonic() - start < 15.0
    assert verdicts[0] == Verdict("timeout", "no verdict within 0.7 seconds")
    assert verdicts[1].status == "correct"
    assert pid_of(verdicts[1]) != pid_of(before)
    assert not is_running(pid_of(before))


def test_failures_are_errors_and_never_wrong(make_pool: MakePool) -> None:
    answers = [
        "memory",
        "ok",
        "abort",
        "ok",
        "exit",
        "raise",
        "deep",
        "nonsense",
        "other",
        "x" * 10_001,
        "print",
    ]
    with make_pool() as pool:
        verdicts = dict(zip(answers, pool.run([("g", answer) for answer in answers]), strict=True))
    assert verdicts["memory"] == Verdict("error", "memory cap reached")
    assert verdicts["abort"].status == "error"
    assert "died" in verdicts["abort"].note
    assert verdicts["exit"] == Verdict("error", "SystemExit in the comparison")
    assert verdicts["raise"] == Verdict("error", "ValueError in the comparison")
    assert verdicts["deep"] == Verdict("error", "nested too deeply")
    assert verdicts["nonsense"].status == "error"
    assert verdicts["x" * 10_001] == Verdict("error", "longer than 10000 characters")
    assert verdicts["other"].status == "wrong"
    assert verdicts["ok"].status == "correct"
    assert verdicts["print"].status == "correct"  # what a library prints is no verdict


def test_order_is_kept_and_work_is_shared(make_pool: MakePool) -> None:
    with make_pool(num_workers=2) as pool:
        pool.run([("warm", "slow"), ("warm", "slow")])
        verdicts = pool.run([(f"{i}", "slow" if i % 3 == 0 else "ok") for i in range(12)])
        assert pool.run([]) == []
    assert [verdict.note.split()[1] for verdict in verdicts] == [f"{i}" for i in range(12)]
    assert 1 <= len({pid_of(verdict) for verdict in verdicts}) <= 2


def test_processes_start_late_persist_and_end(make_pool: MakePool) -> None:
    pool = make_pool()
    assert pool._workers == []
    first, second = pool.run([("a", "ok")])[0], pool.run([("b", "ok")])[0]
    assert pid_of(first) == pid_of(second)
    pool.close()
    pool.close()
    assert not is_running(pid_of(first))
    with pytest.raises(RuntimeError, match="closed"):
        pool.run([("a", "ok")])


def test_a_worker_killed_while_idle_is_replaced(make_pool: MakePool) -> None:
    with make_pool() as pool:
        pid = pid_of(pool.run([("a", "ok")])[0])
        os.kill(pid, signal.SIGKILL)
        assert wait_until_gone(pid, 10.0)
        after = pool.run([("b", "ok")])[0]
    assert after.status == "correct"
    assert pid_of(after) != pid


@pytest.mark.parametrize("text", ["\ud800 \x00 \u2028 \n é", "\\boxed{" * 1_000])
def test_any_text_passes_through_the_pipe(make_pool: MakePool, text: str) -> None:
    with make_pool() as pool:
        assert pool.run([(text, text)])[0].status == "correct"


def test_a_pool_that_cannot_start_says_why() -> None:
    with (
        GraderPool(check="no_such_module:check") as pool,
        pytest.raises(RuntimeError, match="no_such_module"),
    ):
        pool.run([("a", "b")])
    with pytest.raises(ValueError, match="num_workers"):
        GraderPool(num_workers=0)


@pytest.mark.parametrize("last", ["ok", "loop"], ids=["idle", "busy"])
def test_workers_die_when_their_parent_is_killed(make_pool: MakePool, last: str) -> None:
    code = (
        "import sys\nfrom long1k.grading.pool import GraderPool\n"
        "pool = GraderPool(1, 2.0, 512, check='pool_checks:check')\n"
        "print(pool.run([('a', 'ok')])[0].note, flush=True)\n"
        "pool.run([('b', sys.argv[1])])\nsys.stdin.read()\n"
    )
    root = Path(sys.modules["long1k.grading.pool"].__file__ or "").resolve().parents[2]
    path = os.pathsep.join([str(root), os.environ["PYTHONPATH"]])
    parent = subprocess.Popen(
        [sys.executable, "-c", code, last],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    with parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline().split()[0])
        time.sleep(0.3)
        assert is_running(pid)
        parent.kill()
    assert wait_until_gone(pid, 15.0)


def test_math_verify_runs_inside_the_memory_cap() -> None:
    with GraderPool(timeout_seconds=30.0, memory_mib=1024) as pool:
        verdicts = pool.run([("x+1", "1+x"), ("x+1", "x+2"), ("5", "{{{{")])
    assert [verdict.status for verdict in verdicts] == ["correct", "wrong", "error"]
