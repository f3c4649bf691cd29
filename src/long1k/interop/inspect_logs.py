"""Logs of inspect_ai: .eval archives and .json, log version 2, as read and written by inspect_ai 0.3.285.

A sample of a log is one output (one epoch of a question).  The log is written by us as documented JSON: inspect_ai
itself brings a whole framework along (object stores, a terminal interface, a debugger) for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from long1k.interop.inspect_reading import (
    MOST,
    content_of,
    count_of,
    finish_of,
    held_beside,
    question_of,
    samples_of,
    text_of,
)
from long1k.interop.inspect_writing import scores_of, write_log
from long1k.interop.outcomes import PROVENANCE, About, ForeignRow, Outcome, Scored, bad_row, joined, provenance_of
from long1k.jsonlines import BadRow
from long1k.rows import content_id
from long1k.thinking import SplitAnswer

_VERDICTS = {"C": True, "I": False, "N": False}


class InspectLogs:
    """One sample an output: reasoning apart from text, verdicts as scores, usage in tokens."""

    name: ClassVar[str] = "inspect"
    options: ClassVar[tuple[str, ...]] = ("scorer", "task", "model", "log")
    carries: ClassVar[bool] = True
    by_question: ClassVar[bool] = False

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)

    @staticmethod
    def looks_like(head: bytes, path: Path) -> bool:
        """Whether it is a zip archive called .eval, or JSON that begins with version, status and eval."""
        if head[:2] == b"PK":
            return path.suffix == ".eval"
        return head.lstrip()[:1] == b"{" and b'"eval"' in head and b'"status"' in head and b'"version"' in head

    # --- in -----------------------------------------------------------------------------------------------

    def read(self, path: Path) -> Iterator[ForeignRow | BadRow]:
        """Every sample; of an archive one in memory at a time."""
        header: dict[str, Any] = {}
        for key, sample, header in samples_of(path):
            yield sample if isinstance(sample, BadRow) else self._row(key, sample, header)

    def _row(self, key: str, sample: dict[str, Any], header: Mapping[str, Any]) -> ForeignRow | BadRow:
        spec = header.get("eval")
        spec = spec if isinstance(spec, dict) else {}
        attached = sample.get("attachments")
        attached = attached if isinstance(attached, dict) else {}
        question = question_of(sample.get("input"), attached)
        target = sample.get("target")
        golds = [one for one in (target if isinstance(target, list) else [target]) if isinstance(one, str) and one]
        output = sample.get("output")
        choices = output.get("choices") if isinstance(output, dict) else None
        if not question:
            return bad_row(key, "missing_field", "no text in 'input'", sample)
        if not golds:
            return bad_row(key, "missing_field", "no text in 'target'", sample)
        if not isinstance(choices, list) or not choices:
            error = sample.get("error")
            said = error.get("message") if isinstance(error, dict) else "output has no choices"
            return bad_row(key, "no_output", str(said), sample)
        assert isinstance(output, dict)
        metadata = sample.get("metadata")
        carried = metadata.get(PROVENANCE) if isinstance(metadata, dict) else None
        usage = output.get("usage")
        usage = usage if isinstance(usage, dict) and len(choices) == 1 else {}
        epoch = sample.get("epoch")
        number = epoch - 1 if isinstance(epoch, int) and 0 < epoch < MOST else 0
        # Of version 1: one verdict without a name.
        scores = sample.get("scores", {"score": sample["score"]} if "score" in sample else None)
        outcomes = []
        for at, choice in enumerate(choices):
            found = content_of(choice, attached)
            if found is None:
                return bad_row(key, "wrong_type", f"choice {at} has no message with a text", sample)
            thinking, text = found
            known = held_beside(carried, text, golds)
            outcomes.append(
                Outcome(
                    question, (golds[0],) if known is None else tuple(known["answers"]),
                    joined(thinking, text) if known is None else known["text"],
                    sample=number * len(choices) + at, label=self._label(scores) if at == 0 else None,
                    benchmark=self._options.get("task") or text_of(spec.get("task")),
                    group=self._options.get("model") or text_of(spec.get("model")),
                    finish_reason=finish_of(choice), split=None if thinking is None else SplitAnswer(thinking, text),
                    num_tokens=count_of(usage.get("output_tokens")), engine="inspect_ai",
                    num_thinking_tokens=count_of(usage.get("reasoning_tokens")),
                    provenance=None if known is None else text_of(known.get("provenance")),
                )
            )  # fmt: skip
        # Events repeat what messages and output say, many times over: they are not carried.
        values = {name: value for name, value in sample.items() if name not in ("events", "events_data", "timelines")}
        return ForeignRow(key, tuple(outcomes), values)

    def _label(self, scores: Any) -> bool | None:
        if not isinstance(scores, dict) or not scores:
            return None
        score = scores.get(self._options["scorer"]) if "scorer" in self._options else next(iter(scores.values()))
        value = score.get("value") if isinstance(score, dict) else None
        if isinstance(value, str):
            return _VERDICTS.get(value)
        return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None

    # --- out ----------------------------------------------------------------------------------------------

    def row(
        self, group: Sequence[Scored], number: int, about: About, values: dict[str, Any] | None
    ) -> dict[str, Any] | BadRow:
        """One sample of a log."""
        if values is not None:
            return {**values, "events": []}
        one, row = group[0], group[0].row
        content: Any = row.answer_text if row.answer_text is not None else ""
        if row.thinking is not None:
            content = [{"type": "reasoning", "reasoning": row.thinking}, {"type": "text", "text": content}]
        elif row.answer_text is None:
            content = row.text
        model = f"long1k/{about.model or about.arm}"
        asked = {"id": content_id("m", row.prediction_id, "q"), "role": "user", "content": row.question}
        said = {"id": content_id("m", row.prediction_id, "a"), "role": "assistant", "content": content, "model": model}
        stop = {"stop": "stop", "length": "max_tokens"}.get(row.finish_reason, "unknown")
        completion = content if isinstance(content, str) else content[1]["text"]
        usage = {
            "input_tokens": len(row.prompt_token_ids), "output_tokens": row.num_tokens or 0,
            "total_tokens": len(row.prompt_token_ids) + (row.num_tokens or 0),
            **({} if row.num_thinking_tokens is None else {"reasoning_tokens": row.num_thinking_tokens}),
        }  # fmt: skip
        metadata: dict[str, Any] = {
            "benchmark": row.benchmark, "arm": row.arm, "finish_reason": row.finish_reason,
            "budget_flag": row.budget_flag, "seed": row.seed, "engine": row.engine,
        }  # fmt: skip
        if one.scores and one.correct is None:  # a failed grade is no verdict
            metadata["grade"] = "; ".join(f"{score.status}: {score.note or ''}" for score in one.scores)
        if about.provenance:
            held = {"answers": row.answers, "text": row.text, "provenance": provenance_of(one)}
            metadata[PROVENANCE] = json.dumps(held, ensure_ascii=False)
        return {
            "id": row.problem_id, "epoch": row.sample_index + 1, "input": row.question,
            "target": row.answers[0] if len(row.answers) == 1 else list(row.answers),
            "messages": [asked, said],
            "output": {
                "model": model, "choices": [{"message": said, "stop_reason": stop}], "completion": completion,
                "usage": usage,
            },
            "scores": scores_of(one), "metadata": metadata, "store": {}, "events": [], "model_usage": {model: usage},
            "role_usage": {}, "attachments": {}, "uuid": row.prediction_id,
        }  # fmt: skip

    def write(self, folder: Path, stem: str, rows: Iterator[dict[str, Any]], about: About) -> list[Path]:
        """DATE_TASK_ID.eval (or .json with ``log=json``), as inspect_ai names its logs; sample by sample."""
        return [write_log(folder, stem, rows, about, self._options.get("log", "eval"))]
