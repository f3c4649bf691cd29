"""A small study for tests of the trace reader: arms, seeds, two benchmarks, samples, in all their states."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from long1k.rows import Example, Message, Prediction, R, Score, Span
from long1k.tables import TableWriter, digest_json, finish

ARMS = {"L64": "rung", "L128": "rung", "same-tokens": "control"}
SEEDS = (0, 1)
QUESTIONS = 12
LONG = 120_000  # characters of the longest trace, about 32,000 tokens
HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(2)> [x](javascript:alert(3)) </script><!-- \u202eevil\u2066 \x00\x1b"
    " {{ 7*7 }} $\\href{javascript:alert(4)}{x}$ $\\style{color:red}{x}$ __proto__ \u2028 \U0001f600"
)


def put(folder: Path, row_type: type[R], rows: list[R]) -> None:
    writer = TableWriter(folder, row_type, stage="test/1", config={}, inputs={})
    half = max(1, len(rows) // 2)
    for part, first in enumerate(range(0, len(rows), half)):
        writer.write_part(part, rows[first : first + half], [])
    writer.commit(len(range(0, len(rows), half)), {})


def status_of(arm: str, seed: int, question: int) -> str:
    """Right or wrong by a rule, so that every kind of flip is there; a few other states."""
    if question == 10:
        return "truncated"
    if question == 11:
        return "no_answer"
    return "correct" if (question * 7 + seed * 3 + list(ARMS).index(arm) * 5) % 4 < 2 else "wrong"


def thinking_of(arm: str, seed: int, question: int, words: str) -> str:
    if (arm, seed, question) == ("L64", 0, 0):
        line = "Step {}: let $a_{{{}}} = \\frac{{{}}}{{2}}$, so we go on with the next line of the long trace.\n\n"
        text = "".join(line.format(at, at, at) for at in range(LONG // 60))
        return text[:LONG]
    if (arm, question) == ("L128", 10):
        return "Let me see. " + "I will check this step again and again. " * 60
    return f"{words} thinking of {arm} {seed} on {question}, with $x^2 + {question}$ and \\[\\sqrt{{y}}\\] in it."


def prediction(arm: str, seed: int, question: int, words: str) -> tuple[Prediction, list[Score]]:
    status = status_of(arm, seed, question)
    thinking = thinking_of(arm, seed, question, words)
    given = question + (status != "correct")
    answer = f"So the answer is $\\boxed{{{given}}}$." if status in ("correct", "wrong") else None
    text = f"<think>\n{thinking}" + ("" if answer is None else f"\n</think>\n\n{answer}")
    name = f"y-{arm}-{seed}-{question}"
    row = Prediction(
        name, f"p-{question}", "single", f"{words} question {question}: what is $x_{{{question}}}$?", (str(question),),
        (f"p-{question}",), arm, seed, "train", 0, 1, (1, 2), text, (5, 6), (), None if answer is None else thinking, answer,
        "length" if status == "truncated" else "stop", "natural", 100 + question, 80, 20, "test", None,
    )  # fmt: skip
    span = None if answer is None else (answer.index("{") + 1, answer.index("}"))
    return row, [Score(name, 0, "math", "1", status, None if answer is None else str(given), span, "compared")]


def several(arm: str, seed: int, question: int, words: str) -> tuple[Prediction, list[Score]]:
    """An output to a prompt of two problems."""
    answer = f"\\boxed{{{question}}} and \\boxed{{9}}"
    name = f"m-{arm}-{seed}-{question}"
    row = Prediction(
        name, f"q-{question}", "pairs", f"{words} two problems {question}", (str(question), "8"), ("a", "b"), arm, seed,
        "train", 0, 1, (1,), answer, (5,), (), None, answer, "stop", "forced", 40, 0, 40, "test", True,
    )  # fmt: skip
    places = [answer.index("{") + 1, answer.rindex("{") + 1]
    return row, [
        Score(name, 0, "math", "1", "correct", str(question), (places[0], places[0] + len(str(question))), None),
        Score(name, 1, "math", "1", "wrong", "9", (places[1], places[1] + 1), None),
    ]


def example(arm: str, number: int, words: str) -> Example:
    asked, first, linker, second = f"{words} A{number}? B?", f"thinking {words}", "Next, ", "more thinking"
    answer = f"<think>\n{first}{linker}{second}\n</think>\n\n\\boxed{{1}} {words}"
    at = len("<think>\n")
    spans = (
        Span("question", 0, 0, 0, len(asked)), Span("thinking", 0, 1, at, at + len(first)),
        Span("linker", 1, 1, at + len(first), at + len(first) + len(linker)),
        Span("thinking", 1, 1, at + len(first) + len(linker), at + len(first + linker + second)),
        Span("solution", 1, 1, answer.index("\\boxed"), len(answer)),
    )  # fmt: skip
    return Example(
        f"e-{arm}-{number}", arm, (Message("user", asked),), (Message("assistant", answer),), ("1", "1"), ("t", "u"),
        ("p", "q"), ("s#1", "s#2"), ("MIT", "MIT"), ("", linker), spans, "independent", 64, 64, 50, 2,
    )  # fmt: skip


def write_study(
    root: Path, words: str = "ordinary", questions: int = QUESTIONS, findings: bool = True, bare: bool = False
) -> None:
    """Tables of all arms and seeds, and findings that name them; bare ones name none, and their page is quickly made."""
    for arm in ARMS:
        for seed in SEEDS:
            cell = root / "arms" / arm / f"seed-{seed}"
            put(cell / "synthesize", Example, [example(arm, number, words) for number in range(3)])
            for name, make in (("single", prediction), ("pairs", several)):
                made = [make(arm, seed, question, words) for question in range(questions)]
                put(cell / "predict" / name, Prediction, [row for row, _ in made])
                put(cell / "score" / name / "math", Score, [score for _, scores in made for score in scores])
    if findings:
        put_findings(root, bare)


def put_findings(root: Path, bare: bool = False) -> dict[str, Any]:
    middle = {"estimate": 0.5, "low": 0.4, "high": 0.6, "confidence": 0.95, "over": "training seeds and questions"}
    entries = [
        {
            "benchmark": name, "questions": QUESTIONS, "law": None, "contrasts": [], "verdict": [],
            "arms": [
                {
                    "name": arm, "role": role, "kind": "ladder", "of": None, "seeds": list(SEEDS), "accuracy": middle,
                    "target_tokens": int(arm[1:]) if role == "rung" else None, "cut_frac": 0.0, "training": {},
                    "accuracy_by_seed": {str(seed): 0.5 for seed in SEEDS}, "statuses": {"correct": 1},
                    "mean_output_tokens": 12.5,
                    "rows": [f"arms/{arm}/seed-{seed}/score/{name}/math" for seed in SEEDS],
                }
                for arm, role in ARMS.items()
            ],
        }
        for name in ("single", "pairs")
    ]  # fmt: skip
    findings: dict[str, Any] = {
        "name": "a study",
        "confidence": 0.95,
        "benchmarks": [] if bare else entries,
        "verdict": [],
    }
    folder = root / "analyze"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "findings.json").write_text(json.dumps(findings))
    finish(
        folder, stage="analyze/1", config={}, inputs={}, digest=digest_json(findings),
        files=[folder / "findings.json"], started=0.0,
    )  # fmt: skip
    return findings
