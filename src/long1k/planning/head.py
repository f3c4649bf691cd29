"""Memory of the loss head: the product with a large vocabulary, and what becomes of its table."""

from __future__ import annotations

from long1k.planning.layer import width_bytes
from long1k.planning.setting import Item, Setting, ranks_that_share
from long1k.planning.shapes import ModelShape

_TILE_TOKENS, _TILE_WIDTH = 4096, 32768  # TRL 1.16: its tile is so wide for a small vocabulary too


def head_items(shape: ModelShape, tokens: int, s: Setting, backward: bool) -> list[Item]:
    """Memory of the loss head from the last layer to the loss, or back.

    ``fused`` (TRL) projects tiles of tokens and vocabulary, and sums the gradients of its weights and inputs in fp32;
    ``liger`` takes pieces of tokens and makes the gradients while it goes forward; ``full`` keeps the whole table.
    """
    count = s.micro_batch_size * (tokens - 1) / s.sequence_parallel
    c, hidden, table = width_bytes(s.compute), shape.hidden, float(shape.embedding_parameters)
    rows, width = min(count, _TILE_TOKENS), min(_TILE_WIDTH, shape.vocabulary)
    made = []
    if s.loss_head == "full":
        made.append(Item("logits", count * shape.vocabulary * (c + (8 if backward else 4)), "the whole table"))
        made += head_gradient(shape, s) if backward else []
        made += [Item("loss head's gradients", count * hidden * c)] if backward else []
    elif s.loss_head == "liger":  # gradients are made in the forward pass
        made.append(Item("logits in pieces", 0 if backward else count * hidden * (c + 4)))
        table_gradient = sum(item.bytes for item in head_gradient(shape, s))
        made.append(Item("loss head's gradients", count * hidden * c + table_gradient))
    else:
        tile: float = rows * _TILE_WIDTH * c
        cast: float = width * hidden * c if s.compute == "autocast" else 0
        if s.device == "cpu":  # no kernel folds the tile in place
            tile += rows * width * 4 * (7 if backward else 3.25)
            cast += (width * hidden + rows * hidden) * (4 if c == 2 and backward else 0)
        else:  # positions that carry loss are taken out
            tile += count * hidden * (4 if s.compute == "autocast" else c)
        made.append(Item("logits in pieces", tile + cast, "never the whole table"))
        if backward:
            grads: float = count * hidden * 4
            if s.lora_rank is None:
                grads += table * (4 if c == 4 or s.compute == "autocast" else 4 + c)
            made.append(Item("loss head's gradients", grads, "of its weights and inputs, in fp32"))
    if s.sharding in ("zero3", "fsdp2") and s.ranks > 1:
        made.append(Item("gathered loss head", c * table))
    return made


def head_gradient(shape: ModelShape, s: Setting) -> list[Item]:
    """The gradient of the head's weights, which is there alone while the layers have none yet."""
    if s.lora_rank is not None or s.accumulate or s.deepspeed:
        return []
    return [Item("gradient of the loss head", 4.0 * shape.embedding_parameters / ranks_that_share(s, "fsdp2"))]
