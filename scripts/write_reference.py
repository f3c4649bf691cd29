"""Writes docs/commands.md and docs/recipe-keys.md from the code: every command's options, every key of a recipe.

python scripts/write_reference.py            # a test holds both pages to the code
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from typer.models import ArgumentInfo, OptionInfo

from long1k.arm_kinds import ArmSpec
from long1k.benchmarks import BENCHMARKS
from long1k.cli import app
from long1k.generation import ENGINES
from long1k.grading import JUDGES
from long1k.plugins import load_plugin
from long1k.recipe import Recipe
from long1k.sources import SOURCES

DOCS = Path(__file__).resolve().parents[1] / "docs"
NOTE = "<!-- written by scripts/write_reference.py: do not edit -->\n"


def cell(text: str) -> str:
    """A text that fits into a table's cell."""
    return re.sub(r"\s+", " ", text).strip().replace("|", "\\|")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in lines) + "\n"


# --- commands


def commands_page() -> str:
    """Every command with its arguments, options and examples, from the functions behind them."""
    commands = {
        (one.name or str(one.callback.__name__)): one for one in app.registered_commands if one.callback is not None
    }
    overview = [(f"[{name}](#long1k-{name})", cell(first(one.callback.__doc__))) for name, one in commands.items()]
    parts = [
        NOTE, "# Commands\n",
        "`long1k COMMAND --help` says the same in the terminal. Results go to the folder after `--out`; a command that "
        "was stopped goes on when it is given again, and what is finished is left alone.\n",
        table(("command", "does"), overview),
    ]  # fmt: skip
    return "\n".join([*parts, *(section(name, one.callback, one.epilog) for name, one in commands.items())])


def first(text: str | None) -> str:
    """The first paragraph of a help text."""
    return inspect.cleandoc(text or "").split("\n\n")[0]


def section(name: str, function: Any, epilog: str | None) -> str:
    """One command."""
    hints = get_type_hints(function, include_extras=True)
    arguments, options = [], []
    for param in inspect.signature(function).parameters.values():
        hint = hints[param.name]
        annotation, *rest = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        info = next((one for one in rest if isinstance(one, ArgumentInfo | OptionInfo)), OptionInfo())
        row = (takes_option(annotation, info), default(param), cell(info.help or ""))
        if isinstance(info, ArgumentInfo):
            arguments.append((f"`{param.name.upper()}`{' …' if get_origin(annotation) is list else ''}", *row))
        elif not info.hidden:
            # Inside Annotated the first name stands where otherwise a default would.
            given = [one for one in (info.default, *(info.param_decls or ())) if str(one).startswith("-")]
            long = "--" + param.name.replace("_", "-")
            plain = [long, *([f"--no-{long[2:]}"] if annotation is bool else [])]
            options.append((", ".join(f"`{one}`" for one in given or plain), *row))
    words = [one[0].replace("`", "") for one in arguments]
    parts = [
        f"## long1k {name}\n", f"{inspect.cleandoc(function.__doc__ or '')}\n",
        f"`{' '.join(['long1k', name, *words, '[OPTIONS]'])}`\n",
        table(("", "takes", "default", ""), [*arguments, *options]),
    ]  # fmt: skip
    if epilog:
        examples = re.split(r"\s{3,}(?=long1k )", epilog.removeprefix("Example:").strip())
        parts.append("```text\n" + "\n".join(example.strip() for example in examples) + "\n```\n")
    return "\n".join(parts)


def takes_option(annotation: Any, info: ArgumentInfo | OptionInfo) -> str:
    """What an argument or option takes, with its bounds."""
    if annotation is bool:
        return ""
    inner = get_args(annotation)[0] if get_origin(annotation) is list else annotation
    bounds = [f"{sign} {limit:g}" for sign, limit in (("≥", info.min), ("≤", info.max)) if limit is not None]
    again = ["repeated"] if inner is not annotation else []
    return cell(", ".join([named(inner).removesuffix(" or null"), *bounds, *again]))


def default(param: inspect.Parameter) -> str:
    """An option's default, as it would be typed."""
    if param.default is inspect.Parameter.empty:
        return "needed"
    return "" if param.default in (None, False, True, [], "") else f"`{param.default}`"


# --- recipe keys


_PLUGINS = (
    ("Sources", SOURCES, "Each entry under `sources` has a `type` and these. More: [sources](sources.md)."),
    (
        "Benchmarks", BENCHMARKS,
        "Each entry under `benchmarks` has a `type`, maybe `sampling`, and these. More: [predicting](predicting.md).",
    ),
    ("Engines", ENGINES, "`engine` has a `type` and these. More: [predicting](predicting.md)."),
    ("Judges", JUDGES, "Options of graders that ask a model (`--judge-option`). More: [grading](grading.md)."),
)  # fmt: skip


