"""Rows side by side in one line, without padding, and attention that stays within each sample.

A padded batch computes on its padding; a mask over a line of samples computes on all pairs of them, and keeps the
fast kernels away.  Here everything but attention runs on the line of real tokens, and attention runs sample by sample,
each causal and unmasked, which every machine has a fast kernel for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any

from long1k.errors import EngineError
from long1k.plugins import need
from long1k.training.data import IGNORED, TrainRow
from long1k.training.layout import Layout

ISOLATED = "long1k_isolated"  # the name under which transformers knows the attention below
_CACHED_NUMBERS = 1 << 19  # one activation of a CPU's micro-batch, so that it stays in the cache: 2 MiB in fp32


def can_isolate(model: Any) -> bool:
    """Whether the model's attention is causal over a whole sample, through transformers' common interface."""
    config = model.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        bool(getattr(model, "_supports_sdpa", False))
        and bool(getattr(model, "_supports_attention_backend", False))
        and kinds == {"full_attention"}
        and getattr(config, "attn_logit_softcapping", None) is None
    )


def in_line(model: Any, layout: Layout) -> bool:
    """Whether a micro-batch is one line of tokens without padding.

    So it is with flash attention, which reads the samples' borders from the positions, and with ``attention: auto``.
    Compiled models and models whose attention is of another kind get padded batches; ranks that share a row have
    lines of their own (see ``sequence``).
    """
    if layout.sequence_parallel > 1:
        return False
    return layout.attention.startswith("flash") or _isolated(model, layout)


def line_tokens(model: Any, layout: Layout) -> int | None:
    """Tokens of a micro-batch that the CPU works on fastest; None on a GPU, which likes them long.

    None as well where weights are sharded: DeepSpeed is told the number of micro-batches before the model is there.
    """
    if layout.sharding != "none" or need("torch").cuda.is_available() or not in_line(model, layout):
        return None
    return max(1, _CACHED_NUMBERS // int(model.config.get_text_config().hidden_size))


def _isolated(model: Any, layout: Layout) -> bool:
    return layout.attention == "auto" and not layout.compile and can_isolate(model)


@contextmanager
def isolation(model: Any, layout: Layout) -> Iterator[None]:
    """While it lasts, the attention of a model that ``in_line`` prepares lines for stays within samples."""
    if layout.attention != "auto":
        with chosen_attention(model, layout.attention):
            yield
        return
    if not in_line(model, layout) or not _isolated(model, layout):
        yield
        return
    with own_attention(model, ISOLATED, isolated_attention):
        yield


@contextmanager
def own_attention(model: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """While it lasts, a model's attention is a function of ours, known to transformers by that name."""
    before = model.config._attn_implementation
    need("transformers").AttentionInterface.register(name, function)
    model.set_attn_implementation(name)
    try:
        yield
    finally:
        model.set_attn_implementation(before)


@contextmanager
def chosen_attention(model: Any, name: str) -> Iterator[None]:
    """While it lasts, a model's attention is the one that was asked for.

    Raises:
        EngineError: it is not installed, or the model or machine cannot use it.
    """
    before = model.config._attn_implementation
    try:
        model.set_attn_implementation(name)
    except (ImportError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise EngineError(
            f"layout.attention={name} cannot be used here: {reason}",
            "install what it needs, or leave it out: auto takes the fastest that is there",
        ) from None
    if model.config._attn_implementation != name:
        raise EngineError(f"the model does not take layout.attention={name}", "leave it out")
    try:
        yield
    finally:
        model.set_attn_implementation(before)


def collate_line(rows: Sequence[TrainRow]) -> dict[str, Any]:
    """All rows as one line of tensors, shape 1 × T; position ids start again at every sample.

    Samples are ordered by length, those of equal length run through attention together.
    """
    import torch

    samples = sorted((one for row in rows for one in _samples(row)), key=lambda one: len(one[0]))
    ids = [i for one, _ in samples for i in one]
    # The first token of a sample is predicted by its neighbour's last: never take loss there.
    labels = [i for _, one in samples for i in (IGNORED, *one[1:])]
    positions = [i for one, _ in samples for i in range(len(one))]
    return {
        "input_ids": torch.tensor([ids]), "labels": torch.tensor([labels]), "position_ids": torch.tensor([positions]),
    }  # fmt: skip


def _samples(row: TrainRow) -> list[tuple[list[int], list[int]]]:
    found, start = [], 0
    for length in row.lengths:
        if length:
            found.append((row.input_ids[start : start + length], row.labels[start : start + length]))
        start += length
    return found


def _runs(position_ids: Any) -> list[tuple[int, int]]:
    """(length, how many) of samples of equal length side by side; kept on the tensor, which all layers share."""
    known = getattr(position_ids, "long1k_runs", None)
    if known is not None:
        return known  # type: ignore[no-any-return]
    starts = (position_ids[0] == 0).nonzero()[:, 0].tolist()
    ends = [*starts[1:], position_ids.shape[1]]
    runs = [
        (length, sum(1 for _ in same))
        for length, same in groupby(end - start for start, end in zip(starts, ends, strict=True))
    ]
    position_ids.long1k_runs = runs
    return runs


def isolated_attention(
    module: Any, query: Any, key: Any, value: Any, attention_mask: Any, *, scaling: float | None = None,
    dropout: float = 0.0, position_ids: Any = None, **_: Any,
) -> tuple[Any, None]:  # fmt: skip
    """Attention as transformers calls it: query B × heads × T × D; returns B × T × heads × D."""
    import torch

    del attention_mask
    if query.shape[0] != 1 or position_ids is None or position_ids.shape != (1, query.shape[2]):
        raise ValueError(f"isolated attention is for one line with position ids, not for {tuple(query.shape)}")
    groups = query.shape[1] // key.shape[1]
    more: dict[str, Any] = {"dropout_p": dropout, "scale": scaling, "is_causal": True}
    if groups > 1:
        more["enable_gqa"] = True
    pieces, at = [], 0
    for length, count in _runs(position_ids):
        stop = at + length * count
        # heads × (count · length) × D as count × heads × length × D
        one, two, three = (x[0, :, at:stop].unflatten(1, (count, length)).transpose(0, 1) for x in (query, key, value))
        found = torch.nn.functional.scaled_dot_product_attention(one, two, three, **more)
        pieces.append(found.transpose(1, 2).flatten(0, 1))
        at = stop
    return torch.cat(pieces)[None], None
