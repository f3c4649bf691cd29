r"""A problem that uses the answer of the one before it, made without changing what it asks.

One integer N of the later question gives way to a symbol that is defined by the earlier answer a:
``Let $X$ be the answer to Problem 1 plus 7.``  Since a + 7 = N the question has the same answer, and its
solved trace stays valid.  Only integers whose role is beyond doubt are replaced: none in exponents,
indices, arguments of commands, decimals, grouped digits, labels, enumerations, tables or drawings.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from long1k.joining.linkers import CARRIED
from long1k.micro import CARRIED as CARRIED_SYMBOL
from long1k.micro import OPERATOR

SYMBOLS = ("X", "Y", "Z", "K", "M", "T", "Q", "W", "U", "V")
_LARGEST = 10**9
_NEAR = 40  # characters around a number that decide what it is
_INTEGER = re.compile(r"-?\d{1,9}")
_DIGITS = re.compile(r"\d+")
_DEFINITION = re.compile(
    r"Let \$(?P<symbol>[A-Z])\$ be the answer to Problem (?P<problem>\d+)(?: (?P<sign>plus|minus) (?P<shift>\d+))?\. "
)
_MATH = re.compile(
    r"(?P<env>\\begin\{(?P<name>[^}]*)\}[\s\S]*?\\end\{(?P=name)\})|(?P<asy>\[asy\][\s\S]*?(?:\[/asy\]|\Z))|(?P<code>```[\s\S]*?(?:```|\Z))"
    r"|(?P<escaped>\\\$)|(?P<math>\$\$[^$]+\$\$|\$[^$]+\$|\\\([\s\S]+?\\\)|\\\[[\s\S]+?\\\])"
)  # fmt: skip
_DOTS = re.compile(r"\\[lcdv]?dots|\\dots|\.\.\.|…")
_PROSE_IN_MATH = re.compile(r"(?<![\\A-Za-z{])[a-z]{3,} +[a-z]{2,}(?![A-Za-z}])")
_LABELLED = re.compile(
    r"(?:problem|figure|fig\.|table|step|part|case|question|section|example|equation|eq\.|exercise|no\.|number|row|column|"
    r"team|player|box|stage|level|page|item|round|type|room|line|base|grade|day|chapter|year|position|vertex|point|"
    r"diagram|door|locker|card|label(?:l?ed)?|numbered|digit)s? *\$?$",
    re.IGNORECASE,
)
_ENUMERATES = re.compile(r"(?:^|\n|[.:;,] |\band )\s*\(?$")
_OPENS_FORMULA = re.compile(r"(?:\$|\\\(|\\\[)\s*\(?\s*$")
_OPENS_ITEM = re.compile(r"(?:^|\n|[.:;,]\s+)(?:\$|\\\()\s*$")


@dataclass(frozen=True, slots=True)
class Reference:
    """How a question uses an earlier answer.

    ``question[start:end]`` are the digits of ``value``; ``written`` stands there instead; ``definition``
    stands before the question.
    """

    symbol: str
    given: int
    value: int
    start: int
    end: int
    written: str
    definition: str

    @property
    def total(self) -> str:
        """The sum in full, as a solver writes it: ``12 + 7 = 19``."""
        shift = self.value - self.given
        if shift == 0:
            return str(self.value)
        return f"{self.given} {'+' if shift > 0 else '-'} {abs(shift)} = {self.value}"


def integer_answer(text: str) -> int | None:
    """An answer that is a plain integer, else None."""
    bare = text.strip().strip("$").strip()
    return int(bare) if _INTEGER.fullmatch(bare) and str(int(bare)) == bare else None


def refer(
    question: str, elsewhere: str, given: int, number: int, rng: random.Random, used: frozenset[str] = frozenset()
) -> Reference | None:
    """A reference to the answer ``given`` of problem ``number`` for this question; None if there is no safe place.

    Args:
        elsewhere: the trace's thinking and solution: the symbol must mean nothing there.
        used: symbols that are taken in this sample.
    """
    places = list(replaceable(question))
    if not places:
        return None
    free = (
        s for s in SYMBOLS
        if s not in used and not any(_occurs(s, text) for text in (question, elsewhere)) and not _confusing(s, question)
    )  # fmt: skip
    symbols = list(islice(free, 3))
    if not symbols:
        return None
    start, end, in_math = rng.choice(places)
    symbol, value = rng.choice(symbols), int(question[start:end])
    shift = value - given
    moved = "" if shift == 0 else f" {'plus' if shift > 0 else 'minus'} {abs(shift)}"
    definition = f"Let ${symbol}$ be the answer to Problem {number}{moved}. "
    written = symbol if in_math else f"${symbol}$"
    reference = Reference(symbol, given, value, start, end, written, definition)
    return reference if restore(definition, written, question[:start], question[end:], given) == question else None


def refer_symbol(question: str, given: str, number: int) -> tuple[tuple[str, str], ...] | None:
    """The micro-world's reference: a question whose first symbol is the answer before it says ``Answer 1`` instead.

    Symbols have no sums, so only such a question can follow; None for any other.
    """
    first, operator, rest = question.partition(OPERATOR)
    if first != given or not operator:
        return None
    return ("reference", f"{CARRIED_SYMBOL}{number}"), ("question", f"{operator}{rest}")


def restore(definition: str, written: str, before: str, after: str, given: int) -> str | None:
    """The question as it was, from what stands in the sample; None if the pieces do not fit together."""
    found = _DEFINITION.fullmatch(definition)
    if found is None or written not in (found["symbol"], f"${found['symbol']}$"):
        return None
    shift = int(found["shift"] or 0)
    return f"{before}{given - shift if found['sign'] == 'minus' else given + shift}{after}"


def carried_options(reference: Reference, prev: int, number: int) -> tuple[str, ...]:
    """The linking phrases that compute the symbol, before the thinking about problem ``number`` (from 1)."""
    return tuple(
        phrase.format(
            prev=prev, n=number, given=reference.given, symbol=reference.symbol, sum=reference.total,
            value=reference.value,
        )
        for phrase in CARRIED
    )  # fmt: skip


def _occurs(symbol: str, text: str) -> bool:
    """Whether a capital stands by itself or beside other capitals; inside a word it means nothing."""
    return re.search(rf"(?<![a-z]){symbol}(?![a-z])", text) is not None


def _confusing(symbol: str, question: str) -> bool:
    """Whether the question has the same letter as a small variable: Y beside y would be read as one."""
    return re.search(rf"(?<![A-Za-z]){symbol.lower()}(?![A-Za-z])", question) is not None


def replaceable(question: str) -> Iterator[tuple[int, int, bool]]:
    """(start, end, in mathematics) of each integer of a question that can give way to a symbol."""
    at = 0
    segments: list[tuple[int, int, str]] = []
    for found in _MATH.finditer(question):
        segments.append((at, found.start(), "text"))
        segments.append((found.start(), found.end(), found.lastgroup or "math"))
        at = found.end()
    segments.append((at, len(question), "text"))
    for start, end, kind in segments:
        piece = question[start:end]
        if kind == "text" and "$" in piece:
            return  # an odd dollar: what is mathematics and what is money cannot be told
        if kind == "math" and _PROSE_IN_MATH.search(piece):
            return
    for start, end, kind in segments:
        if kind not in ("text", "math") or (kind == "math" and _DOTS.search(question[start:end])):
            continue
        depths = _depths(question[start:end])
        for digits in _DIGITS.finditer(question, start, end):
            text = digits[0]
            if not 2 <= int(text) < _LARGEST or str(int(text)) != text or depths[digits.start() - start]:
                continue
            before = question[max(0, digits.start() - _NEAR) : digits.start()]
            after = question[digits.end() : digits.end() + _NEAR]
            if _stands_alone(before, after) and (_safe_in_math if kind == "math" else _safe_in_text)(before, after):
                yield digits.start(), digits.end(), kind == "math"


def _depths(text: str) -> list[int]:
    """How many braces (and optional arguments of commands) are open at each character."""
    depth, found, closing = 0, [], []
    for at, char in enumerate(text):
        escaped = at > 0 and text[at - 1] == "\\" and not (at > 1 and text[at - 2] == "\\")
        if char == "{" and not escaped:
            depth += 1
        elif char == "}" and not escaped:
            depth = max(0, depth - 1)
        elif char == "[" and re.search(r"\\(?:[A-Za-z]+|\\)$", text[:at]) and not text[:at].endswith("\\left"):
            depth += 1
            closing.append(depth)
        elif char == "]" and closing and closing[-1] == depth:
            closing.pop()
            depth -= 1
        found.append(depth)
    return found


def _stands_alone(before: str, after: str) -> bool:
    """No digit, decimal point, digit group, letter, index or exponent touches the number."""
    if re.search(r"[A-Za-z0-9_^\\#&@~'’.]$|\d[.,:/] ?$|\d\\?[,!; ]$|\{,\}$|[_^] +$", before):
        return False
    return not re.match(r"[0-9_#&@~'’!]|[.,:/]\d|(?:\{,\}|\\[,!; ]| )\d|\s*\\[dt]?frac|\s*(?:\^|_)|\\?%", after)


def _safe_in_math(before: str, after: str) -> bool:
    """In mathematics a factor or a term may be replaced, a command's bare argument may not."""
    if re.search(r"\\[A-Za-z]+ *$", before) and not re.search(
        r"\\(?:times|cdot|le|leq|ge|geq|lt|gt|neq|ne|equiv|pm|mp|div|mid|to|in|approx|colon|quad|qquad|mod|bmod|sin|cos|tan"
        r"|log|ln|langle|lfloor|lceil|lvert|vert|cup|cap|mapsto|rightarrow|Rightarrow|implies|left|right) *$",
        before,
    ):
        return False
    if re.search(r"[}\)\]|]$", before) or re.search(_LABELLED, before):
        return False
    # "$(2) y$ is …", "$2)$ Then …" and "$2.$ There …" number what follows.
    if re.match(r"\s*\)", after) and _OPENS_FORMULA.search(before):
        return False
    if re.match(r"\s*(?:\$|\\\))?\.", after) and _OPENS_ITEM.search(before):
        return False
    # "$3$-digit" and "$4$th": the formula is part of a word.
    return not re.match(r"(?:\$\$?|\\\)|\\\])[-–A-Za-z]", after)


def _safe_in_text(before: str, after: str) -> bool:
    """In prose a number is replaced only between blanks or at the end of a clause."""
    if not re.search(r"(?:^|[\s(])$", before) or not re.match(r"(?:\s|[.,;:?)](?:\s|$)|$)", after):
        return False
    if re.search(_LABELLED, before):
        return False
    return not (re.match(r"[.):]", after) and _ENUMERATES.search(before))
