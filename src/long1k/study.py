"""Runs a recipe: order, skip, resume, arms in parallel.

    runs/<recipe>/
      base/{collect,synthesize,train}                       a small model to start from, if the recipe has one
      collect/                                              the trace pool
      arms/<arm>/seed-<n>/{synthesize,train,predict/<benchmark>,score/<benchmark>/<grader>}
      published/<name>/{predictions,score}                  outputs made elsewhere, graded here
      analyze/  report/report.html

With ``base_of`` the folder base, with ``arms_of`` also collect, synthesize and train lie in the other recipe's run.

Nothing here decides what is current: every stage compares its own fingerprint.  So a run that
was killed, finished or changed is continued by the same command.
"""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from long1k.arms import Arm
from long1k.balance_table import Row, balance_row, terminal_table, write_balance
from long1k.benchmarks.base import problems
from long1k.chat import Chat
from long1k.errors import DataError, MissingExtraError
from long1k.executors import Executor
from long1k.executors.local import run_jobs
from long1k.generation.base import Engine
from long1k.grading import grader_for
from long1k.interop.card import write_card
from long1k.interop.model_card import read_figure, write_model_card
from long1k.interop.predictions import import_predictions
from long1k.jsonlines import expand_path
from long1k.locks import locked
from long1k.progress import progress
from long1k.recipe import Recipe, expand_arms, make_benchmarks, make_samplings, make_sources
from long1k.rows import Example, Trace, canonical_json, derive_seed
from long1k.stages.analyze import ArmInfo, Cell, analyze
from long1k.stages.collect import collect
from long1k.stages.curve import curve
from long1k.stages.predict import EngineSpec, is_predicted, predict
from long1k.stages.report import report
from long1k.stages.score import score
from long1k.stages.synthesize import synthesize
from long1k.stages.train import is_trained, train
from long1k.tables import MANIFEST, Manifest, iter_columns, make_folder, read_manifest, write_atomic
from long1k.tokens import load_tokenizer
from long1k.training.checkpoint import check_model_folder
from long1k.training.positions import positions_of

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Job:
    """Train, predict and score one arm with one seed, in a process of its own."""

    recipe: str
    root: str
    arm: str
    seed: int

    def __str__(self) -> str:
        return f"{self.arm or 'the base model'}, seed {self.seed}"


class Study:
    """A recipe and the folder of its run."""

    def __init__(self, recipe: Recipe, root: Path) -> None:
        self.recipe, self.root = recipe, root
        # Arms of another recipe are made in its run, under its name: what is there already is used as it is.
        self.lineage = recipe.arms_of or recipe.name
        self.home = root if recipe.arms_of is None else root.parent / recipe.arms_of
        self.base = (self.home if recipe.base_of is None else root.parent / recipe.base_of) / "base"
        spec = recipe.chat
        self.chat = Chat(load_tokenizer(str(_expand(recipe.tokenizer))), spec.thinking, spec.system, spec.template)
        self.arms = expand_arms(recipe)
        self.benchmarks = make_benchmarks(recipe.benchmarks)
        self.samplings = make_samplings(recipe)
        self.engine = EngineSpec(recipe.engine)

    def folder(self, arm: str, seed: int) -> Path:
        """The folder of one arm and seed."""
        return self.root / "arms" / arm / f"seed-{seed}"

    @property
    def pool(self) -> Path:
        """The folder of the trace pool."""
        return self.home / "collect"

    def made(self, arm: str, seed: int) -> Path:
        """The folder in which an arm's samples and checkpoint are made."""
        return self.home / "arms" / arm / f"seed-{seed}"

    def seeds(self, arm: Arm) -> list[int]:
        """Training seeds of an arm; a model that is not trained has one cell only."""
        return self.recipe.seeds if arm.train is not None or self.recipe.train is None else [0]

    @property
    def start_model(self) -> Path:
        """The model that every arm starts from."""
        return self.base / "train" if self.recipe.base is not None else _expand(self.recipe.model or "")

    def checkpoint(self, arm: Arm, seed: int) -> Path:
        """The model that answers for an arm."""
        return self.made(arm.name, seed) / "train" if arm.train is not None else self.start_model

    def examples(self, arm: Arm, seed: int) -> Path:
        """The samples an arm trains on."""
        return self.made(arm.data_arm, seed) / "synthesize"

    def train_seed(self, arm: Arm, seed: int) -> int:
        """The seed of an arm's training, its own for every arm."""
        return derive_seed(self.lineage, "train", arm.name, seed)

    def score_folder(self, arm: Arm, seed: int, benchmark: str) -> Path:
        """Where the scores of one cell lie."""
        return self.folder(arm.name, seed) / "score" / benchmark / self.grader(benchmark)

    def grader(self, benchmark: str) -> str:
        """What judges the answers to a benchmark."""
        return grader_for(self.recipe.grader, {"grader": dict(self.benchmarks)[benchmark].grader})

    def predict_arguments(self, arm: Arm, seed: int, name: str, benchmark: Any) -> dict[str, Any]:
        """The arguments of ``predict`` for one cell."""
        return {
            "checkpoint": self.checkpoint(arm, seed), "benchmark_name": name, "benchmark": benchmark,
            "sampling": self.samplings[name], "engine": self.engine, "chat": self.chat, "arm": arm.name,
            "train_seed": seed if arm.train is not None else None,
        }  # fmt: skip

    def job_is_done(self, arm: Arm, seed: int) -> bool:
        """Whether a cell's training and predictions are current; loads no torch."""
        folder = self.folder(arm.name, seed)
        if arm.train is not None and not is_trained(
            self.checkpoint(arm, seed), self.examples(arm, seed), model=self.start_model, config=arm.train,
            seed=self.train_seed(arm, seed), chat=self.chat,
        ):  # fmt: skip
            return False
        return all(
            is_predicted(folder / "predict" / name, **self.predict_arguments(arm, seed, name, benchmark))
            for name, benchmark in self.benchmarks
        )


