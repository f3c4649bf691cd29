"""What LLaMA-Factory needs beside the data: the right template, dataset_info.json, and a training file.

LLaMA-Factory renders conversations by templates of its own, chosen by name.  Which one writes the text that the
tokenizer's own chat template writes is found by rendering, never by a model's name.
"""

from __future__ import annotations

import json
from typing import Any

import yaml

from long1k.chat import Chat
from long1k.errors import DataError
from long1k.rows import Message

DATA_FOLDER = "samples"
DATASET = "long1k"
DEEPSPEED = "ds_z3_offload.json"
_QWEN_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
_PROBE = (Message("user", "q one"), Message("assistant", "a one"), Message("user", "q two"))
_CUTOFF_STEP = 256


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


def training_file(template: str, longest_tokens: int, mask_history: bool) -> str:
    """A YAML file for ``llamafactory-cli train``: full fine-tuning as in arXiv 2503.18069's published script."""
    settings: dict[str, Any] = {
        "model_name_or_path": "Qwen/Qwen2.5-32B-Instruct",
        "stage": "sft",
        "do_train": True,
        "finetuning_type": "full",
        "deepspeed": DEEPSPEED,
        "dataset_dir": ".",
        "dataset": DATASET,
        "template": template,
        "cutoff_len": cutoff(longest_tokens),
        "mask_history": mask_history,
        "train_on_prompt": False,
        "packing": False,
        "output_dir": "checkpoint",
        "save_steps": 62,
        "logging_steps": 1,
        "per_device_train_batch_size": 1,
        "gradient_accumulation_steps": 2,
        "num_train_epochs": 4.0,
        "learning_rate": 2.0e-5,
        "lr_scheduler_type": "cosine",
        "warmup_ratio": 0.05,
        "weight_decay": 1.0e-4,
        "adam_beta1": 0.9,
        "adam_beta2": 0.95,
        "bf16": True,
        "flash_attn": "fa2",
        "seed": 42,
    }
    turns = (
        "only the last assistant turn is trained (mask_history)" if mask_history else "all assistant turns are trained"
    )
    head = [
        "Written by long1k. In this folder:  FORCE_TORCHRUN=1 llamafactory-cli train train.yaml",
        "The settings are those of the published script: 8 GPUs x batch 1 x accumulation 2 = 16 samples a step.",
        "Put the folder of the model that the samples were counted for in place of model_name_or_path.",
        f"cutoff_len: the longest sample has {longest_tokens:,} tokens, and nothing may be cut.",
        "What differs from long1k's trainer: LLaMA-Factory renders the text by its own template. The tokens are the",
        "same but for one line feed after the last end token, which it also trains (after every trained turn);",
        f"{turns}.",
    ]
    return "".join(f"# {line}\n" for line in head) + yaml.safe_dump(settings, sort_keys=False)


def deepspeed_file() -> str:
    """ZeRO-3 with parameters and optimiser kept in the CPU's memory; the trainer fills in "auto"."""
    host = {"device": "cpu", "pin_memory": True}
    zero = {
        "stage": 3,
        "offload_optimizer": host,
        "offload_param": host,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "stage3_gather_16bit_weights_on_model_save": True,
    }
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
