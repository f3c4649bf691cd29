"""How fast a run is, and what memory it takes.

Operations are counted as in Kaplan et al. (2020, arXiv 2001.08361, section 2.1): 2 a weight and token forward, 4
backward; attention between T tokens of a causal sample 2 · T² · width a layer forward, twice that backward.  What is
computed twice to save memory counts once (MFU, Chowdhery et al., 2022, arXiv 2204.02311, appendix B).
"""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import Any

from long1k.hardware import KNOWN
from long1k.plugins import need
from long1k.training.config import TrainConfig
from long1k.training.data import RowSize
from long1k.training.metrics import Entry

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Cost:
    """Operations of training a model, forward and backward: ``a_token``, and of attention ``a_square``d token."""

    a_token: float
    a_square: float

    def of(self, lengths: Sequence[int]) -> float:
        """Operations of samples of these lengths."""
        return self.a_token * sum(lengths) + self.a_square * sum(length * length for length in lengths)


def cost_of(model: Any) -> Cost:
    """The cost of a causal language model: its matrices, the output head with them, and its attention.

    Frozen matrices (under adapters) get no gradient: 4 operations a token, not 6.
    """
    config = model.config.get_text_config()
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    a_token = 0.0
    for module in model.modules():
        weight = getattr(module, "weight", None)
        if weight is None or weight.ndim < 2 or (module is embedding and module is not head):
            continue
        size = getattr(weight, "ds_numel", None) or weight.numel()  # a weight that ZeRO-3 has spread is empty here
        a_token += (6 if weight.requires_grad else 4) * size
    heads = config.num_attention_heads
    width = heads * (getattr(config, "head_dim", None) or config.hidden_size // heads)
    return Cost(a_token, 6.0 * width * config.num_hidden_layers)


def peak_flops() -> float | None:
    """Peak of one GPU in bf16; None on a CPU and on a GPU that is not known."""
    torch = need("torch")
    return known_peak(torch.cuda.get_device_name()) if torch.cuda.is_available() else None


def known_peak(device_name: str) -> float | None:
    """The peak of a GPU that the driver calls so; None: not known."""
    plain = re.sub(r"[^A-Z0-9]", "", device_name.upper())
    fitting = [one for one in KNOWN.values() if all(part in plain for part in one.name.split("-")[:-1])]
    return max(fitting, key=lambda one: len(one.name)).peak_flops if fitting else None


def memory() -> Entry:
    """GiB that this process holds, and at most held on its GPU."""
    torch = need("torch")
    found = {"rss_gib": _resident_bytes() / GIB}
    if torch.cuda.is_available():
        found["gpu_peak_gib"] = torch.cuda.max_memory_allocated() / GIB
    return found


def _resident_bytes() -> float:
    statm = Path("/proc/self/statm")
    if statm.is_file():
        import resource

        return float(statm.read_text().split()[1]) * resource.getpagesize()
    import resource  # elsewhere: the most that was ever held, in bytes on macOS

    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024))


class Meter:
    """Measures the steps between two calls.

    Args:
        tokens, flops: of each step, over all ranks.
        peak_flops: of all ranks together; None leaves MFU out.
    """

    def __init__(self, tokens: Sequence[int], flops: Sequence[float], peak_flops: float | None) -> None:
        self.seen, self.flops, self.peak = list(accumulate(tokens, initial=0)), flops, peak_flops
        self.begin(0)

    def begin(self, step: int) -> None:
        """The clock starts after ``step`` steps."""
        self.at, self.since, self.seconds, self.first = step, time.perf_counter(), 0.0, step

    def paused(self, seconds: float) -> None:
        """The last ``seconds`` were not spent on training (but on saving)."""
        now = time.perf_counter()
        self.since += now - max(self.since, now - seconds)

    def measure(self, step: int) -> Entry:
        """Speed since the last call, memory now, and the seconds that are left at the mean speed so far."""
        now = time.perf_counter()
        seconds = max(now - self.since, 1e-9)
        self.seconds += seconds
        entry: Entry = {
            "step": float(step), "step_seconds": seconds / max(1, step - self.at),
            "tokens_per_second": (self.seen[step] - self.seen[self.at]) / seconds,
        }  # fmt: skip
        if self.peak is not None:
            entry["mfu"] = sum(self.flops[self.at : step]) / seconds / self.peak
        left, done = self.seen[-1] - self.seen[step], self.seen[step] - self.seen[self.first]
        entry["remaining_seconds"] = self.seconds * left / max(1, done)
        self.at, self.since = step, now
        return entry | memory()


def make_meter(model: Any, rows: Sequence[RowSize], order: Sequence[int], config: TrainConfig) -> Meter:
    """A meter of a run that takes the rows in this order, ``batch_size`` of them a step."""
    cost = cost_of(model)
    sizes = [(sum(row.lengths), cost.of(row.lengths)) for row in rows]
    taken = [order[at : at + config.batch_size] for at in range(0, len(order), config.batch_size)]
    peak = peak_flops() if config.precision == "bf16" else None
    return Meter(
        [sum(sizes[row][0] for row in step) for step in taken],
        [sum(sizes[row][1] for row in step) for step in taken],
        peak * config.layout.ranks if peak else None,
    )


def described(entry: Entry) -> str:
    """A line's loss, speed and memory for a progress bar."""
    parts = [f"loss {entry['loss']:.3f}"]
    if "tokens_per_second" in entry:
        parts.append(f"{entry['tokens_per_second']:,.0f} tokens/s")
    if "mfu" in entry:
        parts.append(f"MFU {entry['mfu']:.0%}")
    if "gpu_peak_gib" in entry:
        parts.append(f"{entry['gpu_peak_gib']:.1f} GiB")
    elif "rss_gib" in entry:
        parts.append(f"{entry['rss_gib']:.1f} GiB")
    if "remaining_seconds" in entry:
        minutes, seconds = divmod(round(entry["remaining_seconds"]), 60)
        parts.append(f"{minutes // 60}:{minutes % 60:02}:{seconds:02} left")
    return ", ".join(parts)
