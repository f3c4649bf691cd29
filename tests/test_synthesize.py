"""synthesize: other arms' lengths and traces, quantiles, slices, blocks, restarts; exact lengths on real traces."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import MakePool, build_trace, write_pool
from long1k.chat import Chat, documents
from long1k.display import show_row
from long1k.errors import DataError, InfeasibleError, RecipeError
from long1k.joining import group
from long1k.joining.spec import JoinSpec
from long1k.rows import Example, Message, Trace, to_arrow
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.stages.synthesize import synthesize
from long1k.tables import MANIFEST, Manifest, TableWriter, read_manifest, read_table, write_part
from long1k.tokens import load_tokenizer
from realdata import real_data

CHAT = Chat(load_tokenizer("package:micro"))


def micro_traces(count: int = 240) -> list[Trace]:
    made = []
    for at, raw in enumerate(MicroSource(MicroConfig(count=count, steps=(1, 7), check=0.3, seed=4)).load()):
        assert not hasattr(raw, "reason")
        made.append(
            build_trace(
                CHAT, raw.question, raw.thinking or "", raw.solution or "", raw.answer or "",  # type: ignore[union-attr]
                difficulty=float(at % 5), difficulty_origin="steps", subject="odd" if at % 2 else "even",
                source="one" if at % 3 else "two", correct=[True, True, None, False][at % 4], license=["MIT", None][at // 9 % 2],
            )
        )  # fmt: skip
    return list({trace.trace_id: trace for trace in made}.values())


def tries(problems: int = 12, each: int = 5) -> list[Trace]:
    """Several traces of different length of each of some problems."""
    made = []
    for problem in range(problems):
        letter, other = "abcdefghijklmnop"[problem], "abcdefghijklmnop"[(problem + 5) % 16]
        for size in range(1, each + 1):
            thinking = " ".join([f"{letter}⊕{other}=c."] * (size * (1 + problem % 3)))
            made.append(build_trace(CHAT, f"{letter}⊕{other}", thinking, "\\boxed{c}", "c"))
    return made


TRACES = micro_traces()
TRIES = tries()


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, make_pool: MakePool) -> Path:
    folder = tmp_path_factory.mktemp("pool") / "pool"
    make_pool(folder, TRACES)
    return folder


@pytest.fixture(scope="module")
def tries_pool(tmp_path_factory: pytest.TempPathFactory, make_pool: MakePool) -> Path:
    folder = tmp_path_factory.mktemp("tries") / "pool"
    make_pool(folder, TRIES)
    return folder


def make(
    out: Path, pool: Path, *, seed: int = 0, related: dict[str, Path] | None = None, **spec: Any
) -> tuple[list[Example], Manifest]:
    values: dict[str, Any] = {"samples": 8, "linkers": "micro", "tolerance": 0.05, **spec}
    made = synthesize(
        out, pool, arm=out.name, specs=[JoinSpec(**values)], seed=seed, chat=CHAT, related=related
    )  # fmt: skip
    return read_table(out, Example), made


def check(examples: Sequence[Example], without_replacement: bool = True) -> None:
    """What holds of every sample: the recount, and that no trace is used twice."""
    for example in examples:
        encoded = [CHAT.encode_example(prompt, completion) for prompt, completion in documents(example)]
        assert example.num_tokens == sum(len(one.ids) for one in encoded)
        assert example.num_supervised_tokens == sum(sum(one.trained) for one in encoded)
    used = [trace for example in examples for trace in example.trace_ids]
    assert not without_replacement or len(used) == len(set(used))


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    mode=st.sampled_from(["independent", "no_linker", "shuffled_parts", "shuffled_steps", "masked_pair", "truncated", "single"]),
    target=st.integers(40, 110), exact=st.booleans(), seed=st.integers(0, 9), windowed=st.booleans(),
)  # fmt: skip
def test_lengths_are_what_was_asked_for_in_every_mode(
    mode: str, target: int, exact: bool, seed: int, windowed: bool, pool: Path, tmp_path: Path
) -> None:
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    length = {"window": (target, target + 20)} if windowed else {"target": target}
    tolerance = 0.0 if exact else 0.05
    try:
        examples, made = make(
            tmp_path / "out", pool, mode=mode, tolerance=tolerance, seed=seed, shortfall="allow", **length
        )
    except InfeasibleError:  # nothing at all of this length
        return
    check(examples)
    (account,) = made.info["groups"]
    assert account["within_tolerance"] == 1.0
    assert account["exactly_on_target"] == (
        None if windowed else sum(e.num_tokens == target for e in examples) / len(examples)
    )
    for example in examples:
        assert example.mode == mode
        assert example.target_tokens == (None if windowed else target)
        low, high = (
            (target, target + 20) if windowed else (target - int(target * tolerance), target + int(target * tolerance))
        )
        assert low <= example.num_tokens <= high


def test_one_arm_follows_anothers_lengths_and_contains_its_traces(pool: Path, tmp_path: Path) -> None:
    first, _ = make(tmp_path / "A", pool, window=(40, 70), samples=10)
    related = {"A": tmp_path / "A"}
    like, made = make(tmp_path / "B", pool, like="A", samples=10, related=related, tolerance=0.0, num_problems=(2, 3))
    assert [e.target_tokens for e in like] == [e.num_tokens for e in first] == [e.num_tokens for e in like]
    assert made.info["groups"][0]["exactly_on_target"] == 1.0
    longer, _ = make(tmp_path / "C", pool, extends="A", target=110, samples=10, related=related, num_problems=(3, 5))
    check(longer)
    for small, large in zip(first, longer, strict=True):
        assert large.trace_ids[: len(small.trace_ids)] == small.trace_ids
        assert abs(large.num_tokens - 110) <= 5
        assert len(set(large.problem_ids)) == len(large.problem_ids)
    assert not {t for e in longer for t in e.trace_ids[2:]} & {t for e in first for t in e.trace_ids}
    apart, made = make(tmp_path / "D", pool, extends="A", mode="masked_pair", samples=10, related=related)
    check(apart)
    assert [e.trace_ids for e in apart] == [e.trace_ids for e in first]
    assert made.info["groups"][0]["wanted"] == "of A"
    assert read_manifest(tmp_path / "D").inputs["arm:A"] == read_manifest(tmp_path / "A").digest


def test_a_related_arm_must_be_there_and_large_enough(pool: Path, tries_pool: Path, tmp_path: Path) -> None:
    make(tmp_path / "A", pool, target=60, samples=3)
    related = {"A": tmp_path / "A"}
    with pytest.raises(RecipeError, match="follows the samples of 'Z', which are not given"):
        make(tmp_path / "B", pool, like="Z", related=related)
    with pytest.raises(InfeasibleError, match=r"made like A, which has 3 samples, not 8"):
        make(tmp_path / "B", pool, like="A", related=related)
    with pytest.raises(InfeasibleError, match=r"extends A, which has 3 samples, not 8"):
        make(tmp_path / "B", pool, extends="A", target=90, related=related)
    make(tmp_path / "T", pool, target=90, samples=2, num_problems=(3, 3))
    with pytest.raises(InfeasibleError, match="not of two traces, which make no pair"):
        make(tmp_path / "B", pool, extends="T", mode="masked_pair", samples=2, related={"T": tmp_path / "T"})
    with pytest.raises(DataError, match="whose traces are not in this pool"):
        make(tmp_path / "B", tries_pool, extends="A", target=90, samples=3, related=related)


def test_a_length_set_takes_the_same_problems_in_the_same_order(tries_pool: Path, tmp_path: Path) -> None:
    sets = [make(tmp_path / f"S{i}", tries_pool, length_set=(i, 3), samples=10)[0] for i in range(3)]
    assert [e.problem_ids for e in sets[0]] == [e.problem_ids for e in sets[1]] == [e.problem_ids for e in sets[2]]
    for one, two, three in zip(*sets, strict=True):
        assert one.num_tokens < two.num_tokens < three.num_tokens
        own = sorted((t for t in TRIES if t.problem_id == one.problem_ids[0]), key=lambda t: t.num_thinking_tokens)
        assert [one.trace_ids[0], two.trace_ids[0], three.trace_ids[0]] == [
            own[0].trace_id,
            own[2].trace_id,
            own[4].trace_id,
        ]
        assert one.mode == "independent" or one.mode == "single"
    with pytest.raises(InfeasibleError, match="only 0 problems have 6 usable traces"):
        make(tmp_path / "no", tries_pool, length_set=(0, 6), samples=10)


def test_slices_share_no_problem_whatever_the_seed(pool: Path, tmp_path: Path) -> None:
    parts = [
        {p for e in make(tmp_path / f"{i}", pool, slice=(i, 3), target=60, seed=i, samples=5)[0] for p in e.problem_ids}
        for i in range(3)
    ]
    assert not parts[0] & parts[1]
    assert not parts[1] & parts[2]
    assert not parts[0] & parts[2]


def test_filters_hold(pool: Path, tmp_path: Path) -> None:
    traces = {trace.trace_id: trace for trace in TRACES}
    where = {
        "difficulty": (1, 3),
        "subjects": ["odd"],
        "sources": ["one"],
        "correct": True,
        "thinking_tokens": (None, 40),
    }
    examples, made = make(tmp_path / "out", pool, target=100, where=where, samples=3, shortfall="allow", tolerance=0.2)
    used = [traces[t] for e in examples for t in e.trace_ids]
    assert used
    assert all(t.difficulty in (1, 2, 3) and t.subject == "odd" and t.source == "one" and t.correct for t in used)
    assert all(t.num_thinking_tokens <= 40 for t in used)
    found = made.info["balance"]
    assert found["subjects"] == {"odd": 1.0}
    assert found["correctness"] == {"correct": 1.0}
    assert found["difficulty"]["origins"] == {"steps": 1.0}
    assert found["unique_traces"] == len(used)
    assert found["prompt_tokens_mean"] == pytest.approx(
        sum(e.num_tokens - e.num_supervised_tokens for e in examples) / len(examples), abs=0.01
    )
    with pytest.raises(InfeasibleError, match="no trace of the pool passes the filters"):
        make(tmp_path / "none", pool, target=60, where={"teachers": ["nobody"]})


def test_tries_at_one_problem_agree_and_problems_take_turns(tries_pool: Path, tmp_path: Path) -> None:
    examples, _ = make(tmp_path / "out", tries_pool, mode="same_problem", target=60, tolerance=0.3, samples=8)
    check(examples)
    assert all(len(e.trace_ids) == 2 and len(set(e.problem_ids)) == 1 and e.num_problems == 1 for e in examples)
    assert len({e.problem_ids[0] for e in examples}) >= 5
    lone = JoinSpec(target=60, samples=1, mode="same_problem", linkers="micro", num_problems=(6, 6))
    with pytest.raises(InfeasibleError, match="belong to problems with 6 traces or more"):
        synthesize(tmp_path / "no", tries_pool, arm="no", specs=[lone], seed=0, chat=CHAT)


def test_tries_that_do_not_agree_are_no_tries_at_one_problem(tmp_path: Path, make_pool: MakePool) -> None:
    def trace(size: int, answer: str, said: str, correct: bool | None) -> Trace:
        thinking = " ".join(["a⊕b=c."] * size)
        return build_trace(CHAT, "a⊕b", thinking, f"\\boxed{{{said}}}", answer, correct=correct, problem_id="p-1")

    spec = {"mode": "same_problem", "target": 60, "tolerance": 0.6, "samples": 1}
    for number, (traces, fits) in enumerate(
        (
            ([trace(3, "c", "c", True), trace(4, "c", "c", True)], True),
            ([trace(3, "c", "c", True), trace(4, "d", "d", True)], False),  # two sources, two gold answers
            ([trace(3, "c", "d", False), trace(4, "c", "d", False)], True),  # wrong, and of one mind
            ([trace(3, "c", "d", None), trace(4, "c", "e", None)], False),
        )
    ):
        make_pool(tmp_path / f"pool-{number}", traces)
        if fits:
            (example,) = make(tmp_path / f"arm-{number}", tmp_path / f"pool-{number}", **spec)[0]
            assert len(example.trace_ids) == 2
        else:
            with pytest.raises(InfeasibleError, match="no problem has enough free traces left that agree"):
                make(tmp_path / f"arm-{number}", tmp_path / f"pool-{number}", **spec)


def test_a_cut_trace_keeps_its_solution_and_the_beginning_of_its_thinking(pool: Path, tmp_path: Path) -> None:
    traces = {trace.trace_id: trace for trace in TRACES}
    examples, _ = make(tmp_path / "out", pool, mode="truncated", target=40, tolerance=0.0, samples=6)
    check(examples)
    for example in examples:
        trace = traces[example.trace_ids[0]]
        answer = CHAT.split_answer(example.completion[0].content)
        assert answer.thinking is not None
        assert trace.thinking.startswith(answer.thinking)
        assert len(answer.thinking) < len(trace.thinking)
        assert answer.answer == trace.solution
        assert example.mode == "truncated"


def write_pool_in_parts(folder: Path, traces: Sequence[Trace], size: int) -> None:
    writer = TableWriter(folder, Trace, stage="collect/1", config={}, inputs={"size": str(size)})
    number = 0
    for at in range(0, len(traces), size):
        write_part(folder, number, to_arrow(list(traces[at : at + size]), Trace))
        number += 1
    writer.commit(number, {})


@pytest.mark.parametrize("small", [False, True])
def test_the_result_does_not_depend_on_how_the_pool_lies_in_files(
    small: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if small:  # many blocks
        monkeypatch.setattr(group, "WORKING_SET", 20)
        monkeypatch.setattr(group, "SPREAD", 1)
        monkeypatch.setattr(group, "BLOCK_SAMPLES", 4)
    digests = set()
    for size in (7, 64, 1000):
        write_pool_in_parts(tmp_path / f"pool-{size}", TRACES, size)
        examples, made = make(tmp_path / f"arm-{size}" / "A", tmp_path / f"pool-{size}", target=60, samples=14)
        check(examples)
        assert len(examples) == 14
        assert made.info["groups"][0]["blocks"] > 2 if small else made.info["groups"][0]["blocks"] == 1
        digests.add(made.digest)
    assert len(digests) == 1


def test_show_prints_both_conversations_of_a_masked_pair(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    examples, _ = make(tmp_path / "out", pool, target=60, mode="masked_pair", samples=1)
    show_row(tmp_path / "out")
    shown = capsys.readouterr().out
    assert shown.count("not trained:") == 2
    for message in (*examples[0].prompt, *examples[0].completion):
        if message.role == "user":
            assert f"⟦question {1 + (message is not examples[0].prompt[0])}⟧ {message.content}" in shown
    show_row(tmp_path / "out", tokens=True)
    shown = capsys.readouterr().out
    assert shown.count("another conversation") == 1
    assert f"{examples[0].num_supervised_tokens:,} of {examples[0].num_tokens:,} tokens are trained" in shown


class _Stop(Exception):
    pass


@pytest.mark.parametrize(
    "spec",
    [{"target": 60, "samples": 20}, {"like": "A", "samples": 20}, {"extends": "A", "target": 90, "num_problems": (3, 4), "samples": 16},
     {"window": (30, 50), "mode": "single", "samples": 12}, {"extends": "A", "mode": "no_linker", "samples": 20}],
)  # fmt: skip
def test_a_stopped_run_goes_on_where_it_was(
    spec: dict[str, Any], pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "A", pool, window=(40, 70), samples=20)
    for name, value in (("WORKING_SET", 24), ("SPREAD", 1), ("BLOCK_SAMPLES", 4)):
        monkeypatch.setattr(group, name, value)
    related = {"A": tmp_path / "A"}
    values = {"shortfall": "allow", "related": related, **spec}
    whole = make(tmp_path / "whole" / "B", pool, **values)[1]
    assert whole.info["groups"][0]["blocks"] > 2
    drawn = 0
    real = group.Group.draw_block

    def stops(self: group.Group) -> list[Example]:
        nonlocal drawn
        drawn += 1
        if drawn == 3:
            raise _Stop
        return real(self)

    monkeypatch.setattr(group.Group, "draw_block", stops)
    with pytest.raises(_Stop):
        make(tmp_path / "again" / "B", pool, **values)
    assert not (tmp_path / "again" / "B" / MANIFEST).exists()
    again = make(tmp_path / "again" / "B", pool, **values)[1]
    assert drawn == 1 + whole.info["groups"][0]["blocks"]  # the two finished blocks were not drawn again
    assert again.digest == whole.digest
    assert again.info["groups"] == whole.info["groups"]
    assert again.info["balance"] == whole.info["balance"]


def test_later_blocks_make_what_earlier_ones_could_not(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    all_in_one = make(tmp_path / "one", pool, target=60, samples=1000, shortfall="allow")[1].rows_out
    for name, value in (("WORKING_SET", 24), ("SPREAD", 0), ("BLOCK_SAMPLES", 1000)):
        monkeypatch.setattr(group, name, value)
    examples, made = make(tmp_path / "many", pool, target=60, samples=1000, shortfall="allow")
    check(examples)
    assert made.info["groups"][0]["blocks"] >= 4
    assert len(examples) >= 0.7 * all_in_one
    assert "shortfall" in made.info["groups"][0]


@pytest.mark.parametrize(
    "spec", [{"mode": "same_problem", "target": 60, "tolerance": 0.3}, {"length_set": (1, 3)},
             {"mode": "truncated", "target": 24}]
)  # fmt: skip
def test_blocks_of_every_kind(
    spec: dict[str, Any], tries_pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("WORKING_SET", 13), ("SPREAD", 0), ("BLOCK_SAMPLES", 3)):
        monkeypatch.setattr(group, name, value)
    traces = {trace.trace_id: trace for trace in TRIES}
    examples, made = make(tmp_path / "out", tries_pool, samples=10, shortfall="allow", **spec)
    check(examples)
    assert made.info["groups"][0]["blocks"] > 1
    assert len(examples) >= 5
    if spec.get("mode") == "same_problem":
        assert all(len({traces[t].problem_id for t in e.trace_ids}) == 1 for e in examples)
    if "length_set" in spec:
        monkeypatch.undo()
        assert [e.trace_ids for e in make(tmp_path / "one", tries_pool, samples=10, **spec)[0]] == [
            e.trace_ids for e in examples
        ]


def test_a_column_of_another_table_is_refused(pool: Path, tmp_path: Path) -> None:
    make(tmp_path / "A", pool, target=60)
    with pytest.raises(DataError, match="holds no Trace rows"):
        make(tmp_path / "B", tmp_path / "A", target=60)
    with pytest.raises(DataError, match="cannot be read as samples"):
        make(tmp_path / "C", pool, like="P", related={"P": pool})


def test_exact_lengths_on_real_traces(tmp_path: Path) -> None:
    """At tolerance 0 nearly as many samples are made as within 1 %, because linking words make up the difference."""
    from long1k.curation.config import CollectConfig
    from long1k.sources.jsonl import JsonlConfig, JsonlSource
    from long1k.stages.collect import collect

    chat = Chat(load_tokenizer(str(real_data("tokenizer_qwen2"))))
    source = JsonlSource(
        JsonlConfig(path=str(real_data("traces", "math_r1_distill_uzaymacar.jsonl.gz")), tags="required")
    )
    collect(tmp_path / "pool", [("r1", source)], CollectConfig(verify="keep"), chat)
    counts = {}
    for tolerance in (0.01, 0.0):
        spec = JoinSpec(target=3000, samples=150, tolerance=tolerance, num_problems=(2, 3), shortfall="allow")
        out = tmp_path / f"arm-{tolerance}"
        synthesize(out, tmp_path / "pool", arm="arm", specs=[spec], seed=0, chat=chat)
        examples = read_table(out, Example)
        counts[tolerance] = len(examples)
        for example in examples[:20]:
            assert len(chat.encode_example(example.prompt, example.completion).ids) == example.num_tokens
        assert tolerance or {example.num_tokens for example in examples} == {3000}
    assert counts[0.0] >= 0.9 * counts[0.01] > 0


@pytest.fixture(scope="module")
def qwen() -> Chat:
    return Chat(load_tokenizer(str(real_data("tokenizer_qwen2"))))


def test_a_few_short_traces_of_another_kind_do_not_spoil_the_estimate(tmp_path: Path, qwen: Chat) -> None:
    """The shortest answers are not boxed, so that a box is written for them; all others are."""
    plain = [build_trace(qwen, f"What is {n}+1?", "Easy.", f"The answer is {n + 1}.", str(n + 1)) for n in range(8)]
    boxed = [
        build_trace(qwen, f"What is {n}+2?", f"Count on from {n}. " * (n - 9), f"\\boxed{{{n + 2}}}", str(n + 2))
        for n in range(10, 50)
    ]
    write_pool(tmp_path / "pool", [*plain, *boxed], qwen)
    middle = boxed[20]
    length, _ = qwen.count_example(
        [Message("user", middle.question)], [Message("assistant", qwen.write_answer(middle.thinking, middle.solution))]
    )
    spec = JoinSpec(window=(length, length), samples=1, mode="single")
    synthesize(tmp_path / "out", tmp_path / "pool", arm="A", specs=[spec], seed=0, chat=qwen)
    [made] = read_table(tmp_path / "out", Example)
    assert (made.num_tokens, made.trace_ids) == (length, (middle.trace_id,))
    exact = JoinSpec(target=length, tolerance=0, samples=1, mode="single")
    synthesize(tmp_path / "exact", tmp_path / "pool", arm="A", specs=[exact], seed=0, chat=qwen)
    assert [made.num_tokens for made in read_table(tmp_path / "exact", Example)] == [length]
