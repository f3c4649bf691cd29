"""Controls: an arm that is equal to another in all but what it asks about.

A control is made from steps and tokens, not from epochs, and refused with the figures where it
cannot match the arm it stands against within ``TOLERANCE``.
"""

from __future__ import annotations

import dataclasses

from long1k.arm_kinds import ModeOf, ProblemMatched, Repeated, SingleLong, StepMatched, TokenMatched
from long1k.arms import Arm, optimiser_steps
from long1k.errors import RecipeError
from long1k.joining.spec import JoinSpec
from long1k.plugins import validate
from long1k.training.config import TrainConfig

TOLERANCE = 0.03  # relative; a control that is further off is refused
_CHANGES_ONE = ("shuffled_steps", "truncated")  # modes that change a sample of one trace too
_REJOINED = ("independent", "no_linker", "shuffled_parts", "shuffled_steps", "masked_pair")  # of given traces


def remade(where: str, spec: SingleLong | ModeOf | ProblemMatched, long: Arm) -> Arm:
    """A control of arm ``long`` whose samples are made in another way."""
    if long.data_arm != long.name:
        raise RecipeError(f"{where}, which has no samples of its own", f"name '{long.data_arm}'")
    if isinstance(spec, ProblemMatched):
        return _problem_matched(where, spec, long)
    if isinstance(spec, SingleLong):
        name, mode = f"single-long-of-{spec.of}", "single"
        said = f"single traces as long as the samples of {spec.of}"
    else:
        name, mode = f"{spec.mode.replace('_', '-')}-of-{spec.of}", spec.mode
        said = f"{spec.of} in the mode {spec.mode}"
    specs = tuple(_changed(where, spec, long, one, mode) for one in long.specs)
    if specs == long.specs or {one.mode for one in long.specs} == {mode}:
        raise RecipeError(f"{where} would be the same arm again", "leave it out, or choose another mode")
    arm = Arm(
        name, "control", spec.kind, long.target_tokens, specs, name, long.train, of=spec.of, against=spec.of,
        description=said, seed_key=long.seed_key,
    )  # fmt: skip
    return dataclasses.replace(arm, description=f"{said}, of the same traces") if arm.rejoins else arm


def _changed(where: str, spec: SingleLong | ModeOf, long: Arm, one: JoinSpec, mode: str) -> JoinSpec:
    """One group of samples of arm ``long`` in another mode."""
    if one.problems_of is not None or one.length_set is not None:
        raise RecipeError(f"{where}, whose samples have no length of their own", "name an arm with a target")
    # What changes how traces are joined leaves samples of one trace as they are: they stand in both arms.
    if one.num_problems == (1, 1) and mode not in _CHANGES_ONE:
        return one
    wanted = {key: value for key in ("tolerance", "where", "shortfall") if (value := getattr(spec, key)) is not None}
    wanted |= {"mode": mode, "extends": None}
    traces = "new" if isinstance(spec, SingleLong) else spec.traces
    can_rejoin = mode in _REJOINED and len(long.specs) == 1 and one.like is None
    if traces == "same" and not can_rejoin:
        raise RecipeError(
            f"{where}: samples in the mode {mode} cannot be made of the very traces of these",
            f"leave out traces: same, or choose one of {', '.join(_REJOINED)} and an arm of one group",
        )
    if can_rejoin and traces != "new":
        wanted |= {"extends": long.name, "target": None, "window": None}
    elif mode in ("single", "truncated"):
        wanted["num_problems"] = (1, 1)
    elif isinstance(spec, ModeOf) and spec.num_problems is not None:
        wanted["num_problems"] = spec.num_problems
    made = validate(JoinSpec, one.model_dump() | wanted, where)
    assert isinstance(made, JoinSpec)
    return made


def _problem_matched(where: str, spec: ProblemMatched, long: Arm) -> Arm:
    """The traces of ``long`` one by one: the batch grows by the number of traces in a sample."""
    least = sum(one.samples * one.num_problems[0] for one in long.specs)
    most = sum(one.samples * one.num_problems[1] for one in long.specs)
    if most == long.planned_samples:
        raise RecipeError(f"{where}, whose samples are single traces already", "name an arm of joined samples")
    train = long.train
    if train is not None:
        if least != most:
            raise RecipeError(
                f"{where}: {least:,} to {most:,} traces, so no batch is known to match its tokens",
                f"make the samples of '{spec.of}' of one number of problems (num_problems: [n, n])",
            )
        train = _same_tokens_a_step(where, train, long, most / long.planned_samples)
    one = long.specs[0]
    alone = JoinSpec(
        problems_of=spec.of, samples=most, mode="single", num_problems=(1, 1), layout=one.layout, linkers=one.linkers
    )
    name = f"problems-of-{spec.of}"
    return Arm(
        name, "control", spec.kind, None, (alone,), name, train, of=spec.of, against=spec.of,
        description=f"the traces of {spec.of}, each as a sample of its own", seed_key=long.seed_key,
    )  # fmt: skip


