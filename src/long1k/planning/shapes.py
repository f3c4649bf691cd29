"""A model's shape and its exact number of parameters, from a folder's config.json or a published name."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from long1k.errors import DataError, RecipeError


@dataclass(frozen=True, slots=True)
class ModelShape:
    """A dense decoder-only transformer with gated MLP and grouped-query attention.

    ``hidden`` is the width of the residual stream, ``head`` that of one attention head, ``intermediate`` the
    MLP's; ``positions`` are the most tokens that it was made for.
    """

    name: str
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    intermediate: int
    vocabulary: int
    tied: bool
    positions: int
    qkv_bias: bool = False
    output_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False

    @property
    def query_width(self) -> int:
        """Width of all heads' queries together."""
        return self.heads * self.head

    @property
    def kv_width(self) -> int:
        """Width of all keys together (and of all values)."""
        return self.kv_heads * self.head

    @property
    def matrix_parameters_a_layer(self) -> int:
        """Weights of one layer that are multiplied with every token."""
        attention = self.hidden * (2 * self.query_width + 2 * self.kv_width)
        return attention + 3 * self.hidden * self.intermediate

    @property
    def parameters_a_layer(self) -> int:
        """All parameters of one layer."""
        biases = (self.query_width + 2 * self.kv_width if self.qkv_bias else 0) + (
            self.hidden if self.output_bias else 0
        )
        if self.mlp_bias:
            biases += 2 * self.intermediate + self.hidden
        norms = 2 * self.hidden + (2 * self.head if self.qk_norm else 0)
        return self.matrix_parameters_a_layer + biases + norms

    @property
    def embedding_parameters(self) -> int:
        """Parameters of the table of embeddings; the output head has as many more unless it is tied."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters; a tied head counts once."""
        return self.layers * self.parameters_a_layer + self.embedding_parameters * (1 if self.tied else 2) + self.hidden

    def lora_parameters(self, rank: int) -> int:
        """Parameters of adapters of a rank beside every matrix of every layer (not beside the output head)."""
        pairs = (
            2 * (self.hidden + self.query_width)
            + 2 * (self.hidden + self.kv_width)
            + 3 * (self.hidden + self.intermediate)
        )
        return self.layers * rank * pairs

    def slice(self, layers: int) -> ModelShape:
        """The same model with fewer (or more) layers."""
        values = {field: getattr(self, field) for field in self.__dataclass_fields__}
        return ModelShape(**{**values, "layers": layers, "name": f"{layers} layers of {self.name}"})


def _qwen25(name: str, hidden: int, layers: int, heads: int, kv: int, mlp: int, vocabulary: int) -> ModelShape:
    return ModelShape(
        name, hidden, layers, heads, kv, hidden // heads, mlp, vocabulary, tied=vocabulary == 151936, positions=32768,
        qkv_bias=True,
    )  # fmt: skip


def _qwen3(name: str, hidden: int, layers: int, heads: int, mlp: int, tied: bool) -> ModelShape:
    return ModelShape(
        name, hidden, layers, heads, 8, 128, mlp, 151936, tied=tied, positions=40960, qk_norm=True
    )  # fmt: skip


def _llama(name: str, hidden: int, layers: int, heads: int, mlp: int, tied: bool, positions: int) -> ModelShape:
    return ModelShape(
        name, hidden, layers, heads, 8, hidden // heads, mlp, 128256, tied=tied, positions=positions
    )  # fmt: skip


