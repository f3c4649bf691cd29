"""The proof, before the first update, that training runs on the right tokens and as configured.

Two looks: at the batches of the trainer's own loader (all of the first epoch), and at the first real step,
up to the point where the optimiser would move a weight.  Both are compared with the plan; what differs
stops the run on every rank, what was measured is printed and kept.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from long1k.plugins import need
from long1k.tables import write_atomic
from long1k.training import inforce
from long1k.training.config import TrainConfig
from long1k.training.data import RowSize, TrainRow
from long1k.training.inforce import Check, demand
from long1k.training.neighbours import measure_isolation
from long1k.training.positions import describe_rope
from long1k.training.preflight_text import preflight_text
from long1k.training.probe import Probe
from long1k.training.seen import Marks, Seen, look, merge, planned, shares_row
from long1k.training.sequence import isolation_in_slices, whole_line

PREFLIGHT = "preflight.json"
READ = 2048  # micro-batches that a rank reads in advance at most
WATCHED = 3  # steps whose learning rate is compared with the plan
Mode = Literal["quiet", "print", "only"]


class PreflightDone(Exception):
    """Only the preflight was asked for, and it is through."""


@dataclass(frozen=True)
class Plan:
    """What a run is meant to do: its rows, dealt into micro-batches, and what to look for in them.

    ``about`` holds what is known of the data before any rank starts (see ``describe_source``).
    """

    rows: Sequence[TrainRow]
    sizes: Sequence[RowSize]
    dealt: Sequence[Sequence[int]]
    config: TrainConfig
    steps: int
    marks: Marks
    work: Path
    mode: Mode = "quiet"
    about: dict[str, Any] = field(default_factory=dict)

    @property
    def micro_batches(self) -> int:
        """Micro-batches of one step, over all ranks."""
        return len(self.dealt) // self.steps

    def of_rank(self, rank: int, first_step: int = 0) -> Iterator[list[TrainRow]]:
        """The rows of a rank's micro-batches, in order."""
        for at in range(first_step * self.micro_batches + rank, len(self.dealt), self.config.layout.data_ranks):
            yield [self.rows[number] for number in self.dealt[at]]

    def supervised(self, step: int) -> int:
        """Supervised tokens of a whole step, over all ranks and micro-batches."""
        dealt = self.dealt[step * self.micro_batches : (step + 1) * self.micro_batches]
        return sum(one.supervised for micro in dealt for number in micro for one in planned(self.rows[number]))

    def first_epoch(self) -> int:
        """A rank's micro-batches until every row was seen once, or the run ends."""
        steps = min(self.steps, -(-len(self.rows) // self.config.batch_size))
        return min(READ, steps * self.micro_batches // self.config.layout.data_ranks)


@contextmanager
def saying(path: Path, mode: Mode) -> Iterator[Callable[[], None]]:
    """The value, called now and then, prints the preflight that ranks elsewhere write, once, when it is there.

    One of an earlier start stays until then: a run that is resumed after its last step has no step to look at.
    """
    told = mode == "quiet"
    before = path.stat().st_mtime_ns if path.is_file() else None

    def say() -> None:
        nonlocal told
        if not told and path.is_file() and path.stat().st_mtime_ns != before:
            told = True
            print(preflight_text(json.loads(path.read_text())), flush=True)

    yield say
    say()


def look_ahead(trainer: Any, plan: Plan) -> tuple[Seen, dict[str, Any]]:
    """Read the first epoch from the trainer's own loader; (counts of all ranks, a batch of this one).

    The batch is one whose rows hold several conversations each, if this rank has any.

    The random state is left as it was, so that a run with a look ahead equals one without.
    """
    torch, accelerate = need("torch"), need("accelerate")
    rank = trainer.accelerator.process_index // plan.config.layout.sequence_parallel
    kept: dict[str, Any] = {}
    apart, layout = False, plan.config.layout
    number = plan.first_epoch()

    def read() -> Iterator[dict[str, Any]]:
        nonlocal kept, apart
        loader = trainer.get_train_dataloader()
        batches = iter(loader)
        try:
            for _, batch in zip(range(number), batches, strict=False):
                # Of a line that ranks share, this one holds a slice.
                whole = batch if layout.sequence_parallel == 1 else whole_line(batch, layout)
                if not kept or ("position_ids" in batch and not apart and shares_row(whole)):
                    kept, apart = batch, shares_row(whole)
                yield whole
        finally:
            batches.close()
            loader.end()

    with torch.random.fork_rng():
        mine = look(read(), plan.of_rank(rank), plan.marks)
    parts = accelerate.utils.gather_object([dataclasses.asdict(mine)])
    return merge([Seen(**part) for part in parts[:: plan.config.layout.sequence_parallel]]), kept


def preflight_callback(trainer: Any, plan: Plan) -> Any:
    """A trainer callback that looks at the first step and stops the run if anything is not as planned."""
    torch, transformers = need("torch"), need("transformers")
    seen, kept = look_ahead(trainer, plan)

    class Preflight(transformers.TrainerCallback):  # type: ignore[misc, name-defined, unused-ignore]
        """Static checks when training begins, measured ones in the first step, learning rates in the first few."""

        def __init__(self) -> None:
            self.checks: list[Check] = []
            self.probe: Probe | None = None
            self.first = 0

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del control
            self.first = state.global_step
            self.checks = _static(trainer, plan, seen, args)
            demand(self.checks)
            # Forward passes of a sharded model take all ranks: whether there are any does not depend on this rank's.
            if seen.together:
                shared = plan.config.layout.sequence_parallel > 1
                found = (
                    isolation_in_slices(trainer.model, kept, plan.config.layout)
                    if shared
                    else measure_isolation(trainer.model, kept)
                )
                if found is not None:
                    self.checks.append(inforce.check_isolation(*found, plan.config.precision))
            self.probe = Probe(trainer)

        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del args, control
            if state.global_step < self.first + WATCHED:
                demand([inforce.check_rate(trainer.optimizer, plan.config, plan.steps, state.global_step)])

        def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del args, control
            if self.probe is None or state.global_step != self.first:
                return
            self.probe.remove()
            self.checks += _measured(trainer, plan, self.probe, self.first)
            self.probe = None
            demand(self.checks)
            if trainer.is_world_process_zero():
                report = describe(trainer, plan, seen, self.checks)
                write_atomic(plan.work / PREFLIGHT, json.dumps(report, indent=1, ensure_ascii=False).encode())
                if plan.mode != "quiet" and not torch.distributed.is_initialized():  # else the starter prints it
                    print(preflight_text(report), flush=True)
            if plan.mode == "only":
                raise PreflightDone

    return Preflight()


def _static(trainer: Any, plan: Plan, seen: Seen, args: Any) -> list[Check]:
    """What can be read off the trainer when it is ready for its first step."""
    config, model = plan.config, trainer.model
    sharded = config.layout.sharding != "none"
    return [
        inforce.check_order(seen.moved, seen.micro_batches, plan.first_epoch() * config.layout.data_ranks),
        *_token_checks(seen),
        inforce.check_ranks(trainer.accelerator.num_processes, config),
        *inforce.check_optimizer(trainer.optimizer, config, None if sharded else list(model.named_parameters())),
        *inforce.check_schedule(trainer.lr_scheduler, config, plan.steps),
        inforce.same("optimiser steps", plan.steps, int(args.max_steps)),
        inforce.check_attention(model, config),
        *inforce.check_rope(model, config),
        inforce.check_offload(trainer.maybe_activation_offload_context, config),
        inforce.check_compile(trainer.model_wrapped, config),
    ]


def _token_checks(seen: Seen) -> list[Check]:
    """The end token trained, no special token doubled at the start, and the prompt of inference in front."""

    def all_of(name: str, found: int, number: int) -> Check:
        return Check(name, f"{number:,} of {number:,}", f"{found:,} of {number:,}", found == number)

    return [
        all_of("end token trained", seen.ended, seen.conversations),
        Check("doubled begin token", "0", str(seen.doubled), seen.doubled == 0),
        all_of("train prefix = inference prompt", seen.with_prompt, seen.prompts),
    ]


def _measured(trainer: Any, plan: Plan, probe: Probe, step: int) -> list[Check]:
    """What the first step did, up to the optimiser."""
    config, sharded = plan.config, plan.config.layout.sharding != "none"
    stored = {str(p.dtype).removeprefix("torch.") for p in trainer.model.parameters() if p.requires_grad}
    checks = [
        *inforce.check_recomputation(probe.layer_flags, probe.runs_a_layer, config),
        *inforce.check_precision(stored, probe.product_dtype, config),
        *inforce.check_clipping(
            probe.clipping, None if sharded else probe.norm_after(), config
        ),
    ]  # fmt: skip
    if probe.loss_head_bytes is not None:
        checks.append(inforce.check_loss_head(probe.loss_head_bytes, probe.all_logits_bytes))
    if config.layout.sequence_parallel == 1:
        ours = list(zip(probe.batches, plan.of_rank(trainer.accelerator.process_index, step), strict=False))
        real = look([batch for batch, _ in ours], [rows for _, rows in ours], plan.marks)
        planned_here = plan.micro_batches // config.layout.data_ranks
        checks.append(dataclasses.replace(inforce.check_order(real.moved, len(probe.batches), planned_here),
                                          name="micro-batches of the first step as planned"))  # fmt: skip
    divisor = plan.supervised(step)
    wanted = None if probe.log_prob is None else -probe.log_prob / divisor * trainer.accelerator.num_processes
    return [*checks, *inforce.check_normalisation(divisor, probe.divisor, wanted, probe.loss)]


def describe(trainer: Any, plan: Plan, seen: Seen, checks: Sequence[Check]) -> dict[str, Any]:
    """Everything that was measured, as plain values."""
    config = plan.config
    per_step = plan.micro_batches
    order = [number for micro in plan.dealt for number in micro]
    parameters = [(p.numel(), getattr(p, "ds_numel", p.numel()), p.requires_grad) for p in trainer.model.parameters()]
    return {
        **plan.about,
        "rows": len(plan.rows),
        "samples_seen": len(set(seen.samples)),
        "rows_seen": seen.rows,
        "conversations": seen.conversations,
        "micro_batches_read": seen.micro_batches,
        "longest_tokens": seen.longest,
        "longest_sample": seen.longest_sample,
        "tokens": seen.tokens,
        "supervised_tokens": seen.supervised,
        "supervised_share": seen.supervised / seen.tokens,
        "supervised_a_row": [seen.supervised_min, seen.supervised / seen.rows, seen.supervised_max],
        "end_token_trained": seen.ended,
        "doubled_begin": seen.doubled,
        "prompt_equal": seen.with_prompt,
        "packing": config.packing,
        "packing_factor": sum(len(one.names) for one in plan.sizes) / len(plan.sizes),
        "padding_share": 1 - seen.tokens / seen.computed,
        "steps": plan.steps,
        "epochs": len(order) / len(plan.rows),
        "batch_size": config.batch_size,
        "ranks": trainer.accelerator.num_processes,
        "micro_batches": per_step // config.layout.data_ranks,
        "rows_a_micro_batch": max(len(micro) for micro in plan.dealt[:per_step]),
        "tokens_a_step": sum(plan.sizes[number].tokens for number in order) / plan.steps,
        "supervised_a_step": sum(plan.sizes[number].supervised for number in order) / plan.steps,
        "parameters": sum(whole for _, whole, _ in parameters),
        "trained_parameters": sum(whole for _, whole, trained in parameters if trained),
        "rope": describe_rope(trainer.model),
        "in_force": [{"name": one.name, "wanted": one.wanted, "found": one.found} for one in checks],
    }
