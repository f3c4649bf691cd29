"""Exact token counts of whole traces: ours against `datasets.map`, batched, on all cores."""

from __future__ import annotations

import os

from bench.common import DATA, Row, megabytes, real_responses, timed
from long1k.tokens import Tokenizer

_REPEATS = 2  # the real traces twice over: 47 MB
_WARM = 3


def rows() -> list[Row]:
    """One line: all cores both."""
    import datasets
    import tokenizers

    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    folder = DATA / "tokenizer_qwen2"
    texts = real_responses() * _REPEATS
    ours = Tokenizer(folder)
    ours.encode_flat(texts[:64])  # both sides have their tokenizer loaded before the clock starts
    our_seconds, (ids, offsets) = timed(lambda: ours.encode_flat(texts), _WARM)
    real = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    real.encode_batch_fast(texts[:64], add_special_tokens=False)
    datasets.disable_progress_bars()
    datasets.disable_caching()
    table = datasets.Dataset.from_dict({"text": texts})

    def tokenize(batch: dict[str, list[str]]) -> dict[str, list[list[int]]]:
        return {"ids": [e.ids for e in real.encode_batch_fast(batch["text"], add_special_tokens=False)]}

    peer_seconds, counted = timed(lambda: table.map(tokenize, batched=True, remove_columns=["text"]))
    different = sum(
        ids[offsets[i] : offsets[i + 1]].tolist() != row for i, row in enumerate(counted.with_format(None)["ids"])
    )
    ratio = peer_seconds / our_seconds
    size = megabytes(texts)
    return [
        Row(
            "exact token counts", f"{len(texts):,} real traces, {size:.1f} MB", our_seconds,
            "datasets.map + tokenizers, batched", peer_seconds, "100", f"ids equal on {len(texts) - different:,} of "
            f"{len(texts):,} rows", ratio >= 100 and different == 0, f"{size / our_seconds:.0f} MB/s against "
            f"{size / peer_seconds:.2f}, {os.cpu_count()} cores both",
        )
    ]  # fmt: skip
