"""predict: checkpoint + benchmark -> Predictions; every finished sample is kept at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from long1k.benchmarks.base import Benchmark, Item, account
from long1k.benchmarks.base import identity as benchmark_identity
from long1k.chat import Chat
from long1k.errors import DataError, EngineError
from long1k.generation import ENGINES
from long1k.generation.base import Engine, Job, Output, Sampling, Serving, identity
from long1k.generation.budget import Course, Sample
from long1k.generation.record import FILE, open_record, read_record
from long1k.generation.repeats import repeats
from long1k.plugins import load_plugin, validate
from long1k.progress import progress
from long1k.rows import Prediction, content_id, derive_seed
from long1k.tables import MANIFEST, PART_ROWS, Manifest, TableWriter, fingerprint, is_current, read_manifest
from long1k.training.checkpoint import model_digest

STAGE = "predict/2"


class EngineSpec:
    """Which engine answers, and how it is set: a name of ENGINES or ``module:Class``, and its configuration."""

    def __init__(self, values: dict[str, Any] | None = None) -> None:
        given = dict(values or {})
        self.type = str(given.pop("type", "transformers"))
        self._factory = load_plugin(self.type, ENGINES, "engine")
        self.config: BaseModel = validate(self._factory.Config, given, f"engine ({self.type})")

    @property
    def remote(self) -> bool:
        """Whether the model runs elsewhere, so that a folder with its tokenizer is enough."""
        return bool(getattr(self._factory, "remote", False))

    def identity(self) -> dict[str, Any]:
        """What of it can change outputs."""
        return identity(self.type, self.config)

    def digest_of(self, model: Path, chat: Chat) -> str:
        """What identifies the model: its weights, or, where it runs elsewhere and they are not here, its tokenizer."""
        if self.remote and not (model / MANIFEST).is_file() and not any(model.glob("*.safetensors")):
            return f"tokenizer {chat.tokenizer.digest}"
        return model_digest(model)

    def start(self, model: Path, chat: Chat) -> Engine:
        """Load the model, or reach the server."""
        engine: Engine = self._factory(self.config, Serving(model, chat))
        return engine


def predict(
    out: Path,
    *,
    checkpoint: Path,
    benchmark_name: str,
    benchmark: Benchmark,
    sampling: Sampling,
    chat: Chat,
    engine: EngineSpec,
    arm: str,
    train_seed: int | None,
    start: Callable[[], Engine] | None = None,
) -> Manifest:
    """Draw ``sampling.samples`` outputs for every item; a finished table is left alone.

    Each sample is appended to ``samples.jsonl`` when it is finished, so a kill loses what is in flight and nothing
    else; the next run draws what is missing.  Samples of other settings in the folder are refused or removed as
    in every stage (see ``tables.begin``).

    Args:
        checkpoint: a finished training folder or any model folder; of a server's model one with its tokenizer.
        engine: what answers.
        start: gives the running engine, asked only if something is left to do; default: one of its own, closed after.

    Raises:
        DataError: no items, or prompt and output together do not fit the model's positions.
        EngineError: some samples failed; all others are kept, and the same call draws only those.
    """
    settings, inputs = _identity(checkpoint, benchmark_name, benchmark, sampling, chat, engine, arm, train_seed)
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    items = list(benchmark.load())
    if not items:
        raise DataError(f"the benchmark {benchmark_name} has no items", "check its file")
    writer = TableWriter(out, Prediction, stage=STAGE, config=settings, inputs=inputs, precious=True)
    prompts = {item.item_id: chat.encode_prompt(item.messages) for item in items}
    course = Course(chat, sampling)
    keys = [(item, n, f"{item.item_id}/{n}") for item in items for n in range(sampling.samples)]
    jobs = [
        replace(
            course.first(key, prompts[item.item_id], derive_seed(sampling.seed, item.item_id, n)),
            messages=tuple(item.messages),
        )
        for item, n, key in keys
    ]
    done = read_record(out / FILE)
    if any(job.key not in done for job in jobs):
        running = start() if start is not None else engine.start(checkpoint, chat)
        try:
            _check_length(running, jobs, sampling)
            _draw(out, running, jobs, sampling, course, done, f"predict {benchmark_name} ({arm})")
        finally:
            if start is None:
                running.close()
    rows = [_row(item, n, *done[key], prompts[item.item_id], settings, chat, checkpoint) for item, n, key in keys]
    num_parts = -(-len(rows) // PART_ROWS)
    for index in range(num_parts):
        writer.write_part(index, rows[index * PART_ROWS : (index + 1) * PART_ROWS])
    manifest = writer.commit(num_parts, _info(rows, len(items), benchmark, chat, sampling))
    (out / FILE).unlink(missing_ok=True)
    return manifest


def _draw(
    out: Path, engine: Engine, jobs: Sequence[Job], sampling: Sampling, course: Course,
    done: dict[str, tuple[Sample, str]], title: str,
) -> None:  # fmt: skip
    """Let the engine draw what is missing; ``done`` and the record grow sample by sample."""
    failed: list[Sample] = []
    with progress(title, len(jobs)) as step, open_record(out / FILE, engine.name) as record:
        step(len(done))

        def after(output: Output) -> Job | None:
            following = course.after(output)
            if isinstance(following, Job):
                return following
            if following.error is not None:
                failed.append(following)
            elif following.key not in done:  # a batch of which one job was missing is drawn again whole
                record.add(following)
                done[following.key] = (following, engine.name)
                step(1)
            return None

        engine.run(jobs, sampling, after, frozenset(done))
    missing = sum(job.key not in done for job in jobs)
    if missing:
        reasons = Counter(sample.error for sample in failed).most_common(3)
        listed = "".join(f"\n    {count:,} × {reason}" for reason, count in reasons)
        raise EngineError(
            f"{missing:,} of {len(jobs):,} outputs failed{listed}",
            f"the other {len(done):,} are kept in {out}: mend the engine and run the same command again",
        )


def _check_length(engine: Engine, jobs: Sequence[Job], sampling: Sampling) -> None:
    """Refuse, before anything is drawn, what does not fit the model's positions."""
    longest = max(len(job.prompt_ids) for job in jobs)
    if engine.max_positions is not None and longest + sampling.max_new_tokens > engine.max_positions:
        raise DataError(
            f"the longest prompt ({longest:,} tokens) and max_new_tokens ({sampling.max_new_tokens:,}) are more "
            f"than the model's {engine.max_positions:,} positions",
            "lower sampling.max_new_tokens, or serve the model with a longer context",
        )


