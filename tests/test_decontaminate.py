from __future__ import annotations

import gzip
import json
import pickle
import re
from collections.abc import Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import long1k.curation.ngrams as ngrams_module
from long1k.curation.config import DecontaminateConfig
from long1k.curation.decontaminate import RULES, BenchmarkIndex, Match, question_key
from long1k.curation.language import prose
from long1k.curation.ngrams import NgramIndex, NgramShares, ngrams, words
from long1k.curation.questions import mask_numbers, numbers_and_signs, plain_text, squeeze
from realdata import real_data

# --- the index of n-grams is plain Python's answer, faster ------------------------------------------------


def _plain_words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def _plain_ngrams(text: str, n: int) -> list[str]:
    found = _plain_words(text)
    return [" ".join(found[i : i + n]) for i in range(len(found) - n + 1)]


def _index(known: Sequence[str], n: int) -> NgramIndex:
    return NgramIndex(frozenset(gram for text in known for gram in ngrams(words(text), n)), n)


# Few letters, so that n-grams meet; signs, letters outside of ASCII and those whose small form is in it.
_TEXT = st.text(alphabet="abAB01 .\n-éßKİſ中😀\x00`@[{/:", max_size=60)


@given(known=st.lists(_TEXT, max_size=5), texts=st.lists(_TEXT, max_size=8), n=st.integers(1, 9))
@example(known=["K 1 İ"], texts=["k 1 i", "K-1.İ", "İ K"], n=3)
@example(known=["a b c"], texts=["a b", "c a", "b c", "x a b c"], n=3)
def test_the_index_flags_what_plain_python_flags(known: list[str], texts: list[str], n: int) -> None:
    plain_known = {gram for text in known for gram in _plain_ngrams(text, n)}
    expected = [next((gram for gram in _plain_ngrams(text, n) if gram in plain_known), None) for text in texts]
    assert _index(known, n).first_shared(texts) == expected


@given(text=st.text(max_size=80))
def test_words_are_those_of_the_small_letters(text: str) -> None:
    assert [word.decode() for word in words(text)] == _plain_words(text)


@given(texts=st.lists(_TEXT, min_size=1, max_size=6), n=st.integers(1, 4))
def test_every_place_is_found_with_its_start(texts: list[str], n: int) -> None:
    found = _index(texts, n).shared(texts)
    for text, hits in zip(texts, found, strict=True):
        assert [hit.ngram.decode() for hit in hits] == _plain_ngrams(text, n)
        starts = [hit.start for hit in hits]
        assert starts == sorted(set(starts))


def test_a_start_is_a_byte_of_the_text() -> None:
    (hits,) = _index(["one two"], 2).shared(["é… One, TWO"])
    assert "é… One, TWO".encode()[hits[0].start :].startswith(b"One")


@pytest.mark.parametrize("chunk", [1, 8, 1 << 18])
def test_an_ngram_does_not_cross_texts(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ngrams_module, "_CHUNK", chunk)
    index = _index(["one two three four"], 4)
    assert index.first_shared(["one two", "three four", "", "one two three", "four"]) == [None] * 5
    assert index.first_shared(["one two", "x one\ntwo-three, FOUR y", "four"]) == [None, "one two three four", None]


def test_long_texts_and_many_known_ngrams() -> None:
    vocabulary = [f"w{i}" for i in range(50)]
    text = " ".join(vocabulary[i * i % 50] for i in range(20_000))
    index = _index([text], 8)
    assert len(index.shared([text])[0]) == 20_000 - 7
    assert index.first_shared([" ".join(reversed(vocabulary))]) == [None]


def test_half_of_a_surrogate_pair_stops_nothing() -> None:
    assert _index(["a b"], 2).first_shared(["\ud800 a b"]) == ["a b"]


def test_an_empty_index_and_no_texts() -> None:
    assert NgramIndex(frozenset(), 8).first_shared(["a b c"]) == [None]
    assert _index(["a b"], 2).first_shared([]) == []
    with pytest.raises(ValueError, match="at least one word"):
        NgramIndex(frozenset(), 0)


def test_an_index_can_be_sent() -> None:
    index = pickle.loads(pickle.dumps(_index(["one two three"], 2)))
    assert index.first_shared(["two three", "three two"]) == ["two three", None]


# --- how much of a problem stands in a text -----------------------------------------------------------------

_SPEECH = "a farmer sold nine brown cows and seven white goats to three old friends at the village market"


