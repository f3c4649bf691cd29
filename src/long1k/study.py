"""Runs a recipe: order, skip, resume, arms in parallel.

    runs/<recipe>/
      base/{collect,synthesize,train}                       a small model to start from, if the recipe has one
      collect/                                              the trace pool
      arms/<arm>/seed-<n>/{synthesize,train,predict/<benchmark>,score/<benchmark>/<grader>}
      published/<name>/{predictions,score}                  outputs made elsewhere, graded here
      analyze/  report/report.html

With ``base_of`` the folder base, with ``arms_of`` also collect, synthesize and train lie in the other recipe's run.

Nothing here decides what is current: every stage compares its own fingerprint.  So a run that
was killed, finished or changed is continued by the same command.  What is finished in another recipe's run is
used as it is, and never replaced.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from long1k.arms import Arm
from long1k.balance_table import Row, balance_row, terminal_table, write_balance
from long1k.benchmarks.base import problems
from long1k.errors import DataError, IncompleteError, MissingExtraError
from long1k.executors import Executor
from long1k.interop.card import write_card
from long1k.interop.predictions import import_predictions
from long1k.jsonlines import expand_path
from long1k.locks import locked
from long1k.progress import doing
from long1k.recipe import Recipe, make_benchmarks, make_sources, recipe_of_run
from long1k.rows import Example, Trace, derive_seed
from long1k.stages.analyze import ArmInfo, Cell, analyze
from long1k.stages.collect import collect
from long1k.stages.curve import curve
from long1k.stages.report import report
from long1k.stages.score import score
from long1k.stages.synthesize import synthesize
from long1k.study_board import Board, Told
from long1k.study_cells import all_cells, groups_line, make_base, make_cells, rows_line
from long1k.study_layout import Study
from long1k.study_status import command_of
from long1k.tables import MANIFEST, Manifest, iter_columns, make_folder, read_manifest, write_atomic
from long1k.training.checkpoint import check_model_folder
from long1k.training.positions import positions_of
from long1k.wide import fit

Say = Callable[[str], None]


def run_study(
    recipe: Recipe,
    runs: Path,
    *,
    num_workers: int = 2,
    say: Say = print,
    executor: Executor | None = None,
    live: bool = False,
) -> Path:
    """Run everything that is not done yet; returns the page's path (or the last folder made).

    Args:
        runs: parent folder of all runs.
        num_workers: processes that train and predict side by side, one thread each.
        say: is told each step as it ends.
        executor: where data are made; local processes if not given.
        live: draw a tree instead, if standard output is a terminal.
    """
    study = Study(recipe, runs / recipe.name)
    executor = executor or Executor(num_workers)
    _check_training(study)
    with ExitStack() as locks:
        for folder in sorted({study.root, study.home, study.base.parent}):
            locks.enter_context(locked(folder, "--runs"))
        board = locks.enter_context(Board(study, workers=num_workers, live=live))
        told = Told(board, say)
        # In the recipe's own order: analyzed again, benchmarks and arms come as they did in the run.
        write_atomic(study.root / "recipe.json", recipe.model_dump_json().encode())
        excluded = _excluded(study)
        if recipe.base is not None:
            make_base(study, executor, told)
        with study.kept(study.pool), doing("collect"):
            pool = collect(
                study.pool, make_sources(recipe.sources), recipe.collect, study.chat, excluded=excluded,
                executor=executor,
            )  # fmt: skip
        told("collect", "collect", pool, rows_line(pool))
        write_card(study.pool, pool, Trace)
        _check_pool(pool, study.pool)
        _check_apart(study)
        for seed in recipe.seeds:
            for arm in study.arms:
                if arm.specs and arm.data_arm == arm.name:
                    limit = _positions(study, arm) if recipe.train is not None else None
                    place = f"arms/{arm.name}/seed-{seed}/synthesize"
                    with doing(place):
                        made = _synthesize(study, arm, seed, limit)
                    told(place, f"synthesize {arm.name} seed {seed}", made, groups_line(made))
        rows, fresh = _balance(study)
        told.line("balance", str(study.root / "arms" / "balance.md"), fresh)
        cells = make_cells(study, num_workers, told) if recipe.train is not None else []
        published = _score_published(study, num_workers, told)
        data = _data_arms(study)
        with doing("analyze"):
            analysis = _analyze(study, cells, published, data)
        told("analyze", "analyze", analysis, f"{len(cells)} cells" if cells else f"{len(data)} arms of data")
        with doing("report"):
            page = report(study.root / "report", study.root)
        told("report", "report", page, str(study.root / "report" / "report.html"))
    if recipe.train is None:
        say("\n" + fit(terminal_table(rows)))
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
    with study.kept(folder):
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
    notes = list(recipe.notes)
    if recipe.arms_of is not None:
        notes.append(
            f"The arms are those of {recipe.arms_of}: pool, samples and checkpoints lie in that recipe's run, "
            f"beside this one."
        )
    about = {"name": recipe.name, "description": recipe.description, "notes": notes}
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
    """Analyze what a run has scored so far; cells without scores are left out.

    Raises:
        IncompleteError: what it stands on was never finished, or is being made anew.
    """
    study = Study(recipe_of_run(root), root)
    with locked(root, "--runs"), _going_on(root, study.recipe):
        cells = [cell for cell in all_cells(study) if (cell.scores / MANIFEST).is_file()] if study.recipe.train else []
        published = {
            name: (root / "published" / name / "predictions", root / "published" / name / "score")
            for name in study.recipe.published
            if (root / "published" / name / "score" / MANIFEST).is_file()
        }
        data = {name: folder for name, folder in _data_arms(study).items() if (folder / MANIFEST).is_file()}
        return _analyze(study, cells, published, data)


@contextmanager
def _going_on(root: Path, recipe: Recipe) -> Iterator[None]:
    """Whatever is unfinished in a run is finished by running it, not by the command of one stage."""
    try:
        yield
    except IncompleteError as error:
        raise IncompleteError(error.what, f"run {command_of(root, recipe)}: it goes on") from None


def _positions(study: Study, arm: Arm) -> int | None:
    """The longest sample that an arm's model can be trained on: its positions, extended by base and arm."""
    recipe, rope = study.recipe, arm.train.rope if arm.train is not None else None
    if recipe.base is None:
        return positions_of(study.start_model, rope)
    return positions_of(recipe.base.init, recipe.base.train.rope or rope)


def _score_published(study: Study, num_workers: int, told: Told) -> dict[str, tuple[Path, Path]]:
    """Grade outputs that were made elsewhere."""
    found: dict[str, tuple[Path, Path]] = {}
    for name, spec in study.recipe.published.items():
        folder = study.root / "published" / name
        place = f"published/{name}"
        with doing(f"{place}/import"):
            imported = import_predictions(
                folder / "predictions", expand_path(spec.path), spec.fields, name=name, arm=spec.arm
            )
        told(f"{place}/import", f"import {name}", imported, rows_line(imported))
        with doing(f"{place}/score"):
            scored = score(
                folder / "score", folder / "predictions", grader_name=study.recipe.grader, num_workers=num_workers
            )
        agreement = scored.info.get("label_agreement")
        statuses = ", ".join(f"{status} {count:,}" for status, count in scored.info["statuses"].items())
        told(
            f"{place}/score",
            f"score {name}",
            scored,
            statuses + (f"; agrees with labels on {100 * agreement:.2f} %" if agreement is not None else ""),
        )
        found[name] = (folder / "predictions", folder / "score")
    return found
