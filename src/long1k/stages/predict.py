"""predict: checkpoint + benchmark -> Predictions; every finished sample is kept at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
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
from long1k.generation.ends import end_ids
from long1k.generation.record import FILE, Record, open_record, refuse_mix
from long1k.generation.repeats import Seen, repeats
from long1k.locks import locked
from long1k.plugins import load_plugin, validate
from long1k.progress import progress
from long1k.rows import Prediction, content_id, derive_seed
from long1k.tables import MANIFEST, Manifest, TableWriter, fingerprint, is_current, read_manifest
from long1k.training.checkpoint import model_digest

STAGE = "predict/3"
_PART_ROWS = 1024  # outputs are long, and a part is in memory as a whole, here and where it is read


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
    if (kept := _finished(out, fingerprint(STAGE, settings, inputs))) is not None:
        return kept
    with locked(out, "--out"):
        # A run that held the lock a moment ago may have finished the table since we looked.
        if (kept := _finished(out, fingerprint(STAGE, settings, inputs))) is not None:
            return kept
        return _predicted(out, settings, inputs, checkpoint, benchmark, sampling, chat, engine, start)


def _finished(out: Path, wanted: str) -> Manifest | None:
    """The manifest of a finished table of these settings, if it is there."""
    if not is_current(out, wanted):
        return None
    if (out / FILE).is_file():  # killed between the manifest and the removal of the record
        (out / FILE).unlink(missing_ok=True)
    return read_manifest(out)


def _predicted(
    out: Path, settings: dict[str, Any], inputs: dict[str, str], checkpoint: Path, benchmark: Benchmark,
    sampling: Sampling, chat: Chat, engine: EngineSpec, start: Callable[[], Engine] | None,
) -> Manifest:  # fmt: skip
    """The table, from the samples that are there and those still to be drawn."""
    name = settings["benchmark"]
    items = list(benchmark.load())
    if not items:
        raise DataError(f"the benchmark {name} has no items", "check its file")
    writer = TableWriter(out, Prediction, stage=STAGE, config=settings, inputs=inputs, precious=True)
    prompts = {item.item_id: chat.encode_prompt(item.messages) for item in items}
    course = Course(chat, sampling, settings["end_ids"])
    keys = [(item, n, f"{item.item_id}/{n}") for item in items for n in range(sampling.samples)]
    jobs = [
        replace(
            course.first(key, prompts[item.item_id], derive_seed(sampling.seed, item.item_id, n)),
            messages=tuple(item.messages),
        )
        for item, n, key in keys
    ]
    found = _Account(set(settings["end_ids"][1:]), chat)
    with open_record(out / FILE) as record:
        if any(job.key not in record for job in jobs):
            running = start() if start is not None else engine.start(checkpoint, chat)
            try:
                refuse_mix(record, getattr(running, "served", None), out)
                _check_length(running, jobs, sampling)
                _draw(out, running, jobs, sampling, course, record, f"predict {name} ({settings['arm']})")
            finally:
                if start is None:
                    running.close()
        num_parts = -(-len(keys) // _PART_ROWS)
        for index in range(num_parts):
            rows = [
                _row(item, n, *record.read(key), prompts[item.item_id], settings, chat, checkpoint)
                for item, n, key in keys[index * _PART_ROWS : (index + 1) * _PART_ROWS]
            ]
            found.add(rows)
            writer.write_part(index, rows)
        served = sorted(record.served)
    info = {"items": len(items), "source": account(benchmark), "grader": benchmark.grader, "served": served}
    manifest = writer.commit(num_parts, info | found.info(sampling.temperature))
    (out / FILE).unlink(missing_ok=True)
    return manifest


def _draw(
    out: Path, engine: Engine, jobs: Sequence[Job], sampling: Sampling, course: Course, record: Record, title: str
) -> None:
    """Let the engine draw what is missing; the record grows sample by sample."""
    failed: Counter[str] = Counter()
    served = getattr(engine, "served", None)
    with progress(title, len(jobs)) as step:
        step(len(record))

        def after(output: Output) -> Job | None:
            following = course.after(output)
            if isinstance(following, Job):
                return following
            if following.error is not None:
                failed[following.error] += 1
            elif following.key not in record:  # a batch of which one job was missing is drawn again whole
                record.add(following, engine.name, served)
                step(1)
            return None

        engine.run(jobs, sampling, after, frozenset(record.keys()))
    missing = sum(job.key not in record for job in jobs)
    if missing:
        listed = "".join(f"\n    {count:,} × {reason}" for reason, count in failed.most_common(3))
        raise EngineError(
            f"{missing:,} of {len(jobs):,} outputs failed{listed}",
            f"the other {len(record):,} are kept in {out}: mend the engine and run the same command again",
        )


def _check_length(engine: Engine, jobs: Sequence[Job], sampling: Sampling) -> None:
    """Refuse, before anything is drawn, what does not fit the model's positions."""
    longest = max(len(job.prompt_ids) for job in jobs)
    if engine.max_positions is not None and longest + sampling.max_new_tokens > engine.max_positions:
        raise DataError(
            f"the longest prompt ({longest:,} tokens) and max_new_tokens ({sampling.max_new_tokens:,}) are more "
            f"than the model's {engine.max_positions:,} positions",
            "lower max_new_tokens (--set max_new_tokens=…; in a recipe: sampling), or serve a longer context",
        )


