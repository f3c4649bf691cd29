"""Who repeats whom: the same answer for any split, order of bands or size of bucket."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.realdata import real_data

from long1k.curation import bands, duplicates
from long1k.curation.bands import MAX_BANDS, choose_bands
from long1k.curation.duplicates import exact_keepers, keepers
from long1k.curation.sketch import shingle_hashes, sketch, sketch_flat, sketch_questions
from long1k.rows import content_id

TEXTS = st.lists(st.lists(st.integers(0, 6), max_size=12), max_size=12)


def similarity(a: list[int], b: list[int], size: int) -> float:
    """The exact Jaccard similarity of two texts."""
    sets = [{tuple(t[i : i + size]) for i in range(max(len(t) - size, 0) + 1)} for t in (a, b)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def brute_force(signatures: np.ndarray, threshold: float, groups: np.ndarray | None = None) -> list[bool]:
    """Whether each row is kept, by comparing it with every row kept before."""
    kept: list[int] = []
    for i, row in enumerate(signatures):
        same = [
            j for j in kept
            if (row == signatures[j]).mean() >= threshold - 1e-12 and (groups is None or groups[i] == groups[j])
        ]  # fmt: skip
        if not same:
            kept.append(i)
    return [i in set(kept) for i in range(len(signatures))]


@st.composite
def families(draw: st.DrawFn) -> np.ndarray:
    """Signatures that come in families, with chains: rows are changed copies of earlier rows."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    rows = [rng.integers(0, 2**32, 64, dtype=np.uint32)]
    for _ in range(draw(st.integers(0, 40))):
        row = rows[int(rng.integers(len(rows)))].copy()
        row[rng.random(64) < draw(st.sampled_from([0, 0.05, 0.15, 0.3, 1]))] = rng.integers(2**32)
        rows.append(row)
    return np.array(rows)


# --- signatures -------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(TEXTS, st.integers(1, 5), st.integers(0, 12))
def test_a_signature_depends_on_its_own_text_alone(texts: list[list[int]], size: int, cut: int) -> None:
    whole = sketch(texts, size, 16)
    assert whole.shape == (len(texts), 16)
    assert whole.dtype == np.uint32
    assert (whole == np.concatenate([sketch(texts[:cut], size, 16), sketch(texts[cut:], size, 16)])).all()
    assert (whole[::-1] == sketch(texts[::-1], size, 16)).all()


@settings(deadline=None)
@given(TEXTS, st.integers(1, 5))
def test_shingles_are_the_texts_own(texts: list[list[int]], size: int) -> None:
    offsets = np.cumsum([0, *map(len, texts)])
    flat = np.array([token for text in texts for token in text], dtype=np.uint32)
    hashes, bounds = shingle_hashes(flat, offsets, size)
    known: dict[int, tuple[int, ...]] = {}
    for row, text in enumerate(texts):
        own = hashes[bounds[row] : bounds[row + 1]].tolist()
        wanted = [tuple(text[i : i + size]) for i in range(max(len(text) - size, 0) + 1)]
        assert len(own) == len(wanted)
        for value, shingle in zip(own, wanted, strict=True):
            assert known.setdefault(value, shingle) == shingle  # different shingles, different hashes
    assert len(set(known.values())) == len(known)  # and equal ones equal hashes


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    offsets = np.cumsum([0, *rng.integers(0, 400, 300)])
    ids = rng.integers(0, 150_000, offsets[-1]).astype(np.uint32)
    whole = sketch_flat(ids, offsets, 5, 64, seed=3)
    monkeypatch.setattr("long1k.curation.sketch._BLOCK", 64)
    assert (sketch_flat(ids, offsets, 5, 64, seed=3) == whole).all()
    assert not (sketch_flat(ids, offsets, 5, 64, seed=4) == whole).all()


@pytest.mark.parametrize("changed", [0, 5, 20, 60])
def test_shared_slots_estimate_the_similarity(changed: int) -> None:
    rng = np.random.default_rng(changed)
    one = rng.integers(0, 1000, 500).tolist()
    other = list(one)
    for place in rng.choice(500, changed, replace=False):
        other[place] = 1001
    estimate = (sketch([one], 3, 4096) == sketch([other], 3, 4096)).mean()
    assert abs(estimate - similarity(one, other, 3)) < 0.04  # five standard errors of 4,096 slots


def test_a_signature_is_what_it_was() -> None:
    """Signatures are stored between runs: a change of the hash must be seen."""
    assert sketch([[1, 2, 3, 4, 5, 6], [7], []], 5, 16)[:, :3].tolist() == [
        [2045014611, 1205470490, 3197060170],
        [4060937619, 3567648353, 1804918032],
        [4045490724, 1414212939, 3416290035],
    ]