def _expand(path: str) -> Path:
    return Path(path) if path.startswith("package:") else expand_path(path)


def run_study(
    recipe: Recipe, runs: Path, *, num_workers: int = 2, say: Say = print, executor: Executor | None = None
) -> Path:
    """Run everything that is not done yet; returns the page's path (or the last folder made).

    Args:
        runs: parent folder of all runs.
        num_workers: processes that train and predict side by side, one thread each.
        say: is told each step as it ends.
        executor: where data are made; local processes if not given.
    """
    study = Study(recipe, runs / recipe.name)
    executor = executor or Executor(num_workers)
    _check_training(study)
    started = time.time()

    def told(title: str, manifest: Manifest, detail: str) -> None:
        fresh = manifest.created >= time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started))
        say(f"[{time.time() - started:6.1f} s] {title:<34} {detail}" + ("" if fresh else "  (kept)"))

    with ExitStack() as locks:
        for folder in sorted({study.root, study.home, study.base.parent}):
            locks.enter_context(locked(folder, "--runs"))
        write_atomic(study.root / "recipe.json", canonical_json(recipe.model_dump(mode="json")).encode())
        excluded = _excluded(study)
        if recipe.base is not None:
            _make_base(study, executor, told)
        pool = collect(
            study.pool, make_sources(recipe.sources), recipe.collect, study.chat, excluded=excluded,
            executor=executor,
        )  # fmt: skip
        told("collect", pool, _rows(pool))
        write_card(study.pool, pool, Trace)
        _check_pool(pool, study.pool)
        _check_apart(study)
        for seed in recipe.seeds:
            for arm in study.arms:
                if arm.specs and arm.data_arm == arm.name:
                    limit = _positions(study, arm) if recipe.train is not None else None
                    made = _synthesize(study, arm, seed, limit)
                    told(f"synthesize {arm.name} seed {seed}", made, _groups(made))
        rows, fresh = _balance(study)
        kept = "" if fresh else "  (kept)"
        say(f"[{time.time() - started:6.1f} s] {'balance':<34} {study.root / 'arms' / 'balance.md'}{kept}")
        cells = _cells(study, num_workers, told) if recipe.train is not None else []
        published = _score_published(study, num_workers, told)
        data = _data_arms(study)
        analysis = _analyze(study, cells, published, data)
        told("analyze", analysis, f"{len(cells)} cells" if cells else f"{len(data)} arms of data")
        page = report(study.root / "report", study.root)
        told("report", page, str(study.root / "report" / "report.html"))
        if recipe.train is None:
            say("\n" + terminal_table(rows))
    return study.root / "report" / "report.html"


