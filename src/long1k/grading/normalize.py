r"""The canonical text of a mathematical answer: what notation adds and meaning does not is taken away.

Each rule is here because real answers differ by it: `\dfrac12` and `\frac{1}{2}`, `016` and `16`, `10,\!080`
and `10080`, `x \in [-2,7]` and `[-2, 7]`. Nothing is evaluated, and time grows with the length only.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

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

# One way only to match any digits: \d+\.?\d* would try every split of a long number.
_NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
# 0,111 is a decimal comma or a list, never a number of thousands.
_GROUPED = re.compile(r"([-+]?)(?!0)(\d{1,3}(?:,\d{3})+|\d{1,3}(?: \d{3})+)(\.\d+)?")
_SCALED = re.compile(rf"({_NUMBER}) ?(?:\\text\{{ ?)?(thousand|million|billion|trillion)(?: [a-z]+)? ?\}}?")
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
_PERCENT = re.compile(r" ?(?:\\?%|\\text\{ ?(?:\\?%|percent) ?\}|(?<=[\d ])percent)$")
_DEGREE = re.compile(r" ?(?:\^ ?\{? ?\\circ ?\}?|\\text\{ ?degrees? ?\}|(?<=\d )degrees?)$")
_TEXT_UNIT = re.compile(r"(?<=[A-Za-z0-9)}]) ?\\text\{ ?([A-Za-z][A-Za-z ./]*?) ?\} ?(?:\^\{?\d\}?)?$")
_SPACED_TEXT_UNIT = re.compile(r"(?<=[A-Za-z0-9)}] ) ?\\text\{ ?([A-Za-z][A-Za-z ./]*?) ?\} ?(?:\^\{?\d\}?)?$")
_PLAIN_UNIT = re.compile(rf"({_NUMBER})( ?)((?:square |cubic |sq )?[A-Za-z]+(?:/[A-Za-z]+)?)(?:\^\{{?\d\}}?)?")
_POWER_OF_UNIT = re.compile(r"\^ ?\{? ?(-?\d) ?\}?$")

# Words at the end of an answer that are part of its meaning, not a unit.
_NOT_UNITS = frozenset(["or", "and", "no", "none", "not", "mod", "base", "east", "west", "north", "south"])
_ONE_LETTER_UNITS = frozenset("mghsLJKNWVATCFH")
# "m/s", "W/m^2", "kg m^{-3}" behind a number; every repetition takes one character, so that time stays linear.
_COMPOUND_UNIT = re.compile(
    r"(?<=[0-9)}]) ?\\text\{ ?([A-Za-z](?:[A-Za-z0-9 ./*^-]|\{-?\d\}){0,60})\} ?(\^ ?\{? ?-?\d ?\}?)?$"
)
_PER = re.compile(r"(\w+)[ .*]+(\w+)\^-(\d)")  # m s^-1


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
    text, unit = _without_unit(text)
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
    if re.fullmatch(_NUMBER, core):
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


def _without_unit(text: str) -> tuple[str, str]:
    for pattern, unit in ((_PERCENT, "%"), (_DEGREE, "degree")):
        stripped = pattern.sub("", text)
        if stripped and stripped != text:
            return stripped, unit
    found = _TEXT_UNIT.search(text) or _SPACED_TEXT_UNIT.search(text)
    if found is not None:
        words = _unit_name(found[1])
        one_letter = len(words) == 1 and found[1] not in _ONE_LETTER_UNITS
        if not one_letter and not _NOT_UNITS.intersection(words.split()) and "/" not in words:
            return text[: found.start()], words + _power_of_unit(found[1], found[0])
    compound = _COMPOUND_UNIT.search(text)
    if compound is not None and re.search(r"[/^0-9]", compound[0]):
        words = _PER.sub(_quotient, _unit_name(re.sub("[{}]", "", compound[1]).strip()))
        if not _NOT_UNITS.intersection(re.split(r"[^a-z]+", words)):
            return text[: compound.start()], words + _power_of_unit("", compound[2] or "")
    plain = _PLAIN_UNIT.fullmatch(text)
    if plain is not None:
        words = _unit_name(plain[3])
        # "5 m" may be a product, as may "5m/s"; and a word that is no unit may be anything.
        long_enough = len(words) > 1 if "/" not in words else bool(plain[2])
        if long_enough and measure(words) is not None:
            return plain[1], words + _power_of_unit(plain[3], plain[0])
    return text, ""


def _quotient(found: re.Match[str]) -> str:
    return f"{found[1]}/{found[2]}" + (f"^{found[3]}" if found[3] != "1" else "")


def _power_of_unit(words: str, written: str) -> str:
    """ "^2" of square feet and of cm^2; nothing of a plain unit."""
    for name, power in (("square ", "^2"), ("sq ", "^2"), ("cubic ", "^3")):
        if words.lower().startswith(name):
            return power
    found = _POWER_OF_UNIT.search(written)
    return f"^{found[1]}" if found is not None and found[1] != "1" else ""


def _unit_name(words: str) -> str:
    return words.lower().removeprefix("square ").removeprefix("cubic ").removeprefix("sq ")


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
    if re.fullmatch(_NUMBER, text):
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


def _table_of_units() -> dict[str, tuple[str, Fraction]]:
    table: dict[str, tuple[str, Fraction]] = {}
    for dimension, entries in {
        "length": "mm,millimeter,millimetre=1; cm,centimeter,centimetre=10; m,meter,metre=1000;"
        "km,kilometer,kilometre=1000000; in,inch=254/10; ft,foot,feet=3048/10; yd,yard=9144/10;"
        "mi,mile=1609344",
        "mass": "mg,milligram=1; g,gram=1000; kg,kilogram=1000000",
        "weight": "oz,ounce=1; lb,pound=16",
        "time": "sec,second,s=1; min,minute=60; hr,hour,h=3600; day=86400; week=604800",
        "money": "cent=1; dollar=100",
        "half of the day": "am,a.m.=0; pm,p.m.=1",
    }.items():
        for entry in entries.split(";"):
            names, size = entry.strip().split("=")
            for name in names.split(","):
                for form in (name, name + "s", name + "es"):
                    table.setdefault(form, (dimension, Fraction(size)))
    return table


UNITS = _table_of_units()
"""Units of measure: name -> (dimension, size in the dimension's smallest unit)."""


def measure(unit: str) -> tuple[str, Fraction] | None:
    """(dimension, size) of a unit, of a power or a quotient of units (cm^2, km/h); None for what is no measure."""
    above, slash, below = unit.partition("/")
    if slash:
        top, bottom = measure(above.strip()), measure(below.strip())
        return None if top is None or bottom is None else (f"{top[0]}/{bottom[0]}", top[1] / bottom[1])
    name, _, power = unit.partition("^")
    found = UNITS.get(name)
    if found is None or not power:
        return found
    return (f"{found[0]}^{power}", found[1] ** int(power)) if re.fullmatch(r"-?\d", power) else None


_POWER = re.compile(r"(?<![\w.\\}])([-+]?)(\d+(?:\.\d*)?|\.\d+)[eE]([-+]?)(\d{1,4})(?![\w.^{(])")
_BARE_E = re.compile(r"(?<![A-Za-z\\])e(?![A-Za-z])")


def in_powers(gold: str, answer: str) -> tuple[str, str]:
    r"""Both with powers of ten as mathematics writes them: 4.5e33 is 4.5 \times 10^{33}.

    2e-3 may be the number e, too: 2e - 3. It is read so where both sides hold an e.
    """
    if not (_POWER.search(gold) or _POWER.search(answer)):
        return gold, answer
    both = [_POWER.sub(lambda found: _as_power(found, sure=True), text) for text in (gold, answer)]
    if not all(_BARE_E.search(_POWER.sub("e", text)) for text in both):
        both = [_POWER.sub(lambda found: _as_power(found, sure=False), text) for text in both]
    return both[0], both[1]


def _as_power(found: re.Match[str], *, sure: bool) -> str:
    sign, digits, power_sign, power = found.groups()
    if sure and power_sign and "." not in digits and digits != "1":
        return found[0]
    return f"{sign}{digits} \\times 10^{{{int(power_sign + power)}}}"


_FUNCTION = r"\\(?:sin|cos|tan|cot|sec|csc)(?![A-Za-z])(?: ?\^ ?\{? ?\d ?\}?)?"
_IN_DEGREES = r" ?\d+(?:\.\d+)? ?\^ ?(?:\\circ(?![A-Za-z])|\{ ?\\circ ?\}) ?"
_OF_DEGREES = re.compile(rf"({_FUNCTION}) ?(\({_IN_DEGREES}\)|\{{{_IN_DEGREES}\}}|{_IN_DEGREES})")
_ANY_FUNCTION = re.compile(_FUNCTION)


def in_radians(gold: str, answer: str) -> tuple[str, str]:
    r"""Both with angles of trigonometric functions in radians: \sin 30^\circ is \sin(\frac{30\pi}{180}).

    A parser drops the sign of degrees. \sin 30 on the other side means degrees, too, so that both are left alone.
    """
    degrees = [_OF_DEGREES.search(text) is not None for text in (gold, answer)]
    plain = [_ANY_FUNCTION.search(text) is not None for text in (gold, answer)]
    if not any(degrees) or (not all(degrees) and all(plain)):
        return gold, answer
    return _of_degrees(gold), _of_degrees(answer)


def _of_degrees(text: str) -> str:
    def radians(found: re.Match[str]) -> str:
        number = re.search(r"[\d.]+", found[2])
        return f"{found[1]}(\\frac{{{number[0]}\\pi}}{{180}})" if number is not None else found[0]

    return _OF_DEGREES.sub(radians, text)
