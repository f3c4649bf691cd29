"""How ranks are started, on one machine and on several: commands, scripts, messages, refusals; nothing trains here."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from long1k.cli import app
from long1k.errors import DataError, EngineError, RecipeError, StoppedError
from long1k.training.cluster import node_commands, plain_arguments, slurm_script, write_configs
from long1k.training.config import TrainConfig
from long1k.training.data import IGNORED, TrainRow
from long1k.training.layout import Layout
from long1k.training.padding_free import collate_line
from long1k.training.ranks import (
    PARENT,
    PROGRESS,
    failure,
    follow,
    log_file,
    make_rank_folder,
    rank_pids,
    speaking,
)
from realdata import need_extra

need_extra("trl")
from accelerate.commands.launch import launch_command_parser  # noqa: E402

from long1k.training import launch as launching  # noqa: E402
from long1k.training.sequence import collate_slice, repeated  # noqa: E402
from long1k.training.sharding import deepspeed_config, trainer_arguments  # noqa: E402

ARGUMENTS = ["train", "my data", "--model", "m", "--out", "o", "--nproc", "8", "--nnodes", "2"]


def config_of(**values: Any) -> TrainConfig:
    return TrainConfig.model_validate({"steps": 4, "batch_size": 16, **values})


def test_each_machine_gets_its_command() -> None:
    more = [*ARGUMENTS, "--print", "--slurm", "x.sh", "--rendezvous=a:1", "--node-rank", "0"]
    assert plain_arguments(more) == ARGUMENTS
    found = node_commands(Layout(nproc=8, nnodes=2), more, "first:29500")
    assert [shlex.split(one) for one in found] == [
        ["long1k", *ARGUMENTS, "--node-rank", str(rank), "--rendezvous", "first:29500"] for rank in (0, 1)
    ]
    assert node_commands(Layout(nproc=8), ARGUMENTS) == [shlex.join(["long1k", *ARGUMENTS])]


def test_a_slurm_script_is_sound_and_starts_one_task_a_machine(tmp_path: Path) -> None:
    path = tmp_path / "x.sbatch"
    path.write_text(slurm_script(Layout(nproc=8, nnodes=2), ARGUMENTS))
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    for line in ("--nodes=2", "--ntasks-per-node=1", "--gpus-per-node=8", "--signal=TERM@600"):
        assert f"#SBATCH {line}\n" in text
    assert f"srun --kill-on-bad-exit=1 {shlex.join(['long1k', *ARGUMENTS])}\n" in text
    # What the script does, with stand-ins for Slurm's own programs.
    tools = tmp_path / "bin"
    tools.mkdir()
    for name, body in (("scontrol", "echo node7; echo node8"), ("srun", 'echo "$LONG1K_RENDEZVOUS $*"')):
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    done = subprocess.run(
        ["bash", str(path)], env={"PATH": f"{tools}:{os.environ['PATH']}", "SLURM_JOB_NODELIST": "node[7-8]"},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.startswith("node7:29500 --kill-on-bad-exit=1 long1k train my data")


def test_a_machine_knows_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    two = Layout(nnodes=2)
    for name in ("SLURM_NODEID", "LONG1K_RENDEZVOUS"):
        monkeypatch.delenv(name, raising=False)
    assert launching.find_place(Layout(), None, None) == launching.Place(0, None)
    assert launching.find_place(two, 1, "a:1") == launching.Place(1, "a:1")
    for rank, where in ((None, "a:1"), (1, None), (1, "a"), (2, "a:1")):
        with pytest.raises(RecipeError, match="machines"):
            launching.find_place(two, rank, where)
    monkeypatch.setenv("SLURM_NODEID", "1")
    monkeypatch.setenv("LONG1K_RENDEZVOUS", "b:2")
    assert launching.find_place(two) == launching.Place(1, "b:2")
    command = launching.torchrun(Layout(nproc=4, nnodes=2), launching.Place(1, "b:2"))
    assert {"--nproc-per-node=4", "--nnodes=2", "--node-rank=1", "--rdzv-endpoint=b:2"} <= set(command)


def test_threads_are_shared_out_among_the_ranks_of_a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert launching.environment(Layout(nproc=8, nnodes=2))["OMP_NUM_THREADS"] == "2"
    assert launching.environment(Layout(nproc=32))["OMP_NUM_THREADS"] == "1"
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    found = launching.environment(Layout(nproc=8))
    assert (found["OMP_NUM_THREADS"], found["PYTORCH_CUDA_ALLOC_CONF"]) == ("5", "expandable_segments:True")
    monkeypatch.setenv("PYTORCH_CUDA_ALLOC_CONF", "max_split_size_mb:64")  # what a user states stands
    assert launching.environment(Layout())["PYTORCH_CUDA_ALLOC_CONF"] == "max_split_size_mb:64"


def test_threads_where_a_process_cannot_ask_for_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert launching.threads_a_rank(Layout(nproc=4)) == 3


def test_fewer_gpus_than_asked_for_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    launching.check_devices(Layout(nproc=8))  # none at all: ranks on the CPU
    with pytest.raises(EngineError, match="only from GPUs"):
        launching.check_devices(Layout(nproc=2, sharding="fsdp2", offload="all"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    launching.check_devices(Layout(nproc=4))
    with pytest.raises(EngineError, match="8 ranks need 8 GPUs, but this machine shows 4"):
        launching.check_devices(Layout(nproc=8))


def test_steps_and_errors_are_told_in_files(tmp_path: Path) -> None:
    folder = make_rank_folder(tmp_path)
    seen: list[Any] = []
    with speaking(folder, 0) as on_log:
        on_log(1, 5, {"loss": 2.0})
        assert rank_pids(folder, 0) == [os.getpid()]
        assert rank_pids(folder, 1) == []  # another machine's numbers are none of ours
        offset = follow(folder, 0, lambda *entry: seen.append(entry))
        with (folder / PROGRESS).open("a") as handle:
            handle.write("[2, 5")  # a line that is still being written
        assert follow(folder, offset, lambda *entry: seen.append(entry)) == offset
    assert seen == [(1, 5, {"loss": 2.0})]
    (folder / "pid-0-0").write_text("999999999")
    assert rank_pids(folder, 0) == []


def test_the_error_that_is_told_is_that_of_the_rank_that_began_it(tmp_path: Path) -> None:
    folder = make_rank_folder(tmp_path)
    assert "exit code 7" in str(failure(folder, 7))
    log_file(folder, 0).write_text("  exitcode  : -9 (pid: 12)")
    assert "memory is full" in str(failure(folder, 1))
    with pytest.raises(SystemExit), speaking(folder, 3):
        raise RuntimeError("connection closed by peer")
    assert "rank 3 failed: RuntimeError: connection closed by peer" in str(failure(folder, 1))
    assert str(log_file(folder, 0)) in str(failure(folder, 1))
    with pytest.raises(SystemExit) as stop, speaking(folder, 1):
        raise DataError("row 7 is bad", "mend row 7")
    assert stop.value.code == 1
    found = failure(folder, 1)
    assert isinstance(found, DataError)
    assert str(found) == "row 7 is bad\n  -> mend row 7"
    folder = make_rank_folder(tmp_path)
    with pytest.raises(SystemExit), speaking(folder, 0):
        raise StoppedError("stopped after step 3", "go on", 2)
    stopped = failure(folder, 130)
    assert isinstance(stopped, StoppedError)
    assert stopped.exit_code == 130


def test_a_rank_whose_starter_has_died_does_not_begin() -> None:
    code = "from long1k.training.ranks import die_with_parent; die_with_parent(); print('began')"
    command = [sys.executable, "-c", code]
    alive = subprocess.run(command, env={**os.environ, PARENT: str(os.getpid())}, capture_output=True, text=True)
    orphan = subprocess.run(command, env={**os.environ, PARENT: "1"}, capture_output=True, text=True)
    assert (alive.returncode, alive.stdout) == (0, "began\n")
    assert (orphan.returncode, orphan.stdout) == (1, "")


@pytest.mark.parametrize(
    ("layout", "message"),
    [
        ({"nproc": 3, "sequence_parallel": 2}, "does not divide 3 ranks"),
        ({"offload": "all"}, "offload needs sharding"),
        ({"nproc": 2, "sharding": "zero2", "offload": "all"}, "needs sharding zero3 or fsdp2"),
        ({"nproc": 2, "sharding": "fsdp2", "offload": "optimizer"}, "everything or nothing"),
        ({"nproc": 32}, "smaller than the 32 ranks"),
        ({"nproc": 5, "micro_batch_size": 1}, "leaves some of 5 ranks without a row"),
    ],
)
def test_layouts_that_cannot_be(layout: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config_of(layout=layout)


@pytest.mark.parametrize("sharding", ["zero1", "zero2", "zero3"])
def test_deepspeed_is_told_everything(sharding: str) -> None:
    config = config_of(
        precision="bf16", max_grad_norm=0.5,
        layout={"nproc": 4, "micro_batch_size": 2, "sharding": sharding, "offload": "optimizer"},
    )  # fmt: skip
    found = deepspeed_config(config)
    assert "auto" not in json.dumps(found)
    assert found["train_batch_size"] == found["gradient_accumulation_steps"] * 4
    assert (found["gradient_accumulation_steps"], found["gradient_clipping"]) == (2, 0.5)
    assert found["zero_optimization"]["stage"] == int(sharding[-1])
    assert found["zero_optimization"]["offload_optimizer"]["device"] == "cpu"
    assert "offload_param" not in found["zero_optimization"]
    assert found["bf16"] == {"enabled": True}
    assert trainer_arguments(config, 3)["deepspeed"]["gradient_accumulation_steps"] == 3
    assert trainer_arguments(config_of(), 1)["ddp_find_unused_parameters"] is False


def test_other_launchers_configurations_are_written(tmp_path: Path) -> None:
    layout = {"nproc": 8, "nnodes": 2, "sharding": "zero3", "offload": "all"}
    paths = write_configs(config_of(precision="bf16", layout=layout), tmp_path / "zero")
    assert [path.name for path in paths] == ["deepspeed.json", "accelerate.yaml"]
    told = json.loads(paths[0].read_text())
    assert told["zero_optimization"]["offload_param"] == {"device": "cpu", "pin_memory": True}
    starts = yaml.safe_load(paths[1].read_text())
    assert (starts["num_processes"], starts["num_machines"], starts["distributed_type"]) == (16, 2, "DEEPSPEED")
    assert Path(starts["deepspeed_config"]["deepspeed_config_file"]) == paths[0]
    layout = {"nproc": 4, "sharding": "fsdp2", "offload": "all"}
    (path,) = write_configs(config_of(layout=layout), tmp_path / "fsdp")
    starts = yaml.safe_load(path.read_text())
    options = {action.dest for action in launch_command_parser()._actions}  # accelerate ignores what is none of these
    assert set(starts["fsdp_config"]) <= options
    assert starts["fsdp_config"]["fsdp_offload_params"] is True
    assert (starts["distributed_type"], starts["fsdp_config"]["fsdp_version"]) == ("FSDP", 2)


def test_the_command_line_takes_nested_keys_and_starts_nothing_when_it_prints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [
        "train", "data", "--model", "m", "--out", str(tmp_path / "out"), "--nproc", "2",
        "--set", "layout.sharding=zero3", "--set", "batch_size=4", "--write-configs", str(tmp_path / "c"),
        "--slurm", str(tmp_path / "x.sbatch"), "--print",
    ]  # fmt: skip
    monkeypatch.setattr("sys.argv", ["long1k", *arguments])
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "layout.sharding=zero3" in done.output
    assert json.loads((tmp_path / "c" / "deepspeed.json").read_text())["train_batch_size"] == 4
    assert "--gpus-per-node=2" in (tmp_path / "x.sbatch").read_text()
    assert not (tmp_path / "out").exists()
    done = CliRunner().invoke(app, [*arguments[:6], "--set", "layout.shardng=zero3"])
    assert isinstance(done.exception, RecipeError)
    assert "did you mean 'sharding'?" in str(done.exception)


@given(
    lengths=st.lists(st.integers(min_value=2, max_value=9), min_size=1, max_size=6),
    parts=st.integers(min_value=1, max_value=5),
)
def test_slices_are_the_line_that_ranks_share(lengths: list[int], parts: int) -> None:
    import torch

    rows = [TrainRow([*range(1, n + 1)], [IGNORED, *range(2, n + 1)], [n]) for n in lengths]
    line, layout = collate_line(rows), Layout(nproc=parts, sequence_parallel=parts)
    slices = [collate_slice(rows, 99, layout, rank) for rank in range(parts)]
    assert len({one["input_ids"].shape for one in slices}) == 1
    ids, positions, following = (
        torch.cat([one[name] for one in slices], dim=1)[0].tolist()
        for name in ("input_ids", "position_ids", "shift_labels")
    )
    real = sum(lengths)
    assert len(ids) % parts == 0
    assert ids == [*line["input_ids"][0].tolist(), *[99] * (len(ids) - real)]
    assert positions == [*line["position_ids"][0].tolist(), *range(len(ids) - real)]
    assert following == [*line["labels"][0, 1:].tolist(), *[IGNORED] * (len(ids) - real + 1)]
    assert repeated([[0, 1], [2]], layout) == [micro for micro in ([0, 1], [2]) for _ in range(parts)]
