"""What a group of samples should be: how long, how many, made of which traces, joined how."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from long1k.joining.linkers import BANKS

Mode = Literal[
    "independent", "same_problem", "dependent", "single", "no_linker", "shuffled_parts", "shuffled_steps",
    "truncated", "masked_pair",
]  # fmt: skip


class Where(BaseModel):
    """Which traces of the pool may be used; bounds are inclusive and null leaves a side open."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    difficulty: tuple[float | None, float | None] | None = None
    thinking_tokens: tuple[int | None, int | None] | None = None
    subjects: list[str] | None = None
    sources: list[str] | None = None
    teachers: list[str] | None = None
    correct: bool | None = Field(default=None, description="true: verified traces only; false: wrong ones only")


class JoinSpec(BaseModel):
    """One group of samples: how long, how many, made of how many problems."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: int | None = Field(default=None, ge=1, description="tokens of the whole sample, after the chat template")
    window: tuple[int, int] | None = Field(default=None, description="least and most tokens, instead of a target")
    like: str | None = Field(default=None, description="an arm whose samples' lengths are the targets, one by one")
    extends: str | None = Field(default=None, description="an arm whose samples these contain, trace by trace")
    length_set: tuple[int, int] | None = Field(
        default=None, description="[i, n]: of each problem with n traces or more the one at the i-th of n quantiles"
    )
    samples: int = Field(ge=1)
    mode: Mode = "independent"
    tolerance: float = Field(default=0.01, ge=0, lt=1, description="share of the target; 0 demands the exact length")
    num_problems: tuple[int, int] = Field(default=(2, 2), description="least and most traces a sample")
    layout: Literal["blocks", "turns"] = "blocks"
    linkers: str = "english"
    where: Where = Where()
    slice: tuple[int, int] | None = Field(
        default=None, description="[i, n]: only the i-th of n disjoint sets of problems (a seeded hash divides them)"
    )
    shortfall: Literal["error", "allow"] = Field(default="error", description="what to do if the pool allows fewer")

    @model_validator(mode="after")
    def _consistent(self) -> JoinSpec:
        if not 1 <= self.num_problems[0] <= self.num_problems[1]:
            raise ValueError("num_problems must be [least, most] with 1 <= least <= most")
        if self.linkers not in BANKS:
            raise ValueError(f"unknown bank of linking words '{self.linkers}'; known: {', '.join(BANKS)}")
        lengths = [self.target, self.window, self.like, self.length_set]
        if sum(one is not None for one in lengths) != 1:
            raise ValueError("give exactly one of target, window, like and length_set")
        for name in ("slice", "length_set"):
            pair = getattr(self, name)
            if pair is not None and not 0 <= pair[0] < pair[1]:
                raise ValueError(f"{name} is [i, n] with 0 <= i < n")
        if self.window is not None and not 1 <= self.window[0] <= self.window[1]:
            raise ValueError("window is [least, most] with 1 <= least <= most")
        return self

    @property
    def tolerance_tokens(self) -> int:
        """The tolerance in whole tokens (0 without a target)."""
        return int((self.target or 0) * self.tolerance)
