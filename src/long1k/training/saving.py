"""A trained model's folder: written aside, proven from the files themselves, then moved into place.

Whoever finds a model in its place finds a whole one that was loaded again and has generated; a crash,
a full disk or a failed proof leaves whatever was there before.
"""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from long1k.errors import EngineError
from long1k.plugins import need
from long1k.tokens import Tokenizer
from long1k.training.checkpoint import copy_tokenizer, pad_id
from long1k.training.proof import generate, prove_checkpoint
from long1k.training.resumable import explained, flush

STAGING = ".saving"
_SHARD_SIZE = "5GB"
_SAME_NORM = 1e-12  # two sums of one tensor in double precision, in whatever order
_DTYPES = {"fp32": "float32", "bf16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class SaveSettings:
    """What a checkpoint is written with, and proven against.

    Args:
        precision: of training; bf16 training writes bf16 weights (the fp32 ones only serve the optimiser).
        prompt: token ids that the proof generates from; the end token alone if there are none.
        beside: folders copied into the checkpoint, by name.
        also: a further proof of the written folder; what it returns goes into the record.
        shard_size: largest weight file.
    """

    precision: str = "fp32"
    prompt: tuple[int, ...] = ()
    beside: Mapping[str, Path] = field(default_factory=dict)
    also: Callable[[Path], dict[str, Any]] | None = None
    shard_size: str = _SHARD_SIZE


def weight_norms(weights: Iterable[tuple[str, Any]]) -> dict[str, float]:
    """The Euclidean norm of each (name, tensor), summed in double precision."""
    torch = need("torch")
    return {name: float(torch.linalg.vector_norm(value.detach(), dtype=torch.float64)) for name, value in weights}


def trained_weights(model: Any) -> Iterable[tuple[str, Any]]:
    """The (name, tensor) pairs of a model that its optimiser moves."""
    return ((name, value) for name, value in model.named_parameters() if value.requires_grad)


def check_changed(start: Mapping[str, float], now: Iterable[tuple[str, Any]]) -> dict[str, int]:
    """How many of the trained tensors differ from the start; for the manifest.

    Args:
        start: ``weight_norms`` before training.
        now: the same (name, tensor) pairs after it.

    Raises:
        EngineError: a tensor is not finite, or training changed none at all.
    """
    torch = need("torch")
    same = []
    for name, value in now:
        if not bool(torch.isfinite(value.detach()).all()):
            raise EngineError(f"the weight {name} is not finite", "lower train.learning_rate, check the data")
        # A sum's last digits depend on the device: weights may have started on the CPU and ended on a GPU.
        if math.isclose(start[name], weight_norms([(name, value)])[name], rel_tol=_SAME_NORM):
            same.append(name)
    if start and len(same) == len(start):
        raise EngineError(
            f"training changed not one of {len(start):,} tensors (the first: {same[0]})",
            "raise train.learning_rate, or train for more steps than the warm-up",
        )
    return {"trained_tensors": len(start), "trained_tensors_unchanged": len(same)}


def save_checkpoint(
    model: Any,
    tokenizer: Tokenizer,
    end_id: int,
    folder: Path,
    settings: SaveSettings = SaveSettings(),
    state: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write weights, configuration, tokenizer and template, prove that they can be used, move them into place.

    The model, or the state, is left in the type that was written: a copy of a large one would not fit.

    Args:
        model: not sharded; or of any kind, then only its configuration is read, and ``state`` holds the weights.
        folder: where the checkpoint goes; other files in it stay.
        state: full tensors by name, as gathered from shards on this rank.

    Returns:
        What was proven, for the manifest (``prove_checkpoint``).

    Raises:
        EngineError: weights that are no numbers, a full disk, or files that are not what was to be written.
    """
    torch = need("torch")
    dtype = getattr(torch, _DTYPES[settings.precision])
    _undo_patches(model)
    answer = None
    prompt = list(settings.prompt) or [end_id]  # something to go on from
    if state is None:
        for value in model.parameters():  # buffers keep their type: rotary frequencies in bf16 would be wrong
            value.data = _cast(value.data, dtype)
        answer = generate(model, prompt, pad_id(tokenizer, end_id))
    else:
        for name in state:
            state[name] = _cast(state[name], dtype)
    _set_generation(model, tokenizer, end_id)
    staging = folder / STAGING
    with explained(staging):
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        _write(model, tokenizer, staging, settings, state, str(dtype).removeprefix("torch."))
    try:
        expected = model.state_dict() if state is None else state
        record = prove_checkpoint(
            staging, tokenizer, end_id, dtype=dtype, expected=expected, prompt=prompt, answer=answer,
            device=None if state is not None else next(model.parameters()).device,
        )  # fmt: skip
        if settings.also is not None:
            record |= settings.also(staging)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    with explained(staging):
        for path in staging.rglob("*"):
            if path.is_file():
                flush(path)
    _into_place(staging, folder)
    return record


def _write(
    model: Any, tokenizer: Tokenizer, folder: Path, settings: SaveSettings, state: dict[str, Any] | None, dtype: str
) -> None:
    need("transformers").utils.logging.disable_progress_bar()
    written = None if state is None else _without_twins(model, state)
    model.save_pretrained(str(folder), state_dict=written, max_shard_size=settings.shard_size)
    path = folder / "config.json"
    config = json.loads(path.read_text())
    config["dtype"] = dtype  # of a sharded model, the library writes the type of what is left on this rank
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    copy_tokenizer(tokenizer, folder)
    for name, source in settings.beside.items():
        shutil.copytree(source, folder / name)


def _without_twins(model: Any, state: dict[str, Any]) -> dict[str, Any]:
    """The state without tied weights: gathered from shards they come twice, and would be written twice."""
    twins = getattr(model, "all_tied_weights_keys", None) or {}
    equal = need("torch").equal
    return {
        name: value
        for name, value in state.items()
        if not (name in twins and twins[name] in state and equal(value, state[twins[name]]))
    }


def _cast(value: Any, dtype: Any) -> Any:
    return value.to(dtype) if value.is_floating_point() else value


def _undo_patches(model: Any) -> None:
    """Take back what the trainer hung on the model's forward pass: mixed precision, a loss head in pieces."""
    model.__dict__.pop("forward", None)
    model.__dict__.pop("_original_forward", None)


def _set_generation(model: Any, tokenizer: Tokenizer, end_id: int) -> None:
    model.config.use_cache = True
    model.generation_config = need("transformers").GenerationConfig(
        eos_token_id=end_id, pad_token_id=pad_id(tokenizer, end_id), do_sample=False
    )


def _into_place(staging: Path, folder: Path) -> None:
    """Move a proven checkpoint's entries up; config.json last, without which a folder is no model."""
    entries = sorted(staging.iterdir(), key=lambda path: path.name == "config.json")
    fresh = {path.name for path in entries}
    (folder / "config.json").unlink(missing_ok=True)
    for path in (*folder.glob("*.safetensors"), *folder.glob("*.safetensors.index.json")):
        if path.name not in fresh:
            path.unlink()  # of an earlier try with other shards
    for path in entries:
        target = folder / path.name
        if target.is_dir():
            shutil.rmtree(target)
        os.replace(path, target)
    staging.rmdir()
