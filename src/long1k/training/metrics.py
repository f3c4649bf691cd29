"""What a run writes while it runs, line by line, and when it stops early; free of torch.

``metrics.jsonl`` holds what is the same in every undisturbed run (loss, gradient norm, learning rate, accuracy, tokens
seen); ``timing.jsonl`` what is not (seconds, tokens a second, memory).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from long1k.training.config import EarlyStop

METRICS, TIMING = "metrics.jsonl", "timing.jsonl"
Entry = dict[str, float]
MOST_ENTRIES = 10_000  # of a run: a line a step up to so many steps, then a line every few steps


def logged_every(steps: int, early_stop: EarlyStop | None) -> int:
    """Steps between two lines; an early stop looks at every step."""
    return 1 if early_stop is not None else -(-steps // MOST_ENTRIES)


class Lines:
    """A JSONL file that is whole after every line, and goes on where a run is resumed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def begin(self, entries: Sequence[Mapping[str, float]]) -> None:
        """Keep these lines and no others."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text("".join(json.dumps(entry) + "\n" for entry in entries))

    def kept(self, last_step: int) -> list[Entry]:
        """The whole lines of the file up to a step; a line that a kill cut short is left out."""
        found = []
        for line in self.path.read_text().splitlines() if self.path.is_file() else ():
            try:
                entry = json.loads(line)
            except ValueError:
                break
            if entry["step"] <= last_step:
                found.append(entry)
        return found

    def add(self, entry: Mapping[str, float]) -> None:
        """Append one line."""
        with self.path.open("a") as file:
            file.write(json.dumps(entry) + "\n")


def final_loss(metrics: Sequence[Entry], steps: int) -> float | None:
    """Mean loss of the last fiftieth of a run (of its last step, if it is shorter than that)."""
    last = [entry["loss"] for entry in metrics if entry["step"] > metrics[-1]["step"] - max(1, steps // 50)]
    return sum(last) / len(last) if last else None


class Stopper:
    """Says when a run stops early: decided by the losses alone, so that a resumed run stops at the same step."""

    def __init__(self, rule: EarlyStop | None) -> None:
        self.rule = rule
        self.last: deque[float] = deque(maxlen=rule.window if rule else 1)
        self.best, self.since_best = float("inf"), 0

    def reason(self, loss: float) -> str | None:
        """Take the next step's loss; why the run stops here, or None."""
        rule = self.rule
        self.last.append(loss)
        if rule is None or len(self.last) < rule.window:
            return None
        mean = sum(self.last) / rule.window
        self.since_best += 1
        if mean < self.best:
            self.best, self.since_best = mean, 0
        if rule.loss_below is not None and mean < rule.loss_below:
            return f"mean loss of {rule.window} steps {mean:.6g} < {rule.loss_below:g}"
        if rule.no_better_for is not None and self.since_best >= rule.no_better_for:
            return f"no better mean loss of {rule.window} steps than {self.best:.6g} for {rule.no_better_for} steps"
        return None
