"""Sample logs of lm-evaluation-harness (samples_TASK_DATE.jsonl of --log_samples), as of version 0.4.13.

A row holds all repeats of a question: doc, doc_id, target, arguments, resps, filtered_resps, filter, metrics, one
key a metric, and hashes.  A task with several filters writes each question once a filter, with the same outputs.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from long1k.interop.outcomes import (
    PROVENANCE,
    About,
    ForeignRow,
    Outcome,
    Scored,
    as_label,
    bad_row,
    json_text,
    provenance_of,
    task_of,
)
from long1k.interop.streams import read_objects
from long1k.jsonlines import BadRow, field_name

_METRICS = ("exact_match", "acc", "math_verify", "pass@1")


class LmEval:
    """One JSON object a question and filter."""

    name: ClassVar[str] = "lm-eval"
    options: ClassVar[tuple[str, ...]] = ("filter", "metric", "question", "answer", "task", "model")
    carries: ClassVar[bool] = True
    by_question: ClassVar[bool] = True

    def __init__(self, options: Mapping[str, str]) -> None:
        self._options = dict(options)

    @staticmethod
    def looks_like(head: bytes, path: Path) -> bool:
        """Whether resps and filtered_resps stand in the beginning, or (of a long first row) the name says it."""
        return head.lstrip()[:1] == b"{" and (
            (b'"resps"' in head and b'"arguments"' in head)
            or head.lstrip().startswith(b'{"doc_id"')
            or (path.name.startswith("samples_") and b'"doc_id"' in head and b'"doc"' in head)
        )

    def read(self, path: Path) -> Iterator[ForeignRow | BadRow]:
        """One row a question, all its repeats; rows of other filters than the first (or chosen) are rejected."""
        wanted, task = self._options.get("filter"), self._options.get("task") or task_of(path)
        for key, row in read_objects(path):
            if isinstance(row, BadRow):
                yield row
                continue
            filter_name = row.get("filter")
            wanted = wanted if wanted is not None or filter_name is None else str(filter_name)
            if wanted is not None and filter_name not in (None, wanted):
                why = f"filter {filter_name!r}; taken: {wanted!r} (the outputs are the same; --option filter=NAME)"
                yield bad_row(key, "other_filter", why, row)
                continue
            yield self._row(key, row, task)

    def _row(self, key: str, row: dict[str, Any], task: str | None) -> ForeignRow | BadRow:
        texts = _texts(row.get("resps"))
        if texts is None:
            return bad_row(key, "not_generated", "resps is no list of texts (log-likelihoods, say)", row)
        question, answer = self._question(row), self._answer(row)
        if question is None or answer is None:
            missing = "question" if question is None else "answer"
            why = f"no text for the {missing}: name the doc's field with --option {missing}=NAME"
            return bad_row(key, "missing_field", why, row)
        label, judged = self._label(row), _judged(row, texts)
        carried = row.get(PROVENANCE)
        provenance = carried if isinstance(carried, list) and len(carried) == len(texts) else [None] * len(texts)
        outcomes = tuple(
            Outcome(
                question, (answer,), text, sample=number, label=label if number == judged else None,
                benchmark=task, group=self._options.get("model"), engine="lm-eval",
                provenance=provenance[number] if isinstance(provenance[number], str) else None,
            )
            for number, text in enumerate(texts)
        )  # fmt: skip
        return ForeignRow(key, outcomes, {**row, "resps": None})

    def _question(self, row: Mapping[str, Any]) -> str | None:
        """The doc's question, else the prompt that was sent."""
        doc = row.get("doc")
        if isinstance(doc, Mapping):
            chosen = {"question": self._options["question"]} if "question" in self._options else {}
            value = doc.get(field_name("question", doc, chosen))
            if isinstance(value, str) and value:
                return value
        sent = row.get("arguments")
        first: Any = None
        if isinstance(sent, Mapping) and isinstance(sent.get("gen_args_0"), Mapping):
            first = sent["gen_args_0"].get("arg_0")
        elif isinstance(sent, list) and sent and isinstance(sent[0], list) and sent[0]:  # before 0.4.3
            first = sent[0][0]
        return first if isinstance(first, str) and first and "question" not in self._options else None

    def _answer(self, row: Mapping[str, Any]) -> str | None:
        """The target, or the field that was named; of a worked solution what stands behind ####."""
        doc, value = row.get("doc"), row.get("target")
        if "answer" in self._options:
            value = doc.get(self._options["answer"]) if isinstance(doc, Mapping) else None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        text = str(value)
        return (text.rpartition("####")[2] if "####" in text else text).strip() or None

    def _label(self, row: Mapping[str, Any]) -> bool | None:
        if "metric" in self._options:
            return as_label(row.get(self._options["metric"]))
        listed = row.get("metrics")
        names = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        names = [name for name in _METRICS if name in row] or names
        return as_label(row.get(names[0])) if names else None

    def row(
        self, group: Sequence[Scored], number: int, about: About, values: dict[str, Any] | None
    ) -> dict[str, Any] | BadRow:
        """The object of a question; exact_match is the share of right samples."""
        texts = [one.row.text for one in group]
        verdicts = [one.correct for one in group]
        known = [verdict for verdict in verdicts if verdict is not None]
        share = sum(known) / len(known) if known else None
        if values is not None:
            extra = {f"long1k_{group[0].scores[0].grader}": share} if group[0].scores and share is not None else {}
            return {**values, "resps": [texts], **extra}
        row = group[0].row
        target = "\n".join(row.answers)
        doc = {"question": row.question, "answer": target}
        answer = group[0].scores[0].extracted if len(row.answers) == 1 and group[0].scores else None
        made: dict[str, Any] = {
            "doc_id": number, "doc": doc, "target": target,
            "arguments": {"gen_args_0": {"arg_0": row.question, "arg_1": _generation(about)}},
            "resps": [texts], "filtered_resps": [answer if answer is not None else texts[0]], "filter": "none",
            "metrics": [] if share is None else ["exact_match"],
            "doc_hash": _hash(json.dumps(doc, indent=2, ensure_ascii=False)), "prompt_hash": _hash(row.question),
            "target_hash": _hash(target), **({} if share is None else {"exact_match": share}),
        }  # fmt: skip
        if about.provenance:
            made[PROVENANCE] = [provenance_of(one) for one in group]
        return made

    def write(self, folder: Path, stem: str, rows: Iterator[dict[str, Any]], about: About) -> list[Path]:
        """samples_STEM_DATE.jsonl, as the harness names it."""
        path = folder / f"samples_{stem}_{about.created.removesuffix('Z').replace(':', '-')}.jsonl"
        with path.open("w", encoding="utf-8", newline="\n") as handle:
            for row in rows:
                handle.write(json_text(row) + "\n")
        return [path]


def _texts(resps: Any) -> list[str] | None:
    """All repeats of the one request of a generation task."""
    if isinstance(resps, list) and len(resps) == 1:
        held = resps[0] if isinstance(resps[0], list) else resps
        if held and all(isinstance(one, str) for one in held):
            return list(held)
    return None


def _judged(row: Mapping[str, Any], texts: Sequence[str]) -> int | None:
    """Which output the metrics are about: the only one, or the first where the filter takes the first."""
    filtered = row.get("filtered_resps")
    kept = filtered[0] if isinstance(filtered, list) and filtered else None
    kept = kept[0] if isinstance(kept, list) and len(kept) == 1 else kept
    return 0 if len(texts) == 1 or (kept == texts[0] and texts.count(texts[0]) == 1) else None


def _generation(about: About) -> dict[str, Any]:
    kept = {"max_new_tokens": "max_gen_toks", "temperature": "temperature", "top_p": "top_p"}
    return {theirs: about.sampling[ours] for ours, theirs in kept.items() if ours in about.sampling}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
