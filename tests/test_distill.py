"""A teacher's traces: every output kept, verdicts, pass rates, and on to samples of the same problems."""

from __future__ import annotations

import json
import random
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from long1k.arm_kinds import SameProblems
from long1k.arms import same_problems_arms
from long1k.benchmarks.micro import MicroBenchmark, MicroBenchmarkConfig
from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.distill import distill, judge, read_problems
from long1k.errors import DataError
from long1k.generation.base import Done, Engine, Job, Output, Sampling
from long1k.interop.predictions import import_predictions
from long1k.micro import OPERATOR, MicroProblem, write_thinking
from long1k.rows import Example, Prediction, Score, Trace
from long1k.sources.distilled import DistilledConfig, DistilledSource
from long1k.stages.collect import collect
from long1k.stages.distill import DistillConfig
from long1k.stages.predict import EngineSpec
from long1k.stages.synthesize import synthesize
from long1k.tables import read_manifest, read_rejected, read_table
from long1k.tokens import load_tokenizer
from realdata import need_extra, real_data
from scripted import letters

need_extra("trl")

SAMPLES = 8


class Teacher:
    """Solves micro problems at several lengths; sometimes wrong, cut, or without an end to its thinking."""

    name, max_positions = "teacher 1", None

    def __init__(self, chat: Chat, stop_after: int | None = None) -> None:
        self.chat, self.left, self.drawn = chat, stop_after, 0

    def run(self, jobs: Sequence[Job], sampling: Sampling, done: Done, finished: Collection[str] = ()) -> None:
        for job in jobs:
            if job.key in finished:
                continue
            if self.drawn == self.left:
                raise KeyboardInterrupt
            self.drawn += 1
            done(self.draw(job))

    def draw(self, job: Job) -> Output:
        asked = self.chat.tokenizer.decode(job.prompt_ids)
        start = asked.index(OPERATOR) - 1
        symbols = asked[start:].replace(OPERATOR, " ").split("<")[0].split()
        problem = MicroProblem(1, tuple(symbols))
        rng = random.Random(job.seed)
        fate, repeats = rng.random(), rng.choice([1, 2, 4])
        thinking = " ".join(write_thinking(problem, rng, check=1.0) for _ in range(repeats))
        answer = problem.solve()[-1]
        if fate < 0.2:
            answer = "a" if answer != "a" else "b"
        text = self.chat.write_answer(thinking, f"\\boxed{{{answer}}}")
        if 0.2 < fate < 0.3:
            return Output(job.key, self.chat.tokenizer.encode(text)[:6], "length")
        if 0.3 < fate < 0.4:
            return Output(job.key, [*self.chat.tokenizer.encode(f"<think>\n{thinking}"), self.chat.end_id], "stop")
        return Output(job.key, [*self.chat.tokenizer.encode(text), self.chat.end_id], "stop")

    def close(self) -> None:
        return


class PlainTeacher(Teacher):
    """Thinks without tags, and ends as its template says."""

    def draw(self, job: Job) -> Output:
        text = "We add.\n\nThe final answer is \\boxed{a}."
        return Output(job.key, [*self.chat.tokenizer.encode(text), self.chat.end_id], "stop")


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("package:micro"))


@pytest.fixture
def model(tmp_path: Path, chat: Chat) -> Path:
    """A folder that stands for a teacher's: its engine reads nothing of it."""
    folder = tmp_path / "teacher"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "x"}')
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder


def arguments(model: Path, chat: Chat, count: int = 12) -> dict[str, Any]:
    return {
        "model": model, "benchmark_name": "micro", "chat": chat, "engine": EngineSpec({"type": "transformers"}),
        "benchmark": MicroBenchmark(MicroBenchmarkConfig(count=count, steps=(1, 3))),
        "sampling": Sampling(samples=SAMPLES, temperature=1.0, max_new_tokens=64),
        "config": DistillConfig(license="MIT"),
    }  # fmt: skip


