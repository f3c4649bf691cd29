"""score: Predictions -> Scores.  Grades what is there; nothing is generated but a judge's verdicts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from long1k.chat import Chat
from long1k.errors import RecipeError
from long1k.generation.asking import Conversation, ask_engine
from long1k.generation.base import Engine, Sampling
from long1k.grading import AUTO, GRADERS, JUDGES, grader_for
from long1k.grading.base import cases_of, grade_with, load_grader
from long1k.grading.replies import AskStarter, Query, Told
from long1k.plugins import validate
from long1k.progress import progress
from long1k.rows import STATUSES, Message, Prediction, Score
from long1k.scored import ENDS, end_of
from long1k.tables import Manifest, TableWriter, fingerprint, is_current, iter_columns, read_manifest

STAGE = "score/2"
JUDGEMENTS = "judgements.jsonl"
CHUNK_PREDICTIONS = 1024
"""Predictions that are graded together, and whose scores make one part of the table."""
_NEEDED = ("prediction_id", "question", "answers", "text", "answer_text", "finish_reason")


@dataclass(frozen=True)
class JudgeSetup:
    """What a judge needs beside the predictions.

    ``engine`` is what of the asked engine can change a verdict; ``start`` reaches it, at the first question that
    is not answered in ``cache`` yet (default: a file beside the scores).
    """

    engine: Mapping[str, Any]
    start: AskStarter
    options: Mapping[str, Any] = field(default_factory=dict)
    cache: Path | None = None


def score(
    out: Path,
    predictions: Path,
    *,
    grader_name: str = AUTO,
    num_workers: int = 1,
    judge: JudgeSetup | None = None,
) -> Manifest:
    """Grade every part of every prediction; a finished table is left alone, finished parts of one are kept.

    The predictions are read in pieces of ``CHUNK_PREDICTIONS``, so that memory does not grow with the table. The
    verdict on an answer depends on nothing but the answer, its gold and the grader.

    Args:
        grader_name: of GRADERS or JUDGES, ``module:Class``, or ``auto``: the one that the benchmark names in the
            predictions' manifest (``math`` where it names none).
        num_workers: processes that compare answers.
        judge: of a judge: whom to ask.

    Raises:
        RecipeError: an unknown grader, or a judge without an engine to ask.
    """
    source = read_manifest(predictions)
    name = grader_for(grader_name, source.info)
    factory = load_grader(name, {**GRADERS, **JUDGES})
    settings: dict[str, Any] = {"grader": name, "version": factory.version}
    if name in JUDGES or hasattr(factory, "Config"):
        if judge is None:
            raise RecipeError(f"the grader '{name}' asks a model", "say which: --judge-engine and --judge-model")
        config = validate(factory.Config, dict(judge.options), f"judge ({name})")
        settings |= {"judge": config.model_dump(mode="json"), "engine": dict(judge.engine)}
    elif judge is not None:
        raise RecipeError(f"the grader '{name}' asks no model", "leave out --judge-engine, or take --grader judge")
    inputs = {"predictions": source.digest}
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    writer = TableWriter(out, Score, stage=STAGE, config=settings, inputs=inputs)
    if judge is not None:
        grader = factory(config, judge.start, judge.cache or out / JUDGEMENTS, judge.engine)
    else:
        grader = factory(num_workers=num_workers)
    num_parts = 0
    try:
        with progress(f"score {out.name}", source.rows_out) as step:
            for number, rows in enumerate(_chunks(predictions)):
                if not writer.has_part(number):
                    cases = [case for row in rows for case in cases_of(row)]
                    grades = grade_with(grader, cases)
                    scores = [
                        Score(
                            case.prediction_id, case.part, name, factory.version, grade.status,
                            None if grade.extracted is None else grade.extracted.value,
                            None if grade.extracted is None else (grade.extracted.start, grade.extracted.end),
                            grade.note or None,
                        )
                        for case, grade in zip(cases, grades, strict=True)
                    ]  # fmt: skip
                    writer.write_part(number, scores, rows_in=len(cases))
                num_parts = number + 1
                step(len(rows))
    finally:
        grader.close()
    return writer.commit(num_parts, _info(out, num_parts, predictions, source, name))


class EngineAsker:
    """An engine as somebody who can be asked (see ``grading.replies.Asker``)."""

    def __init__(self, engine: Engine, chat: Chat) -> None:
        self._engine, self._chat = engine, chat

    def ask(self, queries: Sequence[Query], told: Told) -> None:
        """Answer every query; those that are drawn alike go to the engine together."""
        groups: dict[tuple[float, float, int], list[int]] = {}
        for number, query in enumerate(queries):
            groups.setdefault((query.temperature, query.top_p, query.max_tokens), []).append(number)
        for (temperature, top_p, max_tokens), numbers in groups.items():
            sampling = Sampling(max_new_tokens=max_tokens, temperature=temperature, top_p=top_p)
            asked = [Conversation(self._tame(queries[number].messages), queries[number].seed) for number in numbers]

            def one(index: int, reply: str | None, numbers: list[int] = numbers) -> None:
                told(numbers[index], reply)

            ask_engine(self._engine, self._chat, asked, sampling, one)

    def _tame(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Messages in which no text is a control token of the judge's: an answer must not end its turn, or open one."""
        specials = [token for token in self._chat.tokenizer.special_tokens if len(token) > 1]

        def plain(text: str) -> str:
            for token in sorted(specials, key=len, reverse=True):
                text = text.replace(token, f"{token[0]} {token[1:]}")
            return text

        return tuple(replace(message, content=plain(message.content)) for message in messages)

    def close(self) -> None:
        """End the engine."""
        self._engine.close()


