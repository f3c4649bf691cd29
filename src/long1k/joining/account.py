"""What a group of samples became: the account in the manifest, and why there are fewer than were asked for."""

from __future__ import annotations

from typing import Any

from long1k.joining.coverage import Lengths
from long1k.joining.group import Group
from long1k.joining.pairing import most_pairs
from long1k.joining.spec import JoinSpec


def describe_length(spec: JoinSpec) -> str:
    """The length that is asked for, in words."""
    extended = f" from {spec.extends}" if spec.extends is not None else ""
    if spec.target is not None:
        return f"{spec.target:,}{extended}"
    if spec.window is not None:
        return f"{spec.window[0]:,}–{spec.window[1]:,}{extended}"
    if spec.like is not None:
        return f"as {spec.like}{extended}"
    if spec.length_set is not None:
        return f"quantile {spec.length_set[0]} of {spec.length_set[1]}"
    return f"traces of {spec.problems_of}" if spec.problems_of is not None else f"of {spec.extends}"


def account_of(group: Group) -> dict[str, Any]:
    """Length, yield and reasons of a finished group.

    ``target`` is null where lengths differ from sample to sample; ``wanted`` says it in words;
    ``exactly_on_target`` is null where no length was aimed at.
    """
    spec, samples = group.spec, group.samples
    found: dict[str, Any] = {
        "target": spec.target, "wanted": describe_length(spec), "mode": spec.mode,
        "tolerance_tokens": spec.tolerance_tokens, "requested": spec.samples, "made": len(samples),
        "layout": spec.layout, "linkers": spec.bank, "coverage": group.coverage, "blocks": group.blocks_done,
    }  # fmt: skip
    if len(samples) < spec.samples:
        found["shortfall"] = why_short(group)
    if not samples:
        return found
    lengths = [sample.num_tokens for sample in samples]
    aims = [sample.target_tokens for sample in samples]
    exact = [n == aim for n, aim in zip(lengths, aims, strict=True) if aim is not None]
    if exact:
        bounds = [(a - spec.tolerance_of(a), a + spec.tolerance_of(a)) for a in aims if a is not None]
    else:
        bounds = [group.bounds()] * len(lengths)
    return found | {
        "tokens": sum(lengths), "min_tokens": min(lengths), "max_tokens": max(lengths),
        "exactly_on_target": sum(exact) / len(exact) if exact else None,
        "within_tolerance": sum(a <= n <= b for n, (a, b) in zip(lengths, bounds, strict=True)) / len(lengths),
    }  # fmt: skip


def why_short(group: Group) -> str:
    """Why fewer samples were made than asked for, in one sentence."""
    reason = _why_short(group)
    if group.spec.mode in ("dependent", "shuffled_steps") and len(group.columns):
        return f"{reason}; not every text allows the mode {group.spec.mode}"
    return reason


def _nearest(pool: Lengths, group: Group, most: int) -> str:
    """Of a length between those that can be made: the next shorter and the next longer one."""
    low, high = group.bounds()
    reach = [
        (pool.shortest(n) + group.overhead(n), pool.longest(n) + group.overhead(n))
        for n in range(group.spec.parts[0], most + 1)
    ]
    below = [longest for _, longest in reach if longest < low]
    above = [shortest for shortest, _ in reach if shortest > high]
    if not below or not above or len(below) + len(above) < len(reach):
        return ""
    return f"; the nearest are about {max(below):,} and {min(above):,}"


def _why_short(group: Group) -> str:
    spec, made, columns = group.spec, len(group.samples), group.columns
    if not len(columns):
        return "the pool is empty"
    if not group.rows.size:
        return "no trace of the pool passes the filters (where, slice, mode, traces that another arm has)"
    if group.usable is None:
        return f"{made} of the samples of {spec.extends or spec.problems_of} could be joined in mode {spec.mode}"
    able = int(group.usable.sum())
    if spec.length_set is not None:
        return f"only {made} problems have {spec.length_set[1]} usable traces or more"
    if spec.mode == "truncated":
        return f"{able:,} of {group.rows.size:,} usable traces are longer than the target, and each is cut once at most"
    if spec.mode == "same_problem":
        return (
            f"after {made} samples no problem has enough free traces left that agree and fit; "
            f"{able:,} of {group.rows.size:,} traces belong to problems with {spec.parts[0]} traces or more"
        )
    least, most = spec.parts
    low, high = group.bounds()
    if spec.extends is None:
        tokens = columns.tokens[group.rows]
        pool = Lengths(tokens)
        if len(pool) < least:
            return f"the pool has {len(pool)} traces, fewer than the {least} a sample needs"
        most = min(most, len(pool))
        shortest = pool.shortest(least) + group.overhead(least)
        longest = max(pool.longest(n) + group.overhead(n) for n in range(least, most + 1))
        if not able:
            return (
                f"the pool's {len(pool):,} traces make samples of about {shortest:,} to {longest:,} tokens "
                f"from {least} to {most} problems{_nearest(pool, group, most)}"
            )
        if most == 1:
            return f"{able:,} of {len(pool):,} usable traces have such a length, each used once at most"
        if (least, most) == (2, 2):
            best = most_pairs(tokens, low - group.overhead(2), high - group.overhead(2))
            return f"{made} pairs found without using a trace twice; by length alone the pool has about {best}"
    return f"after {made} samples many more tries found no combination of free traces of different problems"
