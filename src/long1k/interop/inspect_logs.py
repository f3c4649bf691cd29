"""Logs of inspect_ai: .eval archives and .json, log version 2, as read and written by inspect_ai 0.3.285.

A sample of a log is one output (one epoch of a question).  The log is written by us as documented JSON: inspect_ai
itself brings a whole framework along (object stores, a terminal interface, a debugger) for it.
"""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from long1k import __version__
from long1k.chat import SplitAnswer
from long1k.errors import DataError
from long1k.interop.outcomes import PROVENANCE, About, ForeignRow, Outcome, Scored, bad_row, joined, provenance_of
from long1k.interop.streams import MAX_MEMBER_BYTES, Archive
from long1k.jsonlines import BadRow
from long1k.rows import content_id

_SAMPLE = re.compile(r"samples/.*\.json")
_VERDICTS = {"C": True, "I": False, "N": False}
_STOPS = {"max_tokens": "length", "model_length": "length"}
_CUT = 1000  # of inputs and answers in summaries, which the viewer's list shows


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
        for key, sample, header in _samples(path):
            yield sample if isinstance(sample, BadRow) else self._row(key, sample, header)

    def _row(self, key: str, sample: dict[str, Any], header: Mapping[str, Any]) -> ForeignRow | BadRow:
        spec = header.get("eval")
        spec = spec if isinstance(spec, dict) else {}
        attached = sample.get("attachments")
        attached = attached if isinstance(attached, dict) else {}
        question = _question(sample.get("input"), attached)
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
        number = epoch - 1 if isinstance(epoch, int) and epoch > 0 else 0
        outcomes = []
        for at, choice in enumerate(choices):
            found = _content(choice, attached)
            if found is None:
                return bad_row(key, "wrong_type", f"choice {at} has no message with a text", sample)
            thinking, text = found
            known = json_object(carried)
            outcomes.append(
                Outcome(
                    question, (golds[0],) if known is None else tuple(known.get("answers", golds)),
                    joined(thinking, text) if known is None else str(known.get("text", text)),
                    sample=number * len(choices) + at, label=self._label(sample.get("scores")) if at == 0 else None,
                    benchmark=self._options.get("task") or _text(spec.get("task")),
                    group=self._options.get("model") or _text(spec.get("model")),
                    finish_reason=_finish(choice), split=None if thinking is None else SplitAnswer(thinking, text),
                    num_tokens=_count(usage.get("output_tokens")), engine="inspect_ai",
                    num_thinking_tokens=_count(usage.get("reasoning_tokens")),
                    provenance=None if known is None else _text(known.get("provenance")),
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
            "scores": _scores(one), "metadata": metadata, "store": {}, "events": [], "model_usage": {model: usage},
            "role_usage": {}, "attachments": {}, "uuid": row.prediction_id,
        }  # fmt: skip

    def write(self, folder: Path, stem: str, rows: Iterator[dict[str, Any]], about: About) -> list[Path]:
        """DATE_TASK_ID.eval (or .json with ``log=json``), as inspect_ai names its logs; sample by sample."""
        log_id = content_id("l", about.benchmark, about.arm, about.created).removeprefix("l-")
        date = about.created.replace("Z", "+00:00").replace(":", "-").replace("+", "-")
        kind = self._options.get("log", "eval")
        task = re.sub(r"[^\w.]+", "-", stem)
        path = folder / f"{date}_{task.replace('_', '-')}_{log_id}.{'json' if kind == 'json' else 'eval'}"
        tally = _Tally()
        start = _spec(about, log_id)
        if kind == "json":
            _write_json(path, rows, start, about, tally)
            return [path]
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:

            def add(name: str, value: Any) -> None:
                # A fixed date: equal content, equal bytes.
                info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                info.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(info, json.dumps(value, ensure_ascii=False))

            add("_journal/start.json", start)
            for row in rows:
                tally.add(row)
                add(f"samples/{_plain(row['id'])}_epoch_{row['epoch']}.json", row)
            add("summaries.json", tally.summaries)
            add("header.json", tally.header(start, about))
        return [path]


def json_object(text: Any) -> dict[str, Any] | None:
    """The object that a text holds, if it is one."""
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _samples(path: Path) -> Iterator[tuple[str, dict[str, Any] | BadRow, dict[str, Any]]]:
    """(place, sample or bad row, header) of a log."""
    if path.suffix != ".eval":
        if path.stat().st_size > MAX_MEMBER_BYTES:
            raise DataError(
                f"{path} is a JSON log of more than {MAX_MEMBER_BYTES >> 20} MiB, which must be held whole",
                "convert it: inspect log convert --to eval --output-dir FOLDER FILE",
            )
        try:
            whole = json.loads(path.read_bytes())
            samples = whole.pop("samples", None) or []
        except (ValueError, RecursionError, AttributeError) as error:
            raise DataError(f"{path} is no whole log: {error}", "fetch the file again") from None
        for number, sample in enumerate(samples, 1):
            yield str(number), _object_of(str(number), sample), whole
        return
    archive = Archive(path)
    try:
        names = [name for name in dict.fromkeys(archive.names) if _SAMPLE.fullmatch(name)]
        try:
            head = "header.json" if "header.json" in archive.names else "_journal/start.json"
            header = json.loads(archive.read(head))
        except (KeyError, ValueError, RecursionError) as error:
            raise DataError(f"{path} is no log of inspect_ai: {error}", "fetch the file again") from None
        for name in names:
            try:
                sample = _object_of(name, json.loads(archive.read(name)))
            except (ValueError, RecursionError) as error:
                sample = bad_row(name, "malformed_json", str(error), {})
            yield name, sample, header if isinstance(header, dict) else {}
    finally:
        archive.close()


def _object_of(key: str, sample: Any) -> dict[str, Any] | BadRow:
    return sample if isinstance(sample, dict) else bad_row(key, "not_an_object", type(sample).__name__, sample)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _finish(choice: Mapping[str, Any]) -> str:
    said = _text(choice.get("stop_reason")) or "unknown"
    return _STOPS.get(said, said)


def _resolved(text: str, attached: Mapping[str, Any]) -> str:
    """A text, or the long one that the log keeps elsewhere in the sample."""
    found = attached.get(text.removeprefix("attachment://")) if text.startswith("attachment://") else None
    return found if isinstance(found, str) else text


def _pieces(content: Any, attached: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """(reasoning, text) of a message's content."""
    if isinstance(content, str):
        return [], [_resolved(content, attached)]
    thoughts, texts = [], []
    for piece in content if isinstance(content, list) else []:
        if isinstance(piece, dict) and isinstance(piece.get("reasoning"), str):
            thoughts.append(_resolved(piece["reasoning"], attached))
        elif isinstance(piece, dict) and isinstance(piece.get("text"), str):
            texts.append(_resolved(piece["text"], attached))
    return thoughts, texts


def _question(given: Any, attached: Mapping[str, Any]) -> str:
    """The input, or the last user message of it."""
    if isinstance(given, str):
        return _resolved(given, attached)
    users = (
        [one for one in given if isinstance(one, dict) and one.get("role") == "user"] if isinstance(given, list) else []
    )
    return "\n".join(_pieces(users[-1].get("content"), attached)[1]) if users else ""


def _content(choice: Any, attached: Mapping[str, Any]) -> tuple[str | None, str] | None:
    """(reasoning or None, text) of a choice."""
    message = choice.get("message") if isinstance(choice, dict) else None
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, str | list):
        return None
    thoughts, texts = _pieces(content, attached)
    return ("\n".join(thoughts) if thoughts else None), "\n".join(texts)


def _scores(one: Scored) -> dict[str, Any]:
    """C, I, N (no answer) or P (some parts right) under the grader's name; a failed grade is unscored."""
    made: dict[str, Any] = {}
    if one.scores and one.correct is not None:
        right = [score.status == "correct" for score in one.scores]
        statuses = [score.status for score in one.scores]
        value = "C" if all(right) else "P" if any(right) else "I"
        if set(statuses) <= {"no_answer", "truncated"}:
            value = "N"
        answers = [score.extracted or "" for score in one.scores]
        made[one.scores[0].grader] = {
            "value": value, "answer": "; ".join(answers),
            "explanation": "; ".join(score.status + (f": {score.note}" if score.note else "") for score in one.scores),
            "metadata": {"statuses": statuses, "grader_version": one.scores[0].grader_version},
        }  # fmt: skip
    if one.row.label is not None:
        made["label"] = {"value": "C" if one.row.label else "I"}
    return made


def _plain(name: Any) -> str:
    return re.sub(r"[^\w.-]", "_", str(name))


class _Tally:
    """What the header and the viewer's list say of all samples."""

    def __init__(self) -> None:
        self.summaries: list[dict[str, Any]] = []
        self.ids: list[Any] = []
        self.usage: dict[str, dict[str, int]] = {}
        self.values: dict[str, dict[Any, list[float]]] = {}
        self.epochs = 1

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one sample."""
        kept = ("id", "epoch", "target", "choices", "scores", "model_usage", "uuid")
        shown = row["input"] if isinstance(row["input"], str) else _question(row["input"], {})
        # Chosen names, not all: what is carried for ourselves has no place in a list.
        metadata = {k: v for k, v in (row.get("metadata") or {}).items() if k != PROVENANCE and isinstance(v, str)}
        self.summaries.append(
            {**{name: row[name] for name in kept if name in row}, "input": shown[:_CUT], "metadata": metadata,
             "completed": True, "message_count": len(row.get("messages") or [])}
        )  # fmt: skip
        self.ids.append(row["id"])
        self.epochs = max(self.epochs, row["epoch"])
        for model, usage in (row.get("model_usage") or {}).items():
            total = self.usage.setdefault(model, {})
            for name, count in usage.items():
                if isinstance(count, int):
                    total[name] = total.get(name, 0) + count
        for name, score in (row.get("scores") or {}).items():
            value = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}.get(score.get("value"), score.get("value"))
            if isinstance(value, int | float):
                self.values.setdefault(name, {}).setdefault(row["id"], []).append(float(value))

    def header(self, start: Mapping[str, Any], about: About) -> dict[str, Any]:
        """The whole log but its samples: accuracy is the mean over questions of the mean over their samples."""
        count = len(self.summaries)
        scores = []
        for name, by_id in self.values.items():
            means = [sum(values) / len(values) for values in by_id.values()]
            accuracy = {"name": "accuracy", "value": sum(means) / len(means), "params": {}}
            scores.append(
                {"name": name, "scorer": name, "params": {}, "scored_samples": len(means),
                 "unscored_samples": len(set(self.ids)) - len(means), "metrics": {"accuracy": accuracy}}
            )  # fmt: skip
        ids = list(dict.fromkeys(self.ids))
        dataset = {**start["eval"]["dataset"], "samples": len(ids), "sample_ids": ids}
        scorers = [{"name": name} for name in self.values]
        return {
            "version": start["version"], "status": "success",
            "eval": {**start["eval"], "dataset": dataset, "scorers": scorers, "config": {"epochs": self.epochs}},
            "plan": start["plan"],
            "results": {"total_samples": count, "completed_samples": count, "scores": scores},
            "stats": {"started_at": about.created, "completed_at": about.created, "model_usage": self.usage,
                      "role_usage": {}},
        }  # fmt: skip


def _spec(about: About, log_id: str) -> dict[str, Any]:
    """The head of a log: what was asked of whom."""
    known = ("temperature", "top_p", "top_k", "seed")
    config = {name: about.sampling[name] for name in known if name in about.sampling}
    if "max_new_tokens" in about.sampling:
        config["max_tokens"] = about.sampling["max_new_tokens"]
    eval_spec = {
        "eval_id": log_id, "run_id": log_id, "created": about.created, "task": about.benchmark, "task_id": log_id,
        "task_version": 0, "task_attribs": {}, "task_args": {}, "model": f"long1k/{about.model or about.arm}",
        "dataset": {"name": about.benchmark, "shuffled": False}, "model_generate_config": config, "model_args": {},
        "config": {"epochs": about.num_samples}, "packages": {"long1k": __version__},
        "metadata": {"arm": about.arm},
    }  # fmt: skip
    return {"version": 2, "eval": eval_spec, "plan": {"name": "plan", "steps": [], "config": config}}


def _write_json(
    path: Path, rows: Iterator[dict[str, Any]], start: dict[str, Any], about: About, tally: _Tally
) -> None:  # fmt: skip
    """One JSON document: readers look at its beginning, which is known when all samples are written."""
    samples = path.with_name(f".{path.name}.tmp")
    with samples.open("w", encoding="utf-8", newline="\n") as handle:
        for number, row in enumerate(rows):
            tally.add(row)
            handle.write((",\n" if number else "\n") + json.dumps(row, ensure_ascii=False))
    with path.open("w", encoding="utf-8", newline="\n") as handle, samples.open(encoding="utf-8", newline="") as held:
        handle.write(json.dumps(tally.header(start, about), ensure_ascii=False)[:-1] + ', "samples": [')
        shutil.copyfileobj(held, handle)
        handle.write("\n]}\n")
    samples.unlink()