def _synthesize(study: Study, arm: Arm, seed: int, limit: int | None) -> Manifest:
    """The samples of one arm; those of the arms it refers to are there already."""
    extra: dict[str, Any] = {}
    if arm.related:
        by_name = {one.name: one for one in study.arms}
        extra["related"] = {name: study.examples(by_name[name], seed) for name in arm.related}
    # Arms of one length share the seed: a larger set holds the smaller one's samples.
    data_seed = derive_seed(study.lineage, "synthesize", arm.seed_key, seed)
    folder = study.made(arm.name, seed) / "synthesize"
    made = synthesize(
        folder, study.pool, arm=arm.name, specs=arm.specs, seed=data_seed, chat=study.chat,
        max_tokens=limit, **extra,
    )  # fmt: skip
    write_card(folder, made, Example, pool=study.pool)
    return made


def _excluded(study: Study) -> dict[str, list[tuple[str, str]]]:
    """The problems that stay out of the pool, by benchmark; of another recipe's arms those that it keeps out."""
    own = {} if study.recipe.arms_of is not None else dict(study.benchmarks)
    benchmarks = {**dict(make_benchmarks(study.recipe.kept_out)), **own}
    return {name: [(item.item_id, item.question) for item in problems(one)] for name, one in benchmarks.items()}


def _check_apart(study: Study) -> None:
    """Another recipe's pool was made without knowing these benchmarks: no question of theirs may stand in it.

    Raises:
        DataError: one does, word for word.
    """
    if study.recipe.arms_of is None or not study.recipe.collect.exclude_benchmarks:
        return
    held = {row["question"] for row in iter_columns(study.pool, Trace, ("question",))}
    for name, benchmark in study.benchmarks:
        inside = sum(item.question in held for item in problems(benchmark))
        if inside:
            raise DataError(
                f"{inside:,} questions of '{name}' stand in the pool that '{study.lineage}' was trained from",
                f"add the benchmark to {study.lineage} (benchmarks, or kept_out) and train it again",
            )


def _balance(study: Study) -> tuple[list[Row], bool]:
    """The balance table of all arms and seeds, from what their samples say; and whether it was written anew."""
    rows = []
    for arm in study.arms:
        for seed in study.recipe.seeds if arm.specs else study.seeds(arm):
            info = read_manifest(study.examples(arm, seed)).info if arm.specs else {}
            rows.append(balance_row(arm, info.get("balance"), seed))
    return rows, write_balance(make_folder(study.root / "arms"), rows)


def _check_training(study: Study) -> None:
    """Say at once, not after the data is made, that a model or a package is missing."""
    if study.recipe.train is None:
        return
    for module in ("torch", "transformers", "trl", "accelerate", "datasets"):
        if importlib.util.find_spec(module) is None:
            raise MissingExtraError(module, "train")
    if study.recipe.base is None:
        check_model_folder(study.start_model)


def _check_pool(pool: Manifest, folder: Path) -> None:
    """A pool of nothing is told with its reasons, before anything is joined from it."""
    if pool.rows_out == 0:
        reasons = ", ".join(f"{reason} {count:,}" for reason, count in pool.rejected.items())
        raise DataError(
            f"no row of the sources can be used ({reasons})", f"long1k show {folder} --rejected shows why; map fields"
        )


def _data_arms(study: Study) -> dict[str, Path]:
    """The sample tables of a study that trains nothing."""
    if study.recipe.train is not None:
        return {}
    first = study.recipe.seeds[0]
    own = [arm for arm in study.arms if arm.specs and arm.data_arm == arm.name]
    return {arm.name: study.examples(arm, first) for arm in own}


