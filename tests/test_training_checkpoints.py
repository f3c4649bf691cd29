"""Checkpoints proven from their files, runs that are stopped, changed, or out of room: nothing broken looks whole."""

from __future__ import annotations

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from long1k import cli
from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.errors import DataError, EngineError, StoppedError
from long1k.joining.spec import JoinSpec
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.stages.collect import collect
from long1k.stages.synthesize import synthesize
from long1k.stages.train import train
from long1k.tables import MANIFEST, Manifest, changes, keep_finished, read_manifest
from long1k.tokens import load_tokenizer
from long1k.training.config import ModelInit, TrainConfig
from realdata import need_extra

need_extra("trl")
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from long1k.training import launch, proof, saving  # noqa: E402
from long1k.training.checkpoint import load_model, new_model, weights_digest  # noqa: E402
from long1k.training.proof import prove_checkpoint, read_tensors  # noqa: E402
from long1k.training.resumable import COMPLETE, checkpoints, explained, is_whole, last_whole, mark_whole, remove_old  # noqa: E402
from long1k.training.saving import SaveSettings, check_changed, save_checkpoint, weight_norms  # noqa: E402
from long1k.training.signals import current_stop, stoppable  # noqa: E402

TINY = ModelInit(hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, max_positions=256)
CONFIG = TrainConfig(steps=6, batch_size=4, learning_rate=1e-2)
OnLog = Callable[[int, int, dict[str, float]], None]


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("package:micro"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, chat: Chat) -> Path:
    root = tmp_path_factory.mktemp("data")
    collect(root / "pool", [("micro", MicroSource(MicroConfig(count=300)))], CollectConfig(), chat)
    spec = JoinSpec(target=26, samples=12, num_problems=(1, 8), layout="turns", linkers="micro", tolerance=0.1)
    synthesize(root / "examples", root / "pool", arm="a", specs=[spec], seed=0, chat=chat)
    return root / "examples"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, data: Path, chat: Chat) -> Path:
    """A trained model to start from."""
    out = tmp_path_factory.mktemp("base") / "model"
    train(out, data, model=TINY, config=CONFIG, seed=0, chat=chat)
    return out


def fresh(chat: Chat) -> Any:
    return new_model(TINY, chat.tokenizer, chat.end_id)


def run(out: Path, data: Path, chat: Chat, on_log: OnLog | None = None, **settings: Any) -> Manifest:
    config = TrainConfig.model_validate({**CONFIG.model_dump(), **settings})
    return train(out, data, model=TINY, config=config, seed=0, chat=chat, on_log=on_log)


