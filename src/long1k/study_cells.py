"""The jobs of a study: its base model, and each arm with each seed trained, asked and graded, side by side."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from long1k.arms import Arm
from long1k.executors import Executor
from long1k.executors.local import run_jobs
from long1k.generation.base import Engine
from long1k.interop.model_card import read_figure, write_model_card
from long1k.progress import doing, progress
from long1k.recipe import Recipe, make_sources
from long1k.stages.analyze import Cell
from long1k.stages.collect import collect
from long1k.stages.predict import predict
from long1k.stages.score import score
from long1k.stages.synthesize import synthesize
from long1k.stages.train import is_trained, train
from long1k.study_board import Told
from long1k.study_layout import Study
from long1k.tables import Manifest, read_manifest
from long1k.training.positions import positions_of


@dataclass(frozen=True, slots=True)
class Job:
    """Train, predict and score one arm with one seed, in a process of its own."""

    recipe: str
    root: str
    arm: str
    seed: int

    def __str__(self) -> str:
        return f"{self.arm or 'the base model'}, seed {self.seed}"


def make_base(study: Study, executor: Executor, told: Told) -> None:
    """The base model: its own traces, its own samples, trained from scratch."""
    base = study.recipe.base
    assert base is not None
    folder = study.base
    with study.kept(folder):
        with doing("base/collect"):
            pool = collect(folder / "collect", make_sources(base.sources), base.collect, study.chat, executor=executor)
        told("base/collect", "base: collect", pool, rows_line(pool))
        with doing("base/synthesize"):
            made = synthesize(
                folder / "synthesize", folder / "collect", arm="base", specs=base.groups, seed=base.seed,
                chat=study.chat, max_tokens=positions_of(base.init, base.train.rope),
            )  # fmt: skip
    told("base/synthesize", "base: synthesize", made, groups_line(made))
    arguments: dict[str, Any] = {
        "model": base.init, "config": base.train, "seed": base.seed, "chat": study.chat,
    }  # fmt: skip
    if is_trained(folder / "train", folder / "synthesize", **arguments):
        told.board.kept("base/train")
    else:
        job = Job(study.recipe.model_dump_json(), str(study.root), "", base.seed)
        for _ in run_jobs(train_base, [job], 1):
            told.board.settle("base/train")
    trained = read_manifest(folder / "train")
    info = trained.info
    made_of = f"{info['parameters']:,} parameters, {info['steps']:,} steps, loss {info['final_loss']:.3f}"
    told("base/train", "base: train", trained, made_of)


def open_study(job: Job) -> Study:
    """The study of a job, in a worker."""
    return Study(Recipe.model_validate_json(job.recipe), Path(job.root))


def train_base(job: Job) -> None:
    """In a worker: train the base model."""
    study = open_study(job)
    base = study.recipe.base
    assert base is not None
    folder = study.base
    with study.kept(folder), doing("base/train"):
        train(
            folder / "train", folder / "synthesize", model=base.init, config=base.train, seed=base.seed,
            chat=study.chat,
        )  # fmt: skip


def run_cell(job: Job) -> None:
    """In a worker: train one arm with one seed, let it answer, grade the answers."""
    study = open_study(job)
    arm = next(arm for arm in study.arms if arm.name == job.arm)
    folder, place = study.folder(arm.name, job.seed), f"arms/{arm.name}/seed-{job.seed}"
    if arm.train is not None:
        with study.kept(study.checkpoint(arm, job.seed)), doing(f"{place}/train"):
            train(
                study.checkpoint(arm, job.seed), study.examples(arm, job.seed), model=study.start_model,
                config=arm.train, seed=study.train_seed(arm, job.seed), chat=study.chat,
            )  # fmt: skip
    checkpoint, running = study.checkpoint(arm, job.seed), list[Engine]()

    def start() -> Engine:
        # One engine for all benchmarks: loading a model, or starting a server's, takes longer than some of them.
        if not running:
            running.append(study.engine.start(checkpoint, study.chat))
        return running[0]

    try:
        for name, benchmark in study.benchmarks:
            arguments = study.predict_arguments(arm, job.seed, name, benchmark)
            with doing(f"{place}/predict/{name}"):
                predict(folder / "predict" / name, start=start, **arguments)
            with doing(f"{place}/score/{name}"):
                score(
                    study.score_folder(arm, job.seed, name), folder / "predict" / name, grader_name=study.grader(name)
                )
    finally:
        for engine in running:
            engine.close()


def make_cells(study: Study, num_workers: int, told: Told) -> list[Cell]:
    """Train, predict and score what is not done yet; all cells for the analysis."""
    order = [(arm, seed) for arm in study.arms for seed in study.seeds(arm)]
    text = study.recipe.model_dump_json()
    todo = [(arm, seed) for arm, seed in order if not study.job_is_done(arm, seed)]
    # The longest first, so that the last worker is not left alone with one.
    todo.sort(key=lambda pair: -(pair[0].train.batch_size * (pair[0].target_tokens or 0) if pair[0].train else 0))
    jobs = [Job(text, str(study.root), arm.name, seed) for arm, seed in todo]
    by_name = {arm.name: arm for arm in study.arms}

    def describe(arm: Arm, seed: int) -> None:
        parts, figures = [], []
        if arm.train is not None:
            info = read_manifest(study.checkpoint(arm, seed)).info
            parts.append(f"loss {info['final_loss']:.3f}")
        scored = None
        for name, _ in study.benchmarks:
            with doing(f"arms/{arm.name}/seed-{seed}/score/{name}"):
                scored = score(study.score_folder(arm, seed, name), study.folder(arm.name, seed) / "predict" / name,
                               grader_name=study.grader(name))  # fmt: skip
            right = scored.info["statuses"].get("correct", 0)
            parts.append(f"{name} {100 * right / max(1, scored.rows_out):.1f} %")
            figures.append((study.folder(arm.name, seed) / "predict" / name, study.score_folder(arm, seed, name)))
        if arm.train is not None and study.recipe.arms_of is None:
            made = read_manifest(study.checkpoint(arm, seed))
            write_model_card(study.checkpoint(arm, seed), figures=[read_figure(made, *pair) for pair in figures])
        if scored is not None:
            told(f"arms/{arm.name}/seed-{seed}", f"{arm.name} seed {seed}", scored, ", ".join(parts))

    for arm, seed in order:
        if (arm, seed) not in todo:
            told.board.kept(f"arms/{arm.name}/seed-{seed}")
    with progress("train, predict, score", len(jobs)) as step:
        for job, _ in run_jobs(run_cell, jobs, num_workers):
            told.board.settle(f"arms/{job.arm}/seed-{job.seed}")
            describe(by_name[job.arm], job.seed)
            step(1)
    for arm, seed in order:
        if (arm, seed) not in todo:
            describe(arm, seed)
    return all_cells(study)


def all_cells(study: Study) -> list[Cell]:
    """Every arm, seed and benchmark of a study."""
    order = [(arm, seed) for arm in study.arms for seed in study.seeds(arm)]
    return [
        Cell(
            arm.name, seed, name, study.folder(arm.name, seed) / "predict" / name, study.score_folder(arm, seed, name),
            study.examples(arm, seed) if arm.train is not None else None,
            study.checkpoint(arm, seed) if arm.train is not None else None,
        )
        for arm, seed in order
        for name, _ in study.benchmarks
    ]  # fmt: skip


def rows_line(manifest: Manifest) -> str:
    """Rows in and out of a stage, and why some were rejected."""
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in manifest.rejected.items())
    return f"{manifest.rows_in:,} rows in, {manifest.rows_out:,} out" + (f", rejected: {reasons}" if reasons else "")


def groups_line(manifest: Manifest) -> str:
    """How many samples of how many tokens were made."""
    groups = manifest.info["groups"]
    made, wanted = sum(g["made"] for g in groups), sum(g["requested"] for g in groups)
    low, high = min(g["min_tokens"] for g in groups), max(g["max_tokens"] for g in groups)
    short = "" if made == wanted else f" of {wanted:,} asked for"
    return f"{made:,} samples{short}, {low:,}–{high:,} tokens, {sum(g['problems'] for g in groups):,} problems"
