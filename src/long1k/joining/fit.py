"""Which traces to join so that samples have the wanted length, exactly: drawn one by one, or matched in pairs."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from long1k.joining.coverage import Lengths
from long1k.joining.fit_pairs import fit_pairs
from long1k.joining.fitter import Aim, Fitter, Maker, Request, T
from long1k.joining.lengths import LengthPool, Part

_PATIENCE = 4  # searches in a row that may find nothing before drawing ends
_CROWDED = 3  # asking for a pair of every so many parts: drawing one by one would leave too many misfits


def fit(
    parts: Sequence[Part], request: Request, maker: Maker[T], seeds: Callable[[int], int]
) -> tuple[list[T], list[int]]:
    """Samples of the wanted length, without replacement, as many of ``count`` as are found.

    Traces are drawn at random.  Only where that finds too few, a small pool is used to the full:
    drawing starts with the longest free trace, and pairs are matched over the whole pool at once;
    the way that makes most samples is kept.

    Args:
        seeds: seed of the i-th sample; with the order of ``parts`` it decides everything.

    Returns:
        The samples and their exact lengths in tokens.
    """
    typical, possible = part_counts(parts, request, maker.overhead)
    found: list[tuple[T, int]] = []
    pairs_only = request.min_parts == request.max_parts == 2
    if possible and not (pairs_only and request.count * _CROWDED > len(parts)):
        found = _draw_all(parts, request, maker, seeds, (typical, possible), longest_first=False)
    if possible and len(found) < request.count and 2 in possible:
        found = max(found, fit_pairs(parts, request, maker, seeds), key=len)
    if possible and len(found) < request.count:
        other = _draw_all(parts, request, maker, seeds, (possible, possible), longest_first=True)
        found = max(found, other, key=len)
    return [sample for sample, _ in found], [length for _, length in found]


def fit_each(
    parts: Sequence[Part], aims: Sequence[Aim], least: int, most: int, maker: Maker[T], seeds: Callable[[int], int]
) -> list[tuple[T, int] | None]:
    """One sample for each aim, None where none was found; without replacement over all of them.

    The parts that samples must begin with (``fixed``) must not be among the free ``parts``.
    """
    fitter = Fitter(LengthPool(parts, random.Random(seeds(-1))), maker)
    lengths = Lengths([part.length for part in parts])
    found: list[tuple[T, int] | None] = []
    for number, aim in enumerate(aims):
        fixed = sum(part.length for part in aim.fixed)
        tolerance = max(aim.high - aim.target, aim.target - aim.low)
        counts = lengths.counts(
            aim.target - fixed, tolerance, max(0, least - len(aim.fixed)), most - len(aim.fixed),
            lambda n, have=len(aim.fixed): maker.overhead(n + have),  # type: ignore[misc]
        )  # fmt: skip
        typical, possible = ([n + len(aim.fixed) for n in one] for one in counts)
        one = None
        rng = random.Random(seeds(number))
        for longest_first in (False, False, True):
            if one is None and possible:
                one = fitter.search(aim, (typical, possible), rng, longest_first)
        found.append(one)
    return found


def part_counts(parts: Sequence[Part], request: Request, overhead: Callable[[int], int]) -> tuple[list[int], list[int]]:
    """The numbers of parts that can reach the target: those that typical lengths make, and all."""
    lengths = Lengths([part.length for part in parts])
    return lengths.counts(request.target, request.tolerance, request.min_parts, request.max_parts, overhead)


def _draw_all(
    parts: Sequence[Part],
    request: Request,
    maker: Maker[T],
    seeds: Callable[[int], int],
    counts: tuple[Sequence[int], Sequence[int]],
    longest_first: bool,
) -> list[tuple[T, int]]:
    """Samples drawn one after another until enough are made or none fits any more."""
    fitter = Fitter(LengthPool(parts, random.Random(seeds(-1))), maker)
    aim = Aim(request.target, request.target - request.tolerance, request.target + request.tolerance)
    made: list[tuple[T, int]] = []
    failures = number = 0
    while len(made) < request.count and failures < _PATIENCE:
        one = fitter.search(aim, counts, random.Random(seeds(number)), longest_first)
        number += 1
        if one is None:
            failures += 1
        else:
            made.append(one)
            failures = 0
    return made
