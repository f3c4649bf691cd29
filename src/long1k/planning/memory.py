"""Memory of one training step, by item, at the moments that can be its peak.

The trainer holds one of three things, and each is counted as it is held:

    none (copies, DDP)   fp32 weights, gradients and Adam moments; products in bf16 by autocast
    zero1 zero2 zero3    DeepSpeed: weights and gradients in the dtype of computing, fp32 master and moments
                         (Rajbhandari et al., 2020, arXiv 1910.02054)
    fsdp2                fp32 weights, gradients and moments in shards; gathered in the dtype of computing

Peaks: the end of the forward pass; the loss, forward and back; the backward pass of the first layer that is reached,
and of the last; the optimiser's step.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from long1k.planning.head import head_gradient, head_items
from long1k.planning.layer import (
    Attention,
    again_bytes,
    ends_bytes,
    forward_bytes,
    kept_bytes,
    mask_bytes,
    norm_bytes,
    stream_bytes,
    width_bytes,
    working_bytes,
)  # fmt: skip
from long1k.planning.setting import Item, Setting, ranks_that_share, trained_parameters
from long1k.planning.shapes import ModelShape

CONTEXT_BYTES = 0.7e9  # the CUDA context with cuBLAS' work space
COMMUNICATION_BYTES = 0.6e9  # NCCL's own buffers, with more than one rank
FRAGMENTATION_FRAC = 0.05  # of what comes and goes, with expandable segments
_BUCKET = 2 * 10**8  # elements that training.sharding gives DeepSpeed to reduce at once
_LIVE = 10**9 + 5 * 10**7  # gathered elements that it lets live, and fetches ahead
_SUB_GROUP = 10**9  # elements that DeepSpeed's optimiser steps at once
_PROCESS_BYTES = 4e9  # CPU memory of one rank's libraries and buffers
_STASH = 5  # tensors that wait on the GPU while others go to the CPU


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of one GPU at its peak, and of one machine's CPU.

    ``items`` are those of the peak's moment; ``moments`` are the totals at each; ``fixed`` the part of ``items`` that
    PyTorch's allocator does not see.
    """

    items: list[Item]
    fixed: list[Item]
    moments: dict[str, float]
    cpu: list[Item]
    setting: Setting
    tokens: int
    peak: str = field(default="")

    @property
    def allocated_bytes(self) -> float:
        """What ``torch.cuda.max_memory_allocated`` would say."""
        return sum(item.bytes for item in self.items)

    @property
    def peak_bytes(self) -> float:
        """What the GPU must have."""
        return self.allocated_bytes + sum(item.bytes for item in self.fixed)

    @property
    def cpu_bytes(self) -> float:
        """What one machine's CPU must have."""
        return sum(item.bytes for item in self.cpu)


def predict(shape: ModelShape, tokens: int, setting: Setting | None = None, **more: Any) -> Memory:
    """Memory of one training step whose longest row has ``tokens`` tokens.

    Args:
        setting: how the step is laid out; ``more`` are single fields of it, e.g. ``gradient_checkpointing=True``.
    """
    s = replace(setting or Setting(), **more)
    states = _states(shape, s)
    share = _activations(shape, tokens, s)
    before = [*states, _gradients(shape, s, 0.0), share["kept"], share["ends"]]
    moments = {
        "forward": [*before, *share["forward"]],
        "loss": [*before, *share["casts"], share["norm"], *head_items(shape, tokens, s, False), *_exchanged(shape, s)],
        "loss backward": [*before, share["norm"], *head_items(shape, tokens, s, True), *_exchanged(shape, s)],
        "backward begins": [*before, *head_gradient(shape, s), *share["layer"]],
        "backward ends": [*states, _gradients(shape, s, 1.0), share["one"], share["ends"], *share["layer"]],
        "optimiser step": [*states, _gradients(shape, s, 1.0), *_step(shape, s)],
    }
    totals = {name: sum(item.bytes for item in items) for name, items in moments.items()}
    peak = max(totals, key=lambda name: totals[name])
    items = [item for item in moments[peak] if item.bytes > 0]
    return Memory(items, _fixed(items, s), totals, _cpu(shape, tokens, s, states), s, tokens, peak)


