"""How often the intervals of the analysis of outputs hold the truth, and how often words differ by chance.

    python scripts/simulate_outputs.py [STUDIES] [PERMUTATIONS]

Lengths: outputs to questions whose lengths are alike (log-normal: a question's own part and an output's), the truth
known from the distribution.  Words: texts of questions with words of their own, labels dealt out at random, so that
no word truly tells the two kinds apart.
"""

from __future__ import annotations

import math
import sys

import numpy as np

from long1k.statistics import clustered
from long1k.statistics.words import WordCounts, log_odds

CASES = (
    # name, questions, samples a question, share of the spread that is the question's
    ("flat, 500 questions", 500, 1, 0.0),
    ("clustered, 500 x 4", 500, 4, 0.7),
    ("clustered, 198 x 8", 198, 8, 0.7),
    ("clustered, 30 x 16", 30, 16, 0.7),
)
SPREAD = 0.6  # of the logarithm of a length


def covered(
    questions: int, samples: int, share: float, studies: int, seed: int = 0, confidence: float = 0.95
) -> dict[str, float]:
    """Share of studies whose interval holds the true mean, median and ratio of means (which is 1.5)."""
    random = np.random.default_rng(seed)
    own, rest = SPREAD * math.sqrt(share), SPREAD * math.sqrt(1 - share)
    names = [f"q{at}" for at in range(questions) for _ in range(samples)]
    truth = {"mean": math.exp(7 + SPREAD**2 / 2), "median": math.exp(7), "ratio": 1.5}
    hits = dict.fromkeys(truth, 0)
    for _ in range(studies):
        effect = np.repeat(random.normal(0, own, questions), samples)
        lengths = np.exp(7 + effect + random.normal(0, rest, len(names)))
        wrong = random.random(len(names)) < 0.3
        kept = [name for name, out in zip(names, wrong, strict=True) if not out]
        others = [name for name, out in zip(names, wrong, strict=True) if out]
        found = {
            "mean": clustered.mean(lengths, names, confidence),
            "median": clustered.median(lengths, names, confidence),
            "ratio": clustered.ratio_of_means(1.5 * lengths[wrong], others, lengths[~wrong], kept, confidence),
        }
        for name, interval in found.items():
            assert interval is not None
            assert interval.low is not None
            assert interval.high is not None
            hits[name] += interval.low <= truth[name] <= interval.high
    return {name: count / studies for name, count in hits.items()}


def by_chance(
    questions: int, wrong: float, permutations: int, seed: int = 0, words: int = 300, length: int = 400
) -> tuple[float, float]:
    """(share of words with p below 5 %, share of studies with a word beyond chance) where nothing differs."""
    random = np.random.default_rng(seed)
    common = 1 / np.arange(1, words + 1)
    names = ["".join(chr(97 + (at // 26**place) % 26) for place in range(3)) for at in range(words)]
    counted = WordCounts()
    for at in range(questions):
        # A question raises some words that seldom stand elsewhere: its topic.
        weights = common * random.gamma(0.5, 2, words)
        size = int(length * math.exp(random.normal(0, 0.5)))
        drawn = random.choice(words, size, p=weights / weights.sum())
        counted.add("all", f"q{at}", " ".join(names[one] for one in drawn))
    parts = counted.kinds["all"]
    low, any_word = [], 0
    for _ in range(permutations):
        chosen = set(random.choice(questions, round(wrong * questions), replace=False).tolist())
        kinds = WordCounts(
            {
                "correct": {f"q{at}": parts[f"q{at}"] for at in range(questions) if at not in chosen},
                "wrong": {f"q{at}": parts[f"q{at}"] for at in sorted(chosen)},
            }
        )
        found = log_odds(kinds, "correct", "wrong", top=words)
        ps = [one["p"] for one in found["for_a"] + found["for_b"]]
        low.append(sum(p < 0.05 for p in ps) / found["tested"])
        any_word += found["beyond_chance"] > 0
    return float(np.mean(low)), any_word / permutations


def within_by_chance(questions: int, studies: int, seed: int = 0, words: int = 120, length: int = 150) -> float:
    """Share of words whose comparison within questions excludes no difference, where hard questions have topics.

    Every question has two to four outputs, right with a chance of its own; the words of an output are drawn from its
    question's topic, more unevenly than one by one, and do not depend on the outcome.
    """
    random = np.random.default_rng(seed)
    common = 1 / np.arange(1, words + 1)
    names = ["".join(chr(97 + (at // 26**place) % 26) for place in range(3)) for at in range(words)]
    excluded = tested = 0
    for _ in range(studies):
        counted = WordCounts()
        for at in range(questions):
            topic = common * random.gamma(0.5, 2, words)
            right = random.beta(1, 1)
            for _ in range(int(random.integers(2, 5))):
                weights = topic * random.gamma(2, 0.5, words)
                drawn = random.choice(words, int(length * math.exp(random.normal(0, 0.5))), p=weights / weights.sum())
                kind = "correct" if random.random() < right else "wrong"
                counted.add(kind, f"q{at}", " ".join(names[one] for one in drawn))
        found = log_odds(counted, "correct", "wrong", top=words)
        for one in found["for_a"] + found["for_b"]:
            if one["within"] is not None and one["within"]["low"] is not None:
                tested += 1
                excluded += not one["within"]["low"] <= 0 <= one["within"]["high"]
    return excluded / tested


def main() -> None:
    """Print the two tables."""
    studies = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    permutations = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    print(f"95 % intervals that hold the truth, % of {studies:,} studies")
    print("  case                    mean  median  ratio of means")
    for name, questions, samples, share in CASES:
        hits = covered(questions, samples, share, studies)
        print(f"  {name:<21} {100 * hits['mean']:>6.1f} {100 * hits['median']:>7.1f} {100 * hits['ratio']:>15.1f}")
    print(f"words of no true difference, {permutations:,} deals of the labels")
    print("  case                              p < 5 %, %   studies with a word beyond chance, %")
    for questions, wrong in ((500, 0.2), (500, 0.5), (198, 0.4), (30, 0.5)):
        share, any_word = by_chance(questions, wrong, permutations)
        label = f"{questions} questions, {100 * wrong:.0f} % wrong"
        print(f"  {label:<32} {100 * share:>11.1f} {100 * any_word:>38.1f}")
    print("words within questions: intervals that exclude no difference, where there is none, %")
    for questions in (500, 100, 30):
        print(f"  {questions} questions {100 * within_by_chance(questions, max(20, permutations // 5)):>6.1f}")


if __name__ == "__main__":
    main()