# --- questions --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "other",
    [
        "solve   $x+3=1000$ for $x$",
        "Solve $x + 3 = 1{,}000$ for $x$.",
        "Solve\n$x + 3 = 1,000$ for \\left(x\\right)",
        "Solve $x+3=1000$ for $x$. Please reason step by step, and put your final answer within \\boxed{}.",
    ],
)
def test_spelling_says_nothing(other: str) -> None:
    signatures, numbers = sketch_questions(["Solve $x+3=1000$ for $x$.", other], 4, 128)
    assert keepers(signatures, 0.9, groups=numbers).tolist() == [0, 0]


def test_other_numbers_are_another_problem() -> None:
    questions = ["Find the sum of all divisors of 360, please.", "Find the sum of all divisors of 630, please."]
    signatures, numbers = sketch_questions(questions, 4, 128)
    assert keepers(signatures, 0.6).tolist() == [0, 0]
    assert keepers(signatures, 0.6, groups=numbers).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("1 and 2", "2, 1; 2", True),
        ("12,345,678", "12345678", True),
        ("1,23", "123", False),
        ("1,2345", "12345", False),
        ("none", "", True),
        ("x²", "x^2", True),
        ("007", "7", False),
        ("9" * 5000, "9" * 5001, False),
    ],
)
def test_which_numbers_a_question_names(one: str, other: str, same: bool) -> None:
    numbers = sketch_questions([one, "5", other], 4, 16)[1]
    assert bool(numbers[0] == numbers[2]) is same


@settings(deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8"), max_size=20), max_size=8), st.integers(0, 8))
def test_questions_are_sketched_one_by_one(questions: list[str], cut: int) -> None:
    whole = sketch_questions(questions, 3, 16)
    parts = [sketch_questions(some, 3, 16) for some in (questions[:cut], questions[cut:])]
    for at in (0, 1):
        assert (whole[at] == np.concatenate([part[at] for part in parts])).all()


# --- keepers ----------------------------------------------------------------------------------------------


@settings(deadline=None)  # many bands
@given(families(), st.sampled_from([0.6, 0.7, 0.8, 0.9, 1.0]), st.booleans())
def test_keepers_are_those_of_brute_force(signatures: np.ndarray, threshold: float, grouped: bool) -> None:
    # Bands may miss a pair at the threshold once in a thousand; here none may, so that every difference is a fault.
    groups = np.arange(len(signatures), dtype=np.uint64) % 2 if grouped else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bands, "MISS", 1e-12)
        patch.setattr(bands, "MAX_BANDS", 400)
        patch.setattr(duplicates, "SMALL_BUCKET", 3)
        found = keepers(signatures, threshold, groups=groups)
    own = np.arange(len(signatures))
    assert (found <= own).all()
    assert (found[found] == found).all()
    assert (found == own).tolist() == brute_force(signatures, threshold, groups)
    for row in np.flatnonzero(found != own):
        assert (signatures[row] == signatures[found[row]]).mean() >= threshold - 1e-12
        assert groups is None or groups[row] == groups[found[row]]


@settings(deadline=None, max_examples=50)
@given(families(), st.sampled_from([0.5, 0.8, 1.0]))
def test_identical_rows_are_always_found(signatures: np.ndarray, threshold: float) -> None:
    twice = np.concatenate([signatures, signatures])
    found = keepers(twice, threshold)
    count = len(signatures)
    assert (found[count:] == found[:count]).all()
    assert (found[:count] == keepers(signatures, threshold)).all()


@settings(deadline=None, max_examples=50)
@given(families(), st.data())
def test_only_chosen_rows_are_looked_at(signatures: np.ndarray, data: st.DataObject) -> None:
    chosen = np.array(sorted(data.draw(st.sets(st.integers(0, len(signatures) - 1)))), dtype=np.int64)
    found = keepers(signatures, 0.8, rows=chosen)
    others = np.setdiff1d(np.arange(len(signatures)), chosen)
    assert (found[others] == others).all()
    assert (found[chosen] == chosen[keepers(signatures[chosen], 0.8)]).all()


def test_unrelated_rows_between_change_nothing() -> None:
    rng = np.random.default_rng(0)
    pair = rng.integers(0, 2**32, (2, 128), dtype=np.uint32)
    pair[1, 20:] = pair[0, 20:]
    others = rng.integers(0, 2**32, (500, 128), dtype=np.uint32)
    for seed in range(20):
        order = np.random.default_rng(seed).permutation(502)
        mixed = np.concatenate([pair, others])[order]
        first, second = sorted(int(np.flatnonzero(order == row)[0]) for row in (0, 1))
        wanted = np.arange(502)
        wanted[second] = first
        assert (keepers(mixed, 0.8) == wanted).all()


