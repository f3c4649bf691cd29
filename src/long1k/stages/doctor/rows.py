"""Which row of the file a finding is about, and do rows or their ids stand twice?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Sequence

from long1k.benchmarks.base import Benchmark, Item, problems
from long1k.stages.doctor.check import Check, plural


def called(item: Item, part: int | None = None) -> str:
    """Where an item, or one problem of it, stands in its file, and its id in the tables."""
    origins = item.origins if part is None or len(item.origins) < len(item.answers) else (item.origins[part],)
    return ", ".join([*map(str, origins[:4]), *(["…"] if len(origins) > 4 else []), item.item_id])


def singles(benchmark: Benchmark, items: Sequence[Item]) -> Sequence[Item]:
    """The items, or the problems that they are joined from."""
    return list(problems(benchmark)) if any(item.part_ids for item in items) else items


def repeat_checks(items: Sequence[Item], single: Sequence[Item]) -> list[Check]:
    """Ids of ours and of the file, whole rows, prompts: each should stand once.

    Args:
        items: the prompts.
        single: their problems, one an item.
    """
    checks = []
    ours = _twice(single, lambda item: item.item_id) or _twice(items, lambda item: item.item_id)
    if ours:
        checks.append(Check("ids", "fail", f"{_stand(ours, 'id')} twice", "ids must differ", _lines(ours)))
    named = [item for item in single if item.origins and item.origins[0].own_id is not None]
    own = _twice(named, lambda item: (item.origins[0].file, item.origins[0].id_field, item.origins[0].own_id))
    # A row that is yielded twice is one with its id twice; said once.
    own = [group for group in own if len({item.origins[0].place for item in group}) > 1]
    rows = _twice(single, _whole)
    rows = [group for group in rows if len({item.item_id for item in group}) > 1]
    if own:
        checks.append(
            Check("the file's ids", "fail", f"{_stand(own, 'id')} twice in the file",
                  "one id is one question: mend the ids, or leave the repeats out", _lines(own))
        )  # fmt: skip
    if rows:
        checks.append(
            Check("equal rows", "fail", f"{_stand(rows, 'row')} twice, with one prompt and one gold",
                  "a question asked twice counts twice: leave the repeats out", _lines(rows))
        )  # fmt: skip
    known = {item.item_id for group in (*rows, *ours) for item in group}
    same = _twice(items, lambda item: item.messages)
    same = [group for group in same if not all(item.item_id in known for item in group)]
    if same:
        others = sum(len({item.answers for item in group}) > 1 for group in same)
        checks.append(
            Check("equal prompts", "warn",
                  f"{_stand(same, 'prompt')} twice under different ids"
                  + (f", {others:,} of them with different golds" if others else ""),
                  "a question asked twice counts twice: leave the repeats out", _lines(same))
        )  # fmt: skip
    return checks


def _whole(item: Item) -> Hashable:
    own = item.origins[0].own_id if item.origins else None
    return own, item.messages, item.answers, item.solution, item.subject, item.level


def _twice(items: Iterable[Item], key: Callable[[Item], Hashable]) -> list[list[Item]]:
    groups: dict[Hashable, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return [group for group in groups.values() if len(group) > 1]


def _stand(groups: Sequence[Sequence[Item]], noun: str) -> str:
    return f"{plural(len(groups), noun)} {'stands' if len(groups) == 1 else 'stand'}"


def _lines(groups: Sequence[Sequence[Item]]) -> tuple[str, ...]:
    return tuple(" = ".join([*map(called, group[:3]), *(["…"] if len(group) > 3 else [])]) for group in groups)
