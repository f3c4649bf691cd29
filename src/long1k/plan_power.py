"""What a study can see, before it runs: the least differences it finds, by benchmark."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping

from long1k.generation.base import Sampling
from long1k.recipe_model import Expected, Recipe
from long1k.statistics.power import POWER, Design

# Accuracies of models of this size, where the recipe expects none.
_RATES = {"math500": 0.95, "aime": 0.5, "aime24": 0.5, "aime25": 0.5, "gpqa": 0.65}


def designs(
    recipe: Recipe, questions: Mapping[str, int], samplings: Mapping[str, Sampling]
) -> dict[str, tuple[Design, Design]]:
    """By benchmark: two arms that answer the same questions, and two that share nothing (a published figure)."""
    made = {}
    for name, count in questions.items():
        if count < 1:
            continue
        kind = str(recipe.benchmarks[name].get("type"))
        expected = recipe.expected.get(name, Expected(rate=_RATES.get(kind, 0.5)))
        each = {
            "num_questions": count, "num_samples": samplings[name].samples, "num_seeds": len(recipe.seeds),
            "rate": expected.rate, "between": expected.between, "seed_sd": expected.seed_points / 100,
        }  # fmt: skip
        made[name] = Design(**each, correlation=expected.correlation), Design(**each)  # type: ignore[arg-type]
    return made


def power_lines(recipe: Recipe, questions: Mapping[str, int], samplings: Mapping[str, Sampling]) -> list[str]:
    """Least differences that the study finds; empty where it asks nothing."""
    found = designs(recipe, questions, samplings)
    if not found:
        return []
    alpha, seeds = 1 - recipe.confidence, len(recipe.seeds)
    made = [
        f"What it can see: the least true difference found with {POWER:.0%} power at {100 * alpha:.2g} %, in points"
    ]
    rows = [("benchmark", "questions", "samples", "seeds", "rate", "paired", "unpaired")]
    for name, (paired, apart) in found.items():
        rows.append((
            name[:36], f"{paired.num_questions:,}", f"{paired.num_samples}", f"{seeds}", f"{100 * paired.rate:g} %",
            _points(paired.detectable(POWER, alpha)), _points(apart.detectable(POWER, alpha)),
        ))  # fmt: skip
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    for row in rows:
        made.append("  " + "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ))  # fmt: skip
    made += _wrapped(
        "paired: two arms of this study, on the same questions; unpaired: a figure from elsewhere beside one of ours"
    )
    margins = [] if recipe.margin is None else [f"{recipe.margin:g} points"]
    margins += [f"{margin:g} points for {arm}" for arm, margin in recipe.margins.items()]
    if margins:
        # Two one-sided tests of arms that do not differ: each finds the margin, both together with this power.
        needed = [
            f"{_points(paired.detectable((1 + POWER) / 2, 2 * alpha))} on {name}" for name, (paired, _) in found.items()
        ]
        made += _wrapped(
            f"margin of equivalence {', '.join(margins)}; the least that shows truly equal arms to be so with "
            f"{POWER:.0%} power: {', '.join(needed)}"
        )
    assumed: dict[tuple[str, str], list[str]] = {}
    for name, (paired, _) in found.items():
        words = f"between {paired.between:g}, correlation {paired.correlation:g}, seeds {100 * paired.seed_sd:g} points"
        given = "expected" if name in recipe.expected else "assumed"
        assumed.setdefault((given, words), []).append(name)
    for (given, words), names in assumed.items():
        made += _wrapped(f"{given}{'' if len(assumed) == 1 else ' of ' + ', '.join(names)}: {words}")
    if seeds == 1:
        made.append("  with one seed no interval covers what another training seed would give")
    return made


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 100, initial_indent="  ", subsequent_indent="    ")


def _points(difference: float) -> str:
    return f"{100 * difference:.1f}" if difference < 1 else "none"
