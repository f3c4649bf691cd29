"""The smallest layout that fits: which knobs get there, in the order of what they cost."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from long1k.hardware import Machines
from long1k.planning.memory import Memory, predict
from long1k.planning.setting import GB, Setting
from long1k.planning.shapes import ModelShape

_FIELDS = (
    "micro_batch_size", "gradient_checkpointing", "sharding", "sequence_parallel", "offload_activations", "offload",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Knob:
    """One step towards fitting: what is set, what it costs, and the peak before and after it."""

    changes: dict[str, Any]
    cost: str
    before_bytes: float
    after_bytes: float

    @property
    def saved_bytes(self) -> float:
        """What it takes off the peak."""
        return self.before_bytes - self.after_bytes

    def __str__(self) -> str:
        return ", ".join(f"{name}={_word(value)}" for name, value in self.changes.items())


def _word(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


@dataclass(frozen=True, slots=True)
class Found:
    """Where a search ended: the layout, its memory, and the knobs that were turned."""

    setting: Setting
    memory: Memory
    knobs: list[Knob]
    fits: bool


def usable_bytes(machines: Machines) -> float:
    """Memory of one GPU; what the context and fragments take is in the plan's own items."""
    return float(machines.gpu.memory_bytes)


def fits(memory: Memory, machines: Machines, cpu_bytes: float | None = None) -> bool:
    """Whether a plan fits the GPUs, and the machines' own memory if that is known."""
    if cpu_bytes is not None and memory.cpu_bytes > cpu_bytes:
        return False
    return machines.gpu.is_cpu or memory.peak_bytes <= usable_bytes(machines)