# --- the proof --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, chat: Chat) -> tuple[Path, dict[str, Any], dict[str, Any]]:
    """A checkpoint in several files, the weights it was written from, and what was proven of it."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    model = fresh(chat)
    record = save_checkpoint(model, chat.tokenizer, chat.end_id, folder, SaveSettings(shard_size="40KB"))
    return folder, model.state_dict(), record


def test_what_is_proven_stands_in_the_record(saved: tuple[Path, dict[str, Any], dict[str, Any]], chat: Chat) -> None:
    folder, state, record = saved
    assert len(list(folder.glob("model-*.safetensors"))) > 2
    assert record["dtype"] == "float32"
    assert record["tied"] is True
    assert "lm_head.weight" not in dict(read_tensors(folder))
    assert record["generation"].startswith("checked: 8 tokens, the same")
    whole = torch.cat([value.flatten() for name, value in state.items() if name != "lm_head.weight"])
    assert record["bytes"] == 4 * whole.numel()
    assert record["norm"] == pytest.approx(float(whole.double().norm()))
    again = load_model(folder).state_dict()
    assert all(torch.equal(again[name], value) for name, value in state.items())
    assert not (folder / saving.STAGING).exists()


def _change_tensor(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = sorted(folder.glob("model-*.safetensors"))[1]
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def _edit(folder: Path, name: str, key: str, value: Any) -> None:
    stored = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps({**stored, key: value}))


def _cut(folder: Path) -> None:
    path = sorted(folder.glob("model-*.safetensors"))[0]
    path.write_bytes(path.read_bytes()[:-100])


def _flip(tensors: dict[str, Any]) -> None:
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[0] += 1e-4


def _nan(tensors: dict[str, Any]) -> None:
    name = sorted(tensors)[0]
    tensors[name] = torch.full_like(tensors[name], float("nan"))


def _drop(tensors: dict[str, Any]) -> None:
    del tensors[sorted(tensors)[0]]


def _halve(tensors: dict[str, Any]) -> None:
    name = sorted(tensors)[0]
    tensors[name] = tensors[name].bfloat16()


def _reshape(tensors: dict[str, Any]) -> None:
    name = sorted(tensors)[0]
    tensors[name] = tensors[name][None].clone()


def _forget_shard(folder: Path) -> None:
    """As if the last file had never been made: the index does not know of it either."""
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    last = sorted(set(index["weight_map"].values()))[-1]
    index["weight_map"] = {name: file for name, file in index["weight_map"].items() if file != last}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "bit": (lambda f: _change_tensor(f, _flip), "differs from the trained one"),
    "nan": (lambda f: _change_tensor(f, _nan), "is not finite"),
    "dropped": (lambda f: _change_tensor(f, _drop), "other tensors than its index"),
    "type": (lambda f: _change_tensor(f, _halve), r"is torch\.bfloat16, not torch\.float32"),
    "shape": (lambda f: _change_tensor(f, _reshape), "has shape"),
    "cut": (_cut, "cannot be read"),
    "no shard": (lambda f: sorted(f.glob("model-*.safetensors"))[0].unlink(), "cannot be read"),
    "forgotten": (_forget_shard, "was not written"),
    "end token": (lambda f: _edit(f, "generation_config.json", "eos_token_id", 7), "ends at 7"),
    "template": (lambda f: (f / "chat_template.jinja").write_text("{{ messages }}") and None, "chat template"),
    "tokenizer": (lambda f: _edit(f, "tokenizer.json", "version", "2.0"), "tokenizer"),
    "layers": (lambda f: _edit(f, "config.json", "num_hidden_layers", 3), "cannot load"),
    "width": (lambda f: _edit(f, "config.json", "intermediate_size", 128), "cannot load it"),
    "untied": (lambda f: _edit(f, "config.json", "tie_word_embeddings", False), "missing keys"),
    "norm": (lambda f: _edit(f, "config.json", "rms_norm_eps", 9.0), "loaded again, it generates"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_of_every_kind_is_found(
    kind: str, saved: tuple[Path, dict[str, Any], dict[str, Any]], chat: Chat, tmp_path: Path
) -> None:
    folder, state, _ = saved
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    model = load_model(folder)
    answer = proof.generate(model, [5, 6, 7], 0)
    arguments: dict[str, Any] = {"dtype": torch.float32, "expected": state, "prompt": [5, 6, 7], "answer": answer}
    prove_checkpoint(copy, chat.tokenizer, chat.end_id, **arguments)
    damage, message = DAMAGE[kind]
    damage(copy)
    with pytest.raises((EngineError, DataError), match=message):
        prove_checkpoint(copy, chat.tokenizer, chat.end_id, **arguments)


def test_a_failed_proof_leaves_what_was_there(chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "model"
    save_checkpoint(fresh(chat), chat.tokenizer, chat.end_id, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    other = fresh(chat)
    with torch.no_grad():
        other.get_input_embeddings().weight.mul_(2)

    def broken(*_: Any, **__: Any) -> dict[str, Any]:
        raise EngineError("the disk lies")

    with monkeypatch.context() as patch:
        patch.setattr(saving, "prove_checkpoint", broken)
        with pytest.raises(EngineError, match="the disk lies"):
            save_checkpoint(other, chat.tokenizer, chat.end_id, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    # With a sound disk the new one takes its place, in several files where there was one.
    save_checkpoint(other, chat.tokenizer, chat.end_id, folder, SaveSettings(shard_size="40KB"))
    assert not (folder / "model.safetensors").exists()
    assert torch.equal(load_model(folder).get_input_embeddings().weight, other.get_input_embeddings().weight)


def test_bf16_training_writes_bf16_weights(data: Path, chat: Chat, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    out = tmp_path / "out"
    manifest = run(out, data, chat, precision="bf16")
    assert manifest.info["checkpoint"]["dtype"] == "bfloat16"
    assert {value.dtype for _, value in read_tensors(out)} == {torch.bfloat16}
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"
    assert AutoModelForCausalLM.from_pretrained(out).dtype == torch.bfloat16
    assert manifest.info["checkpoint"]["trained_tensors_unchanged"] == 0


def test_full_tensors_of_shards_give_the_same_files(chat: Chat, tmp_path: Path) -> None:
    """Where the model is spread over ranks, one rank writes from the gathered tensors; in bf16 too."""
    for precision in ("fp32", "bf16"):
        whole = fresh(chat)
        state = {name: value.clone() for name, value in whole.state_dict().items()}  # tied weights come twice
        hollow = fresh(chat)
        for value in hollow.parameters():
            value.data = torch.empty(0)
        settings = SaveSettings(precision)
        save_checkpoint(whole, chat.tokenizer, chat.end_id, tmp_path / "one" / precision, settings)
        record = save_checkpoint(hollow, chat.tokenizer, chat.end_id, tmp_path / "two" / precision, settings, state)
        assert record["tied"] is True
        assert record["generation"] == "checked: 8 tokens"
        assert weights_digest(tmp_path / "one" / precision) == weights_digest(tmp_path / "two" / precision)


def test_a_model_too_large_to_load_twice_is_said_not_to_have_generated(
    chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proof, "free_memory", lambda: 1e5)
    record = save_checkpoint(fresh(chat), chat.tokenizer, chat.end_id, tmp_path / "model")
    assert record["generation"].startswith("not checked: 0.0 GiB of weights")
    assert record["bytes"] > 9e4


def test_weights_that_training_did_not_move_are_an_error(chat: Chat) -> None:
    model = fresh(chat)
    start = weight_norms(model.named_parameters())
    with pytest.raises(EngineError, match="changed not one of 26 tensors"):
        check_changed(start, model.named_parameters())
    # On another device the same sums have other last digits.
    moved = {name: norm * (1 + 1e-15) for name, norm in start.items()}
    with pytest.raises(EngineError, match="changed not one of 26 tensors"):
        check_changed(moved, model.named_parameters())
    with torch.no_grad():
        model.get_input_embeddings().weight[0, 0] += 1e-3
    assert check_changed(start, model.named_parameters()) == {"trained_tensors": 26, "trained_tensors_unchanged": 25}


# --- checkpoints to go on from ----------------------------------------------------------------------------


def _checkpoint(work: Path, step: int) -> Path:
    folder = work / f"checkpoint-{step}"
    (folder / "deep").mkdir(parents=True)
    (folder / "weights").write_bytes(b"w" * step)
    (folder / "deep" / "rng").write_bytes(b"r")
    return folder


def test_a_checkpoint_counts_only_while_all_its_files_are_there(tmp_path: Path) -> None:
    for step in (5, 10, 200):
        mark_whole(_checkpoint(tmp_path, step), {"metrics": []})
    _checkpoint(tmp_path, 300)  # killed before the mark
    assert last_whole(tmp_path) == tmp_path / "checkpoint-200"
    assert not (tmp_path / "checkpoint-300").exists()
    (tmp_path / "checkpoint-200" / "weights").write_bytes(b"w")  # cut in a power failure
    assert last_whole(tmp_path) == tmp_path / "checkpoint-10"
    (tmp_path / "checkpoint-10" / "deep" / "rng").unlink()
    assert last_whole(tmp_path) == tmp_path / "checkpoint-5"
    (tmp_path / "checkpoint-5" / COMPLETE).write_text("{")
    assert last_whole(tmp_path) is None


def test_old_checkpoints_go_only_when_newer_ones_are_whole(tmp_path: Path) -> None:
    for step in (1, 2, 3):
        mark_whole(_checkpoint(tmp_path, step), {})
    _checkpoint(tmp_path, 4)
    remove_old(tmp_path)
    assert [folder.name for folder in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-3", "checkpoint-4"]


class Watched:
    """Signals sent to this very process when a step is logged."""

    def __init__(self, *when: tuple[int, int]) -> None:
        self.when = dict(when)

    def __call__(self, step: int, steps: int, entry: dict[str, float]) -> None:
        if step in self.when:
            os.kill(os.getpid(), self.when[step])


class Interrupted(BaseException):
    """What this test's own handler raises."""


