"""Bytes that one layer's activations take, counted tensor by tensor.

The count follows what autograd keeps of transformers' Qwen2, Qwen3 and Llama layers: the inputs of each product,
both sides of each multiplication, and what attention keeps (Korthikanti et al., 2022, arXiv 2205.05198, count GPT's
layer the same way).  Widths are in elements, results in bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from long1k.planning.shapes import ModelShape

Compute = Literal["fp32", "bf16", "autocast"]


@dataclass(frozen=True, slots=True)
class Attention:
    """What attention needs besides queries, keys and values.

    ``masked``: rows of unlike length, or several samples in a row, are told apart by a T × T mask.
    ``eager``: the table of scores is kept.  ``pieces``: samples in one line go through attention one by one, and
    their results are put together again in a copy.
    """

    masked: bool = False
    eager: bool = False
    pieces: bool = False


def width_bytes(compute: Compute) -> int:
    """Bytes of one element of a product's input and output."""
    return 4 if compute == "fp32" else 2


def residual_bytes(compute: Compute) -> int:
    """Bytes of one element of the stream between layers: under autocast additions stay in fp32."""
    return 2 if compute == "bf16" else 4


def kept_bytes(shape: ModelShape, tokens: int, compute: Compute, attention: Attention = Attention()) -> float:
    """What one layer keeps of a row of ``tokens`` for the backward pass, if nothing is computed again."""
    c, hidden, query = width_bytes(compute), shape.hidden, shape.query_width
    key = query if attention.masked or attention.eager else shape.kv_width  # heads are repeated under a mask
    # A norm keeps its input in fp32, the normalized values, and its result as input of the next product.
    norm = {"fp32": 3 * 4 * hidden, "bf16": (4 + 2 + 2) * hidden, "autocast": (4 + 4) * hidden}[compute]
    a_token = 2.0 * norm + 2 * 4
    if compute == "autocast":  # the input of every product is cast for itself: three in attention, two in the MLP
        a_token += 5 * 2 * hidden
    a_token += c * (2 * query + 2 * key) + 4 * shape.heads  # q, k, v, result, and its normalizers
    if attention.pieces:
        a_token += c * query
    a_token += 4 * c * shape.intermediate  # gate, its activation, up, and their product
    if shape.qk_norm:
        a_token += (4 + c) * (query + shape.kv_width) + 4 * (shape.heads + shape.kv_heads)
    if attention.eager:
        a_token += shape.heads * tokens * (4 + (c if c < 4 else 0))
    elif attention.masked:
        a_token += c * tokens  # the mask as numbers that are added to the scores
    return a_token * tokens


def again_bytes(shape: ModelShape, tokens: int, compute: Compute, attention: Attention = Attention()) -> float:
    """What a layer that is computed again adds to its kept input: its activations, and the gradient of the stream."""
    whole, stream = kept_bytes(shape, tokens, compute, attention), stream_bytes(shape, tokens, compute)
    # In fp32 the first norm keeps the very input that was kept all along.
    return whole + (0.0 if residual_bytes(compute) == 4 else stream)


def forward_bytes(shape: ModelShape, tokens: int, compute: Compute) -> float:
    """The most that one layer needs in a forward pass of which only its input is kept."""
    return 3.0 * width_bytes(compute) * shape.intermediate * tokens + stream_bytes(shape, tokens, compute)


def working_bytes(shape: ModelShape, tokens: int, compute: Compute, attention: Attention = Attention()) -> float:
    """The most that the backward pass of one layer needs beyond what it kept: gradients at the MLP's product."""
    c = width_bytes(compute)
    at_mlp = 2.0 * c * shape.intermediate * tokens
    if not attention.eager:
        return at_mlp
    scores = 2.0 * 4 * shape.heads * tokens * tokens
    return max(at_mlp, scores - 4.0 * c * shape.intermediate * tokens)


def stream_bytes(shape: ModelShape, tokens: int, compute: Compute) -> float:
    """The stream between two layers: what is kept of a layer that is computed again."""
    return float(residual_bytes(compute) * shape.hidden * tokens)


def mask_bytes(tokens: int, attention: Attention) -> float:
    """The mask that all layers share: one byte a pair, or a number where it is added to scores."""
    if not attention.masked:
        return 0.0
    return float(tokens * tokens * (4 if attention.eager else 1))


def norm_bytes(shape: ModelShape, tokens: int, compute: Compute) -> float:
    """What the last norm keeps, and its result: gone when the layers are passed back."""
    return float(tokens * {"fp32": 3 * 4, "bf16": 4 + 2 + 2, "autocast": 3 * 4}[compute] * shape.hidden)


def ends_bytes(shape: ModelShape, tokens: int, compute: Compute) -> float:
    """What lies outside of the layers: the angles of positions, ids, labels and mask."""
    return float(tokens * (2 * residual_bytes(compute) * shape.head + 4 * 8))
