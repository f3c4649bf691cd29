"""What a comparison of two arms says: interval, test, equivalence, and what it could have seen.

McNemar's test and Tango's interval where each arm gave one output a question; else the interval over questions and
seeds with the p that belongs to it, and beside that p the paired bootstrap's where there is one seed (with few seeds it
promises too much: docs/statistics.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
from scipy import stats

from long1k.rows import derive_seed
from long1k.stages.analyze.cells import Grades
from long1k.statistics.equivalence import judge
from long1k.statistics.paired import bootstrap, holm, mcnemar
from long1k.statistics.power import POWER, detectable_after
from long1k.statistics.rates import Array, Interval, interval_of, p_value, tango
from long1k.statistics.variance import parts_of, split_variance


def compare(
    name: str, left: Grades, right: Grades, confidence: float, margin: float | None = None
) -> dict[str, Any] | None:
    """Accuracy of the left arm minus that of the right, on the questions both have; None where there are none.

    Args:
        name: decides the bootstrap's random numbers.
        margin: of equivalence, 0 to 1; set before the run.
    """
    known = set(right.questions)
    shared = [question for question in left.questions if question in known]
    if not shared:
        return None
    a, b = _of(left, shared), _of(right, shared)
    made = one_verdict(a, b, left.flat and right.flat, confidence, margin)
    if made is None:
        made = _crossed(name, a, b, left, right, confidence, margin)
    return made | {"left_out": len(left.questions) + len(right.questions) - 2 * len(shared)}


def _of(grades: Grades, questions: Sequence[str]) -> Array:
    if list(questions) == grades.questions:
        return grades.y_SQ
    place = {question: at for at, question in enumerate(grades.questions)}
    return grades.y_SQ[:, [place[question] for question in questions]]


def _settled(y: Array) -> bool:
    """Whether every question is always or never solved, by all seeds and samples."""
    return bool(np.isin(y, (0.0, 1.0)).all() and (y == y[0]).all())


def one_verdict(
    a: Array, b: Array, flat: bool, confidence: float, margin: float | None = None
) -> dict[str, Any] | None:
    """Left minus right where each arm has one verdict a question: Tango's interval and McNemar's test; else None.

    Args:
        a, b: grades of the left and the right arm, shape (seeds, questions), the same questions.
        flat: both arms gave one output a question, of one seed.
        margin: of equivalence, 0 to 1.
    """
    over = "questions (one training seed: none over seeds)"
    if not flat:
        if not (_settled(a) and _settled(b)) or parts_of([a, b], [1.0, -1.0]).varies:
            return None
        # Outputs and seeds agree on every question, and all questions on the difference: one verdict a question.
        over = "questions (seeds and outputs agree on every one)"
    flips = mcnemar(a[0], b[0])
    counts = flips.both, flips.only_a, flips.only_b, flips.neither
    total = sum(counts)
    estimate = (flips.only_a - flips.only_b) / total

    def interval(level: float) -> Interval:
        if total < 2:
            return Interval(estimate, None, None, level, "a single question: no interval", 1, total)
        return Interval(estimate, *tango(*counts, level), level, over, 1, total)

    difference = interval(confidence)
    sees = None
    if difference.low is not None and difference.high is not None:
        normal = float(stats.norm.ppf(POWER) / stats.norm.ppf(0.5 + confidence / 2))
        sees = (difference.high - difference.low) / 2 * (1 + normal)
    test = {
        "name": "McNemar (mid-p)", "p": None if total < 2 else flips.mid_p, "p_exact": flips.p,
        "only_a": flips.only_a, "only_b": flips.only_b, "both": flips.both, "neither": flips.neither,
    }  # fmt: skip
    one_sided = interval(2 * confidence - 1)
    return {
        "difference": difference.as_dict(), "test": test, "could_see": sees,
        "equivalence": _equivalence(one_sided, difference, margin),
    }  # fmt: skip


def _crossed(
    name: str, a: Array, b: Array, left: Grades, right: Grades, confidence: float, margin: float | None
) -> dict[str, Any]:
    parts = parts_of([a, b], [1.0, -1.0])
    if left.untrained or right.untrained:  # one model, not one seed of several
        parts = replace(parts, single_seeds=0)
    difference = interval_of(parts, confidence)
    single = len(a) == len(b) == 1
    test: dict[str, Any] = {
        "name": "t over questions" if single else "t over training seeds and questions",
        "p": p_value(parts),
    }
    if single and test["p"] is not None:
        resampled = bootstrap(b, a, seed=derive_seed(name, "bootstrap"), confidence=confidence)
        test["p_bootstrap"] = None if resampled is None else resampled.p
    return {
        "difference": difference.as_dict(), "test": test, "could_see": detectable_after(parts, POWER, confidence),
        "equivalence": _equivalence(interval_of(parts, 2 * confidence - 1), difference, margin),
    }  # fmt: skip


def _equivalence(one_sided: Interval, two_sided: Interval, margin: float | None) -> dict[str, Any] | None:
    if margin is None:
        return None
    found = judge(one_sided, two_sided, margin)
    return {"finding": found.finding, "margin": margin, "interval": asdict(found.one_sided)}


def correct(benchmarks: Sequence[dict[str, Any]]) -> int:
    """Write Holm's corrected p, over all comparisons of the study, beside every raw one; their number."""
    tests = {
        f"{at} {number}": contrast["test"]
        for at, benchmark in enumerate(benchmarks)
        for number, contrast in enumerate(benchmark["contrasts"])
        if contrast["test"]["p"] is not None
    }
    for name, p in holm({name: test["p"] for name, test in tests.items()}).items():
        tests[name] |= {"p_holm": p, "comparisons": len(tests)}
    return len(tests)


def family_words(benchmarks: Sequence[dict[str, Any]], tests: int, forced: Sequence[str]) -> str:
    """Which comparisons a corrected p allows for; empty where nothing is corrected.

    Args:
        tests: their number (see ``correct``).
        forced: benchmarks that ask the same questions again, under a budget of tokens.
    """
    if tests < 2:
        return ""
    tested = [one["benchmark"] for one in benchmarks if any(c["test"]["p"] is not None for c in one["contrasts"])]
    under = [name for name in tested if name in forced]
    names = ", ".join(tested) + (f" ({', '.join(under)} under a budget, counted like any other)" if under else "")
    return (
        f" A corrected p is Holm's over the {tests} tests of two arms on {names}: one family; gains a doubling and "
        "comparisons at equal tokens have intervals only and are not in it."
    )


def variance_of(grades: Grades) -> dict[str, Any] | None:
    """Where one arm's variance comes from: components of one output, and what each adds to the accuracy's variance.

    Shares are of one output's variance; ``accuracy_sd`` is the standard deviation that each leaves in the accuracy.
    """
    split = split_variance(grades.y_SQ, grades.within_SQ, grades.samples_SQ)
    if split is None:
        return None
    seeds, questions = grades.y_SQ.shape
    whole = {
        "seed": split.seed, "question": split.question, "seed_by_question": split.seed_by_question,
        "sampling": split.sampling,
    }  # fmt: skip
    divided = {
        "seed": seeds, "question": questions, "seed_by_question": seeds * questions,
        "sampling": seeds * questions * split.num_samples,
    }  # fmt: skip
    total = sum(value for value in whole.values() if value is not None)
    return {
        **split.as_dict(),
        "share": {name: None if value is None or total == 0 else value / total for name, value in whole.items()},
        "accuracy_sd": {
            name: None if value is None else (value / divided[name]) ** 0.5 for name, value in whole.items()
        },
    }
