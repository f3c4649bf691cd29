"""Prediction and scoring on the tiny model: batches, seeds, resumption, statuses."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pytest

from long1k.benchmarks.micro import MicroBenchmark, MicroBenchmarkConfig
from long1k.chat import Chat
from long1k.errors import DataError, EngineError, RecipeError
from long1k.generation.base import Done, Engine, Job, Output, Sampling, Serving
from long1k.generation.record import FILE, open_record
from long1k.interop.predictions import import_predictions
from long1k.rows import Prediction, Score
from long1k.stages.predict import EngineSpec, predict
from long1k.stages.score import score
from long1k.summary import rows_line
from long1k.tables import keep_finished, read_manifest, read_rejected, read_table
from long1k.tokens import load_tokenizer
from long1k.training.config import ModelInit
from realdata import need_extra

need_extra("trl")
import torch  # noqa: E402

from long1k.generation.hf import TransformersConfig, TransformersEngine  # noqa: E402
from long1k.training.checkpoint import new_model  # noqa: E402
from long1k.training.saving import save_checkpoint  # noqa: E402


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("package:micro"))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory, chat: Chat) -> Path:
    """An untrained tiny model: its outputs are noise, which is what these tests need."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("model")
    model = new_model(ModelInit(hidden_size=32, num_heads=2, initializer_range=0.3), chat.tokenizer, chat.end_id)
    save_checkpoint(model, chat.tokenizer, chat.end_id, folder)
    return folder


def benchmark(count: int = 20, history: int = 0) -> MicroBenchmark:
    return MicroBenchmark(MicroBenchmarkConfig(count=count, history=history, steps=(1, 3)))


def arguments(checkpoint: Path, chat: Chat, batch_size: int = 8, **sampling: Any) -> dict[str, Any]:
    return {
        "checkpoint": checkpoint, "benchmark_name": "micro", "benchmark": benchmark(),
        "sampling": Sampling(**{"max_new_tokens": 12, **sampling}), "chat": chat,
        "engine": EngineSpec({"type": "transformers", "batch_size": batch_size}), "arm": "a", "train_seed": 0,
    }  # fmt: skip


def transformers_engine(checkpoint: Path, chat: Chat, batch_size: int = 8) -> TransformersEngine:
    return TransformersEngine(TransformersConfig(batch_size=batch_size), Serving(checkpoint, chat))


def drawn(engine: Engine, jobs: Sequence[Job], sampling: Sampling) -> list[Output]:
    outputs: list[Output] = []

    def done(output: Output) -> None:
        outputs.append(output)

    engine.run(jobs, sampling, done)
    return outputs


def texts(folder: Path) -> list[str]:
    return [row.text for row in read_table(folder, Prediction)]


def test_greedy_batches_give_what_one_by_one_generation_gives(checkpoint: Path, chat: Chat, tmp_path: Path) -> None:
    predict(tmp_path / "b8", **arguments(checkpoint, chat))
    predict(tmp_path / "b1", **arguments(checkpoint, chat, batch_size=1))
    assert texts(tmp_path / "b8") == texts(tmp_path / "b1")
    model = transformers_engine(checkpoint, chat)._model
    row = read_table(tmp_path / "b8", Prediction)[3]
    prompt = torch.tensor([row.prompt_token_ids])
    out = model.generate(
        input_ids=prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False,
        eos_token_id=chat.end_id, pad_token_id=0,
    )[0, prompt.shape[1] :].tolist()  # fmt: skip
    assert chat.tokenizer.decode(out) == row.text


def test_the_seed_of_a_sample_decides_it_in_any_batch(checkpoint: Path, chat: Chat, tmp_path: Path) -> None:
    hot = {"temperature": 1.0, "samples": 3}
    one = predict(tmp_path / "one", **arguments(checkpoint, chat, **hot))
    predict(tmp_path / "two", **arguments(checkpoint, chat, batch_size=5, **hot))
    predict(tmp_path / "other", **arguments(checkpoint, chat, seed=1, **hot))
    assert texts(tmp_path / "one") == texts(tmp_path / "two")
    assert texts(tmp_path / "one") != texts(tmp_path / "other")
    rows = read_table(tmp_path / "one", Prediction)
    assert len({row.seed for row in rows}) == len(rows) == 60
    assert one.info["equal_outputs"] == 60 - len({(row.problem_id, row.text) for row in rows})
    assert one.info["equal_outputs"] < 30  # the three samples of a question are not one and the same


