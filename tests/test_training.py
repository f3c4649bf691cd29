"""Training on the tiny model: masks, packing, loss normalisation, resumption, checkpoints."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from long1k.chat import Chat, documents
from long1k.curation.config import CollectConfig
from long1k.errors import DataError, EngineError
from long1k.joining.spec import JoinSpec
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.stages.collect import collect
from long1k.stages.synthesize import synthesize
from long1k.stages.train import is_trained, train
from long1k.tables import read_manifest, read_table
from long1k.tokens import load_tokenizer
from long1k.training.config import ModelInit, TrainConfig
from long1k.training.data import IGNORED, TrainRow, collate, make_rows, pack, row_order
from realdata import need_extra

need_extra("trl")
import torch  # noqa: E402

from long1k.rows import Example  # noqa: E402
from long1k.training.checkpoint import check_model_folder, load_model, new_model, pad_id  # noqa: E402
from long1k.training.sft import train_model  # noqa: E402

TINY = ModelInit(hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, max_positions=256)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("package:micro"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, chat: Chat) -> Path:
    """A table of joined samples of three lengths."""
    root = tmp_path_factory.mktemp("data")
    collect(root / "pool", [("micro", MicroSource(MicroConfig(count=600)))], CollectConfig(), chat)
    shared: dict[str, Any] = {"num_problems": (1, 8), "layout": "turns", "linkers": "micro", "tolerance": 0.05}
    specs = [JoinSpec(target=t, samples=n, **shared) for t, n in ((26, 12), (52, 8), (104, 4))]
    synthesize(root / "examples", root / "pool", arm="a", specs=specs, seed=0, chat=chat)
    return root / "examples"


def rows_of(data: Path, chat: Chat) -> list[TrainRow]:
    return make_rows(read_table(data, Example), chat, None)


def fresh(chat: Chat) -> Any:
    return new_model(TINY, chat.tokenizer, chat.end_id)


def token_losses(model: Any, batch: dict[str, Any]) -> Any:
    """Loss of every supervised token, in order."""
    labels = batch["labels"]
    inputs = {k: v for k, v in batch.items() if k != "labels"}
    with torch.no_grad():
        logits = model(**inputs, use_cache=False).logits[:, :-1]
    flat = torch.nn.functional.cross_entropy(
        logits.reshape(-1, logits.shape[-1]), labels[:, 1:].reshape(-1), ignore_index=IGNORED, reduction="none"
    )
    return flat[labels[:, 1:].reshape(-1) != IGNORED]


def test_only_assistant_text_and_its_end_token_are_trained(data: Path, chat: Chat) -> None:
    for row, example in zip(rows_of(data, chat), read_table(data, Example), strict=True):
        text = chat.tokenizer.decode([label for label in row.labels if label != IGNORED])
        answers = [m.content for m in example.completion if m.role == "assistant"]
        assert text == "".join(answer + chat.end_token for answer in answers)
        assert row.supervised == example.num_supervised_tokens


def test_packing_loses_and_splits_nothing(data: Path, chat: Chat) -> None:
    rows = rows_of(data, chat)
    packed = pack(rows, 128)
    assert all(len(row.input_ids) <= 128 and sum(row.lengths) == len(row.input_ids) for row in packed)
    pieces = []
    for row in packed:
        at = 0
        for length in row.lengths:
            pieces.append((tuple(row.input_ids[at : at + length]), tuple(row.labels[at : at + length])))
            at += length
    assert sorted(pieces) == sorted((tuple(r.input_ids), tuple(r.labels)) for r in rows)
    assert len(packed) < len(rows)
    with pytest.raises(DataError, match="does not fit"):
        pack(rows, 64)


def test_packed_samples_do_not_see_each_other(data: Path, chat: Chat) -> None:
    model = fresh(chat).eval()
    rows = rows_of(data, chat)
    padding = pad_id(chat.tokenizer, chat.end_id)
    alone = torch.cat([token_losses(model, collate([row], padding)) for row in rows])
    padded = token_losses(model, collate(rows, padding))
    packed = token_losses(model, collate(pack(rows, 200), padding))
    assert torch.allclose(alone, padded, atol=1e-5)
    assert torch.allclose(alone.sort().values, packed.sort().values, atol=1e-5)
    # The check can fail: the same rows with positions that run on do see each other.
    leaking = collate(pack(rows, 200), padding)
    leaking["position_ids"] = torch.arange(leaking["input_ids"].shape[1]).expand_as(leaking["input_ids"])
    assert not torch.allclose(alone.sort().values, token_losses(model, leaking).sort().values, atol=1e-3)


def test_the_two_of_a_masked_pair_do_not_see_each_other(data: Path, chat: Chat, tmp_path: Path) -> None:
    """A masked pair costs, token by token, what its conversations cost alone; in a batch and packed with others."""
    spec = JoinSpec(target=52, samples=6, mode="masked_pair", tolerance=0.2, linkers="micro")
    synthesize(tmp_path / "pairs", data.parent / "pool", arm="a", specs=[spec], seed=0, chat=chat)
    examples = read_table(tmp_path / "pairs", Example)
    pairs = make_rows(examples, chat, None)
    apart = []
    for row, example in zip(pairs, examples, strict=True):
        assert [len(row.lengths), sum(row.lengths)] == [2, example.num_tokens]
        assert row.supervised == example.num_supervised_tokens
        for prompt, completion in documents(example):
            one = chat.encode_example(prompt, completion)
            labels = [i if on else IGNORED for i, on in zip(one.ids, one.trained, strict=True)]
            apart.append(TrainRow(one.ids, labels, [len(labels)]))
    assert [i for row in pairs for i in row.input_ids] == [i for row in apart for i in row.input_ids]
    assert [i for row in pairs for i in row.labels] == [i for row in apart for i in row.labels]
    model = fresh(chat).eval()
    padding = pad_id(chat.tokenizer, chat.end_id)
    alone = torch.cat([token_losses(model, collate([row], padding)) for row in apart])
    batch = collate(pairs, padding)
    assert "attention_mask" not in batch
    assert batch["position_ids"][0, : sum(pairs[0].lengths)].tolist() == [i for n in pairs[0].lengths for i in range(n)]
    assert torch.allclose(alone, token_losses(model, batch), atol=1e-5)
    single = rows_of(data, chat)[:3]  # beside and among samples of one conversation
    both = torch.cat([alone, *(token_losses(model, collate([row], padding)) for row in single)])
    for rows in ([*pairs, *single], pack([*pairs, *single], 200)):
        found = token_losses(model, collate(rows, padding))
        assert torch.allclose(both.sort().values, found.sort().values, atol=1e-5)
    packed = pack(pairs, 200)
    assert sorted(n for row in packed for n in row.lengths) == sorted(n for row in pairs for n in row.lengths)
    # The check can fail: as one conversation the second does see the first.
    leaking = collate([TrainRow(r.input_ids, r.labels, [len(r.labels)]) for r in pairs], padding)
    assert not torch.allclose(alone, token_losses(model, leaking), atol=1e-3)


def run(rows: list[TrainRow], chat: Chat, work: Path, **settings: Any) -> tuple[Any, Any]:
    model = fresh(chat)
    config = TrainConfig(**{"steps": 6, "batch_size": 8, "learning_rate": 1e-2, **settings})
    result = train_model(model, rows, config, work=work, seed=3, tokenizer=chat.tokenizer, end_id=chat.end_id)
    return model, result


def plain_loop(rows: list[TrainRow], chat: Chat, steps: int, batch: int, lr: float) -> Any:
    """A bare loop: the reference for the trainer's loss and updates."""
    model = fresh(chat)
    order = row_order(len(rows), steps * batch, 3)
    decay = [p for n, p in model.named_parameters() if p.ndim >= 2]
    rest = [p for n, p in model.named_parameters() if p.ndim < 2]
    groups = [{"params": decay, "weight_decay": 1e-4}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), eps=1e-8)
    losses = []
    for step in range(steps):
        chunk = [rows[i] for i in order[step * batch : (step + 1) * batch]]
        tensors = collate(chunk, pad_id(chat.tokenizer, chat.end_id))
        logits = model(input_ids=tensors["input_ids"], attention_mask=tensors["attention_mask"]).logits[:, :-1]
        labels = tensors["labels"][:, 1:]
        loss = torch.nn.functional.cross_entropy(
            logits.reshape(-1, logits.shape[-1]), labels.reshape(-1), ignore_index=IGNORED
        )
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        losses.append(float(loss.detach()))
    return losses


