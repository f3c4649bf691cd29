"""The headline: what length did, never without the control that speaks to it."""

from __future__ import annotations

from typing import Any

import pytest

from long1k.reporting.headline import headlines
from long1k.reporting.sections import verdict_groups

HIGHER = (
    "bench: longer samples give higher accuracy: +5.0 points a doubling of length, 95 % interval [+4.0, +6.0], R² 0.90."
)
NONE = "bench: no effect of length found (+1.0 points a doubling of length, 95 % interval [-1.0, +3.0], R² 0.10)."


def span(estimate: float, low: float | None, high: float | None) -> dict[str, Any]:
    return {"estimate": estimate, "low": low, "high": high, "confidence": 0.95, "over": "training seeds and questions"}


def arm(name: str, role: str, kind: str, tokens: int, of: str | None = None) -> dict[str, Any]:
    return {"name": name, "role": role, "kind": kind, "target_tokens": tokens, "of": of}


ARMS = [
    arm("L32", "rung", "ladder", 32), arm("L64", "rung", "ladder", 64), arm("L128", "rung", "ladder", 128),
    arm("tokens-of-L64", "control", "token_matched", 32, "L64"), arm("tokens-of-L128", "control", "token_matched", 32, "L128"),
    arm("problems-of-L128", "control", "problem_matched", 32, "L128"), arm("untrained", "baseline", "untrained", 0),
]  # fmt: skip


def contrast(a: str, b: str, difference: dict[str, Any], p: float | None = 0.001, holm: float = 0.01) -> dict[str, Any]:
    test = None if p is None else {"name": "t", "p": p, "p_holm": holm, "comparisons": 3}
    return {"a": a, "b": b, "why": f"{a} against {b}", "difference": difference, "test": test}


def said(verdict: str, slope: dict[str, Any] | None, *contrasts: dict[str, Any]) -> str:
    law = None if slope is None else {"slope": slope}
    entry = {"benchmark": "bench", "arms": ARMS, "law": law, "contrasts": list(contrasts), "verdict": [verdict]}
    (line,), left = headlines({"confidence": 0.95, "benchmarks": [entry]})
    assert left == 0
    return line.replace("\u00a0", " ")


UP, FLAT = span(0.05, 0.04, 0.06), span(0.01, -0.01, 0.03)


@pytest.mark.parametrize(
    ("difference", "p", "holm", "words"),
    [
        (span(-0.1, -0.17, -0.04), 0.007, 0.04, ", but as many tokens in short samples give more (-10.0 points [-17.0, -4.0])."),
        (span(0.1, 0.04, 0.17), 0.007, 0.04, ", and more than as many tokens in short samples (+10.0 points [+4.0, +17.0])."),
        (span(-0.02, -0.08, 0.03), 0.35, 1.0, "; but no difference from as many tokens in short samples was found (-2.0 points [-8.0, +3.0])."),
        (span(-0.1, None, None), None, 1.0, "; against as many tokens in short samples nothing can be said (-10.0 points [training seeds and questions])."),
        (span(-0.1, -0.17, -0.04), 0.03, 0.2, "give more (-10.0 points [-17.0, -4.0], which among so many comparisons may be chance)."),
        (span(-0.1, -0.19, -0.01), 0.06, 0.2, "give more (-10.0 points [-19.0, -1.0], undecided)."),
    ],
)  # fmt: skip
def test_the_control_stands_in_the_sentence(difference: dict[str, Any], p: float, holm: float, words: str) -> None:
    short = contrast("L64", "tokens-of-L64", span(0.3, 0.2, 0.4))
    long = contrast("L128", "tokens-of-L128", difference, p, holm)
    line = said(HIGHER, UP, contrast("L128", "L32", span(0.4, 0.3, 0.5)), short, long)
    assert line.startswith("On bench, longer samples give higher accuracy: +5.0 points a doubling of length")
    assert line.endswith(words)


