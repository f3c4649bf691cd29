"""Checks that what is configured is in force, made on the live trainer; each is small and can fail.

A check compares what the configuration wants with what the object says or does.  It never asks the
arguments that the trainer was made with: those are the configuration again.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from long1k.errors import EngineError
from long1k.training.config import TrainConfig
from long1k.training.positions import describe_rope

EPSILON = 1e-8  # of AdamW
LOSS_HEAD_BYTES = 2**30
_CLOSE = 1e-4


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: what was wanted, what was found."""

    name: str
    wanted: str
    found: str
    ok: bool


def same(name: str, wanted: Any, found: Any) -> Check:
    """A check of two values that must be equal; floats up to their last digits."""
    if isinstance(wanted, float) and isinstance(found, int | float):
        ok = math.isclose(wanted, found, rel_tol=1e-9, abs_tol=1e-15)
    else:
        ok = wanted == found
    return Check(name, _text(wanted), _text(found), ok)


def demand(checks: Iterable[Check]) -> None:
    """Stop if anything is configured and not in force.

    Raises:
        EngineError: naming all that differs.
    """
    failed = [one for one in checks if not one.ok]
    if failed:
        lines = "\n".join(f"  {one.name}: wanted {one.wanted}, found {one.found}" for one in failed)
        raise EngineError(
            f"configured, but not in force on the trainer:\n{lines}",
            "nothing was trained; change these keys of train, or report it if they are right",
        )


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple):
        return ", ".join(_text(one) for one in value)
    return str(value)


def planned_rate(config: TrainConfig, steps: int, step: int) -> float:
    """The learning rate of a step, counted from 0, by the definition of the schedules (cosine: arXiv 1608.03983)."""
    warmup = math.ceil(config.warmup_ratio * steps)
    if step < warmup:
        return config.learning_rate * step / max(1, warmup)
    done = (step - warmup) / max(1, steps - warmup)
    if config.scheduler == "cosine":
        return config.learning_rate * max(0.0, 0.5 * (1 + math.cos(math.pi * done)))
    return config.learning_rate * (max(0.0, 1 - done) if config.scheduler == "linear" else 1.0)


def check_optimizer(optimizer: Any, config: TrainConfig, named: Iterable[tuple[str, Any]] | None) -> list[Check]:
    """AdamW with the betas, epsilon and weight decay asked for, over every trainable parameter.

    Args:
        named: (name, parameter) of the model; None where a sharded optimiser holds pieces of its own.
    """
    inner = optimizer
    while hasattr(inner, "optimizer"):
        inner = inner.optimizer
    groups = optimizer.param_groups
    kind = type(inner).__name__
    decoupled = "adamw" in kind.lower() or bool(getattr(inner, "adam_w_mode", False))
    checks = [Check("optimiser", "AdamW", kind, decoupled)]
    for key, wanted in (("betas", (config.beta1, config.beta2)), ("eps", EPSILON)):
        found = sorted({str(group.get(key)) for group in groups})
        checks.append(same(f"optimiser {key}", str(wanted), ", ".join(found)))
    decays = sorted({float(group.get("weight_decay", math.nan)) for group in groups if group["params"]}, reverse=True)
    allowed = {config.weight_decay, 0.0}
    checks.append(
        Check("weight decay", f"{config.weight_decay:g} on matrices, 0 on norms and biases",
              _text(decays), set(decays) <= allowed and (config.weight_decay in decays or not decays))
    )  # fmt: skip
    if named is not None:
        checks.append(_check_members(groups, config, list(named)))
    return checks


def _check_members(groups: Sequence[dict[str, Any]], config: TrainConfig, named: Sequence[tuple[str, Any]]) -> Check:
    """Every trainable parameter in one group: matrices with decay, norms and biases without."""
    decay_of = {id(parameter): float(group["weight_decay"]) for group in groups for parameter in group["params"]}
    listed = sum(len(group["params"]) for group in groups)
    trainable = [(name, parameter) for name, parameter in named if parameter.requires_grad]
    wrong = [
        name
        for name, parameter in trainable
        if decay_of.get(id(parameter)) != (config.weight_decay if _decays(name, parameter) else 0.0)
    ]
    wanted = f"{len(trainable)} tensors, each with its decay"
    if listed != len(trainable) or wrong:
        shown = f"; not so: {', '.join(wrong[:3])}" if wrong else ""
        return Check("optimised tensors", wanted, f"{listed} tensors{shown}", False)
    return Check("optimised tensors", wanted, wanted, True)