# From the config.json of each published model.  Qwen2.5: positions are those of the -Instruct models.
KNOWN = {
    shape.name: shape
    for shape in (
        _qwen25("Qwen2.5-0.5B", 896, 24, 14, 2, 4864, 151936),
        _qwen25("Qwen2.5-1.5B", 1536, 28, 12, 2, 8960, 151936),
        _qwen25("Qwen2.5-3B", 2048, 36, 16, 2, 11008, 151936),
        _qwen25("Qwen2.5-7B", 3584, 28, 28, 4, 18944, 152064),
        _qwen25("Qwen2.5-14B", 5120, 48, 40, 8, 13824, 152064),
        _qwen25("Qwen2.5-32B", 5120, 64, 40, 8, 27648, 152064),
        _qwen25("Qwen2.5-72B", 8192, 80, 64, 8, 29568, 152064),
        _qwen3("Qwen3-0.6B", 1024, 28, 16, 3072, True),
        _qwen3("Qwen3-1.7B", 2048, 28, 16, 6144, True),
        _qwen3("Qwen3-4B", 2560, 36, 32, 9728, True),
        _qwen3("Qwen3-8B", 4096, 36, 32, 12288, False),
        _qwen3("Qwen3-14B", 5120, 40, 40, 17408, False),
        _qwen3("Qwen3-32B", 5120, 64, 64, 25600, False),
        _llama("Llama-3-8B", 4096, 32, 32, 14336, False, 8192),
        _llama("Llama-3-70B", 8192, 80, 64, 28672, False, 8192),
        _llama("Llama-3.1-8B", 4096, 32, 32, 14336, False, 131072),
        _llama("Llama-3.1-70B", 8192, 80, 64, 28672, False, 131072),
        _llama("Llama-3.2-1B", 2048, 16, 32, 8192, True, 131072),
        _llama("Llama-3.2-3B", 3072, 28, 24, 8192, True, 131072),
    )
}
_SUFFIXES = re.compile(r"[-_](instruct|base|chat|math|coder|hf|it)(?=[-_]|$)", re.IGNORECASE)
_FAMILIES = ("qwen2", "qwen3", "llama", "mistral")


def shape_of(model: str | Path) -> ModelShape:
    """The shape of a model folder, or of a published model by its name (or a path that ends in it).

    Raises:
        DataError: the folder's config.json is of a kind whose parameters are not known.
        RecipeError: neither a folder nor a known name.
    """
    folder = Path(model).expanduser()
    if (folder / "config.json").is_file():
        try:
            values = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{folder / 'config.json'} cannot be read: {error}", "copy the model again") from None
        if not isinstance(values, dict):
            raise DataError(f"{folder / 'config.json'} holds no settings", "copy the model again")
        return shape_of_config(values, folder.resolve().name)
    found = known_shape(folder.name)
    if found is None:
        close = difflib.get_close_matches(_plain(folder.name), [_plain(name) for name in KNOWN], 1, cutoff=0.3)
        near = next((name for name in KNOWN if close and _plain(name) == close[0]), None)
        hint = f"did you mean '{near}'? " if near else ""
        raise RecipeError(
            f"'{model}' is no model folder (it has no config.json) and no known name",
            f"{hint}known: {', '.join(KNOWN)}",
        )
    return found


def known_shape(name: str) -> ModelShape | None:
    """The shape of a published model, whatever its name says beside family and size (-Instruct, …)."""
    return next((shape for known, shape in KNOWN.items() if _plain(known) == _plain(name)), None)


def _plain(name: str) -> str:
    return _SUFFIXES.sub("", name.rsplit("/", 1)[-1]).lower().removeprefix("meta-")


def shape_of_config(values: Mapping[str, Any], name: str) -> ModelShape:
    """The shape that the values of a config.json describe.

    Raises:
        DataError: another architecture, or a size is missing.
    """
    family = values.get("model_type")
    if family not in _FAMILIES:
        raise DataError(
            f"the model {name} is of type {family!r}, whose parameters are not known here",
            f"known types: {', '.join(_FAMILIES)}; name a model of like size with --model",
        )
    try:
        heads = int(values["num_attention_heads"])
        return ModelShape(
            name=name,
            hidden=int(values["hidden_size"]),
            layers=int(values["num_hidden_layers"]),
            heads=heads,
            kv_heads=int(values.get("num_key_value_heads") or heads),
            head=int(values.get("head_dim") or (128 if family == "qwen3" else values["hidden_size"] // heads)),
            intermediate=int(values["intermediate_size"]),
            vocabulary=int(values["vocab_size"]),
            tied=bool(values.get("tie_word_embeddings", False)),
            positions=int(values.get("max_position_embeddings") or 0),
            qkv_bias=family == "qwen2" or bool(values.get("attention_bias", False)),
            output_bias=family != "qwen2" and bool(values.get("attention_bias", False)),
            mlp_bias=bool(values.get("mlp_bias", False)),
            qk_norm=family == "qwen3",
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise DataError(
            f"the config.json of {name} does not say its sizes: {error!r}", "copy the model again"
        ) from None
