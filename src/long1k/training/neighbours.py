"""Whether the conversations of one row see each other: measured by changing a token of one of them."""

from __future__ import annotations

from typing import Any

from long1k.plugins import need


def measure_isolation(model: Any, batch: dict[str, Any]) -> tuple[float, float] | None:
    """Change one token of one conversation of a packed row, and see whose log-probabilities change.

    Two forward passes of the whole model, so that every rank must take part.

    Returns:
        (largest change behind it in its own conversation, largest change in the others), or None if no row
        of the batch holds two conversations that are trained.
    """
    torch = need("torch")
    positions, ids, labels = batch.get("position_ids"), batch["input_ids"], batch["labels"]
    place = None if positions is None else changeable(positions.tolist(), labels.tolist())
    changed = ids.clone()
    if place is not None:
        row, at, start, end = place
        changed[row, at] = ids[row, at] - 1 if int(ids[row, at]) else 1
    rest = {key: value for key, value in batch.items() if key not in ("input_ids", "labels")}
    training = model.training
    model.eval()
    with torch.no_grad():
        before, after = (
            model(input_ids=one, labels=labels, use_cache=False, fused_lm_head=True, **rest).log_probs.float()
            for one in (ids, changed)
        )
    model.train(training)
    if place is None:
        return None
    difference = (before - after).abs()
    own = difference[row, at : end - 1]  # log_probs[i] is of the token i + 1
    keep = torch.ones_like(difference, dtype=torch.bool)
    keep[row, max(0, start - 1) : end - 1] = False
    return float(own.max()), float((difference * keep)[row].max())


def changeable(positions: list[list[int]], labels: list[list[int]]) -> tuple[int, int, int, int] | None:
    """(row, token, start, end): an early token of the first trained conversation of a row that holds another."""
    for row, (places, marks) in enumerate(zip(positions, labels, strict=True)):
        starts = [at for at, place in enumerate(places) if place == 0]
        spans = list(zip(starts, [*starts[1:], len(places)], strict=True))
        trained = [span for span in spans if any(mark >= 0 for mark in marks[span[0] + 1 : span[1]])]
        if len(trained) > 1:
            start, end = trained[0]
            return row, min(start + 1, end - 2), start, end
    return None
