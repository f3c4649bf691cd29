"""Exact token counts of whole traces: ours against `datasets.map`, batched, on all cores."""

from __future__ import annotations

import os

from bench.common import DATA, Row, megabytes, real_responses, timed
from long1k.tokens import Tokenizer

_REPEATS = 2  # the real traces twice over: 47 MB
_WARM = 7


def rows() -> list[Row]:
    """Two lines, all cores on every side: the peer as its documentation has it, and as lean as it can be made."""
    import datasets
    import tokenizers
    import transformers

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
    documented = transformers.PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    documented(texts[:64])
    peers = {
        "datasets.map with a transformers tokenizer, batched, as documented": lambda batch: {
            "ids": documented(batch["text"], add_special_tokens=False)["input_ids"]
        },
        "datasets.map with tokenizers' encode_batch_fast, ids only": lambda batch: {
            "ids": [e.ids for e in real.encode_batch_fast(batch["text"], add_special_tokens=False)]
        },
    }
    lines = []
    for peer, tokenize in peers.items():
        peer_seconds, counted = timed(lambda f=tokenize: table.map(f, batched=True, remove_columns=["text"]))  # type: ignore[misc]
        different = sum(
            ids[offsets[i] : offsets[i + 1]].tolist() != row for i, row in enumerate(counted.with_format(None)["ids"])
        )
        size = megabytes(texts)
        lines.append(
            Row(
                "exact token counts", f"{len(texts):,} real traces, {size:.1f} MB", our_seconds, peer, peer_seconds,
                "100", f"ids equal on {len(texts) - different:,} of {len(texts):,} rows",
                peer_seconds / our_seconds >= 100 and different == 0,
                f"{size / our_seconds:.0f} MB/s against {size / peer_seconds:.2f}, {os.cpu_count()} cores both",
            )
        )  # fmt: skip
    return lines
