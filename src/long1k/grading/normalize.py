r"""The canonical text of a mathematical answer: what notation adds and meaning does not is taken away.

Each rule is here because real answers differ by it: `\dfrac12` and `\frac{1}{2}`, `016` and `16`, `10,\!080`
and `10080`, `x \in [-2,7]` and `[-2, 7]`. Nothing is evaluated, and time grows with the length only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from long1k.grading.units import NUMBER, without_unit

MAX_ANSWER_CHARS = 10_000
"""A longer gold or answer is refused: no answer is that long, and parsing it is an attacker's work."""

# Characters that models write for a LaTeX command. Superscript digits are left alone: x² is not x2.
_UNICODE = str.maketrans(
    {
        "\u2212": "-",  # minus sign
        "\u2013": "-",  # en dash
        "\u00d7": "\\times ",
        "\u00b7": "\\cdot ",
        "\u03c0": "\\pi ",
        "\u221e": "\\infty ",
        "\u2264": "\\le ",
        "\u2265": "\\ge ",
        "\u2260": "\\ne ",
        "\u2248": "\\approx ",
        "\u00b0": "^\\circ ",
        "\u222a": "\\cup ",
        "\u2208": "\\in ",
        "\u00b1": "\\pm ",
    }
)

_WRAPPERS = r"(?:mbox|hbox|emph|operatorname|text(?:bf|rm|it|sf|tt|normal)|math(?:rm|bf|it|sf))"
_ORDINAL = r"(?:st|nd|rd|th)"
# (pattern, replacement, in this order). Reasons stand beside the rules that need one.
_REWRITES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(pattern), replacement)
    for pattern, replacement in [
        (r"\\(?:left|right) ?\.(?!\d)", ""),  # an invisible delimiter
        (r"\\(?:left|right|[bB]igg?[lr]?)(?![A-Za-z])", ""),  # size only; \leftarrow stays
        (r"\\(?:displaystyle|textstyle|limits)(?![A-Za-z])", ""),
        # In the rules for spacing, a command's backslash is not the second one of a matrix's line end.
        (r"(?<!\\)\\! ?", ""),  # "10,\! 080" is one number: the negative space takes the blank with it
        (r" ?\{ ?, ?\} ?", ","),  # "10{,}080"
        (r"(?<!\\)\\[,;:> ]|~|\\q?quad(?![A-Za-z])|\\(?:thin|med|thick)space(?![A-Za-z])", " "),
        (r"\\[dtc]frac(?![A-Za-z])", r"\\frac"),
        (r"\\mathrm ?\{ ?([eid]) ?\}", r"\1"),  # the constants and the differential, set upright
        (r"\\" + _WRAPPERS + r" ?\{", r"\\text{"),
        # "the 12^{th} grade" answers 12
        (rf"(?<=\d) ?\^ ?\{{? ?\\text\{{ ?{_ORDINAL} ?\}} ?\}}?", ""),
        (rf"(?<=\d)(?: ?\\text\{{ ?{_ORDINAL} ?\}}|{_ORDINAL}(?![A-Za-z]))", ""),
        (r"\\leq(?:slant)?(?![A-Za-z])|<=", r"\\le "),
        (r"\\geq(?:slant)?(?![A-Za-z])|>=", r"\\ge "),
        (r"\\neq(?![A-Za-z])|!=", r"\\ne "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\varnothing(?![A-Za-z])", r"\\emptyset"),
        (r"\\degree(?![A-Za-z])", r"^\\circ "),
        (r"\\langle(?![A-Za-z])", "("),  # a vector
        (r"\\rangle(?![A-Za-z])", ")"),
        (r"\\[dt]?frac ?\{ ?\\text\{ ?([A-Za-z]+) ?\} ?\} ?\{ ?\\text\{ ?([A-Za-z]+) ?\} ?\}", r"\\text{\1/\2}"),  # m/s
        (r"\+ ?\\infty", r"\\infty"),
        (r"^(?:\\approx(?![A-Za-z])|\\simeq(?![A-Za-z])) ?", ""),  # rounded, and says so
    ]
]

