"""Whole traces that share any 8-gram of words with a benchmark: our index against a set of strings in plain Python."""

from __future__ import annotations

import gzip
import json
import re

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


def _plain_ngrams(text: str) -> list[str]:
    found = _WORD.findall(text.lower())
    return [" ".join(found[i : i + _NUM_WORDS]) for i in range(len(found) - _NUM_WORDS + 1)]


def rows() -> list[Row]:
    """One line: the same flagged texts, and how fast."""
    questions, texts = benchmark_questions(), real_responses()
    num_files_texts = len(texts)
    texts = texts * 2  # the files hold 23 MB; twice over for a steady figure
    known = {gram for question in questions for gram in _plain_ngrams(question)}
    index = NgramIndex(frozenset(gram for q in questions for gram in ngrams(words(q), _NUM_WORDS)), _NUM_WORDS)
    peer_seconds, plain = timed(lambda: [any(gram in known for gram in _plain_ngrams(text)) for text in texts])
    ours_seconds, found = timed(lambda: index.first_shared(texts), repeats=5)
    equal = plain == [gram is not None for gram in found]
    size = megabytes(texts)
    target = 20
    return [
        Row(
            what="decontamination of whole traces",
            data=f"{num_files_texts:,} real traces twice, {size:.1f} MB; {len(known):,} 8-grams of "
            f"{len(questions):,} benchmark problems",
            ours_seconds=ours_seconds,
            peer="a set of 8-grams in plain Python",
            peer_seconds=peer_seconds,
            target=f"{target}× with the same traces flagged",
            equal=f"{'the same' if equal else 'NOT the same'} {sum(plain):,} traces flagged",
            met=equal and peer_seconds / ours_seconds >= target,
            note=f"{size / ours_seconds:.0f} MB/s against {size / peer_seconds:.1f}",
        )
    ]
