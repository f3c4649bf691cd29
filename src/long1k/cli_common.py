"""What several files of commands need: options they share, key=value texts, and the renderer behind a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from long1k.errors import DataError, RecipeError

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the result (new, or one to go on with).")]
Workers = Annotated[int, typer.Option(min=1, help="Processes to use; results do not depend on it.")]
ExecutorKind = Annotated[str, typer.Option(help="Where data are made: local processes, or ray (extra: ray).")]
Address = Annotated[str | None, typer.Option(help="Ray cluster to use, e.g. auto; default: one started here.")]
TokenizerOption = Annotated[
    str | None, typer.Option(help="Tokenizer folder, or package:micro. Default: the one the input was made with.")
]
Thinking = Annotated[str | None, typer.Option(help="Tags around the thinking: think, openthoughts or s1.")]


def pair(text: str, option: str) -> tuple[str, str]:
    """An option of the form key=value."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise RecipeError(f"{option} {text}: expected key=value", f"e.g. {option} question=problem")
    return key, value


def chat_from(tokenizer: str, thinking: str, system: str | None, template: str | None = None) -> Any:
    """The renderer of a tokenizer folder (or package:NAME), with ~ and ${VARIABLE} filled in."""
    from long1k.chat import Chat
    from long1k.jsonlines import expand_path
    from long1k.tokens import load_tokenizer

    spec = tokenizer if tokenizer.startswith("package:") else str(expand_path(tokenizer))
    return Chat(load_tokenizer(spec), thinking, system, template)


def chat_of(manifest: Any, tokenizer: str | None, thinking: str | None) -> Any:
    """The renderer that made a table, or one with another tokenizer on request."""
    made_with = manifest.config.get("chat", {})
    folder = tokenizer or manifest.info.get("tokenizer_folder")
    if folder is None:
        raise DataError("the table does not say which tokenizer it was made with", "give --tokenizer")
    return chat_from(
        folder, thinking or made_with.get("thinking", "think"), made_with.get("system"), made_with.get("template_text")
    )