def test_a_share_is_counted_in_different_ngrams_of_the_problem() -> None:
    shares = NgramShares([(7, _SPEECH)], 3, fewest=2)
    assert shares.totals == {7: 16}
    half = " ".join(_SPEECH.split()[:10])
    (found,) = shares.shared([f"{half} . {half}"])
    assert found[7].num_ngrams == 8


def test_a_share_is_of_one_place() -> None:
    shares = NgramShares([(0, _SPEECH)], 3, fewest=2)
    first, second = " ".join(_SPEECH.split()[:9]), " ".join(_SPEECH.split()[9:])
    near, far = shares.shared([f"{first} - {second}", f"{first} {'so it goes ' * 100} {second}"])
    assert (near[0].num_ngrams, far[0].num_ngrams) == (16, 7)


def test_a_phrase_of_many_problems_says_nothing() -> None:
    tail = "where p and q are relatively prime positive integers find p plus q"
    own = [" ".join(f"{name}{k}" for k in range(20)) for name in "uvwxyz"]
    shares = NgramShares([(i, f"{text} {tail}") for i, text in enumerate(own)], 4, fewest=2)
    assert shares.num_telling(tail) == 0
    assert list(shares.shared([tail])) == [{}]
    assert list(next(iter(shares.shared([own[2]])))) == [2]


def test_a_problem_made_of_common_phrases_keeps_them() -> None:
    shares = NgramShares([(i, f"{_SPEECH} {name}") for i, name in enumerate("uvwxyz")], 4, fewest=2)
    assert sorted(next(iter(shares.shared([_SPEECH])))) == [0, 1, 2, 3, 4, 5]


# --- one form for one question ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Find $\dfrac{1}{2} + x$, please.", r"find  $\frac 1 2+x$ please"),
        (r"Find $\frac12$ of $x^{2}$", r"Find $1/2$ of $x²$"),
        (r"What is $5\,\text{cm}$?", "what is 5 cm"),
        (r"Let $|x-2|\leq5.6$", r"Let \(|x - 2| \le 5.6\)"),
        (r"If $\angle A = 40^\circ$", "If ∠A = 40°"),
        (r"He pays $\$1{,}250$.", "He pays $1,250."),
        (r"Sum $1+2+\ldots+9$", "Sum 1+2+...+9"),
        (r"A line \overline{AB} in $\mathbf{R}^{3}$", "A line AB in R^3"),
        ("What is 2 in 5 parts? Express your answer as a common fraction.", "What is 2 in 5 parts?"),
        ("Find x. Enter all the solutions, separated by commas.", "Find x."),
        (r"Return your final response within \boxed{}. Find y.", "Find y."),
        ("Problem: Find z.\nPlease reason step by step, and put your final answer within \\boxed{}.", "Find z"),
        (r"See [the rule](https://example.org/rule) and find $n$", "See the rule and find n"),
    ],
)
def test_two_ways_to_write_a_question(one: str, other: str) -> None:
    assert question_key(one) == question_key(other)
    assert BenchmarkIndex([("i", one)]).match(other) == BenchmarkIndex([("i", one)]).match_batch([other])[0] is not None


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a - b", "a + b"),
        (r"\frac{1}{23}", r"\frac{12}{3}"),
        (r"4\frac{5}{8}", r"\frac{45}{8}"),
        ("x^2", "x^3"),
        (r"\sin x", r"\cos x"),
        ("a⊕b", "b⊕a"),
    ],
)
def test_two_different_questions(one: str, other: str) -> None:
    assert question_key(one) != question_key(other)


def test_a_question_that_only_states_the_form_of_the_answer_keeps_it() -> None:
    assert question_key("Express your answer as a common fraction.") != ""


def test_a_figure_counts_where_little_is_said_beside_it() -> None:
    figure, other = "[asy]draw((0,0)--(3,4));[/asy]", "[asy]draw((0,0)--(5,12));[/asy]"
    brief = "What is the area of the triangle?"
    assert question_key(brief + figure) != question_key(brief + other)
    told = "A ladder leans against a wall, its foot stands three metres from it and its top four above the ground. How long?"
    assert question_key(told + figure) == question_key(told) == question_key(told + "\n" + other)


@given(text=st.text(max_size=60))
@settings(max_examples=200)
def test_any_text_has_a_key_and_a_mask(text: str) -> None:
    key = question_key(text)
    assert question_key(text) == key
    assert not re.search(r"[1-9]", mask_numbers(plain_text(text)))
    assert " " not in squeeze(text)


