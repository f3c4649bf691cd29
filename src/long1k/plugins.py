"""Finds the class behind a name: one of ours, or ``"module:Class"`` from outside."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import os
import re
import traceback
from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from long1k.errors import MissingExtraError, RecipeError

_EXTRA_OF = {
    "torch": "train",
    "transformers": "train",
    "trl": "train",
    "accelerate": "train",
    "datasets": "train",
    "safetensors": "train",
    "peft": "train",
    "bitsandbytes": "gpu",
    "deepspeed": "gpu",
    "huggingface_hub": "hub",
    "ray": "ray",
    "py3langid": "language",
    "tensorboard": "tensorboard",
    "trackio": "trackio",
    "wandb": "wandb",
    "httpx2": "server",
    "vllm": "vllm",
}


_MODELS = ("transformers", "trl", "datasets", "peft", "vllm")
_LOAD_DEEPSPEED = ("transformers", "trl", "accelerate", "peft")


def need(module: str) -> Any:
    """Import an optional dependency, or say which extra brings it."""
    if module in _MODELS:
        # Models are folders: loading one must never ask the network.  Data sets may come from the hub.
        os.environ.setdefault("HF_HUB_OFFLINE", "1")
    if module in _LOAD_DEEPSPEED and importlib.util.find_spec("deepspeed") and not need("torch").cuda.is_available():
        # They load DeepSpeed where it is installed; on a machine without GPU it says so, on standard output.
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = (error.name or module).split(".")[0]
        if top in _EXTRA_OF:
            raise MissingExtraError(top, _EXTRA_OF[top]) from None
        raise


def load_plugin(name: str, known: Mapping[str, str], kind: str) -> Any:
    """The object that a name stands for.

    Raises:
        RecipeError: the name is not known, or ``module:Class`` cannot be imported.
    """
    target = known.get(name, name)
    if ":" not in target:
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean '{close[0]}'? " if close else ""
        raise RecipeError(f"unknown {kind} '{name}'", f"{hint}known: {', '.join(known)}; or give 'module:Class'")
    module, _, attribute = target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        if target != name:
            raise
        raise RecipeError(f"cannot load {kind} '{name}': {error}", "check the module is on PYTHONPATH") from None
    except Exception as error:  # the module is there, and fails as it is imported
        if target != name:
            raise
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f" ({last.filename}, line {last.lineno})" if not isinstance(error, SyntaxError) else ""
        raise RecipeError(
            f"cannot load {kind} '{name}': {type(error).__name__}: {error}{where}", f"mend the module {module}"
        ) from None


def explain(error: ValidationError, where: str, model: type[BaseModel]) -> RecipeError:
    """A pydantic error as one message that names the key and, for a typing slip, the nearest known one."""
    lines = []
    for item in error.errors(include_url=False):
        place = ".".join(_place(model, item["loc"])) or where
        if item["type"] == "extra_forbidden":
            names = _keys_at(model, item["loc"][:-1])
            close = difflib.get_close_matches(str(item["loc"][-1]), names, 1, cutoff=0.65)
            hint = f"; did you mean '{close[0]}'?" if close else ""
            lines.append(f"unknown key '{place}'{hint}" + (f" (known: {', '.join(names)})" if names else ""))
        else:
            given = item.get("input")
            # A fault of keys that do not go together is said in full; the mapping they stand in tells nothing more.
            got = "" if isinstance(given, Mapping) else f" (got {str(given)[:80]!r})"
            lines.append(f"{place}: {_said(item)}{got}{_nearest(item)}")
    return RecipeError(f"{where}:\n  " + "\n  ".join(lines), "mend that key of the recipe, or that option")


def _said(item: Any) -> str:
    """What is wrong, without the words of the library that found it."""
    context = item.get("ctx") or {}
    match item["type"]:
        case "missing":
            return "is missing"
        case "union_tag_invalid":
            return f"no {str(context['discriminator']).strip(chr(39))} '{context['tag']}': one of {_tags(context)}"
        case "union_tag_not_found":
            return f"{str(context['discriminator']).strip(chr(39))} is missing"
    return str(item["msg"]).removeprefix("Value error, ")


def _tags(context: Mapping[str, Any]) -> str:
    return ", ".join(re.findall(r"'([^']+)'", str(context["expected_tags"])))


def _nearest(item: Any) -> str:
    """The allowed value that a wrong one resembles, of keys that take one of a few words."""
    context = item.get("ctx") or {}
    allowed = re.findall(r"'([^']+)'", str(context.get("expected") or context.get("expected_tags") or ""))
    given = context.get("tag") or item.get("input")
    close = difflib.get_close_matches(str(given), allowed, 1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def _place(annotation: Any, path: tuple[int | str, ...]) -> list[str]:
    """The way to a key as it is written in a file: without the tags that pydantic puts into it."""
    if not path:
        return []
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        field = annotation.model_fields.get(str(path[0]))
        return [str(path[0]), *_place(None if field is None else field.annotation, path[1:])]
    members = get_args(annotation)
    if get_origin(annotation) in (list, tuple, dict):
        return [str(path[0]), *_place(members[-1], path[1:])]
    if get_origin(annotation) is Annotated:
        return _place(members[0], path)
    for member in members:
        tag = getattr(member, "model_fields", {}).get("kind")
        if tag is not None and path[0] in get_args(tag.annotation):
            return _place(member, path[1:])
    inner = [one for one in members if get_origin(one) or (isinstance(one, type) and issubclass(one, BaseModel))]
    return _place(inner[0], path) if len(inner) == 1 else [str(part) for part in path]


def _keys_at(annotation: Any, path: tuple[int | str, ...]) -> list[str]:
    """The keys that a model knows at a place: through fields, lists, mappings and tagged unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if not path:
            return list(annotation.model_fields)
        field = annotation.model_fields.get(str(path[0]))
        return [] if field is None else _keys_at(field.annotation, path[1:])
    members = get_args(annotation)
    if get_origin(annotation) in (list, tuple, dict) and path:
        return _keys_at(members[-1], path[1:])
    if path and isinstance(path[0], str):  # a tagged union puts the tag into the path
        for member in members:
            tag = getattr(member, "model_fields", {}).get("kind")
            if tag is not None and path[0] in get_args(tag.annotation):
                return _keys_at(member, path[1:])
    return next((keys for member in members if (keys := _keys_at(member, path))), [])


def validate(model: type[BaseModel], values: Mapping[str, Any], where: str) -> Any:
    """A validated configuration object, or a RecipeError that names the wrong key."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as error:
        raise explain(error, where, model) from None
