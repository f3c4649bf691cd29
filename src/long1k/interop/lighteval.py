"""Sample details of lighteval (details_TASK_DATE.parquet of --save-details).

since 0.10   doc, metric, model_response: structs (written as of 0.13.0)
before       example, full_prompt, gold, predictions, metrics …; up to 0.5 each of them as the text of a Python value
"""

from __future__ import annotations

import ast
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from long1k.errors import DataError
from long1k.interop.outcomes import (
    PROVENANCE,
    About,
    ForeignRow,
    Outcome,
    Scored,
    as_label,
    bad_row,
    joined,
    provenance_of,
    task_of,
)
from long1k.jsonlines import BadRow
from long1k.thinking import SplitAnswer

_BATCH_ROWS = 64
_MAX_LITERAL_CHARS = 4 << 20
_TEXTS, _IDS = pa.list_(pa.string()), pa.list_(pa.int64())


class Lighteval:
    """One Parquet row a question, with all its samples."""

    name: ClassVar[str] = "lighteval"
    options: ClassVar[tuple[str, ...]] = ("metric", "task", "model")
    carries: ClassVar[bool] = True
    by_question: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)
        self._task: str | None = None

    @staticmethod
    def looks_like(head: bytes, path: Path) -> bool:
        """Whether it is Parquet with columns of either shape."""
        if head[:4] != b"PAR1":
            return False
        try:
            names = set(pq.read_schema(path).names)
        except (OSError, pa.ArrowInvalid):
            return False
        return {"doc", "model_response"} <= names or {"predictions", "gold"} <= names

    def read(self, path: Path) -> Iterator[ForeignRow | BadRow]:
        """One row a question; row groups are read in small batches."""
        number, self._task = 0, self._options.get("task") or task_of(path)
        try:
            with pq.ParquetFile(path) as file:
                for batch in file.iter_batches(_BATCH_ROWS):
                    for row in _rows(batch):
                        number += 1
                        if isinstance(row, str):
                            yield bad_row(str(number), "invalid_utf8", row, {})
                        else:
                            read = self._new if "model_response" in row else self._old
                            yield read(str(number), row)
        except (OSError, pa.ArrowException) as error:
            raise DataError(f"{path} cannot be read after row {number:,}: {error}", "fetch the file again") from None

    def _new(self, key: str, row: dict[str, Any]) -> ForeignRow | BadRow:
        doc, response, metric = row["doc"], row["model_response"], row.get("metric")
        if not isinstance(doc, dict) or not isinstance(response, dict):
            return bad_row(key, "wrong_type", "doc and model_response must be structs", row)
        choices, gold = doc.get("choices") or [], doc.get("gold_index")
        indices = gold if isinstance(gold, list) else [gold]
        golds = [choices[at] for at in indices if isinstance(at, int) and 0 <= at < len(choices)]
        specific = doc.get("specific")
        carried: Any = specific.get(PROVENANCE) if isinstance(specific, dict) else None
        reasonings, ids = response.get("reasonings") or [], response.get("output_tokens") or []
        made = self._outcomes(
            key, row, doc.get("query"), golds, response.get("text"), metric, doc.get("task_name"),
            reasonings, ids, carried,
        )  # fmt: skip
        if isinstance(made, BadRow):
            return made
        return ForeignRow(key, made, {**row, "model_response": {**response, "text": None}})

    def _old(self, key: str, row: dict[str, Any]) -> ForeignRow | BadRow:
        values = {name: _literal(row.get(name)) for name in ("predictions", "gold", "metrics", "cont_tokens")}
        question = row.get("example") or row.get("full_prompt")
        golds = values["gold"] if isinstance(values["gold"], list) else [values["gold"]]
        made = self._outcomes(
            key, row, question, golds, values["predictions"], values["metrics"], None, [], values["cont_tokens"] or []
        )
        return made if isinstance(made, BadRow) else ForeignRow(key, made, {**row, "predictions": None})

    def _outcomes(
        self, key: str, row: Mapping[str, Any], question: Any, golds: Sequence[Any], texts: Any, metric: Any,
        task: Any, reasonings: Sequence[Any], ids: Sequence[Any], carried: Any = None,
    ) -> tuple[Outcome, ...] | BadRow:  # fmt: skip
        golds = [one for one in golds if isinstance(one, str | int | float) and str(one).strip()]
        if not isinstance(question, str) or not question:
            return bad_row(key, "missing_field", "no question (doc.query, example)", row)
        if not golds:
            return bad_row(key, "missing_field", "no gold answer (doc.choices at doc.gold_index, gold)", row)
        if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
            return bad_row(key, "not_generated", "no generated texts (log-likelihoods, say)", row)
        known = _json_list(carried, len(texts))
        answers = tuple(known["answers"]) if known else (str(golds[0]).strip(),)
        label = self._label(metric) if len(texts) == 1 else None
        made = []
        for number, text in enumerate(texts):
            thought = reasonings[number] if number < len(reasonings) else None
            apart = isinstance(thought, str) and thought not in text  # some servers hand it out apart
            drawn = ids[number] if number < len(ids) else None
            numbers = drawn if isinstance(drawn, list) and all(isinstance(one, int) for one in drawn) else []
            made.append(
                Outcome(
                    question, answers, joined(thought, text) if apart else text, sample=number, label=label,
                    benchmark=self._options.get("task") or (str(task) if task else self._task),
                    group=self._options.get("model"), split=SplitAnswer(thought, text) if apart else None,
                    token_ids=tuple(numbers), num_tokens=len(numbers) or None, engine="lighteval",
                    provenance=known["samples"][number] if known else None,
                )
            )  # fmt: skip
        return tuple(made)

    def _label(self, metric: Any) -> bool | None:
        if not isinstance(metric, dict):
            return None
        if "metric" in self._options:
            return as_label(metric.get(self._options["metric"]))
        return next((label for value in metric.values() if (label := as_label(value)) is not None), None)

    def row(
        self, group: Sequence[Scored], number: int, about: About, values: dict[str, Any] | None
    ) -> dict[str, Any] | BadRow:
        """A row of the present shape; a metric is the share of right samples."""
        verdicts = [verdict for one in group if (verdict := one.correct) is not None]
        share = sum(verdicts) / len(verdicts) if verdicts else None
        texts = [one.row.text for one in group]
        if values is not None:
            if "model_response" in values:
                return {**values, "model_response": {**values["model_response"], "text": texts}}
            listed = isinstance(values.get("cont_tokens"), list) or isinstance(values.get("gold"), list)
            return {**values, "predictions": texts if listed else str(texts)}
        row = group[0].row
        grader = group[0].scores[0].grader if group[0].scores else "label"
        golds = ["\n".join(row.answers)]
        specific = None
        if about.provenance:
            held = {"answers": row.answers, "samples": [provenance_of(one) for one in group]}
            specific = {PROVENANCE: json.dumps(held, ensure_ascii=False)}
        answers = [one.row.answer_text for one in group]
        doc = {
            "query": row.question, "choices": golds, "gold_index": [0], "instruction": None, "specific": specific,
            "original_query": row.question, "id": str(number), "task_name": about.benchmark, "fewshot_samples": [],
            "sampling_methods": ["GENERATIVE"], "generation_size": about.sampling.get("max_new_tokens"),
            "stop_sequences": [], "use_logits": False, "num_samples": len(group),
        }  # fmt: skip
        response = {
            "input": row.question, "input_tokens": list(row.prompt_token_ids), "text": texts,
            "output_tokens": [list(one.row.token_ids) for one in group],
            "text_post_processed": ["" if answer is None else answer for answer in answers],
            "reasonings": [one.row.thinking for one in group], "logprobs": [], "argmax_logits_eq_gold": [],
            "truncated_tokens_count": 0, "padded_tokens_count": 0,
        }  # fmt: skip
        return {"doc": doc, "metric": {grader: share}, "model_response": response}

    def write(self, folder: Path, stem: str, rows: Iterator[dict[str, Any]], about: About) -> list[Path]:
        """details_STEM_DATE.parquet, as lighteval names it."""
        path = folder / f"details_{stem}_{about.created.removesuffix('Z').replace(':', '-')}.parquet"
        # Of imported rows the types are known only when all were seen; those of our own are fixed.
        held = list(islice(rows, None if about.imported else _BATCH_ROWS))
        if not held:
            return []
        schema = pa.Table.from_pylist(held).schema if about.imported else _schema(held[0])
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            while held:
                writer.write_table(pa.Table.from_pylist(held, schema=schema))
                held = list(islice(rows, _BATCH_ROWS))
        return [path]


