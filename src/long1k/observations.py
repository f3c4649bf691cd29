"""What is one observation: problems that were ever asked in one prompt are answered together, well or badly."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence


def units(names: Iterable[str], together: Iterable[Collection[str]]) -> list[list[str]]:
    """Names by observation: those that share a group, or a chain of groups; both in the order of the names.

    Args:
        names: problems, or prompts; each is in exactly one unit.
        together: groups; what they hold besides `names` is passed over.
    """
    leader = {name: name for name in names}

    def find(name: str) -> str:
        while leader[name] != name:
            leader[name] = name = leader[leader[name]]
        return name

    for group in together:
        members = [name for name in group if name in leader]
        for name in members[1:]:
            leader[find(name)] = find(members[0])
    found: dict[str, list[str]] = {}
    for name in leader:
        found.setdefault(find(name), []).append(name)
    return list(found.values())


def prompt_units(parts: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """The unit of every prompt, named by its first prompt: prompts that share a problem are one observation.

    A prompt of several problems that is asked in several orders, or again with more of them, tells of the same
    problems each time; counted as questions of their own, intervals would come out too narrow.

    Args:
        parts: prompt to the problems that it asks.
    """
    prompts_of: dict[str, list[str]] = {}
    for prompt, problems in parts.items():
        for problem in problems:
            prompts_of.setdefault(problem, []).append(prompt)
    grouped = units(sorted(parts), prompts_of.values())
    return {prompt: unit[0] for unit in grouped for prompt in unit}
