"""Every mode makes what it says: order, tries, references, cuts and pairs; every answer stands once and is found."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from conftest import build_trace
from long1k.chat import Chat, documents
from long1k.grading.extract import extract_parts
from long1k.joining.build import Builder
from long1k.joining.dependent import carried_options, integer_answer, refer, replaceable, restore
from long1k.joining.exact import choose_sum, middle, sums
from long1k.joining.lengths import Part
from long1k.joining.linkers import BANKS, CARRIED
from long1k.joining.render import join
from long1k.joining.spec import JoinSpec
from long1k.joining.steps import derange, shuffle_steps
from long1k.rows import Example, Trace
from long1k.thinking import STYLES
from long1k.tokens import load_tokenizer

CHAT = Chat(load_tokenizer("package:micro"))
MODES = ("independent", "no_linker", "shuffled_parts", "shuffled_steps", "same_problem", "dependent", "masked_pair")


def integer_trace(number: int, answer: int, size: int, words: str = "a⊕b=c. b⊕c=d.") -> Trace:
    """A verified trace whose question holds an integer to be replaced and whose answer is an integer."""
    question = f"There are ${number}$ stones and {number + 1} boxes in all. How many?"
    return build_trace(CHAT, question, " ".join([words] * size), f"So it is $\\boxed{{{answer}}}$.", str(answer))


@st.composite
def integer_traces(draw: st.DrawFn, same: bool = False) -> list[Trace]:
    count = draw(st.integers(2, 4))
    made = []
    for at in range(count):
        words = draw(st.sampled_from(["a⊕b=c. b⊕c=d.", "c=d.\n\nWait, check: c=d.", "a.\nb. c."]))
        number = 2 if same else draw(st.integers(2, 500)) + 1000 * at
        answer = 7 if same else draw(st.integers(-50, 900))
        made.append(integer_trace(number, answer, draw(st.integers(1, 4)) + at, words))
    return made


def build(traces: Sequence[Trace], mode: str, seed: int = 0, style: str = "think") -> Example | None:
    count = 2 if mode == "masked_pair" else len(traces)
    spec = JoinSpec(target=10, samples=1, mode=mode, num_problems=(count, count))  # type: ignore[arg-type]
    builder = Builder("arm", spec, Chat(CHAT.tokenizer, style), dict(enumerate(traces)))
    parts = [Part(at, 1, str(at)) for at in range(count)]
    made = builder.build(parts, random.Random(seed))
    return None if made is None else made[0]


def texts_of(example: Example, kind: str) -> list[tuple[int, str]]:
    messages = [*example.prompt, *example.completion]
    found = [(s.message, s.start, s.part, s.end) for s in example.spans if s.kind == kind]
    return [(part, messages[message].content[start:end]) for message, start, part, end in sorted(found)]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), mode=st.sampled_from(MODES), seed=st.integers(0, 50), style=st.sampled_from(sorted(STYLES)))
def test_every_answer_stands_once_and_is_read_back(data: st.DataObject, mode: str, seed: int, style: str) -> None:
    traces = data.draw(integer_traces(same=mode == "same_problem"))
    example = build(traces, mode, seed, style)
    assert example is not None
    assert example.mode == mode
    used = traces[:2] if mode == "masked_pair" else traces
    by_id = {trace.trace_id: trace for trace in used}
    members = [by_id[i] for i in example.trace_ids]
    assert len(members) == len(used)
    wanted = [members[-1].answer] if mode == "same_problem" else [trace.answer for trace in members]
    assert list(example.answers) == wanted
    assert example.num_problems == len(wanted)
    chat = Chat(CHAT.tokenizer, style)
    read: list[str] = []
    total = 0
    for prompt, completion in documents(example):
        answer = chat.split_answer(completion[-1].content).answer
        assert answer is not None
        num = len(wanted) // len(documents(example))
        read += [part.value for part in extract_parts(answer, num) if part]
        assert answer.count("\\boxed") == num
        total += len(chat.encode_example(prompt, completion).ids)
    assert read == wanted
    assert example.num_tokens == total
    solutions = [text for _, text in texts_of(example, "solution")]
    assert solutions == [trace.solution for trace in (members[-1:] if mode == "same_problem" else members)]


@settings(max_examples=60, deadline=None)
@given(traces=integer_traces(), seed=st.integers(0, 99))
def test_shuffled_parts_think_in_another_order(traces: list[Trace], seed: int) -> None:
    example = build(traces, "shuffled_parts", seed)
    assert example is not None
    order = [part for part, _ in texts_of(example, "thinking")]
    assert sorted(order) == list(range(len(traces)))
    assert all(at != part for at, part in enumerate(order))
    assert dict(texts_of(example, "thinking")) == {at: trace.thinking for at, trace in enumerate(traces)}
    assert [part for part, _ in texts_of(example, "solution")] == list(range(len(traces)))
    for part, text in texts_of(example, "linker"):  # the words name the problem that is thought about
        assert f"Problem {part + 1}" in text
        assert text == example.linkers[part]


@settings(max_examples=60, deadline=None)
@given(traces=integer_traces(), seed=st.integers(0, 99))
def test_shuffled_steps_keep_every_step(traces: list[Trace], seed: int) -> None:
    example = build(traces, "shuffled_steps", seed)
    assert example is not None
    for (_, text), trace in zip(texts_of(example, "thinking"), traces, strict=True):
        assert text != trace.thinking
        assert sorted(re.split(r"\s+", text)) == sorted(re.split(r"\s+", trace.thinking))
        assert len(text) == len(trace.thinking)


def test_steps_are_paragraphs_then_lines_then_sentences() -> None:
    shuffled = shuffle_steps("one. two.\n\nthree\n\n\nfour", random.Random(1))
    assert shuffled is not None
    assert sorted(re.split(r"\n\n\n?", shuffled)) == ["four", "one. two.", "three"]
    assert shuffle_steps("b\na", random.Random(0)) == "a\nb"
    assert shuffle_steps("One. Two.", random.Random(0)) == "Two. One."
    assert shuffle_steps("one step", random.Random(0)) is None
    assert shuffle_steps("same\n\nsame", random.Random(0)) is None
    with pytest.raises(ValueError, match="no other order"):
        derange(1, random.Random(0))


def test_several_tries_at_one_problem_ask_once_and_answer_once() -> None:
    traces = [integer_trace(2, 7, size) for size in (1, 2, 3)]
    example = build(traces, "same_problem")
    assert example is not None
    assert example.prompt[0].content == traces[0].question
    assert [text for _, text in texts_of(example, "thinking")] == [trace.thinking for trace in traces]
    assert example.linkers[0] == ""
    assert all(linker in BANKS["english"].again for linker in example.linkers[1:])
    assert len(set(example.problem_ids)) == 1
    assert "Problem" not in example.completion[0].content


@settings(max_examples=80, deadline=None)
@given(traces=integer_traces(), seed=st.integers(0, 99))
def test_a_dependent_problem_can_be_put_back_and_its_sum_is_true(traces: list[Trace], seed: int) -> None:
    example = build(traces, "dependent", seed)
    assert example is not None
    members = {trace.trace_id: trace for trace in traces}
    references, questions = texts_of(example, "reference"), texts_of(example, "question")
    assert questions[0] == (0, members[example.trace_ids[0]].question)
    for part in range(1, len(traces)):
        definition, written = (text for at, text in references if at == part)
        pieces = [text for at, text in questions if at == part]
        before, after = (pieces[0], pieces[1]) if len(pieces) == 2 else ("", pieces[0])
        given_answer = int(example.answers[part - 1])
        assert restore(definition, written, before, after, given_answer) == members[example.trace_ids[part]].question
        linker = example.linkers[part]
        sums_found = re.findall(r"(-?\d+) ([+-]) (\d+) = (\d+)", linker)
        for left, sign, right, total in sums_found:
            assert int(left) + (int(right) if sign == "+" else -int(right)) == int(total)
            assert int(left) == given_answer
            assert str(total) in members[example.trace_ids[part]].question


def test_only_verified_integer_answers_are_carried() -> None:
    one, two = integer_trace(5, 12, 1), integer_trace(19, 3, 2)
    assert build([one, two], "dependent") is not None
    unchecked = build_trace(CHAT, two.question, two.thinking, two.solution, two.answer, correct=None)
    assert build([one, unchecked], "dependent") is None
    words = [build_trace(CHAT, f"What {w}?", "a.\n\nb.", f"\\boxed{{{w}}}", w) for w in ("x^2", "\\frac{1}{2}")]
    assert build(words, "dependent") is None
    assert [integer_answer(text) for text in ("12", "-3", "$7$", "012", "1,000", "2.0", "x")] == [
        12,
        -3,
        7,
        *[None] * 4,
    ]


@pytest.mark.parametrize(
    ("question", "found"),
    [
        ("Find the remainder when $n$ is divided by $1000$.", ["1000"]),
        ("A box holds 12 stones, 13 coins and 14 cards.", ["12", "13", "14"]),
        ("Let $x^{10} = 7x + 12$.", ["7", "12"]),
        ("It costs 2,500 or 3.75 or $1{,}000$ or $10\\,000$.", []),
        ("Problem 12. See Figure 3 and part (4).", []),
        ("2. What is it?\n3) And this?", []),
        ("$\\frac{5}{6}$ and $\\sqrt{15}$ and $\\sqrt3$ and $a_{21}$ and $a_5$ and $x^3$", []),
        ("[asy]draw((10,20)--(30,40));[/asy] The side is 25.", ["25"]),
        ("It is $25 or $30 today and $40.", []),
        ("A 3-digit number, a $4$-digit one and the 5th.", []),
        ("Add $1, 2, 3, \\ldots, 99$.", []),
        ("\\begin{tabular}{c} 11 & 12 \\end{tabular} and $13$", ["13"]),
        ("Write $101_2$ in base 10, at 12:30 on 3/4.", []),
        ("$-8 + 16 = 2 \\cdot 4$", ["8", "16", "2", "4"]),
        ("Zero 0, one 1 and 007.", []),
        ("Given that $(2) y$ is even and $(3) z = 15$.", ["15"]),
        ("The rules:  $1)$ Choose.  $2)$ Break $8$ of them. $3.$ Stop.\n$4$. Or not.", ["8"]),
        ("A multiple of $5.$ Then $f(2) = 6.$", ["5", "2", "6"]),
    ],
)
def test_which_integers_give_way(question: str, found: list[str]) -> None:
    assert [question[a:b] for a, b, _ in replaceable(question)] == found


@settings(max_examples=150, deadline=None)
@given(
    pieces=st.lists(st.sampled_from(["$3x+40$", " 17 stones", " and ", "12,000", "\n", "2.5", "$x^{22}$", "$", "(9)", " 8."]),
                    min_size=1, max_size=8),
    given_answer=st.integers(-10_000, 10_000), seed=st.integers(0, 99),
)  # fmt: skip
def test_a_reference_is_always_reversible(pieces: list[str], given_answer: int, seed: int) -> None:
    question = "".join(pieces)
    reference = refer(question, "thinking", given_answer, 1, random.Random(seed))
    if reference is None:
        assert not list(replaceable(question))
        return
    before, after = question[: reference.start], question[reference.end :]
    assert restore(reference.definition, reference.written, before, after, given_answer) == question
    assert restore(reference.definition, reference.written, before, after, given_answer + 1) != question
    assert reference.total.endswith(str(reference.value))
    assert len(carried_options(reference, 1, 2)) == len(CARRIED)
    assert all(str(reference.value) in phrase for phrase in carried_options(reference, 1, 2))


def test_no_symbol_that_means_something_already() -> None:
    question = "There are 12 stones."
    every = {refer(question, "", 1, 1, random.Random(seed)).symbol for seed in range(30)}  # type: ignore[union-attr]
    assert every == {"X", "Y", "Z"}
    assert refer(question, "XYZ and K, M, T; Q, W + U, V", 1, 1, random.Random(0)) is None
    small = {refer(f"{question} Let $x<y$.", "", 1, 1, random.Random(s)).symbol for s in range(30)}  # type: ignore[union-attr]
    assert small == {"Z", "K", "M"}  # Y beside y would be read as one
    found = refer(question, "You Wait XY", 1, 1, random.Random(0), frozenset({"Z"}))
    assert found is not None
    assert found.symbol in ("K", "M", "T")


@given(
    lengths=st.lists(st.lists(st.integers(0, 12), min_size=1, max_size=4), min_size=1, max_size=4),
    total=st.integers(0, 50), seed=st.integers(0, 9),
)  # fmt: skip
def test_a_chosen_sum_is_the_sum(lengths: list[list[int]], total: int, seed: int) -> None:
    chosen = choose_sum(lengths, total, random.Random(seed))
    reached = {0}
    for place in lengths:
        reached = {a + b for a in reached for b in place}
    assert set(sums(lengths)[0]) == reached
    assert (chosen is None) == (total not in reached)
    if chosen is not None:
        assert sum(place[at] for place, at in zip(lengths, chosen, strict=True)) == total
    centre, reach = middle(lengths)
    assert min(reached) <= centre <= max(reached)
    assert centre - reach >= min(reached) - 1
    assert centre + reach <= max(reached)


def test_every_combination_of_a_sum_is_drawn() -> None:
    lengths = [[1, 2, 3], [1, 2, 3]]
    drawn = {choose_sum(lengths, 4, random.Random(seed)) for seed in range(60)}
    assert drawn == {(0, 2), (1, 1), (2, 0)}


@pytest.mark.parametrize("count", [1, 2])
def test_the_papers_tags_stand_byte_for_byte(count: int) -> None:
    one = build_trace(CHAT, "What is 1+1?", "Adding.", "It is $\\boxed{2}$.", "2")
    two = build_trace(CHAT, "What is 2+2?", "Doubling.", "It is $\\boxed{4}$.", "4")
    joined = join(
        [one, two][:count], ["First, Problem 1.", "Now Problem 2."][:count], "english", STYLES["openthoughts"]
    )
    assert joined is not None
    wanted = {
        1: "<|begin_of_thought|>\n\nAdding.\n\n<|end_of_thought|>\n\n"
        "<|begin_of_solution|>\n\nIt is $\\boxed{2}$.\n\n<|end_of_solution|>",
        2: "<|begin_of_thought|>\n\nFirst, Problem 1.\n\nAdding.\n\nNow Problem 2.\n\nDoubling.\n\n<|end_of_thought|>\n\n"
        "<|begin_of_solution|>\n\nProblem 1: It is $\\boxed{2}$.\n\nProblem 2: It is $\\boxed{4}$.\n\n<|end_of_solution|>",
    }
    assert joined.completion[0].content == wanted[count]
    question = {1: "What is 1+1?", 2: "Problem 1: What is 1+1?\n\nProblem 2: What is 2+2?"}
    assert joined.prompt[0].content == question[count]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"mode": "shuffled_parts", "layout": "turns"}, "layout blocks"),
        ({"mode": "dependent", "linkers": "none"}, "linkers english"),
        ({"mode": "dependent", "where": {"correct": False}}, "verified answers only"),
        ({"mode": "same_problem", "num_problems": (1, 3)}, "two traces or more"),
        ({"mode": "masked_pair", "num_problems": (2, 3)}, "two traces"),
        ({"mode": "single", "num_problems": (1, 2)}, r"num_problems \[1, 1\]"),
        ({"mode": "single", "extends": "L1"}, "cannot extend"),
        ({"mode": "dependent", "extends": "L1"}, "extends joins the traces"),
        ({"target": None}, "exactly one of target, window, like, length_set"),
        ({"window": (5, 9)}, "exactly one"),
        ({"target": None, "window": (9, 5)}, "least <= most"),
        ({"target": None, "length_set": (0, 1)}, "n >= 2"),
        ({"target": None, "length_set": (3, 3)}, "0 <= i < n"),
        ({"target": None, "length_set": (0, 3), "mode": "masked_pair"}, "cannot be made of it"),
        ({"slice": (2, 2)}, "0 <= i < n"),
        ({"where": {"difficulty": (5, 1)}}, "least <= most"),
        ({"where": {"subjects": []}}, "empty list"),
    ],
)
def test_what_does_not_go_together_is_refused_in_words(bad: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        JoinSpec(**({"target": 10, "samples": 1} | bad))  # type: ignore[arg-type]
