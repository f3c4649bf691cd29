"""What the models wrote: lengths and words by outcome, markers over the course of a text, loops, cut outputs.

An output is ``correct`` if every problem of its prompt was answered rightly, and ``wrong`` if it was graded and is
not (no answer and cut off included, as in the published tables).  One that could not be graded is neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from long1k.errors import DataError
from long1k.loops import find_loop
from long1k.scored import ENDS, aligned, end_of, graded_predictions
from long1k.stages.analyze.multi import Multi
from long1k.statistics import clustered
from long1k.statistics.markers import MARKERS, PARTS, marker_counts
from long1k.statistics.rates import Interval
from long1k.statistics.words import WordCounts, log_odds, top_words
from long1k.tables import MANIFEST, read_manifest

OUTCOMES = ("correct", "wrong")
TOP = 10
CountTokens = Callable[[Sequence[str]], list[int]]
Table = tuple[Path, Path | None]
"""A folder of scores, and that of the predictions where it is not the one that the scores name."""
_COLUMNS = (
    "prediction_id", "benchmark", "arm", "problem_id", "part_ids", "text", "thinking", "answer_text",
    "finish_reason", "num_tokens",
)  # fmt: skip
_BATCH = 256


@dataclass
class _Kind:
    """Outputs of one outcome, one entry an output."""

    questions: list[str] = field(default_factory=list)
    tokens: list[int] = field(default_factory=list)
    words: list[int] = field(default_factory=list)
    loops: list[float] = field(default_factory=list)
    ends: list[str] = field(default_factory=list)
    parts: list[dict[str, Any]] = field(default_factory=list)


@dataclass
class _Arm:
    """Everything that is kept of one arm's outputs on one benchmark."""

    kinds: dict[str, _Kind] = field(default_factory=lambda: {name: _Kind() for name in OUTCOMES})
    counts: WordCounts = field(default_factory=WordCounts)
    multi: Multi = field(default_factory=Multi)
    statuses: dict[str, int] = field(default_factory=dict)
    not_gradable: int = 0
    uncounted: int = 0


def outputs_of(
    tables: Sequence[Table], *, confidence: float = 0.95, count: CountTokens | None = None, top: int = TOP
) -> list[dict[str, Any]]:
    """Outputs of every benchmark and arm in some tables of scores, as plain values.

    Args:
        tables: several of one benchmark and arm (its training seeds) are taken together.
        count: tokens of texts, for outputs that came without; where there are none, lengths are in words.
        top: words in a list.

    Raises:
        DataError: predictions are not there, or are not those that were graded.
    """
    found: dict[tuple[str, str], _Arm] = {}
    for scores, predictions in tables:
        for batch in _batches(scores, predictions):
            missing = [row for row, _ in batch if row["num_tokens"] is None]
            if count is not None and missing:
                for row, tokens in zip(missing, count([row["text"] for row in missing]), strict=True):
                    row["num_tokens"] = tokens
            for row, parts in batch:
                _add(found.setdefault((row["benchmark"], row["arm"]), _Arm()), row, parts)
    benchmarks: dict[str, list[dict[str, Any]]] = {}
    for (benchmark, arm), one in found.items():
        benchmarks.setdefault(benchmark, []).append({"name": arm, **_described(one, confidence, top)})
    return [{"benchmark": name, "arms": arms} for name, arms in benchmarks.items()]


def _batches(scores: Path, predictions: Path | None) -> Iterator[list[tuple[dict[str, Any], list[dict[str, Any]]]]]:
    """Outputs with the verdicts on their parts, some hundred at a time."""
    rows: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    # Folders that a run or ``find_tables`` named are the graded ones.
    folder = graded_predictions(scores) if predictions is None else predictions
    pairs = ((row, one) for row, (one,) in aligned((scores,), _COLUMNS, folder) if one is not None)
    for _, group in groupby(pairs, key=lambda pair: pair[0]["prediction_id"]):
        together = list(group)
        rows.append((together[0][0], [one for _, one in together]))
        if len(rows) == _BATCH:
            yield rows
            rows = []
    if rows:
        yield rows


def _add(arm: _Arm, row: dict[str, Any], parts: Sequence[dict[str, Any]]) -> None:
    statuses = [one["status"] for one in parts]
    for status in statuses:
        arm.statuses[status] = arm.statuses.get(status, 0) + 1
    arm.multi.add(row, parts)
    if any(status in ("error", "timeout") for status in statuses):
        arm.not_gradable += 1
        return
    outcome = "correct" if all(status == "correct" for status in statuses) else "wrong"
    kind, text = arm.kinds[outcome], _written(row)
    kind.questions.append(row["problem_id"])
    kind.words.append(arm.counts.add(outcome, row["problem_id"], text))
    if row["num_tokens"] is None:
        arm.uncounted += 1
    kind.tokens.append(row["num_tokens"] or 0)
    kind.loops.append(float(find_loop(text) is not None))
    kind.ends.append(end_of(row["finish_reason"]))
    kind.parts.append(marker_counts(text))


def _written(row: Mapping[str, Any]) -> str:
    """What was written, without tags and control tokens where they are known."""
    parts = [row[name] for name in ("thinking", "answer_text") if row[name] is not None]
    return "\n\n".join(parts) if parts else str(row["text"])


