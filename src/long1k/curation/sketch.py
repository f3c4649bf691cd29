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

U64 = np.uint64
BASE = U64(0x9E3779B97F4A7C15)  # odd, so that no token id loses bits
_BLOCK = 1 << 18  # shingles hashed at a time: small enough for the cache
_QUESTIONS = 1 << 12
_OTHER = 128
# What a prompt adds to all questions of a data set: it would make them alike.
_INSTRUCTION = re.compile(
    r"(?:please |let's |think and )*(?:reason|think) step by step[,.]?|(?:please |and )*"
    r"(?:put|return|give|write|output|present|provide|enclose|place) [^.?!\n]{0,60}\\boxed\{[^{}\n]{0,12}\}\.?",
    re.IGNORECASE,
)
# ASCII that says which question it is: letters, digits, operators.  Beyond ASCII all but punctuation.
_KEPT = np.array([chr(code).isalnum() or chr(code) in "+-*/=<>" for code in range(_OTHER)] + [True])
_LAYOUT = (
    ("\\left", ""), ("\\right", ""), ("\\displaystyle", ""), ("\\dfrac", "\\frac"), ("\\tfrac", "\\frac"),
    ("\\!", ""), ("\\,", ","), ("{,}", ","), ("\\text", ""), ("\\mathrm", ""),
)  # fmt: skip


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


def sketch_flat(ids: np.ndarray, offsets: np.ndarray, shingle_tokens: int, num_perm: int, seed: int = 0) -> np.ndarray:
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


def sketch_questions(
    questions: Sequence[str], shingle_characters: int, num_perm: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Signatures of questions, and a number for the set of numbers that each names.

    A question has few tokens, and one changed comma or capital changes several: characters of
    the text without case, space and punctuation are finer, and forgive what says nothing.
    "Solve x + 3 = 7" and "Solve x + 4 = 7" are near copies of one another, and different
    problems: their second value differs.  It does not depend on order or repetition.

    Returns:
        uint32 of shape (questions, num_perm), and uint64 of shape (questions,).
    """
    signatures = np.empty((len(questions), num_perm), dtype=np.uint32)
    numbers = np.empty(len(questions), dtype=U64)
    for first in range(0, len(questions), _QUESTIONS):
        some = slice(first, min(first + _QUESTIONS, len(questions)))
        codes = _codes(questions[some])
        numbers[some] = _numbers(codes, some.stop - first)
        kept = _KEPT[np.minimum(codes, _OTHER)]
        kept &= (codes < 0x2000) | (codes > 0x206F)  # quotes and dashes outside of ASCII
        seen = np.cumsum(kept)
        offsets = np.concatenate(([0], seen[codes == 0])).astype(np.int64)
        signatures[some] = sketch_flat(codes[kept].astype(np.uint32), offsets, shingle_characters, num_perm, seed)
    return signatures, numbers


def _codes(questions: Sequence[str]) -> np.ndarray:
    """The code points of lower-case questions, each closed by a 0, without what only changes the layout."""
    texts = []
    for question in questions:
        text = question if question.isascii() else unicodedata.normalize("NFKC", question)
        if "boxed" in text or "step by step" in text:
            text = _INSTRUCTION.sub(" ", text)
        texts.append(text.replace("\x00", " "))
    joined = "\x00".join([*texts, ""]).lower()
    for command, plain in _LAYOUT:
        joined = joined.replace(command, plain)
    return np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _numbers(codes: np.ndarray, count: int) -> np.ndarray:
    """A uint64 for each question's set of numbers."""
    digit = (codes >= 48) & (codes <= 57)
    padded = np.concatenate([[False], digit, np.zeros(4, dtype=bool)])  # padded[i + 1] is digit[i]
    thousands = codes == 44
    for shift, wanted in ((0, True), (2, True), (3, True), (4, True), (5, False)):  # 1,234 but not 1,23 or 1,2345
        thousands &= padded[shift : shift + len(codes)] == wanted
    codes, digit = codes[~thousands], digit[~thousands]
    edges = np.diff(np.concatenate([[False], digit, [False]]).astype(np.int8))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    owners = np.searchsorted(np.flatnonzero(codes == 0), starts)
    hashes = mix(_short_hashes(codes.astype(U64), starts, ends - starts))
    order = np.lexsort((hashes, owners))
    owners, hashes = owners[order], hashes[order]
    fresh = np.ones(len(order), dtype=bool)
    fresh[1:] = (owners[1:] != owners[:-1]) | (hashes[1:] != hashes[:-1])
    result = np.zeros(count, dtype=U64)
    np.add.at(result, owners[fresh], hashes[fresh])
    return result


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
    some = np.arange(len(starts))
    for step in range(int(lengths.max(initial=0))):
        some = some[lengths[some] > step]
        hashes[some] = hashes[some] * BASE + values[starts[some] + step]
    return hashes
