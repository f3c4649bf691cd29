"""Pairs made at once are disjoint, inside the window, and as many as they are said to be."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from long1k.joining import pairing
from long1k.joining.coverage import Lengths, usable
from long1k.joining.lengths import LengthPool, Part
from long1k.joining.pairing import most_pairs, pair_lengths

LENGTHS = st.lists(st.integers(1, 40), max_size=60)


def double_loop(lengths: list[int], low: int, high: int) -> int:
    """Pairs that the plain rule finds: each with the first free partner that fits."""
    free = [True] * len(lengths)
    pairs = 0
    for i, one in enumerate(lengths):
        for j in range(i + 1, len(lengths)):
            if free[i] and free[j] and low <= one + lengths[j] <= high:
                free[i] = free[j] = False
                pairs += 1
    return pairs


@settings(max_examples=300, deadline=None)
@given(lengths=LENGTHS, low=st.integers(-5, 90), width=st.integers(0, 20), seed=st.integers(0, 99), most=st.booleans())
def test_pairs_fit_and_are_disjoint(lengths: list[int], low: int, width: int, seed: int, most: bool) -> None:
    values = np.array(lengths, dtype=np.int32)
    pairs = pair_lengths(values, low, low + width, np.random.default_rng(seed), most=most)
    assert pairs.shape == (len(pairs), 2)
    assert len(set(pairs.ravel().tolist())) == 2 * len(pairs)
    assert all(low <= lengths[i] + lengths[j] <= low + width for i, j in pairs.tolist())
    assert pairs.tolist() == pair_lengths(values, low, low + width, np.random.default_rng(seed), most=most).tolist()
    best = most_pairs(lengths, low, low + width)
    assert len(pairs) <= best
    if most or width == 0:
        assert len(pairs) == best
    else:  # nobody who is left over fits with another: never less than half of the most, and at least
        left = sorted(set(range(len(lengths))) - set(pairs.ravel().tolist()))
        assert all(not low <= lengths[i] + lengths[j] <= low + width for i in left for j in left if i < j)
        assert 2 * len(pairs) >= best
    if most:
        assert len(pairs) >= double_loop(lengths, low, low + width)


@settings(max_examples=100, deadline=None)
@given(lengths=LENGTHS, low=st.integers(0, 60), width=st.integers(0, 20), count=st.integers(0, 20))
def test_so_many_pairs_as_asked_for(lengths: list[int], low: int, width: int, count: int) -> None:
    values = np.array(lengths, dtype=np.int64)
    everything = len(pair_lengths(values, low, low + width, np.random.default_rng(3)))
    pairs = pair_lengths(values, low, low + width, np.random.default_rng(3), count)
    assert len(pairs) == min(count, everything)
    assert len(set(pairs.ravel().tolist())) == 2 * len(pairs)
    assert all(low <= lengths[i] + lengths[j] <= low + width for i, j in pairs.tolist())


def test_large_pools_are_shuffled_a_length_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).integers(1, 50, 3000)
    small = pair_lengths(values, 40, 44, np.random.default_rng(1))
    monkeypatch.setattr(pairing, "_SHUFFLE_WHOLE", 10)
    large = pair_lengths(values, 40, 44, np.random.default_rng(1))
    assert abs(len(large) - len(small)) <= 0.15 * len(small)
    sums = values[large].sum(axis=1)
    assert sums.min() >= 40
    assert sums.max() <= 44
    assert len(set(large.ravel().tolist())) == 2 * len(large)
    other = pair_lengths(values, 40, 44, np.random.default_rng(2))
    assert set(map(tuple, other.tolist())) != set(map(tuple, large.tolist()))


def test_random_pairs_come_near_the_most() -> None:
    values = np.clip(np.random.default_rng(0).lognormal(8, 0.8, 20_000), 50, 32_000).astype(np.int64)
    for target in (4000, 6000, 12_000):
        low, high = int(target * 0.99), int(target * 1.01)
        found = len(pair_lengths(values, low, high, np.random.default_rng(5)))
        assert found >= 0.95 * most_pairs(values, low, high)


@settings(max_examples=150, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=7), low=st.integers(0, 40), width=st.integers(0, 6),
    least=st.integers(1, 3), more=st.integers(0, 1),
)  # fmt: skip
def test_what_no_sample_could_hold_is_not_called_usable(
    lengths: list[int], low: int, width: int, least: int, more: int
) -> None:
    from itertools import combinations

    found = usable(lengths, low, low + width, least, least + more, lambda n: 2 * n)
    for at in range(len(lengths)):
        truth = any(
            low <= sum(lengths[i] for i in chosen) + 2 * count <= low + width
            for count in range(least, least + more + 1)
            for chosen in combinations(range(len(lengths)), count)
            if at in chosen
        )
        assert found[at] or not truth  # of three and more it may be called usable and not be
        if least + more <= 2:
            assert bool(found[at]) == truth


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30), seed=st.integers(0, 99), data=st.data())
def test_the_pool_keeps_count_like_a_sorted_list(lengths: list[int], seed: int, data: st.DataObject) -> None:
    parts = [Part(i, n, str(i)) for i, n in enumerate(lengths)]
    pool = LengthPool(parts, random.Random(seed))
    free = sorted(lengths)
    for _ in range(12):
        low = data.draw(st.integers(0, 10))
        assert len(pool) == len(free)
        assert pool.count_between(low, low + 3) == sum(low <= n <= low + 3 for n in free)
        if free:
            assert (pool.shortest, pool.longest) == (free[0], free[-1])
        part = pool.take_between(low, low + 3, random.Random(seed), set())
        if part is not None:
            free.remove(part.length)
            if data.draw(st.booleans()):
                pool.give_back([part])
                free = sorted([*free, part.length])
    with pytest.raises(IndexError):
        pool._ranked(len(free))


def test_numbers_of_parts_that_reach_a_target() -> None:
    lengths = Lengths([10, 20, 30, 40])
    assert (lengths.shortest(2), lengths.longest(2), len(lengths)) == (30, 70, 4)
    assert lengths.counts(60, 0, 1, 4, lambda n: 0)[1] == [2, 3]
    assert lengths.counts(1000, 0, 1, 4, lambda n: 0) == ([], [])
    assert Lengths([]).counts(10, 0, 1, 2, lambda n: 0) == ([], [])
