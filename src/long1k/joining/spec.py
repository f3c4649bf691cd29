"""What a group of samples should be: how long, how many, made of which traces, joined how."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from long1k.errors import RecipeError
from long1k.joining.linkers import bank_named

Mode = Literal[
    "independent", "same_problem", "dependent", "single", "no_linker", "shuffled_parts", "shuffled_steps",
    "truncated", "masked_pair",
]  # fmt: skip
ONE_TRACE = ("single", "truncated")
_SEVERAL = ("same_problem", "dependent", "shuffled_parts", "masked_pair")  # meaningless with a single trace
_ONE_TURN = ("same_problem", "dependent", "shuffled_parts")  # their parts share one user turn
_REJOIN = ("independent", "no_linker", "shuffled_parts", "shuffled_steps", "masked_pair")
_DEFAULT_PROBLEMS = (2, 2)


class Where(BaseModel):
    """Which traces of the pool may be used; bounds are inclusive and null leaves a side open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    difficulty: tuple[float | None, float | None] | None = Field(default=None, description="[least, most]")
    thinking_tokens: tuple[int | None, int | None] | None = Field(default=None, description="[least, most]")
    subjects: list[str] | None = Field(default=None, description="only these")
    sources: list[str] | None = Field(default=None, description="only these, by their names in the recipe")
    teachers: list[str] | None = Field(default=None, description="only these")
    correct: bool | None = Field(default=None, description="true: verified traces only; false: wrong ones only")

    @model_validator(mode="after")
    def _bounds(self) -> Where:
        for name in ("difficulty", "thinking_tokens"):
            low, high = getattr(self, name) or (None, None)
            if low is not None and high is not None and low > high:
                raise ValueError(f"where.{name} is [least, most] with least <= most")
        for name in ("subjects", "sources", "teachers"):
            if getattr(self, name) == []:
                raise ValueError(f"where.{name} is an empty list, which no trace fits; leave it out")
        return self


class JoinSpec(BaseModel):
    """One group of samples: how long, how many, made of how many problems."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: int | None = Field(default=None, ge=1, description="tokens of the whole sample, after the chat template")
    window: tuple[int, int] | None = Field(default=None, description="least and most tokens, instead of a target")
    like: str | None = Field(default=None, description="an arm whose samples' lengths are the targets, one by one")
    extends: str | None = Field(
        default=None,
        description="an arm whose samples these contain, trace by trace; without a length just those, joined anew",
    )
    length_set: tuple[int, int] | None = Field(
        default=None, description="[i, n]: of each problem with n traces or more the one at the i-th of n quantiles"
    )
    problems_of: str | None = Field(
        default=None, description="an arm whose traces are taken, each as a sample of its own, of whatever length"
    )
    samples: int = Field(ge=1, description="how many")
    mode: Mode = Field(default="independent", description="how traces become a sample")
    tolerance: float = Field(default=0.01, ge=0, lt=1, description="share of the target; 0 demands the exact length")
    num_problems: tuple[int, int] = Field(
        default=_DEFAULT_PROBLEMS, description="least and most traces a sample (of one problem in mode same_problem)"
    )
    layout: Literal["blocks", "turns"] = Field(
        default="blocks", description="blocks: one turn, problems labelled; turns: a turn a problem"
    )
    linkers: str = Field(default="english", description="bank of linking words: a name, or module:BANK")
    where: Where = Where()
    slice: tuple[int, int] | None = Field(
        default=None, description="[i, n]: only the i-th of n disjoint sets of problems (a hash divides them)"
    )
    shortfall: Literal["error", "allow"] = Field(default="error", description="what to do if the pool allows fewer")

    @model_validator(mode="after")
    def _consistent(self) -> JoinSpec:
        if not 1 <= self.num_problems[0] <= self.num_problems[1]:
            raise ValueError("num_problems must be [least, most] with 1 <= least <= most")
        try:
            bank_named(self.linkers)
        except RecipeError as error:
            raise ValueError(str(error)) from None
        lengths = [self.target, self.window, self.like, self.length_set, self.problems_of]
        given = sum(one is not None for one in lengths)
        if given != 1 and not (given == 0 and self.extends is not None):
            raise ValueError("give exactly one of target, window, like, length_set and problems_of (or extends alone)")
        for name in ("slice", "length_set"):
            pair = getattr(self, name)
            if pair is not None and not 0 <= pair[0] < pair[1]:
                raise ValueError(f"{name} is [i, n] with 0 <= i < n")
        if self.window is not None and not 1 <= self.window[0] <= self.window[1]:
            raise ValueError("window is [least, most] with 1 <= least <= most")
        for fault in _mode_faults(self):
            raise ValueError(fault)
        return self

    @property
    def tolerance_tokens(self) -> int:
        """The tolerance in whole tokens (0 without a target)."""
        return self.tolerance_of(self.target or 0)

    def tolerance_of(self, target: int) -> int:
        """The tolerance in whole tokens around a target."""
        return int(target * self.tolerance)

    @property
    def parts(self) -> tuple[int, int]:
        """Least and most traces of a sample, as the mode has it."""
        alone = self.mode in ONE_TRACE or self.length_set is not None or self.problems_of is not None
        return (1, 1) if alone else self.num_problems

    @property
    def bank(self) -> str:
        """The bank of linking words that is used, as the mode has it."""
        return "none" if self.mode in ("no_linker", "masked_pair") else self.linkers


def _mode_faults(spec: JoinSpec) -> list[str]:
    """What does not go together, in words; empty if all does."""
    least = spec.num_problems[0]
    faults = []
    if spec.mode in ONE_TRACE or spec.length_set is not None:
        if spec.num_problems not in ((1, 1), _DEFAULT_PROBLEMS):
            faults.append("a sample of one trace (mode single or truncated, length_set) has num_problems [1, 1]")
        if spec.extends is not None:
            faults.append("a sample of one trace cannot extend another: leave out extends")
    if spec.mode in _SEVERAL and least < 2:
        faults.append(f"mode {spec.mode} needs two traces or more: num_problems [2, 2]")
    if spec.mode == "masked_pair" and spec.num_problems != (2, 2):
        faults.append("mode masked_pair is made of two traces: num_problems [2, 2]")
    if spec.mode in _ONE_TURN and spec.layout == "turns":
        faults.append(f"mode {spec.mode} puts everything into one turn: layout blocks")
    if spec.mode == "dependent" and spec.linkers not in ("english", "micro"):
        faults.append("mode dependent says the carried result: linkers english (or micro, in the micro-world)")
    if spec.mode == "dependent" and spec.where.correct is False:
        faults.append("mode dependent carries verified answers only: where.correct cannot be false")
    if spec.length_set is not None:
        if spec.length_set[1] < 2:
            faults.append("length_set is [i, n] with n >= 2: one quantile makes no set")
        if spec.mode not in ("independent", "single", "shuffled_steps"):
            faults.append(f"length_set takes whole single traces: mode {spec.mode} cannot be made of it")
    if spec.problems_of is not None and (spec.mode != "single" or spec.extends is not None):
        faults.append("problems_of takes whole single traces: mode single, and no extends")
    if spec.extends is not None and spec.mode not in _REJOIN:
        faults.append(f"extends joins the traces of another arm: mode {spec.mode} cannot; known: {', '.join(_REJOIN)}")
    return faults
