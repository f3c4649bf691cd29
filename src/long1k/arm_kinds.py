"""The kinds of arms that a recipe may list, each a strict model told apart by ``kind``.

A kind says what is wanted; ``recipe.expand_arms`` makes arms of it.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from long1k.joining.spec import JoinSpec, Mode, Where

NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # names become folders
Bounds = tuple[float | None, float | None]


class Strict(BaseModel):
    """An unknown key is an error; a value cannot be changed after it was checked."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Group(JoinSpec):
    """Samples of one length (see JoinSpec)."""


class _Joining(Strict):
    """How samples are joined: handed to JoinSpec as it stands."""

    mode: Mode = Field(default="independent", description="how traces become a sample")
    tolerance: float = Field(default=0.01, ge=0, lt=1, description="share of the target; 0 demands the exact length")
    num_problems: tuple[int, int] = Field(default=(2, 2), description="least and most traces a sample")
    layout: Literal["blocks", "turns"] = Field(
        default="blocks", description="blocks: one turn, problems labelled; turns: a turn a problem"
    )
    linkers: str = Field(default="english", description="bank of linking words: a name, or module:BANK")
    where: Where = Where()
    shortfall: Literal["error", "allow"] = Field(
        default="error", description="what to do if the pool allows fewer samples"
    )

    def shared(self) -> dict[str, Any]:
        """The keys that every JoinSpec of this kind has in common."""
        return {key: getattr(self, key) for key in _Joining.model_fields}


class Mixture(Strict):
    """Single traces of a length window in place of a part of the joined samples."""

    share: float = Field(gt=0, lt=1, description="share of the samples that are single traces")
    window: tuple[int, int] | None = Field(
        default=None, description="least and most tokens; by default the rung's target within its tolerance"
    )
    where: Where = Field(default=Where(), description="which traces the single samples may be")


class Ladder(_Joining):
    """One arm a length, the same number of samples each: L1000, L2000, …"""

    kind: Literal["ladder"]
    targets: list[int] = Field(min_length=1, description="tokens of a sample, one rung each")
    samples: int = Field(ge=1, description="samples of every rung")
    problems: Literal["shared", "nested", "disjoint"] = Field(
        default="shared",
        description="shared: each rung draws from the whole pool; disjoint: no problem in two rungs; "
        "nested: the samples of a rung contain those of the rung before",
    )
    mixture: Mixture | None = None
    prefix: str = Field(default="L", pattern=NAME, description="a rung is called by prefix and target")

    @model_validator(mode="after")
    def _rungs(self) -> Ladder:
        if self.problems == "nested":
            if sorted(set(self.targets)) != self.targets:
                raise ValueError("nested rungs grow: give targets in ascending order")
            if self.num_problems[1] - self.num_problems[0] < len(self.targets) - 1:
                raise ValueError(
                    f"each nested rung has a trace more than the one before: {len(self.targets)} rungs need "
                    f"num_problems [least, most] at least {len(self.targets) - 1} apart"
                )
            if self.mixture is not None:
                raise ValueError("a rung with a mixture of single traces cannot contain the rung before: no nesting")
        self.rungs()
        return self

    def rungs(self) -> list[tuple[str, int, tuple[JoinSpec, ...]]]:
        """(name, target, groups of samples) of each rung."""
        made = []
        singles = 0 if self.mixture is None else round(self.mixture.share * self.samples)
        if self.mixture is not None and not 0 < singles < self.samples:
            raise ValueError(f"a share of {self.mixture.share} of {self.samples} samples is {singles} samples")
        for number, target in enumerate(self.targets):
            extra: dict[str, Any] = {}
            if self.problems == "disjoint" and len(self.targets) > 1:
                extra["slice"] = (number, len(self.targets))
            before = None
            if self.problems == "nested":  # room for a trace more in every rung to come
                least, most = self.num_problems
                extra["num_problems"] = (least + number, most - (len(self.targets) - 1 - number))
                before = f"{self.prefix}{self.targets[number - 1]}" if number else None
            keys = self.shared() | extra
            specs = [JoinSpec(target=target, samples=self.samples - singles, extends=before, **keys)]
            if self.mixture is not None:
                keys |= {"mode": "single", "num_problems": (1, 1), "where": self.mixture.where}
                length: dict[str, Any] = {"window": self.mixture.window} if self.mixture.window else {"target": target}
                specs.append(JoinSpec(samples=singles, **length, **keys))
            made.append((f"{self.prefix}{target}", target, tuple(specs)))
        return made