def test_sampling_follows_the_softmax(checkpoint: Path, chat: Chat) -> None:
    """First-token frequencies over many seeds against the model's own probabilities."""
    engine = transformers_engine(checkpoint, chat, 500)
    prompt = chat.encode_prompt(next(iter(benchmark().load())).messages)
    with torch.inference_mode():
        expected = engine._model(torch.tensor([prompt])).logits[0, -1].float().softmax(-1)
    jobs = [Job(str(n), prompt, n, 1) for n in range(4000)]
    outputs = drawn(engine, jobs, Sampling(max_new_tokens=1, temperature=1.0))
    counts = torch.bincount(torch.tensor([o.token_ids[0] for o in outputs]), minlength=len(expected)) / 4000
    assert float((counts - expected).abs().sum()) / 2 < 0.08  # total variation; about 0.05 is noise at this size
    nucleus = drawn(engine, jobs[:200], Sampling(max_new_tokens=1, temperature=1.0, top_p=0.3))
    kept = {o.token_ids[0] for o in nucleus}
    ordered = expected.sort(descending=True)
    size = int((ordered.values.cumsum(0) < 0.3).sum()) + 1
    assert kept <= set(ordered.indices[:size].tolist())


class Dying:
    """An engine that is cut off after some outputs."""

    Config = TransformersConfig

    def __init__(self, engine: Engine, outputs: int) -> None:
        self.engine, self.left, self.name, self.max_positions = engine, outputs, engine.name, engine.max_positions
        self.drawn: list[str] = []

    def run(self, jobs: Sequence[Job], sampling: Sampling, done: Done, finished: Collection[str] = ()) -> None:
        def one(output: Output) -> Job | None:
            if len(self.drawn) == self.left:
                raise KeyboardInterrupt
            self.drawn.append(output.key)
            return done(output)

        self.engine.run(jobs, sampling, one, finished)

    def close(self) -> None:
        self.engine.close()


@pytest.mark.parametrize("outputs", [0, 8, 11, 19])
def test_stopped_prediction_resumes_to_the_same_table(
    checkpoint: Path, chat: Chat, tmp_path: Path, outputs: int
) -> None:
    whole = predict(tmp_path / "whole", **arguments(checkpoint, chat))
    engine = transformers_engine(checkpoint, chat)
    out = tmp_path / "stopped"
    with pytest.raises(KeyboardInterrupt):
        predict(out, **arguments(checkpoint, chat), start=lambda: Dying(engine, outputs))
    record = out / FILE
    with open_record(record) as kept:
        assert len(kept) == outputs
    with record.open("a") as handle:
        handle.write('{"key": "torn')
    again = Dying(engine, 99)
    assert predict(out, **arguments(checkpoint, chat), start=lambda: again).digest == whole.digest
    assert len(again.drawn) == 20 - outputs // 8 * 8  # whole batches are not drawn again
    assert not record.exists()


def test_a_start_that_fails_blocks_no_other_settings(checkpoint: Path, chat: Chat, tmp_path: Path) -> None:
    def fail() -> Any:
        raise EngineError("the server is down", "start it")

    with pytest.raises(EngineError):
        predict(tmp_path / "x", **arguments(checkpoint, chat), start=fail)
    engine = transformers_engine(checkpoint, chat)
    token = keep_finished.set(True)
    try:
        with pytest.raises(KeyboardInterrupt):
            predict(tmp_path / "x", **arguments(checkpoint, chat, temperature=0.5), start=lambda: Dying(engine, 8))
        with pytest.raises(DataError, match="unfinished work"):
            predict(tmp_path / "x", **arguments(checkpoint, chat))
    finally:
        keep_finished.reset(token)


def test_a_column_that_no_row_has_is_refused(tmp_path: Path) -> None:
    file = outputs_file(tmp_path / "out.jsonl")
    with pytest.raises(RecipeError, match=r"--field label=okk: no row(.|\n)*did you mean 'ok'"):
        import_predictions(tmp_path / "p", file, {"label": "okk"}, name="x", arm="run")
    with pytest.raises(RecipeError, match=r"--arm runs: no row(.|\n)*did you mean 'run'"):
        import_predictions(tmp_path / "p", file, {"label": "ok"}, name="x", arm="runs")
    assert not (tmp_path / "p").exists()


def test_outputs_of_one_question_and_sample_number_are_counted(tmp_path: Path) -> None:
    row = {"question": "q", "answer": "1", "response": "1", "sample": 0}
    lines = [json.dumps({**row, "model": name}) for name in "abc"]
    (tmp_path / "out.jsonl").write_text("\n".join(lines))
    assert import_predictions(tmp_path / "p", tmp_path / "out.jsonl", {}, name="x", arm=None).info["same_sample"] == 2
    told = import_predictions(tmp_path / "q", tmp_path / "out.jsonl", {}, name="x", arm="model")
    assert (told.info["same_sample"], len(told.info["arms"])) == (0, 3)


def test_too_long_for_the_model_is_refused_before_the_run(checkpoint: Path, chat: Chat, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="positions"):
        predict(tmp_path / "x", **arguments(checkpoint, chat, max_new_tokens=5000))


