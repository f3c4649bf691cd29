"""Near-duplicates among 100,000 questions: signatures against comparing all pairs with rapidfuzz.

The questions are made from the real ones: in each, every longer word and every number is exchanged
for another, over and over, until there are enough.  So many have their sentences' frame in
common, as problems of one textbook do, and are different problems.  Then near-copies are planted,
each changed in one to three of these ways: capitals, punctuation, spaces, one word exchanged, one
word left out, a sentence of politeness in front.  Whatever is found and was not planted counts as
wrong.

All pairs of 100,000 would take hours: the peer compares a sample of pairs, and its time is
multiplied by the number of pairs.  It is given its fast way, ``cdist`` with a cutoff; the cutoff
is the one at which its recall on the planted pairs is that of ours (at 90 it is faster and finds
four in five).
"""

from __future__ import annotations

import gzip
import json
import random
import re

import numpy as np
from rapidfuzz import fuzz, process

from bench.common import DATA, Row, timed
from long1k.curation.config import NearDuplicateConfig
from long1k.curation.duplicates import keepers
from long1k.curation.sketch import sketch_questions
from long1k.rows import derive_seed

COUNT, COPIES, THRESHOLD, CUTOFF = 95_000, 5_000, 0.5, 75
SAMPLE = 3_000  # of each side of the peer's sample of pairs
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{4,}|\d+")


def real_questions() -> list[str]:
    """All different questions of the real files."""
    found: dict[str, None] = {}
    for folder in ("traces", "benchmarks"):
        for path in sorted((DATA / folder).iterdir()):
            opener = gzip.open if path.suffix == ".gz" else open
            with opener(path, "rt", encoding="utf-8") as lines:
                for line in lines:
                    row = json.loads(line)
                    question = row.get("problem") or row.get("prompt")
                    if question:
                        found.setdefault(question)
    return list(found)


def made(questions: list[str], count: int) -> list[str]:
    """Different problems in the frames of real ones."""
    words = sorted({word for question in questions for word in _WORD.findall(question) if not word.isdigit()})
    out: dict[str, None] = {}
    turn = 0
    while len(out) < count:
        draw = random.Random(derive_seed("made", turn))
        question = questions[turn % len(questions)]
        turn += 1
        out.setdefault(
            _WORD.sub(
                lambda found, draw=draw: str(draw.randrange(2, 1000)) if found[0].isdigit() else draw.choice(words),
                question,
            )
        )
    return list(out)


def edited(question: str, words: list[str], draw: random.Random) -> str:
    """A near-copy of a question, its numbers left alone."""
    ways = draw.sample(("case", "punctuation", "spaces", "word", "drop", "polite"), draw.randint(1, 3))
    pieces = question.split(" ")
    plain = [at for at, piece in enumerate(pieces) if piece.isalpha()]
    if "word" in ways and plain:
        pieces[draw.choice(plain)] = draw.choice(words)
    elif "drop" in ways and plain:
        pieces[draw.choice(plain)] = ""
    text = " ".join(pieces)
    if "case" in ways:
        text = re.sub(r"(?<![\\A-Za-z])[A-Z](?=[a-z])", lambda found: found[0].lower(), text)
    if "punctuation" in ways:
        text = re.sub(r"[.,;:?!](?=\s|$)", "", text)
    if "spaces" in ways:
        text = re.sub(r" ", lambda _: draw.choice((" ", "  ", "\n")), text)
    if "polite" in ways:
        text = draw.choice(("Please solve this problem. ", "Answer the following: ")) + text
    return text


def ours(questions: list[str]) -> np.ndarray:
    """The keeper of each question."""
    config = NearDuplicateConfig()
    signatures, numbers = sketch_questions(questions, config.shingle_characters, config.num_perm)
    return keepers(signatures, THRESHOLD, groups=numbers if config.same_numbers else None)


def rows() -> list[Row]:
    """One line: time, recall of the planted pairs, precision of what was found."""
    originals = made(real_questions(), COUNT)
    words = sorted({word for question in originals[:3000] for word in question.split() if word.isalpha()})
    origin = list(range(0, COUNT, COUNT // COPIES))[:COPIES]
    copies = []
    for place in origin:
        copies.append(edited(originals[place], words, random.Random(derive_seed("edit", place))))
    both = originals + copies
    seconds, found = timed(lambda: ours(both))
    wanted = np.arange(len(both))
    wanted[COUNT:] = origin
    hit = found[COUNT:] == found[wanted[COUNT:]]
    recall = float(hit.mean())
    dropped = np.flatnonzero(found != np.arange(len(both)))
    right = int((dropped >= COUNT).sum())
    wrong = [int(row) for row in dropped if row < COUNT]

    draw = random.Random(0)
    left, across = draw.sample(both, SAMPLE), draw.sample(both, SAMPLE)
    sample_seconds, _ = timed(
        lambda: process.cdist(left, across, scorer=fuzz.ratio, score_cutoff=CUTOFF, workers=1, dtype=np.uint8)
    )
    pairs = len(both) * (len(both) - 1) / 2
    peer_seconds = sample_seconds * pairs / SAMPLE**2
    theirs = [fuzz.ratio(both[COUNT + i], both[place]) >= CUTOFF for i, place in enumerate(origin)]
    precision = right / max(len(dropped), 1)
    alike = sum(fuzz.ratio(both[row], both[found[row]]) >= CUTOFF for row in wrong)
    return [
        Row(
            what=f"fuzzy duplicates at {len(both):,} questions",
            data=f"{COUNT:,} made from real ones, {len(copies):,} planted near-copies",
            ours_seconds=seconds,
            peer=f"rapidfuzz, all pairs (cutoff {CUTOFF}), from {SAMPLE**2:,} pairs",
            peer_seconds=peer_seconds,
            target=">= 1000x",
            equal=f"recall {recall:.4f} of the planted (rapidfuzz at {CUTOFF}: {np.mean(theirs):.4f})",
            met=peer_seconds >= 1000 * seconds and recall >= 0.99,
            note=f"precision {precision:.4f}: {len(wrong)} others dropped, {alike} of them alike for rapidfuzz too",
        )
    ]
