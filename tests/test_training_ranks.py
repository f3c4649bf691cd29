"""Several ranks learn what one learns: parity with a plain loop, sharded training, resumption under another layout."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from long1k.chat import Chat
from long1k.curation.config import CollectConfig
from long1k.joining.spec import JoinSpec
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.stages.collect import collect
from long1k.stages.synthesize import synthesize
from long1k.tables import read_manifest, read_table
from long1k.tokens import load_tokenizer
from long1k.training.config import ModelInit, TrainConfig
from long1k.training.data import IGNORED, TrainRow, make_rows, pack, row_order
from long1k.training.prepared import write_rows
from rank_jobs import bring_checkpoint
from realdata import need_extra

need_extra("trl")
need_extra("deepspeed")
import torch  # noqa: E402

from long1k.rows import Example  # noqa: E402
from long1k.training.checkpoint import new_model  # noqa: E402
from long1k.training.job import RESULT, ROWS, Job, run_job  # noqa: E402
from long1k.training.launch import environment  # noqa: E402
from long1k.training.preflight import PREFLIGHT  # noqa: E402
from long1k.training.ranks import failure, log_file, make_rank_folder  # noqa: E402

pytestmark = pytest.mark.slow
TINY = ModelInit(hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, max_positions=256)
STEPS, BATCH, CLOSE = 6, 16, 1e-4
PACKED = {"packing": 128}


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("package:micro"))


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory, chat: Chat) -> Path:
    """A table of joined samples of three lengths."""
    root = tmp_path_factory.mktemp("data")
    collect(root / "pool", [("micro", MicroSource(MicroConfig(count=600)))], CollectConfig(), chat)
    shared: dict[str, Any] = {"num_problems": (1, 8), "layout": "turns", "linkers": "micro", "tolerance": 0.05}
    specs = [JoinSpec(target=t, samples=n, **shared) for t, n in ((26, 12), (52, 8), (104, 6))]
    synthesize(root / "examples", root / "pool", arm="a", specs=specs, seed=0, chat=chat)
    return root / "examples"


@pytest.fixture(scope="module")
def rows(examples: Path, chat: Chat) -> list[TrainRow]:
    return make_rows(read_table(examples, Example), chat, None)


def config_of(**values: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {"steps": STEPS, "batch_size": BATCH, "learning_rate": 1e-2, "weight_decay": 0.1, "save_steps": 4, **values}
    )


def make_job(work: Path, rows: Sequence[TrainRow], chat: Chat, **values: Any) -> Job:
    work.mkdir(parents=True)
    config = config_of(**values)
    write_rows(work / ROWS, rows if config.packing is None else pack(rows, config.packing))
    return Job(
        out=work / "out", work=work, model=TINY, config=config, seed=0, tokenizer=str(chat.tokenizer.folder),
        end_id=chat.end_id,
    )  # fmt: skip


def run_ranks(ranks: int, jobs: Sequence[Job]) -> None:
    """All jobs, one after another, in one start of the ranks."""
    paths = []
    for job in jobs:
        (job.work / "job.json").write_text(job.model_dump_json())
        paths.append(str(job.work / "job.json"))
    script = Path(__file__).with_name("rank_jobs.py")
    command = [sys.executable, "-m", "long1k.training.agent", "--standalone", f"--nproc-per-node={ranks}", str(script)]
    folder = make_rank_folder(jobs[0].work)
    with log_file(folder, 0).open("wb") as log:
        done = subprocess.run(
            [*command, *paths], env=environment(jobs[0].config.layout), stdout=log, stderr=log, check=False
        )
    if done.returncode:
        print(log_file(folder, 0).read_text())
        raise failure(folder, done.returncode)


def losses(job: Job) -> dict[int, float]:
    """Loss by step."""
    metrics = json.loads((job.work / RESULT).read_text())["metrics"]
    return {int(entry["step"]): entry["loss"] for entry in metrics}


def plain_loop(rows: Sequence[TrainRow], chat: Chat, config: TrainConfig) -> dict[int, float]:
    """The same training without any library: each conversation alone, no padding, no packing."""
    model = new_model(TINY, chat.tokenizer, chat.end_id)
    decayed = [p for n, p in model.named_parameters() if p.dim() > 1]
    others = [p for n, p in model.named_parameters() if p.dim() <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": config.weight_decay}, {"params": others, "weight_decay": 0.0}],
        lr=config.learning_rate, betas=(config.beta1, config.beta2),
    )  # fmt: skip
    from transformers import get_cosine_schedule_with_warmup

    schedule = get_cosine_schedule_with_warmup(optimizer, 1, STEPS)
    order = row_order(len(rows), STEPS * BATCH, 0)
    found = {}
    for step in range(STEPS):
        total = torch.zeros(())
        count = 0
        for at in order[step * BATCH : (step + 1) * BATCH]:
            start = 0
            for length in rows[at].lengths:
                ids = torch.tensor([rows[at].input_ids[start : start + length]])
                labels = torch.tensor(rows[at].labels[start : start + length])[1:]
                logits = model(input_ids=ids, use_cache=False).logits[0, :-1]
                total = total + torch.nn.functional.cross_entropy(logits, labels, ignore_index=IGNORED, reduction="sum")
                count += int((labels != IGNORED).sum())
                start += length
        loss = total / count
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.max_grad_norm)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
        found[step + 1] = loss.item()
    return found


def differ(one: dict[int, float], other: dict[int, float]) -> float:
    """Largest difference of the loss at any step that both have."""
    common = one.keys() & other.keys()
    assert common
    return max(abs(one[step] - other[step]) for step in common)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, rows: list[TrainRow], chat: Chat) -> dict[str, Job]:
    """All runs, by name; each start of ranks does as many as it can."""
    torch.set_num_threads(1)
    root = tmp_path_factory.mktemp("runs")

    def job(name: str, layout: dict[str, Any], **values: Any) -> Job:
        return make_job(root / name, rows, chat, layout=layout, **values)

    def on(name: str, start: str, step: int, layout: dict[str, Any], **values: Any) -> Job:
        """A run that goes on from another's checkpoint."""
        made = job(name, layout, **values)
        (made.work / "go-on-from.json").write_text(json.dumps(str(root / start / f"checkpoint-{step}")))
        return made

    two: dict[str, Any] = {"nproc": 2, "micro_batch_size": 4}
    four: dict[str, Any] = {"nproc": 4}
    starts = [
        [
            job("1", {}),
            job("1 packed", {}, **PACKED),
            job("1, two micro-batches", {"micro_batch_size": 8}),
        ],
        [
            job("4", four),
            job("4 packed", {**four, "micro_batch_size": 2}, **PACKED),
            job("4 zero3", {**four, "sharding": "zero3"}),
            job("4 fsdp2", {**four, "sharding": "fsdp2"}),
        ],
        [
            job("2", {"nproc": 2}),
            job("2 packed", two, **PACKED),
            job("2 zero1", {**two, "sharding": "zero1"}),
            job("2 zero2, offload", {**two, "sharding": "zero2", "offload": "optimizer"}),
            job("2 zero3", {**two, "sharding": "zero3"}),
            job("2 zero3 packed, offload", {**two, "sharding": "zero3", "offload": "all"}, **PACKED),
            job("2 fsdp2", {**two, "sharding": "fsdp2"}),
            job("2 shared", {**two, "sequence_parallel": 2}),
            job("2 shared packed, zero3", {**two, "sequence_parallel": 2, "sharding": "zero3"}, **PACKED),
            on("1 → 2", "1", 4, two, save_steps=5),
            on("1 → 2 zero3", "1", 4, {**two, "sharding": "zero3"}),
            on("2 zero3 → 2 zero3", "2 zero3", 4, {**two, "sharding": "zero3"}),
            on("4 zero3 → 2 zero3", "4 zero3", 4, {**two, "sharding": "zero3"}),
            on("2 zero1 → 2 fsdp2", "2 zero1", 4, {**two, "sharding": "fsdp2"}),
            on("2 zero2, offload → 2 zero1", "2 zero2, offload", 4, {**two, "sharding": "zero1"}),
            on("4 fsdp2 → 2 fsdp2", "4 fsdp2", 4, {**two, "sharding": "fsdp2"}),
        ],
        [
            on("1 → 2 → 1", "1 → 2", 5, {}),
            on("2 zero3 → 1", "2 zero3", 4, {}),
        ],
    ]
    for jobs in starts:
        if jobs[0].config.layout.ranks > 1:
            run_ranks(jobs[0].config.layout.ranks, jobs)
            continue
        for one in jobs:
            bring_checkpoint(one)
            run_job(one)
    return {one.work.name: one for jobs in starts for one in jobs}