class Mixtures(_Joining):
    """Joined samples and single traces in different shares: mix-0 (joined only), mix-25, … mix-100."""

    kind: Literal["mixture"]
    name: str = Field(default="mix", pattern=NAME, description="an arm is called by name and percentage")
    target: int = Field(ge=1, description="tokens of a joined sample, and of a single trace unless there is a window")
    samples: int = Field(ge=1, description="samples of every arm")
    shares: list[float] = Field(min_length=2, description="shares of single traces, 0 to 1, one arm each")
    window: tuple[int, int] | None = Field(default=None, description="least and most tokens of the single traces")
    single: Where = Field(default=Where(), description="which traces the single samples may be")

    @field_validator("shares")
    @classmethod
    def _shares(cls, value: list[float]) -> list[float]:
        if any(not 0 <= share <= 1 for share in value):
            raise ValueError("shares lie between 0 (joined samples only) and 1 (single traces only)")
        if len({round(100 * share) for share in value}) != len(value):
            raise ValueError("shares differ by one per cent at least: arms are named by it")
        return value

    @property
    def alike(self) -> str:
        """The kind that the balance table knows it by: with a window the lengths differ too."""
        return "mixture" if self.window is None else "mixture_window"

    def arms(self) -> list[tuple[str, tuple[JoinSpec, ...]]]:
        """(name, groups of samples) of each share."""
        made = []
        length: dict[str, Any] = {"target": self.target} if self.window is None else {"window": self.window}
        for share in self.shares:
            singles = round(share * self.samples)
            groups = []
            if singles < self.samples:
                groups.append(JoinSpec(target=self.target, samples=self.samples - singles, **self.shared()))
            if singles:
                keys = self.shared() | {"mode": "single", "num_problems": (1, 1), "where": self.single}
                groups.append(JoinSpec(samples=singles, **length, **keys))
            made.append((f"{self.name}-{round(100 * share)}", tuple(groups)))
        return made


class EqualSteps(_Joining):
    """Samples of several lengths, each trained for several numbers of steps: L1500-100, L12000-100, L1500-150, …"""

    kind: Literal["steps"]
    targets: list[int] = Field(min_length=2, description="tokens of a sample")
    steps: list[int] = Field(min_length=1, description="optimiser steps, the same for every length")
    samples: int = Field(ge=1, description="samples of every length")
    prefix: str = Field(default="L", pattern=NAME, description="an arm is called by prefix, target and steps")

    @field_validator("targets", "steps")
    @classmethod
    def _differ(cls, value: list[int]) -> list[int]:
        if sorted(set(value)) != value or value[0] < 1:
            raise ValueError("give positive numbers in ascending order")
        return value


class SingleLong(Strict):
    """Single traces of the length of arm ``of``: as many samples of as many tokens, nothing joined."""

    kind: Literal["single_long"]
    of: str = Field(description="the arm it is a control of")
    tolerance: float | None = Field(default=None, ge=0, lt=1, description="that of arm ``of`` by default")
    where: Where | None = Field(default=None, description="that of arm ``of`` by default")
    shortfall: Literal["error", "allow"] | None = Field(default=None, description="that of arm ``of`` by default")


class TokenMatched(Strict):
    """As many tokens a step and in all as arm ``of``, in more and shorter samples of arm ``short``'s length."""

    kind: Literal["token_matched"]
    of: str = Field(description="the arm whose tokens are matched")
    short: str = Field(description="the arm whose samples these are like")


class StepMatched(Strict):
    """The samples of arm ``short`` for as many optimiser steps of as many samples as arm ``of``."""

    kind: Literal["step_matched"]
    of: str = Field(description="the arm whose steps are matched")
    short: str = Field(description="the arm whose samples these are like")


class ProblemMatched(Strict):
    """The very traces of arm ``of``, each as a sample of its own; as many tokens a step, as many steps."""

    kind: Literal["problem_matched"]
    of: str = Field(description="the arm it is a control of")


class Repeated(Strict):
    """As many tokens a step as arm ``of``, by repeating the samples of arm ``short``."""

    kind: Literal["repeated"]
    of: str = Field(description="the arm whose tokens are matched")
    short: str = Field(description="the arm whose samples are repeated")