def test_a_problem_set_becomes_a_pool_and_samples_of_the_same_problems(model: Path, chat: Chat, tmp_path: Path) -> None:
    out = tmp_path / "out"
    made = distill(out, **arguments(model, chat), start=lambda: Teacher(chat))
    traces, predictions = read_table(out / "traces", Trace), read_table(out / "predictions", Prediction)
    statuses = {one.prediction_id: one.status for one in read_table(out / "scores", Score)}
    assert (made.rows_in, len(predictions), made.info["problems"]) == (96, 96, 12)
    assert set(made.rejected) == {"truncated", "unclosed_thinking"}
    assert {one.correct for one in traces} == {True, False}
    assert {one.license for one in traces} == {"MIT"}
    by_id = {row.prediction_id: row for row in predictions}
    for trace in traces:
        row = by_id[trace.source_row]  # the way back: seed, finish_reason, ids
        assert trace.correct == (statuses[row.prediction_id] == "correct")
        assert (trace.question, trace.teacher, trace.thinking) == (
            row.question,
            "teacher",
            (row.thinking or "").strip(),
        )
        own = [statuses[one.prediction_id] for one in predictions if one.question == trace.question]
        assert trace.difficulty == pytest.approx(1 - own.count("correct") / SAMPLES)
        assert trace.difficulty_origin == f"1 - pass rate of teacher, {SAMPLES} attempts"
        assert trace.num_thinking_tokens == len(chat.tokenizer.encode(trace.thinking))
    info = made.info
    assert sum(info["pass_rates"].values()) == 12
    assert info["tokens"] == sum(row.num_tokens or 0 for row in predictions)
    assert info["cut"] == sum(row.finish_reason == "length" for row in predictions) == made.rejected["truncated"]
    lengths: dict[str, list[int]] = {}
    for trace in traces:
        if trace.correct:
            lengths.setdefault(trace.question, []).append(trace.num_thinking_tokens + trace.num_solution_tokens)
    several = [held for held in lengths.values() if len(held) > 1]
    assert (info["several_correct"], info["different_lengths"]) == (
        len(several), sum(max(held) >= 1.5 * min(held) for held in several),
    )  # fmt: skip

    source = DistilledSource(DistilledConfig(path=str(out)))
    pool = collect(tmp_path / "pool", [("distilled", source)], CollectConfig(), chat)
    rows = read_table(tmp_path / "pool", Trace)
    assert pool.rows_in == made.rows_out
    assert set(pool.rejected) <= {"wrong_answer", "duplicate"}
    assert "wrong_answer" in pool.rejected
    assert {(one.difficulty, one.difficulty_origin, one.license, one.teacher) for one in rows} <= {
        (one.difficulty, one.difficulty_origin, one.license, one.teacher) for one in traces
    }
    arms = same_problems_arms(SameProblems(kind="same_problems", sets=2, samples=5), None)
    sets = []
    for arm in arms:
        synthesize(tmp_path / arm.name, tmp_path / "pool", arm=arm.name, specs=arm.specs, seed=3, chat=chat)
        sets.append({one.problem_ids[0]: one.num_tokens for one in read_table(tmp_path / arm.name, Example)})
    assert sets[0].keys() == sets[1].keys()
    assert len(sets[0]) == 5
    assert all(sets[0][problem] < sets[1][problem] for problem in sets[0])


def test_no_end_token_is_left_in_a_trace_without_tags(model: Path, tmp_path: Path) -> None:
    chat, out = letters(), tmp_path / "out"
    distill(out, **arguments(model, chat), start=lambda: PlainTeacher(chat))
    assert {row.text[-len(chat.end_token) :] for row in read_table(out / "predictions", Prediction)} == {chat.end_token}
    traces = read_table(out / "traces", Trace)
    assert {(one.thinking, one.solution) for one in traces} == {("We add.", "The final answer is \\boxed{a}.")}


def test_a_stopped_teacher_goes_on_and_a_finished_one_is_left_alone(model: Path, chat: Chat, tmp_path: Path) -> None:
    whole = distill(tmp_path / "whole", **arguments(model, chat), start=lambda: Teacher(chat))
    with pytest.raises(KeyboardInterrupt):
        distill(tmp_path / "cut", **arguments(model, chat), start=lambda: Teacher(chat, 40))
    again = Teacher(chat)
    made = distill(tmp_path / "cut", **arguments(model, chat), start=lambda: again)
    assert (made.digest, again.drawn) == (whole.digest, 96 - 40)

    def never() -> Engine:
        raise AssertionError("nothing was left to draw")

    assert distill(tmp_path / "cut", **arguments(model, chat), start=never).created == made.created


def test_wrong_solutions_are_rejected_on_request(model: Path, chat: Chat, tmp_path: Path) -> None:
    distill(tmp_path / "a", **arguments(model, chat), start=lambda: Teacher(chat))
    wrong = sum(trace.correct is False for trace in read_table(tmp_path / "a" / "traces", Trace))
    made = judge(tmp_path / "b", tmp_path / "a" / "predictions", DistillConfig(wrong="reject"), chat)
    assert made.rejected["wrong_answer"] == wrong > 0
    assert all(trace.correct for trace in read_table(tmp_path / "b" / "traces", Trace))
    (evidence, *_) = [one.evidence for one in read_rejected(tmp_path / "b" / "traces") if one.reason == "wrong_answer"]
    assert "gold" in evidence
    assert "seed" in evidence
    other = judge(tmp_path / "c", tmp_path / "a" / "predictions", DistillConfig(teacher="R1"), chat)
    assert other.info["pass_rates"] == made.info["pass_rates"]
    assert {trace.teacher for trace in read_table(tmp_path / "c" / "traces", Trace)} == {"R1"}


