"""Several ranks learn what one learns: parity with a plain loop, sharded training, resumption under another layout."""

from __future__ import annotations

import json
import subprocess
import sys
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
from long1k.tables import read_table
from long1k.tokens import load_tokenizer
from long1k.training.config import ModelInit, TrainConfig
from long1k.training.data import IGNORED, TrainRow, make_rows, pack, row_order
from long1k.training.prepared import write_rows
from realdata import need_extra

need_extra("trl")
need_extra("deepspeed")
import torch  # noqa: E402

from long1k.rows import Example  # noqa: E402
from long1k.training.checkpoint import new_model  # noqa: E402
from long1k.training.job import RESULT, ROWS, Job, run_job  # noqa: E402
from long1k.training.launch import environment  # noqa: E402

pytestmark = pytest.mark.slow
TINY = ModelInit(hidden_size=32, num_layers=2, num_heads=2, intermediate_size=64, max_positions=256)
STEPS, BATCH, CLOSE = 6, 16, 1e-4
PACKED = {"packing": 128}


@pytest.fixture(scope="module")
def chat() -> Chat:
    return Chat(load_tokenizer("package:micro"))


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory, chat: Chat) -> list[TrainRow]:
    root = tmp_path_factory.mktemp("data")
    collect(root / "pool", [("micro", MicroSource(MicroConfig(count=600)))], CollectConfig(), chat)
    shared: dict[str, Any] = {"num_problems": (1, 8), "layout": "turns", "linkers": "micro", "tolerance": 0.05}
    specs = [JoinSpec(target=t, samples=n, **shared) for t, n in ((26, 12), (52, 8), (104, 6))]
    synthesize(root / "examples", root / "pool", arm="a", specs=specs, seed=0, chat=chat)
    return make_rows(read_table(root / "examples", Example), chat, None)


def config_of(**values: Any) -> TrainConfig:
    return TrainConfig.model_validate(
        {"steps": STEPS, "batch_size": BATCH, "learning_rate": 1e-2, "weight_decay": 0.1, "save_steps": 3, **values}
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
    done = subprocess.run(
        [*command, *paths], env=environment(jobs[0].config.layout), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-6000:]


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

    two: dict[str, Any] = {"nproc": 2, "micro_batch_size": 4}
    found = {
        "1": job("1", {}),
        "1 packed": job("1 packed", {}, **PACKED),
        "1x2": job("1x2", {"micro_batch_size": 8}),
        "2": job("2", {"nproc": 2}),
        "2 packed": job("2 packed", two, **PACKED),
        "zero1": job("zero1", {**two, "sharding": "zero1"}),
        "zero2": job("zero2", {**two, "sharding": "zero2", "offload": "optimizer"}),
        "zero3": job("zero3", {**two, "sharding": "zero3"}),
        "zero3 packed": job("zero3 packed", {**two, "sharding": "zero3", "offload": "all"}, **PACKED),
        "fsdp2": job("fsdp2", {**two, "sharding": "fsdp2"}),
        "4": job("4", {"nproc": 4}),
        "4 packed": job("4 packed", {"nproc": 4, "micro_batch_size": 2}, **PACKED),
        "4 zero3": job("4 zero3", {"nproc": 4, "sharding": "zero3"}),
    }
    for name in ("1", "1 packed", "1x2"):
        run_job(found[name])
    for ranks in (2, 4):
        run_ranks(ranks, [one for one in found.values() if one.config.layout.ranks == ranks])
    return found


def test_any_number_of_ranks_learns_what_a_plain_loop_learns(
    trained: dict[str, Job], rows: list[TrainRow], chat: Chat
) -> None:
    plain = {
        False: plain_loop(rows, chat, config_of()),
        True: plain_loop(pack(rows, PACKED["packing"]), chat, config_of()),
    }
    table = {name: differ(losses(job), plain[job.config.packing is not None]) for name, job in trained.items()}
    print(json.dumps(table, indent=1))
    assert max(table.values()) < CLOSE, table
