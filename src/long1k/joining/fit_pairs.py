"""Pairs of traces matched over the whole pool at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from long1k.joining.fitter import CORRECTIONS, Aim, Maker, Request, T
from long1k.joining.lengths import Part
from long1k.joining.pairing import pair_lengths

_ROUNDS = 6


def fit_pairs(
    parts: Sequence[Part], request: Request, maker: Maker[T], seeds: Callable[[int], int]
) -> list[tuple[T, int]]:
    """Pairs matched over the whole pool at once, in rounds; who did not fit is matched anew.

    The first rounds draw at random (see ``pair_lengths``); if those cannot make as many as are asked for, the
    matching with most pairs is taken instead.
    """
    found: list[tuple[T, int]] = []
    for most in (False, True):
        found = max(found, _pair_rounds(parts, request, maker, seeds, most), key=len)
        if len(found) >= request.count:
            break
    return found


def _pair_rounds(
    parts: Sequence[Part], request: Request, maker: Maker[T], seeds: Callable[[int], int], most: bool
) -> list[tuple[T, int]]:
    rng = np.random.default_rng(seeds(-2))
    lengths = np.array([part.length for part in parts], dtype=np.int64)
    free = np.arange(len(parts))
    aim = Aim(request.target, request.target - request.tolerance, request.target + request.tolerance)
    slack = request.tolerance if request.tolerance else maker.reach(2)
    made: list[tuple[T, int]] = []
    shift = 0
    for turn in range(_ROUNDS):
        body = request.target - maker.overhead(2) - shift
        left = request.count - len(made)
        pairs = free[pair_lengths(lengths[free], body - slack, body + slack, rng, None if most else left, most)]
        used, errors = set[int](), list[int]()
        for one, two in pairs[:left].tolist():
            if parts[one].problem == parts[two].problem:
                continue
            seed = seeds(1009 * one + turn)
            chosen = (parts[one], parts[two]) if seed % 2 else (parts[two], parts[one])
            sample = _pair(aim, chosen, maker, seed, errors)
            if sample is not None:
                made.append(sample)
                used |= {one, two}
        if not used and turn:
            break
        free = free[~np.isin(free, list(used))]
        shift += round(float(np.mean(errors))) if errors else 0
        if len(made) >= request.count or free.size < 2:
            break
    return made


def _pair(aim: Aim, parts: tuple[Part, Part], maker: Maker[T], seed: int, errors: list[int]) -> tuple[T, int] | None:
    """One sample of two parts; other linking words, drawn or chosen, may bring it into the window."""
    for attempt in range(CORRECTIONS):
        made = maker.build(parts, random.Random(seed + attempt))
        if made is None:
            return None
        errors.append(made[1] - aim.target)
        if aim.low <= made[1] <= aim.high:
            return made
        if aim.low == aim.high and maker.reach(2):
            return maker.adjust(parts, random.Random(seed + attempt), aim.target)
    return None