class ModeOf(Strict):
    """Arm ``of`` with its samples made in another mode: same number of samples, seed and training.

    ``traces: same`` joins the very traces of arm ``of`` anew, sample by sample, to whatever length that gives;
    ``new`` draws others to the same target.  Modes that are not made of those traces can only draw.
    """

    kind: Literal["mode"]
    of: str = Field(description="the arm whose lengths, or whose traces, are taken")
    mode: Mode = Field(description="how traces become a sample here")
    traces: Literal["same", "new"] | None = Field(default=None, description="same where the mode can, else new")
    num_problems: tuple[int, int] | None = Field(default=None, description="with new traces: that of arm ``of``")
    where: Where | None = Field(default=None, description="with new traces: that of arm ``of``")
    tolerance: float | None = Field(default=None, ge=0, lt=1, description="that of arm ``of`` by default")
    shortfall: Literal["error", "allow"] | None = Field(default=None, description="that of arm ``of`` by default")


class SameProblems(Strict):
    """Sets of solutions to the same problems, short to long: set-1 … set-n (the paper's experiment A)."""

    kind: Literal["same_problems"]
    name: str = Field(default="set", pattern=NAME, description="a set is called by name and number")
    sets: int = Field(default=4, ge=2, description="quantiles of a problem's solution lengths")
    samples: int = Field(ge=1, description="problems, each once in every set")
    where: Where = Where()
    shortfall: Literal["error", "allow"] = Field(
        default="error", description="what to do if the pool allows fewer samples"
    )


class Difficulty(_Joining):
    """Easy and hard data of one length (the paper's experiment B).

    ``composite``: the hard single problems and samples of several easy ones are made to one target.
    ``double_vs_single``: every sample of two easy problems has the length of one hard single problem.
    """

    kind: Literal["difficulty"]
    design: Literal["composite", "double_vs_single"] = Field(description="what is compared")
    easy: Where = Field(description="[least, most] difficulty, or which traces are easy")
    hard: Where = Field(description="[least, most] difficulty, or which traces are hard")
    target: int | None = Field(default=None, ge=1, description="tokens of a sample; or give a window")
    window: tuple[int, int] | None = Field(default=None, description="least and most tokens of the hard samples")
    samples: int = Field(ge=1, description="samples of each arm")
    name: str | None = Field(default=None, pattern=NAME, description="put before the names of the two arms")

    @field_validator("easy", "hard", mode="before")
    @classmethod
    def _bounds(cls, value: Any) -> Any:
        return {"difficulty": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _lengths(self) -> Difficulty:
        if (self.target is None) == (self.window is None):
            raise ValueError("give exactly one of target and window")
        if self.where != Where():
            raise ValueError("say where in easy and in hard")
        if self.easy == self.hard:
            raise ValueError("easy and hard are the same traces")
        a, b = self.easy.difficulty, self.hard.difficulty
        if a is not None and b is not None and a[1] is not None and b[0] is not None and a[1] >= b[0]:
            raise ValueError(f"easy ends at {a[1]:g} and hard begins at {b[0]:g}: they overlap")
        if self.num_problems[0] < 2 or (self.design == "double_vs_single" and self.num_problems != (2, 2)):
            raise ValueError("the easy samples of composite join two or more problems, those of double_vs_single two")
        return self


class Untrained(Strict):
    """The model as it is before any arm trains it."""

    kind: Literal["untrained"]
    name: str = Field(default="untrained", pattern=NAME, description="of the arm")


class Samples(Strict):
    """One arm of its own making, from groups of samples."""

    kind: Literal["samples"]
    name: str = Field(pattern=NAME, description="of the arm")
    of: str | None = Field(default=None, description="the arm that the balance table compares it with")
    groups: list[Group] = Field(min_length=1, description="its samples, group by group")
    train: dict[str, Any] = Field(default_factory=dict, description="leaves of train that differ in this arm")


ArmSpec = Annotated[
    Ladder | SingleLong | TokenMatched | StepMatched | ProblemMatched | Repeated | ModeOf | SameProblems | Difficulty
    | Mixtures | EqualSteps | Untrained | Samples,
    Field(discriminator="kind"),
]  # fmt: skip
