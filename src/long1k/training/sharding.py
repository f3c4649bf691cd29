"""What is spread over ranks, and how the libraries that do it are told: DeepSpeed's ZeRO, PyTorch's FSDP2.

Every value is stated; nothing is left to a library's ``auto``, so that what is written here is what runs.
"""

from __future__ import annotations

import datetime
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from long1k.plugins import need
from long1k.training.config import TrainConfig

_BUCKET = 2 * 10**8  # elements that are reduced or gathered at once: 0.4 GB in bf16
_TIMEOUT = datetime.timedelta(hours=1)  # for the slowest rank, say one that writes a large checkpoint
_STAGES = {"zero1": 1, "zero2": 2, "zero3": 3}


def prepare_ranks(config: TrainConfig) -> Any:
    """Connect the ranks, before the model is loaded; the value must be kept while the model is used.

    ZeRO-3 cuts weights up while they are loaded, so that no rank ever holds a whole model; the value is
    what tells transformers so, through a weak reference.
    """
    layout = config.layout
    if not need("torch").cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")  # or DeepSpeed, if it is installed, says so on standard output
    for name in ("ACCELERATE_USE_DEEPSPEED", "ACCELERATE_USE_FSDP"):  # of a run before this one, or from outside
        os.environ.pop(name, None)
    if layout.sharding == "none":
        return None
    state = need("accelerate.state")
    kinds = need("accelerate.utils").DistributedType
    torch = need("torch")
    if layout.sharding in _STAGES:
        quiet_deepspeed()
        os.environ["ACCELERATE_USE_DEEPSPEED"] = "true"  # accelerate reads it here, and only here
    on_cpu = not torch.cuda.is_available()
    state.AcceleratorState._reset_state(reset_partial_state=True)
    state.PartialState(cpu=on_cpu, timeout=_TIMEOUT)
    os.environ.pop("ACCELERATE_USE_DEEPSPEED", None)
    if on_cpu:
        # Ranks on the CPU are "MULTI_CPU" to accelerate, and for those it passes over what it was told of
        # sharding, without a word.  The kinds below take the paths of GPUs; the device stays the CPU.
        kind = kinds.MULTI_GPU if layout.sharding == "fsdp2" else kinds.DEEPSPEED
        state.PartialState._shared_state["distributed_type"] = kind
    if layout.sharding == "zero3":
        # DeepSpeed counts ranks by its own account of them; without one, a model that is loaded is cut up for one rank.
        need("deepspeed.comm").init_distributed(dist_backend="gloo" if on_cpu else "nccl", verbose=False)
        return need("transformers.integrations").HfDeepSpeedConfig(deepspeed_config(config))
    return None


def end_of_training() -> None:
    """Models that are loaded from here on are not cut up any more."""
    if "deepspeed" in sys.modules:
        need("transformers.integrations.deepspeed").unset_hf_deepspeed_config()


def trainer_arguments(config: TrainConfig, accumulation: int) -> dict[str, Any]:
    """What the trainer's arguments say of the layout.

    Args:
        accumulation: micro-batches of one rank a step.
    """
    layout = config.layout
    common: dict[str, Any] = {
        "ddp_find_unused_parameters": False,
        "ddp_timeout": int(_TIMEOUT.total_seconds()),
        "activation_offloading": layout.offload_activations,
        "torch_compile": layout.compile,
    }
    if layout.sharding == "none":
        return common
    common["accelerator_config"] = {"use_configured_state": True}
    if layout.sharding in _STAGES:
        return common | {"deepspeed": deepspeed_config(config, accumulation)}
    return common | {"fsdp": True, "fsdp_config": fsdp_config(config)}


def keep_sums_exact(trainer: Any, config: TrainConfig) -> None:
    """Under FSDP2 in bf16: products in bf16, but log-probabilities and sums of gradients in fp32.

    accelerate's policy casts whatever the model returns, also the log-probabilities that the loss is made of.
    """
    if config.layout.sharding == "fsdp2" and config.precision == "bf16":
        torch = need("torch")
        trainer.accelerator.state.fsdp_plugin.mixed_precision_policy = need(
            "torch.distributed.fsdp"
        ).MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, output_dtype=torch.float32)


def quiet_deepspeed() -> None:
    """Load DeepSpeed without its notices; on a machine without GPU it is told so instead of finding out."""
    torch = need("torch")
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    need("deepspeed")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    # A kernel for sums between processes of one machine, which it would compile here and now.
    need("deepspeed.ops").__compatible_ops__["deepspeed_shm_comm"] = False


