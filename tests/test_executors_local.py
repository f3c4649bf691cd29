"""Jobs in local processes: their threads, and the death of one."""

from __future__ import annotations

import os

import pytest

from long1k.errors import EngineError
from long1k.executors.local import THREADS, run_jobs


def test_every_worker_computes_in_one_thread_and_the_starter_keeps_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS"}  # what libraries read
    assert set(THREADS) == known
    for name in THREADS:
        monkeypatch.delenv(name, raising=False)
    assert dict(run_jobs(os.getenv, sorted(known), 2)) == dict.fromkeys(known, "1")
    assert not known & set(os.environ)


def test_a_worker_that_dies_is_told_in_words_while_more_jobs_wait() -> None:
    with pytest.raises(EngineError, match="a worker process died"):
        list(run_jobs(os._exit, range(9, 60), 2))
