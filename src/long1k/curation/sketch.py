"""Signatures of texts: how many slots two of them share says how similar the texts are.

A text is taken as the set of its shingles: every run of k neighbouring tokens (or characters).
The share of common shingles (Jaccard similarity: common / all) is estimated by MinHash: in each
slot, two sets agree with just that probability.  numpy hashes the shingles, ``rensa`` makes the
signatures; its method is Fast Similarity Sketching (Dahlgaard, Knudsen and Thorup, 2017).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from itertools import chain

import numpy as np
from rensa import RMinHash

from long1k.curation.decontaminate import question_key

U64 = np.uint64
BASE = U64(0x9E3779B97F4A7C15)  # odd, so that no token id loses bits
_BLOCK = 1 << 18  # shingles hashed at a time: small enough for the cache
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|\\,)(?=\d{3}(?!\d))")
_DIGITS = re.compile(r"\d+")


def mix(values: np.ndarray) -> np.ndarray:
    """Numbers scattered over 64 bits, in place (the finaliser of SplitMix64: Steele, Lea and Flood, 2014)."""
    values ^= values >> U64(30)
    values *= U64(0xBF58476D1CE4E5B9)
    values ^= values >> U64(27)
    values *= U64(0x94D049BB133111EB)
    values ^= values >> U64(31)
    return values


def sketch(token_ids: Sequence[Sequence[int]], shingle_tokens: int, num_perm: int, seed: int = 0) -> np.ndarray:
    """Signatures of token sequences; see ``sketch_flat``."""
    offsets = np.zeros(len(token_ids) + 1, dtype=np.int64)
    np.cumsum([len(ids) for ids in token_ids], out=offsets[1:])
    flat = np.fromiter(chain.from_iterable(token_ids), dtype=np.uint32, count=int(offsets[-1]))
    return sketch_flat(flat, offsets, shingle_tokens, num_perm, seed)


def sketch_flat(
    ids: np.ndarray, offsets: np.ndarray, shingle_tokens: int, num_perm: int, seed: int = 0
) -> np.ndarray:
    """Signatures of texts given as one array: text i is ``ids[offsets[i]:offsets[i + 1]]``.

    A signature depends on its own text, the seed and num_perm alone: batches and processes may be
    split at will.  A text shorter than a shingle is one shingle.

    Returns:
        uint32 of shape (texts, num_perm).
    """
    offsets = np.asarray(offsets, dtype=np.int64)
    count = len(offsets) - 1
    signatures = np.empty((count, num_perm), dtype=np.uint32)
    first = 0
    while first < count:
        last = int(np.searchsorted(offsets, offsets[first] + _BLOCK, side="right")) - 1
        last = min(max(last, first + 1), first + _BLOCK // 16, count)
        hashes, bounds = shingle_hashes(
            ids[offsets[first] : offsets[last]], offsets[first : last + 1] - offsets[first], shingle_tokens
        )
        rows = RMinHash.digest_matrix_from_flat_token_hashes(hashes, bounds.astype(U64), num_perm, seed)
        signatures[first:last] = np.array(rows.to_rows(), dtype=np.uint32)
        first = last
    return signatures


def sketch_questions(questions: Sequence[str], shingle_characters: int, num_perm: int, seed: int = 0) -> np.ndarray:
    """Signatures of questions by the characters of their normalised text.

    A question has few tokens, and one changed comma or capital changes several: characters of
    the text without case, space and punctuation are finer, and forgive what says nothing.
    """
    texts = [question_key(question) for question in questions]
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    characters = np.frombuffer("".join(texts).encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    return sketch_flat(characters, offsets, shingle_characters, num_perm, seed)


def number_groups(questions: Sequence[str]) -> np.ndarray:
    """uint64 a question, equal where the questions hold the same numbers, in any order.

    "Solve x + 3 = 7" and "Solve x + 4 = 7" are near copies of one another, and different problems.
    """
    found = np.empty(len(questions), dtype=U64)
    for row, question in enumerate(questions):
        text = _THOUSANDS.sub("", question if question.isascii() else unicodedata.normalize("NFKC", question))
        total = 0
        for digits in _DIGITS.findall(text):
            # A sum does not care for the order; int() would refuse thousands of digits, and 07 is not 7 in a code.
            total += (hash_text(digits) << 1) | 1
        found[row] = total & 0xFFFFFFFFFFFFFFFF
    return found


def hash_text(text: str) -> int:
    """63 bits of an ASCII text's bytes, the same in every process."""
    value = 0
    for byte in text.encode():
        value = ((value ^ byte) * 0x100000001B3 + 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF
    return (value ^ (value >> 29)) >> 1


def shingle_hashes(ids: np.ndarray, offsets: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """(uint64 hashes of all shingles, offsets of each text among them).

    A shingle's hash is the polynomial of its ids modulo 2^64, then mixed.
    """
    lengths = np.diff(offsets)
    bounds = np.zeros(len(offsets), dtype=np.int64)
    np.cumsum(np.maximum(lengths - size + 1, 1), out=bounds[1:])
    values = ids.astype(U64)
    values += U64(1)  # else a leading id 0 would leave no mark
    whole = np.ones(len(values), dtype=bool)  # where a shingle of full size begins
    for back in range(size - 1):
        whole[(offsets[1:] - 1 - back)[lengths > back]] = False
    count = max(len(values) - size + 1, 0)
    hashes = values[:count].copy()
    for step in range(1, size):
        hashes *= BASE
        hashes += values[step : step + count]
    hashes = hashes[whole[:count]]
    short = np.flatnonzero(lengths < size)
    if len(short):
        merged = np.empty(int(bounds[-1]), dtype=U64)
        full = np.ones(len(merged), dtype=bool)
        full[bounds[short]] = False
        merged[full] = hashes
        merged[bounds[short]] = _short_hashes(values, offsets[short], lengths[short])
        hashes = merged
    return mix(hashes), bounds


def _short_hashes(values: np.ndarray, starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """The polynomial of each text that is shorter than a shingle."""
    hashes = np.zeros(len(starts), dtype=U64)
    for step in range(int(lengths.max(initial=0))):
        some = lengths > step
        hashes[some] = hashes[some] * BASE + values[starts[some] + step]
    return hashes