# 0,111 is a decimal comma or a list, never a number of thousands.
_GROUPED = re.compile(r"([-+]?)(?!0)(\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+)(\.\d+)?")
_SCALED = re.compile(rf"({NUMBER}) ?(?:\\text\{{ ?)?(thousand|million|billion|trillion)(?: [a-z]+)? ?\}}?")
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
_MIXED_SLASH = re.compile(r"([-+]?\d+) (\d+)/(\d+)")
_REPEATING = re.compile(r"([-+]?)(\d*)\.(\d*)\\(?:overline|bar)\{?(\d+)\}?")
_FRACTION_ARGS = re.compile(r"\\frac ?(\d|[a-zA-Z]|\{[^{}]*\}) ?(\d|[a-zA-Z]|\{[^{}]*\})")
_SQRT_ARG = re.compile(r"\\sqrt ?(\d|[a-zA-Z])")
_SLASH = re.compile(r"([-+]?)(\d+)/(\d+)")
_ONE_CHAR_SCRIPT = re.compile(r"([_^])\{([0-9A-Za-z])\}")
_TEXT = re.compile(r"\\text\{([^{}]*)\}")
# Blanks that mean something stay: "1 4/5" is not "14/5", and \pi r is not the command \pir.
_COMMAND_THEN_LETTER = re.compile(r"(\\[A-Za-z]+) (?=[A-Za-z])")
_MEANINGLESS_BLANK = re.compile(r"(?<!\d) | (?!\d)")
# A name that an answer is given to: x, x_1, \theta, AB, f(x).
_NAME = re.compile(
    r"((?:[A-Za-z]{1,2}|\\(?!(?:in|le|ge|ne)(?![A-Za-z]))[A-Za-z]+)(?:_(?:\w|\{\w+\}))?(?:\([A-Za-z]\))?) ?"
    r"(?:=|\\approx(?![A-Za-z])|\\in(?![A-Za-z]))(.+)"
)
_RELATION = re.compile(r"[=<>]|\\(?:le|ge|ne|in)(?![A-Za-z])")


_THIN_COMMA = re.compile(r"(?<=\d),(?:\\!)+ *(?=\d{3})")


@dataclass(frozen=True)
class Parts:
    """An answer taken apart: `name = core unit`; `name` and `unit` may be empty."""

    name: str
    core: str
    unit: str


def normalize(answer: str) -> str:
    r"""Return the canonical text of an answer: equal text means an equal answer.

    Removed: mathematics delimiters, an enclosing box, sizes and spacing, \text-like wrappers, a leading `x =`
    or `x \in`, a trailing full stop, degree and percent signs, units, dollar signs, endings of ordinals,
    thousands separators, needless zeros of numbers. A text that is too long to grade is only stripped.
    """
    return split(answer).core


def split(answer: str) -> Parts:
    """Take an answer apart; the core is in canonical form."""
    if len(answer) > MAX_ANSWER_CHARS:
        return Parts("", answer.strip(), "")
    text = prepare(answer)
    name = ""
    named = _NAME.fullmatch(text)
    if named is not None and not _RELATION.search(named[2]):
        name, text = named[1].replace(" ", ""), _unwrapped(named[2])
    scaled = _SCALED.fullmatch(text)
    if scaled is not None:
        value = Fraction(scaled[1]) * _SCALES[scaled[2]]
        text = str(value.numerator) if value.denominator == 1 else text
    text, unit = without_unit(text)
    if not unit and ("\\$" in answer or answer.count("$") == 1):
        unit = "dollar"
    return Parts(name, _canonical(text), unit)


def prepare(answer: str) -> str:
    """Clean the notation of an answer, and keep all that a parser of LaTeX may need."""
    # MATH writes thousands as 20,\!000 and 20,\! 000.
    text = _unwrapped(_one_line(_THIN_COMMA.sub("", answer.translate(_UNICODE))))
    text = text.replace("\\$", "").replace("$", "")
    for pattern, replacement in _REWRITES:
        text = pattern.sub(replacement, text)
    return _unwrapped(_one_line(text))