@pytest.fixture
def handlers() -> Iterator[None]:
    """Handlers like those of the command line."""

    def interrupt(number: int, frame: Any) -> None:
        raise Interrupted(number)

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.usefixtures("handlers")
def test_a_signal_lets_the_step_end_and_be_saved(
    number: int, data: Path, chat: Chat, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(StoppedError, match=r"stopped after step 4 of 6[\s\S]*goes on from here") as stopped:
        run(out, data, chat, Watched((3, number)))  # logged before step 4 begins
    assert stopped.value.exit_code == 128 + number
    assert "stopping after this step" in capfd.readouterr().err
    assert [folder.name for folder in checkpoints(out / "work")] == ["checkpoint-4"]
    assert not (out / MANIFEST).exists()
    assert not (out / "config.json").exists()
    with pytest.raises(Interrupted):  # handlers are back
        os.kill(os.getpid(), number)
    resumed = run(out, data, chat)
    assert resumed.info["resumed_from"] == 4
    whole = run(tmp_path / "whole", data, chat)
    assert resumed.digest == whole.digest
    assert (out / "metrics.jsonl").read_text() == (tmp_path / "whole" / "metrics.jsonl").read_text()


@pytest.mark.usefixtures("handlers")
def test_a_second_signal_stops_at_once(data: Path, chat: Chat, tmp_path: Path) -> None:
    def twice(step: int, steps: int, entry: dict[str, float]) -> None:
        if step == 2:
            os.kill(os.getpid(), signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted):
        run(tmp_path / "out", data, chat, twice)
    assert checkpoints(tmp_path / "out" / "work") == []
    assert current_stop() is None


@pytest.mark.usefixtures("handlers")
def test_a_signal_before_training_and_one_while_the_model_is_saved(
    data: Path, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Interrupted), stoppable():
        os.kill(os.getpid(), signal.SIGTERM)
    real = saving.prove_checkpoint

    def prove(*arguments: Any, **keywords: Any) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*arguments, **keywords)

    monkeypatch.setattr(saving, "prove_checkpoint", prove)
    with pytest.raises(Interrupted):  # but only after the trained model is in its place
        run(tmp_path / "out", data, chat)
    assert read_manifest(tmp_path / "out").info["steps"] == 6
    assert not (tmp_path / "out" / "work").exists()