def test_loss_is_per_supervised_token_of_the_global_batch(data: Path, chat: Chat, tmp_path: Path) -> None:
    rows = rows_of(data, chat)
    assert len({row.supervised for row in rows}) > 2  # unequal lengths, or the test could not fail
    wanted = plain_loop(rows, chat, steps=6, batch=8, lr=1e-2)
    constant = {"scheduler": "constant", "warmup_ratio": 0.0}
    for size in (8, 4, 3, 1):
        _, result = run(rows, chat, tmp_path / str(size), layout={"micro_batch_size": size}, **constant)
        assert [entry["loss"] for entry in result.metrics] == pytest.approx(wanted, abs=1e-4)


def test_resumed_run_equals_undisturbed_run(data: Path, chat: Chat, tmp_path: Path) -> None:
    rows = rows_of(data, chat)
    whole, result = run(rows, chat, tmp_path / "whole", steps=8, save_steps=3)
    work = tmp_path / "stopped"
    for name in ("checkpoint-6", "checkpoint-8"):
        shutil.copytree(tmp_path / "whole" / name, work / name)
    (work / "checkpoint-8" / "complete").unlink()  # as if killed while saving
    again, resumed = run(rows, chat, work, steps=8, save_steps=3)
    assert resumed.resumed_from == 6
    assert [m["loss"] for m in resumed.metrics] == [m["loss"] for m in result.metrics]
    for one, two in zip(whole.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_checkpoint_is_whole_and_usable(data: Path, chat: Chat, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    out = tmp_path / "run" / "train"
    config = TrainConfig(steps=4, batch_size=8, learning_rate=1e-3)
    manifest = train(out, data, model=TINY, config=config, seed=0, chat=chat)
    assert manifest.info["steps"] == 4
    assert manifest.info["preflight"]["samples"] == 24
    assert len((out / "metrics.jsonl").read_text().splitlines()) == 4
    assert not (out / "work").exists()
    model = AutoModelForCausalLM.from_pretrained(out)
    tokenizer = AutoTokenizer.from_pretrained(out)
    assert model.generation_config.eos_token_id == chat.end_id
    assert model.config.tie_word_embeddings
    text = tokenizer.apply_chat_template(
        [{"role": "user", "content": "a⊕b"}], tokenize=False, add_generation_prompt=True
    )
    assert text == "<|user|>a⊕b<|assistant|>"
    model.generate(torch.tensor([tokenizer.encode(text)]), max_new_tokens=4, pad_token_id=0)
    assert is_trained(out, data, model=TINY, config=config, seed=0, chat=chat)
    assert not is_trained(out, data, model=TINY, config=config, seed=1, chat=chat)
    before = (out / "manifest.json").stat().st_mtime_ns
    train(out, data, model=TINY, config=config, seed=0, chat=chat)
    assert (out / "manifest.json").stat().st_mtime_ns == before
    with pytest.raises(DataError, match="positions"):
        train(
            tmp_path / "short",
            data,
            model=TINY.model_copy(update={"max_positions": 64}),
            config=config,
            seed=0,
            chat=chat,
        )
    with pytest.raises(DataError, match="never cut"):
        train(
            tmp_path / "limit", data, model=TINY, config=config.model_copy(update={"max_tokens": 50}), seed=0, chat=chat
        )


def test_kill_in_the_middle_of_training_then_resume(data: Path, tmp_path: Path) -> None:
    """kill -9 after the first saved checkpoint; the same command then gives the same weights."""
    script = tmp_path / "job.py"
    script.write_text(
        "import sys, torch\n"
        "torch.set_num_threads(1)\n"
        "from pathlib import Path\n"
        "from long1k.chat import Chat\n"
        "from long1k.stages.train import train\n"
        "from long1k.tokens import load_tokenizer\n"
        "from long1k.training.config import ModelInit, TrainConfig\n"
        f"init = ModelInit.model_validate_json({TINY.model_dump_json()!r})\n"
        "config = TrainConfig(steps=120, batch_size=8, learning_rate=1e-3, save_steps=20)\n"
        f"train(Path(sys.argv[1]), Path({str(data)!r}), model=init, config=config, seed=0,\n"
        "      chat=Chat(load_tokenizer('package:micro')))\n"
    )
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    process = subprocess.Popen([sys.executable, str(script), str(killed)], stderr=subprocess.DEVNULL)
    deadline = time.time() + 90
    while time.time() < deadline and not any((killed / "work").glob("checkpoint-*/complete")):
        assert process.poll() is None, "training ended before it could be killed"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (killed / "manifest.json").exists()
    for folder in (killed, whole):
        subprocess.run([sys.executable, str(script), str(folder)], check=True, stderr=subprocess.DEVNULL)
    assert read_manifest(killed).info["resumed_from"] >= 20
    assert read_manifest(killed).digest == read_manifest(whole).digest
    assert (killed / "metrics.jsonl").read_text() == (whole / "metrics.jsonl").read_text()


def test_diverged_training_is_an_error(data: Path, chat: Chat, tmp_path: Path) -> None:
    model = fresh(chat)
    with torch.no_grad():
        model.get_input_embeddings().weight.fill_(float("nan"))
    config = TrainConfig(steps=2, batch_size=4, learning_rate=1e-3)
    with pytest.raises(EngineError, match="loss is nan"):
        train_model(
            model, rows_of(data, chat), config, work=tmp_path, seed=0, tokenizer=chat.tokenizer, end_id=chat.end_id
        )


def test_model_folders_that_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no config\.json"):
        check_model_folder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
    with pytest.raises(DataError, match="weights are missing"):
        check_model_folder(tmp_path)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(DataError, match="pickled"):
        check_model_folder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"not a tensor")
    with pytest.raises(DataError, match="no safetensors file"):
        load_model(tmp_path)


def test_other_tokenizer_than_the_datas_is_refused(data: Path, tmp_path: Path) -> None:
    from long1k.micro_tokenizer import build

    folder = tmp_path / "tokenizer"
    build(folder)
    template = (folder / "chat_template.jinja").read_text()
    (folder / "chat_template.jinja").write_text(template.replace("<|user|>", "<|user|>\n"))
    with pytest.raises(DataError, match="not the one the data was made with"):
        make_rows(read_table(data, Example), Chat(load_tokenizer(str(folder))), None)