def rational(core: str) -> Fraction | None:
    r"""The exact value of a canonical integer, decimal (repeating, too), fraction or mixed number; else None."""
    if len(core) > 200:  # Python refuses to convert integers of very many digits
        return None
    if re.fullmatch(NUMBER, core):
        return Fraction(core)
    match = _REPEATING.fullmatch(core)
    if match is not None:
        before, repeated = match[3] or "", match[4]
        nines = (10 ** len(repeated) - 1) * 10 ** len(before)
        value = int(match[2] or 0) + Fraction(int(before + repeated) - int(before or 0), nines)
        return -value if match[1] == "-" else value
    match = re.fullmatch(r"([-+]?)(\d+)?\\frac\{([-+]?\d+)\}\{([-+]?\d+)\}", core)
    if match is None or int(match[4]) == 0:
        return None
    fraction = Fraction(int(match[3]), int(match[4]))
    if match[2] is not None:
        if fraction < 0:
            return None
        fraction += int(match[2])  # 137\frac{1}{2} is a mixed number in answers, never a product
    return -fraction if match[1] == "-" else fraction


def _one_line(text: str) -> str:
    # Every run of blanks becomes one: the patterns above count on it, and stay linear because of it.
    return " ".join(text.split())


def _unwrapped(text: str) -> str:
    """Strip blanks, the final full stop, and what encloses the whole: $...$, a box, bold marks, braces."""
    for _ in range(8):
        before = text
        text = text.strip()
        if text.endswith((".", ",", ";")) and not text.endswith(("..", "\\;", "\\,")):
            text = text[:-1].rstrip()
        for opening, closing in (("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]"), ("**", "**")):
            inner = text[len(opening) : -len(closing)]
            if inner and text.startswith(opening) and text.endswith(closing) and closing not in inner:
                text = inner.strip()
        brace = re.match(r"(?:\\(?:boxed|fbox) ?)?\{", text)
        if brace is not None and text.endswith("}") and _closes_at_end(text, brace.end()):
            text = text[brace.end() : -1]
        if text == before:
            break
    return text


def _closes_at_end(text: str, start: int) -> bool:
    """True if the brace that opened before `start` is closed by the last character of `text`."""
    depth = 1
    for token in re.finditer(r"\\[\s\S]|[{}]", text[start:]):
        depth += {"{": 1, "}": -1}.get(token[0], 0)
        if depth == 0:
            return start + token.end() == len(text)
    return False


def _canonical(text: str) -> str:
    text = _unwrapped(_one_line(_TEXT.sub(r"\1", text)))
    grouped = _GROUPED.fullmatch(text)
    if grouped is not None:
        text = grouped[1] + re.sub("[ ,]", "", grouped[2]) + (grouped[3] or "")
    if _MIXED_SLASH.fullmatch(text):
        text = _MIXED_SLASH.sub(r"\1\\frac{\2}{\3}", text)
    for _ in range(3):  # \frac inside of an argument of \frac
        text = _FRACTION_ARGS.sub(_with_braces, text)
    text = _SQRT_ARG.sub(r"\\sqrt{\1}", text)
    text = _COMMAND_THEN_LETTER.sub("\\1\0", text)
    text = _MEANINGLESS_BLANK.sub("", text).replace("\0", " ")
    text = _ONE_CHAR_SCRIPT.sub(r"\1\2", text)
    if re.fullmatch(r"\([A-Z]\)", text):  # the letter of a choice
        return text[1]
    if re.fullmatch(r"[A-Za-z]{4,}|[Yy][Ee][Ss]|N[oO]", text):  # a word, not a product of variables: Even is even
        return text.lower()
    if re.fullmatch(NUMBER, text):
        return _plain_number(text)
    slash = _SLASH.fullmatch(text)
    return f"{slash[1]}\\frac{{{slash[2]}}}{{{slash[3]}}}" if slash is not None else text


def _with_braces(fraction: re.Match[str]) -> str:
    return "\\frac" + "".join("{" + part.strip("{}") + "}" for part in fraction.groups())


def _plain_number(text: str) -> str:
    """Drop what leaves a number the same: +, leading zeros (AIME's 016), trailing zeros after the point."""
    sign = "-" if text.startswith("-") else ""
    whole, _, decimals = text.lstrip("+-").partition(".")
    whole, decimals = whole.lstrip("0") or "0", decimals.rstrip("0")
    number = f"{whole}.{decimals}" if decimals else whole
    return number if number == "0" else sign + number
