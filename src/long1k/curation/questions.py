"""What a question asks, without the way it is written: one form for LaTeX, Unicode and layout."""

from __future__ import annotations

import re
import unicodedata

_DROPPED = """
left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr displaystyle textstyle limits nolimits quad qquad
hfill noindent hline text textbf textit textrm textup textsc emph mbox hbox mathrm mathbf mathit mathsf mathbb mathcal
operatorname boldsymbol bold bf rm it begin end lbrace rbrace lvert rvert vert mid allowbreak newline label ensuremath
overline underline dots ldots cdots dotsc dotsb dotsm hdots
"""
# What a command is called here; an empty name drops the command and keeps what it is applied to.
_NAMES = {
    **dict.fromkeys(_DROPPED.split(), ""),
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), "frac"),
    **dict.fromkeys(("leq", "leqslant", "leqq"), "le"),
    **dict.fromkeys(("geq", "geqslant", "geqq"), "ge"),
    **dict.fromkeys(("vartriangle", "bigtriangleup"), "triangle"),
    **dict.fromkeys(("rightarrow", "longrightarrow"), "to"),
    "neq": "ne",
    "degree": "circ",
    "varnothing": "emptyset",
}
_SIGNS = {
    "≤": "le",
    "≥": "ge",
    "≠": "ne",
    "×": "times",
    "·": "cdot",
    "⋅": "cdot",
    "÷": "div",
    "√": "sqrt",
    "π": "pi",
    "∞": "infty",
    "∠": "angle",
    "△": "triangle",
    "→": "to",
    "∈": "in",
    "∪": "cup",
    "∩": "cap",
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "θ": "theta",
    "λ": "lambda",
    "μ": "mu",
    "ω": "omega",
    "φ": "phi",
}
_UNICODE = {
    **{high: f"^{digit}" for digit, high in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{low: f"_{digit}" for digit, low in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    "°": "^\\circ ",
    **dict.fromkeys("−‐‑–", "-"),
    **{sign: f"\\{name} " for sign, name in _SIGNS.items()},
}
# What may not hold its own opening, or is bounded, ends early: a row of openings is read once, not once for each.
_FIGURE = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)|!\[[^\[\]]*\]\((?:(?!!\[)[^)])*\)", re.DOTALL)
_LINK = re.compile(r"(?<!!)\[([^\[\]\n]*)\]\(https?://[^)\s]*\)")
_FONT = re.compile(
    r"\\(?:text(?:bf|it|rm|up|sc)?|mbox|hbox|mathrm|mathbf|mathit|mathsf|mathbb|mathcal|operatorname|boldsymbol|emph|overline|underline)"
    r"\*?\s*\{([^{}]*)\}"
)
_LAYOUT = re.compile(
    r"\\(?:begin|end)\s*\{(?:align|aligned|equation|gather|split|array|tabular|center|cases)\*?\}(?:\{[^{}]*\})?"
)
_COMMAND = re.compile(r"\\(?:([A-Za-z]+)\*?(?=(\d?))|(.))", re.DOTALL)
_FRACTION = re.compile(r"\\frac\s*(?:\{([^{}]*)\}|(\w))\s*(?:\{([^{}]*)\}|(\w))")
_THOUSANDS = re.compile(r",(?<=\d,)(?=\d{3}(?!\d))")
_SIGN_NAME = re.compile(r"\{(\\[a-z]+|\w)\}")  # x^{2} and x^2 are the same, \frac{1}{23} and \frac{12}{3} are not

# What prompts add to a question: it says nothing about which question it is.
_INSTRUCTIONS = re.compile(
    r"please reason step by step.*"
    r"|(?:return|put|give|write) your final (?:answer|response) (?:with)?in \\?boxed(?:\{\})?\.?"
    r"|^\s*(?:question|problem)\s*:",
    re.DOTALL,
)
_ANSWER_FORM = re.compile(
    r"(?:please )?(?:express|give|enter|write|state|round|report|leave) (?:your|the|all|each|any) (?:final )?answers?\b"
    r"(?:[^.?!]|\.(?=\w))*[.?!]?"
    r"|enter (?:all )?(?:the )?(?:possible )?(?:solutions|values|roots|integers)[^.?!]{0,200}separated by commas\.?"
)
_DROP = re.compile(r"[^\w+\-*/=<>^⊕{}]+")
_WORD = re.compile(r"[A-Za-z0-9]+")
_FEW_WORDS = 16
_NUMBER_OR_SIGN = re.compile(r"\d+(?:\.\d+)?|[+*/=<>^]|(?<![a-z])-|-(?![a-z])")
_MASK = bytes.maketrans(b"123456789-", b"000000000+")
_BEFORE_A_SIGN = [bytes([sign]) for sign in b"([{,=<>$|"]


def plain_text(text: str) -> str:
    """A text in small letters, its LaTeX and Unicode mathematics in one spelling, without layout.

    Figures go too, unless so little is said beside one that it must be part of the question.
    """
    if not text.isascii():
        for sign, ours in _UNICODE.items():  # many times faster than str.translate, which this would be
            if sign in text:
                text = text.replace(sign, ours)
        text = unicodedata.normalize("NFKC", text)
    if "](" in text or "[asy]" in text:
        text = _LINK.sub(r"\1", text)
        told = _FIGURE.sub(" ", text)
        text = told if len(_WORD.findall(told)) >= _FEW_WORDS else text
    if "\\" in text or "{,}" in text:
        text = text.replace("{,}", ",").replace(",\\!", ",")
        text = _FONT.sub(r"\1", _LAYOUT.sub(" ", text))
        text = _COMMAND.sub(_rename, text)
        text = _FRACTION.sub(_braces, text)
    return _THOUSANDS.sub("", text).lower()


def asked(plain: str) -> str:
    """A plain question without what it says about the answer's form; one that says nothing else keeps it."""
    without_prompt = _INSTRUCTIONS.sub(" ", plain)
    return next((text for text in (_ANSWER_FORM.sub(" ", without_prompt), without_prompt) if squeeze(text)), plain)


def squeeze(plain: str) -> str:
    """A plain text without white space, punctuation and needless braces."""
    return _DROP.sub("", _SIGN_NAME.sub(r"\1", plain)).replace("\\", "").replace("_{}", "")


def question_key(question: str) -> str:
    """What two questions have in common that are the same but for case, layout and punctuation."""
    return squeeze(asked(plain_text(question)))


def mask_numbers(plain: str) -> str:
    """A plain text with every number (or fraction of two) as 0, every minus as a plus, no sign before a number.

    The steps work on bytes, since whole data sets pass through here.
    """
    masked = plain.encode("utf-8", "surrogatepass").translate(_MASK)
    while b"00" in masked:
        masked = masked.replace(b"00", b"0")
    for number in (b"0.0", b"\\frac{0}{0}", b"0/0"):
        masked = masked.replace(number, b"0")
    for before in _BEFORE_A_SIGN:
        masked = masked.replace(before + b"+0", before + b"0").replace(before + b" +0", before + b"0")
    return masked.decode("utf-8", "surrogatepass")


def numbers_and_signs(plain: str) -> list[str]:
    """The numbers, signs and relations of a plain text in order; a hyphen within a word is none."""
    return _NUMBER_OR_SIGN.findall(plain)


def _rename(match: re.Match[str]) -> str:
    name, digit, sign = match.groups()
    if name is None:
        return sign if sign in "%$#&" else " "
    name = _NAMES.get(name, name)
    return f"\\{name}{' ' if digit else ''}" if name else " "


def _braces(match: re.Match[str]) -> str:
    r"""1/2 for \frac12 and \frac{1}{2}; in a mixed number, and for whole terms, \frac stays."""
    above, below = match[1] or match[2] or "", match[3] or match[4] or ""
    mixed = match.string[max(0, match.start() - 1) : match.start()].isdigit()
    return f"\\frac{{{above}}}{{{below}}}" if mixed or not (above + below).isalnum() else f" {above}/{below} "
