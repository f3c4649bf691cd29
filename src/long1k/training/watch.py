"""What is seen while a model trains: metrics, a stop on a loss that is no number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from long1k.errors import EngineError
from long1k.plugins import need

_KEPT = ("loss", "grad_norm", "learning_rate", "mean_token_accuracy")


def watch_training(steps: int, on_log: Callable[[int, int, dict[str, float]], None] | None) -> Any:
    """A trainer callback with ``metrics``, what was logged step by step.

    Args:
        steps: of the whole run.
        on_log: called with (step, steps, metrics).
    """
    transformers = need("transformers")

    class Watch(transformers.TrainerCallback):  # type: ignore[misc, name-defined, unused-ignore]
        """Keeps the metrics, stops on a loss that is no number."""

        def __init__(self) -> None:
            self.metrics: list[dict[str, float]] = []

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
            del args, control
            if not logs or "loss" not in logs:
                return
            entry = {"step": float(state.global_step), **{k: float(v) for k, v in logs.items() if k in _KEPT}}
            if not math.isfinite(entry["loss"]):
                raise EngineError(
                    f"the loss is {entry['loss']} at step {state.global_step}",
                    "lower train.learning_rate, check the data",
                )
            self.metrics.append(entry)
            if on_log is not None:
                on_log(state.global_step, steps, entry)

    return Watch()