def test_an_ignored_signal_stays_ignored(data: Path, chat: Chat, tmp_path: Path) -> None:
    """Workers of a study leave Ctrl-C to their parent."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        assert run(tmp_path / "out", data, chat, Watched((2, signal.SIGINT))).info["steps"] == 6
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_stop_keeps_its_signal_on_the_way_back_from_a_worker() -> None:
    import pickle

    again = pickle.loads(pickle.dumps(StoppedError("a", "b", signal.SIGINT)))
    assert (again.what, again.mend, again.exit_code) == ("a", "b", 130)


# --- other settings ---------------------------------------------------------------------------------------


@pytest.fixture
def named() -> Iterator[None]:
    """As in a command whose folder the user has named."""
    token = keep_finished.set(True)
    yield
    keep_finished.reset(token)


def _stop_at(step: int) -> OnLog:
    def stop(at: int, steps: int, entry: dict[str, float]) -> None:
        if at == step:
            raise KeyboardInterrupt

    return stop


def _unfinished(out: Path, data: Path, chat: Chat, step: int, **settings: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(out, data, chat, _stop_at(step), **settings)


@pytest.mark.usefixtures("named")
def test_unfinished_and_finished_work_of_other_settings_is_refused_by_name(
    data: Path, chat: Chat, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    _unfinished(out, data, chat, 5, save_steps=2)
    message = (
        r"holds unfinished work of train with other settings or inputs\s+"
        r"train\.learning_rate: 0\.01 → 0\.02\s+train\.lora: null → not set\s+train\.lora\.alpha: not set → 32\.0"
    )
    with pytest.raises(DataError, match=message):
        run(out, data, chat, learning_rate=0.02, lora={"rank": 2})
    assert is_whole(out / "work" / "checkpoint-4")
    # How it is spread, how often it is saved and where it is logged are no differences.
    finished = run(out, data, chat, layout={"micro_batch_size": 2}, save_steps=3)
    assert finished.info["resumed_from"] == 4
    with pytest.raises(DataError, match=r"holds a finished result of train[\s\S]*train\.steps: 6 → 7"):
        run(out, data, chat, steps=7)
    other = tmp_path / "other"
    shutil.copytree(data, other)
    manifest = json.loads((other / MANIFEST).read_text())
    (other / MANIFEST).write_text(json.dumps({**manifest, "digest": "f" * 64}))
    with pytest.raises(DataError, match=r"inputs\.examples: \"[0-9a-f]{12}\" → \"f{12}\""):
        run(out, other, chat)
    assert read_manifest(out) == finished


@pytest.mark.usefixtures("named")
def test_unfinished_work_that_saved_nothing_starts_anew(
    data: Path, chat: Chat, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    _unfinished(tmp_path / "out", data, chat, 2)
    assert run(tmp_path / "out", data, chat, steps=3).info["steps"] == 3
    assert "starts anew: its settings or inputs have changed\n    train.steps: 6 → 3" in capfd.readouterr().err


def test_a_studys_own_folder_starts_anew_and_says_so(
    data: Path, chat: Chat, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    _unfinished(out, data, chat, 5, save_steps=2)
    assert run(out, data, chat, weight_decay=0.5).info["resumed_from"] == 0
    assert "train.weight_decay: 0.0001 → 0.5" in capfd.readouterr().err
    run(out, data, chat, weight_decay=0.25)
    assert "train.weight_decay: 0.5 → 0.25" in capfd.readouterr().err
    run(out, data, chat, weight_decay=0.25)
    assert capfd.readouterr().err == ""


LEAVES = st.one_of(st.integers(0, 9), st.booleans(), st.none(), st.sampled_from(["", "a"]), st.just([1]))
CONFIGS = st.dictionaries(
    st.sampled_from("abc"),
    LEAVES | st.dictionaries(st.sampled_from("xy"), LEAVES, min_size=1),
    max_size=4,
)


@given(CONFIGS, CONFIGS)
@example({"a": 1}, {"a": True})
def test_changes_are_empty_just_for_equal_settings(one: dict[str, Any], two: dict[str, Any]) -> None:
    lines = changes({"config": one, "inputs": {"a": "1"}}, two, {"a": "1"})
    assert (lines == []) == (json.dumps(one, sort_keys=True) == json.dumps(two, sort_keys=True))
    assert changes({"config": one, "inputs": {"a": "1"}}, one, {"b": "1"}) == [
        'inputs.a: "1" → not set', 'inputs.b: not set → "1"',
    ]  # fmt: skip


# --- no room, no number -----------------------------------------------------------------------------------


@pytest.fixture
def file_limit() -> Iterator[Callable[[int], None]]:
    """Lets this process write files of so many bytes and no larger: what a full disk is to it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_previous_checkpoint(
    data: Path, chat: Chat, tmp_path: Path, file_limit: Callable[[int], None]
) -> None:
    out = tmp_path / "out"

    def fill(step: int, steps: int, entry: dict[str, float]) -> None:
        if step == 3:
            file_limit(30_000)

    with pytest.raises(EngineError, match=r"cannot save .*checkpoint-4: [\s\S]*make room") as failed:
        run(out, data, chat, fill, save_steps=2)
    assert "MB written" in str(failed.value)
    assert "make room for 0.3 MB" in str(failed.value)  # what the checkpoint before takes: weights and two moments
    assert [folder.name for folder in checkpoints(out / "work")] == ["checkpoint-2"]
    assert is_whole(out / "work" / "checkpoint-2")
    assert not (out / MANIFEST).exists()
    file_limit(resource.RLIM_INFINITY)
    resumed = run(out, data, chat, save_steps=2)
    assert resumed.info["resumed_from"] == 2
    assert resumed.digest == run(tmp_path / "whole", data, chat).digest


