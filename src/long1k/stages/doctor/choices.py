"""Multiple choice: do prompts show options, is the gold one of them, and are gold letters spread evenly?"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from scipy.stats import chisquare

from long1k.benchmarks.base import Item
from long1k.stages.doctor.check import Check, plural, short
from long1k.stages.doctor.rows import called

OPTIONS = 4
"""How many letters a multiple-choice question has, where it does not show them."""
SURE = 0.001  # a healthy benchmark fails a check of chance once in a thousand
_CELL = 5  # golds that chance must give a letter at least
_LETTER = re.compile(r"[A-Z]")
# How options are marked, the surest way first: "A) 3", "(A) 3", "**A.** 3" on lines of their own; "(A) 3 (B) 4" within
# a line; and a letter alone before its text.
_MARKS = (
    re.compile(r"^[ \t>*-]*(?:\\text(?:bf)?\{)?[(\[]?\**([A-Z])\**[)\].:]", re.MULTILINE),
    re.compile(r"\(([A-Z])\)"),
    re.compile(r"(?<![A-Za-z0-9])([A-Z])[).:]\**\s"),
    re.compile(r"^[ \t>*-]*([A-Z])(?![A-Za-z0-9'])", re.MULTILINE),
)


def letters_shown(item: Item) -> str:
    """Letters of the options that a single problem shows, from A on; empty if it shows none."""
    if item.letters is not None:
        return item.letters
    for marks in _MARKS:
        shown = ""
        for found in marks.finditer(item.messages[-1].content):
            if found[1] == chr(65 + len(shown)):
                shown += found[1]
        if len(shown) > 1:
            return shown
    return ""


def chooses(grader: str, items: Sequence[Item]) -> bool:
    """Whether letters are asked for: by the grader, or because all golds are letters and most problems show options.

    Where every gold is one and the same letter, options are not asked for: that is the fault to be found.
    """
    if grader == "choice":
        return True
    golds = [gold for item in items for gold in item.answers]
    if not all(_LETTER.fullmatch(gold) for gold in golds):
        return False
    same = len(golds) >= 10 and len(set(golds)) == 1
    return same or sum(len(letters_shown(item)) > 1 for item in items) > len(items) / 2


def choice_checks(items: Sequence[Item], grader: str) -> list[Check]:
    """Options and gold letters of single problems; none where no letters are asked for."""
    if not chooses(grader, items):
        return []
    checks = []
    if grader != "choice":
        checks.append(
            Check("grader", "info", f"golds are letters, graded by {grader}: --grader choice (grader: choice in a "
                  "recipe) reads letters in all their wrappings")
        )  # fmt: skip
    shown = [letters_shown(item) for item in items]
    bare = [item for item, letters in zip(items, shown, strict=True) if not letters]
    if bare and (grader == "choice" or len(bare) < len(items)):
        checks.append(
            Check("options", "fail", f"{plural(len(bare), 'prompt')} {'shows' if len(bare) == 1 else 'show'} no "
                  "options behind letters", "print the options, each on a line that begins with its letter",
                  tuple(map(called, bare)))
        )  # fmt: skip
    absent = [
        f"{called(item)}: gold '{short(gold)}', options {letters[0]} to {letters[-1]}"
        for item, letters in zip(items, shown, strict=True)
        for gold in item.answers
        if letters and _LETTER.fullmatch(gold) and gold not in letters
    ]
    if absent:
        checks.append(
            Check("gold options", "fail", f"{plural(len(absent), 'gold')} {'is' if len(absent) == 1 else 'are'} none "
                  "of the options that the prompt shows", "no model can score on these: mend the golds or the options",
                  tuple(absent))
        )  # fmt: skip
    return [*checks, _letters(items, shown)]


def _letters(items: Sequence[Item], shown: Sequence[str]) -> Check:
    """Are golds spread over the options as chance spreads them?"""
    golds = [gold for item in items for gold in item.answers]
    stray = [
        f"{called(item)}: '{short(gold)}'" for item in items for gold in item.answers if not _LETTER.fullmatch(gold)
    ]
    if stray:
        return Check(
            "gold letters", "fail", f"{plural(len(stray), 'gold')} {'is' if len(stray) == 1 else 'are'} no letter",
            "a multiple-choice gold is one letter; choose grader math for others", tuple(stray),
        )  # fmt: skip
    counts = Counter(golds)
    expected: dict[str, float] = {}
    for item, letters in zip(items, shown, strict=True):
        for gold in item.answers:
            last = max(gold, letters[-1] if letters else chr(64 + OPTIONS))
            known = [chr(at) for at in range(65, ord(last) + 1)]
            for letter in known:
                expected[letter] = expected.get(letter, 0.0) + 1 / len(known)
    names = sorted(expected)
    observed = [counts[letter] for letter in names]
    said = ", ".join(
        f"{letter} {count:,} ({100 * count / len(golds):.1f} %)" for letter, count in zip(names, observed, strict=True)
    )
    # Letters that few questions have are one cell of the test, which small cells mislead.
    cells = [[letter] for letter in names if expected[letter] >= _CELL]
    rare = [letter for letter in names if expected[letter] < _CELL]
    if rare and (not cells or sum(expected[letter] for letter in rare) >= _CELL):
        cells.append(rare)
    elif rare:
        cells[-1] += rare
    if len(cells) < 2:
        return Check("gold letters", "info", f"{said}: too few to tell whether they are spread evenly")
    seen, wanted = ([sum(of[one] for one in cell) for cell in cells] for of in (counts, expected))
    p = float(chisquare(seen, wanted).pvalue)
    fair = p >= SURE
    return Check(
        "gold letters", "ok" if fair else "fail",
        f"{said}; evenly spread: chi-square p = {p:.3g}" + ("" if fair else ", which chance does not give"),
        "options must be shuffled by a hash of the question, not by a generator that starts anew for each one",
        figures={"counts": dict(zip(names, observed, strict=True)), "p": p},
    )  # fmt: skip
