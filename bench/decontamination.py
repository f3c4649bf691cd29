"""Whole traces that share any 8-gram of words with a benchmark: our index against sets in plain Python."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

from bench.common import DATA, Row, megabytes, real_responses, timed
from long1k.curation.ngrams import NgramIndex, ngrams, words

_NUM_WORDS = 8
_WORD = re.compile(r"[a-z0-9]+")
_FILES = {
    "math500.jsonl": "problem",
    "aime24.jsonl": "prompt",
    "aime25.jsonl": "prompt",
    "aime_1983_2023.jsonl.gz": "problem",
}


def benchmark_questions() -> list[str]:
    """The problems of MATH500, AIME 2024 and 2025, and AIME 1983 to 2023."""
    questions = []
    for name, field in _FILES.items():
        path = DATA / "benchmarks" / name
        opener = gzip.open if name.endswith(".gz") else open
        with opener(path, "rt", encoding="utf-8") as lines:
            questions += [str(json.loads(line)[field]) for line in lines]
    return questions


def _joined(text: str) -> Iterator[str]:
    found = _WORD.findall(text.lower())
    return (" ".join(found[i : i + _NUM_WORDS]) for i in range(len(found) - _NUM_WORDS + 1))


def _tuples(text: str) -> Iterator[tuple[str, ...]]:
    found = _WORD.findall(text.lower())
    return zip(*(found[i:] for i in range(_NUM_WORDS)), strict=False)


def _flagged(known: set[Any], grams_of: Callable[[str], Iterable[Any]], texts: list[str]) -> list[bool]:
    return [not known.isdisjoint(grams_of(text)) for text in texts]


def rows() -> list[Row]:
    """The same flagged texts, and how fast: against n-grams as strings, and as tuples in the quickest form we know."""
    questions, texts = benchmark_questions(), real_responses()
    num_files_texts = len(texts)
    texts = texts * 2  # the files hold 23 MB; twice over for a steady figure
    index = NgramIndex(frozenset(gram for q in questions for gram in ngrams(words(q), _NUM_WORDS)), _NUM_WORDS)
    data = (
        f"{num_files_texts:,} real traces twice, {megabytes(texts):.1f} MB; {len(index.known):,} 8-grams of "
        f"{len(questions):,} benchmark problems"
    )
    ours_seconds, found = timed(lambda: index.first_shared(texts), repeats=7)
    flagged = [gram is not None for gram in found]
    peers: list[tuple[str, Callable[[str], Iterable[Any]], int]] = [
        ("a set of 8-grams as strings, plain Python", _joined, 20),
        ("a set of 8-grams as tuples, isdisjoint over zip", _tuples, 10),
    ]
    lines = []
    for name, grams_of, target in peers:
        known = {gram for question in questions for gram in grams_of(question)}
        peer_seconds, plain = timed(partial(_flagged, known, grams_of, texts), repeats=2)
        equal, ratio = plain == flagged, peer_seconds / ours_seconds
        lines.append(
            Row(
                what="decontamination of whole traces",
                data=data,
                ours_seconds=ours_seconds,
                peer=name,
                peer_seconds=peer_seconds,
                target=f"{target}× with the same traces flagged",
                equal=f"{'the same' if equal else 'NOT the same'} {sum(plain):,} traces flagged",
                met=equal and ratio >= target,
                note=f"{megabytes(texts) / ours_seconds:.0f} MB/s against {megabytes(texts) / peer_seconds:.1f}",
            )
        )
    return lines
