r"""Compare mathematical answers: by normalised text first, by symbolic algebra only where that is silent.

`decide` settles what text and exact rational arithmetic can settle (most pairs, in microseconds) in this
process; the rest goes to Math-Verify in the killable processes of `long1k.grading.pool`. This module imports
neither math_verify nor sympy.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from types import TracebackType

from long1k.grading.base import Case, Grade, grade_by_rule
from long1k.grading.choice import choice_letter
from long1k.grading.closed import compare
from long1k.grading.intervals import compare_as_sets
from long1k.grading.normalize import MAX_ANSWER_CHARS, Parts, normalize, prepare, rational, split
from long1k.grading.notation import in_powers, in_radians
from long1k.grading.pool import GraderPool, Verdict
from long1k.grading.units import measure

__all__ = ["MathGrader", "Verdict", "decide", "normalize"]

_MAX_MEMO_CHARS = 64_000_000  # of golds and answers that are remembered
_ENTRY_CHARS = 300  # what an entry costs beside its text
_INTEGER = re.compile(r"-?[0-9]+")
_ANY_DIGIT = re.compile(r"[0-9]")
_WORD = re.compile(r"[a-z]{4,}")
_SPELLED = re.compile(
    r"zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|teen|twenty|thirty|forty|fifty|hundred|"
    r"thousand|million|half|third|quarter|dozen|infinit|null|once|twice|thrice"
)
_BASED = re.compile(r"(\w+)_\{?(\d{1,2})\}?")
_DIGITS = re.compile(r"[0-9][0-9A-Fa-f]*")
# A choice quoted with its text: "(B) 3(1 + r/10)^x = 7".
_LETTER_AND_TEXT = re.compile(r"(?:\\text\{ ?)?\(([A-Z])\) ?\}?.")
_LETTER_ONLY = re.compile(r"(?:\\text\{ ?)?\(([A-Z])\) ?\}?|\\text\{ ?([A-Z]) ?\}|([A-J])")


def decide(gold: str, answer: str) -> Verdict | None:
    """Compare without algebra; None when only algebra can tell.

    Text that is equal after `normalize` is correct, unequal exact numbers are wrong. A unit or a name (`x =`)
    on one side only is no difference, the problem has usually given it; two different measures (cm, m) are. Words
    that are no measure ("5 ways", "5 arrangements") are prose and are not compared.
    """
    if max(len(gold), len(answer)) > MAX_ANSWER_CHARS:
        return Verdict("error", f"longer than {MAX_ANSWER_CHARS} characters")
    if gold == answer and _DIGITS.fullmatch(gold):  # most pairs
        return Verdict("correct", "equal text")
    gold, answer = in_powers(gold, answer)
    left, right = split(gold), split(answer)
    if not left.core:
        return Verdict("error", "the gold answer is empty")
    if not right.core:
        return Verdict("wrong", "the answer is empty")
    values = rational(left.core), rational(right.core)
    units = measure(left.unit), measure(right.unit)
    # Centimetres for square centimetres is carelessness, as no unit is; feet for square inches is not.
    if units[0] is not None and units[1] is not None and units[0] != units[1] and not _only_power(left, right):
        return _in_different_units(values, units[0], units[1])
    if left.core == right.core:
        # x = 5 and y = 5 are two lines; y = 2x and f(x) = 2x are one function.
        same_name = left.name == right.name or ")" in left.name + right.name
        return Verdict("correct", "equal text") if same_name or not (left.name and right.name) else None
    verdict = _in_bases(left.core, right.core) or _letter_with_text(gold, answer)
    if verdict is not None:
        return verdict
    if values[0] is not None and values[1] is not None and "%" not in (left.unit, right.unit):
        if values[0] == values[1]:
            return Verdict("correct", "equal numbers")
        # A decimal may be a rounding of the gold: how close is close enough is Math-Verify's to say.
        if "." not in left.core + right.core:
            return Verdict("wrong", "different numbers")
    if _INTEGER.fullmatch(left.core) and _INTEGER.fullmatch(right.core):
        return Verdict("wrong", "different numbers")  # too many digits for arithmetic, but not for reading
    if "%" in (left.unit, right.unit) or (left.name and right.name and left.name != right.name):
        return None
    same = compare_as_sets(prepare(gold), prepare(answer))
    if same is not None:
        return Verdict("correct", "equal sets") if same else Verdict("wrong", "different sets")
    return _in_closed_form(left.core, right.core) or _word(left.core, right.core)


def _only_power(gold: Parts, answer: Parts) -> bool:
    """Whether two units are one but for a power that one of them lacks."""
    (name, _, power), (other_name, _, other_power) = gold.unit.partition("^"), answer.unit.partition("^")
    return measure(name) == measure(other_name) and "" in (power, other_power)


def _in_closed_form(gold: str, answer: str) -> Verdict | None:
    """Compare numbers with roots and pi, polynomials, tuples, matrices and sets of them exactly."""
    same = compare(gold, answer)
    if same is None or (same and not _ANY_DIGIT.search(gold + answer)):
        return None  # letters alone may be names: AB and BA
    return Verdict("correct", "equal values") if same else Verdict("wrong", "different values")


def _word(gold: str, answer: str) -> Verdict | None:
    """A word is neither a number nor another word; spelled numbers and products of the same letters may be."""
    if not _WORD.fullmatch(answer) or _SPELLED.search(answer):
        return None
    if rational(gold) is not None:
        return Verdict("wrong", "a word, not a number")
    if _WORD.fullmatch(gold) and not _SPELLED.search(gold) and sorted(gold) != sorted(answer):
        return Verdict("wrong", "different words")
    return None


def _in_different_units(
    values: tuple[Fraction | None, Fraction | None], gold: tuple[str, Fraction], answer: tuple[str, Fraction]
) -> Verdict:
    """5 cm is not 5 m, and 36 inches are 3 feet: compare sizes, never bare numbers."""
    comparable = gold[0] == answer[0] and values[0] is not None and values[1] is not None
    if comparable and (values[0] or 0) * gold[1] == (values[1] or 0) * answer[1]:
        return Verdict("correct", "equal in other units")
    return Verdict("wrong", "different units")


def _in_bases(gold: str, answer: str) -> Verdict | None:
    r"""Compare numerals with a base, 1204_9. Math-Verify drops the subscript: to it 1204_9 equals 1204_8.

    A problem that asks for a numeral in a base often gets its digits alone, so a missing base is no
    difference; two different bases are, even if the values agree, because the base is what was asked for.
    """
    matches = _BASED.fullmatch(gold), _BASED.fullmatch(answer)
    if matches == (None, None):
        return None
    digits = [match[1] if match else side for match, side in zip(matches, (gold, answer), strict=True)]
    if not all(_DIGITS.fullmatch(each) for each in digits):
        return None  # a_1 is a name, not a numeral
    if matches[0] and matches[1] and matches[0][2] != matches[1][2]:
        return Verdict("wrong", "different bases")
    same = digits[0].lstrip("0").lower() == digits[1].lstrip("0").lower()
    return Verdict("correct", "equal digits") if same else Verdict("wrong", "different digits")


def _letter_with_text(gold: str, answer: str) -> Verdict | None:
    """If the gold is a choice's letter, an answer that quotes the choice with its text is that letter."""
    wanted, given = _LETTER_ONLY.fullmatch(prepare(gold)), prepare(answer)
    if wanted is None or not _LETTER_AND_TEXT.match(given):
        return None
    letter = next(group for group in wanted.groups() if group)
    chosen = choice_letter(given)
    if chosen is None:
        return Verdict("wrong", "more than one choice") if _LETTER_AND_TEXT.match(given) else None
    return Verdict("correct", "same choice") if chosen == letter else Verdict("wrong", "different choice")