def _decays(name: str, parameter: Any) -> bool:
    return parameter.ndim >= 2 and not name.endswith("bias") and "norm" not in name.lower()


def check_schedule(scheduler: Any, config: TrainConfig, steps: int) -> list[Check]:
    """The learning rate at the first steps, at the end of the warm-up, in the middle and at the last step."""
    inner = scheduler
    while hasattr(inner, "scheduler"):
        inner = inner.scheduler
    functions = getattr(inner, "lr_lambdas", None)
    if not functions:
        return [Check("schedule", config.scheduler, f"{type(inner).__name__}, which cannot be asked", False)]
    warmup = math.ceil(config.warmup_ratio * steps)
    at = sorted({0, 1, 2, warmup, (warmup + steps) // 2, steps - 1} & set(range(steps)))
    wanted = [planned_rate(config, steps, step) for step in at]
    found = [config.learning_rate * float(functions[0](step)) for step in at]
    ok = all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-12) for a, b in zip(wanted, found, strict=True))
    base = [float(rate) for rate in getattr(inner, "base_lrs", [])]
    return [
        Check(f"learning rate at the steps {_text([step + 1 for step in at])}", _text(wanted), _text(found), ok),
        Check("peak learning rate", _text(config.learning_rate), _text(base[:1]),
              bool(base) and all(math.isclose(rate, config.learning_rate, rel_tol=1e-9) for rate in base)),
    ]  # fmt: skip


def check_rate(optimizer: Any, config: TrainConfig, steps: int, step: int) -> Check:
    """The learning rate that stands in the optimiser when a step begins."""
    wanted = planned_rate(config, steps, step)
    found = float(optimizer.param_groups[0]["lr"])
    ok = math.isclose(wanted, found, rel_tol=1e-6, abs_tol=1e-12)
    return Check(f"learning rate of step {step + 1}", _text(wanted), _text(found), ok)


def check_clipping(setting: float, norm_after: float | None, config: TrainConfig) -> list[Check]:
    """The limit that the trainer clips at, and the gradient's norm after clipping (None: not measured).

    A norm that is no number is the loss's fault, which is told by whoever watches the loss.
    """
    checks = [same("gradient clipping", config.max_grad_norm, float(setting))]
    if norm_after is not None and math.isfinite(norm_after):
        ok = norm_after <= config.max_grad_norm * (1 + 1e-3)
        checks.append(Check("gradient norm after clipping", f"<= {config.max_grad_norm:g}", _text(norm_after), ok))
    return checks


def check_recomputation(flags: Sequence[bool], forwards: float | None, config: TrainConfig) -> list[Check]:
    """Layers marked for recomputation, and how often each ran in one micro-batch: twice if it is recomputed.

    Args:
        flags: of the decoder layers, whether each recomputes.
        forwards: runs of a layer's first part in one forward and backward; None if it was not counted.
    """
    wanted = config.layout.gradient_checkpointing
    checks = [
        Check("gradient checkpointing", _on(wanted), f"{sum(flags)} of {len(flags)} layers",
              bool(flags) == wanted if not flags else all(one == wanted for one in flags))
    ]  # fmt: skip
    if forwards is not None:
        times = 2 if wanted else 1
        checks.append(Check("runs of a layer, one micro-batch", str(times), _text(forwards), forwards == times))
    return checks


def check_attention(model: Any, config: TrainConfig) -> Check:
    """Which attention the model runs."""
    found = str(getattr(model.config, "_attn_implementation", None))
    wanted = config.layout.attention
    return Check("attention", wanted, found, found == wanted or (wanted == "auto" and found != "None"))