def test_a_disk_without_room_is_called_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The libraries say only that bytes were lost; how much is free says why."""
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=4096))
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "half").write_bytes(b"w" * 200_000)
    with pytest.raises(EngineError, match=r"the disk is full: unexpected pos \(0\.0 MB free, 0\.2 MB written\)"):
        with explained(tmp_path / "new"):
            raise RuntimeError("unexpected pos")
    assert not (tmp_path / "new").exists()


def test_a_full_disk_at_the_end_leaves_the_last_step(
    data: Path, chat: Chat, tmp_path: Path, file_limit: Callable[[int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    real = saving.copy_tokenizer

    def fill(*arguments: Any) -> None:
        file_limit(2_000)
        real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(saving, "copy_tokenizer", fill)
        with pytest.raises(
            EngineError, match=r"cannot save [\s\S]*File too large[\s\S]*goes on from the last saved step"
        ):
            run(out, data, chat, save_steps=6)
    file_limit(resource.RLIM_INFINITY)
    left = {path.name for path in out.iterdir()}
    assert left & {"progress.json", "work", "config.json", "model.safetensors", saving.STAGING, MANIFEST} == {
        "progress.json", "work",
    }  # fmt: skip
    assert run(out, data, chat, save_steps=6).info["resumed_from"] == 6


def test_a_diverged_run_leaves_nothing_that_looks_good(
    data: Path, chat: Chat, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Weights that turn into no numbers between two logged steps are not saved, and nothing is finished."""
    from long1k.training import resumable

    out = tmp_path / "out"
    real = resumable.check_finite

    def poison(model: Any) -> None:
        if (out / "work" / "checkpoint-2").exists():
            with torch.no_grad():
                next(model.parameters()).fill_(float("nan"))
        real(model)

    monkeypatch.setattr(resumable, "check_finite", poison)
    with pytest.raises(EngineError, match=r"embed_tokens\.weight is not finite any more"):
        run(out, data, chat, save_steps=2)
    assert [folder.name for folder in checkpoints(out / "work")] == ["checkpoint-2"]
    assert not (out / MANIFEST).exists()
    assert not list(out.glob("*.safetensors"))
    assert not (out / "config.json").exists()


