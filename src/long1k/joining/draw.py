"""Draws the samples of a group out of a working set of traces: who goes to which search.

Everything here is decided by the parts, the specification and the seeds.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from long1k.joining.build import Builder, Made
from long1k.joining.coverage import Lengths
from long1k.joining.dependent import integer_answer, replaceable
from long1k.joining.fit import fit, fit_each
from long1k.joining.fitter import Aim, Fitter, Request
from long1k.joining.lengths import LengthPool, Part
from long1k.joining.render import stated_answer
from long1k.joining.spec import JoinSpec
from long1k.joining.steps import shuffle_steps
from long1k.rows import Example, Trace

Seeds = Callable[[int], int]
_GIVEN_UP = 50  # problems that are tried for one length before it is given up
_LEAST_TRACES_COUNTED = 3
_UNSURE = 64  # tokens that the estimate of a single trace may be off: a seam, or an answer that is boxed at the end


@dataclass(frozen=True, slots=True)
class Wish:
    """One sample that is wanted: its aim, and the parts of another arm's sample that it takes over."""

    target: int | None
    low: int
    high: int
    fixed: tuple[Part, ...] = ()


def able(spec: JoinSpec, trace: Trace) -> bool:
    """Whether a trace's text allows the mode; its length is no matter here."""
    if spec.mode == "shuffled_steps":
        return shuffle_steps(trace.thinking, random.Random(0)) is not None
    if spec.mode == "dependent" and spec.linkers == "micro":
        return trace.correct is True
    if spec.mode == "dependent":
        return integer_answer(stated_answer(trace)) is not None or next(replaceable(trace.question), None) is not None
    return True


def draw(parts: Sequence[Part], spec: JoinSpec, wishes: Sequence[Wish], builder: Builder, seeds: Seeds) -> list[Made]:
    """Samples for the wishes, as far as the parts allow, without replacement.

    Args:
        parts: the free traces of the working set.
        wishes: one a sample; those of a plain target are all alike.
        builder: knows the traces of all parts, and has measured them.
        seeds: seed of the i-th sample (-1 and -2: of the whole).
    """
    least, most = spec.parts
    if spec.problems_of is not None or (
        spec.extends is not None and spec.target is None and spec.window is None and spec.like is None
    ):
        again = [builder.build(wish.fixed, random.Random(seeds(number))) for number, wish in enumerate(wishes)]
        return [made for made in again if made is not None]
    if spec.mode == "truncated":
        return _cut(parts, wishes, builder, seeds)
    if spec.length_set is not None:
        whole = [builder.build([part], random.Random(seeds(number))) for number, part in enumerate(parts)]
        return [made for made in whole if made is not None][: len(wishes)]
    if spec.mode == "same_problem":
        return _tries(parts, spec, wishes, builder, seeds)
    if spec.window is not None and most == 1:
        return _uniform(parts, wishes, builder, seeds)
    if spec.target is not None and spec.extends is None:
        request = Request(spec.target, spec.tolerance_tokens, len(wishes), least, most)
        samples, lengths = fit(parts, request, builder, seeds)
        return list(zip(samples, lengths, strict=True))
    found = fit_each(parts, _aims(wishes, seeds), least, most, builder, seeds)
    return [_told(made, wish) for made, wish in zip(found, wishes, strict=True) if made is not None]


def _told(made: Made, wish: Wish) -> Made:
    """The sample with the length that was aimed at, where that differs from sample to sample."""
    return replace(made[0], target_tokens=wish.target), made[1]


def _aims(wishes: Sequence[Wish], seeds: Seeds) -> list[Aim]:
    """The aim of each wish; one without a target aims at a random length of its window and takes any inside."""
    aims = []
    for number, wish in enumerate(wishes):
        target = wish.target
        if target is None:
            target = random.Random(seeds(number)).randint(wish.low, wish.high)
        aims.append(Aim(target, wish.low, wish.high, wish.fixed, settle=wish.target is None))
    return aims


