"""What is seen while a model trains: metrics, speed, an early stop."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from long1k.errors import EngineError
from long1k.plugins import need
from long1k.training.config import EarlyStop
from long1k.training.meter import Meter
from long1k.training.metrics import METRICS, TIMING, Entry, Lines, Stopper

_KEPT = ("loss", "grad_norm", "learning_rate", "mean_token_accuracy")


def watch_training(
    steps: int,
    on_log: Callable[[int, int, dict[str, float]], None] | None,
    *,
    folder: Path | None = None,
    meter: Meter | None = None,
    early_stop: EarlyStop | None = None,
) -> Any:
    """A trainer callback with ``metrics``, what was logged step by step, and ``stopped``, why the run ended early.

    Args:
        steps: of the whole run.
        on_log: called with (step, steps, metrics and speed).
        folder: gets metrics.jsonl and timing.jsonl while the run goes on (rank 0 writes).
        meter: knows the tokens and operations of each step.
    """
    transformers = need("transformers")

    class Watch(transformers.TrainerCallback):  # type: ignore[misc, name-defined, unused-ignore]
        """Keeps and writes the metrics, stops on a loss that is no number."""

        def __init__(self) -> None:
            self.metrics: list[Entry] = []
            self.stopped: str | None = None
            self.saved = False
            self.files = None if folder is None else (Lines(folder / METRICS), Lines(folder / TIMING))

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del args, control
            self.stopper = Stopper(early_stop)
            for entry in self.metrics:  # of the run that this one goes on with
                self.stopper.reason(entry["loss"])
            if meter is not None:
                meter.begin(state.global_step)
            if self.files is not None and state.is_world_process_zero:
                metrics, timing = self.files
                metrics.begin(self.metrics)
                timing.begin(timing.kept(state.global_step))

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            del args
            if not logs or "loss" not in logs:
                return
            entry = {"step": float(state.global_step), **{k: float(v) for k, v in logs.items() if k in _KEPT}}
            for name in ("loss", "grad_norm"):  # the guard stops before the step; this is for trainers without one
                if not math.isfinite(entry.get(name, 0.0)):
                    raise EngineError(
                        f"the {name} is {entry[name]} at step {state.global_step}",
                        "lower train.learning_rate, check the data",
                    )
            speed: Entry = {}
            if meter is not None:
                entry["tokens"] = float(meter.seen[state.global_step])
                speed = meter.measure(state.global_step)
                logs.update({name: value for name, value in speed.items() if name != "step"})  # reporters come later
            self.metrics.append(entry)
            self.stopped = self.stopper.reason(entry["loss"])
            if self.stopped is not None and state.global_step < steps:
                # No checkpoint of the last step: a run killed here resumes before it, and stops at it again.
                control.should_training_stop, control.should_save = True, False
            if not state.is_world_process_zero:
                return
            if self.files is not None:
                self.files[0].add(entry)
                self.files[1].add(speed)
            if on_log is not None:
                on_log(state.global_step, steps, entry | speed)

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del args, state, control
            self.saved = True

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del args, state, control
            if meter is not None and self.saved:
                meter.paused(time.perf_counter() - self.step_ended)
            self.saved = False

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del args, state, control
            self.step_ended = time.perf_counter()

    return Watch()