def with_batch(setting: Setting, batch_size: int) -> Setting | None:
    """The setting with what follows from the rows of a step: accumulation.  None if ranks would be idle."""
    data_ranks = setting.ranks // setting.sequence_parallel
    if setting.ranks % setting.sequence_parallel or batch_size < data_ranks:
        return None
    a_rank = -(-batch_size // data_ranks)
    rows = min(setting.micro_batch_size, a_rank)
    return replace(setting, micro_batch_size=rows, accumulate=a_rank > rows)


def _turns(setting: Setting, shape: ModelShape) -> Iterator[tuple[dict[str, Any], str]]:
    """All knobs that are not turned yet, cheapest first."""
    if setting.micro_batch_size > 1:
        yield {"micro_batch_size": 1}, "smaller products"
    if not setting.gradient_checkpointing:
        yield {"gradient_checkpointing": True}, "a third more operations"
    if setting.ranks > 1 and setting.sharding != "fsdp2" and not setting.quantized:  # 4 bits are not cut up
        for sharding, cost in (("zero2", "as much is sent"), ("zero3", "1.5 times as much is sent")):
            if setting.sharding not in ("zero3", sharding):
                yield {"sharding": sharding}, cost
    sp = 2 * setting.sequence_parallel
    while setting.deepspeed and sp <= setting.nproc:
        if setting.nproc % sp == 0 and shape.heads % sp == 0:
            yield {"sequence_parallel": sp}, "exchanges in every layer"
        sp *= 2
    if not setting.offload_activations:
        yield {"offload_activations": True}, "inputs go over PCIe twice"
    if setting.quantized:
        return
    if setting.offload == "none" and setting.sharding != "fsdp2":
        yield {"sharding": "zero3", "offload": "optimizer"}, "the optimiser steps on the CPU"
    if setting.offload != "all":
        keep = setting.sharding if setting.sharding == "fsdp2" else "zero3"
        yield {"sharding": keep, "offload": "all"}, "optimiser and weights on the CPU"


def search(
    shape: ModelShape, tokens: int, machines: Machines, start: Setting, batch_size: int, cpu_bytes: float | None = None
) -> Found:
    """Turn knobs, cheapest first, until a step with rows of ``tokens`` fits; then turn back what was not needed.

    Args:
        start: what is kept as it is where it need not change: precision, loss head, adapters.
        cpu_bytes: memory of one machine's CPU, if known.
    """
    base = replace(start, nproc=machines.each, nnodes=machines.nodes)
    at = with_batch(base, batch_size)
    while at is None and base.sequence_parallel < base.nproc:  # more ranks than rows: they share sequences
        base = replace(base, sequence_parallel=2 * base.sequence_parallel)
        at = with_batch(base, batch_size)
    if at is None:
        return Found(base, predict(shape, tokens, base), [], False)
    first = at
    memory = predict(shape, tokens, at)
    while not fits(memory, machines, cpu_bytes):
        better = None
        for changes, _ in _turns(at, shape):
            tried = with_batch(replace(at, **changes), batch_size)
            if tried is None:
                continue
            found = predict(shape, tokens, tried)
            if found.peak_bytes < memory.peak_bytes - 0.01 * GB:
                better = (tried, found)
                break
        if better is None:
            break
        at, memory = better
    if fits(memory, machines, cpu_bytes):
        at = _turned_back(shape, tokens, machines, first, at, batch_size, cpu_bytes)
        memory = predict(shape, tokens, at)
    return Found(at, memory, _account(shape, tokens, first, at, batch_size), fits(memory, machines, cpu_bytes))


def _turned_back(
    shape: ModelShape, tokens: int, machines: Machines, first: Setting, at: Setting, batch_size: int, cpu: float | None
) -> Setting:
    """Without the knobs that turn out not to be needed, the costliest tried first."""
    for name in reversed(_FIELDS):
        choices = [getattr(first, name)]
        if name == "sequence_parallel":
            choices = [2**power for power in range(8) if first.sequence_parallel <= 2**power < at.sequence_parallel]
        if name == "sharding":
            order = ["none", "zero2", "zero3"]
            here = order.index(at.sharding) if at.sharding in order else 0
            choices = order[order.index(first.sharding) if first.sharding in order else here : here]
        if name == "gradient_checkpointing" and at.offload_activations:
            continue  # all activations of all layers would go to the CPU
        for value in choices:
            if value == getattr(at, name):
                continue
            tried = with_batch(replace(at, **{name: value}), batch_size)
            if tried is None or (tried.offload != "none" and tried.sharding not in ("zero3", "fsdp2")):
                continue
            if fits(predict(shape, tokens, tried), machines, cpu):
                at = tried
                break
    return at


def _account(shape: ModelShape, tokens: int, first: Setting, last: Setting, batch_size: int) -> list[Knob]:
    """What each change between two settings saves, one after the other in the order of their cost."""
    made = []
    at, before = first, predict(shape, tokens, first).peak_bytes
    costs = {
        "micro_batch_size": "smaller products", "gradient_checkpointing": "a third more operations",
        "sharding": "1.5 times as much is sent", "sequence_parallel": "exchanges in every layer",
        "offload_activations": "inputs go over PCIe twice", "offload": "the optimiser steps on the CPU",
    }  # fmt: skip
    for name in _FIELDS:
        value = getattr(last, name)
        if value == getattr(at, name):
            continue
        tried = with_batch(replace(at, **{name: value}), batch_size) or replace(at, **{name: value})
        after = predict(shape, tokens, tried).peak_bytes
        made.append(Knob({name: value}, costs[name], before, after))
        at, before = tried, after
    return made


def singly(shape: ModelShape, tokens: int, setting: Setting, batch_size: int) -> list[Knob]:
    """What each knob that is left would save if it alone were turned, cheapest first."""
    before = predict(shape, tokens, setting).peak_bytes
    made = []
    for changes, cost in _turns(setting, shape):
        tried = with_batch(replace(setting, **changes), batch_size)
        if tried is not None:
            made.append(Knob(changes, cost, before, predict(shape, tokens, tried).peak_bytes))
    return made


def fewest(
    shape: ModelShape, tokens: int, machines: Machines, start: Setting, batch_size: int, cpu_bytes: float | None = None
) -> tuple[Machines, Found] | None:
    """The fewest GPUs of this kind that are enough, in powers of two up to 64 machines of as many; None if none are."""
    count = 1
    while count <= 64 * machines.each:
        each = min(count, machines.each)
        tried = Machines(machines.gpu, each, max(1, count // machines.each))
        found = search(shape, tokens, tried, start, batch_size, cpu_bytes)
        if found.fits:
            return tried, found
        count *= 2
    return None