def _states(shape: ModelShape, s: Setting) -> list[Item]:
    """Weights and optimiser, as they lie on one GPU from the first step on."""
    c = width_bytes(s.compute)
    total, trained = shape.parameters, trained_parameters(shape, s)
    held = c if s.deepspeed or s.lora_rank is not None else 4
    note = "bf16" if held == 2 else "fp32"
    weights = float(held * total)
    if s.lora_rank is not None and s.quantized:
        matrices = shape.layers * shape.matrix_parameters_a_layer
        weights, note = 0.516 * matrices + held * (total - matrices), "4 bits, embeddings as they are"
    if s.lora_rank is not None:
        weights += 4 * trained  # adapters stand in fp32
    weights /= ranks_that_share(s, "zero3", "fsdp2")
    optimizer = (12.0 if s.deepspeed else 8.0) * trained / ranks_that_share(s, "zero1", "zero2", "zero3", "fsdp2")
    kind = "fp32 master and two moments" if s.deepspeed else "two fp32 moments"
    return [
        Item("weights", 0.0 if s.offload == "all" else weights, note),
        Item("optimiser", 0.0 if _optimizer_away(s) else optimizer, kind),
    ]


def _optimizer_away(s: Setting) -> bool:
    return s.offload == "all" or (s.offload == "optimizer" and s.deepspeed)


def _gradients(shape: ModelShape, s: Setting, done: float) -> Item:
    """Gradients when a share ``done`` of the backward pass is over; with accumulation those of before are there too."""
    if _optimizer_away(s) and s.sharding in ("zero2", "zero3", "fsdp2"):
        return Item("gradients", 0.0)
    a_weight = width_bytes(s.compute) if s.deepspeed else 4
    whole = a_weight * trained_parameters(shape, s) / ranks_that_share(s, "zero2", "zero3", "fsdp2")
    there = 1.0 if s.accumulate or s.deepspeed else done
    return Item("gradients", whole * there, "bf16" if a_weight == 2 else "fp32")


def _attention(s: Setting) -> Attention:
    # Flash attention reads the borders of samples from positions; "auto" takes samples one by one; others need a mask.
    alone = s.attention == "auto"
    return Attention(
        masked=s.masked and s.attention in ("sdpa", "eager"), eager=s.attention == "eager", pieces=alone
    )  # fmt: skip


def _activations(shape: ModelShape, tokens: int, s: Setting) -> dict[str, Any]:
    """What the layers keep, what one layer needs while it is passed back, and what lies outside of them."""
    rows, sp, kind = s.micro_batch_size, s.sequence_parallel, _attention(s)
    whole = rows * kept_bytes(shape, tokens, s.compute, kind) / sp
    stream = rows * stream_bytes(shape, tokens, s.compute) / sp
    work = rows * working_bytes(shape, tokens, s.compute, kind) / sp
    a_layer = stream if s.gradient_checkpointing else whole
    name = "layer inputs" if s.gradient_checkpointing else "activations of all layers"
    kept = a_layer * shape.layers
    note = f"{shape.layers} layers"
    if s.offload_activations:
        kept, note = min(kept, (_STASH * stream if s.gradient_checkpointing else a_layer)), "the rest waits on the CPU"
    matrix = float(shape.hidden * shape.intermediate)
    c = width_bytes(s.compute)
    # Beside the MLP's two gradients stands nothing; beside one of them the gradient of a matrix.
    in_flight = 0.0 if s.lora_rank is not None else matrix * (c + (4 if s.compute == "autocast" else 0))
    if not s.accumulate and s.compute == "fp32":
        in_flight = 0.0
    work = max(work, work / 2 + in_flight)
    layer = [Item("one layer's gradients", work, "at the MLP")]
    if s.gradient_checkpointing:
        again = rows * again_bytes(shape, tokens, s.compute, kind) / sp
        layer.insert(0, Item("one layer computed again", again, "attention and MLP"))
    casts = _casts(shape, s)
    still = []
    if casts and s.gradient_checkpointing:
        layer.append(Item("weights cast to bf16", casts / shape.layers, "of one layer, by autocast"))
        still.append(Item("weights cast to bf16", casts, "by autocast, to the end of the forward pass"))
    elif casts:
        kept += casts
        note += ", with weights cast to bf16"
    if sp > 1:
        exchange = rows * tokens / sp * 2 * (2 * shape.query_width + 2 * shape.kv_width)
        layer.append(Item("sequence exchange", exchange, "queries, keys, values to other ranks"))
    if s.lora_rank is not None:
        widths = 3 * shape.hidden + shape.query_width + 2 * shape.hidden + shape.intermediate
        extra = rows * tokens / sp * 2 * (widths + 7 * s.lora_rank)
        layer.append(Item("adapters' inputs", extra, "cast for themselves"))
        kept += 0.0 if s.gradient_checkpointing else extra * shape.layers
    buffers = _buffers(shape, s)
    layer += buffers
    mask = rows * mask_bytes(tokens, kind)
    ends = rows * ends_bytes(shape, tokens, s.compute) / sp + mask
    forward = [*still]
    if s.gradient_checkpointing:
        forward.append(Item("one layer", rows * forward_bytes(shape, tokens, s.compute) / sp))
    return {
        "kept": Item(name, kept, note),
        "one": Item(name, a_layer, "those of one layer"),
        "ends": Item("positions, ids" + (", mask" if mask else ""), ends),
        "norm": Item("last norm", rows * norm_bytes(shape, tokens, s.compute) / sp),
        "forward": [*forward, *buffers],
        "layer": layer,
        "casts": still,
    }


