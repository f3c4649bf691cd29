"""What is spread over ranks, and how the libraries that do it are told: DeepSpeed's ZeRO, PyTorch's FSDP2.

Every value is stated; nothing is left to a library's ``auto``, so that what is written here is what runs.
"""

from __future__ import annotations

from typing import Any

from long1k.training.config import TrainConfig

_BUCKET = 2 * 10**8  # elements that are reduced or gathered at once: 0.4 GB in bf16
_STAGES = {"zero1": 1, "zero2": 2, "zero3": 3}


def deepspeed_config(config: TrainConfig) -> dict[str, Any]:
    """DeepSpeed's configuration of a ZeRO layout (arXiv 1910.02054; offload: arXiv 2101.06840)."""
    layout = config.layout
    stage = _STAGES[layout.sharding]
    accumulation = layout.num_micro_batches(config.batch_size) // layout.data_ranks
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
        "train_batch_size": accumulation * layout.data_ranks,
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
        common |= {
            "distributed_type": "FSDP",
            "fsdp_config": {f"fsdp_{key}": value for key, value in fsdp_config(config).items()},
        }
    else:
        common["distributed_type"] = "MULTI_GPU" if layout.ranks > 1 else "NO"
    if layout.sequence_parallel > 1:
        common["parallelism_config"] = {
            "parallelism_config_sp_size": layout.sequence_parallel,
            "parallelism_config_sp_backend": "deepspeed",
        }
    return common
