"""The whole of collect, step by step, beside what its peers take for the same step on the same rows.

Peers, each as its documentation uses it: `datasets` (reading, counting), a set of 8-grams in Python
(decontamination), math-verify in this process (verification), pandas (exact duplicates), datasketch
(near-duplicates), pyarrow (writing).  Verification and near-duplicates of the peers run on a part of the rows
and are extrapolated; the table says so.
"""

from __future__ import annotations

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
from long1k.curation.sketch import sketch_flat
from long1k.grading.math import MathGrader
from long1k.rows import Trace, to_arrow, to_dict
from long1k.sources.files import FilesConfig, FilesSource
from long1k.sources.raw import chunks_of
from long1k.stages.collect import collect, part
from long1k.stages.collect.candidates import Candidate, candidate_of
from long1k.stages.collect.verify import verify
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
    near = config.near_duplicates
    benchmark = _benchmark()
    source = FilesSource(FilesConfig(path=str(path), tags="required"))
    chat.tokenizer.encode_flat(["warm"])
    index = BenchmarkIndex(benchmark, config.decontaminate)
    steps: dict[str, float] = {}

    def step(name: str, function: Callable[[], Any]) -> Any:
        steps[name], result = timed(function)
        return result

    with MathGrader() as grader:
        grader.grade_many([("1", "\\frac{2}{2} + 0")])  # its process is up before the clock starts
        raw = step("read", lambda: [row for chunk in chunks_of(source, 4096) for row in chunk.load()])
        found = step("split and lint", lambda: [candidate_of(row, chat, config) for row in raw])
        good = [one for one in found if isinstance(one, Candidate)]
        step("decontaminate", lambda: index.match_batch([one.raw.question for one in good]))
        checked = step("verify", lambda: list(verify(good, config, grader)))
    right = [one for one, _, fault in checked if fault is None]
    texts = [text for one in right for text in (one.raw.question, one.parts.thinking, one.parts.solution)]
    step("count", lambda: chat.tokenizer.encode_flat(texts))
    context = part.Context("bench", config, str(chat.tokenizer.folder), "think", None, benchmark)
    traces = step("content hashes", lambda: [part._trace("s", one, True, (0, 0, 0), context) for one in right])
    step("exact duplicates", lambda: exact_keepers(np.array([trace.trace_id for trace in traces], dtype="S")))
    ids, offsets = chat.tokenizer.encode_flat([trace.thinking for trace in traces])
    step("near-duplicates", lambda: keepers(sketch_flat(ids, offsets, near.shingle_tokens, near.num_perm), 0.8))
    step("write", lambda: write_parquet(folder / "ours.parquet", to_arrow(traces, Trace)))
    peer = _peers(folder, traces, good, benchmark, chat)
    whole, made = timed(lambda: collect(folder / "pool", [("s", source)], config, chat))
    rejected = sum(made.rejected.values())
    table = "".join(
        f"\n      {name:<18} {seconds:>7.2f} s"
        + (f"   peer {peer[name]:>8.2f} s  ×{peer[name] / seconds:,.1f}" if name in peer else "   no peer")
        for name, seconds in steps.items()
    )
    return Row(
        "the whole of collect", f"{_ROWS:,} made-up traces, {path.stat().st_size / 1e6:.0f} MB, one process", whole,
        "sum of the peers' steps", sum(peer.values()), "a table by step",
        f"{made.rows_in:,} rows in = {made.rows_out:,} out + {rejected:,} rejected",
        made.rows_in == made.rows_out + rejected,
        f"bound by: {max(steps, key=lambda name: steps[name])} ({max(steps.values()) / sum(steps.values()):.0%} "
        f"of the steps){table}",
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
    plain = [to_dict(trace) for trace in traces]
    step(
        "write",
        lambda: pq.write_table(pa.Table.from_pylist(plain), folder / "peer.parquet", compression="zstd"),
    )
    return took


def _grams(text: str) -> list[str]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    return [" ".join(words[i : i + 8]) for i in range(len(words) - 7)]
