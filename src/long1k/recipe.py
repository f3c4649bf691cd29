"""The strict model of a recipe file: one YAML file is one study.

An unknown key is an error that names the nearest known one.  ``expand_arms`` turns ladders and
controls into arms, each with its samples and its training.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from long1k.benchmarks import BENCHMARKS
from long1k.errors import RecipeError
from long1k.generation.base import Sampling
from long1k.plugins import explain, load_plugin, validate
from long1k.sources import SOURCES
from long1k.stages.collect import CollectConfig
from long1k.stages.synthesize import JoinSpec
from long1k.training.config import ModelInit, TrainConfig

RECIPES = Path(__file__).resolve().parent / "recipes"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ChatSpec(_Strict):
    """How conversations are written."""

    thinking: str = "think"
    system: str | None = None


class Group(JoinSpec):
    """Samples of one length (see JoinSpec)."""


class _Joining(_Strict):
    tolerance: float = Field(default=0.01, ge=0, lt=1)
    num_problems: tuple[int, int] = (2, 2)
    layout: Literal["blocks", "turns"] = "blocks"
    linkers: str = "english"
    shortfall: Literal["error", "allow"] = "error"


class Ladder(_Joining):
    """One arm a length, the same number of samples each: L1000, L2000, …"""

    kind: Literal["ladder"]
    targets: list[int] = Field(min_length=1)
    samples: int = Field(ge=1)


class TokenMatched(_Strict):
    """As many tokens a step and in all as arm ``of``, in more and shorter samples of arm ``short``'s length."""

    kind: Literal["token_matched"]
    of: str
    short: str


class Repeated(_Strict):
    """As many tokens a step as arm ``of``, by repeating the samples of arm ``short``."""

    kind: Literal["repeated"]
    of: str
    short: str


class Untrained(_Strict):
    """The model as it is before any arm trains it."""

    kind: Literal["untrained"]
    name: str = "untrained"


class Samples(_Strict):
    """One arm of its own making, from groups of samples."""

    kind: Literal["samples"]
    name: str
    groups: list[Group] = Field(min_length=1)
    train: dict[str, Any] = Field(default_factory=dict)


ArmSpec = Annotated[Ladder | TokenMatched | Repeated | Untrained | Samples, Field(discriminator="kind")]


class Base(_Strict):
    """A small model made before the arms, that knows how to solve but not what they teach."""

    init: ModelInit = ModelInit()
    sources: dict[str, dict[str, Any]] = Field(min_length=1)
    collect: CollectConfig = CollectConfig()
    groups: list[Group] = Field(min_length=1)
    train: TrainConfig
    seed: int = 0


class Published(_Strict):
    """Outputs that somebody else published, to be graded here and compared with their labels."""

    path: str
    fields: dict[str, str] = Field(default_factory=dict)
    arm: str | None = Field(default=None, description="the field that tells runs apart")


