"""The three passes of collect: the same pool for any number of workers, and after a kill in any of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.errors import DataError, EngineError, RecipeError
from long1k.executors import Executor, ray
from long1k.rows import Reject, Trace, content_id
from long1k.sources.jsonl import JsonlConfig, JsonlSource
from long1k.stages.collect import across, collect, part, stage
from long1k.stages.collect.verify import judged
from long1k.summary import collect_summary
from long1k.tables import Manifest, iter_table, read_rejected, read_table
from realdata import need_extra

LETTERS = "abcdefgh"


def _rows(tmp_path: Path, number: int = 60) -> Path:
    """Rows of which some repeat an earlier one, some are wrong, and some cannot be read."""
    lines = []
    for i in range(number):
        first, second = LETTERS[i % 8], LETTERS[(i // 8) % 8]
        answer = "e" if i % 7 == 3 else "d"
        row = {
            "question": f"{first}⊕{second}", "answer": "d", "subject": "math" if i % 2 else "code",
            "response": f"<think>\n{first}⊕{second}=d\n</think>\n\n\\boxed{{{answer}}}",
        }  # fmt: skip
        lines.append("{broken" if i % 13 == 5 else json.dumps(row))
        if i % 5 == 0:
            lines.append(lines[-1])
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def _collect(out: Path, path: Path, chat: Chat, executor: Executor = Executor(), **config: Any) -> Manifest:
    source = JsonlSource(JsonlConfig(path=str(path)))
    return collect(out, [("rows", source)], CollectConfig(**config), chat, executor=executor, part_rows=8)


def _files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.glob("*.parquet"))}


def test_the_pool_is_the_same_for_any_number_of_workers(tmp_path: Path, micro_chat: Chat) -> None:
    path = _rows(tmp_path)
    made = [_collect(tmp_path / str(n), path, micro_chat, Executor(n), max_traces_per_problem=2) for n in (1, 2, 4)]
    assert made[0].rows_in == len(path.read_text().splitlines()) == made[0].rows_out + sum(made[0].rejected.values())
    assert set(made[0].rejected) == {"duplicate", "malformed_json", "wrong_answer"}
    for other, name in zip(made[1:], ("2", "4"), strict=True):
        assert (other.digest, other.rejected, other.fingerprint) == (
            made[0].digest, made[0].rejected, made[0].fingerprint,
        )  # fmt: skip
        assert _files(tmp_path / name) == _files(tmp_path / "1")


def test_ray_makes_the_same_pool(tmp_path: Path, micro_chat: Chat) -> None:
    need_extra("ray")
    path = _rows(tmp_path, 40)
    here = _collect(tmp_path / "local", path, micro_chat)
    there = _collect(tmp_path / "ray", path, micro_chat, Executor(2, "ray"))
    assert there.digest == here.digest
    assert _files(tmp_path / "ray") == _files(tmp_path / "local")


def _where(name: str) -> Path:
    return Path(name).resolve()


def test_a_relative_path_means_the_same_in_a_ray_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ours").mkdir()
    assert ray._run(str(tmp_path / "ours"), _where, "rows.jsonl") == (tmp_path / "ours" / "rows.jsonl").resolve()


def test_a_cluster_that_is_not_there_is_said_within_seconds() -> None:
    need_extra("ray")
    for address in ("127.0.0.1:9", "nonsense"):
        with pytest.raises(EngineError, match=f"no Ray cluster at {address}"):
            list(Executor(1, "ray", address).map(_same, [1]))


def test_a_row_that_no_worker_can_pass_on_is_an_error_everywhere(tmp_path: Path) -> None:
    for executor in (Executor(1), Executor(2)):
        with pytest.raises(DataError, match="nothing of 2"):
            list(executor.map(_fails, [1, 2, 3]))


def _fails(number: int) -> int:
    if number == 2:
        raise DataError("nothing of 2", "give another number")
    return number


def _dies(number: int) -> int:
    import os

    if number == 1:
        os._exit(3)
    return number


def test_a_worker_that_dies_is_said_with_its_job() -> None:
    with pytest.raises(EngineError, match="died during"):
        list(Executor(2).map(_dies, range(4)))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"workers": 0}, "0 workers"),
        ({"kind": "slurm"}, "unknown executor"),
        ({"address": "auto"}, "only the executor"),
    ],
)
def test_an_executor_that_cannot_be(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        Executor(**wrong)


class _Killed(BaseException):
    """What a kill is to the code that it hits."""


def _after(function: Callable[..., Any], calls: int) -> Callable[..., Any]:
    count = 0

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        nonlocal count
        count += 1
        if count > calls:
            raise _Killed
        return function(*args, **kwargs)

    return wrapped


@pytest.mark.parametrize("where", ["write_parquet", "decide", "write_part", "decisions"])
@pytest.mark.parametrize("calls", [0, 1, 2, 5, 8])
def test_a_kill_in_any_pass_leaves_the_same_pool(
    where: str, calls: int, tmp_path: Path, micro_chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _rows(tmp_path)
    undisturbed = _collect(tmp_path / "undisturbed", path, micro_chat, max_traces_per_problem=1)
    out = tmp_path / "out"
    owner: Any = {"write_parquet": part, "decide": stage, "write_part": stage, "decisions": across}[where]
    name = "write_parquet" if where == "decisions" else where
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, _after(getattr(owner, name), calls))
        try:
            _collect(out, path, micro_chat, max_traces_per_problem=1)
        except _Killed:
            assert not (out / "manifest.json").exists()
        else:
            assert where in ("decide", "decisions")
            assert calls > 0  # they are called once
    made = _collect(out, path, micro_chat, max_traces_per_problem=1)
    assert made.digest == undisturbed.digest
    assert _files(out) == _files(tmp_path / "undisturbed")


def test_domains_keep_their_subject_only(tmp_path: Path, micro_chat: Chat) -> None:
    made = _collect(tmp_path / "out", _rows(tmp_path), micro_chat, domains=["math"])
    assert {trace.subject for trace in iter_table(tmp_path / "out", Trace)} == {"math"}
    assert made.rejected["other_domain"] > 10
    assert any("'code'" in row.evidence for row in read_rejected(tmp_path / "out") if row.reason == "other_domain")


def test_pass_rate_counts_every_attempt(tmp_path: Path, micro_chat: Chat) -> None:
    def row(question: str, said: str, end: str = "</think>\n\n") -> str:
        return json.dumps({"question": question, "answer": "d", "response": f"<think>\nb\n{end}\\boxed{{{said}}}"})

    lines = [row("a⊕b", "d"), row("a⊕b", "e"), row("a⊕b", "f"), row("a⊕b", "d", ""), row("c⊕d", "d")]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    _collect(tmp_path / "out", path, micro_chat, difficulty={"origin": "pass_rate"})
    found = {t.question: (t.difficulty, t.difficulty_origin) for t in iter_table(tmp_path / "out", Trace)}
    assert found == {
        "a⊕b": (0.75, "1 - pass rate over 4 attempts"),
        "c⊕d": (0.0, "1 - pass rate over 1 attempts"),
    }


def test_difficulty_from_length_and_from_a_models_accuracy(tmp_path: Path, micro_chat: Chat) -> None:
    path = _rows(tmp_path)
    _collect(tmp_path / "long", path, micro_chat, difficulty={"origin": "solution_tokens"})
    for trace in iter_table(tmp_path / "long", Trace):
        assert trace.difficulty == trace.num_thinking_tokens + trace.num_solution_tokens  # one trace a problem
    known = tmp_path / "accuracy.jsonl"
    known.write_text(json.dumps({"question": "a⊕a", "accuracy": 0.25}) + "\n", encoding="utf-8")
    _collect(tmp_path / "known", path, micro_chat, difficulty={"origin": "accuracy", "path": str(known)})
    found = {t.question: (t.difficulty, t.difficulty_origin) for t in iter_table(tmp_path / "known", Trace)}
    assert found.pop("a⊕a") == (0.75, f"1 - accuracy in {known}")
    assert set(found.values()) == {(None, None)}
    known.write_text(json.dumps({"question": "a⊕a", "accuracy": 25}) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match="line 1"):
        _collect(tmp_path / "bad", path, micro_chat, difficulty={"origin": "accuracy", "path": str(known)})
    with pytest.raises(DataError, match="needs a file"):
        _collect(tmp_path / "none", path, micro_chat, difficulty={"origin": "accuracy"})


def test_accuracies_by_id_or_question_and_none_at_all(tmp_path: Path, micro_chat: Chat) -> None:
    path, known = tmp_path / "rows.jsonl", tmp_path / "known.jsonl"
    path.write_text("\n".join(_line(q, difficulty=3) for q in ("a⊕b", "b⊕b", "c⊕b")), encoding="utf-8")
    ids = {"b⊕b": content_id("p", "b⊕b")}
    known.write_text(
        json.dumps({"question": "a⊕b", "problem_id": None, "accuracy": 0.25})
        + "\n"
        + json.dumps({"problem_id": ids["b⊕b"], "accuracy": 1}),
        encoding="utf-8",
    )
    difficulty = {"origin": "accuracy", "path": str(known)}
    _collect(tmp_path / "out", path, micro_chat, difficulty=difficulty)
    found = {t.question: (t.difficulty, t.difficulty_origin) for t in iter_table(tmp_path / "out", Trace)}
    said = f"1 - accuracy in {known}"
    assert found == {"a⊕b": (0.75, said), "b⊕b": (0.0, said), "c⊕b": (None, None)}
    known.write_bytes(b"")
    with pytest.raises(DataError, match="holds no accuracy"):
        _collect(tmp_path / "out", path, micro_chat, difficulty=difficulty)


def test_every_part_of_an_answer_must_be_right() -> None:
    class Yes:
        status, note = "correct", ""

    class No:
        status, note = "wrong", ""

    assert judged([("1", "1", Yes), ("2", "2", Yes)]) == (True, None)
    verdict, fault = judged([("1", "1", Yes), ("3", "2", No)])
    assert verdict is False
    assert fault is not None
    assert fault.evidence == "part 2: answer '3', gold '2'"
    assert judged([("1", "1", Yes), (None, "2", None)])[0] is False
    assert judged([])[0] is None


@given(st.lists(st.integers(0, 5), max_size=40))
def test_first_rows_and_ranks(values: list[int]) -> None:
    codes = np.array(values, dtype=np.int64)
    assert across.first_rows(codes).tolist() == [values.index(v) for v in values]
    assert across.ranks_within(codes).tolist() == [values[:i].count(v) for i, v in enumerate(values)]


def test_no_row_of_a_pool_is_lost_from_disk(tmp_path: Path, micro_chat: Chat) -> None:
    made = _collect(tmp_path / "out", _rows(tmp_path), micro_chat)
    parts = sorted((tmp_path / "out").glob("part-*.parquet"))
    assert sum(int(pq.read_metadata(p).metadata[b"rows_in"]) for p in parts) == made.rows_in
    assert len(read_table(tmp_path / "out", Trace)) == made.rows_out
    rejected = read_rejected(tmp_path / "out")
    assert len(rejected) == sum(made.rejected.values())
    assert all(isinstance(row, Reject) and row.row for row in rejected)


def test_jobs_are_taken_as_workers_get_free() -> None:
    given_out: list[int] = []

    def jobs() -> Iterator[int]:
        for number in range(100):
            given_out.append(number)
            yield number

    results = Executor(2).map(_same, jobs())
    first = next(results)
    assert len(given_out) <= 6
    assert sorted([first, *results]) == [(number, number) for number in range(100)]


def _same(number: int) -> int:
    return number


def test_near_copies_are_found_across_parts(tmp_path: Path, qwen_chat: Chat) -> None:
    def row(number: int, question: str, thinking: str) -> str:
        answer = f"<think>\n{thinking}\n</think>\n\nThe answer is $\\boxed{{{number}}}$."
        return json.dumps({"question": question, "answer": str(number), "response": answer})

    rng = np.random.default_rng(0)
    words = [f"{a}{b}" for a in ("lo", "mi", "ra", "tu") for b in ("na", "ke", "so", "vim", "pel")]
    thoughts = [" ".join(rng.choice(words, 120)) for _ in range(20)]
    lines = [
        row(i, f"How many {words[i]} are in {' '.join(rng.choice(words, 12))}?", t) for i, t in enumerate(thoughts)
    ]
    reworded = json.loads(lines[3])["question"].upper().replace("?", " ?")
    lines.append(row(3, reworded, " ".join(rng.choice(words, 120))))  # the problem again, another trace
    lines.append(row(5, json.loads(lines[5])["question"], thoughts[5] + " so"))  # the trace again, but for a word
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    plain = _collect(tmp_path / "plain", path, qwen_chat)
    assert (plain.rows_out, plain.rejected) == (22, {})
    near = {"problems": 0.8, "traces": 0.8}
    made = _collect(tmp_path / "near", path, qwen_chat, near_duplicates=near)
    assert made.rejected == {"near_duplicate_problem": 1, "near_duplicate_trace": 1}
    ids = {t.source_row: t.trace_id for t in iter_table(tmp_path / "plain", Trace)}
    told = {row.reason: (row.source_row, row.evidence) for row in read_rejected(tmp_path / "near")}
    assert told["near_duplicate_problem"] == ("21", f"its problem is nearly that of {ids['4']}")
    assert told["near_duplicate_trace"] == ("22", f"nearly the same as {ids['6']}")


def test_benchmarks_are_looked_for_in_whole_traces_if_asked(tmp_path: Path, qwen_chat: Chat) -> None:
    asked = "A farmer has twelve red hens and nine brown geese in a yard; how many legs do they have together?"
    row = {
        "question": "What is $6 \\cdot 7$?", "answer": "42",
        "response": f"<think>\nThis reminds me: {asked} But here it is 42.\n</think>\n\n$\\boxed{{42}}$",
    }  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    source = JsonlSource(JsonlConfig(path=str(path)))
    kept = collect(tmp_path / "a", [("s", source)], CollectConfig(), qwen_chat, excluded={"farm": [("hens", asked)]})
    assert kept.rows_out == 1
    config = CollectConfig(decontaminate={"traces": True})  # type: ignore[arg-type]
    made = collect(tmp_path / "b", [("s", source)], config, qwen_chat, excluded={"farm": [("hens", asked)]})
    assert made.rows_out == 0
    pairs = made.info["contamination"]["pairs"]
    assert [pair["source_row"] for pair in pairs] == ["1"]
    assert pairs[0]["evidence"].startswith("farm/hens: ")


def test_loops_and_sentinels_are_rejected_unless_told_otherwise(tmp_path: Path, qwen_chat: Chat) -> None:
    loop = "Wait, let me think again about this step. " * 200
    rows = [
        {"question": "q one?", "answer": "1", "response": f"<think>\n{loop}\n</think>\n\n$\\boxed{{1}}$"},
        {"question": "q two?", "answer": "notfound", "response": "<think>\nok\n</think>\n\n$\\boxed{1}$"},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    made = _collect(tmp_path / "a", path, qwen_chat)
    assert made.rejected == {"loop": 1, "sentinel_answer": 1}
    other = _collect(tmp_path / "b", path, qwen_chat, lint={"loops": False, "sentinels": False})
    assert other.rejected == {"wrong_answer": 1}


def test_a_gold_answer_is_taken_from_a_worked_solution(tmp_path: Path, qwen_chat: Chat) -> None:
    row = {
        "question": "What is two and two?", "gold_solution": "Adding, we get $2 + 2 = \\boxed{4}$.",
        "response": "<think>\nTwo and two.\n</think>\n\n$\\boxed{4}$",
    }  # fmt: skip
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps(row), encoding="utf-8")
    assert _collect(tmp_path / "a", path, qwen_chat).rows_out == 1
    trace = read_table(tmp_path / "a", Trace)[0]
    assert (trace.answer, trace.correct) == ("4", True)


def _line(question: str, answer: str = "d", said: str = "d", **more: Any) -> str:
    return json.dumps(
        {"question": question, "answer": answer, "response": f"<think>\nb\n</think>\n\n\\boxed{{{said}}}"} | more
    )


@pytest.mark.parametrize("where", ["a folder within", "the folder", "the pool", "a glob of the pool"])
def test_a_source_that_holds_the_pool_is_refused_before_anything_is_lost(
    where: str, tmp_path: Path, micro_chat: Chat
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "rows.jsonl").write_text(_line("a⊕b"), encoding="utf-8")
    pool = tmp_path / "pool"
    _collect(pool, tmp_path / "data", micro_chat)
    before = _files(pool)
    path, out = {
        "a folder within": (tmp_path, pool),
        "the folder": (tmp_path / "data", tmp_path / "data"),
        "the pool": (pool, pool),
        "a glob of the pool": (tmp_path / "p*" / "*.parquet", pool),
    }[where]
    with pytest.raises(DataError, match="one within the other"):
        _collect(out, path, micro_chat)
    assert _files(pool) == before
    assert (tmp_path / "data" / "rows.jsonl").is_file()


def test_what_a_kill_after_the_manifest_leaves_is_removed(
    tmp_path: Path, micro_chat: Chat, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, out = _rows(tmp_path), tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(stage, "_clear", _after(stage._clear, 0))
        with pytest.raises(_Killed):
            _collect(out, path, micro_chat)
    assert (out / "manifest.json").is_file()
    assert (out / "staged").is_dir()
    (out / "rejected-00000.parquet").write_bytes(b"left")
    again = _collect(out, path, micro_chat)
    assert again.digest == _collect(tmp_path / "undisturbed", path, micro_chat).digest
    assert {p.name for p in out.iterdir()} == {p.name for p in (tmp_path / "undisturbed").iterdir()}


def test_a_trace_whose_gold_answer_is_spelled_in_two_ways_is_one_trace(tmp_path: Path, micro_chat: Chat) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([_line("a⊕b"), _line("a⊕b", "$d$"), _line("b⊕b")]), encoding="utf-8")
    made = _collect(tmp_path / "out", path, micro_chat)
    assert (made.rows_out, made.rejected) == (2, {"duplicate": 1})
    kept = read_table(tmp_path / "out", Trace)[0]
    assert [row.evidence for row in read_rejected(tmp_path / "out")] == [f"the same trace as {kept.trace_id}"]


def test_what_could_not_be_judged_is_no_attempt(tmp_path: Path, micro_chat: Chat) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join([_line("a⊕b"), _line("a⊕b", "x" * 20_000), _line("a⊕b", said="e")]), encoding="utf-8")
    made = _collect(tmp_path / "out", path, micro_chat, difficulty={"origin": "pass_rate"})
    assert set(made.rejected) == {"verify_error", "wrong_answer"}
    [kept] = read_table(tmp_path / "out", Trace)
    assert (kept.difficulty, kept.difficulty_origin) == (0.5, "1 - pass rate over 2 attempts")


def test_a_source_without_a_row_is_named(tmp_path: Path, micro_chat: Chat) -> None:
    full, empty = tmp_path / "full.jsonl", tmp_path / "empty.jsonl"
    full.write_text(_line("a⊕b"), encoding="utf-8")
    empty.write_bytes(b"\n")
    sources = [(p.stem, JsonlSource(JsonlConfig(path=str(p)))) for p in (full, empty)]
    made = collect(tmp_path / "out", sources, CollectConfig(), micro_chat)
    assert made.info["empty_sources"] == ["empty"]
    assert "no row at all in: empty" in collect_summary(tmp_path / "out", made)


def test_parts_of_which_nothing_stays(tmp_path: Path, micro_chat: Chat) -> None:
    path = tmp_path / "rows.jsonl"
    lines = ["{", *[_line("a⊕b", said="e")] * 15, *[_line(f"{x}⊕b") for x in LETTERS], *["{"] * 9]
    path.write_text("\n".join(lines), encoding="utf-8")
    near = {"problems": 0.5, "traces": 0.5, "num_perm": 16}
    made = _collect(tmp_path / "out", path, micro_chat, near_duplicates=near)
    assert made.rows_in == 33 == made.rows_out + sum(made.rejected.values())
    assert made.rejected["malformed_json"] == 10
    path.write_text("{\n" * 20, encoding="utf-8")
    made = _collect(tmp_path / "none", path, micro_chat, near_duplicates=near, difficulty={"origin": "pass_rate"})
    assert (made.rows_out, made.rejected) == (0, {"malformed_json": 20})