def test_nothing_is_dropped_for_a_dropped_row() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, 2**32, 128, dtype=np.uint32)
    b, c = a.copy(), a.copy()
    b[:20], c[:40] = 1, 2  # b is like a, c like b, but c is not like a
    c[:20] = b[:20]
    assert keepers(np.array([a, b, c]), 0.8).tolist() == [0, 0, 2]
    assert keepers(np.array([b, a, c]), 0.8).tolist() == [0, 0, 0]


def _search(signatures: np.ndarray, threshold: float) -> duplicates._Search:
    return duplicates._Search(signatures, threshold, None, 0)


def test_huge_buckets_cost_little_more_than_their_rows() -> None:
    rng = np.random.default_rng(0)
    count = 100_000
    one = rng.integers(0, 2**32, 32, dtype=np.uint32)
    same = _search(np.tile(one, (count, 1)), 0.8)
    assert same.run().tolist() == [0] * count
    assert same.comparisons == count - 1

    similar = np.tile(one, (20_000, 1))
    similar[np.arange(20_000), rng.integers(0, 32, 20_000)] = np.arange(20_000)
    near = _search(similar, 0.8)
    assert not near.run().any()
    assert near.comparisons <= near.bands[0] * 20_000

    boilerplate = np.tile(one, (5_000, 1))  # all alike in half of the slots, below the threshold
    boilerplate[:, 16:] = rng.integers(0, 2**32, (5_000, 16), dtype=np.uint32)
    apart = _search(boilerplate, 0.8)
    assert (apart.run() == np.arange(5_000)).all()
    assert apart.comparisons <= apart.bands[0] * duplicates.MAX_LEADERS * 5_000


def test_a_memory_map_will_do(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    signatures = rng.integers(0, 2**32, (200, 64), dtype=np.uint32)
    signatures[150:] = signatures[:50]
    signatures.tofile(tmp_path / "signatures.bin")
    mapped = np.memmap(tmp_path / "signatures.bin", dtype=np.uint32, mode="r", shape=(200, 64))
    assert (keepers(mapped, 0.9) == np.concatenate([np.arange(150), np.arange(50)])).all()


@pytest.mark.parametrize("count", [0, 1])
def test_few_rows(count: int) -> None:
    assert keepers(np.zeros((count, 16), dtype=np.uint32), 0.5).tolist() == list(range(count))
    assert exact_keepers(np.zeros(count, dtype=np.uint64)).tolist() == list(range(count))


@pytest.mark.parametrize("threshold", [0.0, 1.1, -1.0])
def test_a_threshold_is_a_share(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        keepers(np.zeros((2, 16), dtype=np.uint32), threshold)


@pytest.mark.parametrize("num_perm", [16, 64, 128, 256])
@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_bands_see_pairs_at_the_threshold(num_perm: int, threshold: float) -> None:
    bands, slots = choose_bands(num_perm, threshold)
    rng = np.random.default_rng(0)
    pairs = rng.integers(0, 2**32, (4000, num_perm), dtype=np.uint32)
    need = int(np.ceil(threshold * num_perm - 1e-9))
    for row in range(0, 4000, 2):
        shared = rng.choice(num_perm, need, replace=False)
        pairs[row + 1, shared] = pairs[row, shared]
    found = keepers(pairs, threshold)
    missed = int((found[1::2] == np.arange(1, 4000, 2)).sum())
    assert missed <= 10  # two are expected of 2,000 at one in a thousand
    assert bands <= MAX_BANDS
    assert slots <= need


# --- exact ------------------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 5), max_size=30))
def test_exact_keepers_are_first_rows(values: list[int]) -> None:
    wanted = [values.index(value) for value in values]
    ids = np.array([content_id("t", str(value)) for value in values], dtype="S22")
    assert exact_keepers(ids).tolist() == wanted
    assert exact_keepers(np.array(values, dtype=np.uint64)).tolist() == wanted
    columns = np.array([[value // 2, value % 2] for value in values], dtype=np.uint64).reshape(-1, 2)
    assert exact_keepers(columns).tolist() == wanted


# --- real data --------------------------------------------------------------------------------------------


def test_real_repetitions_and_real_likenesses() -> None:
    """Pairs of an s1K and a MATH500 problem that share phrases; four are one problem (all 36 pairs were read)."""
    with gzip.open(real_data("contamination", "s1k_math500_overlaps.jsonl.gz"), "rt", encoding="utf-8") as lines:
        pairs = [json.loads(line) for line in lines]
    found = []
    for pair in pairs:
        signatures, numbers = sketch_questions([pair["math500_problem"], pair["train_problem"]], 4, 128)
        if keepers(signatures, 0.5, groups=numbers)[1] == 0:
            found.append(pair["math500_id"])
    assert len(pairs) == 36
    assert sorted(found) == ["math500_0080", "math500_0103", "math500_0126", "math500_0285"]
