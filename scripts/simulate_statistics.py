"""Do intervals cover, tests keep their level, and planned powers come true?  python -m scripts.simulate_statistics

Studies are drawn from ``worlds``, analysed by the project's own functions (``measures``), and counted.  Prints the
tables of docs/statistics.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from scripts.measures import (
    bootstraps,
    counted,
    covers_difference,
    covers_rate,
    covers_slope,
    equivalence,
    family,
)
from scripts.worlds import CEILING, CLUSTERED, FLAT, ODD, POWERS, SEEDS, World, design_of

FEWEST = "flat, 30 questions, 1 output"  # where coverage jumps with the true accuracy, so that it is drawn as well,
DRAWN = (0.2, 0.8)  # evenly between these
BOOTSTRAPS = 2000  # studies at most: each takes 999 resamples


def percent(value: float) -> str:
    """A share as a percentage."""
    return f"{100 * value:.1f} %"


def _times(name: str, world: World) -> int:
    """More of the flat, whose coverage jumps with their counts, and of two seeds and odd spreads."""
    return 5 if name in FLAT | ODD or world.seeds == 2 else 1


def rate_table(studies: int) -> Iterator[str]:
    """Intervals of an accuracy."""
    yield "| accuracy of one arm | covered | mean width, points |\n|---|---|---|"
    for name, world in (FLAT | CLUSTERED | SEEDS).items():
        covered, width, _ = counted(_times(name, world) * studies, 1, covers_rate(world))
        yield f"| {name} | {percent(covered)} | {width:.1f} |"
        if name == FEWEST:
            covered, width, _ = counted(_times(name, world) * studies, 1, covers_rate(world, DRAWN))
            truth = f"true accuracy {100 * DRAWN[0]:g} to {100 * DRAWN[1]:g} %"
            yield f"| {name}, {truth} | {percent(covered)} | {width:.1f} |"


def difference_table(studies: int) -> Iterator[str]:
    """Intervals and tests of a difference."""
    yield "| difference of two arms | truly | covered | mean width, points | found at 5 % |\n|---|---|---|---|---|"
    for name, world in (FLAT | CLUSTERED | SEEDS | ODD).items():
        for gap in (0.0, 0.05):
            covered, width, excluded, small = counted(_times(name, world) * studies, 2, covers_difference(world, gap))
            yield f"| {name} | {100 * gap:g} points | {percent(covered)} | {width:.1f} | {percent(small)} |"
            assert world.seeds == world.samples == 1 or excluded == small  # interval and p say the same


def ceiling_table(studies: int) -> Iterator[str]:
    """Intervals of an accuracy over few questions, or near 1."""
    yield "| few questions, or near 1 | covered | mean width, points | truth above it |\n|---|---|---|---|"
    for name, world in CEILING.items():
        covered, width, above = counted(studies, 8, covers_rate(world))
        yield f"| {name} | {percent(covered)} | {width:.1f} | {percent(above)} |"


def slope_table(studies: int) -> Iterator[str]:
    """Intervals of a slope over five arms."""
    yield "| slope over five rungs | covered | mean width, points a rung |\n|---|---|---|"
    for name, world in SEEDS.items():
        covered, width = counted(studies, 3, covers_slope(world, 5, 0.03))
        yield f"| {name} | {percent(covered)} | {width:.1f} |"


def bootstrap_table(studies: int) -> Iterator[str]:
    """The bootstrap, which the analysis shows beside its own p where there is one seed."""
    yield "| bootstrap of a difference | covered | false alarms at 5 % |\n|---|---|---|"
    several = {
        f"{seeds} seeds, 200 questions × 1, luck {luck:g}": World(200, 1, seeds, 0.6, 1.5, luck)
        for luck in (0.1, 0.5)
        for seeds in (2, 3, 5, 10)
    }
    for name, world in {**CLUSTERED, **several}.items():
        covered, alarms = counted(min(studies, BOOTSTRAPS), 4, bootstraps(world))
        yield f"| {name} | {percent(covered)} | {percent(alarms)} |"


def family_table(studies: int) -> Iterator[str]:
    """Several comparisons in one study."""
    yield "| six comparisons with one arm, none differs | any found at 5 % | any found after Holm |\n|---|---|---|"
    for name in ("flat, 198 questions, 1 output", "3 seeds, 200 questions × 1, luck 0.1"):
        plain, corrected = counted(studies, 5, family((FLAT | SEEDS)[name], 6))
        yield f"| {name} | {percent(plain)} | {percent(corrected)} |"


def equivalence_table(studies: int) -> Iterator[str]:
    """Two one-sided tests, at the margin and at no difference."""
    yield "| equivalence, margin 5 points | called so at a true difference of 5 points | of 0 points |\n|---|---|---|"
    for name, world in {
        "198 questions × 16": World(198, 16, difficulty=1.0, alike=0.95),
        "3 seeds, 500 questions × 4": World(500, 4, 3, 0.6, 1.5, 0.03),
    }.items():
        (edge,), (none,) = (counted(studies, 6, equivalence(world, gap, 0.05)) for gap in (0.05, 0.0))
        yield f"| {name} | {percent(edge)} | {percent(none)} |"


def margin_table(studies: int) -> Iterator[str]:
    """The least margin that a plan says shows arms of no difference to be equivalent, and how often it does."""
    yield "| least margin by the plan, for 80 % | points | called equivalent at no difference |\n|---|---|---|"
    for name in ("30 questions × 16 outputs", "198 questions × 4 outputs", "2 seeds, 200 questions × 4",
                 "3 seeds, 200 questions × 4", "5 seeds, 500 questions × 1"):  # fmt: skip
        world = POWERS[name][0]
        margin = design_of(world).detectable(0.9, 0.1)  # each of the two tests finds it in 90 %, both in 80 %
        (none,) = counted(studies, 9, equivalence(world, 0.0, margin))
        yield f"| {name} | {100 * margin:.1f} | {percent(none)} |"


def power_table(studies: int) -> Iterator[str]:
    """Planned power and what came of it."""
    yield "| power | true difference | planned | simulated |\n|---|---|---|---|"
    for name, (world, gap) in POWERS.items():
        found = counted(studies, 7, covers_difference(world, gap))[3]
        yield f"| {name} | {100 * gap:g} points | {percent(design_of(world).power(gap))} | {percent(found)} |"


TABLES = {
    "rates": rate_table, "ceiling": ceiling_table, "differences": difference_table, "slopes": slope_table,
    "bootstrap": bootstrap_table, "family": family_table, "equivalence": equivalence_table,
    "margin": margin_table, "power": power_table,
}  # fmt: skip


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=10_000, help="simulated studies a case (default 10000)")
    parser.add_argument("--only", choices=TABLES, action="append", help="one of the tables; repeatable")
    given = parser.parse_args()
    error = 100 * (0.0475 / given.studies) ** 0.5
    print(
        f"{given.studies:,} studies a case, and five times as many of accuracies and differences that are flat, of two"
    )
    print(f"seeds, or odd; the standard error of a share near 95 % is {error:.2f} points ({error / 5**0.5:.2f}).")
    print(f"Bootstraps: {BOOTSTRAPS:,} at most.")
    for name in given.only or TABLES:
        print()
        for line in TABLES[name](given.studies):
            print(line, flush=True)


if __name__ == "__main__":
    main()
