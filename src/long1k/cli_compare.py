"""The command that lays two runs side by side: compare."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from long1k.wide import WIDTH, tell

_SHOWN_CHARS = 48


def compare(
    a: Annotated[Path, typer.Argument(help="A run, an arm's or seed's folder in one, or a folder made by score.")],
    b: Annotated[Path, typer.Argument(help="Another of the same kind. Effects are b minus a.")],
    arm_a: Annotated[
        str | None, typer.Option(help="Of a: one arm only (imported outputs: one run of the file).")
    ] = None,
    arm_b: Annotated[str | None, typer.Option(help="Of b: one arm only.")] = None,
    flips: Annotated[int, typer.Option(min=0, help="Questions that turned, shown for each benchmark.")] = 10,
    confidence: Annotated[float, typer.Option(min=0.5, max=0.999, help="Of the intervals.")] = 0.95,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON instead of lines: all questions that turned.")
    ] = False,
) -> None:
    """Every difference of configuration, data, template and versions; the paired effect by benchmark; flips."""
    from long1k.compare import differences, only, same_places, score_groups, tables_of
    from long1k.compare_effects import effects
    from long1k.reporting.text import clean

    sides = tables_of(a), tables_of(b)
    shared = same_places(*sides)
    found = {
        "a": str(a), "b": str(b), "tables": len(shared), "differences": differences(a, b, *sides),
        "only": only(*sides), "effects": effects(score_groups(*sides), arm_a=arm_a, arm_b=arm_b, confidence=confidence),
    }  # fmt: skip
    if as_json:
        print(json.dumps(found, indent=1, ensure_ascii=False), flush=True)
    else:  # names, settings and questions come from files: nothing in them may steer a terminal
        tell(clean("\n".join(_lines(found, flips))))


def _lines(found: Mapping[str, Any], flips: int) -> Iterator[str]:
    yield f"a: {found['a']}"
    yield f"b: {found['b']}"
    yield from _differences(found["differences"], found["tables"])
    for side, places in found["only"].items():
        if places:
            more = f", and {len(places) - 4} more" if len(places) > 4 else ""
            listed = f"only in {side}: {', '.join(places[:4])}{more}"
            yield from _wrapped(listed, "  ")
    yield ""
    if not found["effects"]:
        yield from textwrap.wrap(
            "No scores of one benchmark and arm on both sides: no effect can be told. Arms of different names are "
            "compared by their folders: RUN/arms/ARM.", WIDTH
        )  # fmt: skip
    for effect in found["effects"]:
        yield from _effect(effect, flips)


def _differences(rows: Sequence[Mapping[str, Any]], tables: int) -> Iterator[str]:
    if not rows:
        made = f"{tables:,} tables were" if tables != 1 else "the table was"
        yield f"No difference in how {made} made, nor in {'their' if tables != 1 else 'its'} content."
        return
    yield f"{_many(len(rows), 'difference')} in {_many(tables, 'table')} that both have"
    category = ""
    for row in rows:
        if row["category"] != category:
            category = row["category"]
            yield f"  {category}"
        each = "" if row["same"] else ", others in each"
        many = "" if row["of_tables"] == 1 else f"  ({len(row['places'])} of {row['of_tables']} tables{each})"
        line = f"{row['stage']}: {row['key']}: {_value(row['a'])} → {_value(row['b'])}{many}"
        yield from _wrapped(line, "    ")


def _wrapped(text: str, indent: str) -> list[str]:
    """Lines of a text whose names stay whole."""
    return textwrap.wrap(
        text, WIDTH, initial_indent=indent, subsequent_indent=f"{indent}  ", break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _value(value: Any) -> str:
    if value is None:
        return "not set"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{28,}\b", r"\1", " ".join(text.split()))  # commits and digests
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 1] + "…"


def _effect(effect: Mapping[str, Any], flips: int) -> Iterator[str]:
    from long1k.statistics.verdict import in_points, p_words, span

    one, other = effect["arm_a"], effect["arm_b"]
    yield f"{effect['benchmark']}: {other} − {one}" if one != other else f"{effect['benchmark']}: {one}, b − a"
    left = ", ".join(f"{effect[f'only_{side}']:,} only in {side}" for side in "ab" if effect[f"only_{side}"])
    prompts = ""
    if effect.get("observations", effect["questions"]) < effect["questions"]:
        prompts = f", in {effect['observations']:,} prompts, each one observation"
    yield f"  {effect['questions']:,} questions on both sides{prompts}" + (f" ({left}, left out)" if left else "")
    difference = effect["difference"]
    if difference is None:
        yield f"  {effect['why']}"
        return
    accuracy = effect["accuracy"]
    test = effect["mcnemar"]
    reading = ""
    if difference["low"] is not None:
        zero = difference["low"] <= 0 <= difference["high"]
        reading = ": no difference found" if zero else ": they differ"
        if zero == (effect["p"] <= 1 - difference["confidence"]):
            reading = ": undecided, the interval and the test part"
    level = f"{100 * difference['confidence']:g} %"
    yield (
        f"  accuracy {100 * accuracy['a']:.1f} % → {100 * accuracy['b']:.1f} %, {in_points(difference['estimate'])} "
        f"{span(difference)} ({level}){reading}"
    )
    if test is not None:
        found = "" if test["p"] is None else f"; McNemar's mid-p {test['p']:.3g} (exact {test['p_exact']:.3g})"
        what = "prompt" if prompts else "question"
        yield f"  one verdict a {what}: {test['gained']} became right, {test['lost']} wrong{found}"
    else:
        known = effect["p"] is not None  # else there is no interval, and its place says why
        over = f"; interval over {difference['over']}; {p_words(effect['p'])}" if known else ""
        yield from _wrapped(f"paired {effect['paired']}{over}", "  ")
    failed, cut = effect["not_gradable"], effect["cut_frac"]
    if failed["a"] or failed["b"]:
        yield f"  not gradable, counted as not correct: {failed['a']:,} in a, {failed['b']:,} in b"
    if cut["a"] or cut["b"]:
        yield f"  cut at the limit: {100 * cut['a']:.1f} % in a, {100 * cut['b']:.1f} % in b"
    for way in ("right", "wrong"):
        rows = [row for row in effect["turned"] if row["turned"] == way]
        yield f"  turned {way}: {len(rows)} question{'' if len(rows) == 1 else 's'}" + (
            f", the first {flips}" if 0 < flips < len(rows) else ""
        )
        for row in rows[:flips]:
            first = f"    {row['question_id']} {100 * row['a']:.0f} → {100 * row['b']:.0f} %  "
            yield first + textwrap.shorten(row["question"], max(20, WIDTH - len(first)), placeholder=" …")
    yield ""


def add_commands(app: typer.Typer) -> None:
    """Put this file's command into the command line."""
    app.command(
        epilog="Example:  long1k compare runs/first runs/second      "
        "long1k compare runs/quickstart/arms/L32 runs/quickstart/arms/L527"
    )(compare)