def whole_tensors(model: Any) -> Iterator[tuple[str, Any]]:
    """The (name, whole tensor) pairs that the optimiser moves, one after the other.  Every rank must go through all."""
    for name, value in model.named_parameters():
        if value.requires_grad:
            with _gathered(value) as full:
                yield name, full


def whole_weights(model: Any, only_trained: bool = False) -> dict[str, Any] | None:
    """All weights, gathered from all ranks in the CPU's memory of rank 0; None elsewhere.  Every rank must call it.

    Args:
        only_trained: leave frozen weights out: of adapters, all others stand in the folder that was started from.
    """
    torch = need("torch")
    first = not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0
    found: dict[str, Any] = {}
    seen: dict[int, Any] = {}  # tied weights are one tensor under two names, and stay one
    for name, value in model.state_dict(keep_vars=True).items():
        if only_trained and not value.requires_grad:
            continue
        if id(value) not in seen:
            with _gathered(value) as full:
                seen[id(value)] = full.detach().to("cpu", copy=True) if first else None
        found[name] = seen[id(value)]
    return found if first else None


@contextmanager
def _gathered(value: Any) -> Iterator[Any]:
    if hasattr(value, "ds_id"):
        with need("deepspeed").zero.GatheredParameters([value]):
            yield value
    elif hasattr(value, "full_tensor"):
        yield value.full_tensor()
    else:
        yield value


def deepspeed_config(config: TrainConfig, accumulation: int | None = None) -> dict[str, Any]:
    """DeepSpeed's configuration of a ZeRO layout (arXiv 1910.02054; offload: arXiv 2101.06840).

    Args:
        accumulation: micro-batches of one rank a step; as the layout says, if not given.
    """
    layout = config.layout
    stage = _STAGES[layout.sharding]
    accumulation = accumulation or layout.num_micro_batches(config.batch_size) // layout.data_ranks
    zero: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": True,
        "contiguous_gradients": True,
        "reduce_scatter": True,
        "reduce_bucket_size": _BUCKET,
        "allgather_bucket_size": _BUCKET,
    }
    if stage == 3:
        zero |= {
            "stage3_prefetch_bucket_size": _BUCKET // 4,
            "stage3_param_persistence_threshold": 10**5,
            "stage3_max_live_parameters": 10**9,
            "stage3_max_reuse_distance": 10**9,
            "sub_group_size": 10**9,
            "stage3_gather_16bit_weights_on_model_save": False,
        }
    if layout.offload != "none":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if layout.offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    return {
        "train_micro_batch_size_per_gpu": 1,  # the trainer's element is a whole micro-batch
        "gradient_accumulation_steps": accumulation,
        "train_batch_size": accumulation * layout.ranks,
        "gradient_clipping": config.max_grad_norm,
        "bf16": {"enabled": config.precision == "bf16"},
        "fp16": {"enabled": False},
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # PyTorch's fused AdamW works on the CPU too, and needs no compiler
        "wall_clock_breakdown": False,
        "steps_per_print": 10**9,
    }


def fsdp_config(config: TrainConfig) -> dict[str, Any]:
    """What transformers is told of FSDP2."""
    return {
        "version": 2,
        "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
        "reshard_after_forward": True,
        "cpu_offload": config.layout.offload == "all",
        "state_dict_type": "SHARDED_STATE_DICT",
        "cpu_ram_efficient_loading": False,
        "activation_checkpointing": False,
    }


def accelerate_config(config: TrainConfig, deepspeed_file: str) -> dict[str, Any]:
    """A configuration file of ``accelerate launch`` that starts the same layout."""
    layout = config.layout
    common: dict[str, Any] = {
        "compute_environment": "LOCAL_MACHINE",
        "num_machines": layout.nnodes,
        "num_processes": layout.ranks,
        "machine_rank": 0,
        "main_training_function": "main",
        "rdzv_backend": "static",
        "same_network": True,
        "mixed_precision": "bf16" if config.precision == "bf16" else "no",
        "use_cpu": False,
    }
    if layout.sharding in _STAGES:
        common["mixed_precision"] = "no"  # stated in DeepSpeed's file
        common |= {
            "distributed_type": "DEEPSPEED",
            "deepspeed_config": {
                "deepspeed_config_file": deepspeed_file,
                "zero3_init_flag": layout.sharding == "zero3",
            },
        }
    elif layout.sharding == "fsdp2":
        told = fsdp_config(config)
        told["offload_params"] = told.pop("cpu_offload")  # what accelerate does not know, it passes over
        common |= {"distributed_type": "FSDP", "fsdp_config": {f"fsdp_{key}": value for key, value in told.items()}}
    else:
        common["distributed_type"] = "MULTI_GPU" if layout.ranks > 1 else "NO"
    return common
