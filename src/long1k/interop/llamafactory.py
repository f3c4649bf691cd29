"""What LLaMA-Factory needs beside the data: the right template, dataset_info.json, and a training file.

LLaMA-Factory renders conversations by templates of its own, chosen by name.  Which one writes the text that the
tokenizer's own chat template writes is found by rendering, never by a model's name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import yaml

from long1k.chat import Chat
from long1k.errors import DataError, RecipeError
from long1k.rows import Message

DATA_FOLDER = "samples"
DATASET = "long1k"
_QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
_PROBE = (Message("user", "q one"), Message("assistant", "a one"), Message("user", "q two"))
_CUTOFF_STEP = 256
_ATTENTION = {
    "auto": "auto", "sdpa": "sdpa", "eager": "disabled", "flash_attention_2": "fa2", "flash_attention_3": "fa3",
}  # fmt: skip

# The settings of the paper's published script, as a recipe has them.
PUBLISHED: dict[str, Any] = {
    "model": "Qwen/Qwen2.5-32B-Instruct", "seed": 42, "steps": None, "epochs": 4.0, "batch_size": 16,
    "learning_rate": 2.0e-5, "scheduler": "cosine", "warmup_ratio": 0.05, "weight_decay": 1.0e-4, "beta1": 0.9,
    "beta2": 0.95, "max_grad_norm": 1.0, "precision": "bf16", "packing": None, "max_tokens": None, "over_limit": "stop",
    "lora": None, "rope": None, "early_stop": None, "save_steps": 62, "log_to": (),
    "layout": {
        "nproc": 8, "nnodes": 1, "micro_batch_size": 1, "sharding": "zero3", "offload": "all", "sequence_parallel": 1,
        "gradient_checkpointing": True, "offload_activations": False, "attention": "flash_attention_2",
        "compile": False,
    },
}  # fmt: skip


def match_template(chat: Chat) -> tuple[str, str | None]:
    """(LLaMA-Factory's template, system text that every row must carry or None).

    Raises:
        DataError: no template of LLaMA-Factory is known to write what this tokenizer's does.
    """
    text = "".join(piece for piece, _ in chat.segments(_PROBE, True))
    system, rest = None, text
    opening, closing = "<|im_start|>system\n", "<|im_end|>\n"
    if text.startswith(opening) and closing in text:
        system, _, rest = text.removeprefix(opening).partition(closing)
    if rest != _chatml(_PROBE) or system == "":
        raise DataError(
            f"no LLaMA-Factory template is known to write what the chat template of {chat.tokenizer.folder} writes",
            "name one that you have compared yourself with --template, or export --format tokenized",
        )
    if system == _QWEN_SYSTEM and chat.system is None:
        return "qwen", None
    # chatml writes no system text of its own: what the sample's template adds goes into the rows.
    return "chatml", system


def _chatml(messages: tuple[Message, ...]) -> str:
    turns = [f"<|im_start|>{message.role}\n{message.content}<|im_end|>\n" for message in messages]
    return "".join(turns) + "<|im_start|>assistant\n"


def dataset_info() -> dict[str, Any]:
    """The entry that tells LLaMA-Factory where the turns are and what its tags are called."""
    tags = {"role_tag": "from", "content_tag": "value", "user_tag": "human", "assistant_tag": "gpt"}
    return {
        DATASET: {
            "file_name": DATA_FOLDER,
            "formatting": "sharegpt",
            "columns": {"messages": "conversations", "system": "system"},
            "tags": tags,
        }
    }


def cutoff(longest_tokens: int) -> int:
    """A length that cuts nothing: one line feed is added after the last turn, and the limit itself is cut."""
    return -(-(longest_tokens + 2) // _CUTOFF_STEP) * _CUTOFF_STEP


def training_file(
    template: str, longest_tokens: int, mask_history: bool, training: Mapping[str, Any] | None = None
) -> str:
    """A YAML file for ``llamafactory-cli train`` with the hyperparameters of a recipe.

    Args:
        training: ``train`` of a recipe as plain values, with ``model`` and ``seed``; by default those of arXiv
            2503.18069's published script.

    Raises:
        RecipeError: a setting that LLaMA-Factory has not, by its name.
    """
    values = PUBLISHED if training is None else training
    layout = values["layout"]
    _check_supported(values, longest_tokens)
    ranks = layout["nproc"] * layout["nnodes"]
    rows, accumulation = _rows(values["batch_size"], ranks, layout["micro_batch_size"])
    settings: dict[str, Any] = {"model_name_or_path": values["model"], "stage": "sft", "do_train": True}
    settings |= _weights(values["lora"])
    if layout["sharding"] != "none":
        settings["deepspeed"] = deepspeed_name(layout)
    settings |= {
        "dataset_dir": ".",
        "dataset": DATASET,
        "template": template,
        "cutoff_len": cutoff(longest_tokens),
        "mask_history": mask_history,
        "train_on_prompt": False,
        "packing": False,
        "output_dir": "checkpoint",
        "save_strategy": "steps" if values["save_steps"] else "no",
        **({"save_steps": values["save_steps"], "save_total_limit": 2} if values["save_steps"] else {}),
        "logging_steps": 1,
        "report_to": list(values["log_to"]) or "none",
        "per_device_train_batch_size": rows,
        "gradient_accumulation_steps": accumulation,
        "average_tokens_across_devices": True,
        **({"max_steps": values["steps"]} if values["steps"] else {"num_train_epochs": float(values["epochs"])}),
        "learning_rate": values["learning_rate"],
        "lr_scheduler_type": {"constant": "constant_with_warmup"}.get(values["scheduler"], values["scheduler"]),
        "warmup_ratio": values["warmup_ratio"],
        "weight_decay": values["weight_decay"],
        "adam_beta1": values["beta1"],
        "adam_beta2": values["beta2"],
        "max_grad_norm": values["max_grad_norm"],
        "bf16": values["precision"] == "bf16",
        "disable_gradient_checkpointing": not layout["gradient_checkpointing"],
        "flash_attn": _ATTENTION[layout["attention"]],
        "enable_liger_kernel": False,
        **({"torch_compile": True} if layout["compile"] else {}),
        "seed": values["seed"],
    }
    turns = (
        "only the last assistant turn is trained (mask_history)" if mask_history else "all assistant turns are trained"
    )
    start = f"NPROC_PER_NODE={layout['nproc']} "
    if layout["nnodes"] > 1:
        start += f"NNODES={layout['nnodes']} NODE_RANK=0 MASTER_ADDR=HOST MASTER_PORT=29500 "
    head = [
        f"Written by long1k. In this folder:  FORCE_TORCHRUN=1 {start}llamafactory-cli train train.yaml",
        f"{ranks} GPUs x batch {rows} x accumulation {accumulation} = {values['batch_size']} samples a step"
        + (", as in the published script." if training is None else ", as in the recipe."),
        "Put the folder of the model that the samples were counted for in place of model_name_or_path.",
        f"cutoff_len: the longest sample has {longest_tokens:,} tokens, and nothing may be cut.",
        "What differs from long1k's trainer: LLaMA-Factory renders the text by its own template. The tokens are the",
        "same but for one line feed after the last end token, which it also trains (after every trained turn);",
        f"{turns}. It shuffles rows in an order of its own, and makes the whole",
        "table of logits unless enable_liger_kernel is true (pip install liger-kernel).",
    ]
    return "".join(f"# {line}\n" for line in head) + yaml.safe_dump(settings, sort_keys=False)


def _weights(lora: Mapping[str, Any] | None) -> dict[str, Any]:
    """Which weights are trained."""
    if lora is None:
        return {"finetuning_type": "full"}
    targets = list(lora["targets"])
    made = {
        "finetuning_type": "lora",
        "lora_rank": lora["rank"],
        "lora_alpha": lora["alpha"],
        "lora_dropout": lora["dropout"],
        "lora_target": "all" if targets == ["all-linear"] else ",".join(targets),
    }
    if lora["quantized"]:
        made |= {"quantization_bit": 4, "quantization_type": "nf4", "double_quantization": True}
    return made


def _rows(batch_size: int, ranks: int, micro_batch_size: int | None) -> tuple[int, int]:
    """(rows at once on a GPU, accumulation steps) of a step.

    Raises:
        RecipeError: LLaMA-Factory has no step of that many samples on those GPUs.
    """
    a_rank, rest = divmod(batch_size, ranks)
    rows = micro_batch_size or a_rank
    if rest or not rows or a_rank % rows:
        raise RecipeError(
            f"LLaMA-Factory cannot make steps of {batch_size} samples on {ranks} GPUs of {micro_batch_size or 'equal'} "
            "rows at once: all its micro-batches are of one size",
            "choose train.layout.nproc and train.layout.micro_batch_size whose product divides train.batch_size",
        )
    return rows, a_rank // rows


def _check_supported(values: Mapping[str, Any], longest_tokens: int) -> None:
    """Refuse what would be written and not be so.

    Raises:
        RecipeError: naming every such setting.
    """
    layout = values["layout"]
    faults = {
        "train.packing": values["packing"] is not None and "its packed rows are others",
        "train.rope": values["rope"] is not None and "it takes the factor from cutoff_len",
        "train.early_stop": values["early_stop"] is not None and "it has none on the training loss",
        "train.layout.sharding": layout["sharding"] == "fsdp2" and "FSDP2 is started by accelerate, not by this file",
        "train.layout.sequence_parallel": layout["sequence_parallel"] > 1 and "it has none",
        "train.layout.offload_activations": layout["offload_activations"] and "it has none",
        "train.max_tokens": bool(values["max_tokens"] and longest_tokens > values["max_tokens"])
        and f"the longest sample has {longest_tokens:,} tokens, and it would cut, not "
        + ("drop" if values["over_limit"] == "drop" else "stop"),
    }
    found = [f"{name} ({why})" for name, why in faults.items() if why]
    if found:
        raise RecipeError(
            f"LLaMA-Factory cannot do what the recipe asks: {'; '.join(found)}", "override with --set, or train here"
        )


def deepspeed_name(layout: Mapping[str, Any]) -> str:
    """The name of the DeepSpeed file of a layout, which says what it does."""
    away = {"none": "", "optimizer": "_offload_optimizer", "all": "_offload"}[layout["offload"]]
    return f"ds_z{layout['sharding'].removeprefix('zero')}{away}.json"


def deepspeed_file(layout: Mapping[str, Any] | None = None) -> str:
    """ZeRO as the layout asks for it; the trainer fills in "auto"."""
    wanted = PUBLISHED["layout"] if layout is None else layout
    stage = int(wanted["sharding"].removeprefix("zero"))
    host = {"device": "cpu", "pin_memory": True}
    zero: dict[str, Any] = {"stage": stage, "overlap_comm": wanted["offload"] == "none", "contiguous_gradients": True}
    if wanted["offload"] != "none":
        zero["offload_optimizer"] = host
    if wanted["offload"] == "all":
        zero["offload_param"] = host
    if stage == 3:
        zero["stage3_gather_16bit_weights_on_model_save"] = True
    auto = "auto"
    return json.dumps(
        {
            "train_batch_size": auto,
            "train_micro_batch_size_per_gpu": auto,
            "gradient_accumulation_steps": auto,
            "gradient_clipping": auto,
            "bf16": {"enabled": auto},
            "zero_optimization": zero,
        },
        indent=1,
    )
