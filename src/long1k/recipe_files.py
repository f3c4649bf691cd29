"""Recipe files as they stand on disk: found, read, and put together with the recipe that they stand on.

base_of: NAME    the base model of that recipe, with its tokenizer, is where the arms start
arms_of: NAME    that recipe's arms answer here: nothing is made or trained twice
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from long1k.errors import RecipeError

RECIPES = Path(__file__).resolve().parent / "recipes"
BASE_OF, ARMS_OF = "base_of", "arms_of"
_OF_BASE = ("base",)
_OF_ARMS = ("tokenizer", "chat", "sources", "collect", "base", "model", "arms", "train", "seeds")


class _UniqueKeys(yaml.SafeLoader):
    """YAML without the silent rule that of two equal keys the last one counts."""


def _mapping(loader: _UniqueKeys, node: yaml.MappingNode) -> dict[Any, Any]:
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if keys.count(key) > 1:
            raise yaml.YAMLError(f"the key '{key}' stands twice, {node.start_mark}")
    return loader.construct_mapping(node, deep=True)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


def find_recipe(name: str) -> Path:
    """The file of a recipe: a path, or the name of one that ships with the package.

    Raises:
        RecipeError: there is neither.
    """
    path = Path(name).expanduser()
    if path.suffix in (".yaml", ".yml") or path.is_file():
        if not path.is_file():
            raise RecipeError(f"there is no recipe file {name}", "check the path")
        return path
    packaged = RECIPES / f"{name}.yaml"
    if not packaged.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.yaml")))
        raise RecipeError(f"there is no recipe '{name}'", f"packaged recipes: {known}; or give the path of a YAML file")
    return packaged


def recipe_values(path: Path, overrides: Sequence[str] = (), smoke: bool = False) -> dict[str, Any]:
    """The keys of a recipe: its own, over those of the recipe it stands on, then ``smoke``, then ``overrides``.

    Raises:
        RecipeError: it cannot be read, or two recipes say the same thing.
    """
    values, pairs = _read(path), [_pair(text) for text in overrides]
    for key, value in pairs:  # which recipe it stands on decides what there is to be overridden
        if key in (BASE_OF, ARMS_OF):
            values[key] = value
    values = _with_other(path, values, smoke)
    if smoke:
        leaves = values.get("smoke")
        if not leaves:
            raise RecipeError(f"{path} has no smallest form", "leave --smoke out, or add smoke: {train.steps: 10}")
        if not isinstance(leaves, dict):
            raise RecipeError(f"{path}: smoke is a mapping of leaves to values", "e.g. smoke: {train.steps: 10}")
        for key, value in leaves.items():
            set_leaf(values, key, value)
    for key, value in pairs:
        if key not in (BASE_OF, ARMS_OF):
            set_leaf(values, key, value)
    return values


def _pair(text: str) -> tuple[str, Any]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise RecipeError(f"--set {text}: expected key.path=value", "e.g. --set train.learning_rate=1e-5")
    return key, parse_leaf(value)


def _read(path: Path) -> dict[str, Any]:
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except (yaml.YAMLError, OSError, UnicodeDecodeError, RecursionError) as error:
        raise RecipeError(f"{path} cannot be read: {error}", "mend the YAML") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} is not a recipe (a mapping of keys)", "start from one of the packaged recipes")
    return values


def _with_other(path: Path, values: dict[str, Any], smoke: bool) -> dict[str, Any]:
    """The keys with those of the recipe that ``base_of`` or ``arms_of`` names filled in."""
    named = {key: values[key] for key in (BASE_OF, ARMS_OF) if values.get(key) is not None}
    if not named:
        return values
    if len(named) == 2:
        raise RecipeError(f"{path}: give one of {BASE_OF} and {ARMS_OF}", f"{ARMS_OF} brings the base model, too")
    ((key, name),) = named.items()
    found = find_recipe(str(name))
    if ARMS_OF in (read := _read(found)) or (key == BASE_OF and BASE_OF in read):
        raise RecipeError(f"{path}: '{name}' stands on another recipe itself", f"name that one under {key}")
    other = recipe_values(found, smoke=smoke)
    taken = _OF_ARMS if key == ARMS_OF else _OF_BASE
    twice = [one for one in taken if one in values]
    if twice:
        raise RecipeError(f"{path}: {key} takes {', '.join(twice)} from '{name}'", f"leave out {twice[0]}")
    filled = dict(values)
    for one in (*taken, "tokenizer", "chat"):
        if one in other and one not in filled:
            filled[one] = other[one]
    filled[key] = other.get("name", found.stem)
    if filled[key] == values.get("name"):  # the two runs would be one folder
        raise RecipeError(f"{path}: it has the name of the recipe that it stands on, '{filled[key]}'", "rename one")
    if key == ARMS_OF:
        filled["kept_out"] = _kept_out(path, values, other)
        if other.get("base") is not None:
            filled[BASE_OF] = other.get(BASE_OF) or filled[ARMS_OF]
    elif other.get("base") is None:
        raise RecipeError(f"{path}: '{name}' has no base model", "name a recipe with base")
    return filled


def _kept_out(path: Path, values: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """What the other recipe keeps out of its pool; the pool is its own, so nothing can be added."""
    if "kept_out" in values:
        raise RecipeError(
            f"{path}: {ARMS_OF} takes the pool as it is",
            "leave out kept_out, or say it in that recipe; where "
            "its files lie can be said: --set kept_out.NAME.path=FILE",
        )
    benchmarks = {**(other.get("kept_out") or {}), **(other.get("benchmarks") or {})}
    return {
        name: {key: one for key, one in spec.items() if key != "sampling"} if isinstance(spec, dict) else spec
        for name, spec in benchmarks.items()
    }


def parse_leaf(text: str) -> Any:
    """A value given on the command line, read as YAML (1e-5 is a number)."""
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise RecipeError(f"--set value {text!r} is not YAML: {error}", "quote it") from None
    if isinstance(value, str):  # YAML 1.1 reads 1e-5 as text
        try:
            return float(value)
        except ValueError:
            return value
    return value


def set_leaf(values: dict[str, Any], key: str, value: Any) -> None:
    """Set one leaf; list members are addressed by number."""
    at: Any = values
    parts = key.split(".")
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(at, list):
            if not part.isdecimal() or int(part) >= len(at):
                raise RecipeError(f"--set {key}: '{part}' is not a place in a list of {len(at)}", "count from 0")
            if last:
                at[int(part)] = value
            at = at[int(part)]
        elif isinstance(at, dict):
            if last:
                at[part] = value
            else:
                at = at.setdefault(part, {})
        else:
            raise RecipeError(
                f"--set {key}: '{parts[depth - 1]}' is a single value, not a group of keys", "check the path"
            )