def _chunks(predictions: Path) -> Iterator[list[dict[str, Any]]]:
    """Predictions in pieces that depend on their order alone, not on how they lie in files."""
    waiting: list[dict[str, Any]] = []
    for row in iter_columns(predictions, Prediction, _NEEDED):
        waiting.append(row)
        if len(waiting) == CHUNK_PREDICTIONS:
            yield waiting
            waiting = []
    if waiting:
        yield waiting


def _info(out: Path, num_parts: int, predictions: Path, source: Manifest, grader: str) -> dict[str, Any]:
    """The account of a table of scores: by status, on finished and on cut outputs, against labels."""
    statuses: Counter[str] = Counter()
    ends: dict[str, list[int]] = {name: [0, 0] for name in ENDS}
    labelled = agreed = 0
    scores = _written(out, num_parts)
    columns = ("prediction_id", "answers", "finish_reason", "label")
    for row in iter_columns(predictions, Prediction, columns, 4096):
        for _ in row["answers"]:
            one = next(scores)
            assert one["prediction_id"] == row["prediction_id"]
            statuses[one["status"]] += 1
            end = ends[end_of(row["finish_reason"])]
            end[0] += one["status"] == "correct"
            end[1] += 1
            # A failed grade is no verdict, and a label speaks of a whole output.
            if row["label"] is not None and len(row["answers"]) == 1 and one["status"] not in ("error", "timeout"):
                labelled += 1
                agreed += (one["status"] == "correct") == row["label"]
    info: dict[str, Any] = {
        "grader": grader, "predictions": source.rows_out, "predictions_folder": str(predictions.resolve()),
        "statuses": {name: statuses[name] for name in STATUSES if statuses[name]},
        "ends": {name: {"correct": right, "of": total} for name, (right, total) in ends.items()},
    }  # fmt: skip
    if labelled:
        info |= {"labelled": labelled, "label_agreement": agreed / labelled}
    return info


def _written(out: Path, num_parts: int) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet as pq

    for number in range(num_parts):
        table = pq.read_table(out / f"part-{number:05d}.parquet", columns=["prediction_id", "status"])
        yield from table.to_pylist()