# --- the command ------------------------------------------------------------------------------------------


@pytest.fixture
def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[int, str]]]:
    """long1k in this process: (exit code, what it wrote to stderr)."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def call(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["long1k", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        code = left.value.code
        return (code if isinstance(code, int) else 0), capsys.readouterr().err

    yield call
    for number, handler in before.items():
        signal.signal(number, handler)


def _no_weights(model: Path) -> None:
    (model / "model.safetensors").unlink()


def _pickled(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def _shorter(model: Path) -> None:
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def _other_tokenizer(model: Path) -> None:
    """The same words in another file: nobody can tell that the counts hold."""
    vocabulary = json.loads((model / "tokenizer.json").read_text())
    (model / "tokenizer.json").write_text(json.dumps(vocabulary, indent=3))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_no_weights, "has no *.safetensors"),
        (_pickled, "pickled weights only"),
        (_shorter, "it was cut"),
        (lambda model: (model / "config.json").unlink(), "has no config.json"),
        (_other_tokenizer, "were made with another tokenizer"),
    ],
    ids=["no weights", "pickled", "cut", "no config", "other tokenizer"],
)
def test_bad_models_are_refused_in_words(
    damage: Callable[[Path], None], message: str, data: Path, base: Path, tmp_path: Path,
    command: Callable[..., tuple[int, str]],
) -> None:  # fmt: skip
    model = tmp_path / "model"
    shutil.copytree(base, model, ignore=shutil.ignore_patterns("manifest.json", "README.md"))
    damage(model)
    code, error = command("train", str(data), "--model", str(model), "--set", "steps=2", "--out", str(tmp_path / "out"))
    assert code == 1
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_second_machine_does_not_wait_for_what_is_done(
    data: Path, base: Path, tmp_path: Path, command: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same script, submitted once more: machine 0 finds its result, and prepares nothing to join."""
    monkeypatch.setattr(launch, "join_job", lambda *_: pytest.fail("it waits for machine 0"))
    run = ["train", str(data), "--model", str(base), "--set", "steps=2", "--set", "learning_rate=1e-3", "--threads",
           "1", "--out", str(tmp_path / "out")]  # fmt: skip
    assert command(*run)[0] == 0
    assert command(*run, "--nnodes", "2", "--node-rank", "1", "--rendezvous", "machine-0:29500")[0] == 0
    with pytest.raises(pytest.fail.Exception, match="it waits"):
        command(*run, "--seed", "1", "--nnodes", "2", "--node-rank", "1", "--rendezvous", "machine-0:29500")