def _analyze(
    study: Study, cells: Sequence[Cell], published: dict[str, tuple[Path, Path]], data: dict[str, Path]
) -> Manifest:
    recipe = study.recipe
    infos = [
        ArmInfo(
            a.name, a.role, a.kind, a.target_tokens, a.of, a.short, a.against, a.description, recipe.margin_of(a.name),
        )
        for a in study.arms
    ]  # fmt: skip
    budgets = recipe.budget_curves
    about = {"name": recipe.name, "description": recipe.description, "notes": recipe.notes}
    return analyze(
        study.root / "analyze", cells, infos, study=about, published=published, data=data,
        paper=recipe.paper, confidence=recipe.confidence, budgets=None if budgets is None else budgets.model_dump(),
        curves=_curves(study, cells), root=study.root, pool=study.pool, base=study.base,
        tokenizer=study.chat.tokenizer,
    )  # fmt: skip


def _curves(study: Study, cells: Sequence[Cell]) -> dict[tuple[str, int], Path]:
    """The free outputs of every cell, cut at the limits of ``budget_curves``: (arm, seed) -> folder."""
    spec = study.recipe.budget_curves
    if spec is None or not spec.cut:
        return {}
    made = {}
    for cell in cells:
        if cell.benchmark == spec.of:
            folder = made[cell.arm, cell.seed] = study.folder(cell.arm, cell.seed) / "curve" / spec.of
            curve(
                folder, cell.predictions, budgets=spec.cut, chat=study.chat, grader_name=study.grader(spec.of),
                confidence=study.recipe.confidence,
            )  # fmt: skip
    return made


def analyze_run(root: Path) -> Manifest:
    """Analyze what a run has scored so far; cells without scores are left out."""
    study = Study(Recipe.model_validate_json((root / "recipe.json").read_text()), root)
    with locked(root, "--runs"):
        cells = [cell for cell in _all_cells(study) if (cell.scores / MANIFEST).is_file()] if study.recipe.train else []
        published = {
            name: (root / "published" / name / "predictions", root / "published" / name / "score")
            for name in study.recipe.published
            if (root / "published" / name / "score" / MANIFEST).is_file()
        }
        data = {name: folder for name, folder in _data_arms(study).items() if (folder / MANIFEST).is_file()}
        return _analyze(study, cells, published, data)


def _rows(manifest: Manifest) -> str:
    reasons = ", ".join(f"{reason} {count:,}" for reason, count in manifest.rejected.items())
    return f"{manifest.rows_in:,} rows in, {manifest.rows_out:,} out" + (f", rejected: {reasons}" if reasons else "")


def _groups(manifest: Manifest) -> str:
    groups = manifest.info["groups"]
    made, wanted = sum(g["made"] for g in groups), sum(g["requested"] for g in groups)
    low, high = min(g["min_tokens"] for g in groups), max(g["max_tokens"] for g in groups)
    short = "" if made == wanted else f" of {wanted:,} asked for"
    return f"{made:,} samples{short}, {low:,}–{high:,} tokens, {sum(g['problems'] for g in groups):,} problems"


def _positions(study: Study, arm: Arm) -> int | None:
    """The longest sample that an arm's model can be trained on: its positions, extended by base and arm."""
    recipe, rope = study.recipe, arm.train.rope if arm.train is not None else None
    if recipe.base is None:
        return positions_of(study.start_model, rope)
    return positions_of(recipe.base.init, recipe.base.train.rope or rope)


def _make_base(study: Study, executor: Executor, told: Callable[[str, Manifest, str], None]) -> None:
    """The base model: its own traces, its own samples, trained from scratch."""
    base = study.recipe.base
    assert base is not None
    folder = study.base
    pool = collect(folder / "collect", make_sources(base.sources), base.collect, study.chat, executor=executor)
    told("base: collect", pool, _rows(pool))
    made = synthesize(
        folder / "synthesize", folder / "collect", arm="base", specs=base.groups, seed=base.seed, chat=study.chat,
        max_tokens=positions_of(base.init, base.train.rope),
    )  # fmt: skip
    told("base: synthesize", made, _groups(made))
    arguments: dict[str, Any] = {
        "model": base.init, "config": base.train, "seed": base.seed, "chat": study.chat,
    }  # fmt: skip
    if not is_trained(folder / "train", folder / "synthesize", **arguments):
        job = Job(study.recipe.model_dump_json(), str(study.root), "", base.seed)
        for _ in run_jobs(_train_base, [job], 1):
            pass
    trained = read_manifest(folder / "train")
    told("base: train", trained, f"{trained.info['parameters']:,} parameters, {trained.info['steps']:,} steps, "
         f"loss {trained.info['final_loss']:.3f}")  # fmt: skip


