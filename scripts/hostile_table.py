"""Grade 1,000 hostile answers and print what became of them: python scripts/hostile_table.py [COUNT]."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from hostile import KINDS, hostile_answers
from long1k.grading.math import MathGrader
from long1k.rows import STATUSES
from long1k.stages.score import cases_of

_TIMEOUT_SECONDS = 1.0
_MEMORY_MIB = 1024


def main(count: int) -> int:
    """Print the table; exit status 1 if anything was evaluated or has no status."""
    statuses: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
    worst = dict.fromkeys(KINDS, 0.0)
    with tempfile.TemporaryDirectory() as folder:
        canary = Path(folder) / "canary"
        with MathGrader(timeout_seconds=_TIMEOUT_SECONDS, memory_mib=_MEMORY_MIB) as grader:
            grader.start()
            started = time.perf_counter()
            for one in hostile_answers(count, str(canary)):
                row = {
                    "prediction_id": "y", "question": "q", "answers": [one.gold], "text": one.text,
                    "answer_text": one.text, "finish_reason": "stop",
                }  # fmt: skip
                before = time.perf_counter()
                (grade,) = grader.grade(cases_of(row))
                worst[one.kind] = max(worst[one.kind], time.perf_counter() - before)
                statuses[one.kind][grade.status] += 1
            seconds = time.perf_counter() - started
        evaluated = canary.exists()
    print("| kind | " + " | ".join(STATUSES) + " | worst, s |\n|---" * 1 + "|---" * (len(STATUSES) + 1) + "|")
    for kind, found in statuses.items():
        print(f"| {kind} | " + " | ".join(str(found[name] or "") for name in STATUSES) + f" | {worst[kind]:.2f} |")
    total = sum(statuses.values(), Counter())
    print("| all | " + " | ".join(str(total[name]) for name in STATUSES) + f" | {max(worst.values()):.2f} |")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"\n{total.total():,} answers in {seconds:.0f} s; limit of an answer {_TIMEOUT_SECONDS:g} s of "
        f"computing; largest worker {peak:,.0f} MiB (cap {_MEMORY_MIB:,}), this process {own:,.0f} MiB; "
        f"evaluated: {'YES' if evaluated else 'nothing'}"
    )
    return 1 if evaluated or total.total() != count else 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000))
