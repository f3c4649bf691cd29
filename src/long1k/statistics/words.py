"""Which words outputs of one kind hold: the most frequent ones, and those that tell two kinds apart.

A word is a run of letters, lower-cased; a run of digits counts as a word too, but is never listed.  Words of one
letter (variables, and what an apostrophe leaves) and the function words of ``STOP`` are not listed either.  Shares
are of all words, listed or not.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import stats

from long1k.statistics.clustered import quantile_of, ratio, spread

WORD = re.compile(r"[^\W\d_]+|\d+")
# Articles, determiners and quantifiers; prepositions; forms of be, have, do and the modals; pronouns and adverbs that
# only point.  Kept, as in the published lists: connectives (so, and, but, if, or, since, then, therefore), what
# addresses (let, me, we), which, and every other word.
_STOP = """
the a an this that these those each all both some any no every another such same other
of to in by for from with as at on into over between than up out about per under
is are be was were been being am has have had having do does did can could will would should must may might
it its i my they them their he she you your there here what our us
"""
STOP = frozenset(_STOP.split())
PRIOR_WORDS = 1000.0
"""Words that the prior of ``log_odds`` is worth: so much weight has the share of a word in both kinds together."""
LEAST_QUESTIONS = 10
"""A word is contrasted where it stands in outputs to so many questions: fewer say something of the questions."""


@dataclass
class Outputs:
    """Counts of listed words in the outputs of one kind to one question; ``words`` counts all.

    ``shares`` sums each output's share of a word.  Of what is never listed (numbers, above all) nothing is kept.
    """

    counts: Counter[str] = field(default_factory=Counter)
    shares: dict[str, float] = field(default_factory=dict)
    words: int = 0
    outputs: int = 0


@dataclass
class WordCounts:
    """Word counts by kind of output and question."""

    kinds: dict[str, dict[str, Outputs]] = field(default_factory=dict)

    def add(self, kind: str, question: str, text: str) -> int:
        """Count the words of one output; returns their number."""
        found = Counter(WORD.findall(text.lower()))
        total = found.total()
        one = self.kinds.setdefault(kind, {}).setdefault(question, Outputs())
        one.words += total
        one.outputs += 1
        for text_word, count in found.items():
            if is_listed(text_word):
                word = sys.intern(text_word)  # one string for all questions
                one.counts[word] += count
                one.shares[word] = one.shares.get(word, 0.0) + count / total
        return total

    def total(self, kind: str) -> int:
        """Words of all outputs of a kind."""
        return sum(one.words for one in self.kinds.get(kind, {}).values())


def is_listed(word: str) -> bool:
    """Whether a word may stand in a list of words."""
    return len(word) > 1 and word not in STOP and not word.isdigit()


def top_words(counts: WordCounts, kind: str, top: int = 10, confidence: float = 0.95) -> list[dict[str, Any]]:
    """The most frequent listed words of a kind: share of all words, and the mean over outputs of each one's share.

    The first is what the published lists hold; a long output (one that runs in circles, say) counts with all its
    words in it. In the second every output counts the same. Both with an interval over questions.
    """
    own = counts.kinds.get(kind, {})
    pooled: Counter[str] = Counter()
    for one in own.values():
        pooled.update(one.counts)
    listed = ((word, count) for word, count in pooled.items() if is_listed(word))
    first = sorted(listed, key=lambda item: (-item[1], item[0]))[:top]
    words = [one.words for one in own.values()]
    outputs = [one.outputs for one in own.values()]
    found = []
    for word, count in first:
        share = ratio([one.counts[word] for one in own.values()], words, confidence, (0.0, 1.0))
        each = ratio([one.shares.get(word, 0.0) for one in own.values()], outputs, confidence, (0.0, 1.0))
        assert share is not None
        assert each is not None
        found.append({"word": word, "count": count, "share": share.as_dict(), "share_an_output": each.as_dict()})
    return found


def log_odds(
    counts: WordCounts,
    a: str,
    b: str,
    *,
    top: int = 10,
    confidence: float = 0.95,
    prior_words: float = PRIOR_WORDS,
    least_questions: int = LEAST_QUESTIONS,
) -> dict[str, Any]:
    """Words that tell outputs of kind a from those of kind b: log-odds ratios with an informative Dirichlet prior.

    The estimate is that of Monroe, Colaresi & Quinn (2008, eq. 15), the prior the words of both kinds together. Its
    standard error is over questions: words of one question come together, so that theirs, over words (eq. 20), is too
    small by far; it is multiplied by the dispersion of the questions' counts, and is not taken smaller than the
    error that the questions' residuals give. ``within`` compares outputs to the same question only (Mantel & Haenszel
    1959, each question a stratum), so that it says nothing of which questions are hard; None where fewer than
    ``least_questions`` questions have outputs of both kinds with the word.

    Returns:
        tested (words), beyond_chance (of those, with Bonferroni's correction for their number), for_a and for_b (the
        most telling words, by estimate over standard error), each with word, log_odds (an interval), p, sure, within.
    """
    left, right = counts.kinds.get(a, {}), counts.kinds.get(b, {})
    questions = sorted({*left, *right})
    words = _contrasted(questions, left, right, least_questions)
    empty: dict[str, Any] = {
        "a": a, "b": b, "questions": len(questions), "tested": len(words), "beyond_chance": 0, "for_a": [], "for_b": [],
    }  # fmt: skip
    if not words or not left or not right or len(questions) < least_questions:
        return empty
    a_QW, na_Q = _matrix(questions, left, words)
    b_QW, nb_Q = _matrix(questions, right, words)
    total_a, total_b = na_Q.sum(), nb_Q.sum()
    seen_a, seen_b = a_QW.sum(axis=0), b_QW.sum(axis=0)
    prior_W = prior_words * (seen_a + seen_b) / (total_a + total_b)
    odds, residuals, of_words = [], np.zeros_like(a_QW), np.zeros(len(words))
    for sign, y_QW, n_Q, seen, total in ((1.0, a_QW, na_Q, seen_a, total_a), (-1.0, b_QW, nb_Q, seen_b, total_b)):
        has, lacks = seen + prior_W, total + prior_words - seen - prior_W
        odds.append(np.log(has / lacks))
        residuals += sign * (y_QW / has - (n_Q[:, None] - y_QW) / lacks)
        of_words += 1 / has
    estimate = odds[0] - odds[1]
    # Theirs, times how much more a question's count varies than words drawn one by one; of both kinds together, since
    # the few questions of a rare word would say that it hardly varies.
    common_W = (seen_a + seen_b) / (total_a + total_b)
    squares = sum(((y - np.outer(n, common_W)) ** 2).sum(axis=0) for y, n in ((a_QW, na_Q), (b_QW, nb_Q)))
    dispersion = np.maximum(1.0, squares / (seen_a + seen_b))
    error = np.maximum(np.sqrt(dispersion * of_words), spread(residuals))
    z = np.divide(estimate, error, out=np.zeros_like(estimate), where=error > 0)
    p = 2 * stats.t.sf(np.abs(z), len(questions) - 1)
    within = _within(a_QW, na_Q, b_QW, nb_Q, least_questions)
    quantile = quantile_of(len(questions), confidence)

    def row(at: int) -> dict[str, Any]:
        half = quantile * error[at]
        return {
            "word": words[at], "log_odds": {"estimate": float(estimate[at]), "low": float(estimate[at] - half),
                                            "high": float(estimate[at] + half)},
            "share_a": float(seen_a[at] / total_a), "share_b": float(seen_b[at] / total_b),
            "p": float(p[at]), "sure": bool(p[at] * len(words) < 1 - confidence), "within": within.row(at, confidence),
        }  # fmt: skip

    order = np.lexsort((np.array(words), -z))
    return empty | {
        "beyond_chance": int((p * len(words) < 1 - confidence).sum()),
        "for_a": [row(int(at)) for at in order[:top] if z[at] > 0],
        "for_b": [row(int(at)) for at in order[::-1][:top] if z[at] < 0],
    }


def _contrasted(
    questions: Iterable[str], left: Mapping[str, Outputs], right: Mapping[str, Outputs], least: int
) -> list[str]:
    """Words that stand in outputs to enough questions."""
    spread_over: Counter[str] = Counter()
    for name in questions:
        here: set[str] = set()
        for side in (left, right):
            if name in side:
                here.update(side[name].counts)
        spread_over.update(here)
    return sorted(word for word, count in spread_over.items() if count >= least and is_listed(word))


def _matrix(questions: Sequence[str], side: Mapping[str, Outputs], words: Sequence[str]) -> tuple[Any, Any]:
    """Counts of words (questions, words) and of all words (questions)."""
    y_QW, n_Q = np.zeros((len(questions), len(words))), np.zeros(len(questions))
    for at, name in enumerate(questions):
        one = side.get(name)
        if one is not None:
            n_Q[at] = one.words
            y_QW[at] = [one.counts.get(word, 0) for word in words]
    return y_QW, n_Q


@dataclass(frozen=True, slots=True)
class _Within:
    """Log-odds ratios of words (NaN where too few questions have one), errors, degrees of freedom, questions."""

    estimate: Any
    error: Any
    degrees: Any
    questions: Any

    def row(self, at: int, confidence: float) -> dict[str, Any] | None:
        """One word's, with its interval."""
        if not np.isfinite(self.estimate[at]):
            return None
        middle = float(self.estimate[at])
        half = float(stats.t.ppf(0.5 + confidence / 2, self.degrees[at]) * self.error[at])
        ends = {"low": middle - half, "high": middle + half} if half > 0 else {"low": None, "high": None}
        return {"estimate": middle, **ends, "questions": int(self.questions[at])}


