"""What a question asks, without the way it is written: one form for LaTeX, Unicode and layout."""

from __future__ import annotations

import re
import unicodedata

# What a command is called here; an empty name drops the command and keeps what it is applied to.
_NAMES = {
    **dict.fromkeys(("dfrac", "tfrac", "cfrac"), "frac"),
    **dict.fromkeys(("leq", "leqslant", "leqq"), "le"),
    **dict.fromkeys(("geq", "geqslant", "geqq"), "ge"),
    "neq": "ne",
    **dict.fromkeys(("ldots", "cdots", "dotsc", "dotsb", "dotsm", "hdots"), "dots"),
    **dict.fromkeys(("vartriangle", "bigtriangleup"), "triangle"),
    **dict.fromkeys(("rightarrow", "longrightarrow"), "to"),
    **dict.fromkeys(("varnothing",), "emptyset"),
    "degree": "circ",
    **dict.fromkeys(
        (
            *("left", "right", "middle", "big", "Big", "bigg", "Bigg", "bigl", "bigr", "Bigl", "Bigr", "biggl", "biggr"),
            *("displaystyle", "textstyle", "limits", "nolimits", "quad", "qquad", "hfill", "noindent", "hline"),
            *("text", "textbf", "textit", "textrm", "textup", "textsc", "emph", "mbox", "hbox", "mathrm", "mathbf"),
            *("mathit", "mathsf", "mathbb", "mathcal", "operatorname", "boldsymbol", "bold", "bf", "rm", "it", "begin"),
            *("end", "lbrace", "rbrace", "lvert", "rvert", "vert", "mid", "allowbreak", "newline", "label", "ensuremath"),
        ),
        "",
    ),
}
_UNICODE = {
    **{ord(high): f"^{digit}" for digit, high in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{ord(low): f"_{digit}" for digit, low in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    **{ord(dash): "-" for dash in "−‐‑–"},
    **{
        ord(sign): f"\\{name} "
        for sign, name in zip(
            "≤≥≠×·⋅÷√π°∞∠△…⋯→∈∪∩αβγδθλμωφ",
            "le ge ne times cdot cdot div sqrt pi circ infty angle triangle dots dots to in cup cap "
            "alpha beta gamma delta theta lambda mu omega phi".split(),
            strict=True,
        )
    },
}
_FIGURE = re.compile(r"\[asy\].*?(?:\[/asy\]|\Z)|!\[[^\]]*\]\([^)]*\)", re.DOTALL)
_LINK = re.compile(r"\[([^\]\n]*)\]\(https?://[^)\s]*\)")
_FONT = re.compile(
    r"\\(?:text(?:bf|it|rm|up|sc)?|mbox|hbox|mathrm|mathbf|mathit|mathsf|mathbb|mathcal|operatorname|boldsymbol|emph)"
    r"\*?\s*\{([^{}]*)\}"
)
_LAYOUT = re.compile(r"\\(?:begin|end)\s*\{(?:align|aligned|equation|gather|split|array|tabular|center|cases)\*?\}(?:\{[^{}]*\})?")
_COMMAND = re.compile(r"\\(?:([A-Za-z]+)\*?|(.))", re.DOTALL)
_FRACTION = re.compile(r"\\frac\s*(?:\{([^{}]*)\}|(\w))\s*(?:\{([^{}]*)\}|(\w))")
_THOUSANDS = re.compile(r"(?<![\d.])(\d{1,3})((?:\{?,\}?\\?!?\d{3})+)(?!\d)")
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
    r"|enter (?:all|the) (?:possible )?(?:solutions|values|roots|integers)[^.?!]*separated by commas\.?"
)
_DROP = re.compile(r"[^\w+\-*/=<>^⊕{}]+")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_NUMBER_FRACTION = re.compile(r"\\frac\{0\}\{0\}|\b0/0\b")


def has_figure(question: str) -> bool:
    """Whether part of the question is drawn."""
    return _FIGURE.search(question) is not None


def plain_text(text: str) -> str:
    """A text in small letters, its LaTeX and Unicode mathematics in one spelling, without figures and layout."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text.translate(_UNICODE))
    if "](" in text or "[asy]" in text:
        text = _LINK.sub(r"\1", _FIGURE.sub(" ", text))
    if "\\" in text:
        text = _FONT.sub(r"\1", _LAYOUT.sub(" ", text))
        text = _COMMAND.sub(_rename, text)
        text = _FRACTION.sub(_braces, text)
    return _THOUSANDS.sub(_join_digits, text).lower()


def question_key(question: str) -> str:
    """A question without case, white space, layout commands and punctuation."""
    return key_of(plain_text(question))


def key_of(plain: str) -> str:
    """The key of a text that ``plain_text`` made; a question that only states the answer's form keeps it."""
    asked = _INSTRUCTIONS.sub("", plain)
    return _squeeze(_ANSWER_FORM.sub("", asked)) or _squeeze(asked)


def mask_numbers(plain: str) -> str:
    """A plain text with every number (a fraction of two is one) replaced by 0, every minus by a plus."""
    masked = _NUMBER.sub("0", plain)
    return _NUMBER_FRACTION.sub("0", masked).replace("-", "+")


def _squeeze(plain: str) -> str:
    return _DROP.sub("", _SIGN_NAME.sub(r"\1", plain)).replace("\\", "")


def _rename(match: re.Match[str]) -> str:
    name, sign = match.groups()
    if name is None:
        return sign if sign in "%$#&" else " "
    name = _NAMES.get(name, name)
    return f"\\{name}" if name else " "


def _braces(match: re.Match[str]) -> str:
    above, below = match[1] or match[2] or "", match[3] or match[4] or ""
    return f"\\frac{{{above}}}{{{below}}}"


def _join_digits(match: re.Match[str]) -> str:
    return match[1] + re.sub(r"\D", "", match[2])
