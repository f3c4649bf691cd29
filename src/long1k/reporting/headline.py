"""The verdict in one sentence a benchmark: what length did, and what the decisive control says to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from long1k.reporting import text

_SHOWN = 4
# The controls that tell length from the tokens that come with it, the most decisive first.
_CONTROLS = {
    "token_matched": "as many tokens in short samples",
    "problem_matched": "the same traces, each as a sample of its own,",
}


def headlines(findings: Mapping[str, Any]) -> tuple[list[str], int]:
    """One sentence for each of the first benchmarks, and how many benchmarks are left out."""
    found = [(entry, line) for entry in findings.get("benchmarks") or [] if (line := headline(entry, findings))]
    # Benchmarks that are the same questions under a budget speak in the comparison at equal tokens.
    of = (findings.get("budgets") or {}).get("of")
    led = [line for entry, line in found if entry.get("benchmark") == of]
    if led:
        return led, len(found) - len(led)
    said = [line for _, line in found]
    if not said:
        said = [text.unbroken(str(line)) for line in (findings.get("verdict") or [])[:1]]
    return said[:_SHOWN], len(said[_SHOWN:])


def headline(entry: Mapping[str, Any], findings: Mapping[str, Any]) -> str:
    """What a benchmark says in one sentence; with a law the decisive control, or that there is none.

    Args:
        entry: one entry of the findings' benchmarks.
    """
    name = str(entry.get("benchmark"))
    lines = [str(line) for line in entry.get("verdict") or []]
    if not lines:
        return ""
    law = entry.get("law")
    if law:
        found, seen, least = lines[0].partition(" It could have seen ")
        control = _control(entry, law["slope"], 1 - (findings.get("confidence") or 0.95))
        line = f"{found.removesuffix('.')}{control}.{seen}{least}"
    else:
        line, others = _comparison(entry, lines)
        if others:
            line = f"{line} This is the first of {others} comparisons of arms"
    budgets = findings.get("budgets") or {}
    if str(budgets.get("of")) == name and budgets.get("verdict"):
        # Trained on long samples, or made to think as long: where that was asked, it is what decides.
        asked = str(budgets["verdict"][0]).removeprefix(f"{name}: ")
        line = f"{line.removesuffix('.')}. {asked[:1].upper()}{asked[1:]}"
    shown = f"On {name}, {line.removeprefix(f'{name}: ')}" if line.startswith(f"{name}: ") else line
    return text.unbroken(shown if shown.endswith(".") else f"{shown}.")


def _control(entry: Mapping[str, Any], slope: Mapping[str, Any], level: float) -> str:
    """How the longest rung stands against the decisive control, as the end of a sentence."""
    arms = {arm["name"]: arm for arm in entry.get("arms") or []}
    found = _decisive(arms, entry.get("contrasts") or [])
    sure = text.excludes_zero(slope)
    if found is None:
        rungs = sum(arm.get("role") == "rung" for arm in arms.values())
        alone = sure and rungs > 1
        return "; whether their length did it or the tokens that come with it, no arm here can tell" if alone else ""
    words, contrast, turned = found
    difference = contrast["difference"]
    if turned:
        difference = _negative(difference)
    figures = (
        f"{text.points_number(difference['estimate'])} points {text.bounds(difference, True)}{_doubt(contrast, level)}"
    )
    if not (text.known(difference.get("low")) and text.known(difference.get("high"))):
        return f"; against {words} nothing can be said ({figures})"
    if not text.excludes_zero(difference):
        return f"; but no difference from {words} was found ({figures})"
    longer = sure and text.known(slope.get("estimate")) and slope["estimate"] > 0
    if difference["estimate"] > 0:
        return f", and more than {words} ({figures})" if longer else f"; more than {words} ({figures})"
    return f"{', but' if longer else ';'} {words} give more ({figures})"


def _decisive(
    arms: Mapping[str, Mapping[str, Any]], contrasts: Sequence[Mapping[str, Any]]
) -> tuple[str, Mapping[str, Any], bool] | None:
    """(words of the control, its comparison, whether the control stands first) for the longest arm that has one."""
    for kind, words in _CONTROLS.items():
        met = []
        for contrast in contrasts:
            for control, other, turned in ((contrast["b"], contrast["a"], False), (contrast["a"], contrast["b"], True)):
                arm = arms.get(control, {})
                if (
                    arm.get("kind") == kind
                    and arm.get("of") == other
                    and text.known(contrast["difference"]["estimate"])
                ):
                    met.append(((arms.get(other) or {}).get("target_tokens") or 0, contrast, turned))
        if met:
            _, contrast, turned = max(met, key=lambda one: one[0])
            return words, contrast, turned
    return None


def _doubt(contrast: Mapping[str, Any], level: float) -> str:
    """What a test adds to an interval: that it may be chance, or is undecided."""
    test, sure = contrast.get("test") or {}, text.excludes_zero(contrast["difference"])
    if not text.known(test.get("p")):
        return ""
    if sure != (test["p"] <= level):
        return ", undecided"
    if sure and text.known(test.get("p_holm")) and test["p_holm"] > level:
        return ", which among so many comparisons may be chance"
    return ""


def _negative(interval: Mapping[str, Any]) -> dict[str, Any]:
    low, high = interval.get("low"), interval.get("high")
    turned = {"estimate": -interval["estimate"], "low": None, "high": None}
    if text.known(low) and text.known(high):
        turned |= {"low": -high, "high": -low}
    return {**interval, **turned}


def _comparison(entry: Mapping[str, Any], lines: Sequence[str]) -> tuple[str, int]:
    """Without a law: the first comparison that is not with the untrained model, and how many there are of those."""
    untrained = {arm["name"] for arm in entry.get("arms") or [] if arm.get("role") == "baseline"}
    wanted = [one for one in entry.get("contrasts") or [] if not {one["a"], one["b"]} & untrained]
    for one in wanted:
        for line in lines:
            if line.startswith(f"{entry['benchmark']}: {one['why']}"):
                return line, len(wanted) if len(wanted) > 1 else 0
    return lines[0], 0