def check_precision(stored: set[str], computed: str | None, config: TrainConfig) -> list[Check]:
    """The type that trained weights are kept in, and that of a matrix product (None: not measured)."""
    wanted = "bfloat16" if config.precision == "bf16" else "float32"
    checks = [] if computed is None else [same("precision of matrix products", wanted, computed)]
    allowed = {"float32"} if config.precision == "fp32" else {"float32", "bfloat16"}
    names = ", ".join(sorted(stored))
    return [*checks, Check("trained weights", " or ".join(sorted(allowed)), names, bool(stored) and stored <= allowed)]


def check_ranks(num_processes: int, config: TrainConfig) -> Check:
    """How many processes share the work."""
    return same("ranks", config.layout.ranks, num_processes)


def check_offload(context: Any, config: TrainConfig) -> Check:
    """Whether the trainer moves kept activations to the CPU's memory."""
    found = "offload" in type(context).__name__.lower()
    return Check("activation offload", _on(config.layout.offload_activations), _on(found),
                 found == config.layout.offload_activations)  # fmt: skip


def check_compile(model: Any, config: TrainConfig) -> Check:
    """Whether the model is compiled."""
    found = type(model).__name__ == "OptimizedModule" or getattr(model, "_compiled_call_impl", None) is not None
    return Check("compile", _on(config.layout.compile), _on(found), found == config.layout.compile)


def check_rope(model: Any, config: TrainConfig) -> list[Check]:
    """The rotary embeddings: kind and factor as asked for, and rotations that are really slower than the plain ones."""
    found = describe_rope(model)
    if config.rope is None:
        return []
    checks = [
        same("rope kind", config.rope.kind, found["kind"]),
        same("rope factor", float(config.rope.factor), float(found["factor"] or 1.0)),
    ]
    if config.rope.kind != "dynamic":
        slower = found["plain"] / found["slowest"] if found["slowest"] else 0.0
        ok = math.isclose(slower, config.rope.factor, rel_tol=1e-3)
        checks.append(Check("rotations slower by", f"{config.rope.factor:g}", _text(slower), ok))
    return checks


def check_order(moved: Sequence[int], num: int, planned: int) -> Check:
    """Whether all micro-batches came that were planned, and hold the planned rows, token by token."""
    found = f"{num - len(moved)} of {num}" + (f"; others: number {_text(moved[:3])}" if moved else "")
    return Check("micro-batches as planned", f"{planned} of {planned}", found, not moved and num == planned > 0)


def check_loss_head(largest_bytes: int, whole_bytes: int, limit_bytes: int = LOSS_HEAD_BYTES) -> Check:
    """The largest tensor that the loss makes: never one logit for every token and word, if that would be large."""
    ok = largest_bytes <= limit_bytes
    found = f"{largest_bytes / 2**20:,.1f} MiB (all logits: {whole_bytes / 2**20:,.1f})"
    return Check("largest tensor of the loss", f"<= {limit_bytes / 2**20:,.1f} MiB", found, ok)


def check_normalisation(planned: int, used: float | None, wanted_loss: float | None, loss: float | None) -> list[Check]:
    """Supervised tokens of the whole global batch as the divisor, and the first micro-batch's loss by it."""
    checks = [same("divisor of the loss", planned, None if used is None else round(used))]
    if wanted_loss is not None and loss is not None and not (math.isnan(wanted_loss) and math.isnan(loss)):
        ok = abs(wanted_loss - loss) <= _CLOSE * max(1.0, abs(wanted_loss))
        checks.append(Check("loss of the first micro-batch", _text(wanted_loss), _text(loss), ok))
    return checks


def check_isolation(own: float, others: float, precision: str) -> Check:
    """A changed token changes the loss of its own conversation, and of no other in the row.

    Args:
        own: largest change of a log-probability behind the changed token, in its conversation.
        others: largest change in all other conversations of the row.
    """
    limit = 1e-5 if precision == "fp32" else 1e-3
    return Check("packed rows apart", f"neighbours move <= {limit:g}",
                 f"{others:.2g} (own: {own:.2g})", others <= limit < own)  # fmt: skip


def _on(value: bool) -> str:
    return "on" if value else "off"