def _casts(shape: ModelShape, s: Setting) -> float:
    """Weights of the layers in bf16, which autocast keeps while it is on."""
    if s.compute != "autocast":
        return 0.0
    return 2.0 * shape.layers * shape.matrix_parameters_a_layer


def _buffers(shape: ModelShape, s: Setting) -> list[Item]:
    """What gathering weights and exchanging gradients needs."""
    if s.ranks == 1 and not s.deepspeed:
        return []
    c = width_bytes(s.compute)
    made = []
    if s.sharding == "zero3" and (s.ranks > 1 or s.offload == "all"):  # one rank's own weights lie there already
        made.append(Item("gathered weights", float(c * min(shape.parameters, _LIVE)), "one pass ahead"))
    elif s.sharding == "fsdp2":
        made.append(Item("gathered weights", 2.0 * c * shape.parameters_a_layer, "two layers"))
        made.append(Item("gradients to reduce", 2.0 * c * shape.parameters_a_layer, "two layers"))
    elif s.sharding == "none":
        made.append(Item("gradient buckets", 4.0 * trained_parameters(shape, s), "copies that are averaged"))
    if s.deepspeed:
        made.append(Item("buckets", 2.0 * c * min(trained_parameters(shape, s), _BUCKET), "two in turn"))
    return made


def _exchanged(shape: ModelShape, s: Setting) -> list[Item]:
    """The buffers that are there at the loss, too: the layers' weights are not."""
    return [item for item in _buffers(shape, s) if item.name != "gathered weights"]


def _step(shape: ModelShape, s: Setting) -> list[Item]:
    """The optimiser's step: fused AdamW needs no room; DeepSpeed steps in groups whose gradients are fp32."""
    if not s.deepspeed or _optimizer_away(s):
        return []
    trained = trained_parameters(shape, s) / s.ranks
    return [Item("gradients of a group in fp32", 4.0 * min(trained, _SUB_GROUP))]


def _fixed(items: Iterable[Item], s: Setting) -> list[Item]:
    """What the allocator does not see or cannot use."""
    if s.device == "cpu":
        return []
    still = ("weights", "optimiser", "gradients")
    moving = sum(item.bytes for item in items if item.name not in still)
    made = [Item("CUDA context", CONTEXT_BYTES, "assumed")]
    if s.ranks > 1:
        made.append(Item("NCCL", COMMUNICATION_BYTES, "assumed"))
    made.append(Item("fragmentation", FRAGMENTATION_FRAC * moving, f"{FRAGMENTATION_FRAC:.0%} of what comes and goes"))
    return made


def _cpu(shape: ModelShape, tokens: int, s: Setting, states: list[Item]) -> list[Item]:
    """Memory of one machine's CPU, at training or at loading, whichever is more."""
    del states
    c, total, trained = width_bytes(s.compute), shape.parameters, trained_parameters(shape, s)
    a_machine = 1 / s.nnodes
    made = [Item("processes", s.nproc * _PROCESS_BYTES, "libraries, loaders")]
    if _optimizer_away(s):
        kinds = 16 + c if s.deepspeed else 12
        note = "master, moments, gradients" if s.deepspeed else "moments, gradients"
        made.append(Item("optimiser", kinds * trained * a_machine, note))
    if s.offload == "all":
        made.append(Item("weights", (c if s.deepspeed else 4) * total * a_machine))
    if s.offload_activations:
        kept = replace(s, offload_activations=False)
        made.append(Item("activations", s.nproc * _activations(shape, tokens, kept)["kept"].bytes))
    dtype = 2.0 if s.lora_rank is not None and s.precision == "bf16" else 4.0
    copies = 1 if s.sharding == "zero3" else s.nproc
    if s.device == "gpu":
        beyond = dtype * total * copies - sum(item.bytes for item in made[1:])
        note = "before training, " + ("one copy a machine" if copies == 1 else "a copy for each process")
        made.append(Item("loading the model", max(0.0, beyond), note))
    return made
