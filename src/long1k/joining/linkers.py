"""Linking words: what a solver says when it turns from one problem to the next, or tries once more.

The paper publishes no list; these are ours, and ``"module:BANK"`` in a recipe takes those of somebody else.
A phrase may use {n}, the number of the problem that follows, and {prev}, that of the one before; phrases that
carry a result over also {given}, {symbol}, {sum} and {value}.  Phrases differ much in length, so that an exact
length can be reached by the choice among them.  The choice is seeded and recorded.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from long1k.errors import RecipeError
from long1k.micro import CHECK
from long1k.micro import LINKERS as MICRO_LINKERS
from long1k.plugins import load_plugin
from long1k.tables import digest_json

Options = tuple[tuple[str, ...], ...]  # for each trace, in the order of their thinking, the phrases to choose from


@dataclass(frozen=True, slots=True)
class LinkerBank:
    """Phrases for the first part, every later one and another try, and what parts them from the thinking."""

    first: tuple[str, ...]
    later: tuple[str, ...]
    again: tuple[str, ...]
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
            "Problem {n}.",
            "Okay, Problem {n} first.",
            "I have more than one problem to solve, so let me be orderly about it and start with Problem {n}.",
            "Several questions were asked together. They look independent, so I can treat each on its own and "
            "collect the answers at the end. Starting with Problem {n}.",
            "Alright, let me read everything first, then solve the problems separately. I begin with Problem {n}.",
            "To start with, Problem {n}.",
            "So, which one first? Let me simply follow the numbering and think about Problem {n}.",
            "I need an answer to every problem here, and I should not mix them up. Problem {n} comes first, the "
            "others can wait until I am sure about this one.",
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
            "Problem {n}.",
            "Problem {n} now.",
            "On to Problem {n}, then.",
            "Okay, that was Problem {prev}. Let me put its answer aside, I will write it down together with the others "
            "at the end. Next I have to deal with Problem {n}.",
            "I am fairly confident about Problem {prev}. Before I write anything up, there is still Problem {n} to be "
            "solved, so let me read it carefully.",
            "Done with Problem {prev}; now let me see what Problem {n} wants from me.",
            "The work on Problem {prev} is finished and nothing of it carries over. I start again from a clean sheet "
            "with Problem {n}.",
            "Right. Having dealt with Problem {prev}, I can give my attention to Problem {n}.",
            "That leaves Problem {n}, among others.",
            "Let me note the answer to Problem {prev} and continue. The following one is Problem {n}: what is given "
            "there, and what is wanted?",
            "Time for Problem {n}.",
            "I don't see anything left to check in Problem {prev}. Turning to Problem {n}.",
            "Good. Problem {prev} took some work, but the answer holds up. Let me approach Problem {n} in the same "
            "way: understand it, solve it, check it.",
            "And Problem {n}?",
        ),
        again=(
            "Let me try this again in another way.",
            "Wait, let me make sure by solving it once more.",
            "Before I trust that, let me go through the problem again from the start.",
            "I have an answer, but a second look would not hurt.",
            "Let me double-check with a fresh attempt.",
            "Once more, to be safe.",
            "Hmm, is that right? I will work it out again without looking at what I wrote.",
            "That seems fine. Still, it is easy to slip somewhere in a computation like this, so let me do the whole "
            "thing a second time and see whether the results agree.",
            "Let me verify.",
            "Is there another way to see this? Let me start over and compare.",
            "Again, from the beginning.",
            "I want to be sure about this, so let me set the result aside for a moment and solve the problem "
            "independently.",
            "Let me check that by another route.",
            "Okay, now let me test this answer by doing the problem over, carefully, one step after another.",
            "To confirm, I'll redo it.",
            "Wait.",
        ),
        separator="\n\n",
    ),
    "micro": LinkerBank(first=("",), later=MICRO_LINKERS, again=(CHECK,), separator=""),
    "none": LinkerBank(first=("",), later=("",), again=("",), separator=""),
}  # fmt: skip

# A result that is carried into a later problem; each phrase says the value in full.
CARRIED = (
    "Problem {prev} gave {given}, so {symbol} = {sum}. Now for Problem {n}.",
    "So the answer to Problem {prev} is {given}, which means {symbol} = {sum}. On to Problem {n}.",
    "For Problem {n} I need {symbol}: {symbol} = {sum}.",
    "Problem {n} uses the result that I just found. It was {given}, hence {symbol} = {sum}.",
    "With {given} from Problem {prev}, {symbol} = {sum}.",
    "Good, Problem {prev} is done: {given}. Problem {n} is stated in terms of {symbol}, and {symbol} = {sum}. So "
    "wherever {symbol} stands I can read {value}.",
    "Let me turn to Problem {n}. It depends on Problem {prev}, whose answer is {given}. Then {symbol} = {sum}, and "
    "with this value the problem is an ordinary one.",
    "Next, Problem {n}, with {symbol} = {sum}.",
    "Now I can find {symbol} for Problem {n}. Since Problem {prev} came out as {given}, {symbol} = {sum}.",
    "{symbol} = {sum}. So Problem {n} can be read with {value} in place of {symbol}.",
)


def bank_named(name: str) -> LinkerBank:
    """The phrases behind a name: one of ``BANKS``, or ``"module:BANK"``, a LinkerBank from outside the package.

    Raises:
        RecipeError: there is no such bank, or it cannot be used: what it names is no LinkerBank, a place has no phrase,
            or a phrase asks for something that only phrases with a carried result know.
    """
    if name in BANKS:
        return BANKS[name]
    if ":" not in name:
        raise RecipeError(f"unknown bank of linking words '{name}'", f"known: {', '.join(BANKS)}; or 'module:BANK'")
    bank = load_plugin(name, {}, "bank of linking words")
    mend = "see docs/add-a-linker.md for what a bank is"
    if not isinstance(bank, LinkerBank):
        raise RecipeError(f"'{name}' is no LinkerBank", mend)
    for place in ("first", "later", "again"):
        phrases = getattr(bank, place)
        if isinstance(phrases, str) or not phrases:
            raise RecipeError(f"'{name}' has no phrases under {place}", mend)
        for phrase in phrases:
            try:
                phrase.format(n=2, prev=1)
            except (LookupError, ValueError, AttributeError) as error:
                raise RecipeError(f"'{name}', {place}, phrase {phrase!r}: {error!r}", mend) from None
    return bank


def outside_banks(names: Iterable[str]) -> dict[str, str]:
    """Digests of the phrases of banks from outside the package: other phrases make other samples."""
    outside = sorted({name for name in names if name not in BANKS})
    return {name: digest_json(asdict(bank_named(name))) for name in outside}


def linker_options(bank: str, order: Sequence[int], again: bool = False) -> Options:
    """The phrases that may stand before each thinking, numbers filled in.

    Args:
        order: the parts (from 0) in the order in which they are thought about.
        again: further tries at one problem, not further problems.

    Raises:
        RecipeError: there is no such bank.
    """
    phrases = bank_named(bank)
    later = phrases.again if again else phrases.later
    first = ("",) if again else phrases.first
    return tuple(
        tuple(phrase.format(n=part + 1, prev=order[at - 1] + 1) for phrase in (later if at else first))
        for at, part in enumerate(order)
    )


def choose(options: Options, rng: random.Random) -> tuple[str, ...]:
    """One phrase a place, each drawn by itself."""
    return tuple(rng.choice(place) for place in options)


def choose_linkers(bank: str, num_parts: int, rng: random.Random) -> tuple[str, ...]:
    """One phrase a part, with the problem numbers filled in.

    Raises:
        RecipeError: there is no such bank.
    """
    return choose(linker_options(bank, range(num_parts)), rng)