class MathGrader:
    """Grades mathematical answers; the first pair that needs algebra starts the worker processes.

    Use it as a context manager, or call `close`. Verdicts are remembered for a pair seen again, time-outs and
    errors too: an answer that hangs costs its limit once, however many samples give it.
    """

    name = "math"
    version = "5"

    def __init__(self, num_workers: int = 1, timeout_seconds: float = 5.0, memory_mib: int = 2048) -> None:
        self._pool = GraderPool(num_workers, timeout_seconds, memory_mib)
        self._memo: dict[tuple[str, str], Verdict] = {}
        self._memo_chars = 0

    def start(self) -> None:
        """Start the worker processes now (they take about a second), not with the first pair that needs them."""
        self._pool.start()

    def grade_many(self, pairs: Sequence[tuple[str, str]]) -> list[Verdict]:
        """Return a verdict for each (gold, answer), in order."""
        found: dict[tuple[str, str], Verdict] = {}
        hard: list[tuple[str, str]] = []
        for pair in dict.fromkeys((gold, answer) for gold, answer in pairs):
            verdict = self._memo.get(pair) or decide(*pair)
            if verdict is None:
                hard.append(pair)
            else:
                found[pair] = verdict
        cleaned = [in_radians(prepare(gold), prepare(answer)) for gold, answer in (in_powers(*pair) for pair in hard)]
        found.update(zip(hard, self._pool.run(cleaned), strict=True))
        for pair, verdict in found.items():
            self._remember(pair, verdict)
        return [found[gold, answer] for gold, answer in pairs]

    def _remember(self, pair: tuple[str, str], verdict: Verdict) -> None:
        size = len(pair[0]) + len(pair[1])
        if pair in self._memo or size > 2 * MAX_ANSWER_CHARS:
            return
        self._memo_chars += size + _ENTRY_CHARS
        if self._memo_chars > _MAX_MEMO_CHARS:
            self._memo.clear()
            self._memo_chars = size + _ENTRY_CHARS
        self._memo[pair] = verdict

    def grade(self, cases: Sequence[Case]) -> list[Grade]:
        """One grade a case, in order."""
        return grade_by_rule(self.grade_many, cases)

    def close(self) -> None:
        """End the worker processes."""
        self._pool.close()

    def __enter__(self) -> MathGrader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
