"""Several ranks share one line of tokens (DeepSpeed-Ulysses, arXiv 2309.14509; ALST, arXiv 2506.13996).

Every rank of a group holds a slice of the line; for attention they exchange slices for heads, so that each sees
the whole line with some of the heads, sample by sample.  The exchange is DeepSpeed's.  What accelerate and
transformers put around it is not used: there, the loss is the mean of each micro-batch, so that a token's weight
depends on how rows are dealt; here a slice is a micro-batch like any other, and its loss a share of the step's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from long1k.errors import EngineError
from long1k.plugins import need
from long1k.training.data import IGNORED, TrainRow
from long1k.training.layout import Layout
from long1k.training.neighbours import changeable
from long1k.training.padding_free import can_isolate, collate_line, isolated_attention, own_attention
from long1k.training.sharding import quiet_deepspeed

SHARED = "long1k_shared"  # the name under which transformers knows the attention below


def repeated(dealt: Sequence[Sequence[int]], layout: Layout) -> list[list[int]]:
    """Micro-batches as the trainer deals them out: every rank of a group gets the same one."""
    return [list(micro) for micro in dealt for _ in range(layout.sequence_parallel)]


def collate_slice(rows: Sequence[TrainRow], padding: int, layout: Layout, rank: int) -> dict[str, Any]:
    """This rank's slice of a line, shape 1 × T / sequence_parallel; labels are those of the next token already.

    The line is filled up to a multiple of the ranks; the filling is a sample of its own, without loss.
    """
    import torch

    parts = layout.sequence_parallel
    line = collate_line(rows)
    missing = -line["input_ids"].shape[1] % parts
    following = torch.nn.functional.pad(line["labels"][:, 1:], (0, 1 + missing), value=IGNORED)
    whole = {
        "input_ids": torch.nn.functional.pad(line["input_ids"], (0, missing), value=padding),
        "position_ids": torch.cat([line["position_ids"], torch.arange(missing)[None]], dim=1),
        "shift_labels": following,
        "labels": following,  # the trainer counts a step's tokens only where it sees this name
    }
    size = following.shape[1] // parts
    at = rank % parts * size
    return {name: value[:, at : at + size].contiguous() for name, value in whole.items()}


def whole_line(piece: dict[str, Any], layout: Layout) -> dict[str, Any]:
    """The line that a group of ranks shares, put together from their slices; every rank must call it."""
    torch = need("torch")
    names = ("input_ids", "position_ids", "shift_labels")
    pieces: list[Any] = [None] * layout.ranks
    torch.distributed.all_gather_object(pieces, [piece[name].cpu() for name in names])
    first = torch.distributed.get_rank() // layout.sequence_parallel * layout.sequence_parallel
    own = pieces[first : first + layout.sequence_parallel]
    ids, positions, following = (torch.cat(parts, dim=1) for parts in zip(*own, strict=True))
    labels = torch.nn.functional.pad(following[:, :-1], (1, 0), value=IGNORED)
    return {"input_ids": ids, "position_ids": positions, "labels": labels}


def isolation_in_slices(model: Any, piece: dict[str, Any], layout: Layout) -> tuple[float, float] | None:
    """Change one token of one sample of the shared line, and see whose log-probabilities change.

    Returns:
        (largest change behind it in its own sample, largest change in the others), or None if no two samples of
        the line are trained.
    """
    torch = need("torch")
    line = whole_line(piece, layout)
    place = changeable(line["position_ids"].tolist(), line["labels"].tolist())
    changed, size = piece["input_ids"].clone(), piece["input_ids"].shape[1]
    offset = torch.distributed.get_rank() % layout.sequence_parallel * size
    if place is not None and offset <= place[1] < offset + size:
        token = place[1] - offset
        changed[0, token] = changed[0, token] - 1 if int(changed[0, token]) else 1
    rest = {name: value for name, value in piece.items() if name != "input_ids"}
    training = model.training
    model.eval()
    with torch.no_grad():
        before, after = (
            model(input_ids=ids, use_cache=False, fused_lm_head=True, **rest).log_probs.float()
            for ids in (piece["input_ids"], changed)
        )
    model.train(training)
    parts: list[Any] = [None] * layout.ranks
    torch.distributed.all_gather_object(parts, (before - after).abs().cpu()[0])
    if place is None:
        return None
    first = torch.distributed.get_rank() // layout.sequence_parallel * layout.sequence_parallel
    difference = torch.cat(parts[first : first + layout.sequence_parallel])
    _, at, start, end = place
    keep = torch.ones_like(difference, dtype=torch.bool)
    keep[max(0, start - 1) : end - 1] = False
    return float(difference[at : end - 1].max()), float((difference * keep).max())


def check_shareable(model: Any, layout: Layout) -> None:
    """Refuse what cannot be shared, before anything starts.

    Raises:
        EngineError: heads that do not divide, or an attention that is not causal over whole samples.
    """
    parts = layout.sequence_parallel
    config = model.config.get_text_config()
    heads, pairs = config.num_attention_heads, config.num_key_value_heads
    if heads % parts or (pairs % parts and parts % pairs):
        raise EngineError(
            f"sequence_parallel {parts} does not divide the model's {heads} attention heads ({pairs} of keys)",
            "choose a divisor of both",
        )
    if not can_isolate(model) or layout.attention != "auto" or layout.compile:
        raise EngineError(
            "sequence_parallel needs a model of causal attention over whole samples, attention: auto, and no compile",
            "leave layout.attention and layout.compile out, or sequence_parallel",
        )


def _group(layout: Layout) -> Any:
    """The group of ranks that share this rank's line: neighbours, so that they lie on one machine."""
    distributed = need("torch").distributed
    if layout.sequence_parallel == layout.ranks:
        return distributed.group.WORLD
    groups = [
        distributed.new_group(list(range(at, at + layout.sequence_parallel)))
        for at in range(0, layout.ranks, layout.sequence_parallel)
    ]
    return groups[distributed.get_rank() // layout.sequence_parallel]


@contextmanager
def shared_attention(model: Any, layout: Layout) -> Iterator[None]:
    """While it lasts, a model's attention is over the line that its group of ranks shares."""
    if layout.sequence_parallel == 1:
        yield
        return
    quiet_deepspeed()
    need("deepspeed").init_distributed(auto_mpi_discovery=False, verbose=False)
    config = model.config.get_text_config()
    heads = config.num_attention_heads
    exchange = need("deepspeed.runtime.sequence_parallel.ulysses_sp").UlyssesSPAttentionHF(
        attn=isolated_attention, batch_size=1, attn_head_count=heads, kv_head_count=config.num_key_value_heads,
        attn_head_size=getattr(config, "head_dim", None) or config.hidden_size // heads,
        num_hidden_layers=config.num_hidden_layers, process_group=_group(layout), seq_length_is_variable=True,
    )  # fmt: skip

    def attention(module: Any, query: Any, key: Any, value: Any, attention_mask: Any, **more: Any) -> Any:
        del attention_mask
        return exchange(module, query, key, value, None, **more)

    with own_attention(model, SHARED, attention):
        yield
