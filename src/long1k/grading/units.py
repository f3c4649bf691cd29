"""Units behind an answer: taken off, told by name, and measured."""

from __future__ import annotations

import re
from fractions import Fraction

# One way only to match any digits: \d+\.?\d* would try every split of a long number.
NUMBER = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)"
_PERCENT = re.compile(r" ?(?:\\?%|\\text\{ ?(?:\\?%|percent) ?\}|(?<=[\d ])percent)$")
_DEGREE = re.compile(r" ?(?:\^ ?\{? ?\\circ ?\}?|\\text\{ ?degrees? ?\}|(?<=\d )degrees?)$")
_TEXT_UNIT = re.compile(r"(?<=[A-Za-z0-9)}]) ?\\text\{ ?([A-Za-z][A-Za-z ./]*?) ?\} ?(?:\^\{?\d\}?)?$")
_SPACED_TEXT_UNIT = re.compile(r"(?<=[A-Za-z0-9)}] ) ?\\text\{ ?([A-Za-z][A-Za-z ./]*?) ?\} ?(?:\^\{?\d\}?)?$")
_PLAIN_UNIT = re.compile(rf"({NUMBER})( ?)((?:square |cubic |sq )?[A-Za-z]+(?:/[A-Za-z]+)?)(?:\^\{{?\d\}}?)?")
_POWER_OF_UNIT = re.compile(r"\^ ?\{? ?(-?\d) ?\}?$")

# Words at the end of an answer that are part of its meaning, not a unit.
_NOT_UNITS = frozenset(["or", "and", "no", "none", "not", "mod", "base", "east", "west", "north", "south"])
_ONE_LETTER_UNITS = frozenset("mghsLJKNWVATCFH")
# "m/s", "W/m^2", "kg m^{-3}" behind a number; every repetition takes one character, so that time stays linear.
_COMPOUND_UNIT = re.compile(
    r"(?<=[0-9)}]) ?\\text\{ ?([A-Za-z](?:[A-Za-z0-9 ./*^-]|\{-?\d\}){0,60})\} ?(\^ ?\{? ?-?\d ?\}?)?$"
)
_PER = re.compile(r"(\w+)[ .*]+(\w+)\^-(\d)")  # m s^-1


def without_unit(text: str) -> tuple[str, str]:
    """(text, unit) of an answer; the unit is empty where none is told apart from the answer's meaning."""
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