def _within(a_QW: Any, na_Q: Any, b_QW: Any, nb_Q: Any, least: int) -> _Within:
    """Each word's odds ratio with each question a stratum, its error from the questions' residuals.

    The degrees of freedom are those of the residuals (Satterthwaite): a few questions may hold most of a word.
    """
    both = (na_Q > 0) & (nb_Q > 0)
    a, b, na, nb = a_QW[both], b_QW[both], na_Q[both][:, None], nb_Q[both][:, None]
    nothing = np.full(a_QW.shape[1], np.nan)
    if len(a) < max(2, least):
        return _Within(nothing, nothing, nothing, nothing)
    for_a, for_b = a * (nb - b) / (na + nb), b * (na - a) / (na + nb)
    top, bottom = for_a.sum(axis=0), for_b.sum(axis=0)
    informative = ((a + b) > 0).sum(axis=0)
    usable = (informative >= least) & (top > 0) & (bottom > 0)
    top, bottom = np.where(usable, top, 1.0), np.where(usable, bottom, 1.0)
    residuals = for_a / top - for_b / bottom
    fourth = np.maximum((residuals**4).sum(axis=0), np.finfo(float).tiny)
    degrees = np.maximum(1.0, (residuals**2).sum(axis=0) ** 2 / fourth)
    return _Within(np.where(usable, np.log(top / bottom), np.nan), spread(residuals), degrees, informative)
