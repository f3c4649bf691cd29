"""How far a model can look: its positions, and their extension by scaled rotary embeddings (RoPE).

``yarn`` (arXiv 2309.00071) and ``linear`` (arXiv 2306.15595) stretch the rotation once and for all.
``dynamic`` stretches it with the longest row of a batch, so the rows of a batch would change one another;
it is trained with one row at a time only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from long1k.errors import DataError
from long1k.training.config import ModelInit, Rope, TrainConfig

_IN_CONFIG = ("max_position_embeddings", "n_positions", "max_seq_len")


def positions_in(config: Mapping[str, Any]) -> int | None:
    """The positions of a model by its config.json, scaled rotary embeddings counted; None if it does not say.

    As other engines read it: for yarn the original positions times the factor, for linear and dynamic
    ``max_position_embeddings`` times the factor; other kinds have the whole in ``max_position_embeddings``.
    """
    inner = config.get("text_config")
    config = inner if isinstance(inner, Mapping) else config
    base = next((value for name in _IN_CONFIG if isinstance(value := config.get(name), int)), None)
    if base is None:
        return None
    rope = rope_in(config)
    kind, factor = rope.get("rope_type", rope.get("type")), rope.get("factor")
    if not isinstance(factor, int | float):
        return base
    if kind == "yarn":
        original = rope.get("original_max_position_embeddings")
        return max(base, int((original if isinstance(original, int) else base) * factor))
    return int(base * factor) if kind in ("linear", "dynamic") else base


def rope_in(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The rotary embedding's parameters, by their name of today or of earlier versions."""
    for name in ("rope_parameters", "rope_scaling"):
        found = config.get(name)
        if isinstance(found, Mapping):
            return found
    return {}


def positions_of(model: Path | ModelInit, rope: Rope | None = None) -> int | None:
    """The positions that a model has when it is trained, extended if ``rope`` asks for it.

    Raises:
        DataError: the model's embeddings are stretched already.
    """
    if isinstance(model, ModelInit):
        config: dict[str, Any] = {"max_position_embeddings": model.max_positions}
    else:
        path = model / "config.json"
        config = json.loads(path.read_text()) if path.is_file() else {}
    found = positions_in(config)
    if rope is None or found is None:
        return found
    _check_plain(rope_in(config))
    return int(found * rope.factor)


def _check_plain(parameters: Mapping[str, Any]) -> None:
    kind = parameters.get("rope_type", parameters.get("type", "default"))
    if kind != "default":
        raise DataError(
            f"the model's rotary embeddings are stretched already ({kind}, factor {parameters.get('factor')})",
            "start from the model before its extension, or leave train.rope out",
        )


def extend_positions(model: Any, config: TrainConfig) -> None:
    """Stretch a model's rotary embeddings in place; what is saved of it later says so in config.json.

    Raises:
        DataError: the model has no rotary embeddings, has them by layer, has stretched ones already, or the
            layout would let rows change one another.
    """
    rope = config.rope
    if rope is None:
        return
    settings = model.config
    parameters = getattr(settings, "rope_parameters", None)
    modules = _rotary(model)
    if not isinstance(parameters, dict) or "rope_theta" not in parameters or not modules:
        raise DataError(
            f"a {settings.model_type} model has no rotary embeddings of one kind, so its positions cannot be extended",
            "use a model with more positions, or synthesize to a lower target",
        )
    _check_plain(parameters)
    if rope.kind == "dynamic" and (config.packing is not None or config.layout.micro_batch_size != 1):
        raise DataError(
            "with train.rope kind dynamic the longest row of a batch decides the positions of all its rows",
            "set train.layout.micro_batch_size: 1 and no packing, or kind: yarn",
        )
    positions = settings.max_position_embeddings
    changed = {**parameters, "rope_type": rope.kind, "factor": float(rope.factor)}
    if rope.kind == "yarn":
        changed["original_max_position_embeddings"] = positions
        settings.max_position_embeddings = int(positions * rope.factor)
    settings.rope_parameters = changed
    for name, module in modules.items():
        parent = model.get_submodule(name.rpartition(".")[0])
        fresh = type(module)(settings).to(module.inv_freq.device)
        setattr(parent, name.rpartition(".")[2], fresh)
        if rope.kind == "dynamic":
            fresh.register_forward_pre_hook(_forget)


def _rotary(model: Any) -> dict[str, Any]:
    """The modules that turn positions into rotations, by name."""
    return {
        name: module
        for name, module in model.named_modules()
        if hasattr(module, "inv_freq") and isinstance(getattr(module, "rope_type", None), str)
    }


def _forget(module: Any, _inputs: Any) -> None:
    """Each row has the rotation of its own length, whatever was seen before it."""
    module.max_seq_len_cached = module.original_max_seq_len
    module.inv_freq = module.original_inv_freq.to(module.inv_freq.device)


def describe_rope(model: Any) -> dict[str, Any]:
    """The rotary embeddings in force: kind, factor, positions, and the slowest rotation (radians a position).

    ``plain`` is what the slowest rotation would be without extension.
    """
    modules = list(_rotary(model).values())
    parameters = getattr(model.config, "rope_parameters", None) or {}
    compute = getattr(modules[0], "compute_default_rope_parameters", None) if modules else None
    return {
        "plain": float(compute(model.config)[0].min()) if compute is not None else None,
        "kind": modules[0].rope_type if modules else None,
        "factor": parameters.get("factor"),
        "positions": positions_in(model.config.to_dict()),
        "slowest": float(modules[0].inv_freq.min()) if modules else None,
    }
