"""Who stands in a sample, in what order, with which texts: what its mode decides before any linking words."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice, pairwise, permutations

from long1k.joining.dependent import carried_options, integer_answer, refer, refer_symbol
from long1k.joining.linkers import Options, linker_options
from long1k.joining.render import Pieces, stated_answer
from long1k.joining.spec import JoinSpec
from long1k.joining.steps import derange, shuffle_steps
from long1k.rows import Trace

_ORDERS = 24  # orders of a dependent sample that are tried


@dataclass(frozen=True, slots=True)
class Arrangement:
    """What is decided about a sample before its linking words: who, in what order, with which texts."""

    members: tuple[Trace, ...]
    options: Options  # in the order of the thinkings
    order: tuple[int, ...]
    thinkings: tuple[str, ...] | None = None
    questions: tuple[Pieces, ...] | None = None


def options_of(spec: JoinSpec, order: Sequence[int]) -> Options:
    """The linking words that may stand before each thinking, in the order of the thinkings."""
    options = linker_options(spec.bank, order, again=spec.mode == "same_problem")
    return (("",), *options[1:]) if spec.layout == "turns" else options  # a first turn opens with no words


def arrange(spec: JoinSpec, members: Sequence[Trace], rng: random.Random) -> Arrangement | None:
    """The arrangement of these traces; None if the mode cannot join them."""
    mode, num = spec.mode, len(members)
    order = tuple(range(num))
    if mode == "dependent":
        return _chained(spec, members) if spec.linkers == "micro" else _dependent(spec, members, rng)
    if mode == "same_problem":
        return Arrangement(tuple(members), options_of(spec, order), order)
    thinkings = None
    if mode == "shuffled_parts":
        order = derange(num, rng)
    elif mode == "shuffled_steps":
        shuffled = [shuffle_steps(trace.thinking, rng) for trace in members]
        if any(text is None for text in shuffled):
            return None
        thinkings = tuple(text or "" for text in shuffled)
    return Arrangement(tuple(members), options_of(spec, order), order, thinkings)


def _chained(spec: JoinSpec, members: Sequence[Trace]) -> Arrangement | None:
    """In the micro-world: each problem but the first begins with the answer of the one before it."""
    for order in islice(permutations(members), _ORDERS):
        questions: list[Pieces] = [(("question", order[0].question),)]
        for part, (earlier, trace) in enumerate(pairwise(order), start=1):
            found = refer_symbol(trace.question, stated_answer(earlier), part)
            if found is None or earlier.correct is not True or trace.correct is not True:
                break
            questions.append(found)
        else:
            places = tuple(range(len(order)))
            return Arrangement(order, options_of(spec, places), places, questions=tuple(questions))
    return None


def _dependent(spec: JoinSpec, members: Sequence[Trace], rng: random.Random) -> Arrangement | None:
    """Each problem but the first uses the answer of the one before it; the first order that allows it."""
    for at, order in enumerate(permutations(members)):
        if at == _ORDERS:
            break
        questions: list[Pieces] = [(("question", order[0].question),)]
        options = list(options_of(spec, range(len(order))))
        used: set[str] = set()
        for part, (earlier, trace) in enumerate(pairwise(order), start=1):
            given = integer_answer(stated_answer(earlier))
            # Both the stated and the gold answer: the sum that is written must be true.
            if given is None or integer_answer(earlier.answer) != given:
                break
            if earlier.correct is not True or trace.correct is not True:
                break
            found = refer(trace.question, f"{trace.thinking}\n{trace.solution}", given, part, rng, frozenset(used))
            if found is None:
                break
            used.add(found.symbol)
            questions.append(
                (("reference", found.definition), ("question", trace.question[: found.start]),
                 ("reference", found.written), ("question", trace.question[found.end :]))
            )  # fmt: skip
            options[part] = carried_options(found, part, part + 1)
        else:
            return Arrangement(order, tuple(options), tuple(range(len(order))), questions=tuple(questions))
    return None