def test_an_empty_table_and_a_foreign_folder_are_refused_in_words(
    data: Path, base: Path, tmp_path: Path, command: Callable[..., tuple[int, str]]
) -> None:
    from long1k.rows import Example
    from long1k.tables import TableWriter

    made = read_manifest(data)
    writer = TableWriter(tmp_path / "empty", Example, stage="synthesize/1", config=made.config, inputs={})
    writer.write_part(0, [])
    writer.commit(1, made.info)
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "holiday.jpg").write_bytes(b"precious")
    for table, out, message in ((tmp_path / "empty", "out", "is empty"), (data, "photos", "did not make")):
        code, error = command("train", str(table), "--model", str(base), "--out", str(tmp_path / out))
        assert (code, "Traceback" in error) == (1, False)
        assert message in error
    assert [path.name for path in (tmp_path / "photos").iterdir()] == ["holiday.jpg"]


def test_a_command_that_is_asked_to_end_saves_and_says_so(data: Path, base: Path, tmp_path: Path) -> None:
    """SIGTERM to the process itself: exit code 143, a resumable checkpoint; the same command goes on from it."""
    out = tmp_path / "out"
    arguments = [
        sys.executable, "-m", "long1k.cli", "train", str(data), "--model", str(base), "--set", "steps=3000", "--set",
        "batch_size=2", "--set", "save_steps=10", "--threads", "1", "--out", str(out),
    ]  # fmt: skip
    process = subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    deadline = time.time() + 120
    while time.time() < deadline and not any((out / "work").glob("checkpoint-*/complete")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert "stopping after this step" in error
    assert "the same command goes on from here" in error
    assert "Traceback" not in error
    step = int(error.split("stopped after step ")[1].split(" ")[0].replace(",", ""))
    assert last_whole(out / "work") == out / "work" / f"checkpoint-{step}"


WORKERS = """
import sys, time
from pathlib import Path
import torch
from long1k.chat import Chat
from long1k.cli import _stop, _Stopped
from long1k.executors.local import run_jobs
from long1k.stages.train import train
from long1k.tokens import load_tokenizer
from long1k.training.config import ModelInit, TrainConfig
import signal

def work(job):
    out, data, steps, init = job
    torch.set_num_threads(1)
    if not steps:
        time.sleep(600)
    config = TrainConfig(steps=steps, batch_size=2, learning_rate=1e-3, save_steps=10)
    train(Path(out), Path(data), model=ModelInit.model_validate_json(init), config=config, seed=0,
          chat=Chat(load_tokenizer("package:micro")))

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _stop)
    root, data, init = sys.argv[1:]
    try:
        jobs = [(f"{root}/a", data, 5000, init), (f"{root}/b", data, 0, init), (f"{root}/c", data, 5, init)]
        list(run_jobs(work, jobs, 2))
    except _Stopped as stopped:
        sys.exit(128 + stopped.args[0])
"""


def test_workers_of_a_study_save_before_they_leave(data: Path, tmp_path: Path) -> None:
    """SIGTERM to the parent: the worker that trains saves its step, the other leaves at once, no next job begins."""
    script = tmp_path / "work.py"
    script.write_text(WORKERS)
    process = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path), str(data), TINY.model_dump_json()],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    work = tmp_path / "a" / "work"
    deadline = time.time() + 120
    while time.time() < deadline and not any(work.glob("checkpoint-*/complete")):
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143, error
    assert error.count("stopping after this step") == 1
    assert "Traceback" not in error
    newest = last_whole(work)
    assert newest is not None
    assert int(newest.name.rsplit("-", 1)[1]) % 10 or newest != work / "checkpoint-10"
    assert not (tmp_path / "c").exists()
