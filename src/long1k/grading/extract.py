r"""Find the answer in a model's text: pure functions, linear time, exact offsets.

The last answer wins: a model that corrects itself means its last box. Every result satisfies
`text[result.start:result.end] == result.value`, so a reader can always be shown what was graded.
"""

from __future__ import annotations

import re
from array import array
from dataclasses import dataclass

MAX_STATEMENT_CHARS = 300
"""A stated answer ("the answer is ...") longer than this is prose, and is cut at this many characters."""
MAX_STATEMENTS = 100
"""How many statements are tried, from the last one on, before a text counts as one without an answer."""
MAX_UNBOXED_PART_CHARS = 200
"""A labelled section without a box counts as an answer itself only when it is at most this long."""


@dataclass(frozen=True)
class Extracted:
    """An answer and where it stood: `text[start:end] == value`."""

    value: str
    start: int
    end: int


# One token of the scan for boxes. A box's name may follow one or two backslashes (texts that went through
# JSON twice have two); any other escaped character, `\{` and `\}` above all, is no brace to TeX.
# Runs of equal braces are one token, so that deep nesting costs one step.
_BOX_TOKEN = re.compile(
    r"(?P<box>\\{1,2}(?:boxed|fbox|framebox)(?![A-Za-z])(?P<brace>\s*\{)?)|\\[\s\S]|(?P<opens>\{+)|(?P<closes>\}+)"
)
_BLANK = re.compile(r"\s*")
# The brace-less form `\boxed 5`: up to the next blank or mathematics delimiter.
# Its first character tells it from prose that speaks of \boxed.
_BARE_BOX = re.compile(
    r"[ \t]+(?P<value>(?=[-+(\d\\]|[A-Za-z](?![A-Za-z]))"
    r"(?:[^\s$\\{}]|\\(?!boxed|fbox|framebox)[A-Za-z]+|\{[^{}\n]{0,100}\})+)"
)