@pytest.fixture(scope="module")
def plain(rows: list[TrainRow], chat: Chat) -> dict[bool, dict[int, float]]:
    """Losses of the plain loop, by whether rows are packed."""
    return {
        False: plain_loop(rows, chat, config_of()),
        True: plain_loop(pack(rows, PACKED["packing"]), chat, config_of()),
    }


def test_any_number_of_ranks_learns_what_a_plain_loop_learns(
    trained: dict[str, Job], plain: dict[bool, dict[int, float]]
) -> None:
    table = {
        name: differ(losses(job), plain[job.config.packing is not None])
        for name, job in trained.items()
        if "→" not in name
    }
    print(json.dumps(table, indent=1, ensure_ascii=False))
    assert len(table) == 16
    assert max(table.values()) < CLOSE, table
    for name, job in trained.items():  # and each run has looked at its own divisor, shared lines too
        looked = {check["name"] for check in json.loads((job.work / PREFLIGHT).read_text())["in_force"]}
        assert {"divisor of the loss", "loss of the first micro-batch"} <= looked, name


def test_whatever_the_layout_a_checkpoint_says_the_same_in_plain_transformers(
    trained: dict[str, Job], rows: list[TrainRow]
) -> None:
    from transformers import AutoModelForCausalLM

    prompts = [rows[at].input_ids[:12] for at in (0, 13, 20)]
    said, weights = {}, {}
    for name in ("1", "2", "2 zero1", "2 zero3", "2 fsdp2", "2 shared", "4 zero3", "4 fsdp2", "2 zero3 → 1"):
        model = AutoModelForCausalLM.from_pretrained(trained[name].out)
        weights[name] = model.get_input_embeddings().weight.detach()
        said[name] = [
            model.generate(torch.tensor([ids]), max_new_tokens=40, do_sample=False)[0].tolist() for ids in prompts
        ]
        assert torch.allclose(weights[name], weights["1"], atol=CLOSE)
    assert all(len(answer) > 12 for answer in said["1"])
    assert all(one == said["1"] for one in said.values())