def _identity(
    checkpoint: Path, name: str, benchmark: Benchmark, sampling: Sampling, chat: Chat, engine: EngineSpec, arm: str,
    train_seed: int | None,
) -> tuple[dict[str, Any], dict[str, str]]:  # fmt: skip
    """What decides the outputs: settings, and digests of checkpoint and benchmark."""
    settings: dict[str, Any] = {
        "benchmark": name, "benchmark_config": benchmark_identity(benchmark),
        "sampling": sampling.model_dump(), "engine": engine.identity(),
        "chat": chat.describe(), "end_ids": list(end_ids(checkpoint, chat)), "arm": arm, "train_seed": train_seed,
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
    split = chat.split_answer(_ended(text, sample, settings["end_ids"], chat), chat.opens_thinking(prompt_ids))
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


def _ended(text: str, sample: Sample, ends: Sequence[int], chat: Chat) -> str:
    """A text without the end token of the model's own that stands at its end; the template's is known to the split."""
    if sample.finish_reason != "stop" or not sample.token_ids or sample.token_ids[-1] not in ends[1:]:
        return text
    return text.removesuffix(chat.tokenizer.decode(sample.token_ids[-1:]))


@dataclass
class _Account:
    """What the rows of a table come to, counted part by part."""

    other_ends: set[int]
    chat: Chat
    num_rows: int = 0
    tokens: int = 0
    engines: set[str] = field(default_factory=set)
    reasons: Counter[str] = field(default_factory=Counter)
    flags: Counter[str] = field(default_factory=Counter)
    ended_otherwise: int = 0
    seen: list[Seen] = field(default_factory=list)
    texts: set[tuple[str, str]] = field(default_factory=set)

    def add(self, rows: Sequence[Prediction]) -> None:
        """Count some rows."""
        self.num_rows += len(rows)
        self.tokens += sum(row.num_tokens or 0 for row in rows)
        self.engines.update(row.engine for row in rows)
        self.reasons.update(row.finish_reason for row in rows)
        self.flags.update(row.budget_flag or "unknown" for row in rows)
        stopped = [row.token_ids for row in rows if row.finish_reason == "stop"]
        self.ended_otherwise += sum(bool(ids) and ids[-1] in self.other_ends for ids in stopped)
        self.seen += [Seen.of(row) for row in rows]
        self.texts.update((row.problem_id, content_id("d", row.text)) for row in rows)

    def info(self, temperature: float) -> dict[str, Any]:
        """For the manifest."""
        return {
            "engine": ", ".join(sorted(self.engines)),
            "finish_reasons": dict(sorted(self.reasons.items())),
            # Outputs that ended with a token that is not the chat template's: a base model's end of text.
            "ended_otherwise": self.ended_otherwise,
            "budget_flags": dict(sorted(self.flags.items())),
            "mean_tokens": self.tokens / self.num_rows,
            # Outputs that repeat an earlier sample of the same question; many of them mean broken seeds.
            "equal_outputs": self.num_rows - len(self.texts),
            "repeats": repeats(self.seen, temperature),
            "tokenizer_folder": str(self.chat.tokenizer.folder),
        }
