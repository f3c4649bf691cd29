"""Curves: outputs that are there, cut at smaller budgets, are graded as shorter runs would be."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from long1k.chat import Chat
from long1k.cli import app
from long1k.errors import DataError
from long1k.interop.predictions import import_predictions
from long1k.rows import Prediction, content_id
from long1k.stages.curve import CHART, CURVE, VERDICTS, curve
from long1k.stages.score import score
from long1k.tables import TableWriter, read_manifest, read_table
from long1k.tokens import load_tokenizer
from realdata import need_extra, real_data


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("package:micro"))


def row(chat: Chat, question: int, sample: int, text: str, gold: str = "c", **more: Any) -> Prediction:
    ids = (*chat.tokenizer.encode(text), chat.end_id)
    whole = chat.tokenizer.decode(ids)
    split = chat.split_answer(whole)
    values: dict[str, Any] = {
        "prediction_id": content_id("y", str(question), str(sample)), "problem_id": f"q{question}", "benchmark": "b",
        "question": "?", "answers": (gold,), "part_ids": (f"q{question}",), "arm": "a", "train_seed": 0,
        "checkpoint": "x", "sample_index": sample, "seed": 1, "prompt_token_ids": (1, 2), "text": whole,
        "token_ids": ids, "forced": (), "thinking": split.thinking, "answer_text": split.answer,
        "finish_reason": "stop", "budget_flag": "natural", "num_tokens": len(ids), "num_thinking_tokens": None,
        "num_answer_tokens": None, "engine": "e", "label": None,
    }  # fmt: skip
    return Prediction(**{**values, **more})


def table(folder: Path, rows: Sequence[Prediction], chat: Chat) -> Path:
    writer = TableWriter(folder, Prediction, stage="predict/3", config={"chat": chat.describe()}, inputs={})
    writer.write_part(0, list(rows))
    writer.commit(1, {"grader": "math", "tokenizer_folder": "package:micro"})
    return folder


def points(out: Path) -> list[dict[str, Any]]:
    (only,) = json.loads((out / CURVE).read_text())["curves"]
    found: list[dict[str, Any]] = only["points"]
    return found


def solved(chat: Chat, thinking_tokens: int, letter: str = "c") -> str:
    thinking = "a" * thinking_tokens
    assert len(chat.tokenizer.encode(thinking)) == thinking_tokens
    return chat.write_answer(thinking, f"\\boxed{{{letter}}}")


def test_a_cut_is_graded_as_it_stands(chat: Chat, tmp_path: Path) -> None:
    """Of 10 questions each thinks one token longer; the opening tag is a token, tag and answer behind are five."""
    size = len(chat.tokenizer.encode(solved(chat, 0)))
    rows = [row(chat, n, 0, solved(chat, n, "c" if n != 3 else "d")) for n in range(10)]
    out = tmp_path / "out"
    manifest = curve(out, table(tmp_path / "p", rows, chat), budgets=[size + 5, size, size + 100], chat=chat)
    assert manifest.rows_out == 40
    first, second, third, whole = points(out)
    assert [p["budget_tokens"] for p in (first, second, third, whole)] == [size, size + 5, size + 100, None]
    # Without its end token an answer is whole: an output of n more tokens fits a budget of n more.
    assert [p["statuses"] for p in (first, second)] == [
        {"correct": 1, "truncated": 9}, {"correct": 5, "wrong": 1, "truncated": 4},
    ]  # fmt: skip
    assert third == {**whole, "budget_tokens": size + 100}
    assert whole["statuses"] == {"correct": 9, "wrong": 1}
    assert whole["mean_tokens"] == size + 1 + 4.5
    assert first["mean_tokens"] == size
    assert second["mean_tokens"] == pytest.approx((sum(range(5)) + 5 * 5) / 10 + size + 1 - 0.5)
    assert [p["cut"] for p in (first, second, third, whole)] == [10, 5, 0, 0]
    assert second["accuracy"]["estimate"] == 0.5
    assert second["accuracy"]["low"] < 0.5 < second["accuracy"]["high"]
    verdicts = pq.read_table(out / VERDICTS).to_pylist()
    assert len(verdicts) == 40
    assert sum(v["status"] == "correct" for v in verdicts if v["budget_tokens"] == size + 5) == 5
    assert (out / CHART).read_text().startswith("<svg")


def test_budgets_of_thinking_leave_short_thinkers_alone(chat: Chat, tmp_path: Path) -> None:
    rows = [row(chat, n, 0, solved(chat, n)) for n in range(10)]
    rows.append(row(chat, 10, 0, "\\boxed{c}"))  # no thinking at all
    out = tmp_path / "out"
    curve(out, table(tmp_path / "p", rows, chat), budgets=[4], chat=chat, tokens_of="thinking")
    four, whole = points(out)
    assert four["statuses"] == {"correct": 5, "truncated": 6}  # the opening tag counts as thought: 0 to 3, and none
    assert whole["statuses"] == {"correct": 11}


def test_outputs_under_a_budget_are_noted(chat: Chat, tmp_path: Path) -> None:
    rows = [row(chat, n, 0, solved(chat, 9), forced=(10, 12) if n < 3 else ()) for n in range(8)]
    out = tmp_path / "out"
    folder = table(tmp_path / "p", rows, chat)
    curve(out, folder, budgets=[10, 11], chat=chat)
    assert [p["forced"] for p in points(out)] == [0, 3, 3]
    said = CliRunner().invoke(app, ["curve", str(folder), "--budgets", "10, 11", "--out", str(out)])
    assert said.exit_code == 0, said.output
    assert "3 of these outputs were drawn under a budget" in said.output


def test_thinking_that_the_prompt_opened_is_no_answer_when_cut(chat: Chat, tmp_path: Path) -> None:
    text = "\\boxed{c} hm" + chat.style.close + "\\boxed{c}"
    rows = [row(chat, n, 0, text) for n in range(4)]
    curve(tmp_path / "out", table(tmp_path / "p", rows, chat), budgets=[5], chat=chat)
    five, whole = points(tmp_path / "out")
    assert five["statuses"] == {"truncated": 4}
    assert whole["statuses"] == {"correct": 4}


def test_intervals_are_over_questions_not_samples(chat: Chat, tmp_path: Path) -> None:
    one = [row(chat, n, 0, solved(chat, 2, "c" if n % 2 else "d")) for n in range(10)]
    many = [replace(r, prediction_id=f"{r.prediction_id}-{s}", sample_index=s) for r in one for s in range(50)]
    curve(tmp_path / "one", table(tmp_path / "p1", one, chat), budgets=[99], chat=chat)
    curve(tmp_path / "many", table(tmp_path / "p50", many, chat), budgets=[99], chat=chat)
    assert points(tmp_path / "one")[0]["accuracy"] == points(tmp_path / "many")[0]["accuracy"]
    seeds = [replace(r, prediction_id=r.prediction_id + str(s), train_seed=s) for r in one for s in range(3)]
    curve(tmp_path / "seeds", table(tmp_path / "p3", seeds, chat), budgets=[99], chat=chat)
    assert points(tmp_path / "seeds")[0]["accuracy"]["num_seeds"] == 3
    curve(tmp_path / "gap", table(tmp_path / "p4", seeds[:-1], chat), budgets=[99], chat=chat)
    assert points(tmp_path / "gap")[0]["accuracy"]["num_seeds"] == 1


def test_equal_answers_are_graded_once(chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from long1k.grading import math

    asked: list[tuple[str, str]] = []
    decide = math.decide

    def watched(gold: str, answer: str) -> Any:
        asked.append((gold, answer))
        return decide(gold, answer)

    monkeypatch.setattr(math, "decide", watched)
    rows = [row(chat, n, s, solved(chat, n, "cd"[s % 2])) for n in range(5) for s in range(4)]
    curve(tmp_path / "out", table(tmp_path / "p", rows, chat), budgets=[8, 9, 10, 20], chat=chat)
    assert sorted(asked) == [("c", "c"), ("c", "d")]


def test_a_finished_curve_is_left_alone(chat: Chat, tmp_path: Path) -> None:
    folder = table(tmp_path / "p", [row(chat, n, 0, solved(chat, n)) for n in range(3)], chat)
    first = curve(tmp_path / "out", folder, budgets=[4, 8], chat=chat)
    written = (tmp_path / "out" / CURVE).stat().st_mtime_ns
    assert curve(tmp_path / "out", folder, budgets=[8, 4, 4], chat=chat) == first
    assert (tmp_path / "out" / CURVE).stat().st_mtime_ns == written
    assert read_manifest(tmp_path / "out").stage == "curve/1"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--budgets", "10,x"], "expected numbers"),
        (["--budgets", "0"], "at least one token"),
        (["--budgets", "10", "--tokens-of", "answers"], "give total or thinking"),
    ],
)
def test_what_makes_no_curve_is_refused(chat: Chat, tmp_path: Path, arguments: list[str], said: str) -> None:
    folder = table(tmp_path / "p", [row(chat, 0, 0, solved(chat, 1))], chat)
    done = CliRunner().invoke(app, ["curve", str(folder), *arguments, "--out", str(tmp_path / "out")])
    assert said in str(done.exception)


def test_imported_outputs_are_counted_in_a_given_tokenizer(tmp_path: Path) -> None:
    text = "<think>" + "one two three " * 20 + "</think>so \\boxed{4}"
    lines = [{"question": f"q{n}", "answer": "4", "response": text} for n in range(6)]
    (tmp_path / "o.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    import_predictions(tmp_path / "p", tmp_path / "o.jsonl", {}, name="x", arm=None)
    words = ["curve", str(tmp_path / "p"), "--budgets", "30,100", "--out", str(tmp_path / "out")]
    refused = CliRunner().invoke(app, words)
    assert isinstance(refused.exception, DataError)
    assert "--tokenizer" in str(refused.exception)
    done = CliRunner().invoke(app, [*words, "--tokenizer", str(real_data("tokenizer_qwen2"))])
    assert done.exit_code == 0, done.output
    assert [p["statuses"] for p in points(tmp_path / "out")] == [{"truncated": 6}, {"correct": 6}, {"correct": 6}]


@pytest.mark.parametrize("temperature", [0.0, 1.2])
def test_a_cut_is_what_a_shorter_run_gives(chat: Chat, tmp_path: Path, temperature: float) -> None:
    need_extra("trl")
    import torch

    from long1k.benchmarks.micro import MicroBenchmark, MicroBenchmarkConfig
    from long1k.generation.base import Sampling
    from long1k.stages.predict import EngineSpec, predict
    from long1k.training.checkpoint import new_model
    from long1k.training.config import ModelInit
    from long1k.training.saving import save_checkpoint

    torch.set_num_threads(1)
    model = new_model(ModelInit(hidden_size=32, num_heads=2, initializer_range=0.3), chat.tokenizer, chat.end_id)
    save_checkpoint(model, chat.tokenizer, chat.end_id, tmp_path / "model")

    def run(tokens: int) -> Path:
        out = tmp_path / f"p{tokens}"
        predict(
            out, checkpoint=tmp_path / "model", benchmark_name="micro", chat=chat, arm="a", train_seed=0,
            benchmark=MicroBenchmark(MicroBenchmarkConfig(count=20)), engine=EngineSpec({"type": "transformers"}),
            sampling=Sampling(max_new_tokens=tokens, temperature=temperature, samples=2),
        )  # fmt: skip
        return out

    long, short = run(40), run(11)
    assert [r.token_ids for r in read_table(short, Prediction)] == [
        r.token_ids[:11] for r in read_table(long, Prediction)
    ]
    scored = score(tmp_path / "scores", long)
    curve(tmp_path / "long", long, budgets=[11], chat=chat)
    assert points(tmp_path / "long")[1]["statuses"] == scored.info["statuses"]  # uncut, they are graded as ever
    curve(tmp_path / "short", short, budgets=[11], chat=chat)
    mine, theirs = points(tmp_path / "long")[0], points(tmp_path / "short")[0]
    assert {**mine, "cut": 0} == {**theirs, "cut": 0}