def test_numbers_are_masked_with_their_signs() -> None:
    assert mask_numbers("(-3, 14) and 2.5 - 1/2") == "(0, 0) and 0 + 0"
    assert numbers_and_signs("x-2 = 3.5 for a two-digit n") == ["-", "2", "=", "3.5"]


# --- the three rules ----------------------------------------------------------------------------------------

_LONG = (
    "Mia has $14$ red and $9$ blue marbles in a bag. She draws $3$ of them without putting any back, "
    "and then gives one of the drawn marbles to her brother. What is the probability that he gets a blue one?"
)
_SHORT = "Evaluate $\\log_3 81 + \\sqrt{49} - 2^5 + 1$."
_BENCHMARK = [("b/long", _LONG), ("b/short", _SHORT), ("b/tiny", "Compute $7^2$.")]


def _found(question: str, **config: object) -> Match | None:
    return BenchmarkIndex(_BENCHMARK, DecontaminateConfig.model_validate(config)).match(question)


def _rule(question: str, **config: object) -> tuple[str, str] | None:
    match = _found(question, **config)
    return None if match is None else (match.rule, match.item_id)


def test_exact() -> None:
    for item_id, question in _BENCHMARK:
        match = _found(f"Question: {question.upper()}")
        assert match is not None
        assert (match.rule, match.item_id, match.share, match.reason) == ("exact", item_id, 1.0, "in_benchmark")
    assert _rule(_SHORT, exact=False, ngram=None, mask_numbers=False) is None


def test_a_reworded_copy_is_found_by_its_ngrams() -> None:
    match = _found(_LONG.replace("What is the probability that he gets", "Find the chance of his getting"))
    assert match is not None
    assert (match.rule, match.item_id, match.reason) == ("ngram", "b/long", "in_benchmark_ngram")
    assert 0.5 < match.share < 1
    assert "8-grams of b/long" in match.evidence
    assert match.evidence.count("Mia has $14$ red") == 1  # the benchmark's; what is here is shown in its plain form
    assert "mia has $14$ red" in match.evidence
    assert len(match.evidence) < 500


def test_the_share_decides() -> None:
    half = " ".join(_LONG.split()[:24]) + " How many marbles of either colour does the whole of the town own now?"
    shares = {share: _rule(half, share=share) for share in (0.3, 0.5, 0.9)}
    assert shares[0.3] == ("ngram", "b/long")
    assert shares[0.9] is None


def test_a_copy_inside_a_longer_question() -> None:
    assert _rule(f"Warm up first: name a prime. Then: {_LONG} Lastly, explain.") == ("ngram", "b/long")
    assert _rule(f"Two tasks. {_SHORT} Then draw a map of your town.") == ("ngram", "b/short")


def test_a_question_that_is_part_of_a_longer_benchmark_problem() -> None:
    longer = [("b/hinted", f"{_LONG} Hint: {_SPEECH}. Think of {_SPEECH} twice, and of the bag once more, slowly.")]
    match = BenchmarkIndex(longer).match(_LONG)
    assert match is not None
    assert (match.rule, match.share > 0.8) == ("ngram", True)


def test_one_word_more_in_a_short_problem() -> None:
    index = BenchmarkIndex([("i", "How many integers are in the solution set of $|x-2| \\le 5.6$?")])
    match = index.match("How many integers are there in the solution set of $|x-2| \\leq 5.6$?")
    assert match is not None
    assert match.rule == "ngram"
    assert "all numbers and signs" in match.evidence
    assert index.match("How many integers are there in the solution set of $|x+2| \\leq 5.6$?") is None


def test_other_numbers() -> None:
    other = _LONG.replace("14", "20").replace("9", "35")
    match = _found(other)
    assert match is not None
    assert (match.rule, match.item_id, match.reason) == ("numbers_masked", "b/long", "in_benchmark_masked")
    assert _rule(other, mask_numbers=False, share=0.9) is None
    assert _rule(f"First: {other} Then rest.", share=0.9) == ("numbers_masked", "b/long")


def test_short_formulas_with_other_numbers_are_not_the_same() -> None:
    assert _rule("Compute $8^3$.") is None
    assert _rule("Evaluate $\\log_2 32 + \\sqrt{25} - 3^2 + 4$.") is None
    assert BenchmarkIndex([("i", "Compute $\\sin 60^\\circ$.")]).match("Compute $\\sin 30^\\circ$.") is None


