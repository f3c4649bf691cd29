"""Arms: what a recipe's ladders and experiments come to, each with its samples and its training.

Controls of arms are made in ``arm_controls``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from long1k.arm_kinds import Difficulty, EqualSteps, Ladder, Mixtures, SameProblems
from long1k.errors import RecipeError
from long1k.joining.spec import JoinSpec
from long1k.training.config import TrainConfig


@dataclass(frozen=True, slots=True)
class Arm:
    """One training condition, ready to run.

    ``data_arm`` is the arm whose samples it trains on (itself, or another's that it repeats);
    ``of`` the arm it is a control of; ``against`` the arm that the balance table compares it with;
    ``train`` is None for the untrained baseline and in a study of data only.  ``seed_key`` decides,
    with the recipe's name and the seed, the choice of traces: arms that share it draw alike.
    """

    name: str
    role: Literal["rung", "control", "baseline", "arm"]
    kind: str
    target_tokens: int | None
    specs: tuple[JoinSpec, ...]
    data_arm: str
    train: TrainConfig | None
    of: str | None = None
    short: str | None = None
    against: str | None = None
    description: str = ""
    seed_key: str | int = ""

    @property
    def related(self) -> tuple[str, ...]:
        """Arms whose samples must be made before this one's."""
        names = (name for spec in self.specs for name in (spec.like, spec.extends, spec.problems_of))
        return tuple(dict.fromkeys(name for name in names if name is not None))

    @property
    def rejoins(self) -> bool:
        """Whether it joins the very traces of another arm anew, to whatever length that gives."""
        return any(spec.extends is not None and spec.target is None for spec in self.specs)

    @property
    def planned_samples(self) -> int:
        """Samples asked for."""
        return sum(spec.samples for spec in self.specs)

    @property
    def planned_tokens(self) -> int | None:
        """Tokens of all samples if each has its target; None where a group has none."""
        if any(spec.target is None for spec in self.specs):
            return None
        return sum((spec.target or 0) * spec.samples for spec in self.specs)


def optimiser_steps(train: TrainConfig | None, num_samples: int) -> int | None:
    """Steps of a training over so many samples; None without training, or where packing decides."""
    if train is None:
        return None
    if train.steps is not None:
        return train.steps
    if train.packing is not None:
        return None
    return max(1, math.ceil((train.epochs or 1) * num_samples / train.batch_size))


_POOLS = {
    "shared": "drawn from the whole pool; rungs may share problems",
    "disjoint": "no problem stands in two rungs",
    "nested": "each sample is contained, trace by trace, in one of the next longer rung",
}


def ladder_arms(spec: Ladder, train: TrainConfig | None) -> list[Arm]:
    """One arm a rung.  Shared rungs draw each for itself; the others must agree on one seed."""
    rungs = spec.rungs()
    first = rungs[0][0]
    made = []
    for name, target, groups in rungs:
        said = f"{spec.samples:,} samples of {target:,} tokens; {_POOLS[spec.problems]}"
        if spec.mixture is not None:
            said += f"; {groups[1].samples:,} of them single traces"
        key: str | int = target if spec.problems == "shared" else f"ladder {spec.prefix}"
        made.append(
            Arm(
                name, "rung", "ladder", target, groups, name, train, against=first if name != first else None,
                description=said, seed_key=key,
            )
        )  # fmt: skip
    return made


def same_problems_arms(spec: SameProblems, train: TrainConfig | None) -> list[Arm]:
    """One arm a quantile of solution length; all draw the same problems."""
    names = [f"{spec.name}-{number + 1}" for number in range(spec.sets)]
    shared: dict[str, Any] = {
        "samples": spec.samples, "mode": "single", "num_problems": (1, 1), "where": spec.where,
        "shortfall": spec.shortfall,
    }  # fmt: skip
    made = []
    for number, name in enumerate(names):
        spec_of_set = JoinSpec(length_set=(number, spec.sets), **shared)
        said = f"solution {number + 1} of {spec.sets}, by length, of the same problems"
        made.append(
            Arm(
                name, "arm", "same_problems", None, (spec_of_set,), name, train, against=names[0] if number else None,
                description=said, seed_key=f"same problems {spec.name}",
            )
        )  # fmt: skip
    return made


def difficulty_arms(spec: Difficulty, train: TrainConfig | None) -> list[Arm]:
    """A hard arm of single problems, and an easy one of the same length."""
    prefix = "" if spec.name is None else f"{spec.name}-"
    composite = spec.design == "composite"
    hard_name, easy_name = (
        (f"{prefix}composite-hard", f"{prefix}composite-easy")
        if composite
        else (f"{prefix}single-hard", f"{prefix}double-easy")
    )
    length: dict[str, Any] = {"target": spec.target} if spec.window is None else {"window": spec.window}
    alike = dict(length) if composite and spec.window is None else {"like": hard_name}
    hard_keys = spec.shared() | {"mode": "single", "num_problems": (1, 1), "where": spec.hard}
    easy_keys = spec.shared() | {"where": spec.easy}
    hard = JoinSpec(samples=spec.samples, **length, **hard_keys)
    easy = JoinSpec(samples=spec.samples, **alike, **easy_keys)
    least, most = spec.num_problems
    several = str(least) if least == most else f"{least} to {most}"
    how = "to one target" if "like" not in alike else "each to the length of one hard sample"
    key = f"difficulty {prefix}{spec.design}"
    said = f"{several} easy problems a sample, made {how}"
    return [
        Arm(
            hard_name, "arm", "difficulty", spec.target, (hard,), hard_name, train,
            description="one hard problem a sample", seed_key=key,
        ),
        Arm(
            easy_name, "control", "difficulty", spec.target, (easy,), easy_name, train, of=hard_name, against=hard_name,
            description=said, seed_key=key,
        ),
    ]  # fmt: skip


def mixture_arms(spec: Mixtures, train: TrainConfig | None) -> list[Arm]:
    """One arm a share of single traces; all are compared with the first."""
    made: list[Arm] = []
    for name, groups in spec.arms():
        singles = sum(group.samples for group in groups if group.mode == "single")
        said = f"{spec.samples - singles:,} joined samples and {singles:,} single traces"
        made.append(
            Arm(
                name, "arm", spec.alike, spec.target, groups, name, train, against=made[0].name if made else None,
                description=said, seed_key=f"mixture {spec.name}",
            )
        )  # fmt: skip
    return made


def equal_steps_arms(spec: EqualSteps, train: TrainConfig | None) -> list[Arm]:
    """One arm a length and number of steps; the samples of a length are made once, and all have one schedule's shape.

    Raises:
        RecipeError: the recipe trains nothing.
    """
    if train is None:
        raise RecipeError(
            "arms of kind steps differ in their training, and train is null", "add train, or use a ladder"
        )
    made = []
    for steps in spec.steps:
        own = train.model_copy(update={"steps": steps, "epochs": None})
        for target in spec.targets:
            name, first = f"{spec.prefix}{target}-{steps}", f"{spec.prefix}{target}-{spec.steps[0]}"
            against = None if target == spec.targets[0] else f"{spec.prefix}{spec.targets[0]}-{steps}"
            groups = (JoinSpec(target=target, samples=spec.samples, **spec.shared()),)
            made.append(
                Arm(
                    name, "arm", "steps", target, groups, first, own, against=against, seed_key=target,
                    description=f"{spec.samples:,} samples of {target:,} tokens for {steps:,} steps",
                )
            )  # fmt: skip
    return made