def test_a_run_goes_on_under_another_layout_as_if_nothing_had_been(
    trained: dict[str, Job], plain: dict[bool, dict[int, float]]
) -> None:
    table = {}
    for name, job in trained.items():
        if "→" not in name:
            continue
        result = json.loads((job.work / RESULT).read_text())
        assert result["resumed_from"] == (5 if name == "1 → 2 → 1" else 4)
        found = losses(job)
        assert set(found) == set(range(1, STEPS + 1))
        table[name] = differ(found, plain[False])
    print(json.dumps(table, indent=1, ensure_ascii=False))
    assert len(table) == 9
    assert max(table.values()) < CLOSE, table


def test_two_machines_stop_together_and_one_goes_on(
    tmp_path: Path, rows: list[TrainRow], chat: Chat, examples: Path
) -> None:
    """Two starters on this machine stand for two machines; Ctrl-C at one of them."""
    model = tmp_path / "model"
    new_model(TINY, chat.tokenizer, chat.end_id).save_pretrained(model)
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(chat.tokenizer.folder / name, model / name)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
    command = [
        sys.executable, "-m", "long1k.cli", "train", str(examples), "--model", str(model), "--out", str(tmp_path / "out"),
        "--set", "steps=100", "--set", "batch_size=4", "--set", "learning_rate=1e-3",
    ]  # fmt: skip
    two = [
        subprocess.Popen(
            [*command, "--nnodes", "2", "--node-rank", str(rank), "--rendezvous", where],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for rank in (0, 1)
    ]  # fmt: skip
    progress = tmp_path / "out" / "work" / "ranks" / "progress.jsonl"
    while not progress.is_file() and all(one.poll() is None for one in two):
        time.sleep(0.02)
    two[0].send_signal(signal.SIGINT)
    said = [one.communicate(timeout=120)[0] for one in two]
    for one, text in zip(two, said, strict=True):
        assert one.returncode == 128 + signal.SIGTERM, text
        assert "Traceback" not in text
    found = re.search(r"stopped after step (\d+) of 100, which is saved", said[0])
    assert found, said[0]
    assert not (tmp_path / "out" / "manifest.json").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert read_manifest(tmp_path / "out").info["resumed_from"] == int(found[1])