def test_fragments_of_a_few_words_raise_no_alarm() -> None:
    index = BenchmarkIndex([("i", "Compute $\\sin 60^\\circ$."), ("j", "Simplify $\\sqrt{50}$."), ("k", "a⊕b⊕c⊕d⊕e⊕f")])
    texts = [
        "We need the height, so compute $\\sin 60^\\circ$. That is about 0.87; simplify $\\sqrt{50}$.",
        "g⊕a⊕b⊕c⊕d⊕e⊕f",
        "a⊕b⊕c⊕d⊕e⊕g",
        "",
        " \n",
    ]
    assert index.match_batch(texts) == [None] * 5
    assert index.scan_batch(texts) == [None] * 5


def test_a_problem_inside_a_long_text() -> None:
    filler = "We now turn to another matter entirely, which is the weather of last year. " * 200
    index = BenchmarkIndex(_BENCHMARK)
    found = index.scan_batch([filler, filler + _LONG + filler, f"{filler}{_SHORT}", _LONG, filler + _LONG[:60]])
    assert [match and (match.rule, match.item_id) for match in found] == [
        None,
        ("ngram", "b/long"),
        ("ngram", "b/short"),
        ("exact", "b/long"),
        None,
    ]


def test_the_order_of_benchmarks_and_batches_changes_nothing() -> None:
    questions = [_SHORT, _LONG, "Something else altogether, which no benchmark ever asked of anybody."] * 700
    index = BenchmarkIndex(_BENCHMARK)
    found = index.match_batch(questions)
    assert found[:3] == found[-3:] == [index.match(question) for question in questions[:3]]
    assert found == pickle.loads(pickle.dumps(index)).match_batch(questions)
    turned = BenchmarkIndex(reversed(_BENCHMARK)).match_batch(questions[:3])
    assert turned == found[:3]


def test_equal_items_count_once() -> None:
    index = BenchmarkIndex([("i", "A"), ("j", "a")])
    assert len(index) == 1
    match = index.match("a")
    assert match is not None
    assert match.item_id == "i"
    assert BenchmarkIndex([]).match_batch(["a", _LONG]) == [None, None]
    assert RULES == ("exact", "ngram", "numbers_masked")


# --- real problems: every hit on these files was read; see docs/decontamination.md -----------------------------

# AIME problems that MATH500 holds too: year, contest, number -> the problem of MATH500.
_AIME_IN_MATH500 = {
    (1983, 1, 2): "intermediate_algebra/1365",
    (1994, 1, 13): "intermediate_algebra/582",
    (1995, 1, 9): "precalculus/1281",
    (2001, 2, 3): "intermediate_algebra/90",
    (2002, 1, 12): "intermediate_algebra/1063",
    (2006, 2, 5): "counting_and_probability/1003",
    (2010, 1, 6): "intermediate_algebra/2146",
    (2015, 2, 6): "intermediate_algebra/1411",
    (2016, 1, 10): "intermediate_algebra/345",
    (2017, 2, 7): "intermediate_algebra/1849",
}
# Of the 36 pairs that share some 8-gram these are the same problem; the others share a phrase.
_COPIES = {"s1k_0181": "exact", "s1k_0124": "exact", "s1k_0081": "exact", "s1k_0498": "ngram"}


def _rows(*parts: str) -> list[dict[str, str]]:
    path = real_data(*parts)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _math500() -> list[tuple[str, str]]:
    rows = _rows("benchmarks", "math500.jsonl")
    return [(row["unique_id"].removeprefix("test/").removesuffix(".json"), row["problem"]) for row in rows]


def _aime() -> list[tuple[tuple[int, int, int], str]]:
    rows = _rows("benchmarks", "aime_1983_2023.jsonl.gz")
    return [((int(r["year"]), int(r["aime_number"]), int(r["problem_number"])), r["problem"]) for r in rows]


@pytest.fixture(scope="module")
def math500() -> BenchmarkIndex:
    return BenchmarkIndex(_math500())


def test_real_pairs_of_s1k_and_math500(math500: BenchmarkIndex) -> None:
    pairs = _rows("contamination", "s1k_math500_overlaps.jsonl.gz")
    assert len(pairs) == 36
    found = math500.match_batch([pair["train_problem"] for pair in pairs])
    assert {p["train_id"]: m.rule for p, m in zip(pairs, found, strict=True) if m} == _COPIES


