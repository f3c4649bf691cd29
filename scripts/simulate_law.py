"""How often the law's intervals hold the truth, and its tests err: many simulated ladders.

    python scripts/simulate_law.py --studies 10000

Six rungs of 1,000 to 12,000 tokens, the same questions asked of every rung. "flat": no effect of length; the others
have a slope of 2 points a doubling. Grades are right or wrong, with a chance that depends on question, rung and seed.
The mean of all rungs is 60 % unless said.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np

from long1k.statistics.draws import rung_covariance
from long1k.statistics.scaling import fit_law
from long1k.statistics.shapes import compare_shapes

LENGTHS = [1000.0, 1500.0, 2000.0, 3000.0, 6000.0, 12000.0]
# name: (seeds, questions, slope a doubling, standard deviation of a seed's effect on a rung, where, mean if not 60 %)
CASES: dict[str, tuple[int, int, float, float, str] | tuple[int, int, float, float, str, float]] = {
    "flat, one seed": (1, 200, 0.0, 0.0, "each"),
    "slope, one seed": (1, 200, 0.02, 0.0, "each"),
    "slope, 2 seeds, they differ by 2 points": (2, 200, 0.02, 0.02, "each"),
    "slope, 3 seeds, they differ by 2 points": (3, 200, 0.02, 0.02, "each"),
    "slope, 4 seeds, they differ by 5 points": (4, 200, 0.02, 0.05, "each"),
    "slope, 4 seeds, they do not differ": (4, 200, 0.02, 0.0, "each"),
    "slope, 3 seeds, 30 questions": (3, 30, 0.02, 0.02, "each"),
    "flat, 2 seeds that differ by 5 points": (2, 200, 0.0, 0.05, "each"),
    "slope, 2 seeds, only the longest rung differs, by 5 points": (2, 200, 0.02, 0.05, "longest"),
    "slope, 3 seeds, a seed adds the same 5 points to every rung": (3, 200, 0.02, 0.05, "same"),
    "flat at 3 %, one seed": (1, 200, 0.0, 0.0, "each", 0.03),
    "slope, one seed, from 2 to 9 %": (1, 200, 0.02, 0.0, "each", 0.05),
    "slope, one seed, up to 99 %": (1, 200, 0.02, 0.0, "each", 0.95),
    "slope, 3 seeds that differ by half a point, from 2 to 9 %": (3, 200, 0.02, 0.005, "each", 0.05),
}


def studies(case: str, count: int, seed: int) -> Iterator[np.ndarray]:
    """Grades of many ladders, shape (rungs, seeds, questions); the chance of a right answer is exact on average."""
    seeds, questions, slope, seed_sd, where, *given = CASES[case]
    rng = np.random.default_rng(seed)
    x = np.log2(LENGTHS)
    mean = (given[0] if given else 0.6) + slope * (x - x.mean())
    room = min(0.25, float(mean.min()), float(1 - mean.max()))
    for _ in range(count):
        # A question's chance is spread evenly about the rung's mean, so that no clipping moves the mean.
        question = rng.uniform(-room, room, (1, 1, questions))
        noise = seed_sd * np.clip(rng.standard_normal((len(x), seeds, 1)), -2, 2)
        if where == "longest":
            noise[:-1] = 0.0
        elif where == "same":
            noise[:] = noise[:1]
        chance = np.clip(mean[:, None, None] + question + noise, 0, 1)
        yield (rng.random(chance.shape) < chance).astype(float)


def measure(case: str, count: int, seed: int = 0, draws: int = 500) -> dict[str, float]:
    """Shares of studies: slope covered (analysis, draws), line refuted (bend, lack of fit), inverted U found."""
    slope = CASES[case][2]
    found = {"slope": 0, "slope from draws": 0, "bend excludes 0": 0, "lack of fit p < 0.05": 0, "inverted U": 0}
    width = []
    for number, y in enumerate(studies(case, count, seed)):
        law = fit_law(LENGTHS, y, seed=number, num_draws=draws)
        low, high = law.slope.low, law.slope.high
        found["slope"] += low is not None and high is not None and low <= slope <= high
        found["slope from draws"] += law.slope_drawn is not None and law.slope_drawn[0] <= slope <= law.slope_drawn[1]
        found["bend excludes 0"] += law.bend is not None and law.bend.excludes(0.0)
        found["inverted U"] += law.top is not None and law.top.finding == "inverted U"
        (line,) = compare_shapes(
            LENGTHS, y.mean(axis=(1, 2)), np.array(law.weights), covariance=rung_covariance(y), names=["log-linear"]
        )
        found["lack of fit p < 0.05"] += line.lack_of_fit_p is not None and line.lack_of_fit_p < 0.05
        width.append(0.0 if low is None or high is None else high - low)
    return {name: hits / count for name, hits in found.items()} | {"width, points": 100 * float(np.mean(width))}


def main() -> None:
    """Print a table, one line a case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=0, help="for the slope's second interval (default: none)")
    arguments = parser.parse_args()
    drawn = " by draws |" if arguments.draws else ""
    print(f"| case | slope covered |{drawn} bend excludes 0 | lack of fit p < 0.05 | inverted U | width, points |")
    print("|---|---|---|---|---|---|" + ("---|" if drawn else ""))
    for case in CASES:
        m = measure(case, arguments.studies, arguments.seed, arguments.draws)
        left_out = {"width, points"} | (set() if drawn else {"slope from draws"})
        shares = " | ".join(f"{100 * value:.1f} %" for name, value in m.items() if name not in left_out)
        print(f"| {case} | {shares} | {m['width, points']:.1f} |", flush=True)


if __name__ == "__main__":
    main()