def _described(arm: _Arm, confidence: float, top: int) -> dict[str, Any]:
    """What is said of an arm."""
    unit = "tokens" if arm.uncounted == 0 else "words"
    sizes = {name: getattr(kind, unit) for name, kind in arm.kinds.items()}
    questions = {name: kind.questions for name, kind in arm.kinds.items()}
    longer = clustered.ratio_of_means(
        sizes["wrong"], questions["wrong"], sizes["correct"], questions["correct"], confidence
    )
    return {
        "outputs": sum(len(kind.questions) for kind in arm.kinds.values()), "not_gradable": arm.not_gradable,
        "questions": len({name for kind in arm.kinds.values() for name in kind.questions}),
        "statuses": dict(sorted(arm.statuses.items())), "unit": unit,
        "ends": {
            end: {name: kind.ends.count(end) for name, kind in arm.kinds.items()}
            for end in ENDS if any(end in kind.ends for kind in arm.kinds.values())
        },
        "outcomes": {name: _outcome(kind, sizes[name], unit, confidence) for name, kind in arm.kinds.items()},
        "wrong_to_correct_length": None if longer is None else longer.as_dict(),
        "words": {name: top_words(arm.counts, name, top, confidence) for name in OUTCOMES},
        "contrast": log_odds(arm.counts, "correct", "wrong", top=top, confidence=confidence),
        "multi": arm.multi.described(confidence),
    }  # fmt: skip


def _outcome(kind: _Kind, sizes: Sequence[int], unit: str, confidence: float) -> dict[str, Any]:
    """Lengths, loops, cuts and markers of the outputs of one outcome."""
    questions = kind.questions

    def plain(interval: Interval | None) -> dict[str, Any] | None:
        return None if interval is None else interval.as_dict()

    known = [at for at, end in enumerate(kind.ends) if end != "unknown"]
    finished = [at for at in known if kind.ends[at] == "finished"]
    names = sorted(set(questions))
    totals, _ = clustered.sums([float(size) for size in sizes], questions, names)
    words_QP = _by_question(kind, "words", names)
    markers, course = {}, {}
    for name in MARKERS:
        counts_QP = _by_question(kind, name, names)
        markers[name] = plain(_thousand(counts_QP.sum(axis=1), totals, confidence))
        course[name] = [_triple(_thousand(counts_QP[:, at], words_QP[:, at], confidence)) for at in range(PARTS)]
    return {
        "outputs": len(questions), "questions": len(names), "words": sum(kind.words), unit: sum(sizes),
        "mean_length": plain(clustered.mean(sizes, questions, confidence)),
        "median_length": plain(clustered.median(sizes, questions, confidence)),
        "mean_length_finished": plain(
            clustered.mean([sizes[at] for at in finished], [questions[at] for at in finished], confidence)
        ),
        "loops": sum(kind.loops), "cut": kind.ends.count("cut"), "unknown_end": len(questions) - len(known),
        "loop_frac": plain(clustered.mean(kind.loops, questions, confidence)),
        "cut_frac": plain(
            clustered.mean(
                [float(kind.ends[at] == "cut") for at in known], [questions[at] for at in known], confidence
            )
        ),
        "markers_a_thousand": markers, "course_a_thousand_words": course,
    }  # fmt: skip


def _by_question(kind: _Kind, name: str, names: Sequence[str]) -> Any:
    """Counts of one marker by question and tenth of the text."""
    place = {question: at for at, question in enumerate(names)}
    total = np.zeros((len(names), PARTS))
    for question, one in zip(kind.questions, kind.parts, strict=True):
        total[place[question]] += one[name]
    return total


def _thousand(counts: Any, sizes: Any, confidence: float) -> Interval | None:
    return clustered.ratio(1000 * counts, sizes, confidence, (0.0, float("inf")))


def _triple(interval: Interval | None) -> list[float | None] | None:
    return None if interval is None else [interval.estimate, interval.low, interval.high]


def find_tables(folder: Path, predictions: Path | None = None) -> list[Table]:
    """The tables of scores in a run or any part of it, with their predictions; or the one that ``folder`` is.

    Where several graders read the same outputs, the first by name counts, so that no output is counted twice.

    Raises:
        DataError: there are none.
    """
    if (folder / MANIFEST).is_file():
        stage = read_manifest(folder).stage
        if not stage.startswith("score/"):
            raise DataError(
                f"{folder} holds no scores but the result of {stage.split('/')[0]}", "long1k score it first"
            )
        return [(folder, graded_predictions(folder, predictions or _beside(folder)))]
    found: dict[str, Path] = {}
    for path in sorted(folder.rglob(MANIFEST)):
        made = read_manifest(path.parent)
        if made.stage.startswith("score/"):
            found.setdefault(made.inputs["predictions"], path.parent)
    if not found:
        raise DataError(f"{folder} holds no scores", "give a run, an arm's folder in it, or a folder made by score")
    return [(scores, _beside(scores)) for scores in found.values()]


def _beside(scores: Path) -> Path | None:
    """The predictions of scores in a run, wherever it lies now: score/B/G -> predict/B, published/N/score -> beside."""
    near = (scores.parent / "predictions", scores.parent.parent.parent / "predict" / scores.parent.name)
    wanted = read_manifest(scores).inputs.get("predictions")
    return next((one for one in near if (one / MANIFEST).is_file() and read_manifest(one).digest == wanted), None)