def test_real_rows_of_openthoughts_and_their_nearest(math500: BenchmarkIndex) -> None:
    rows = _rows("contamination", "openthoughts_114k_first500chars.jsonl.gz")
    found = math500.match_batch([row["problem"] for row in rows])
    hits = {row["id"]: (m.rule, m.item_id) for row, m in zip(rows, found, strict=True) if m}
    assert hits == {
        "ot_091537": ("ngram", "algebra/170"),
        "ot_091428": ("numbers_masked", "precalculus/580"),
    }


def test_real_aime_problems_against_math500(math500: BenchmarkIndex) -> None:
    aime = _aime()
    found = math500.match_batch([question for _, question in aime])
    assert {place: m.item_id for (place, _), m in zip(aime, found, strict=True) if m} == _AIME_IN_MATH500
    assert {m.rule for m in found if m} == {"exact", "ngram"}


def test_real_aime_of_other_years_is_not_in_aime_2024_and_2025() -> None:
    new = [
        (f"{name}/{i}", r["prompt"])
        for name in ("aime24", "aime25")
        for i, r in enumerate(_rows("benchmarks", f"{name}.jsonl"))
    ]
    index = BenchmarkIndex(new)
    assert [match for match in index.match_batch([question for _, question in _aime()]) if match] == []
    assert [match.item_id for match in index.match_batch([q for _, q in new]) if match] == [item for item, _ in new]


def test_real_aime_problems_in_another_writing() -> None:
    """685 problems whose ids say which one they are: copies in another LaTeX, some of them reworded."""
    aime = _aime()
    index = BenchmarkIndex([("-".join(map(str, place)), question) for place, question in aime])
    questions = {row["id"]: row["problem"] for row in _rows("traces", "aime_journey_shortcut.jsonl.gz")}
    right = missed = 0
    for name, match in zip(questions, index.match_batch(list(questions.values())), strict=True):
        year, *contest, number = name.removeprefix("AIME").split("-")
        expected = f"{year}-{len(contest[0]) if contest else 1}-{number}"
        missed += match is None
        right += match is not None and match.item_id == expected
    assert len(questions) == right + missed
    assert missed <= 4


def test_real_traces_hold_no_benchmark_problem_but_their_own(math500: BenchmarkIndex) -> None:
    rows = _rows("traces", "math_r1_distill_uzaymacar.jsonl.gz")
    asked = {row["problem"]: row["id"] for row in rows}
    hits = {asked[q]: (m.rule, m.item_id) for q, m in zip(asked, math500.match_batch(list(asked)), strict=True) if m}
    assert hits == {
        "math-177": ("numbers_masked", "algebra/425"),
        "math-349": ("numbers_masked", "precalculus/285"),
    }
    assert [match for match in math500.scan_batch([row["response"] for row in rows]) if match] == []


def test_real_problems_are_found_between_two_others(math500: BenchmarkIndex) -> None:
    held = set(_AIME_IN_MATH500)
    others = [question for place, question in _aime() if place not in held]
    items = _math500()
    joined = [
        f"Problem 1: {others[i]}\n\nProblem 2: {q}\n\nProblem 3: {others[i + 400]}" for i, (_, q) in enumerate(items)
    ]
    found = math500.scan_batch(joined)
    named = [match.item_id == item for match, (item, _) in zip(found, items, strict=True) if match]
    assert all(named)
    assert len(named) >= 485  # the rest are formulas of a few words, and questions that are drawn


def test_the_index_flags_the_same_real_traces_as_plain_python() -> None:
    texts = [row["response"] for row in _rows("traces", "aime_journey_shortcut.jsonl.gz")[::3]]
    known = {gram for _, question in _math500() for gram in _plain_ngrams(question, 8)}
    found = _index([question for _, question in _math500()], 8).first_shared(texts)
    assert [gram is not None for gram in found] == [any(g in known for g in _plain_ngrams(text, 8)) for text in texts]


@pytest.mark.parametrize("opening", ["[", "![", "![](", "enter roots ", "\\[", "\\(", "\\text{", "[asy]"])
def test_a_row_of_openings_is_read_once(opening: str) -> None:
    """Read once for each, this test would take minutes."""
    text = opening * 50_000 + "]("
    assert question_key(text) == question_key(text + " ")
    assert len(prose(text)) <= len(text)
