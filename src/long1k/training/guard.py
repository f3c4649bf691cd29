"""A stop before a step whose loss or gradient is no number, with the rows named that bring it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from long1k.errors import EngineError
from long1k.plugins import need
from long1k.training.data import TrainRow
from long1k.training.layout import Layout

_SHOWN = 5


@dataclass
class Guard:
    """Knows which rows each step holds on this rank, and collects the losses of its micro-batches.

    ``dealt`` are the micro-batches of the whole run, in the order step, accumulation, rank.
    """

    rows: Sequence[TrainRow]
    dealt: Sequence[Sequence[int]]
    accumulation: int
    layout: Layout
    collate: Callable[[Sequence[TrainRow]], dict[str, Any]]
    losses: list[Any] = field(default_factory=list)

    def check(self, trainer: Any, grad_norm: Any) -> None:
        """Stop all ranks if a loss of this step, or the norm of its gradient, is no finite number on any rank.

        Raises:
            EngineError: naming the step, and the samples that bring it.
        """
        torch = need("torch")
        losses, self.losses = self.losses, []
        norm = float(grad_norm) if grad_norm is not None else 0.0
        bad = [not math.isfinite(loss) for loss in torch.stack(losses).tolist()] if losses else []
        stop = bool(any(bad) or not math.isfinite(norm))
        ranks = trainer.accelerator.num_processes
        if ranks > 1:
            flag = torch.tensor(float(stop), device=trainer.accelerator.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            if float(flag) and not stop:
                stop = True
        if not stop:
            return
        step = trainer.state.global_step + 1
        shown = next((float(loss) for loss, one in zip(losses, bad, strict=True) if one), norm)
        what = "loss" if any(bad) else "gradient norm"
        names, alone = self._guilty(trainer, bad) if any(bad) or ranks == 1 else ([], False)
        found: list[Any] = [(what, shown, names, alone)]
        if ranks > 1:
            found = [None] * ranks
            torch.distributed.all_gather_object(found, (what, shown, names, alone))
        worst = min(found, key=lambda one: (one[0] != "loss", not one[2]))
        names = [name for one in found for name in one[2]]
        raise EngineError(
            f"the {worst[0]} is {worst[1]} at step {step}; {_named(names, all(one[3] for one in found if one[2]))}",
            "look at these samples (long1k show); if they are sound, lower train.learning_rate",
        )

    def _guilty(self, trainer: Any, bad: Sequence[bool]) -> tuple[list[str], bool]:
        """Names of samples, and whether each was found bad by itself."""
        layout = self.layout
        first = trainer.state.global_step * self.accumulation
        rank = trainer.accelerator.process_index // layout.sequence_parallel
        micro = [
            self.dealt[(first + at) * layout.data_ranks + rank]
            for at in range(self.accumulation)
            if not any(bad) or bad[at]
        ]
        rows = [self.rows[at] for one in micro for at in one]
        found: list[TrainRow] = []
        if layout.sharding == "none" and layout.sequence_parallel == 1:  # else one rank alone cannot compute
            model = trainer.accelerator.unwrap_model(trainer.model)
            found = [row for row in rows if not self._finite(model, row, gradient=not any(bad))]
        return [name for row in found or rows for name in row.names], bool(found)

    def _finite(self, model: Any, row: TrainRow, *, gradient: bool) -> bool:
        torch = need("torch")
        device = next(model.parameters()).device
        batch = {name: value.to(device) for name, value in self.collate([row]).items()}
        with torch.set_grad_enabled(gradient):
            loss = model(**batch, use_cache=False, fused_lm_head=True).loss
            if not gradient or not math.isfinite(loss):
                return bool(math.isfinite(loss))
            model.zero_grad()
            loss.backward()
        return all(bool(torch.isfinite(p.grad).all()) for p in model.parameters() if p.grad is not None)


def _named(names: Sequence[str], alone: bool) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    text = ", ".join(names[:_SHOWN]) + more
    return f"samples that bring it: {text}" if alone else f"none does so alone; samples of the step: {text}"


def guarded(trainer_class: Any) -> Any:
    """A trainer class that asks its ``guard`` before every optimiser step."""

    class Guarded(trainer_class):  # type: ignore[misc]
        guard: Guard

        def training_step(self, *arguments: Any, **keywords: Any) -> Any:
            loss = super().training_step(*arguments, **keywords)
            self.guard.losses.append(loss.detach().float())
            return loss

        def _get_grad_norm(self, *arguments: Any, **keywords: Any) -> Any:
            norm = super()._get_grad_norm(*arguments, **keywords)
            self.guard.check(self, norm)
            return norm

    return Guarded
