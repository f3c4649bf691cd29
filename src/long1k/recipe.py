"""A recipe read and checked, and what it names made: one YAML file is one study.

An unknown key is an error that names the nearest known one.  ``expand_arms`` turns ladders,
experiments and controls into arms, each with its samples and its training.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from long1k.arm_controls import by_short, remade
from long1k.arm_kinds import (
    Difficulty,
    EqualSteps,
    Ladder,
    Mixtures,
    Repeated,
    SameProblems,
    Samples,
    StepMatched,
    TokenMatched,
    Untrained,
)
from long1k.arms import Arm, difficulty_arms, equal_steps_arms, ladder_arms, mixture_arms, same_problems_arms
from long1k.benchmarks import BENCHMARKS
from long1k.errors import DataError, RecipeError
from long1k.generation.base import Sampling
from long1k.joining.spec import JoinSpec
from long1k.plugins import explain, load_plugin, validate
from long1k.recipe_files import ARMS_OF, RECIPES, find_recipe, parse_leaf, recipe_values, set_leaf
from long1k.recipe_model import Recipe
from long1k.sources import SOURCES
from long1k.training.config import TrainConfig

__all__ = [
    "RECIPES", "Recipe", "expand_arms", "find_recipe", "load_recipe", "make_benchmarks",
    "make_samplings", "make_sources", "merged_sampling", "parse_leaf", "recipe_of_run", "set_leaf",
]  # fmt: skip


def expand_arms(recipe: Recipe) -> list[Arm]:
    """All arms of a recipe, controls after the arms they match.

    Raises:
        RecipeError: a control names an arm that is not there or cannot match it, or two arms have one name.
    """
    study, train = recipe.name, recipe.train
    arms: dict[str, Arm] = {}

    def add(arm: Arm) -> None:
        if arm.name in arms:
            raise RecipeError(f"{study}: two arms are called '{arm.name}'", "give them different names or targets")
        for name in arm.related:
            known(name, f"arm '{arm.name}'")
        arms[arm.name] = arm

    def known(name: str, where: str) -> Arm:
        if name not in arms or not arms[name].specs:
            raise RecipeError(
                f"{study}: {where} names the arm '{name}', which does not stand before it",
                f"arms so far: {', '.join(arms) or 'none'}",
            )
        return arms[name]

    for spec in recipe.arms:
        if isinstance(spec, Ladder):
            made = ladder_arms(spec, train)
        elif isinstance(spec, SameProblems):
            made = same_problems_arms(spec, train)
        elif isinstance(spec, Difficulty):
            made = difficulty_arms(spec, train)
        elif isinstance(spec, Mixtures):
            made = mixture_arms(spec, train)
        elif isinstance(spec, EqualSteps):
            made = equal_steps_arms(spec, train)
        elif isinstance(spec, Samples):
            against = None if spec.of is None else known(spec.of, "samples").name
            own = train
            if train is not None and spec.train:
                own = validate(TrainConfig, {**train.model_dump(), **spec.train}, f"train of arm {spec.name}")
            own_arm = Arm(
                spec.name, "arm", "samples", None, tuple(spec.groups), spec.name, own, of=against, against=against,
                description="samples of its own making", seed_key=spec.name,
            )  # fmt: skip
            made = [own_arm]
        elif isinstance(spec, Untrained):
            made = [Arm(spec.name, "baseline", "untrained", None, (), spec.name, None, description="no training")]
        elif isinstance(spec, TokenMatched | Repeated | StepMatched):
            where = f"{study}: {spec.kind} of '{spec.of}' by '{spec.short}'"
            made = [by_short(where, spec, known(spec.of, spec.kind), known(spec.short, spec.kind))]
        else:
            made = [remade(f"{study}: {spec.kind} of '{spec.of}'", spec, known(spec.of, spec.kind))]
        for arm in made:
            add(arm)
    return list(arms.values())


def load_recipe(name: str, overrides: Sequence[str] = (), smoke: bool = False) -> Recipe:
    """Read, override and check a recipe.

    Args:
        overrides: ``key.path=value`` leaves; values are YAML.
        smoke: apply the recipe's ``smoke`` leaves first.

    Raises:
        RecipeError: unknown key, wrong type, unreadable YAML, or a plug-in that is not there.
    """
    path = find_recipe(name)
    values = recipe_values(path, overrides, smoke)
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, str(path), Recipe) from None
    if recipe.train is not None and (recipe.base is None) == (recipe.model is None):
        raise RecipeError(f"{path}: give exactly one of base and model", "the model to fine-tune is a folder")
    make_sources(recipe.sources)
    if recipe.base is not None:
        make_sources(recipe.base.sources)
    _check_asked(path, recipe)
    make_benchmarks(recipe.kept_out)
    make_benchmarks(recipe.benchmarks)
    make_samplings(recipe)
    _check_budgets(path, recipe)
    arms = expand_arms(recipe)
    _check_names(path, recipe, [arm.name for arm in arms])
    for arm in arms:
        _check_sources(path, f"arm {arm.name}", arm.specs, list(recipe.sources))
    if recipe.base is not None:
        _check_sources(path, "base", recipe.base.groups, list(recipe.base.sources))
    if recipe.arms_of is not None and recipe.train is None:
        raise RecipeError(
            f"{path}: the arms of '{recipe.arms_of}' are not trained (train: null)", f"leave out {ARMS_OF}"
        )
    return recipe


def recipe_of_run(root: Path) -> Recipe:
    """The recipe that a run was made with.

    Raises:
        DataError: its file cannot be read, or is of another version of this program.
    """
    path = root / "recipe.json"
    try:
        return Recipe.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        said = explain(error, str(path), Recipe).what
    except (OSError, UnicodeDecodeError) as error:
        said = f"{path} cannot be read: {error}"
    raise DataError(
        f"{said}\n  the file is damaged, or of another version", "long1k run with the recipe's own file writes it anew"
    )


def _check_asked(path: Path, recipe: Recipe) -> None:
    """A leaf that is meant for a benchmark of the recipe that this one stands on makes no benchmark here."""
    for name, spec in recipe.benchmarks.items():
        if "type" not in spec and name in recipe.kept_out:
            raise RecipeError(
                f"{path}: benchmark '{name}' has no type; {recipe.arms_of or 'kept_out'} has one of that name, which "
                "is not asked here but kept out of the pool",
                f"--set kept_out.{name}.KEY=… changes that one, e.g. kept_out.{name}.path=FILE; give a type to ask it",
            )


def _check_names(path: Path, recipe: Recipe, arms: Sequence[str]) -> None:
    """Margins name arms, expectations name benchmarks."""
    for key, given, known in (
        ("margins", recipe.margins, arms), ("expected", recipe.expected, list(recipe.benchmarks)),
    ):  # fmt: skip
        for name in given:
            if name not in known:
                what = "arm" if key == "margins" else "benchmark"
                raise RecipeError(f"{path}: {key} names the {what} '{name}'", f"one of: {', '.join(known) or 'none'}")
    for name, margin in recipe.margins.items():
        if not 0 < margin <= 100:
            raise RecipeError(f"{path}: margins.{name} is {margin:g}", "points above 0, at most 100")


def _check_sources(path: Path, owner: str, specs: Sequence[JoinSpec], known: Sequence[str]) -> None:
    """Groups draw from sources that the recipe has: found out now, and not after the pool was made."""
    for name in (name for spec in specs for name in spec.where.sources or ()):
        if name not in known:
            close = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            raise RecipeError(
                f"{path}: where.sources of {owner} names '{name}'", f"sources of the recipe: {', '.join(known)}{hint}"
            )


def _check_budgets(path: Path, recipe: Recipe) -> None:
    """Budgets are compared on the same questions, or not at all."""
    if recipe.budget_curves is None:
        return
    plain = {name: {k: v for k, v in spec.items() if k != "sampling"} for name, spec in recipe.benchmarks.items()}
    free = recipe.budget_curves.of
    for name in (free, *recipe.budget_curves.forced):
        if name not in plain:
            raise RecipeError(
                f"{path}: budget_curves names the benchmark '{name}', which is not there",
                f"benchmarks: {', '.join(plain) or 'none'}",
            )
        if plain[name] != plain[free]:
            raise RecipeError(
                f"{path}: budget_curves compares '{name}' with '{free}', which asks other questions",
                "let the two differ in their sampling alone",
            )
    if any(limit < 1 for limit in recipe.budget_curves.cut):
        raise RecipeError(f"{path}: budget_curves.cut holds a limit below one token", "give positive numbers")


def _make(specs: Mapping[str, dict[str, Any]], known: Mapping[str, str], kind: str) -> list[tuple[str, Any]]:
    made = []
    for name, spec in specs.items():
        values = dict(spec)
        plugin = values.pop("type", None)
        if not isinstance(plugin, str):
            raise RecipeError(f"{kind} '{name}' has no type", f"type: one of {', '.join(known)}")
        factory = load_plugin(plugin, known, kind)
        made.append((name, factory(validate(factory.Config, values, f"{kind} '{name}' ({plugin})"))))
    return made


def make_sources(specs: Mapping[str, dict[str, Any]]) -> list[tuple[str, Any]]:
    """(name, source) of each entry under ``sources``."""
    return _make(specs, SOURCES, "source")


def make_benchmarks(specs: Mapping[str, dict[str, Any]]) -> list[tuple[str, Any]]:
    """(name, benchmark) of each entry under ``benchmarks``; their ``sampling`` is ``make_samplings``' to read."""
    plain = {name: {key: one for key, one in spec.items() if key != "sampling"} for name, spec in specs.items()}
    return _make(plain, BENCHMARKS, "benchmark")


def make_samplings(recipe: Recipe) -> dict[str, Sampling]:
    """How outputs are drawn for each benchmark: the study's sampling, and over it the benchmark's own leaves.

    Raises:
        RecipeError: a benchmark's sampling has an unknown key, or is no mapping.
    """
    return {
        name: merged_sampling(recipe.sampling, spec.get("sampling", {}), f"benchmark '{name}', sampling")
        for name, spec in recipe.benchmarks.items()
    }


def merged_sampling(sampling: Sampling, leaves: Any, where: str) -> Sampling:
    """A sampling with some of its keys replaced, those of ``budget`` one by one."""
    if not isinstance(leaves, dict):
        raise RecipeError(f"{where} is a mapping of keys", "e.g. sampling: {samples: 64}")
    values = {**sampling.model_dump(), **leaves}
    if isinstance(leaves.get("budget"), dict):
        values["budget"] = {**sampling.budget.model_dump(), **leaves["budget"]}
    made: Sampling = validate(Sampling, values, where)
    return made
