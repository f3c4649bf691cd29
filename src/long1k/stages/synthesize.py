"""synthesize: trace pool -> SFT samples of an exact length, for one arm and seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from long1k.chat import Chat
from long1k.errors import InfeasibleError
from long1k.joining.fit import Part, Request, coverage, fit, most_pairs, part_counts
from long1k.joining.linkers import choose_linkers
from long1k.joining.render import Joined, join
from long1k.joining.spec import JoinSpec
from long1k.progress import progress
from long1k.rows import Example, Trace, content_id, derive_seed
from long1k.tables import Manifest, TableWriter, fingerprint, is_current, read_manifest, read_table

STAGE = "synthesize/1"


def synthesize(
    out: Path, pool: Path, *, arm: str, specs: Sequence[JoinSpec], seed: int, chat: Chat, max_tokens: int | None = None
) -> Manifest:
    """Make the samples of one arm; finished work of the same inputs is left alone.

    Args:
        pool: folder of a Trace table.
        specs: groups of samples, each drawn from the whole pool without replacement.
        seed: decides the choice of traces, their order and the linking words.
        max_tokens: refuse targets above this (the model's positions), if given.

    Raises:
        InfeasibleError: a group cannot be made, or not in full while its shortfall is ``error``.
    """
    source = read_manifest(pool)
    config: dict[str, Any] = {
        "arm": arm, "seed": seed, "specs": [spec.model_dump() for spec in specs], "chat": chat.describe(),
    }  # fmt: skip
    inputs = {"pool": source.digest}
    if is_current(out, fingerprint(STAGE, config, inputs)):
        return read_manifest(out)
    for spec in specs:
        if spec.target is None or spec.mode not in ("independent", "single"):
            raise InfeasibleError(f"arm {arm}: {spec.mode} without a target cannot be made yet", "give a target")
        if max_tokens is not None and spec.target + spec.tolerance_tokens > max_tokens:
            raise InfeasibleError(
                f"arm {arm}: {spec.target:,} tokens are more than the model's {max_tokens:,} positions",
                "lower the target, or use a model with more positions",
            )
    # A pool that was not deduplicated may hold one trace twice; a sample must not.
    traces = list({trace.trace_id: trace for trace in read_table(pool, Trace)}.values())
    writer = TableWriter(out, Example, stage=STAGE, config=config, inputs=inputs)
    groups: list[dict[str, Any]] = []
    for number, spec in enumerate(specs):
        examples = _group(traces, spec, arm, derive_seed(seed, number, spec.target), chat, groups)
        writer.write_part(number, examples, rows_in=len(examples))
    tokens = {
        "tokenizer": chat.tokenizer.digest, "tokenizer_folder": str(chat.tokenizer.folder),
        "template": chat.tokenizer.template_digest,
    }  # fmt: skip
    licenses = sorted({trace.license or "unknown" for trace in traces})
    return writer.commit(len(specs), {"groups": groups, "licenses": licenses, **tokens}, balanced=False)


def _group(
    traces: Sequence[Trace], spec: JoinSpec, arm: str, seed: int, chat: Chat, groups: list[dict[str, Any]]
) -> list[Example]:
    """The examples of one group; its account is added to ``groups``."""
    parts = [
        Part(i, t.num_question_tokens + t.num_thinking_tokens + t.num_solution_tokens, t.problem_id)
        for i, t in enumerate(traces)
    ]
    assert spec.target is not None
    target = spec.target
    request = Request(target, spec.tolerance_tokens, spec.samples, *spec.num_problems)

    def build(chosen: Sequence[Part], rng: random.Random) -> tuple[Example, int] | None:
        members = [traces[part.index] for part in chosen]
        linkers = choose_linkers(spec.linkers, len(members), rng)
        joined = join(members, linkers, spec.linkers, chat.style, spec.layout)
        if joined is None:
            return None
        total, supervised = chat.count_example(joined.prompt, joined.completion)
        return _example(arm, spec, members, linkers, joined, total, supervised), total

    overhead = _overhead(parts, build, spec.num_problems)
    with progress(f"synthesize {arm} @ {target:,}", None):
        examples, lengths = fit(parts, request, build, overhead, lambda i: derive_seed(seed, "sample", i))
    window = (target - request.tolerance, target + request.tolerance)
    account: dict[str, Any] = {
        "target": target, "tolerance_tokens": request.tolerance, "requested": spec.samples,
        "made": len(examples), "layout": spec.layout, "linkers": spec.linkers,
        "coverage": round(coverage(parts, request, overhead), 4),
    }  # fmt: skip
    if len(examples) < spec.samples:
        account["shortfall"] = _why_short(parts, request, overhead, len(examples))
        if spec.shortfall == "error" or not examples:
            raise InfeasibleError(
                f"arm {arm}: only {len(examples)} of {spec.samples} samples of {window[0]:,}–{window[1]:,} tokens "
                f"could be made: {account['shortfall']}",
                "widen tolerance or num_problems, change the target, collect more traces, or set shortfall: allow",
            )
    problem_of = {trace.trace_id: trace.problem_id for trace in traces}
    account |= {
        "tokens": sum(lengths), "min_tokens": min(lengths), "max_tokens": max(lengths),
        "exactly_on_target": sum(n == target for n in lengths) / len(lengths),
        "within_tolerance": sum(window[0] <= n <= window[1] for n in lengths) / len(lengths),
        "supervised_tokens": sum(e.num_supervised_tokens for e in examples),
        "problems": sum(e.num_problems for e in examples),
        "unique_problems": len({problem_of[t] for e in examples for t in e.trace_ids}),
        "unique_traces": len({t for e in examples for t in e.trace_ids}),
    }  # fmt: skip
    groups.append(account)
    return examples


def _overhead(
    parts: Sequence[Part],
    build: Callable[[Sequence[Part], random.Random], tuple[Example, int] | None],
    num_problems: tuple[int, int],
) -> Callable[[int], int]:
    """Tokens beyond the parts, from real samples of one, two and a few traces.

    The step from one trace to two is its own: a single trace has no labels and no linking words.
    """
    shortest = sorted(parts, key=lambda part: (part.length, part.index))[: max(2, min(8, len(parts)))]

    def extra(count: int) -> int | None:
        chosen = shortest[:count]
        made = build(chosen, random.Random(0)) if len(chosen) == count else None
        return None if made is None else made[1] - sum(part.length for part in chosen)

    one, two = extra(1) or 0, extra(2)
    if two is None:
        return lambda count: one
    few = min(num_problems[1], len(shortest))
    more = extra(few) if few > 2 else None
    step = float(two - one) if more is None else (more - two) / (few - 2)
    return lambda count: one if count < 2 else round(two + step * (count - 2))


def _why_short(parts: Sequence[Part], request: Request, overhead: Callable[[int], int], made: int) -> str:
    """Why fewer samples were made than asked for, in one sentence."""
    if not parts:
        return "the pool is empty"
    if not part_counts(parts, request, overhead)[1]:
        lengths = sorted(part.length for part in parts)
        least, most = request.min_parts, min(request.max_parts, len(lengths))
        if len(lengths) < least:
            return f"the pool has {len(lengths)} traces, fewer than the {least} a sample needs"
        shortest = sum(lengths[:least]) + overhead(least)
        longest = max(sum(lengths[-n:]) + overhead(n) for n in range(least, most + 1))
        return (
            f"the pool's {len(lengths):,} traces make samples of about {shortest:,} to {longest:,} tokens "
            f"from {least} to {most} problems"
        )
    if request.min_parts == request.max_parts == 2:
        body = request.target - overhead(2)
        best = most_pairs([p.length for p in parts], body - request.tolerance, body + request.tolerance)
        return f"{made} pairs found without using a trace twice; by length alone the pool has about {best}"
    return f"after {made} samples many more tries found no combination of free traces of different problems"


def _example(
    arm: str,
    spec: JoinSpec,
    members: Sequence[Trace],
    linkers: tuple[str, ...],
    joined: Joined,
    total: int,
    supervised: int,
) -> Example:
    texts = [text for m in (*joined.prompt, *joined.completion) for text in (m.role, m.content)]
    return Example(
        example_id=content_id("e", arm, *texts),
        arm=arm,
        prompt=joined.prompt,
        completion=joined.completion,
        answers=joined.answers,
        trace_ids=tuple(trace.trace_id for trace in members),
        problem_ids=tuple(trace.problem_id for trace in members),
        sources=tuple(f"{trace.source}#{trace.source_row}" for trace in members),
        licenses=tuple(trace.license or "unknown" for trace in members),
        linkers=linkers if len(members) > 1 else (),
        spans=joined.spans,
        mode="single" if len(members) == 1 else "independent",
        target_tokens=spec.target,
        num_tokens=total,
        num_supervised_tokens=supervised,
        num_problems=len(members),
    )
