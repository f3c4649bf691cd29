"""Endless repetition, answers that are none, and other languages."""

from __future__ import annotations

import gzip
import json
import random
import string
import sys
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from tests.realdata import real_data

from long1k.curation.config import LintConfig
from long1k.curation.language import other_language, prose, script_words
from long1k.curation.lint import is_sentinel, lint_trace
from long1k.errors import MissingExtraError
from long1k.loops import CHARACTERS, MAX_PERIOD, TOKENS, Loop, find_loop, find_loop_ids

TRACES = ("limo_multi_source", "math_4problems_many_rollouts", "math_r1_distill_uzaymacar", "aime_journey_shortcut")


def prattle(length: int, seed: int) -> str:
    """Words that do not repeat."""
    draw = random.Random(seed)
    words = ("".join(draw.choices(string.ascii_lowercase, k=draw.randint(2, 9))) for _ in range(length // 3 + 1))
    return " ".join(words)[:length]


def real_responses(name: str) -> Iterator[str]:
    """The responses of a file of real traces."""
    with gzip.open(real_data("traces", f"{name}.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)["response"]


# --- loops ------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(3, MAX_PERIOD), st.integers(0, 9000), st.integers(0, 9000), st.integers(0, 1000))
def test_a_planted_loop_is_found(period: int, before: int, after: int, seed: int) -> None:
    block = prattle(period - 1, seed) + "|"
    repeats = max(6, -(-CHARACTERS.length // period) + 1)
    text = prattle(before, seed + 1) + "<" + block * repeats + ">" + prattle(after, seed + 2)
    found = find_loop(text)
    assert found is not None
    assert text[found.start :].startswith(text[found.start + found.period :][: found.length - found.period])
    assert found.length == pytest.approx(found.period * found.repeats, rel=0.05)
    assert found.length >= CHARACTERS.length
    assert before <= found.start + found.period
    assert found.start + found.length <= before + 1 + period * repeats + period


@settings(deadline=None)
@given(st.integers(0, 30_000), st.integers(0, 1000))
def test_text_without_repetition_holds_none(length: int, seed: int) -> None:
    assert find_loop(prattle(length, seed)) is None


@pytest.mark.parametrize(
    "text",
    [
        ", ".join(map(str, range(1, 5000))),
        "0." + "3" * 1500 + " and so on",
        "1/7 = 0." + "142857" * 200 + " by long division",
        "-" * 1900 + "\ntext",
        " & ".join(["0"] * 400) + " \\\\ end",
        "\n".join("| " + " | ".join(str(i * j) for j in range(1, 13)) + " |" for i in range(1, 200)),
        "\n".join(f"draw(({i},0)--({i},10));" for i in range(500)),
        "\n".join(f"Step {i}: we add {i} to {i * (i - 1) // 2} and get {i * (i + 1) // 2}." for i in range(300)),
        "Wait, wait, wait, wait, wait. Let me check this again.",
        "That is a step. " * 20,
        prattle(700, 1) * 2,
        "",
        "a",
    ],
    ids=["counting", "decimals", "period of 1/7", "rule", "matrix", "table", "figure", "steps", "wait", "few", "twice",
         "empty", "one"],
)  # fmt: skip
def test_what_repeats_and_is_no_loop(text: str) -> None:
    assert find_loop(text) is None


@pytest.mark.parametrize("text", ["0" * 600, "Sum: " + " +" * 300, "0" * 600 + "\n"])
def test_bare_repetition_to_the_end_is_a_loop(text: str) -> None:
    assert find_loop(text) is not None
    assert find_loop(text + " So the answer, after this line, is four.") is None


def test_a_loop_says_what_and_where() -> None:
    text = prattle(2999, 0) + "<" + "Therefore, we need to find. " * 40 + ">" + prattle(49, 1)
    found = find_loop(text)
    assert found is not None
    assert (found.period, found.length) == (28, 40 * 28)
    assert found.start == 3000
    assert found.describe(text) == "'Therefore, we need to find. ' × 40 from character 3,000 of 4,170"


def test_three_long_repetitions_are_a_loop_and_two_are_not() -> None:
    block = prattle(1000, 5)
    assert find_loop(prattle(500, 6) + block * 2 + prattle(500, 7)) is None
    found = find_loop(prattle(500, 6) + block * 3 + prattle(500, 7))
    assert found is not None
    assert found.period == 1000


def test_ends_are_found_in_long_texts_and_hostile_ones() -> None:
    assert find_loop("0" * 1_000_000) == Loop(1, 1_000_000, 0, 1_000_000)
    hostile = "ab" * 24 + "c"
    found = find_loop(hostile * 20_000)
    assert found is not None
    assert found.period == 49


@settings(deadline=None)
@given(st.integers(3, 400), st.integers(0, 100))
def test_loops_of_tokens(period: int, seed: int) -> None:
    draw = random.Random(seed)
    block = [draw.randrange(200_000) for _ in range(period)]
    start = [draw.randrange(200_000) for _ in range(1000)]
    repeats = max(6, TOKENS.length // period + 1)
    found = find_loop_ids(start + block * repeats)
    assert found is not None
    assert found.period == period
    assert 1000 - period < found.start <= 1000
    assert find_loop_ids(start + block) is None
    assert find_loop_ids([7] * 200) is None


def test_ids_that_are_no_characters() -> None:
    assert find_loop_ids([0xD800, 0xDFFF, 0x110000, 2**31]) is None
    assert find_loop_ids([0xD800, 0xDC00, 5] * 200) is not None
    assert find_loop_ids([]) is None


def test_loops_of_real_traces() -> None:
    """What was found was read, row by row: eleven rollouts end in thousands of zeros, and no other trace loops."""
    found = {name: sum(find_loop(text) is not None for text in real_responses(name)) for name in TRACES}
    assert found == dict.fromkeys(TRACES, 0) | {"math_4problems_many_rollouts": 11}


def test_loops_of_real_outputs() -> None:
    flagged, right = 0, 0
    with gzip.open(real_data("predictions", "math500_aime24_runs.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if find_loop(row["response"]) is not None:
                flagged += 1
                right += bool(row["is_correct"])
    assert (flagged, right) == (33, 1)


# --- lint -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    ["proof", "Proof.", "\\boxed{\\text{Not Found}}", "notfound", "N/A", "$\\text{unknown}$", "NaN", "No answer."],
)
def test_answers_that_say_there_is_none(answer: str) -> None:
    assert is_sentinel(answer)
    fault = lint_trace("q", answer, "t", "s", LintConfig())
    assert fault is not None
    assert fault.reason == "sentinel_answer"
    assert answer in fault.evidence or repr(answer) in fault.evidence
    assert lint_trace("q", answer, "t", "s", LintConfig(sentinels=False)) is None


@pytest.mark.parametrize(
    "answer", ["no", "None", "\\emptyset", "no solution", "undefined", "0", "n", "Na", "x", "", "(n/a)^2", "4", "DNE"]
)
def test_answers_that_are_answers(answer: str) -> None:
    assert not is_sentinel(answer)


@pytest.mark.parametrize("part", ["thinking", "solution"])
def test_a_trace_that_loops(part: str) -> None:
    parts = {"thinking": "We add.", "solution": "\\boxed{4}"}
    parts[part] += " Hmm, let me think again." * 60
    fault = lint_trace("q", "4", parts["thinking"], parts["solution"], LintConfig())
    assert fault is not None
    assert fault.reason == "loop"
    assert fault.evidence.startswith(f"{part}: ")
    assert lint_trace("q", "4", parts["thinking"], parts["solution"], LintConfig(loops=False)) is None


CHINESE = "让我们重新考虑这个问题。首先，我们需要找到所有满足条件的整数，然后计算它们的总和。"
GERMAN = (
    "Sei $n$ eine natürliche Zahl. Wir berechnen zunächst die Summe aller Teiler und zeigen dann, dass sie gerade "
    "ist. Dazu betrachten wir zwei Fälle, und in beiden folgt die Behauptung sofort aus dem ersten Satz."
)
ENGLISH = (
    "Okay, so we need to find all integers $n$ with $n^2 = 4$. First, let me think about the cases, because the sign "
    "matters here: both values satisfy the equation, and then we add them up to get the final answer."
)


@pytest.mark.parametrize(
    ("text", "language", "right"),
    [
        (ENGLISH, "en", True),
        (ENGLISH, "de", False),
        (ENGLISH, "zh", False),
        (GERMAN, "de", True),
        (GERMAN, "en", False),
        (CHINESE * 2, "zh", True),
        (CHINESE, "en", False),
        (CHINESE, "ja", True),  # Japanese may be written in Han characters alone; kana are not asked for
        ("Пусть число чётно. " * 8, "ru", True),
        ("Пусть число чётно. " * 8, "en", False),
        ("$x = 3$, $y = 4$, so $3^2 + 4^2 = 5^2$.", "en", True),
        ("\\[ \\alpha + \\beta = \\text{Fläche} \\] α β γ 3 4 5", "en", True),
        ("", "en", True),
    ],
)
def test_languages(text: str, language: str, right: bool) -> None:
    assert (other_language(text, language, 0.05) is None) is right


def test_a_foreign_passage_is_measured() -> None:
    mixed = ENGLISH * 3 + CHINESE
    words = script_words(mixed)
    assert set(words) == {"Latin", "Han"}
    shown = other_language(mixed, "en", 0.05)
    assert shown is not None
    assert f"{100 * words['Han'] / sum(words.values()):.1f} %" in shown
    assert "Han" in shown
    assert other_language(mixed, "en", 0.5) is None
    fault = lint_trace("q", "4", mixed, "s", LintConfig(language="en"))
    assert fault is not None
    assert (fault.reason, fault.evidence) == ("other_language", f"thinking: {shown}")
    assert lint_trace("q", "4", mixed, "s", LintConfig()) is None


def test_mathematics_is_no_prose() -> None:
    text = "Let $a = b$ and \\[ \\text{Wert} \\] or \\(\\frac{Zahl}{zwei}\\), see https://example.org/eine/Seite here"
    assert prose(text).split() == ["Let", "and", "or", ",", "see", "here"]


def test_the_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from long1k.curation import language

    monkeypatch.setitem(sys.modules, "py3langid", None)
    language._identifier.cache_clear()
    with pytest.raises(MissingExtraError, match=r"long1k\[language\]"):
        other_language(ENGLISH, "en", 0.05)
    assert other_language(CHINESE, "zh", 0.05) is None  # a script needs no library


def test_a_language_is_two_letters() -> None:
    with pytest.raises(ValidationError):
        LintConfig(language="english")


def test_english_traces_read_as_english() -> None:
    texts = [text for name in TRACES for text in list(real_responses(name))[::5]]
    assert len(texts) == 780
    assert [other_language(text, "en", 0.05) for text in texts if other_language(text, "en", 0.05)] == []
