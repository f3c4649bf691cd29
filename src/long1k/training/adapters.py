"""Low-rank adapters (LoRA, arXiv 2106.09685; QLoRA, arXiv 2305.14314), put on and merged by the library peft.

The frozen weights stand in the type of training (bf16 for bf16: they are never updated, so nothing is
lost), in 4 bits for QLoRA; the adapters in fp32.  At the end the adapters are merged into full weights,
so that every engine can load the checkpoint, and kept beside them in ``adapter/``.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from long1k.errors import EngineError, RecipeError
from long1k.plugins import need
from long1k.training.checkpoint import load_model
from long1k.training.config import Lora, TrainConfig
from long1k.training.proof import read_tensors

ADAPTER = "adapter"
_ALL_LINEAR = "all-linear"
_PREFIX = "base_model.model."


def check_adapters(config: TrainConfig) -> None:
    """Refuse adapters that cannot be trained here, before anything is prepared.

    Raises:
        MissingExtraError: peft (or bitsandbytes) is not installed.
        EngineError: 4 bits without a GPU.
    """
    if config.lora is None:
        return
    need("peft")
    if config.lora.quantized:
        if not need("torch").cuda.is_available():
            raise EngineError(
                "train.lora.quantized (QLoRA) needs an NVIDIA GPU, and this machine shows none",
                "leave it out: LoRA with whole frozen weights runs on the CPU",
            )
        need("bitsandbytes")


def load_frozen(folder: Path, config: TrainConfig) -> Any:
    """A model whose weights will be frozen: in the type of training, or in 4 bits."""
    assert config.lora is not None
    if not config.lora.quantized:
        return load_model(folder, "bfloat16" if config.precision == "bf16" else "float32")
    torch = need("torch")
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if torch.cuda.is_available() else "cpu"
    return load_model(folder, "bfloat16", quantization_config=quantization(config), device_map={"": device})


def quantization(config: TrainConfig) -> Any:
    """4-bit NormalFloat with quantized constants, computing in bf16 (fp32 if the run is fp32)."""
    torch = need("torch")
    return need("transformers").BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if config.precision == "bf16" else torch.float32,
    )  # fmt: skip


def attach(model: Any, config: TrainConfig, seed: int) -> Any:
    """The model with adapters on it, all else frozen; the seed decides their first values.

    Raises:
        RecipeError: the targets name no layer, or one whose weights are shared with another.
    """
    lora = config.lora
    assert lora is not None
    torch, peft = need("torch"), need("peft")
    _check_targets(model, lora)
    if lora.quantized:
        # Recomputation is the trainer's to switch on, as it does for all other models.
        model = peft.prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
    elif config.precision == "bf16":
        model.to(torch.bfloat16)
    torch.manual_seed(seed % 2**63)
    settings = peft.LoraConfig(
        r=lora.rank, lora_alpha=lora.alpha, lora_dropout=lora.dropout, bias="none", task_type="CAUSAL_LM",
        target_modules=_ALL_LINEAR if _ALL_LINEAR in lora.targets else list(lora.targets),
    )  # fmt: skip
    try:
        with warnings.catch_warnings():  # notices to developers: the library uses names that transformers gave up
            warnings.simplefilter("ignore")
            return peft.get_peft_model(model, settings)
    except ValueError as error:
        raise RecipeError(f"train.lora: {error}", "name layers of the model in train.lora.targets") from None


def _check_targets(model: Any, lora: Lora) -> None:
    """Every named target must be the end of a layer's name; embeddings that are tied cannot be adapted."""
    if _ALL_LINEAR in lora.targets:
        return
    names = [name for name, _ in model.named_modules()]
    for target in lora.targets:
        hits = [name for name in names if name == target or name.endswith("." + target)]
        if not hits:
            linear = sorted({n.rsplit(".", 1)[-1] for n, m in model.named_modules() if hasattr(m, "in_features")})
            raise RecipeError(
                f"train.lora.targets: the model has no layer '{target}'", f"its linear layers: {', '.join(linear)}"
            )
        ends = [model.get_input_embeddings(), model.get_output_embeddings()]
        if any(module is end for end in ends for name, module in model.named_modules() if name in hits):
            raise RecipeError(
                f"train.lora.targets: '{target}' is an embedding or the head, which adapters here leave alone",
                "name layers of attention and feed-forward, or all-linear",
            )


