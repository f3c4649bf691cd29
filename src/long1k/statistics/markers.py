"""Words and phrases by which a text shows what its writer does: check, take back, try another way, conclude.

The lists are our own.  They count how things are said, not whether a check was a good one.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

MARKERS: Mapping[str, tuple[str, ...]] = {
    "verification": (
        "let me check", "let me verify", "let me confirm", "let me double check", "let me double-check", "double check",
        "double-check", "to verify", "verify that", "check if", "check whether", "check that", "checking", "verifying",
        "to confirm", "let's check", "let's verify", "plug back", "plugging back", "substitute back",
        "substituting back", "sanity check", "does that make sense", "that makes sense", "is that right",
        "is that correct", "make sure", "to be sure", "consistent with",
    ),
    "backtracking": (
        "wait", "hmm", "hold on", "actually", "that's not right", "that is not right", "that can't be", "that's wrong",
        "that is wrong", "i made a mistake", "made an error", "mistake", "go back", "going back", "start over",
        "scratch that", "i was wrong", "not correct", "incorrect", "doesn't work", "does not work", "contradiction",
    ),
    "branching": (
        "alternatively", "another way", "another approach", "another method", "other way", "a different approach",
        "different way", "instead", "maybe", "perhaps", "suppose", "what if", "on the other hand", "let's try",
        "let me try", "could also", "case 1", "case 2", "first case", "second case", "either way",
    ),
    "transition": (
        "so", "therefore", "thus", "hence", "then", "since", "because", "but", "however", "although", "now", "next",
        "first", "second", "finally", "similarly", "moreover", "furthermore", "also", "if", "given", "consequently",
    ),
}  # fmt: skip
PARTS = 10
"""Equal parts, by characters, that a text is divided into."""
_PATTERNS = {
    name: re.compile(
        r"(?<!\w)(?:" + "|".join(re.escape(one) for one in sorted(phrases, key=len, reverse=True)) + r")(?!\w)"
    )
    for name, phrases in MARKERS.items()
}
_WORD = re.compile(r"[^\W\d_]+|\d+")
_APOSTROPHES = str.maketrans({"\u2019": "'"})


def marker_counts(text: str) -> dict[str, NDArray[np.int64]]:
    """How often each kind of marker begins in each tenth of a text, and how many words (``words``) do.

    Each array has ``PARTS`` numbers; their sum is the text's.
    """
    lowered = text.lower().translate(_APOSTROPHES)
    size = max(1, len(lowered))

    def parts(pattern: re.Pattern[str]) -> NDArray[np.int64]:
        starts = [match.start() for match in pattern.finditer(lowered)]
        places = np.asarray(starts, dtype=np.int64) * PARTS // size
        return np.bincount(places, minlength=PARTS).astype(np.int64)

    return {"words": parts(_WORD)} | {name: parts(pattern) for name, pattern in _PATTERNS.items()}
