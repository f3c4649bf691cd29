"""Which language a trace is written in, judged by its prose: mathematics is taken out first.

Scripts are told apart by their letters.  Languages that share the Latin script need more than
that: there the library ``py3langid`` (extra ``language``) decides, on a sample of the prose.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from typing import Any

from long1k.plugins import need

# Greek is left out: in a trace it is mathematics.
_SCRIPTS = {
    "Han": "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003134f",
    "kana": "\u3041-\u30ff\uff66-\uff9f",
    "Hangul": "\u1100-\u11ff\u3130-\u318f\uac00-\ud7af",
    "Cyrillic": "\u0400-\u052f",
    "Arabic": "\u0620-\u06ff\u0750-\u077f",
    "Hebrew": "\u05d0-\u05ea",
    "Devanagari": "\u0900-\u097f",
    "Thai": "\u0e01-\u0e4e",
}
_DENSE = {"Han", "kana", "Thai"}  # written without spaces: two characters count as a word
_RUNS = {name: re.compile(f"[{characters}]+") for name, characters in _SCRIPTS.items()}
# A word of three letters at least: shorter ones are often variables.
_LATIN = re.compile("(?<![A-Za-z\u00c0-\u024f])[A-Za-z\u00c0-\u024f]{3,}")
_FORMULA = re.compile(
    # A displayed formula holds no other: so a row of openings is read once, not once for each.
    r"\$\$.*?\$\$|\$[^$\n]*\$|\\\[(?:(?!\\\[).)*?\\\]|\\\((?:(?!\\\().)*?\\\)|"
    r"\\[A-Za-z]+(?:\{[^{}\n]*\})*|https?://\S+|```.*?```",
    re.DOTALL,
)
OWN_SCRIPTS = {
    "zh": ("Han",),
    "ja": ("Han", "kana"),
    "ko": ("Hangul", "Han"),
    "ru": ("Cyrillic",),
    "uk": ("Cyrillic",),
    "bg": ("Cyrillic",),
    "ar": ("Arabic",),
    "fa": ("Arabic",),
    "he": ("Hebrew",),
    "hi": ("Devanagari",),
    "th": ("Thai",),
}
MIN_WORDS = 20  # of less prose nothing is said
_SAMPLE = 1000  # characters from either end of a longer text
_LEAST_FOREIGN = 2  # words; one foreign sign is a slip


def prose(text: str) -> str:
    """A text without formulas, LaTeX commands, code and links."""
    return _FORMULA.sub(" ", text)


def script_words(text: str) -> dict[str, float]:
    """Words of each script in a text's prose; of scripts without spaces, half the characters."""
    plain = prose(text)
    words = {"Latin": float(len(_LATIN.findall(plain)))}
    if not plain.isascii():
        for name, run in _RUNS.items():
            found = run.findall(plain)
            if found:
                words[name] = sum(map(len, found)) / 2 if name in _DENSE else float(len(found))
    return words


def other_language(text: str, language: str, share: float) -> str | None:
    """What shows that a text is not, or not only, in a language; None if nothing does.

    Args:
        language: ISO 639-1, such as en, zh, de.
        share: least share of words in foreign scripts that counts.

    Raises:
        MissingExtraError: a language of the Latin script needs the extra ``language``.
    """
    own = OWN_SCRIPTS.get(language, ("Latin",))
    if "Latin" not in own or (not text.isascii() and any(run.search(text) for run in _RUNS.values())):
        words = script_words(text)
        total = sum(words.values())
        # Latin words stand in a text of any language (names, units, code): they are foreign only where most are Latin.
        foreign = {name: count for name, count in words.items() if name not in own and name != "Latin"}
        if sum(foreign.values()) >= max(share * total, _LEAST_FOREIGN):
            most = max(foreign, key=lambda name: foreign[name])
            return f"{100 * sum(foreign.values()) / total:.1f} % of the words are in a foreign script, most in {most}"
        if "Latin" not in own:
            if total < MIN_WORDS or words["Latin"] <= 0.5 * total:
                return None
            return f"{100 * words['Latin'] / total:.0f} % of the words are in Latin letters, for '{language}'"
    sample = prose(text if len(text) <= 2 * _SAMPLE else text[:_SAMPLE] + "\n" + text[-_SAMPLE:])
    if len(_LATIN.findall(sample)) < MIN_WORDS:
        return None
    plain = re.sub(r"[\W\d_]+", " ", unicodedata.normalize("NFC", sample))
    found = _identifier().classify(plain)[0]
    return None if found == language else f"the prose reads as '{found}', not '{language}'"


@lru_cache(maxsize=1)
def _identifier() -> Any:
    return need("py3langid")