def trainable_parameters(model: Any) -> int:
    """Elements that the optimiser moves, shards counted whole."""
    return sum(int(getattr(p, "ds_numel", p.numel())) for p in model.parameters() if p.requires_grad)


def adapted_weights(model: Any) -> list[str]:
    """Names, as in the merged model, of the weights that have an adapter."""
    layer = need("peft").tuners.tuners_utils.BaseTunerLayer
    return sorted(
        f"{name.removeprefix(_PREFIX)}.weight" for name, module in model.named_modules() if isinstance(module, layer)
    )


def save_adapter(model: Any, folder: Path, state: dict[str, Any] | None = None) -> None:
    """Write the adapters alone, in peft's layout; ``state`` holds full tensors where the model is sharded."""
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(str(folder), state_dict=state, safe_serialization=True)
    (folder / "README.md").unlink(missing_ok=True)  # the library's empty model card
    path = folder / "adapter_config.json"
    settings = json.loads(path.read_text())
    if isinstance(settings["target_modules"], list):  # a set in the library: in another order in every process
        settings["target_modules"].sort()
    path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")


def merge(model: Any, precision: str) -> Any:
    """The full model with its adapters added to its weights: each sum is taken in fp32, and rounded once.

    Args:
        precision: of training, which is what the checkpoint is written in.
    """
    torch = need("torch")
    layer = need("peft").tuners.tuners_utils.BaseTunerLayer
    for module in model.modules():
        if isinstance(module, layer):
            weight = module.get_base_layer().weight
            weight.data = weight.data.float()
            module.merge(safe_merge=True)
            weight = module.get_base_layer().weight
            weight.data = weight.data.to(torch.bfloat16 if precision == "bf16" else torch.float32)
    merged = model.unload()
    for value in merged.parameters():
        value.requires_grad_(True)
    return merged


def merge_saved(base: Any, adapter: Path, precision: str) -> Any:
    """As ``merge``, of a whole model and a folder's adapter: where those in memory stood in 4 bits, or in shards."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = need("peft").PeftModel.from_pretrained(base, str(adapter))
    return merge(model, precision)


def merged_proof(base: Path | dict[str, Any], adapted: list[str]) -> Callable[[Path], dict[str, Any]]:
    """A proof for ``save_checkpoint``: weights without an adapter are bit-equal to the base's, others are not.

    Args:
        base: the folder that training started from, or its tensors by name.
        adapted: names of the weights that have an adapter.
    """

    def prove(folder: Path) -> dict[str, Any]:
        torch = need("torch")
        saved = dict(_lookup(folder))
        equal, changed, unknown = 0, 0, 0
        for name, value in base.items() if isinstance(base, dict) else read_tensors(base):
            if name not in saved:
                unknown += 1  # tied to another one
                continue
            same = torch.equal(value.detach().cpu().to(saved[name]().dtype), saved[name]())
            if name in adapted:
                changed += not same
            elif not same:
                raise EngineError(
                    f"the frozen weight {name} differs after merging", "report this: adapters must not touch it"
                )
            else:
                equal += 1
        if adapted and not changed:
            raise EngineError(
                "not one adapter changed the weights that it is merged into", "raise train.learning_rate or train.steps"
            )
        return {"frozen_equal": equal, "adapted_changed": changed, "adapted": len(adapted), "not_compared": unknown}

    return prove


def _lookup(folder: Path) -> dict[str, Callable[[], Any]]:
    """How to read each tensor of a checkpoint when it is asked for."""
    from long1k.training.proof import weight_files

    def reader(file: str, name: str) -> Callable[[], Any]:
        def read() -> Any:
            with need("safetensors").safe_open(str(folder / file), framework="pt") as handle:
                return handle.get_tensor(name)

        return read

    return {name: reader(file, name) for file, names in weight_files(folder).items() for name in names}