def _same_tokens_a_step(where: str, train: TrainConfig, long: Arm, factor: float) -> TrainConfig:
    """The training of ``long`` for samples ``factor`` times shorter: as many steps, as many tokens each.

    Where that is no whole number of samples the mismatch stays under 3 %, or the recipe is refused.
    """
    if train.packing is not None:
        raise RecipeError(f"{where}: with packing a batch counts rows, not samples", "leave train.packing out")
    wanted = train.batch_size * factor
    batch = max(1, round(wanted))
    if abs(batch / wanted - 1) > TOLERANCE:
        raise RecipeError(
            f"{where}: only a batch of {wanted:.1f} samples would match the tokens, and {batch} are "
            f"{100 * abs(batch / wanted - 1):.1f} % off",
            "choose lengths that are multiples of each other, or a larger batch",
        )
    steps = optimiser_steps(train, long.planned_samples)
    return train.model_copy(update={"batch_size": batch, "steps": steps, "epochs": None})


def by_short(where: str, spec: TokenMatched | Repeated | StepMatched, long: Arm, short: Arm) -> Arm:
    """A control of arm ``long`` made of samples like those of arm ``short``."""
    if isinstance(spec, StepMatched):
        return _step_matched(where, spec, long, short)
    tokens, few = long.planned_tokens, short.planned_tokens
    if tokens is None or few is None:
        raise RecipeError(f"{where}: both need samples of a target length", "name arms of a ladder")
    ratio = tokens / few
    if ratio < 1:
        raise RecipeError(f"{where}, which has more tokens", "swap of and short")
    if len(short.specs) != 1:
        raise RecipeError(
            f"{where}: '{spec.short}' has {len(short.specs)} groups of samples", "name an arm of one group"
        )
    one = short.specs[0]
    train = long.train
    if train is not None:
        train = _same_tokens_a_step(where, train, long, tokens / long.planned_samples / (one.target or 1))
    if isinstance(spec, Repeated):
        return Arm(
            f"repeat-{spec.short}-as-{spec.of}", "control", spec.kind, short.target_tokens, short.specs, short.data_arm,
            train, of=spec.of, short=spec.short, against=spec.of,
            description=f"the samples of {spec.short}, repeated for the tokens of {spec.of}", seed_key=short.seed_key,
        )  # fmt: skip
    name = f"tokens-of-{spec.of}"
    more = one.model_copy(update={"samples": round(one.samples * ratio)})
    made = more.samples * (one.target or 0)
    if abs(made / tokens - 1) > TOLERANCE:
        raise RecipeError(
            f"{where}: {more.samples:,} samples have {made:,} tokens, {100 * abs(made / tokens - 1):.1f} % off "
            f"its {tokens:,}",
            "take more samples, or lengths that are multiples of each other",
        )
    return Arm(
        name, "control", spec.kind, more.target, (more,), name, train, of=spec.of, short=spec.short, against=spec.of,
        description=f"as many tokens as {spec.of} in more samples like those of {spec.short}", seed_key=short.seed_key,
    )  # fmt: skip


def _step_matched(where: str, spec: StepMatched, long: Arm, short: Arm) -> Arm:
    """The samples of ``short`` under the training of ``long``: equal steps and batches, fewer tokens."""
    train = long.train
    if train is not None:
        if train.packing is not None:
            raise RecipeError(f"{where}: with packing a batch counts rows, not samples", "leave train.packing out")
        train = train.model_copy(update={"steps": optimiser_steps(train, long.planned_samples), "epochs": None})
        own = short.train
        same = None if own is None else (optimiser_steps(own, short.planned_samples), own.batch_size)
        if own is not None and same == (train.steps, train.batch_size) and own.learning_rate == train.learning_rate:
            raise RecipeError(
                f"{where}: '{spec.short}' itself takes {train.steps:,} steps of {train.batch_size} samples",
                f"compare '{spec.of}' with '{spec.short}', which is matched in steps as it stands, and leave this out",
            )
    return Arm(
        f"steps-of-{spec.of}-by-{spec.short}", "control", spec.kind, short.target_tokens, short.specs, short.data_arm,
        train, of=spec.of, against=spec.of, seed_key=short.seed_key,
        description=f"the samples of {spec.short} for the optimiser steps of {spec.of}",
    )  # fmt: skip
