"""The whole of collect, step by step, beside what its peers take for the same step on the same rows.

Peers, each as its documentation uses it: `datasets` (reading, counting), a set of 8-grams in Python
(decontamination), math-verify in this process (verification), pandas (exact duplicates), datasketch
(near-duplicates), pyarrow (writing).  Verification and near-duplicates of the peers run on a part of the rows
and are extrapolated; the table says so.
"""

from __future__ import annotations

import itertools
import json
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from bench.common import DATA, Row, timed
from bench.synthetic import write_traces
from long1k.chat import Chat
from long1k.curation.config import CollectConfig, NearDuplicateConfig
from long1k.curation.decontaminate import BenchmarkIndex
from long1k.curation.duplicates import exact_keepers, keepers
from long1k.curation.sketch import sketch
from long1k.rows import Trace, to_arrow
from long1k.sources import raw as raw_rows
from long1k.sources.jsonl import JsonlConfig, JsonlSource
from long1k.stages.collect import collect, part
from long1k.tables import write_parquet
from long1k.tokens import load_tokenizer

_ROWS = 10_000
_VERIFIED = 500
_SKETCHED = 400


def rows() -> list[Row]:
    """One line for the whole; the steps stand in its note."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_traces(folder / "traces.jsonl", _ROWS)
        return [_measure(folder)]


def _benchmark() -> tuple[tuple[str, str], ...]:
    lines = (DATA / "benchmarks" / "math500.jsonl").read_text(encoding="utf-8").splitlines()
    return tuple((str(i), json.loads(line)["problem"]) for i, line in enumerate(lines))


def _measure(folder: Path) -> Row:
    path = folder / "traces.jsonl"
    chat = Chat(load_tokenizer(str(DATA / "tokenizer_qwen2")))
    config = CollectConfig(near_duplicates=NearDuplicateConfig(traces=0.8))
    benchmark = _benchmark()
    source = JsonlSource(JsonlConfig(path=str(path), tags="required"))
    chat.tokenizer.encode_flat(["warm"])
    context = part.Context("bench", config, str(chat.tokenizer.folder), "think", None, benchmark, {})
    tools = part._Tools(context)
    tools.grader.grade_many([("1", "\\frac{2}{2}")])
    steps: dict[str, tuple[float, float]] = {}
    ours_read, raw = timed(lambda: [r for c in raw_rows.chunks_of(source, 4096) for r in c.load()])
    ours_split, found = timed(lambda: [part._candidate(r, chat, config) for r in raw])
    good = [one for one in found if isinstance(one, part._Candidate)]
    index = BenchmarkIndex(benchmark, config.decontaminate)
    ours_decon, _ = timed(lambda: index.match_batch([c.raw.question for c in good]))
    ours_verify, checked = timed(lambda: list(part._verify(good, config, tools.grader)))
    right = [c for c, _, fault in checked if fault is None]
    texts = [t for c in right for t in (c.raw.question, c.parts.thinking, c.parts.solution)]
    ours_count, _ = timed(lambda: chat.tokenizer.encode_flat(texts))
    traces = [part._trace("s", c, True, (0, 0, 0), context) for c in right]
    ours_exact, _ = timed(lambda: exact_keepers(np.array([t.trace_id for t in traces], dtype="S24")))
    ids, offsets = chat.tokenizer.encode_flat([t.thinking for t in traces])
    near = config.near_duplicates
    ours_near, _ = timed(
        lambda: keepers(
            sketch([ids[a:b] for a, b in itertools.pairwise(offsets)], near.shingle_tokens, near.num_perm),
            0.8,
        )
    )
    ours_write, _ = timed(lambda: write_parquet(folder / "ours.parquet", to_arrow(traces, Trace)))
    peer = _peers(folder, traces, list(good), benchmark, chat)
    for step, seconds in (
        ("read", ours_read), ("split and lint", ours_split), ("decontaminate", ours_decon), ("verify", ours_verify),
        ("count", ours_count), ("exact duplicates", ours_exact), ("near-duplicates", ours_near), ("write", ours_write),
    ):  # fmt: skip
        steps[step] = (seconds, peer.get(step, 0.0))
    tools.close()
    whole, made = timed(lambda: collect(folder / "pool", [("s", source)], config, chat))
    total = sum(seconds for _, seconds in steps.values())
    slowest = max(steps, key=lambda step: steps[step][0])
    table = "; ".join(
        f"{step} {a:.2f} s" + (f" (peer {b:.2f}, ×{b / a:.0f})" if b else " (no peer)")
        for step, (a, b) in steps.items()
    )
    return Row(
        "the whole of collect", f"{_ROWS:,} made-up traces, {path.stat().st_size / 1e6:.0f} MB", whole,
        "sum of its peers' steps", total, "table by step",
        f"{made.rows_in:,} rows in = {made.rows_out:,} out + {sum(made.rejected.values()):,} rejected",
        made.rows_in == made.rows_out + sum(made.rejected.values()), f"bound by: {slowest}; {table}",
    )  # fmt: skip


def _peers(
    folder: Path, traces: list[Trace], good: list[Any], benchmark: tuple[tuple[str, str], ...], chat: Chat
) -> dict[str, float]:
    import datasets
    import pandas
    import tokenizers
    from datasketch import MinHash, MinHashLSH
    from math_verify import parse, verify

    datasets.disable_progress_bars()
    datasets.disable_caching()
    took: dict[str, float] = {}

    def step(name: str, function: Callable[[], Any], share: float = 1.0) -> Any:
        seconds, result = timed(function)
        took[name] = seconds / share
        return result

    step("read", lambda: datasets.load_dataset(
        "json", data_files=str(folder / "traces.jsonl"), split="train", cache_dir=str(folder / "cache")
    ))  # fmt: skip
    grams = {g for _, question in benchmark for g in _grams(question)}
    step("decontaminate", lambda: [any(g in grams for g in _grams(c.raw.question)) for c in good])

    def verified() -> None:
        for c in good[:_VERIFIED]:
            verify(parse(f"${c.raw.answer}$"), parse(c.parts.solution))

    step("verify", verified, _VERIFIED / len(good))
    real = tokenizers.Tokenizer.from_file(str(chat.tokenizer.folder / "tokenizer.json"))
    table = datasets.Dataset.from_dict({"text": [t.question + t.thinking + t.solution for t in traces]})
    step("count", lambda: table.map(
        lambda batch: {"n": [len(e.ids) for e in real.encode_batch_fast(batch["text"], add_special_tokens=False)]},
        batched=True,
    ))  # fmt: skip
    frame = pandas.DataFrame({"text": [t.question + t.thinking + t.solution for t in traces]})
    step("exact duplicates", frame.drop_duplicates)

    def near() -> None:
        lsh = MinHashLSH(threshold=0.8, num_perm=128)
        for number, trace in enumerate(traces[:_SKETCHED]):
            words = trace.thinking.split()
            sketched = MinHash(num_perm=128)
            sketched.update_batch([" ".join(words[i : i + 5]).encode() for i in range(max(1, len(words) - 4))])
            if not lsh.query(sketched):
                lsh.insert(str(number), sketched)

    step("near-duplicates", near, _SKETCHED / len(traces))
    step(
        "write",
        lambda: pq.write_table(
            pa.Table.from_pylist([t.__class__.__slots__ and {s: getattr(t, s) for s in t.__slots__} for t in traces]),
            folder / "peer.parquet",
            compression="zstd",
        ),
    )
    return took


def _grams(text: str) -> list[str]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    return [" ".join(words[i : i + 8]) for i in range(len(words) - 7)]
