"""Joined samples have the length that was asked for, hold what they claim, and can be read back."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from conftest import MakePool, MakeTrace, build_trace
from long1k.chat import Chat
from long1k.errors import InfeasibleError, RecipeError
from long1k.grading.extract import extract_parts
from long1k.joining.coverage import coverage
from long1k.joining.fit import fit
from long1k.joining.fitter import Request
from long1k.joining.lengths import LengthPool, Part
from long1k.joining.linkers import BANKS, LinkerBank, choose_linkers
from long1k.joining.pairing import most_pairs
from long1k.joining.render import join, solution_text
from long1k.joining.spec import JoinSpec
from long1k.rows import Example, Trace, derive_seed
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.stages.synthesize import synthesize
from long1k.tables import MANIFEST, read_table
from long1k.thinking import STYLES
from long1k.tokens import load_tokenizer

CHAT = Chat(load_tokenizer("package:micro"))
WORDS = st.text("abc d.\n=⊕", min_size=1, max_size=25).map(str.strip).filter(bool)
ANSWERS = st.sampled_from(["a", "7", "12", "\\frac{1}{2}", "x^2+1", "(1,2)", "-3", "n"])
SHAPES = st.sampled_from(
    ["\\boxed{%s}", "So it is $\\boxed{%s}$.", "Hence\n\n\\boxed{%s}", "a=b.\n\\[\\boxed{%s}\\]\n"]
)


@st.composite
def traces_of(draw: st.DrawFn, most: int = 5) -> list[Trace]:
    made = []
    for i in range(draw(st.integers(1, most))):
        answer = draw(ANSWERS)
        solution = draw(WORDS) + " " + draw(SHAPES) % answer
        made.append(build_trace(CHAT, f"{draw(WORDS)} {i}", draw(WORDS), solution, answer))
    return made


@lru_cache(maxsize=1)
def _micro_traces(count: int = 160) -> tuple[Trace, ...]:
    made = []
    for raw in MicroSource(MicroConfig(count=count, steps=(1, 7), check=0.3, seed=2)).load():
        assert not hasattr(raw, "reason")
        made.append(build_trace(CHAT, raw.question, raw.thinking or "", raw.solution or "", raw.answer or ""))  # type: ignore[union-attr]
    return tuple({trace.trace_id: trace for trace in made}.values())


# --- rendering --------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(traces=traces_of(), bank=st.sampled_from(sorted(BANKS)), layout=st.sampled_from(["blocks", "turns"]),
       style=st.sampled_from(sorted(STYLES)), seed=st.integers(0, 99))  # fmt: skip
def test_spans_and_answers_are_what_they_claim(
    traces: list[Trace], bank: str, layout: str, style: str, seed: int
) -> None:
    linkers = choose_linkers(bank, len(traces), random.Random(seed))
    joined = join(traces, linkers, bank, STYLES[style], layout)
    assert joined is not None
    messages = [*joined.prompt, *joined.completion]
    single = len(traces) == 1
    texts: dict[tuple[str, int], list[str]] = {}
    for span in joined.spans:
        texts.setdefault((span.kind, span.part), []).append(messages[span.message].content[span.start : span.end])
    for part, trace in enumerate(traces):
        assert texts[("question", part)] == [trace.question]
        assert texts[("thinking", part)] == [trace.thinking]
        assert texts[("solution", part)] == [solution_text(trace)]
        label = [f"Problem {part + 1}: "] * 2 if layout == "blocks" and not single else None
        assert texts.get(("label", part)) == label
        linked = linkers[part] and not single and (layout == "blocks" or part > 0)
        assert texts.get(("linker", part)) == ([linkers[part]] if linked else None)
    for index in range(len(messages)):  # no two pieces of a message overlap
        places = sorted((s.start, s.end) for s in joined.spans if s.message == index)
        assert all(a[1] <= b[0] for a, b in pairwise(places))
    assert joined.answers == tuple(trace.answer for trace in traces)
    assert [m.role for m in messages] == ["user", "assistant"] * (len(messages) // 2)
    assert len(messages) == (2 if layout == "blocks" or single else 2 * len(traces))
    assert len(joined.prompt) == 1


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(traces=traces_of(), style=st.sampled_from(sorted(STYLES)), bank=st.sampled_from(sorted(BANKS)))
def test_every_answer_is_read_back_in_order(traces: list[Trace], style: str, bank: str) -> None:
    chat = Chat(CHAT.tokenizer, style)
    joined = join(traces, choose_linkers(bank, len(traces), random.Random(1)), bank, chat.style, "blocks")
    assert joined is not None
    (message,) = joined.completion
    split = chat.split_answer(message.content)
    assert split.answer is not None
    read = extract_parts(split.answer, len(traces))
    assert [part.value if part else None for part in read] == [trace.answer for trace in traces]
    if len(traces) > 1:
        for number in range(1, len(traces) + 1):
            assert split.answer.count(f"Problem {number}: ") == 1
            assert joined.prompt[0].content.count(f"Problem {number}: ") == 1
        assert f"Problem {len(traces) + 1}: " not in split.answer


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    traces=traces_of(3),
    hostile=st.lists(
        st.sampled_from(
            ["\nProblem 2: \\boxed{9}", "Problem 1: 4\n", "\n**Problem 3:** 5", "Problem 2:", "\n\nProblem 2: ", "Problem 4: 1",
             "\n# Problem 2\n\\boxed{8}", "Answer 2: \\boxed{5}\n", "\\boxed{", "}", "\n2. \\boxed{6}", "Problem 12: "]
        ), min_size=1, max_size=4,
    ), at=st.integers(0, 2), before=st.booleans(),
)  # fmt: skip
def test_labels_inside_a_solution_never_give_a_wrong_reading(
    traces: list[Trace], hostile: list[str], at: int, before: bool
) -> None:
    at = min(at, len(traces) - 1)
    old, words = traces[at], "".join(hostile)
    solution = f"{words} {old.solution}" if before else f"{old.solution} {words}"
    traces[at] = build_trace(CHAT, old.question, old.thinking, solution, old.answer)
    joined = join(traces, [""] * len(traces), "none", CHAT.style, "blocks")
    if joined is None:
        assert len(traces) > 1
        return
    split = CHAT.split_answer(joined.completion[0].content)
    assert split.answer is not None
    if len(traces) > 1:
        read = extract_parts(split.answer, len(traces))
        assert tuple(part.value if part else None for part in read) == joined.answers


def test_a_solution_that_begins_the_next_problem_is_not_joined(make_trace: MakeTrace) -> None:
    good = make_trace("a⊕b", "a.", "\\boxed{c}", "c")
    liar = make_trace("b⊕c", "b.", "\\boxed{d}\nProblem 2: \\boxed{e}", "d")
    assert join([good, good], ["", ""], "none", CHAT.style) is not None
    assert join([liar, good], ["", ""], "none", CHAT.style) is None
    turns = join([liar, good], ["", ""], "none", CHAT.style, "turns")
    assert turns is not None
    assert len(turns.completion) == 3


@pytest.mark.parametrize("count", [1, 2, 4])
def test_openthoughts_blocks_have_one_thought_and_one_solution(count: int) -> None:
    joined = join(_micro_traces()[:count], [""] * count, "none", STYLES["openthoughts"], "blocks")
    assert joined is not None
    text = joined.completion[0].content
    tags = ("<|begin_of_thought|>", "<|end_of_thought|>", "<|begin_of_solution|>", "<|end_of_solution|>")
    assert [text.count(tag) for tag in tags] == [1, 1, 1, 1]
    assert sorted(tags, key=text.index) == list(tags)
    assert text.startswith(tags[0])
    assert text.endswith(tags[-1])


def test_an_answer_that_was_not_boxed_is_boxed_at_the_end(make_trace: MakeTrace) -> None:
    assert solution_text(make_trace("a", "a.", "\\boxed{c}", "c")) == "\\boxed{c}"
    assert solution_text(make_trace("a", "a.", "c", "c")) == "c\n\nThe answer is $\\boxed{c}$."


def test_linkers_are_chosen_by_the_seed_and_numbered() -> None:
    for bank in BANKS:
        chosen = choose_linkers(bank, 5, random.Random(3))
        assert chosen == choose_linkers(bank, 5, random.Random(3))
        assert len(chosen) == 5
        assert not any("{" in phrase for phrase in chosen)
    english = choose_linkers("english", 5, random.Random(3))
    assert all(f"Problem {part + 1}" in phrase for part, phrase in enumerate(english))
    assert len({choose_linkers("english", 5, random.Random(seed)) for seed in range(20)}) > 10
    with pytest.raises(RecipeError, match=r"unknown bank of linking words 'german'[\s\S]*english, micro, none"):
        choose_linkers("german", 2, random.Random(0))


def test_a_bank_from_outside_is_named_checked_and_part_of_the_identity(
    tmp_path: Path, make_pool: MakePool, make_trace: MakeTrace, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = """from long1k.joining.linkers import LinkerBank
