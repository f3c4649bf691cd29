"""What the models wrote, in lines under 100 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from long1k.reporting.text import one_line
from long1k.statistics.markers import MARKERS
from long1k.wide import WIDTH

_MULTI = ("answered", "correct", "labelled", "all_answered", "in_order", "in_format", "cut")


def outputs_lines(found: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every benchmark and arm: lengths, words, markers, prompts of several problems."""
    lines: list[str] = []
    for benchmark in found:
        for arm in benchmark["arms"]:
            lines += [*_arm(str(benchmark["benchmark"]), arm), ""]
    return lines


def ledger_lines(ledger: Sequence[Mapping[str, Any]]) -> list[str]:
    """The truncation ledger, tables of one stage with the same words together."""
    if not ledger:
        return []
    lines = ["Cut or left out, along the way", "  stage           rows       cut  left out  what"]
    merged: dict[tuple[str, str], dict[str, Any]] = {}
    for line in ledger:
        key = (line["stage"], line["note"] if line["stage"] != "synthesize" else "traces are joined whole")
        one = merged.setdefault(key, {"rows": 0, "cut": 0, "left_out": 0, "reasons": {}, "tables": 0, "known": True})
        one["tables"] += 1
        one["rows"] += line["rows"]
        one["known"] &= line["cut"] is not None
        one["cut"] += line["cut"] or 0
        one["left_out"] += line["left_out"] or 0
        for name, count in line["reasons"].items():
            one["reasons"][name] = one["reasons"].get(name, 0) + count
    for (stage, note), one in merged.items():
        reasons = "".join(f"; {name} {count:,}" for name, count in sorted(one["reasons"].items()))
        cut, left = (f"{one[name]:,}" if one["known"] else "?" for name in ("cut", "left_out"))
        many = f" ({one['tables']} tables)" if one["tables"] > 1 else ""
        lines.append(f"  {stage:<11} {one['rows']:>8,} {cut:>9} {left:>9}  {note}{many}{reasons}")
    return lines


def _arm(benchmark: str, arm: Mapping[str, Any]) -> Iterator[str]:
    outcomes, unit = arm["outcomes"], arm["unit"]
    counted = ", ".join(f"{one['outputs']:,} {name}" for name, one in outcomes.items())
    failed = f", {arm['not_gradable']:,} not gradable" if arm["not_gradable"] else ""
    name = str(arm["name"])
    if not name.startswith(benchmark):  # as that of imported outputs does
        name = f"{benchmark} / {name}"
    yield f"{name}: {arm['questions']:,} questions, {counted}{failed}"
    if unit == "words":
        yield "  lengths are in words: these outputs came without token counts (--tokenizer counts them)"
    yield f"  {unit:<10} {'mean':>22} {'median':>24}  loops, %    cut, %"
    for name, one in outcomes.items():
        if one["outputs"]:
            mean, median = (_interval(one[key], 0) for key in ("mean_length", "median_length"))
            loops, cut = (_share(one[key]) for key in ("loop_frac", "cut_frac"))
            yield f"    {name:<8} {mean:>22} {median:>24} {loops:>9} {cut:>9}"
    longer = arm["wrong_to_correct_length"]
    if longer is not None:
        yield f"    wrong outputs are {_interval(longer, 2)} times as long as correct ones"
    ends = arm["ends"]
    if set(ends) - {"unknown"}:
        told = (f"{end} {one['correct']:,} of {sum(one.values()):,}" for end, one in ends.items())
        yield f"    correct, of those that were {', '.join(told)}"
    if any(arm["words"].values()):
        yield "  most frequent words, % of all words"
        for name, words in arm["words"].items():
            text = ", ".join(f"{_word(one)} {100 * one['share']['estimate']:.2f}" for one in words)
            yield from _wrapped(f"    {name:<8} ", text or "none of two letters or more")
    contrast = arm["contrast"]
    if contrast["tested"]:
        yield (
            f"  words that tell them apart (log-odds, interval over questions): {contrast['beyond_chance']} of "
            f"{contrast['tested']} words beyond chance (*)"
        )
        for side, name in (("for_a", contrast["a"]), ("for_b", contrast["b"])):
            text = ", ".join(f"{_word(one)}{'*' * one['sure']} {_odds(one)}" for one in contrast[side][:6])
            yield from _wrapped(f"    {name:<8} ", text or "none")
    yield f"  markers, a thousand {unit}"
    for name, one in outcomes.items():
        if one["outputs"]:
            rates = ", ".join(f"{kind} {_interval(one['markers_a_thousand'][kind], 2)}" for kind in MARKERS)
            yield from _wrapped(f"    {name:<8} ", rates)
    head = "  over the course of the text, tenth by tenth, a thousand words"
    for kind in MARKERS:
        for name, one in outcomes.items():
            tenths = one["course_a_thousand_words"][kind]
            if one["outputs"] and any(each and each[0] for each in tenths):
                shown = " ".join(f"{each[0]:5.1f}" if each else "    –" for each in tenths)
                if head:
                    yield head
                    head = ""
                yield f"    {kind:<13} {name:<8} {shown}"
    yield from _multi(arm["multi"])


def _multi(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if not rows:
        return
    yield "  several problems a prompt, %: of the problems, and of the prompts"
    yield "     k  prompts   answered    correct  labelled |  all answered   in order  in format       cut"
    for one in rows:
        cells = [_share(one[key]) for key in _MULTI]
        yield (
            f"  {one['k']:>4} {one['prompts']:>8,} {cells[0]:>10} {cells[1]:>10} {cells[2]:>9} | {cells[3]:>13} "
            f"{cells[4]:>10} {cells[5]:>10} {cells[6]:>9}"
        )
        if one["k"] > 1:
            yield "         correct by place: " + " ".join(_share(each) for each in one["correct_by_place"])


def _share(interval: Mapping[str, Any] | None) -> str:
    return "–" if interval is None else f"{100 * interval['estimate']:.1f}"


def _word(one: Mapping[str, Any]) -> str:
    """A word; the two ends of one that goes on and on."""
    return one_line(str(one["word"]), 24)


def _odds(one: Mapping[str, Any]) -> str:
    odds = one["log_odds"]
    return f"{odds['estimate']:+.2f} [{odds['low']:+.2f}, {odds['high']:+.2f}]"


def _interval(interval: Mapping[str, Any] | None, digits: int) -> str:
    if interval is None:
        return "–"
    if interval["low"] is None:
        return f"{interval['estimate']:,.{digits}f} [–]"
    return f"{interval['estimate']:,.{digits}f} [{interval['low']:,.{digits}f}, {interval['high']:,.{digits}f}]"


def _wrapped(first: str, text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)