def test_a_control_that_stands_first_is_turned_and_a_flat_slope_has_no_but() -> None:
    turned = contrast("problems-of-L128", "L128", span(0.08, 0.02, 0.15))
    assert said(HIGHER, UP, turned).endswith(
        ", but the same traces, each as a sample of its own, give more (-8.0 points [-15.0, -2.0])."
    )
    assert said(NONE, FLAT, turned).endswith(
        "; the same traces, each as a sample of its own, give more (-8.0 points [-15.0, -2.0])."
    )


def test_without_a_control_the_sentence_says_so() -> None:
    assert said(HIGHER, UP).endswith(
        "; whether their length did it or the tokens that come with it, no arm here can tell."
    )
    assert said(NONE, FLAT).endswith("R² 0.10).")
    small = " It could have seen 2.9 points a doubling (power 80 %)."
    control = contrast("L128", "tokens-of-L128", span(0.1, 0.04, 0.17))
    line = said(NONE + small, FLAT, control)
    assert line.endswith(f"; more than as many tokens in short samples (+10.0 points [+4.0, +17.0]).{small}")


def test_without_a_law_the_first_comparison_of_arms_leads() -> None:
    base = contrast("L32", "untrained", span(0.3, 0.2, 0.4))
    pairs = [contrast("L128", "L64", UP), contrast("L128", "L32", UP)]
    lines = [f"bench: {one['why']}: found." for one in (base, *pairs)]
    entry = {"benchmark": "bench", "arms": ARMS, "law": None, "contrasts": [base, *pairs], "verdict": lines}
    found = headlines({"benchmarks": [entry] * 6})
    assert found == (["On bench, L128 against L64: found. This is the first of 2 comparisons of arms."] * 4, 2)
    assert headlines({"verdict": ["data: made."]}) == (["data: made."], 0)
    assert headlines({}) == ([], 0)


def test_the_comparison_at_equal_tokens_leads_where_it_was_asked() -> None:
    entry = {"benchmark": "bench", "arms": ARMS, "law": {"slope": FLAT}, "contrasts": [], "verdict": [NONE]}
    other = {**entry, "benchmark": "think-6", "verdict": [NONE.replace("bench", "think-6")]}
    asked = "bench: at 9 tokens an output, L128 by itself against L32 under a budget: L128 is higher (+2.0 points)."
    findings = {"benchmarks": [entry, other], "budgets": {"of": "bench", "verdict": [asked]}, "verdict": [NONE, asked]}
    (line,), left = headlines(findings)
    assert (line.replace("\u00a0", " ").endswith("R² 0.10). At 9 tokens an output, L128 by itself against L32 under a budget: L128 is higher (+2.0 points)."), left) == (True, 1)  # fmt: skip
    first = verdict_groups(findings)[0]
    assert first["name"] == "Training length against tokens at inference, on bench"
    assert first["lines"][0][0] == "At 9 tokens an output, L128 by itself against L32 under a budget"


def test_what_is_said_of_the_law_stands_behind_the_main_sentences() -> None:
    lines = [
        HIGHER,
        "bench: Best is flat (p < 0.001).",
        "bench: at equal tokens: +1.0 points.",
        "bench: 1 of 9 answers could not be graded.",
    ]
    law = {"slope": UP, "said": ["best is flat (p < 0.001)"], "turn": None}
    entry = {
        "benchmark": "bench", "arms": ARMS, "law": law, "contrasts": [], "verdict": lines,
        "predictors": {"all": {"said": ["at equal tokens: +1.0 points"]}},
    }  # fmt: skip
    group, rest = verdict_groups({"benchmarks": [entry], "verdict": [*lines, "data: made."]})
    whole = [f"{about}{line}" for about, line in group["lines"]]
    assert [line[:6] for line in whole] == ["Longer", "1 of 9"]
    assert group["lines"][0][0] == "Longer samples give higher accuracy"
    assert [about for about, _ in group["more"]] == ["Best is flat", "At equal tokens"]
    assert rest["lines"] == [("", "data: made.")]