def test_each_teacher_has_a_pass_rate_of_its_own(micro_chat: Chat, tmp_path: Path) -> None:
    rows = [
        {"question": "a⊕b", "answer": "c", "response": f"<think>a⊕b=c.</think>\\boxed{{{said}}}", "run": run}
        for run, answers in (("weak", "cda"), ("strong", "ccc"))
        for said in answers
    ]
    (tmp_path / "o.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_predictions(tmp_path / "p", tmp_path / "o.jsonl", {}, name="x", arm="run")
    made = judge(tmp_path / "d", tmp_path / "p", DistillConfig(), micro_chat)
    assert (made.info["problems"], made.info["teachers"], made.info["solved"]) == (1, 2, 1)
    origins = {
        trace.teacher: (trace.difficulty, trace.difficulty_origin)
        for trace in read_table(tmp_path / "d" / "traces", Trace)
    }
    assert origins == {
        "weak": (pytest.approx(2 / 3), "1 - pass rate of weak, 3 attempts"),
        "strong": (0.0, "1 - pass rate of strong, 3 attempts"),
    }
    assert made.info["tokens"] > 0


def test_problems_of_any_file(tmp_path: Path) -> None:
    rows = [{"Frage": "1+1?", "answer": 2}, {"Frage": " 1+1? ", "answer": "2"}, {"Frage": "1+1?", "answer": "3"},
            {"Frage": "half \ud800", "answer": "1"}, {"Frage": None, "answer": "1"}, {"Frage": "2+2?", "answer": "4"}]  # fmt: skip
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows) + "{\n")
    found = read_problems(tmp_path / "a.jsonl", tmp_path / "o" / "problems.jsonl", {"question": "Frage"})
    lines = [json.loads(line) for line in found.path.read_text().splitlines()]
    assert lines == [{"problem": "1+1?", "answer": "2"}, {"problem": "2+2?", "answer": "4"}]
    assert [one.reason for one in found.rejected] == [
        "duplicate", "two_answers", "invalid_unicode", "missing_field", "malformed_json",
    ]  # fmt: skip
    pq.write_table(pa.table({"problem": ["a", "b", "c"], "answer": ["1", "2", "3"]}), tmp_path / "b.parquet")
    assert read_problems(tmp_path / "b.parquet", tmp_path / "p.jsonl", {}, limit=2).count == 2
    with pytest.raises(DataError, match="no problem with an answer"):
        read_problems(tmp_path / "b.parquet", tmp_path / "p.jsonl", {"answer": "gold"})


def test_the_command_distils_with_a_tiny_model(tmp_path: Path, chat: Chat) -> None:
    from typer.testing import CliRunner

    from long1k.cli import app
    from long1k.training.checkpoint import new_model
    from long1k.training.config import ModelInit
    from long1k.training.saving import save_checkpoint

    model = new_model(ModelInit(hidden_size=16, num_heads=1, initializer_range=0.3), chat.tokenizer, chat.end_id)
    save_checkpoint(model, chat.tokenizer, chat.end_id, tmp_path / "tiny")
    (tmp_path / "q.jsonl").write_text('{"question": "a⊕b", "answer": "c"}\n{"question": "b⊕b", "answer": "d"}\n')
    done = CliRunner().invoke(
        app, ["distill", str(tmp_path / "q.jsonl"), "--model", str(tmp_path / "tiny"), "--set", "samples=3", "--set",
              "temperature=1", "--set", "max_new_tokens=8", "--option", 'instruction=""', "--license", "MIT", "--threads",
              "1", "--out", str(tmp_path / "out")],
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "2 problems, 6 outputs" in done.output
    manifest = read_manifest(tmp_path / "out" / "traces")
    assert manifest.rows_in == 6 == manifest.rows_out + sum(manifest.rejected.values())


def test_pass_rates_and_lengths_of_recorded_rollouts(qwen_chat: Chat, tmp_path: Path) -> None:
    """Every 8th of 1,240 published rollouts of four problems, against their authors' verdicts."""
    import gzip

    with gzip.open(real_data("traces", "math_4problems_many_rollouts.jsonl.gz"), "rt") as handle:
        rows = [json.loads(line) for line in handle][::8]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_predictions(tmp_path / "p", tmp_path / "rows.jsonl", {"label": "is_correct"}, name="r1", arm=None)
    made = judge(tmp_path / "o", tmp_path / "p", DistillConfig(teacher="R1-14B"), qwen_chat)
    assert made.info["problems"] == len({row["problem"] for row in rows}) == 4
    assert made.rows_in == len(rows) == 155
    by_problem: dict[str, list[bool]] = {}
    for row in rows:
        by_problem.setdefault(row["problem"].strip(), []).append(bool(row["is_correct"]))
    rates = {
        trace.question.strip(): 1 - (trace.difficulty or 0) for trace in read_table(tmp_path / "o" / "traces", Trace)
    }
    assert rates.keys() == by_problem.keys()
    for problem, labels in by_problem.items():
        assert rates[problem] == pytest.approx(sum(labels) / len(labels), abs=0.06)
    assert made.info["several_correct"] == made.info["different_lengths"] == 4
