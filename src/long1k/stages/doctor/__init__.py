"""doctor: is a benchmark asked and graded as it should be?  Finds harness faults without a model's help."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from long1k.benchmarks.base import Benchmark
from long1k.chat import Chat
from long1k.errors import DataError, RecipeError
from long1k.grading import JUDGES, grader_for
from long1k.stages.doctor.check import Check, render, summary
from long1k.stages.doctor.choices import choice_checks
from long1k.stages.doctor.golds import Mock, gold_checks
from long1k.stages.doctor.outputs import output_checks
from long1k.stages.doctor.prompts import first_prompt, model_checks, prompt_checks, source_check, train_checks
from long1k.stages.doctor.rows import repeat_checks, singles

__all__ = ["Check", "as_json", "examine", "render", "summary"]


def examine(
    benchmark: Benchmark,
    *,
    chat: Chat,
    tokenized: bool,
    grader: str = "auto",
    model: Path | None = None,
    train: tuple[Path, Chat] | None = None,
    predictions: Path | None = None,
    max_new_tokens: int | None = None,
    tolerate: float = 0.0,
    show_question: bool = False,
    num_workers: int = 1,
) -> list[Check]:
    """All checks of a benchmark, and of what else is given.

    Args:
        chat: the renderer of prediction.
        tokenized: whether its tokenizer is the model's; else nothing is said about tokens.
        model: a model's folder: end token and room are looked at.
        train: samples or a checkpoint, and the renderer that made them.
        predictions: outputs to the same benchmark.
        tolerate: share of golds and of solutions that may fail.
    """
    items = list(benchmark.load())
    if not items:
        raise DataError("the benchmark has no items", "check its file")
    name = grader_for(grader, {"grader": benchmark.grader})
    if name in JUDGES:
        raise RecipeError(f"doctor needs no model, and '{name}' is one", "give a rule: --grader math, or choice")
    mock = Mock(chat, name, tokenized=tokenized, num_workers=num_workers)
    withheld = bool(getattr(benchmark, "withheld", False)) and not show_question
    used = chat if tokenized else None
    checks = [source_check(benchmark, items), *gold_checks(items, mock, tolerate)]
    single = singles(benchmark, items)
    checks += [*choice_checks(single, name), *prompt_checks(benchmark, items, used), *repeat_checks(items, single)]
    if model is not None:
        longest = next((c.figures["longest_tokens"] for c in checks if "longest_tokens" in c.figures), 0)
        checks += model_checks(model, chat, longest, max_new_tokens)
    if train is not None:
        checks += train_checks(train[0], train[1], chat, items)
    if predictions is not None:
        checks += output_checks(predictions, items, used)
    return [*checks, first_prompt(items, used, withheld=withheld)]


def as_json(checks: list[Check]) -> dict[str, Any]:
    """The report as plain values."""
    counts = {status: sum(check.status == status for check in checks) for status in ("ok", "info", "warn", "fail")}
    return {"counts": counts, "checks": [asdict(check) for check in checks]}
