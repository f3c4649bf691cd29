"""``show``: one row of any table, for eyes.

A sample prints as the trainer sees it, segment by segment: untrained text dim, trained text
bright, and within them the parts in colour (questions, linking words, thinking, solutions,
labels).  Without colours the same borders are written out.
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from long1k.chat import Chat, documents
from long1k.display_tokens import packed_row, print_checkpoint, print_row, visible
from long1k.errors import DataError
from long1k.provenance import Walk, trace_walk
from long1k.rows import Example, Prediction, Score, Trace, to_dict
from long1k.tables import Manifest, iter_table, read_manifest, read_rejected
from long1k.tokens import load_tokenizer
from long1k.training.data import make_row

_TYPES: dict[str, tuple[type, str]] = {
    "collect": (Trace, "trace_id"), "synthesize": (Example, "example_id"), "import-samples": (Example, "example_id"),
    "predict": (Prediction, "prediction_id"),
    "import-predictions": (Prediction, "prediction_id"), "score": (Score, "prediction_id"),
}  # fmt: skip
_COLOURS = {
    "question": "cyan",
    "label": "yellow",
    "linker": "bold magenta",
    "thinking": "default",
    "solution": "green",
    "reference": "bold yellow",
}
_SHOWN = 600  # characters of one piece, unless --full


def show_row(
    folder: Path, *, row: int = 0, row_id: str | None = None, tokens: bool = False, rejected: bool = False,
    full: bool = False, tokenizer: str | None = None, reason: str | None = None, packing: int | None = None,
) -> None:  # fmt: skip
    """Print one row of a finished table; with ``packing`` one row of the trainer, packed of several samples.

    Raises:
        DataError: no such folder or row.
    """
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False, soft_wrap=True)
    manifest = read_manifest(folder)
    stage = manifest.stage.split("/")[0]
    if rejected:
        rows = read_rejected(folder)
        reasons = Counter(one.reason for one in rows)
        if reason is not None and reason not in reasons:
            raise DataError(
                f"{folder} rejected no row because of '{reason}'", f"reasons: {', '.join(sorted(reasons)) or 'none'}"
            )
        rows = [one for one in rows if reason in (None, one.reason)]
        found: Any = _pick(rows, row, row_id, "source_row", folder)
        if row_id is None and len(rows) > 1:
            why = f" as {reason}" if reason else ""
            more = f"; the next: --row {row + 1}" if row + 1 < len(rows) else ""
            console.print(Text(f"row {row:,} of {len(rows):,} rejected{why}{more}", style="dim"))
        _print_fields(console, found, full)
        return
    if packing is not None:
        if _TYPES.get(stage, (None,))[0] is not Example:
            raise DataError(f"{folder} holds no samples to be packed", "give a folder made by synthesize")
        chat = _chat(manifest, tokenizer)
        packed, at, num = packed_row(folder, chat, packing, row=row, row_id=row_id)
        used = 100 * len(packed.input_ids) / packing
        console.print(Text(f"packed row {at:,} of {num:,}: {len(packed.input_ids):,} of {packing:,} tokens "
                           f"({used:.1f} %)", style="bold"))  # fmt: skip
        print_row(console, packed, chat)
        return
    if tokens and _TYPES.get(stage, (None,))[0] is not Example:
        raise DataError(f"{folder} holds no samples: --tokens shows those", "give a folder made by synthesize")
    if stage == "train":
        if tokens or row or row_id is not None:
            raise DataError(
                f"{folder} is a checkpoint and holds no rows", "give the folder of its samples, or leave the option out"
            )
        print_checkpoint(console, manifest)
        return
    if stage not in _TYPES:
        console.print_json(
            json.dumps({"stage": manifest.stage, "digest": manifest.digest, **manifest.info}, default=str)
        )
        return
    row_type, id_field = _TYPES[stage]
    chosen = _pick(iter_table(folder, row_type), row, row_id, id_field, folder)
    if isinstance(chosen, Example):
        _print_example(console, chosen, _chat(manifest, tokenizer), tokens, full)
    else:
        _print_fields(console, chosen, full)


def show_trace(folder: Path, trace_id: str, *, pool: Path | None = None, full: bool = False) -> None:
    """Print where a trace stands and where it came from: samples, pool, source.

    Raises:
        DataError: no such trace, or no pool to find it in.
    """
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False, soft_wrap=True)
    _print_walk(console, trace_walk(folder, trace_id, pool), full)


def _print_walk(console: Console, walk: Walk, full: bool) -> None:
    trace, manifest = walk.trace, walk.pool_manifest

    def say(heading: str, text: str = "") -> None:
        console.print(Text(heading, style="bold") + Text(visible(text)))

    say(f"{trace.trace_id}", f"  of the problem {trace.problem_id}")
    if walk.tables:
        say("samples: ", f"it stands in {len(walk.uses):,} samples of {len(walk.tables):,} tables")
    for use in walk.uses:
        linker = f", linked by {use.linker!r}" if use.linker else ""
        console.print(Text(visible(f"  {use.table} row {use.row}: part {use.part + 1} of {use.num_parts}{linker}")))
        console.print(Text(f"    {use.example_id}, arm {use.arm}, mode {use.mode}", style="dim"))
    say("pool: ", f"{walk.pool} row {walk.pool_row}, digest {manifest.digest[:16]}")
    checked = {True: "its answer agrees with gold", False: "its answer is wrong", None: "its answer was not checked"}
    tokens = f"{trace.num_question_tokens:,} + {trace.num_thinking_tokens:,} + {trace.num_solution_tokens:,} tokens"
    say("  text: ", f"{tokens} (question, thinking, solution), split by {trace.split}; {checked[trace.correct]}")
    say("  teacher: ", trace.teacher or "unknown")
    say("  licence: ", trace.license or "unknown")
    if trace.difficulty is not None:
        say("  difficulty: ", f"{trace.difficulty:g} ({trace.difficulty_origin})")
    say("  tokenizer: ", f"{manifest.info.get('tokenizer', 'unknown')}")
    say("  template: ", f"{manifest.info.get('template', 'unknown')}")
    say("source: ", f"{trace.source}#{trace.source_row}, {walk.origin.place}: {walk.origin.state}")
    for name, value in (walk.origin.row or {}).items():
        console.print(Text(f"  {name}: ", style="bold") + Text(_short(visible(str(value)), full)))


def _chat(manifest: Manifest, tokenizer: str | None) -> Chat:
    made_with = manifest.config["chat"]
    spec = tokenizer or manifest.info["tokenizer_folder"]
    if not spec.startswith("package:") and not Path(spec).is_dir():
        if tokenizer is not None:
            raise DataError(f"there is no tokenizer folder {spec}", "check --tokenizer")
        raise DataError(f"the tokenizer that made this table is not at {spec} any more", "give --tokenizer FOLDER")
    return Chat(load_tokenizer(spec), made_with["thinking"], made_with["system"], made_with.get("template_text"))


def _pick(rows: Any, row: int, row_id: str | None, id_field: str, folder: Path) -> Any:
    count = 0
    for at, candidate in enumerate(rows):
        count += 1
        if (row_id is None and at == row) or (
            row_id is not None and str(getattr(candidate, id_field)).startswith(row_id)
        ):
            return candidate
    wanted = f"row {row}" if row_id is None else f"id {row_id}…"
    if count == 0:
        raise DataError(f"{folder} has no such rows at all", "look at the counts in its manifest.json")
    raise DataError(f"{folder} has {count:,} rows and none of them is {wanted}",
                    "rows count from 0" if row_id is None else "look at the ids with --row N")  # fmt: skip


def _print_fields(console: Console, row: Any, full: bool) -> None:
    for name, value in to_dict(row).items():
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        console.print(Text(f"{name}: ", style="bold") + Text(_short(visible(text), full)))


def _short(text: str, full: bool) -> str:
    if full or len(text) <= _SHOWN:
        return text
    half = _SHOWN // 2
    return f"{text[:half]} […{len(text) - 2 * half:,} characters…] {text[-half:]}"


def _pieces(example: Example, chat: Chat) -> Iterator[tuple[bool, list[tuple[str, str]]]]:
    """(trained, [(kind, text), …]) of each segment, in the order the trainer sees them."""
    messages = [*example.prompt, *example.completion]
    segments = [piece for prompt, completion in documents(example) for piece in chat.segments([*prompt, *completion])]
    whole = "".join(text for text, _ in segments)
    starts, cursor = [], 0
    for message in messages:
        at = whole.find(message.content, cursor)
        starts.append(at)
        cursor = at + len(message.content) if at >= 0 else cursor
    marks = sorted(
        (starts[s.message] + s.start, starts[s.message] + s.end, s.kind, s.part)
        for s in example.spans
        if starts[s.message] >= 0
    )
    position = 0
    for text, trained in segments:
        end = position + len(text)
        out: list[tuple[str, str]] = []
        at = position
        for start, stop, kind, part in marks:
            if start < position or stop > end:
                continue
            if start > at:
                out.append(("template", whole[at:start]))
            out.append((f"{kind} {part + 1}", whole[start:stop]))
            at = stop
        if at < end:
            out.append(("template", whole[at:end]))
        yield trained, out
        position = end


def _print_example(console: Console, example: Example, chat: Chat, tokens: bool, full: bool) -> None:
    console.print(Text(f"{example.example_id}  arm {example.arm}  mode {example.mode}", style="bold"))
    target = "" if example.target_tokens is None else f" (target {example.target_tokens:,})"
    answers = visible(", ".join(example.answers))
    counts = f"{example.num_tokens:,} tokens{target}, {example.num_supervised_tokens:,} trained"
    console.print(Text(f"{counts}; {example.num_problems} problems, answers: {answers}"))
    for part, trace_id in enumerate(example.trace_ids):
        linker = f"  linked by: {example.linkers[part]!r}" if part < len(example.linkers) else ""
        origin = f"{example.sources[part]}, {example.problem_ids[part]}, licence {example.licenses[part]}"
        console.print(Text(f"  part {part + 1}: {trace_id}{linker}", style="dim"))
        console.print(Text(f"    from {visible(origin)}", style="dim"))
    if tokens:
        print_row(console, make_row(example, chat, counted=False), chat)
        return
    for trained, pieces in _pieces(example, chat):
        text = "".join(piece for _, piece in pieces)
        heading = "trained" if trained else "not trained"
        console.print()
        console.rule(
            f"{heading}: {len(chat.tokenizer.encode(text)):,} tokens", style="green" if trained else "dim", align="left"
        )
        for kind, piece in pieces:
            name = kind.split(" ")[0]
            colour = _COLOURS.get(name, "blue")
            style = colour if trained else f"dim {colour}"
            mark = "" if console.is_terminal or name == "template" else f"⟦{kind}⟧ "
            console.print(
                Text(mark + _short(visible(piece), full), style=style), end="" if console.is_terminal else "\n"
            )
    console.print()
