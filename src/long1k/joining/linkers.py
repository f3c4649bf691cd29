"""Linking words: what a solver says when it turns from one problem to the next.

The paper publishes no list; these are ours.  A phrase may use {n}, the number of the problem
that follows, and {prev}, that of the one before.  The choice is seeded and recorded.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

from long1k.errors import RecipeError
from long1k.micro import LINKERS as MICRO_LINKERS


@dataclass(frozen=True, slots=True)
class LinkerBank:
    """Phrases for the first part and for every later one, and what parts them from the thinking."""

    first: tuple[str, ...]
    later: tuple[str, ...]
    separator: str


BANKS = {
    "english": LinkerBank(
        first=(
            "There are several problems here. I will work through them in order, beginning with Problem {n}.",
            "Let me take these one at a time. Problem {n} first.",
            "I'll start with Problem {n}.",
            "First, Problem {n}.",
            "Okay, more than one question. Let me begin with Problem {n} and keep track of the answers as I go.",
            "Let me go through the problems one after another. Here is Problem {n}.",
        ),
        later=(
            "That settles Problem {prev}. Now for Problem {n}.",
            "Good, Problem {prev} is done. Let me turn to Problem {n}.",
            "Next comes Problem {n}.",
            "With Problem {prev} out of the way, on to Problem {n}.",
            "Now Problem {n}.",
            "Alright, I have an answer for Problem {prev}, so let me move on and think about Problem {n}.",
            "Moving on to Problem {n}.",
            "I'll keep that result for Problem {prev} and look at Problem {n} with fresh eyes.",
            "Then there is Problem {n}.",
            "So much for Problem {prev}. What does Problem {n} ask?",
            "Let me now work on Problem {n}; it does not depend on what I just found.",
            "Okay, Problem {n} is next on the list.",
        ),
        separator="\n\n",
    ),
    "micro": LinkerBank(first=("",), later=MICRO_LINKERS, separator=""),
    "none": LinkerBank(first=("",), later=("",), separator=""),
}


def choose_linkers(bank: str, num_parts: int, rng: random.Random) -> tuple[str, ...]:
    """One phrase a part, with the problem numbers filled in.

    Raises:
        RecipeError: there is no such bank.
    """
    if bank not in BANKS:
        raise RecipeError(f"unknown bank of linking words '{bank}'", f"known: {', '.join(BANKS)}")
    phrases = BANKS[bank]
    chosen = [rng.choice(phrases.first if part == 0 else phrases.later) for part in range(num_parts)]
    return tuple(phrase.format(n=part + 1, prev=part) for part, phrase in enumerate(chosen))