def _open(job: Job) -> Study:
    return Study(Recipe.model_validate_json(job.recipe), Path(job.root))


def _train_base(job: Job) -> None:
    """In a worker: train the base model."""
    study = _open(job)
    base = study.recipe.base
    assert base is not None
    folder = study.base
    train(folder / "train", folder / "synthesize", model=base.init, config=base.train, seed=base.seed, chat=study.chat)


def run_cell(job: Job) -> None:
    """In a worker: train one arm with one seed, let it answer, grade the answers."""
    study = _open(job)
    arm = next(arm for arm in study.arms if arm.name == job.arm)
    folder = study.folder(arm.name, job.seed)
    if arm.train is not None:
        train(
            study.checkpoint(arm, job.seed), study.examples(arm, job.seed), model=study.start_model, config=arm.train,
            seed=study.train_seed(arm, job.seed), chat=study.chat,
        )  # fmt: skip
    checkpoint, running = study.checkpoint(arm, job.seed), list[Engine]()

    def start() -> Engine:
        # One engine for all benchmarks: loading a model, or starting a server's, takes longer than some of them.
        if not running:
            running.append(study.engine.start(checkpoint, study.chat))
        return running[0]

    try:
        for name, benchmark in study.benchmarks:
            predict(folder / "predict" / name, start=start, **study.predict_arguments(arm, job.seed, name, benchmark))
            score(study.score_folder(arm, job.seed, name), folder / "predict" / name, grader_name=study.grader(name))
    finally:
        for engine in running:
            engine.close()


def _cells(study: Study, num_workers: int, told: Callable[[str, Manifest, str], None]) -> list[Cell]:
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
            scored = score(study.score_folder(arm, seed, name), study.folder(arm.name, seed) / "predict" / name,
                           grader_name=study.grader(name))  # fmt: skip
            right = scored.info["statuses"].get("correct", 0)
            parts.append(f"{name} {100 * right / max(1, scored.rows_out):.1f} %")
            figures.append((study.folder(arm.name, seed) / "predict" / name, study.score_folder(arm, seed, name)))
        if arm.train is not None and study.recipe.arms_of is None:
            made = read_manifest(study.checkpoint(arm, seed))
            write_model_card(study.checkpoint(arm, seed), figures=[read_figure(made, *pair) for pair in figures])
        if scored is not None:
            told(f"{arm.name} seed {seed}", scored, ", ".join(parts))

    with progress("train, predict, score", len(jobs)) as step:
        for job, _ in run_jobs(run_cell, jobs, num_workers):
            describe(by_name[job.arm], job.seed)
            step(1)
    for arm, seed in order:
        if (arm, seed) not in todo:
            describe(arm, seed)
    return _all_cells(study)


def _all_cells(study: Study) -> list[Cell]:
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


def _score_published(
    study: Study, num_workers: int, told: Callable[[str, Manifest, str], None]
) -> dict[str, tuple[Path, Path]]:
    """Grade outputs that were made elsewhere."""
    found: dict[str, tuple[Path, Path]] = {}
    for name, spec in study.recipe.published.items():
        folder = study.root / "published" / name
        imported = import_predictions(
            folder / "predictions", expand_path(spec.path), spec.fields, name=name, arm=spec.arm
        )
        told(f"import {name}", imported, _rows(imported))
        scored = score(
            folder / "score", folder / "predictions", grader_name=study.recipe.grader, num_workers=num_workers
        )
        agreement = scored.info.get("label_agreement")
        statuses = ", ".join(f"{status} {count:,}" for status, count in scored.info["statuses"].items())
        told(
            f"score {name}",
            scored,
            statuses + (f"; agrees with labels on {100 * agreement:.2f} %" if agreement is not None else ""),
        )
        found[name] = (folder / "predictions", folder / "score")
    return found
