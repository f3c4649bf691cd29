"""synthesize: trace pool -> SFT samples of an exact length, for one arm and seed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from long1k.chat import Chat
from long1k.errors import DataError, InfeasibleError, RecipeError
from long1k.joining.account import account_of, describe_length
from long1k.joining.balance import SampleFacts, TraceFacts, balance
from long1k.joining.columns import Columns, read_columns
from long1k.joining.group import Group, Related, Sample
from long1k.joining.linkers import outside_banks
from long1k.joining.spec import JoinSpec
from long1k.progress import progress
from long1k.rows import Example, derive_seed
from long1k.tables import Manifest, TableWriter, fingerprint, is_current, read_manifest

STAGE = "synthesize/2"
_FACTS = ("num_tokens", "num_supervised_tokens", "num_problems", "target_tokens", "trace_ids", "problem_ids")


def synthesize(
    out: Path,
    pool: Path,
    *,
    arm: str,
    specs: Sequence[JoinSpec],
    seed: int,
    chat: Chat,
    max_tokens: int | None = None,
    related: Mapping[str, Path] | None = None,
) -> Manifest:
    """Make the samples of one arm; finished work of the same inputs is left alone, finished parts are kept.

    Args:
        pool: folder of a Trace table.
        specs: groups of samples, each drawn from the whole pool without replacement.
        seed: decides the choice of traces, their order and the linking words.
        max_tokens: refuse samples above this (the model's positions), if given.
        related: arm name -> folder of its samples, for groups that follow, extend or take apart another arm.

    Raises:
        RecipeError: a group names an arm that is not among ``related``.
        InfeasibleError: a group cannot be made, or not in full while its shortfall is ``error``.
    """
    source = read_manifest(pool)
    config: dict[str, Any] = {
        "arm": arm, "seed": seed, "specs": [spec.model_dump() for spec in specs], "chat": chat.describe(),
    }  # fmt: skip
    if outside := outside_banks(spec.bank for spec in specs):
        config["linkers"] = outside
    folders = _related(arm, specs, related or {})
    inputs = {"pool": source.digest} | {
        f"arm:{name}": read_manifest(folder).digest for name, folder in folders.items()
    }  # fmt: skip
    if is_current(out, fingerprint(STAGE, config, inputs)):
        return read_manifest(out)
    for spec in specs:
        _check_length(arm, (spec.target or 0) + spec.tolerance_tokens, max_tokens, spec.target)
        _check_length(arm, (spec.window or (0, 0))[1], max_tokens)
    columns = read_columns(pool)
    others = {name: _read_related(name, folder) for name, folder in folders.items()}
    writer = TableWriter(out, Example, stage=STAGE, config=config, inputs=inputs)
    groups: list[dict[str, Any]] = []
    facts: list[SampleFacts] = []
    num_parts = 0
    for number, spec in enumerate(specs):
        group = Group(arm, spec, columns, derive_seed(seed, number, spec.target), chat, others)
        own: list[SampleFacts] = []
        with progress(f"synthesize {arm} @ {describe_length(spec)}", spec.samples) as step:
            while not group.finished:
                if not writer.has_part(num_parts):
                    examples = group.draw_block()
                    writer.write_part(num_parts, examples, rows_in=len(examples))
                found = _facts(out / f"part-{num_parts:05d}.parquet")
                for sample, _ in found:
                    _check_length(arm, sample.num_tokens, max_tokens)
                group.settle([sample for sample, _ in found])
                own += [fact for _, fact in found]
                num_parts += 1
                step(len(found))
        groups.append(_account(arm, group, own))
        facts += own
    tokens = {
        "tokenizer": chat.tokenizer.digest, "tokenizer_folder": str(chat.tokenizer.folder),
        "template": chat.tokenizer.template_digest,
    }  # fmt: skip
    info = {
        "groups": groups, "balance": balance(facts, _trace_facts(columns, facts)),
        "licenses": sorted({name or "unknown" for name in columns.named["license"].texts}), **tokens,
    }  # fmt: skip
    return writer.commit(num_parts, info, balanced=False)


def _related(arm: str, specs: Sequence[JoinSpec], related: Mapping[str, Path]) -> dict[str, Path]:
    """The folders of the arms that the groups name."""
    names = sorted({name for spec in specs for name in (spec.like, spec.extends, spec.problems_of) if name})
    for name in names:
        if name not in related:
            raise RecipeError(
                f"arm {arm} follows the samples of '{name}', which are not given",
                f"arms that are given: {', '.join(related) or 'none'}",
            )
    return {name: related[name] for name in names}


def _check_length(arm: str, tokens: int, max_tokens: int | None, target: int | None = None) -> None:
    if max_tokens is not None and tokens > max_tokens:
        raise InfeasibleError(
            f"arm {arm}: {target or tokens:,} tokens are more than the model's {max_tokens:,} positions",
            "lower the target, extend the positions (train.rope), or use a model with more of them",
        )


def _read_related(name: str, folder: Path) -> Related:
    lengths: list[int] = []
    traces: list[tuple[str, ...]] = []
    for part in sorted(file for file in read_manifest(folder).files if file.startswith("part-")):
        for sample, _ in _facts(folder / part):
            lengths.append(sample.num_tokens)
            traces.append(sample.trace_ids)
    return Related(name, lengths, traces)


def _facts(path: Path) -> list[tuple[Sample, SampleFacts]]:
    """What the account and the balance need of a part's samples; texts stay unread."""
    try:
        rows = pq.read_table(path, columns=list(_FACTS)).to_pylist()
    except (OSError, KeyError, ValueError) as error:  # pyarrow's errors are of these kinds
        raise DataError(f"{path} cannot be read as samples: {error}", "run the stage again") from None
    found = []
    for row in rows:
        trace_ids = tuple(row["trace_ids"])
        fact = SampleFacts(
            row["num_tokens"], row["num_supervised_tokens"], row["num_problems"], trace_ids, tuple(row["problem_ids"])
        )
        found.append((Sample(row["num_tokens"], row["target_tokens"], trace_ids), fact))
    return found


def _account(arm: str, group: Group, facts: Sequence[SampleFacts]) -> dict[str, Any]:
    """The account of a finished group.

    Raises:
        InfeasibleError: it is not what was asked for, and its shortfall is ``error``, or nothing was made.
    """
    spec, account = group.spec, account_of(group)
    if "shortfall" in account and (spec.shortfall == "error" or not facts):
        low, high = group.bounds()
        length = f"of {low:,}–{high:,} tokens" if high < 2**62 else f"({describe_length(spec)})"
        raise InfeasibleError(
            f"arm {arm}: only {len(facts)} of {spec.samples} samples {length} could be made: {account['shortfall']}",
            "widen tolerance or num_problems, change the target, collect more traces, or set shortfall: allow",
        )
    return account | {
        "supervised_tokens": sum(fact.num_supervised_tokens for fact in facts),
        "problems": sum(fact.num_problems for fact in facts),
        "unique_problems": len({problem for fact in facts for problem in fact.problem_ids}),
        "unique_traces": len({trace for fact in facts for trace in fact.trace_ids}),
    }


def _trace_facts(columns: Columns, facts: Sequence[SampleFacts]) -> dict[str, TraceFacts]:
    """Subject, difficulty, verdict and origin of every trace that is used."""
    names = sorted({trace_id for fact in facts for trace_id in fact.trace_ids})
    rows = columns.rows_of(names)
    named = {name: column.of(rows) for name, column in columns.named.items()}
    verdicts = {1: True, 0: False, -1: None}
    return {
        trace_id: TraceFacts(
            named["subject"][at],
            None if np.isnan(columns.difficulty[row]) else float(columns.difficulty[row]),
            named["difficulty_origin"][at],
            verdicts[int(columns.correct[row])],
            named["license"][at],
            named["teacher"][at],
        )
        for at, (trace_id, row) in enumerate(zip(names, rows.tolist(), strict=True))
    }