class Recipe(_Strict):
    """One study."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    description: str = ""
    notes: list[str] = Field(default_factory=list, description="said on the page, under the verdict")
    tokenizer: str
    chat: ChatSpec = ChatSpec()
    sources: dict[str, dict[str, Any]] = Field(min_length=1)
    collect: CollectConfig = CollectConfig()
    base: Base | None = None
    model: str | None = Field(default=None, description="folder of the model to fine-tune (or give base)")
    arms: list[ArmSpec] = Field(min_length=1)
    train: TrainConfig | None = Field(default=None, description="null: make data only")
    seeds: list[int] = Field(default_factory=lambda: [0], min_length=1)
    benchmarks: dict[str, dict[str, Any]] = Field(default_factory=dict)
    sampling: Sampling = Sampling()
    grader: str = "math"
    published: dict[str, Published] = Field(default_factory=dict)
    confidence: float = Field(default=0.95, gt=0.5, lt=1)
    smoke: dict[str, Any] = Field(default_factory=dict, description="leaves that --smoke sets")

    @field_validator("seeds")
    @classmethod
    def _distinct(cls, value: list[int]) -> list[int]:
        if len(set(value)) != len(value):
            raise ValueError("seeds must differ")
        return value


@dataclass(frozen=True, slots=True)
class Arm:
    """One training condition, ready to run.

    ``data_arm`` is the arm whose samples it trains on (itself, or another's that it repeats);
    ``of`` the arm it is a control of; ``train`` is None for the untrained baseline.
    """

    name: str
    role: Literal["rung", "control", "baseline", "arm"]
    kind: str
    target_tokens: int | None
    specs: tuple[JoinSpec, ...]
    data_arm: str
    train: TrainConfig | None
    of: str | None


def expand_arms(recipe: Recipe) -> list[Arm]:
    """All arms of a recipe, controls after the rungs they match.

    Raises:
        RecipeError: a control names an arm that is not there, or two arms have one name.
    """
    arms: dict[str, Arm] = {}

    def add(arm: Arm) -> None:
        if arm.name in arms:
            raise RecipeError(
                f"{recipe.name}: two arms are called '{arm.name}'", "give them different names or targets"
            )
        arms[arm.name] = arm

    def known(name: str, where: str) -> Arm:
        if name not in arms or not arms[name].specs:
            raise RecipeError(
                f"{recipe.name}: {where} names the arm '{name}', which does not stand before it",
                f"arms so far: {', '.join(arms) or 'none'}",
            )
        return arms[name]

    for spec in recipe.arms:
        if isinstance(spec, Ladder):
            shared = {key: getattr(spec, key) for key in _Joining.model_fields}
            for target in spec.targets:
                join = JoinSpec(target=target, samples=spec.samples, **shared)
                add(Arm(f"L{target}", "rung", "ladder", target, (join,), f"L{target}", recipe.train, None))
        elif isinstance(spec, Samples):
            train = recipe.train
            if train is not None and spec.train:
                train = validate(TrainConfig, {**train.model_dump(), **spec.train}, f"train of arm {spec.name}")
            add(Arm(spec.name, "arm", "samples", None, tuple(spec.groups), spec.name, train, None))
        elif isinstance(spec, Untrained):
            add(Arm(spec.name, "baseline", "untrained", None, (), spec.name, None, None))
        else:
            long, short = known(spec.of, spec.kind), known(spec.short, spec.kind)
            ratio = round(
                long.specs[0].target * long.specs[0].samples / (short.specs[0].target * short.specs[0].samples)
            )
            train = recipe.train
            if train is not None:  # more samples a step, as many steps: tokens a step and in all are matched
                train = train.model_copy(update={"batch_size": train.batch_size * ratio})
            if isinstance(spec, TokenMatched):
                name = f"tokens-of-{spec.of}"
                more = short.specs[0].model_copy(update={"samples": short.specs[0].samples * ratio})
                add(Arm(name, "control", spec.kind, more.target, (more,), name, train, spec.of))
            else:
                name = f"repeat-{spec.short}-as-{spec.of}"
                add(Arm(name, "control", spec.kind, short.target_tokens, short.specs, short.name, train, spec.of))
    return list(arms.values())


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


def load_recipe(name: str, overrides: Sequence[str] = (), smoke: bool = False) -> Recipe:
    """Read, override and check a recipe.

    Args:
        overrides: ``key.path=value`` leaves; values are YAML.
        smoke: apply the recipe's ``smoke`` leaves first.

    Raises:
        RecipeError: unknown key, wrong type, unreadable YAML, or a plug-in that is not there.
    """
    path = find_recipe(name)
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path} cannot be read: {error}", "mend the YAML") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} is not a recipe (a mapping of keys)", "start from one of the packaged recipes")
    if smoke:
        for key, value in (values.get("smoke") or {}).items():
            _set(values, key, value)
    for text in overrides:
        key, separator, value = text.partition("=")
        if not separator:
            raise RecipeError(f"--set {text}: expected key.path=value", "e.g. --set train.learning_rate=1e-5")
        _set(values, key, parse_leaf(value))
    try:
        recipe = Recipe.model_validate(values)
    except ValidationError as error:
        raise explain(error, str(path), _known_keys(Recipe)) from None
    if recipe.train is not None and (recipe.base is None) == (recipe.model is None):
        raise RecipeError(f"{path}: give exactly one of base and model", "the model to fine-tune is a folder")
    make_sources(recipe.sources)
    if recipe.base is not None:
        make_sources(recipe.base.sources)
    make_benchmarks(recipe.benchmarks)
    expand_arms(recipe)
    return recipe


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


def _set(values: dict[str, Any], key: str, value: Any) -> None:
    """Set one leaf; list members are addressed by number."""
    at: Any = values
    parts = key.split(".")
    for depth, part in enumerate(parts):
        last = depth == len(parts) - 1
        if isinstance(at, list):
            if not part.isdigit() or int(part) >= len(at):
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


def _known_keys(model: Any, prefix: tuple[Any, ...] = ()) -> dict[tuple[Any, ...], list[str]]:
    """The keys that may stand at each place of a recipe, for 'did you mean'."""
    known = {prefix: list(model.model_fields)}
    for name, field in model.model_fields.items():
        for kind in _models_in(field.annotation):
            known |= _known_keys(kind, (*prefix, name))
            for at in range(64):  # members of a list, and tagged unions, have their place in the path
                known[(*prefix, name, at)] = list(kind.model_fields)
                tag = kind.model_fields.get("kind")
                if tag is not None:
                    known[(*prefix, name, at, get_args(tag.annotation)[0])] = list(kind.model_fields)
    return known


def _models_in(annotation: Any) -> list[Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel) and get_origin(annotation) is None:
        return [annotation]
    return [found for arg in get_args(annotation) for found in _models_in(arg)]


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
    """(name, benchmark) of each entry under ``benchmarks``."""
    return _make(specs, BENCHMARKS, "benchmark")
