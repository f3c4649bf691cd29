"""predict: checkpoint + benchmark -> Predictions; resumable batch by batch."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from long1k.benchmarks.base import Benchmark, Item
from long1k.chat import Chat
from long1k.errors import DataError
from long1k.generation.base import Engine, Job, Sampling
from long1k.progress import progress
from long1k.rows import Prediction, content_id, derive_seed
from long1k.tables import Manifest, TableWriter, fingerprint, is_current, read_manifest
from long1k.training.checkpoint import model_digest

STAGE = "predict/1"
_PARTIAL = "partial.jsonl"


def predict(
    out: Path,
    *,
    checkpoint: Path,
    benchmark_name: str,
    benchmark: Benchmark,
    sampling: Sampling,
    chat: Chat,
    make_engine: Callable[[], Engine],
    arm: str,
    train_seed: int | None,
) -> Manifest:
    """Draw ``sampling.samples`` outputs for every item; a finished table is left alone.

    Each batch is appended to ``partial.jsonl`` when it is done, so a kill loses the batch in flight
    and nothing else.  Batches are made before the first output and do not depend on what was
    already done, so a resumed run gives what an undisturbed one gives.

    Args:
        checkpoint: a finished training folder or any model folder.
        make_engine: called once, and only if something is left to do.

    Raises:
        DataError: prompt and output together do not fit the model's positions.
    """
    settings, inputs = _identity(checkpoint, benchmark_name, benchmark, sampling, chat, arm, train_seed)
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    items = list(benchmark.load())
    if not items:
        raise DataError(f"the benchmark {benchmark_name} has no items", "check its file")
    writer = TableWriter(out, Prediction, stage=STAGE, config=settings, inputs=inputs)
    prompts = {item.item_id: chat.encode_prompt(item.messages) for item in items}
    jobs = [
        Job(f"{item.item_id}/{n}", prompts[item.item_id], derive_seed(sampling.seed, item.item_id, n))
        for item in items
        for n in range(sampling.samples)
    ]
    jobs.sort(key=lambda job: (len(job.prompt_ids), job.key))
    batches = [jobs[i : i + sampling.batch_size] for i in range(0, len(jobs), sampling.batch_size)]
    partial = out / _PARTIAL
    done = read_partial(partial)
    engine_name = done.pop("", {}).get("engine")
    todo = [batch for batch in batches if any(job.key not in done for job in batch)]
    if todo:
        engine = make_engine()
        longest = len(jobs[-1].prompt_ids)
        if longest + sampling.max_new_tokens > engine.max_positions:
            raise DataError(
                f"the longest prompt ({longest:,} tokens) and max_new_tokens ({sampling.max_new_tokens:,}) are more "
                f"than the model's {engine.max_positions:,} positions",
                "lower sampling.max_new_tokens",
            )
        engine_name = engine.name
        with progress(f"predict {benchmark_name} ({arm})", len(jobs)) as step, partial.open("a") as handle:
            step(sum(len(batch) for batch in batches) - sum(len(batch) for batch in todo))
            handle.write(json.dumps({"key": "", "engine": engine_name}) + "\n")
            for batch in todo:
                lines = []
                for output in engine.generate(batch, sampling):
                    entry = {"key": output.key, "ids": output.token_ids, "finish_reason": output.finish_reason}
                    done[output.key] = entry
                    lines.append(json.dumps(entry) + "\n")
                handle.write("".join(lines))
                handle.flush()
                step(len(batch))
    rows = [
        _row(
            item,
            n,
            done[f"{item.item_id}/{n}"],
            prompts[item.item_id],
            settings,
            chat,
            checkpoint,
            engine_name or "",
            sampling,
        )
        for item in items
        for n in range(sampling.samples)
    ]
    writer.write_part(0, rows, rows_in=len(jobs))
    info = {
        "items": len(items), "engine": engine_name, "grader": benchmark.grader,
        "finish_reasons": _count([row.finish_reason for row in rows]),
        "mean_tokens": sum(len(done[job.key]["ids"]) for job in jobs) / len(jobs),
        "equal_outputs": _equal_outputs(rows) if sampling.samples > 1 else 0,
    }  # fmt: skip
    manifest = writer.commit(1, info)
    partial.unlink(missing_ok=True)
    return manifest


def _identity(
    checkpoint: Path, name: str, benchmark: Benchmark, sampling: Sampling, chat: Chat, arm: str, train_seed: int | None
) -> tuple[dict[str, Any], dict[str, str]]:
    """What decides the outputs: settings, and digests of checkpoint and benchmark."""
    settings: dict[str, Any] = {
        "benchmark": name, "benchmark_config": benchmark.config.model_dump(exclude={"path"}),
        "sampling": sampling.model_dump(),
        "chat": chat.describe(), "arm": arm, "train_seed": train_seed,
    }  # fmt: skip
    return settings, {"checkpoint": model_digest(checkpoint), "benchmark": benchmark.digest()}


def is_predicted(
    out: Path, *, checkpoint: Path, benchmark_name: str, benchmark: Benchmark, sampling: Sampling, chat: Chat, arm: str,
    train_seed: int | None,
) -> bool:  # fmt: skip
    """Whether ``predict`` with the same arguments has nothing left to do; loads no torch."""
    return is_current(
        out, fingerprint(STAGE, *_identity(checkpoint, benchmark_name, benchmark, sampling, chat, arm, train_seed))
    )


def read_partial(path: Path) -> dict[str, dict[str, Any]]:
    """Outputs that were appended before a kill, by key; a torn last line is cut off."""
    done: dict[str, dict[str, Any]] = {}
    if not path.is_file():
        return done
    good = 0
    with path.open("rb") as handle:
        for line in handle:
            try:
                entry = json.loads(line)
                done[entry["key"]] = entry
            except (json.JSONDecodeError, KeyError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            good += len(line)
    with path.open("r+b") as handle:
        handle.truncate(good)
    return done


def _row(
    item: Item, sample: int, entry: dict[str, Any], prompt_ids: list[int], settings: dict[str, Any], chat: Chat,
    checkpoint: Path, engine: str, sampling: Sampling,
) -> Prediction:  # fmt: skip
    text = chat.tokenizer.decode(entry["ids"])
    split = chat.split_answer(text)
    answer_tokens = None if split.answer is None else len(chat.tokenizer.encode(split.answer))
    return Prediction(
        prediction_id=content_id(
            "y", settings["benchmark"], item.item_id, settings["arm"], str(settings["train_seed"]), str(sample)
        ),
        problem_id=item.item_id, benchmark=settings["benchmark"], question=item.question, answers=item.answers,
        arm=settings["arm"], train_seed=settings["train_seed"], checkpoint=checkpoint.name, sample_index=sample,
        seed=derive_seed(sampling.seed, item.item_id, sample), prompt_token_ids=tuple(prompt_ids), text=text,
        thinking=split.thinking, answer_text=split.answer, finish_reason=entry["finish_reason"], budget_flag=None,
        num_thinking_tokens=None if split.thinking is None else len(chat.tokenizer.encode(split.thinking)),
        num_answer_tokens=answer_tokens, engine=engine, label=None,
    )  # fmt: skip


def _count(values: Sequence[str]) -> dict[str, int]:
    return {value: values.count(value) for value in sorted(set(values))}


def _equal_outputs(rows: Sequence[Prediction]) -> int:
    """Outputs that repeat an earlier sample of the same question; many of them mean broken seeds."""
    return len(rows) - len({(row.problem_id, row.text) for row in rows})
