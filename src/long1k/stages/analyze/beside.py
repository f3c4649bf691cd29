"""The paper beside us: published figures of an experiment, and what they say next to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from long1k.paper import Point, experiment, load_paper, published_points, same_benchmark
from long1k.statistics.proportions import wilson
from long1k.statistics.published import fit_points, points_words
from long1k.statistics.rates import Interval
from long1k.statistics.verdict import in_points, span


def beside_of(name: str, benchmarks: Sequence[Mapping[str, Any]], confidence: float) -> dict[str, Any]:
    """One experiment of the paper: its figures with intervals, its laws, ours by benchmark, and sentences.

    Args:
        benchmarks: entries of the findings.
    """
    found = experiment(name)
    rows: list[dict[str, Any]] = []
    laws: dict[str, Any] = {}
    said: list[str] = []
    for benchmark in found.benchmarks:
        figures = published_points(name, benchmark)
        rows += [_row(figure, confidence) for figure in figures]
        law = law_of_points(figures, found.error_points, confidence)
        if law is not None:
            laws[benchmark] = law.as_dict()
            said.append(f"the paper, {benchmark}: {points_words(law, confidence)}")
    ours = [_ours(entry) for entry in benchmarks]
    compared = {entry["benchmark"]: line for entry in ours if (line := _compared(entry, laws)) is not None}
    said += [f"here, {name_here}: {line}" for name_here, line in compared.items()]
    return {
        "experiment": name, "title": found.title, "question": found.question, "origin": found.origin,
        "error_points": found.error_points, "caveat": found.caveat, "source": load_paper().source,
        "rows": rows, "laws": laws, "ours": ours, "compared": compared,
        "writing": [one.model_dump() for one in found.writing],
        "claims": list(found.claims), "said": [f"{line[:1].upper()}{line[1:]}." for line in said],
    }  # fmt: skip


def beside_lines(benchmark: str, beside: Sequence[Mapping[str, Any]]) -> list[str]:
    """The verdict's sentences on one benchmark of ours beside the paper."""
    return [
        f"{benchmark}: beside the paper's experiment {entry['experiment']}: {entry['compared'][benchmark]}."
        for entry in beside
        if benchmark in entry["compared"]
    ]


def law_of_points(figures: Sequence[Point], error_points: float, confidence: float) -> Any:
    """The law through published points of different known lengths; None of other experiments."""
    lengths = [figure.tokens for figure in figures]
    if any(length is None for length in lengths) or len(set(lengths)) != len(lengths) or len(lengths) < 2:
        return None
    return fit_points(
        [float(length or 0) for length in lengths], [figure.accuracy for figure in figures],
        figures[0].num_questions, error=error_points / 100, confidence=confidence,
    )  # fmt: skip


def _row(figure: Point, confidence: float) -> dict[str, Any]:
    low, high = wilson(figure.accuracy, figure.num_questions, confidence)
    return {
        "arm": figure.arm, "model": figure.model, "tokens": figure.tokens, "steps": figure.steps,
        "benchmark": figure.benchmark, "questions": figure.num_questions, "accuracy": figure.accuracy, "low": low,
        "high": high,
    }  # fmt: skip


def _ours(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Our points on one benchmark, and which benchmark of the paper it is."""
    arms = [arm for arm in entry["arms"] if arm.get("law_tokens")]
    return {
        "benchmark": entry["benchmark"], "same": same_benchmark(entry["benchmark"]),
        "points": [
            {"arm": arm["name"], "tokens": arm["law_tokens"], "accuracy": arm["accuracy"]["estimate"],
             "low": arm["accuracy"]["low"], "high": arm["accuracy"]["high"]}
            for arm in sorted(arms, key=lambda arm: float(arm["law_tokens"]))
        ],
        "slope": None if entry["law"] is None else entry["law"]["slope"],
    }  # fmt: skip


def _compared(entry: Mapping[str, Any], laws: Mapping[str, Any]) -> str | None:
    """What our slope says beside the paper's; None where one of them is not there."""
    slope = entry["slope"]
    if slope is None or not laws:
        return None
    found = Interval(**slope)
    own = f"{in_points(found.estimate)} a doubling {span(slope)}"
    if entry["same"] in laws:
        theirs = float(laws[entry["same"]]["slope"])
        if found.low is None or found.high is None:
            return f"{own}; without an interval it cannot be compared with the paper's {in_points(theirs)}"
        inside = "inside" if not found.excludes(theirs) else "outside"
        return f"{own}; the paper's {in_points(theirs)} on the same benchmark lie {inside} this interval"
    if found.low is None:
        direction = "without an interval nothing can be said of the direction"
    elif not found.excludes(0.0):
        direction = "no effect of length was found here, where the paper has one"
    elif all((law["slope"] > 0) == (found.estimate > 0) for law in laws.values()):
        direction = "the direction is that of the paper"
    else:
        direction = "the direction is not that of the paper"
    return f"{own}; another benchmark than the paper's, so that sizes cannot be compared: {direction}"