def test_training_prefix_is_the_inference_prompt(chat: Chat) -> None:
    for item in benchmark(5, history=2).load():
        answer = chat.write_answer("a⊕b=c.", "\\boxed{c}")
        from long1k.rows import Message

        whole = chat.encode_example(item.messages, [Message("assistant", answer)])
        prompt = chat.encode_prompt(item.messages)
        assert whole.ids[: len(prompt)] == prompt
        assert not any(whole.trained[: len(prompt)])
        assert all(whole.trained[len(prompt) :])


def outputs_file(path: Path) -> Path:
    rows = [
        {"question": "1+1", "answer": "2", "response": "so \\boxed{2}", "ok": True, "run": "r1"},
        {"question": "1+1", "answer": "2", "response": "so \\boxed{3}", "ok": False, "run": "r1"},
        {"question": "1+1", "answer": "2", "response": "<think>\\boxed{2} hmm", "ok": True, "run": "r1"},
        {"question": "1+2", "answer": "3", "response": "<think>x</think>no idea", "ok": False, "run": "r2"},
        {"question": "1+2", "answer": "3", "response": "cut", "finish_reason": "length", "ok": False, "run": "r2"},
        {"question": "1+2", "response": "no gold"},
        {"question": "1+2", "answer": float("nan"), "response": "3"},
        {"question": "1+2", "answer": "3", "response": "half \ud800"},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows) + "not json\n")
    return path


def test_statuses_and_labels_of_imported_outputs(tmp_path: Path) -> None:
    file = outputs_file(tmp_path / "out.jsonl")
    manifest = import_predictions(tmp_path / "p", file, {"label": "ok"}, name="x", arm="run")
    account = "9 rows in = 5 out + 4 rejected; 2 questions\n  rejected:\n            1  invalid_unicode\n"
    assert rows_line(manifest, "2 questions").startswith(account)
    assert (manifest.rows_in, manifest.rows_out) == (9, 5)
    reasons = [reject.reason for reject in read_rejected(tmp_path / "p")]
    assert reasons == ["missing_field", "missing_field", "invalid_unicode", "malformed_json"]
    scored = score(tmp_path / "s", tmp_path / "p")
    assert [row.status for row in read_table(tmp_path / "s", Score)] == [
        "correct", "wrong", "no_answer", "no_answer", "truncated",
    ]  # fmt: skip
    assert scored.info["label_agreement"] == pytest.approx(4 / 5)  # a box inside an unclosed thought is no answer
    rows = {row.prediction_id: row for row in read_table(tmp_path / "p", Prediction)}
    for one in read_table(tmp_path / "s", Score):
        if one.span is not None:
            assert rows[one.prediction_id].answer_text[one.span[0] : one.span[1]] == one.extracted  # type: ignore[index]
    before = (tmp_path / "s" / "manifest.json").stat().st_mtime_ns
    assert score(tmp_path / "s", tmp_path / "p").digest == read_manifest(tmp_path / "s").digest
    assert (tmp_path / "s" / "manifest.json").stat().st_mtime_ns == before


def test_the_models_own_generation_settings_do_not_leak_in(checkpoint: Path, chat: Chat, tmp_path: Path) -> None:
    import shutil

    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    config = folder / "generation_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "repetition_penalty": 30.0, "min_new_tokens": 12}))
    predict(tmp_path / "plain", **arguments(checkpoint, chat))
    predict(tmp_path / "penalty", **arguments(folder, chat))
    assert texts(tmp_path / "plain") == texts(tmp_path / "penalty")


def test_a_changed_model_configuration_is_another_model(checkpoint: Path, tmp_path: Path) -> None:
    import shutil

    from long1k.training.checkpoint import model_digest

    folder = tmp_path / "model"
    shutil.copytree(checkpoint, folder)
    assert model_digest(folder) == model_digest(checkpoint)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "rms_norm_eps": 0.5}))
    assert model_digest(folder) != model_digest(checkpoint)


def test_more_test_problems_than_there_are_is_an_error() -> None:
    from long1k.errors import RecipeError

    with pytest.raises(RecipeError, match="62 test problems"):
        list(MicroBenchmark(MicroBenchmarkConfig(count=500, steps=(1, 1))).load())


def test_failed_grades_are_neither_agreement_nor_disagreement(tmp_path: Path) -> None:
    rows = [
        {"question": "q", "answer": "", "response": "\\boxed{2}", "ok": False},  # no gold: cannot be graded
        {"question": "q", "answer": "2", "response": "\\boxed{2}", "ok": True},
    ]
    (tmp_path / "o.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_predictions(tmp_path / "p", tmp_path / "o.jsonl", {"label": "ok"}, name="x", arm=None)
    scored = score(tmp_path / "s", tmp_path / "p")
    assert [row.status for row in read_table(tmp_path / "s", Score)] == ["error", "correct"]
    assert (scored.info["labelled"], scored.info["label_agreement"]) == (1, 1.0)
