"""The preflight as a person reads it: at most 100 columns, every figure beside what it was counted over."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

WIDTH = 100
_NAME, _CHECK = 22, 44  # columns of the names of facts and of checks


def preflight_text(report: Mapping[str, Any]) -> str:
    """The lines of a preflight (the content of preflight.json)."""
    lines = ["Preflight: measured on the trainer's own batches, before the first update"]
    lines += [line for name, text in _facts(report) for line in _entry(name, text, _NAME)]
    lines.append("In force on the live trainer (wanted → found, where the two are not the same words)")
    for check in report["in_force"]:
        found = check["found"] if check["found"] == check["wanted"] else f"{check['wanted']} → {check['found']}"
        lines += _entry(check["name"], found, _CHECK)
    return "\n".join(lines)


def _entry(name: str, text: str, column: int) -> list[str]:
    """A name and its text, wrapped, the text in a column of its own."""
    return textwrap.wrap(f"  {name:<{column}} {text}", WIDTH, subsequent_indent=" " * (column + 3))


def _facts(r: Mapping[str, Any]) -> list[tuple[str, str]]:
    low, mean, high = r["supervised_a_row"]
    every = f"of {r['conversations']:,} conversations"
    packed = (
        f"{r['packing_factor']:.2f} samples a row of at most {r['packing']:,} tokens"
        if r["packing"] is not None
        else f"off, {r['packing_factor']:.2f} samples a row"
    )
    over = f"{r['over_limit']:,} over the limit" + (", left out" if r["over_limit"] else "")
    begin = "none doubled" if not r["doubled_begin"] else f"{r['doubled_begin']:,} doubled"
    rope = r["rope"]
    stretched = "" if rope["factor"] is None else f", {rope['kind']} × {rope['factor']:g}"
    return [
        ("samples", f"{r['samples']:,} in the table, {over} ({r['limit']}{stretched}); "
                    f"{r['samples_seen']:,} seen in the first {r['micro_batches_read']:,} micro-batches"),
        ("longest row", f"{r['longest_tokens']:,} tokens: {r['longest_sample']}"),
        ("trained tokens a row", f"min {low:,}, mean {mean:,.1f}, max {high:,}; "
                                 f"{100 * r['supervised_share']:.1f} % of {r['tokens']:,} tokens"),
        ("end token", f"{r['end_token']!r} trained in {r['end_token_trained']:,} {every}"),
        ("begin token", f"{r['begin_token'] or 'the tokenizer has none'}; {begin}"),
        ("template", f"{r['template'][:16]}…, tags {r['thinking']}, "
                     f"{'no system message of ours' if r['system'] is None else 'with a system message'}"),
        ("prefix", f"= the inference prompt, token by token, in {r['prompt_equal']:,} {every}"),
        ("packing", f"{packed}; {100 * r['padding_share']:.1f} % of what is computed is padding"),
        ("steps", f"{r['steps']:,} of {r['batch_size']:,} rows = {r['epochs']:.2f} epochs; "
                  f"{_count(r['ranks'], 'rank')} × {_count(r['micro_batches'], 'micro-batch', 'es')} × "
                  f"{_count(r['rows_a_micro_batch'], 'row')}"),
        ("tokens a step", f"{r['tokens_a_step']:,.1f}, of them {r['supervised_a_step']:,.1f} trained"),
        ("parameters", f"{r['trained_parameters']:,} trained of {r['parameters']:,}"),
    ]  # fmt: skip


def _count(number: int, word: str, many: str = "s") -> str:
    return f"{number:,} {word}" + ("" if number == 1 else many)
