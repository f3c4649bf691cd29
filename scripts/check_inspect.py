"""Read the logs that `long1k export --format inspect` wrote with inspect_ai itself.

    python -m venv inspect && inspect/bin/pip install inspect_ai
    inspect/bin/python scripts/check_inspect.py FOLDER …

Says of every log its samples and accuracies, and ends with exit code 1 if one cannot be read whole.
"""

from __future__ import annotations

import sys

from inspect_ai.log import (  # type: ignore[import-not-found]
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample_summaries,
    read_eval_log_samples,
)


def check(folder: str) -> int:
    """Read every log of a folder in three ways; returns how many logs failed."""
    failed = 0
    for log in list_eval_logs(folder):
        whole = read_eval_log(log)
        summaries = read_eval_log_sample_summaries(log)
        # Imported outputs may be of unequal number by question; the reader then is told not to ask for all.
        even = len(summaries) == len(whole.eval.dataset.sample_ids or []) * (whole.eval.config.epochs or 1)
        streamed = sum(1 for _ in read_eval_log_samples(log, all_samples_required=even))
        results = whole.results.scores if whole.results else []
        scores = {one.name: one.metrics["accuracy"].value for one in results}
        same = whole.status == "success" and len(whole.samples or []) == len(summaries) == streamed
        print(f"{'ok' if same else 'FAILED'}  {log.name}: {streamed} samples, {scores}")
        failed += not same
    return failed


if __name__ == "__main__":
    sys.exit(min(1, sum(check(folder) for folder in sys.argv[1:])))
