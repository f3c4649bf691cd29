"""Bands of signatures: which slots are compared first, so that hardly a similar pair is missed."""

from __future__ import annotations

import math

import numpy as np

from long1k.curation.sketch import U64, mix

MISS = 1e-3  # a pair just at the threshold stays unseen with this probability at most
MAX_BANDS = 64
MAX_BAND_SLOTS = 8  # more would only cost bands: at a similarity of 0.3, 8 slots agree once in 15,000 pairs


def choose_bands(num_perm: int, threshold: float) -> tuple[int, int]:
    """(number of bands, slots of each): the most selective bands that miss a pair with probability ``MISS`` at most.

    A pair that agrees in just the needed share of slots agrees in all slots of a random band with
    the hypergeometric probability of drawing agreeing slots only.
    """
    need = slots_needed(num_perm, threshold)
    if need == num_perm:
        return 1, num_perm
    best = (MAX_BANDS, 1)
    hit = 1.0
    for slots in range(1, min(MAX_BAND_SLOTS, need) + 1):
        hit *= (need - slots + 1) / (num_perm - slots + 1)
        bands = math.ceil(math.log(MISS) / math.log1p(-hit))
        if bands <= MAX_BANDS:
            best = (bands, slots)
    return best


def slots_needed(num_perm: int, threshold: float) -> int:
    """Slots that must agree."""
    return max(1, math.ceil(threshold * num_perm - 1e-9))


def slots_of_band(band: int, slots: int, num_perm: int, seed: int) -> np.ndarray:
    """The slots of a band: a random choice that no library's generator can change."""
    draw = np.arange(num_perm, dtype=U64) + U64((band << 32) + (seed << 44) & 0xFFFFFFFFFFFFFFFF)
    return np.argsort(mix(mix(draw)), kind="stable")[:slots]
