"""Going on under another layout: a checkpoint's weights and optimiser state, put where the new layout wants them.

Each layout saves in its own form, every rank its part.  A run that goes on under the same layout loads that
form.  One that goes on under another reads the state tensor by tensor, whole, whatever form it was saved in,
and every rank keeps the piece that is now its own.  ZeRO's parts are first merged by DeepSpeed's own tool
(universal checkpointing, arXiv 2406.18820).
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from long1k.errors import DataError, EngineError
from long1k.plugins import need
from long1k.training.config import TrainConfig
from long1k.training.layout import Layout
from long1k.training.resumable import COMPLETE, step_of, wait_for_all_ranks

KINDS = ("weight", "exp_avg", "exp_avg_sq")  # a weight, and AdamW's two means of its gradient
Read = Callable[[str, str], Any]


def describe(layout: Layout) -> dict[str, Any]:
    """What a checkpoint says of the layout that it was saved under."""
    return {"sharding": layout.sharding, "ranks": layout.ranks}


def saved_under(checkpoint: Path) -> dict[str, Any]:
    """The layout that a checkpoint was saved under."""
    found = json.loads((checkpoint / COMPLETE).read_text()).get("layout", {"sharding": "none", "ranks": 1})
    return dict(found)


def loads_as_it_is(saved: dict[str, Any], layout: Layout) -> bool:
    """Whether the libraries themselves load what was saved: ZeRO's parts fit the same ranks only."""
    if saved["sharding"] != layout.sharding:
        return False
    return not layout.sharding.startswith("zero") or bool(saved["ranks"] == layout.ranks)


def resume_relaid(trainer: Any, checkpoint: Path, config: TrainConfig) -> None:
    """Let a trainer that resumes from ``checkpoint`` take its state from there in another layout's form.

    Raises:
        DataError: adapters, or parts that cannot be merged: the message names the layout to go on with.
    """
    saved = saved_under(checkpoint)
    if loads_as_it_is(saved, config.layout):
        return
    if config.lora is not None:
        raise _cannot(checkpoint, saved, "adapters are resumed under their own layout only")
    prepare = trainer._prepare_for_training

    def prepare_and_put(max_steps: int, train_dataloader: Any, resume_from_checkpoint: Any) -> Any:
        del resume_from_checkpoint
        made = prepare(max_steps, train_dataloader, None)
        put_state(trainer, _reader(trainer, checkpoint, saved), step_of(checkpoint))
        _put_schedule(trainer, checkpoint)
        wait_for_all_ranks()
        if int(os.environ.get("RANK", "0")) == 0:
            shutil.rmtree(_merged_folder(checkpoint), ignore_errors=True)
        return made

    trainer._prepare_for_training = prepare_and_put
    trainer._load_from_checkpoint = lambda *_, **__: None


def _cannot(checkpoint: Path, saved: dict[str, Any], why: str) -> DataError:
    return DataError(
        f"{checkpoint} was saved by {saved['ranks']} ranks with sharding {saved['sharding']}, and cannot go on under "
        f"another layout: {why}",
        f"go on with {saved['ranks']} ranks (--nproc) and layout.sharding={saved['sharding']}, or remove the folder",
    )


def _reader(trainer: Any, checkpoint: Path, saved: dict[str, Any]) -> Read:
    """Reads one whole tensor of a checkpoint by a parameter's name and the kind of state."""
    if saved["sharding"] == "none":
        return _read_whole(trainer, checkpoint)
    if saved["sharding"] == "fsdp2":
        return _read_distributed(trainer, checkpoint)
    return _read_merged(checkpoint, saved)


def _read_whole(trainer: Any, checkpoint: Path) -> Read:
    torch, safetensors = need("torch"), need("safetensors")
    index = checkpoint / "model.safetensors.index.json"
    where = json.loads(index.read_text())["weight_map"] if index.is_file() else {}
    state = torch.load(checkpoint / "optimizer.pt", map_location="cpu", mmap=True, weights_only=True)["state"]
    decayed = set(trainer.get_decay_parameter_names(trainer.model))
    names = [name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad]
    numbers = {name: at for at, name in enumerate(sorted(names, key=lambda name: name not in decayed))}

    def read(name: str, kind: str) -> Any:
        if kind != "weight":
            return state[numbers[name]][kind]
        with safetensors.safe_open(checkpoint / where.get(name, "model.safetensors"), framework="pt") as file:
            return file.get_tensor(name)

    return read


def _read_distributed(trainer: Any, checkpoint: Path) -> Read:
    torch = need("torch")
    shapes = {name: tuple(getattr(p, "ds_shape", p.shape)) for name, p in trainer.model.named_parameters()}

    def read(name: str, kind: str) -> Any:
        key = f"model.{name}" if kind == "weight" else f"optimizer.state.{name}.{kind}"
        folder = checkpoint / ("pytorch_model_fsdp_0" if kind == "weight" else "optimizer_0")
        wanted = {key: torch.empty(shapes[name])}
        need("torch.distributed.checkpoint").load(wanted, checkpoint_id=folder, no_dist=True)
        return wanted[key]

    return read


def _merged_folder(checkpoint: Path) -> Path:
    return checkpoint.parent / "merged"