def recipe_page() -> str:
    """Every key of a recipe: what it takes, its default, what it means."""
    found: dict[str, type[BaseModel]] = {}
    parts = [
        NOTE, "# Recipe keys\n",
        "Every key that a recipe may have, from the code that checks it. An unknown key is an error that names the "
        "nearest known one. What they are for, with examples: [recipes](recipes.md).\n",
        "## The recipe\n", fields(Recipe, found),
        "## Arms\n",
        "Each entry under `arms` has a `kind`. [Arms and their controls](arms.md) says what each holds equal.\n",
    ]  # fmt: skip
    for one in members(ArmSpec):
        tag = get_args(one.model_fields["kind"].annotation)[0]
        parts += [f"### kind: {tag}\n", f"{doc(one)}\n", fields(one, found, skip=("kind",))]
    for title, known, about in _PLUGINS:
        parts += [f"## {title}\n", f"{about}\n"]
        by_config: dict[type[BaseModel], list[str]] = {}
        for name, target in known.items():
            by_config.setdefault(load_plugin(target, {}, title).Config, []).append(name)
        for config, names in by_config.items():
            parts += [f"### type: {', '.join(names)}\n", f"{doc(config)}\n", fields(config, found)]
    parts.append("## Nested keys\n")
    done: set[str] = set()
    while left := [name for name in found if name not in done]:
        for name in left:
            done.add(name)
            parts += [f"### {name}\n", f"{doc(found[name])}\n", fields(found[name], found)]
    return "\n".join(parts)


def doc(model: type[BaseModel]) -> str:
    """A model's docstring up to its first empty line."""
    return cell(first(inspect.cleandoc(model.__doc__ or "")))


def members(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models of a union, of a list or of an annotated type."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for one in get_args(annotation):
        yield from members(one)


def fields(model: type[BaseModel], found: dict[str, type[BaseModel]], skip: tuple[str, ...] = ()) -> str:
    """A model's keys as a table; models among their values are noted for a section of their own."""
    arm_kinds = set(members(ArmSpec))  # they have sections of their own
    rows = []
    for name, field in model.model_fields.items():
        if name in skip:
            continue
        inner = [one for one in members(field.annotation) if one not in arm_kinds]
        found.update({one.__name__: one for one in inner})
        links = "".join(f" [{one.__name__}](#{one.__name__.lower()})" for one in dict.fromkeys(inner))
        about = cell(field.description or "")
        rows.append(
            (f"`{name}`", takes(field, bool(inner)), value(field), f"{about}{':' if about and links else ''}{links}")
        )
    return table(("key", "takes", "default", ""), rows) if rows else "No keys.\n"


def takes(field: FieldInfo, nested: bool) -> str:
    """A key's type and bounds in words."""
    signs = {"gt": ">", "ge": "≥", "lt": "<", "le": "≤"}
    bounds = [
        f"{sign} {getattr(limit, name):g}"
        for limit in field.metadata for name, sign in signs.items() if getattr(limit, name, None) is not None
    ]  # fmt: skip
    return cell(", ".join([named(field.annotation, nested), *bounds]))


def named(annotation: Any, nested: bool = False) -> str:
    """A type in the words of YAML."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return named(inner[0], nested)
    if origin is Literal:
        return " / ".join(map(str, inner))
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys("null" if one is type(None) else named(one, nested) for one in inner))
    if origin is tuple and inner[-1] is not Ellipsis:
        return f"[{', '.join(named(one) for one in inner)}]"
    if origin in (list, tuple, set, frozenset):
        return f"list of {named(inner[0], nested)}"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    known = {str: "text", int: "whole number", float: "number", bool: "true / false", Path: "path", Any: "anything"}
    return known.get(annotation, getattr(annotation, "__name__", str(annotation)))


def value(field: FieldInfo) -> str:
    """A key's default in the words of YAML."""
    if field.is_required():
        return "needed"
    given = field.default if field.default_factory is None else field.default_factory()  # type: ignore[call-arg]
    if given is PydanticUndefined or isinstance(given, BaseModel):
        return ""
    if given is None:
        return "null"
    if isinstance(given, bool):
        return f"`{str(given).lower()}`"
    if isinstance(given, tuple):
        given = list(given)
    return f"`{cell(repr(given) if isinstance(given, str) else str(given))}`"


PAGES = {"commands.md": commands_page, "recipe-keys.md": recipe_page}


def main() -> int:
    """Write the pages; with --check only say which are not what the code says."""
    written = {DOCS / name: write() for name, write in PAGES.items()}
    stale = [page for page, text in written.items() if not page.is_file() or page.read_text(encoding="utf-8") != text]
    if "--check" in sys.argv[1:]:
        for page in stale:
            print(f"{page.name} is not what the code says: run python scripts/write_reference.py", file=sys.stderr)
        return int(bool(stale))
    for page in stale:
        page.write_text(written[page], encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