def _schema(row: Mapping[str, Any]) -> pa.Schema:
    """The columns of the present shape, their types told where a column of nulls would not tell them."""
    held = pa.Table.from_pylist([dict(row)]).schema
    known: dict[str, pa.DataType] = {
        "query": pa.string(), "choices": _TEXTS, "instruction": pa.string(), "original_query": pa.string(),
        "id": pa.string(), "task_name": pa.string(), "sampling_methods": _TEXTS, "stop_sequences": _TEXTS,
        "generation_size": pa.int64(), "use_logits": pa.bool_(), "num_samples": pa.int64(), "fewshot_samples": _TEXTS,
        "input": pa.string(), "input_tokens": _IDS, "text": _TEXTS, "output_tokens": pa.list_(_IDS),
        "text_post_processed": _TEXTS, "reasonings": _TEXTS, "logprobs": pa.list_(pa.float64()),
        "argmax_logits_eq_gold": pa.list_(pa.bool_()), "truncated_tokens_count": pa.int64(),
        "padded_tokens_count": pa.int64(),
    }  # fmt: skip

    def typed(field: pa.Field) -> pa.DataType:
        if field.name == "metric":
            return pa.struct([(one.name, pa.float64()) for one in field.type])
        return pa.struct([(one.name, known.get(one.name, one.type)) for one in field.type])

    return pa.schema([(field.name, typed(field)) for field in held])


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    try:
        yield from batch.to_pylist()
    except (ValueError, OverflowError):  # some cell of some row is no text
        for at in range(batch.num_rows):
            try:
                yield from batch.slice(at, 1).to_pylist()
            except (ValueError, OverflowError) as error:
                yield str(error)


def _literal(value: Any) -> Any:
    """A value, or what the text of a Python list or dictionary stands for: constants only, nothing is called."""
    if not isinstance(value, str) or value[:1] not in ("[", "{", "(") or len(value) > _MAX_LITERAL_CHARS:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return value


def _json_list(carried: Any, count: int) -> dict[str, Any] | None:
    """What an export of ours put beside the samples, if it is whole."""
    try:
        found = json.loads(carried) if isinstance(carried, str) else {}
    except (ValueError, RecursionError):
        return None
    samples, answers = (found.get("samples"), found.get("answers")) if isinstance(found, dict) else (None, None)
    if not isinstance(samples, list) or not isinstance(answers, list) or len(samples) != count or not answers:
        return None
    return found if all(isinstance(one, str) for one in (*samples, *answers)) else None
