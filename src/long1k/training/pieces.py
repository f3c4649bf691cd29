"""Proof on each rank, before the first step, that weights and optimiser state are spread and offloaded as asked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from long1k.errors import EngineError
from long1k.plugins import need
from long1k.training.layout import Layout

_MEND = "report it with the versions of torch, accelerate and deepspeed"


def local_weights(model: Any) -> list[Any]:
    """The pieces of a model's weights that lie on this rank."""
    pieces = [getattr(parameter, "ds_tensor", parameter) for parameter in model.parameters()]
    return [piece.to_local() if hasattr(piece, "to_local") else piece for piece in pieces]


def local_states(optimizer: Any) -> list[Any]:
    """The pieces of weights whose optimiser state lies on this rank, on the device where that state lies."""
    inner = optimizer
    while hasattr(inner, "optimizer"):
        zero3 = getattr(inner, "fp32_partitioned_groups_flat", None)
        if zero3 is not None:
            return list(zero3)
        inner = inner.optimizer
    pieces = [piece for group in inner.param_groups for piece in group["params"]]
    return [piece.to_local() if hasattr(piece, "to_local") else piece for piece in pieces]


def check_sharded(model: Any, optimizer: Any, layout: Layout) -> None:
    """Prove on this rank that weights and optimiser state are spread as asked, after the trainer made them.

    Raises:
        EngineError: sharding was asked for, but they lie whole on this rank.
    """
    total = sum(int(getattr(parameter, "ds_numel", parameter.numel())) for parameter in model.parameters())
    weights, states = (_elements(pieces) for pieces in (local_weights(model), local_states(optimizer)))
    most = 1.5 * total / layout.ranks  # pieces are padded, and small ones need not be equal
    wrong = []
    if layout.sharding in ("zero3", "fsdp2") and weights > most:
        wrong.append(f"{weights:,} of {total:,} weights")
    if layout.sharding != "none" and states > most:
        wrong.append(f"the optimiser's state of {states:,} of {total:,} weights")
    if layout.ranks > 1 and wrong:
        raise EngineError(
            f"sharding {layout.sharding} is not in force: {' and '.join(wrong)} lie on one of {layout.ranks} ranks",
            _MEND,
        )


def check_offloaded(model: Any, optimizer: Any, layout: Layout) -> None:
    """Prove on this rank that what shall wait in the CPU's memory lies there, most of it at least.

    ZeRO-3 keeps small weights where they are used; those do not count.

    Raises:
        EngineError: offload was asked for, but most elements lie on a GPU.
    """
    wrong = []
    if layout.offload != "none" and _mostly_elsewhere(local_states(optimizer)):
        wrong.append("the optimiser's state")
    kept = {id(getattr(one, "ds_tensor", one)) for one in model.parameters() if getattr(one, "ds_persist", False)}
    if layout.offload == "all" and _mostly_elsewhere([one for one in local_weights(model) if id(one) not in kept]):
        wrong.append("weights")
    if wrong:
        raise EngineError(
            f"offload: {layout.offload} is not in force: {' and '.join(wrong)} lie in the GPU's memory", _MEND
        )


def _elements(pieces: Sequence[Any]) -> int:
    return sum(int(piece.numel()) for piece in pieces)


def _mostly_elsewhere(pieces: Sequence[Any]) -> bool:
    return 2 * _elements([piece for piece in pieces if piece.device.type != "cpu"]) > _elements(pieces)


def pieces_watch(layout: Layout) -> Any:
    """A trainer callback that proves sharding and offload before the first step."""

    class Proof(need("transformers").TrainerCallback):  # type: ignore[misc, name-defined, unused-ignore]
        """Checks that pieces are pieces, and where they lie."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **parts: Any) -> None:
            del args, state, control
            check_sharded(parts["model"], parts["optimizer"], layout)
            check_offloaded(parts["model"], parts["optimizer"], layout)

    return Proof()