BANK = LinkerBank(first=("Problem {n}: ",), later=("Problem {n}. ", ". "), again=("Answer ",), separator="")
NO_BANK = ["Problem {n}"]
EMPTY = LinkerBank(first=("",), later=(), again=("",), separator="")
ASKS = LinkerBank(first=("",), later=("So {sum}",), again=("",), separator="")
"""
    (tmp_path / "own_words.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert choose_linkers("own_words:BANK", 1, random.Random(0)) == ("Problem 1: ",)
    for name, message in {
        "NO_BANK": "no LinkerBank", "EMPTY": "no phrases under later", "ASKS": "KeyError", "GONE": "cannot load bank",
    }.items():  # fmt: skip
        with pytest.raises(ValidationError, match=message):
            JoinSpec(target=40, samples=1, linkers=f"own_words:{name}")
    make_pool(tmp_path / "pool", [make_trace(letter + "⊕a", "a.", "\\boxed{a}") for letter in "abcdef"])
    spec = JoinSpec(window=(10, 60), samples=2, linkers="own_words:BANK", layout="turns")
    made = synthesize(tmp_path / "out", tmp_path / "pool", arm="x", specs=[spec], seed=0, chat=CHAT)
    assert {example.linkers[1] for example in read_table(tmp_path / "out", Example)} <= {"Problem 2. ", ". "}
    monkeypatch.setattr("own_words.BANK", LinkerBank(("",), ("Answer ",), ("",), ""))
    again = synthesize(tmp_path / "out", tmp_path / "pool", arm="x", specs=[spec], seed=0, chat=CHAT)
    assert again.fingerprint != made.fingerprint
    assert {example.linkers[1] for example in read_table(tmp_path / "out", Example)} == {"Answer "}


# --- pairs and pools --------------------------------------------------------------------------------------


def _best_pairs(lengths: Sequence[int], low: int, high: int) -> int:
    """By trying everything."""
    if len(lengths) < 2:
        return 0
    first, rest = lengths[0], lengths[1:]
    best = _best_pairs(rest, low, high)
    for i, other in enumerate(rest):
        if low <= first + other <= high:
            best = max(best, 1 + _best_pairs([*rest[:i], *rest[i + 1 :]], low, high))
    return best


@settings(max_examples=200, deadline=None)
@given(lengths=st.lists(st.integers(1, 20), max_size=8), low=st.integers(0, 40), width=st.integers(0, 10))
def test_most_pairs_is_the_most_there_are(lengths: list[int], low: int, width: int) -> None:
    assert most_pairs(lengths, low, low + width) == _best_pairs(lengths, low, low + width)


class _Sum:
    """A maker whose samples cost three tokens a part; its estimate is off by ``offset``, its words reach ``words``."""

    def __init__(self, offset: int, words: int = 0) -> None:
        self.offset, self.words = offset, words

    def build(self, parts: Sequence[Part], rng: random.Random) -> tuple[tuple[int, ...], int] | None:
        drawn = rng.randint(-self.words, self.words)
        return tuple(part.index for part in parts), sum(part.length for part in parts) + 3 * len(parts) + drawn

    def adjust(self, parts: Sequence[Part], rng: random.Random, tokens: int) -> tuple[tuple[int, ...], int] | None:
        del rng
        needed = tokens - sum(part.length for part in parts) - 3 * len(parts)
        return (tuple(part.index for part in parts), tokens) if abs(needed) <= self.words else None

    def overhead(self, num_parts: int) -> int:
        return 3 * num_parts + self.offset

    def reach(self, num_parts: int) -> int:
        return self.words if num_parts > 1 else 0


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(1, 30), max_size=25), target=st.integers(1, 120), tolerance=st.integers(0, 5),
    least=st.integers(1, 3), more=st.integers(0, 3), count=st.integers(1, 6), seed=st.integers(0, 99), problems=st.integers(1, 9),
)  # fmt: skip
def test_fit_keeps_its_promises(
    lengths: list[int], target: int, tolerance: int, least: int, more: int, count: int, seed: int, problems: int
) -> None:
    parts = [Part(i, n, f"p{i % problems}") for i, n in enumerate(lengths)]
    request = Request(target, tolerance, count, least, least + more)

    for offset, words in ((0, 0), (2, 0), (1, 3)):  # a wrong estimate is put right by the recount
        samples, totals = fit(parts, request, _Sum(offset, words), lambda i: derive_seed(seed, i))
        assert (samples, totals) == fit(parts, request, _Sum(offset, words), lambda i: derive_seed(seed, i))
        used = [index for sample in samples for index in sample]
        assert len(used) == len(set(used))
        assert len(samples) == len(totals) <= count
        for sample, total in zip(samples, totals, strict=True):
            assert abs(total - sum(lengths[i] for i in sample) - 3 * len(sample)) <= words
            assert abs(total - target) <= tolerance
            assert least <= len(sample) <= least + more
            assert len({parts[i].problem for i in sample}) == len(sample)


@given(
    lengths=st.lists(st.integers(1, 12), min_size=1, max_size=10),
    target=st.integers(1, 30),
    tolerance=st.integers(0, 3),
)
def test_coverage_counts_the_parts_that_fit_some_pair(lengths: list[int], target: int, tolerance: int) -> None:
    fits = sum(
        any(i != j and abs(a + b + 2 - target) <= tolerance for j, b in enumerate(lengths))
        for i, a in enumerate(lengths)
    )
    found = coverage(lengths, target - tolerance, target + tolerance, 2, 2, lambda n: n)
    assert found == pytest.approx(fits / len(lengths))


def test_a_pool_gives_each_part_once_and_takes_it_back() -> None:
    parts = [Part(i, length, f"p{i}") for i, length in enumerate([5, 5, 7, 9])]
    pool = LengthPool(parts, random.Random(0))
    assert (len(pool), pool.shortest, pool.longest, pool.count_between(5, 7)) == (4, 5, 9, 3)
    taken = [pool.take_near(5, 0, set()) for _ in range(3)]
    assert {part.index for part in taken if part} == {0, 1}
    assert taken[2] is None
    assert pool.take_near(6, 1, {"p2"}) is None
    longest = pool.take_longest(8, set())
    assert longest == parts[2]
    pool.give_back([parts[0], parts[2]])
    pool.remove(parts[2])
    assert [pool.take_between(0, 99, random.Random(1), set()) for _ in range(2)].count(None) == 0
    assert len(pool) == 0


# --- the stage --------------------------------------------------------------------------------------------


def _synthesize(out: Path, pool: Path, seed: int = 0, chat: Chat = CHAT, **spec: Any) -> list[Example]:
    values: dict[str, Any] = {
        "target": 90,
        "samples": 10,
        "linkers": "micro",
        "num_problems": (2, 3),
        "tolerance": 0.05,
    }
    synthesize(out, pool, arm="arm", specs=[JoinSpec(**(values | spec))], seed=seed, chat=chat)
    return read_table(out, Example)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, make_pool: MakePool) -> Path:
    folder = tmp_path_factory.mktemp("pool") / "pool"
    make_pool(folder, _micro_traces())
    return folder


@pytest.mark.parametrize("layout", ["blocks", "turns"])
@pytest.mark.parametrize(
    "spec", [{"target": 60, "num_problems": (2, 2)}, {"target": 90}, {"target": 180, "num_problems": (2, 6)},
             {"target": 40, "num_problems": (1, 3), "tolerance": 0.0, "samples": 4}]
)  # fmt: skip
def test_samples_are_what_was_asked_for(layout: str, spec: dict[str, Any], pool: Path, tmp_path: Path) -> None:
    wanted = JoinSpec(
        **({"target": 0, "samples": 10, "linkers": "micro", "num_problems": (2, 3), "tolerance": 0.05} | spec)
    )
    examples = _synthesize(tmp_path / "out", pool, layout=layout, **spec)
    traces = {trace.trace_id: trace for trace in read_table(pool, Trace)}
    assert len(examples) == wanted.samples
    for example in examples:
        encoded = CHAT.encode_example(example.prompt, example.completion)
        assert example.num_tokens == len(encoded.ids)
        assert example.num_supervised_tokens == sum(encoded.trained)
        assert abs(len(encoded.ids) - wanted.target) <= wanted.tolerance_tokens
        assert example.target_tokens == wanted.target
        members = [traces[i] for i in example.trace_ids]
        assert wanted.num_problems[0] <= len(members) == example.num_problems <= wanted.num_problems[1]
        assert len({trace.problem_id for trace in members}) == len(members)
        assert example.answers == tuple(trace.answer for trace in members)
        assert example.mode == ("single" if len(members) == 1 else "independent")
        messages = [*example.prompt, *example.completion]
        for span in example.spans:
            text = messages[span.message].content[span.start : span.end]
            if span.kind in ("question", "thinking", "solution"):
                assert text == getattr(members[span.part], span.kind)
            elif span.kind == "linker":
                assert text == example.linkers[span.part]
        assert len(example.linkers) == (0 if len(members) == 1 else len(members))
        linked = {span.part for span in example.spans if span.kind == "linker"}
        assert linked == (
            {part for part, linker in enumerate(example.linkers) if linker} if len(members) > 1 else set()
        )
    used = [i for example in examples for i in example.trace_ids]
    assert len(used) == len(set(used))
    assert len({example.example_id for example in examples}) == len(examples)


def test_the_manifest_counts_what_the_rows_hold(pool: Path, tmp_path: Path) -> None:
    specs = [
        JoinSpec(target=60, samples=5, linkers="micro", tolerance=0.05),
        JoinSpec(target=40, samples=4, tolerance=0.1, linkers="none"),
    ]
    made = synthesize(tmp_path / "out", pool, arm="arm", specs=specs, seed=0, chat=CHAT)
    examples = read_table(tmp_path / "out", Example)
    assert made.rows_out == len(examples) == 9
    for group, own in zip(made.info["groups"], (examples[:5], examples[5:]), strict=True):
        lengths = [example.num_tokens for example in own]
        assert (group["made"], group["tokens"]) == (len(own), sum(lengths))
        assert (group["min_tokens"], group["max_tokens"]) == (min(lengths), max(lengths))
        assert group["exactly_on_target"] == sum(n == group["target"] for n in lengths) / len(lengths)
        assert group["within_tolerance"] == 1.0
        assert group["problems"] == group["unique_traces"] == sum(example.num_problems for example in own)
        assert group["supervised_tokens"] == sum(example.num_supervised_tokens for example in own)
        assert 0 < group["coverage"] <= 1
        assert "shortfall" not in group


def test_the_seed_decides_everything(pool: Path, tmp_path: Path) -> None:
    a = _synthesize(tmp_path / "a", pool, 1)
    assert _synthesize(tmp_path / "b", pool, 1) == a
    assert _synthesize(tmp_path / "c", pool, 2) != a
    before = (tmp_path / "a" / MANIFEST).read_bytes()
    assert _synthesize(tmp_path / "a", pool, 1) == a
    assert (tmp_path / "a" / MANIFEST).read_bytes() == before


def test_exact_lengths_are_made_where_the_pool_allows(pool: Path, tmp_path: Path) -> None:
    examples = _synthesize(tmp_path / "out", pool, samples=12, tolerance=0.0, target=100, num_problems=(2, 4))
    assert {example.num_tokens for example in examples} == {100}
    assert len(examples) == 12


def test_exact_mode_makes_most_of_what_the_pool_allows(pool: Path, tmp_path: Path) -> None:
    # With the cost measured on samples of two and more, 43 are made; with that of one, 16.
    spec = JoinSpec(target=100, samples=45, tolerance=0, num_problems=(2, 4), linkers="micro", shortfall="allow")
    made = synthesize(tmp_path / "out", pool, arm="arm", specs=[spec], seed=0, chat=CHAT)
    assert made.rows_out >= 25


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"target": 5000}, r"make samples of about \d+ to \d+ tokens from 2 to 3 problems"),
        ({"target": 12, "num_problems": (2, 2)}, r"make samples of about \d+ to \d+ tokens from 2 to 2 problems"),
        ({"target": 90, "samples": 5000}, r"only \d+ of 5000 samples of 86–94 tokens could be made: after \d+ samples"),
        (
            {"target": 60, "samples": 5000, "num_problems": (2, 2)},
            r"pairs found.*by length alone the pool has about \d+",
        ),
        ({"target": 90000, "num_problems": (500, 600)}, r"the pool has \d+ traces, fewer than the 500 a sample needs"),
    ],
)
def test_what_cannot_be_made_is_said_with_the_reachable_range(
    spec: dict[str, Any], message: str, pool: Path, tmp_path: Path
) -> None:
    with pytest.raises(InfeasibleError, match=message) as caught:
        _synthesize(tmp_path / "out", pool, **spec)
    assert "shortfall: allow" in str(caught.value)
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_between_two_lengths_the_nearest_are_named(make_pool: MakePool, tmp_path: Path) -> None:
    folder = tmp_path / "pool"
    make_pool(folder, [trace for trace in _micro_traces() if trace.num_thinking_tokens == 12])
    with pytest.raises(InfeasibleError, match=r"the nearest are about \d+ and \d+") as caught:
        _synthesize(tmp_path / "out", folder, target=30, num_problems=(1, 3), tolerance=0.0)
    below, above = map(int, str(caught.value).split("nearest are about ")[1].split("\n")[0].split(" and "))
    assert below < 30 < above
    for target in (below, above):
        assert _synthesize(tmp_path / str(target), folder, target=target, samples=2, tolerance=0.0, num_problems=(1, 3))


def test_the_reachable_range_is_true(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(InfeasibleError) as caught:
        _synthesize(tmp_path / "out", pool, target=5000, num_problems=(2, 2))
    low, high = (
        int(word.replace(",", "")) for word in str(caught.value).split("about ")[1].split(" tokens")[0].split(" to ")
    )
    for target in (low, high):
        assert (
            len(
                _synthesize(
                    tmp_path / f"at-{target}", pool, target=target, samples=1, tolerance=0.1, num_problems=(2, 2)
                )
            )
            == 1
        )
    with pytest.raises(InfeasibleError):
        _synthesize(tmp_path / "over", pool, target=high + 20, samples=1, tolerance=0.0, num_problems=(2, 2))


def test_a_shortfall_is_allowed_on_request_and_recorded(pool: Path, tmp_path: Path) -> None:
    spec = JoinSpec(target=60, samples=5000, linkers="micro", tolerance=0.05, shortfall="allow")
    made = synthesize(tmp_path / "out", pool, arm="arm", specs=[spec], seed=0, chat=CHAT)
    (group,) = made.info["groups"]
    assert 0 < group["made"] == made.rows_out < 5000
    assert group["requested"] == 5000
    assert "has about" in group["shortfall"]
    best = int(group["shortfall"].split("has about ")[1])
    assert group["made"] <= best
    assert group["made"] >= 0.8 * best


def test_an_empty_pool_and_a_model_too_small_are_infeasible(pool: Path, tmp_path: Path, make_pool: MakePool) -> None:
    make_pool(tmp_path / "empty", [])
    with pytest.raises(InfeasibleError, match="the pool is empty"):
        _synthesize(tmp_path / "out", tmp_path / "empty")
    with pytest.raises(InfeasibleError, match=r"90 tokens are more than the model's 92 positions"):
        synthesize(tmp_path / "out", pool, arm="arm", specs=[JoinSpec(target=90, samples=1, tolerance=0.05)], seed=0,
                   chat=CHAT, max_tokens=92)  # fmt: skip


def test_traces_of_one_problem_are_never_joined(tmp_path: Path, make_pool: MakePool, make_trace: MakeTrace) -> None:
    same = [make_trace("a⊕b", f"a⊕b=c. {s}⊕b=c.", "\\boxed{c}", "c") for s in "abcdefgh"]
    make_pool(tmp_path / "pool", same)
    with pytest.raises(InfeasibleError):
        _synthesize(tmp_path / "out", tmp_path / "pool", target=40, tolerance=0.5, samples=1)


def test_colliding_labels_cost_a_sample_not_a_reading(
    tmp_path: Path, make_pool: MakePool, make_trace: MakeTrace
) -> None:
    liars = [make_trace(f"{s}⊕b", f"{s}⊕b=c.", "\\boxed{c}\nProblem 2: \\boxed{d}", "c") for s in "abcdef"]
    honest = [make_trace(f"{s}⊕c", f"{s}⊕c=d.", "\\boxed{d}", "d") for s in "ghijkl"]
    make_pool(tmp_path / "pool", [*liars, *honest])
    values = {"target": 44, "tolerance": 0.4, "samples": 3, "num_problems": (2, 2)}
    for example in _synthesize(tmp_path / "out", tmp_path / "pool", **values):
        answer = CHAT.split_answer(example.completion[0].content).answer
        assert answer is not None
        read = extract_parts(answer, example.num_problems)
        assert tuple(part.value if part else None for part in read) == example.answers


@pytest.mark.parametrize(
    "bad", [{"num_problems": (0, 2)}, {"num_problems": (3, 2)}, {"linkers": "german"}, {"target": 0}, {"samples": 0},
            {"tolerance": 1.0}, {"tolerance": -0.1}, {"layout": "spiral"}, {"shortfall": "maybe"}, {"unknown": 1}]
)  # fmt: skip
def test_a_wrong_specification_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        JoinSpec(**({"target": 10, "samples": 1} | bad))