def _identity(
    checkpoint: Path, name: str, benchmark: Benchmark, sampling: Sampling, chat: Chat, engine: EngineSpec, arm: str,
    train_seed: int | None,
) -> tuple[dict[str, Any], dict[str, str]]:  # fmt: skip
    """What decides the outputs: settings, and digests of checkpoint and benchmark."""
    settings: dict[str, Any] = {
        "benchmark": name, "benchmark_config": benchmark_identity(benchmark),
        "sampling": sampling.model_dump(), "engine": engine.identity(),
        "chat": chat.describe(), "arm": arm, "train_seed": train_seed,
    }  # fmt: skip
    return settings, {"checkpoint": engine.digest_of(checkpoint, chat), "benchmark": benchmark.digest()}


def is_predicted(
    out: Path, *, checkpoint: Path, benchmark_name: str, benchmark: Benchmark, sampling: Sampling, chat: Chat,
    engine: EngineSpec, arm: str, train_seed: int | None,
) -> bool:  # fmt: skip
    """Whether ``predict`` with the same arguments has nothing left to do; loads no torch."""
    wanted = _identity(checkpoint, benchmark_name, benchmark, sampling, chat, engine, arm, train_seed)
    return is_current(out, fingerprint(STAGE, *wanted))


def _row(
    item: Item, number: int, sample: Sample, engine: str, prompt_ids: list[int], settings: dict[str, Any], chat: Chat,
    checkpoint: Path,
) -> Prediction:  # fmt: skip
    text = sample.text if sample.text is not None else chat.tokenizer.decode(sample.token_ids)
    split = chat.split_answer(text, chat.opens_thinking(prompt_ids))
    return Prediction(
        prediction_id=content_id(
            "y", settings["benchmark"], item.item_id, settings["arm"], str(settings["train_seed"]), str(number)
        ),
        problem_id=item.item_id, benchmark=settings["benchmark"], question=item.question, answers=item.answers,
        part_ids=item.part_ids or (item.item_id,), arm=settings["arm"], train_seed=settings["train_seed"],
        checkpoint=checkpoint.name, sample_index=number,
        seed=derive_seed(settings["sampling"]["seed"], item.item_id, number), prompt_token_ids=tuple(prompt_ids),
        text=text, token_ids=tuple(sample.token_ids), forced=tuple(at for pair in sample.forced for at in pair),
        thinking=split.thinking, answer_text=split.answer, finish_reason=sample.finish_reason,
        budget_flag=sample.budget_flag, num_tokens=len(sample.token_ids),
        num_thinking_tokens=None if split.thinking is None else len(chat.tokenizer.encode(split.thinking)),
        num_answer_tokens=None if split.answer is None else len(chat.tokenizer.encode(split.answer)),
        engine=engine, label=None,
    )  # fmt: skip


def _info(
    rows: Sequence[Prediction], num_items: int, benchmark: Benchmark, chat: Chat, sampling: Sampling
) -> dict[str, Any]:
    """The account of a table of predictions."""
    return {
        "items": num_items, "source": account(benchmark),
        "engine": ", ".join(sorted({row.engine for row in rows})), "grader": benchmark.grader,
        "finish_reasons": dict(sorted(Counter(row.finish_reason for row in rows).items())),
        "budget_flags": dict(sorted(Counter(row.budget_flag or "unknown" for row in rows).items())),
        "mean_tokens": sum(row.num_tokens or 0 for row in rows) / len(rows),
        # Outputs that repeat an earlier sample of the same question; many of them mean broken seeds.
        "equal_outputs": len(rows) - len({(row.problem_id, row.text) for row in rows}),
        "repeats": repeats(rows, sampling.temperature),
        "tokenizer_folder": str(chat.tokenizer.folder),
    }  # fmt: skip
