"""Made-up traces of a given number and size, for measurements of scale: text of random words, no mathematics.

One row in a hundred repeats an earlier one, one in a hundred is wrong, one in two hundred was cut.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path

_SYLLABLES = ("ba", "den", "fi", "gor", "ku", "lem", "mo", "nar", "pi", "ros", "sut", "tal", "ven", "wo", "zi")
_SENTENCES = 100_000
_DUPLICATE, _WRONG, _CUT = 0.01, 0.01, 0.005


def _sentences(rng: random.Random) -> list[str]:
    words = ["".join(rng.choices(_SYLLABLES, k=rng.randint(1, 4))) for _ in range(20_000)]
    return [
        f"{' '.join(rng.choices(words, k=rng.randint(6, 18))).capitalize()}, so {rng.randint(2, 999)} + "
        f"{rng.randint(2, 999)} is next."
        for _ in range(_SENTENCES)
    ]


def write_traces(path: Path, rows: int, row_bytes: int = 5000, seed: int = 0) -> int:
    """Write ``rows`` JSON Lines of about ``row_bytes`` each; returns the bytes written."""
    rng = random.Random(seed)
    sentences = _sentences(rng)
    per_row = max(2, row_bytes // (sum(map(len, sentences[:1000])) // 1000 + 2))
    last, written = "", 0
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8") as out:
        for number in range(rows):
            luck = rng.random()
            if luck >= _DUPLICATE or not last:
                length = rng.randint(per_row // 2, per_row * 3 // 2)
                thought = "\n\n".join(rng.choices(sentences, k=length))
                answer = rng.randint(0, 99_999)
                said = answer + (luck < _DUPLICATE + _WRONG)
                end = "" if luck > 1 - _CUT else f"\n</think>\n\nThe answer is $\\boxed{{{said}}}$."
                question = f"Problem {number}. {' '.join(rng.choices(sentences, k=3))} What is the result?"
                row = {"question": question, "answer": str(answer), "response": f"<think>\n{thought}{end}"}
                last = json.dumps(row, ensure_ascii=False) + "\n"
            written += out.write(last)
    temporary.rename(path)
    return written


if __name__ == "__main__":
    print(write_traces(Path(sys.argv[1]), int(sys.argv[2])))