def _read_merged(checkpoint: Path, saved: dict[str, Any]) -> Read:
    torch = need("torch")
    folder = _merged_folder(checkpoint)
    if int(os.environ.get("RANK", "0")) == 0:
        shutil.rmtree(folder, ignore_errors=True)
        parts = next(checkpoint.glob("global_step*"))
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-m", "deepspeed.checkpoint.ds_to_universal", "--input_folder", str(parts),
             "--output_folder", str(folder), "--num_extract_workers", "1", "--num_merge_workers", "1",
             "--inject_missing_state"],
            env={**os.environ, "DS_ACCELERATOR": "cpu", "CUDA_VISIBLE_DEVICES": ""}, capture_output=True, check=False,
        )  # fmt: skip
        if done.returncode:
            print(done.stderr.decode(errors="replace"), file=sys.stderr)
            shutil.rmtree(folder, ignore_errors=True)
    wait_for_all_ranks()
    if not (folder / "zero").is_dir():
        raise _cannot(checkpoint, saved, "DeepSpeed could not merge its parts")

    def read(name: str, kind: str) -> Any:
        path = folder / "zero" / name / f"{'fp32' if kind == 'weight' else kind}.pt"
        found = torch.load(path, map_location="cpu", weights_only=True)
        return (found["param"] if isinstance(found, dict) else found).detach()

    return read


def put_state(trainer: Any, read: Read, step: int) -> None:
    """Put weights and AdamW's state into a trainer whose model and optimiser are in place; every rank must call it.

    Args:
        read: gives a whole tensor for a parameter's name and one of ``KINDS``.
        step: number of steps that the optimiser has done.
    """
    torch = need("torch")
    inner = trainer.optimizer
    sharded = None  # DeepSpeed's optimiser around PyTorch's
    while hasattr(inner, "optimizer"):
        inner = inner.optimizer
        sharded = inner if hasattr(inner, "optimizer") else sharded
    if sharded is not None:
        _make_zero_states(sharded, inner, step)
    fused = {id(p): bool(group.get("fused")) for group in inner.param_groups for p in group["params"]}
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if not parameter.requires_grad:
                continue
            shape = getattr(parameter, "ds_shape", parameter.shape)
            whole = {kind: read(name, kind).float().reshape(shape) for kind in KINDS}
            if hasattr(parameter, "ds_id"):
                _put_zero3(parameter, whole)
            elif hasattr(parameter, "_hp_mapping"):
                _put_zero12(parameter, whole)
            else:
                _put_plain(parameter, whole, inner, step, fused[id(parameter)])


def _make_zero_states(sharded: Any, inner: Any, step: int) -> None:
    """AdamW's state of every flat piece, which DeepSpeed would make at the first step."""
    torch = need("torch")
    flat = getattr(sharded, "fp32_partitioned_groups_flat", None) or sharded.single_partition_of_fp32_groups
    for piece in flat:
        state = inner.state[piece]
        state["step"] = torch.tensor(float(step), device=piece.device)
        for kind in KINDS[1:]:
            state.setdefault(kind, torch.zeros_like(piece.data))
    if hasattr(sharded, "_lazy_init_hp_params_optimizer_state"):
        sharded._lazy_init_hp_params_optimizer_state()


def _put_zero3(parameter: Any, whole: dict[str, Any]) -> None:
    """This rank's piece of a ZeRO-3 parameter; the last rank's is filled up with zeros."""
    torch = need("torch")
    zero = need("deepspeed.utils")
    size = parameter.ds_tensor.numel()
    rank = torch.distributed.get_rank(parameter.ds_process_group)
    for kind, value in whole.items():
        piece = torch.zeros(size)
        part = value.flatten()[rank * size : (rank + 1) * size]
        piece[: part.numel()] = part
        if kind == "weight":
            zero.safe_set_local_fp32_param(parameter, piece)
            parameter.ds_tensor.data.copy_(piece)
            if parameter.data.numel() == parameter.ds_numel:  # a small one, which every rank keeps whole
                parameter.data.copy_(value)
        else:
            zero.safe_set_local_optimizer_state(parameter, piece, kind)


def _put_zero12(parameter: Any, whole: dict[str, Any]) -> None:
    zero = need("deepspeed.utils")
    for kind, value in whole.items():
        if kind == "weight":
            zero.safe_set_full_fp32_param(parameter, value)
            parameter.data.copy_(value)
        else:
            zero.safe_set_full_optimizer_state(parameter, value, kind)


def _put_plain(parameter: Any, whole: dict[str, Any], optimizer: Any, step: int, fused: bool) -> None:
    """A whole parameter, or FSDP2's piece of one."""
    torch = need("torch")

    def spread(value: Any) -> Any:
        if not hasattr(parameter, "device_mesh"):
            return value.to(parameter.device).clone()
        return need("torch.distributed.tensor").distribute_tensor(
            value.to(parameter.device), parameter.device_mesh, parameter.placements, src_data_rank=None
        )

    parameter.copy_(spread(whole["weight"]))
    optimizer.state[parameter] = {
        "step": torch.tensor(float(step), device=parameter.device if fused else "cpu"),
        **{kind: spread(whole[kind]) for kind in KINDS[1:]},
    }


def _put_schedule(trainer: Any, checkpoint: Path) -> None:
    """The learning rate's schedule, and the rate that it had reached."""
    torch = need("torch")
    schedule = trainer.lr_scheduler
    try:
        schedule.load_state_dict(torch.load(checkpoint / "scheduler.pt", weights_only=True))
    except OSError as error:
        raise EngineError(f"{checkpoint} has no schedule: {error}", "remove it; the run starts anew") from None
    optimizer = trainer.optimizer
    while True:
        for group, rate in zip(optimizer.param_groups, schedule.get_last_lr(), strict=True):
            group["lr"] = rate
        if not hasattr(optimizer, "optimizer"):
            return
        optimizer = optimizer.optimizer
