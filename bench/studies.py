"""Made-up studies of any number of outputs, in the words and formulas of real traces: tables as stages leave them.

python -m bench.studies FOLDER --outputs 20000
"""

from __future__ import annotations

import argparse
import json
import random
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from bench.common import real_responses
from long1k.rows import Prediction, Score, content_id
from long1k.tables import TableWriter, digest_json, finish

ARMS = (
    "L1000",
    "L1500",
    "L2000",
    "L3000",
    "L6000",
    "L12000",
    "tokens-of-L1000",
    "tokens-of-L12000",
    "mixed",
    "untrained",
)
SEEDS = (0, 1, 2, 3)
BENCHMARK = "bench"
_CHARACTERS_PER_TOKEN = 3.5
_STATUSES = ("correct", "wrong", "no_answer", "truncated")


class Words:
    """Stretches of real traces of any length."""

    def __init__(self, texts: Sequence[str]) -> None:
        self.texts = texts
        self.ends = list(accumulate(len(text) for text in texts))

    def take(self, rng: random.Random, characters: int) -> str:
        """So many characters from some place on, whole traces one after the other."""
        at = rng.randrange(len(self.texts))
        pieces, size = [], 0
        while size < characters:
            pieces.append(self.texts[at % len(self.texts)][: characters - size])
            size += len(pieces[-1]) + 2
            at += 1
        return "\n\n".join(pieces)


def output(words: Words, arm: str, seed: int, question: int, tokens: int) -> tuple[Prediction, Score]:
    """One output of a question with its verdict; one in forty ends at its limit."""
    rng = random.Random(f"{arm} {seed} {question}")
    characters = int(tokens * _CHARACTERS_PER_TOKEN)
    status = rng.choices(_STATUSES, (50, 45, 2.5, 2.5))[0]
    answer = str(question % 97 if status == "correct" else question % 97 + 1)
    thinking = words.take(rng, characters)
    said = f"So $x^2 + {question} = \\frac{{{answer}}}{{2}}$, and the answer is $\\boxed{{{answer}}}$."
    whole = status in ("correct", "wrong")
    text = f"<think>\n{thinking}\n</think>\n\n{said}" if whole else f"<think>\n{thinking}"
    name = content_id("y", arm, str(seed), str(question))
    start = said.index("\\boxed{") + 7
    row = Prediction(
        name, f"p-{question}", BENCHMARK, f"Question {question}: find $x$ with $x^2 + {question} = {question % 97}/2$.",
        (str(question % 97),), (f"p-{question}",), arm, seed, "train", 0, seed, (1, 2), text, (), (),
        thinking if whole else None, said if whole else None, "length" if status == "truncated" else "stop", "natural",
        tokens, tokens - 20, 20, "made up", None,
    )  # fmt: skip
    span = (start, start + len(answer)) if whole else None
    return row, Score(name, 0, "math", "1", status, answer if whole else None, span, None)


def write_study(root: Path, outputs: int, tokens: int = 4000, longest: int = 32_000) -> None:
    """Write the tables of a study: all arms and seeds, so many outputs, one of them of ``longest`` tokens."""
    words = Words(real_responses())
    questions = max(1, outputs // (len(ARMS) * len(SEEDS)))
    for arm in ARMS:
        for seed in SEEDS:
            cell = root / "arms" / arm / f"seed-{seed}"
            predictions = TableWriter(cell / "predict" / BENCHMARK, Prediction, stage="predict/1", config={}, inputs={})
            scores = TableWriter(cell / "score" / BENCHMARK / "math", Score, stage="score/1", config={}, inputs={})
            for part, first in enumerate(range(0, questions, 100)):
                made = [
                    output(words, arm, seed, question, longest if (arm, seed, question) == (ARMS[0], 0, 0) else tokens)
                    for question in range(first, min(questions, first + 100))
                ]
                predictions.write_part(part, [row for row, _ in made], [])
                scores.write_part(part, [score for _, score in made], [])
            predictions.commit(part + 1, {})
            scores.commit(part + 1, {})
    _findings(root)


def _findings(root: Path) -> None:
    arms: list[dict[str, Any]] = [
        {
            "name": arm, "role": "rung" if arm[0] == "L" else "control", "kind": "ladder", "of": None,
            "seeds": list(SEEDS),
            "target_tokens": int(arm[1:]) if arm[0] == "L" else None,
            "accuracy": {"estimate": 0.5, "low": 0.45, "high": 0.55, "confidence": 0.95, "over": "seeds and questions"},
            "accuracy_by_seed": {str(seed): 0.5 for seed in SEEDS}, "statuses": {"correct": 1},
            "mean_output_tokens": 4000, "cut_frac": 0.0, "training": {},
            "rows": [f"arms/{arm}/seed-{seed}/score/{BENCHMARK}/math" for seed in SEEDS],
        }
        for arm in ARMS
    ]  # fmt: skip
    entry = {"benchmark": BENCHMARK, "questions": 1, "arms": arms, "law": None, "contrasts": [], "verdict": []}
    findings = {"name": "made up", "confidence": 0.95, "benchmarks": [entry], "verdict": []}
    folder = root / "analyze"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "findings.json"
    path.write_text(json.dumps(findings))
    finish(
        folder, stage="analyze/1", config={}, inputs={}, digest=digest_json(findings), files=[path], started=0.0
    )  # fmt: skip


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--outputs", type=int, default=1000)
    given = parser.parse_args()
    write_study(given.folder, given.outputs)