def _uniform(parts: Sequence[Part], wishes: Sequence[Wish], builder: Builder, seeds: Seeds) -> list[Made]:
    """Single traces of any length inside a window, each that fits with the same chance."""
    low, high = wishes[0].low, wishes[0].high
    order = list(parts)
    random.Random(seeds(-1)).shuffle(order)
    made: list[Made] = []
    for part in order:
        estimate = part.length + builder.overhead(1)
        if len(made) == len(wishes):
            break
        if low - _UNSURE <= estimate <= high + _UNSURE:
            one = builder.build([part], random.Random(seeds(len(made))))
            if one is not None and low <= one[1] <= high:
                made.append(one)
    return made


def _cut(parts: Sequence[Part], wishes: Sequence[Wish], builder: Builder, seeds: Seeds) -> list[Made]:
    """Traces that are too long, cut to the wanted length; each wish takes the next one that can be."""
    order = deque(parts)
    random.Random(seeds(-1)).shuffle(order)
    made: list[Made] = []
    for wish, aim in zip(wishes, _aims(wishes, seeds), strict=True):
        for _ in range(len(order)):
            part = order.popleft()
            one = None
            if part.length + builder.overhead(1) > aim.target:
                one = builder.cut(builder.traces[part.index], aim.target, aim.low, aim.high)
            if one is not None:
                made.append(_told(one, wish))
                break
            order.append(part)
    return made


class _OneProblem:
    """The maker of samples of one problem: what it has beyond its thinkings is its question and a solution."""

    def __init__(self, builder: Builder, parts: Sequence[Part]) -> None:
        shortest = sorted(parts, key=lambda part: (part.length, part.index))[:_LEAST_TRACES_COUNTED]
        two, three = builder.extra(shortest[:2]), None
        if len(shortest) == _LEAST_TRACES_COUNTED:
            three = builder.extra(shortest)
        self._two = two or 0
        self._step = 16 if two is None or three is None else three - two
        self.build, self.adjust, self.reach = builder.build, builder.adjust, builder.reach

    def overhead(self, num_parts: int) -> int:
        """Tokens beyond the thinkings of so many tries."""
        return self._two + self._step * (num_parts - 2)


def _tries(parts: Sequence[Part], spec: JoinSpec, wishes: Sequence[Wish], builder: Builder, seeds: Seeds) -> list[Made]:
    """Several traces of one problem a sample; problems take turns, so that few of them do not fill the arm.

    Traces stand together only if their answers agree: all verified against one gold answer, or all with the same own.
    """
    least, most = spec.parts
    groups: dict[tuple[str, str], list[Part]] = {}
    for part in parts:
        trace = builder.traces[part.index]
        # One question may come with two gold answers, of different sources: being right is not yet agreeing.
        kind = f"gold {trace.answer.strip()}" if trace.correct is True else f"own {stated_answer(trace)}"
        # Inside a problem every trace is a part of its own, of the length of its thinking.
        own = Part(part.index, trace.num_thinking_tokens, str(part.index))
        groups.setdefault((part.problem, kind), []).append(own)
    names = sorted(name for name, own in groups.items() if len(own) >= least)
    random.Random(seeds(-1)).shuffle(names)
    fitters: dict[tuple[str, str], Fitter[Example]] = {}
    lengths = {name: Lengths([part.length for part in groups[name]]) for name in names}
    turn = deque(names)
    made: list[Made] = []
    alike = len({(wish.target, wish.low, wish.high) for wish in wishes}) == 1 and wishes[0].target is not None
    for number, (wish, aim) in enumerate(zip(wishes, _aims(wishes, seeds), strict=True)):
        rng = random.Random(seeds(number))
        for _ in range(len(turn) if alike else min(len(turn), _GIVEN_UP)):
            name = turn.popleft()
            if name not in fitters:
                pool = LengthPool(groups[name], random.Random(seeds(-1)))
                fitters[name] = Fitter(pool, _OneProblem(builder, groups[name]))
            tolerance = max(aim.high - aim.target, aim.target - aim.low)
            counts = lengths[name].counts(aim.target, tolerance, least, most, fitters[name].maker.overhead)
            one = fitters[name].search(aim, counts, rng) if counts[1] else None
            if one is not None:
                made.append(_told(one, wish))
                turn.append(name)
                break
            if not alike:  # another length may fit
                turn.append(name)
    return made