_STATEMENT = re.compile(
    r"""(?:
        (?<![A-Za-z])(?:final[ ]+)?answers?(?:[ ]+to[ ][^\n.:]{1,60})?(?:\*\*|__)?[ ]*
            (?:(?:(?:is|are|will[ ]be|must[ ]be)\b(?:[ ]*:)?|=)|:)(?:\*\*|__)?
      | \*\*[ ]*final[ ]answer[ ]*:?[ ]*\*\*[ ]*:?
      | ^[#]{1,6}[ ]*final[ ]answer[ ]*:?[ ]*$
      | (?<![A-Za-z])(?:correct|right|best)[ ](?:option|choice)(?:\*\*|__)?[ ]*(?:is|:)(?:\*\*|__)?
            (?=[ ]*[$(*\\]*(?:text\{|boxed\{)?\(?[A-J](?![A-Za-z]))
      | ^[#]{4}(?=[ ]*[-+]?[$]?[\d.,]+[ ]*(?:\\?%|[A-Za-z]{1,20}[ ]*)?$)
    )(?P<gap>\s{0,20})""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
_MATH_SPAN = re.compile(r"\$\$(?P<a>[^$]+)\$\$|\$(?P<b>[^$\n]+)\$|\\\((?P<c>.+?)\\\)|\\\[(?P<d>.+?)\\\]", re.DOTALL)
# The end of the sentence that states the answer: a line end, or a full stop before a blank.
_STATEMENT_END = re.compile(r"\n|\.(?=\s|$)|\.\**$")
# "5 or 6" and "3 to 4" are not 5 and 3; "12 million people" is not 12.
_NUMBER_THEN_WORDS = re.compile(
    r"(?P<value>[-+]?[$]?\d[\d,.]*(?:/\d+)?%?(?: (?:thousand|million|billion|trillion|percent)(?![A-Za-z]))?)"
    r" +(?!(?:or|and|to|times|plus|minus|over|thousand|million|billion|trillion|percent)(?![A-Za-z]))[A-Za-z]{2}"
)
_COPULA = re.compile(r"\b(?:is|are|equals)(?: *:)? +", re.IGNORECASE)

_LABEL = re.compile(
    r"""^[ \t]*+(?:[#]{1,6}[ \t]*+)?(?:\*\*|__)?[ \t]*+
        (?:answer[ \t]+(?:to|for)[ \t]+)?(?:problem|question|answer)[ \t]*[#]?(?P<number>\d{1,6})[ \t]*
        (?:(?:\*\*|__)?[ \t]*:[ \t]*(?:\*\*|__)?|(?:\*\*|__)[ \t]*$)""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)


def extract_answer(text: str) -> Extracted | None:
    r"""Return the last answer in `text`, or None.

    The last `\boxed{...}` or `\fbox{...}` with balanced braces (the outer one when nested; `\boxed 5` counts,
    empty and unclosed boxes do not), else the last statement such as "the final answer is ...",
    "**Final Answer**" or "#### 42".
    """
    return _last_box(text) or _last_statement(text)


def extract_parts(text: str, num_parts: int) -> list[Extracted | None]:
    """Return one answer (or None) for each of the problems 1..num_parts that `text` answers together.

    A section begins at a line that starts with `Problem i:`, `Answer i:` or `Answer to Problem i:` (bold or a
    heading, too) and ends at the next such line. The last section of each label is read: its answer as in
    `extract_answer`, or the whole section when it is short. A text for one problem needs no label.
    """
    if num_parts < 1:
        raise ValueError(f"num_parts must be at least 1, got {num_parts}")
    if num_parts == 1 and (only := extract_answer(text)) is not None:
        return [only]  # the last answer of the text, whatever labels it has
    sections = {number: (start, end) for number, start, end in labelled_sections(text)}
    return [_from_section(text, *sections[i]) if i in sections else None for i in range(1, num_parts + 1)]


def labelled_sections(text: str) -> list[tuple[int, int, int]]:
    """(label's number, start, end) of every section of `text` that a label opens, in the order of the text."""
    labels = list(_LABEL.finditer(text))
    starts = [label.start() for label in labels] + [len(text)]
    return [(int(label["number"]), label.end(), starts[at + 1]) for at, label in enumerate(labels)]


def _from_section(text: str, start: int, end: int) -> Extracted | None:
    section = text[start:end]
    found = extract_answer(section)
    if found is not None:
        return Extracted(found.value, found.start + start, found.end + start)
    stripped = _trimmed(text, start, end)
    if stripped is not None and len(stripped.value) <= MAX_UNBOXED_PART_CHARS and "\\boxed" not in stripped.value:
        return stripped
    return None


def _trimmed(text: str, start: int, end: int, junk: str = " \t\r\n\f\v") -> Extracted | None:
    """`text[start:end]` without `junk` at its ends, or None when nothing is left."""
    while start < end and text[start] in junk:
        start += 1
    while end > start and text[end - 1] in junk:
        end -= 1
    return Extracted(text[start:end], start, end) if start < end else None


def _last_box(text: str) -> Extracted | None:
    """The box that closes last. One pass over offsets: to match or copy each box would be quadratic."""
    found = [at for at in (text.find("\\boxed"), text.find("\\fbox"), text.find("\\framebox")) if at >= 0]
    if not found:
        return None
    best: tuple[int, int] | None = None
    depth = 0
    # The boxes that are open now: where the content begins, and the depth outside of the box.
    starts, depths = array("q"), array("q")
    for token in _BOX_TOKEN.finditer(text, max(0, min(found) - 1)):
        kind = token.lastgroup
        if kind == "opens":
            depth += token.end() - token.start()
        elif kind == "closes":
            left = depth - (token.end() - token.start())
            while depths and left <= depths[-1]:
                start, end = starts.pop(), token.start() + depth - depths.pop() - 1
                blank = _BLANK.match(text, start, end)
                if blank is None or blank.end() < end:
                    best = (start, end)
            depth = max(0, left)
        elif kind == "box" and token["brace"] is not None:
            starts.append(token.end())
            depths.append(depth)
            depth += 1
        elif kind == "box":
            bare = _BARE_BOX.match(text, token.end())
            value = _trimmed(text, *bare.span("value"), ".,;:") if bare is not None else None
            best = (value.start, value.end) if value is not None else best
    if best is None:
        return None
    return _trimmed(text, *best)


def _last_statement(text: str) -> Extracted | None:
    ends = array("q", (match.end() for match in _STATEMENT.finditer(text)))
    for end in reversed(ends[-MAX_STATEMENTS:]):
        found = _stated(text, end)
        # A box in it was never closed, or is empty: with a whole one there would be no need of statements.
        if found is not None and "\\boxed" not in found.value:
            return found
    return None


def _stated(text: str, start: int) -> Extracted | None:
    """The value after a statement's words: a formula, a number, or the rest of the sentence."""
    window = min(len(text), start + MAX_STATEMENT_CHARS)
    formula = _formula_at(text, start, window)
    if formula is not None:
        return formula
    stop = _STATEMENT_END.search(text, start, window)
    end = stop.start() if stop else window
    # "Final Answer: the largest n is 34" states its value after the last "is".
    for copula in _COPULA.finditer(text, start, end):
        start = copula.end()
    number = _NUMBER_THEN_WORDS.match(text, start, end)
    if number is not None:
        return _trimmed(text, *number.span("value"), ".,")
    formula = _formula_at(text, start, window)
    if formula is None:
        for span in _MATH_SPAN.finditer(text, start, end):
            formula = _inside(text, span) or formula
    value = formula or _trimmed(text, start, end, " \t\r\n\f\v*_.,;:")
    if value is not None and value.value.lower().startswith("not "):
        return None  # "the answer is not 5" states no answer
    return value


def _formula_at(text: str, start: int, end: int) -> Extracted | None:
    span = _MATH_SPAN.match(text, start, end)
    return _inside(text, span) if span is not None else None


def _inside(text: str, span: re.Match[str]) -> Extracted | None:
    group = span.lastgroup
    return _trimmed(text, *span.span(group)) if group is not None else None
