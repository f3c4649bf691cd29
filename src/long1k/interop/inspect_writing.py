"""A log of inspect_ai is written: its samples one by one, the viewer's list of them, and the header."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from long1k import __version__
from long1k.interop.inspect_reading import MOST, question_of
from long1k.interop.outcomes import PROVENANCE, About, Scored, json_text
from long1k.rows import content_id

_NUMBERS = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0}
_CUT = 1000  # of inputs and answers in summaries, which the viewer's list shows


def write_log(folder: Path, stem: str, rows: Iterator[dict[str, Any]], about: About, kind: str) -> Path:
    """DATE_TASK_ID.eval, or .json of the kind "json"; sample by sample."""
    log_id = content_id("l", about.benchmark, about.arm, about.created).removeprefix("l-")
    date = about.created.replace("Z", "+00:00").replace(":", "-").replace("+", "-")
    task = re.sub(r"[^\w.]+", "-", stem)
    path = folder / f"{date}_{task.replace('_', '-')}_{log_id}.{'json' if kind == 'json' else 'eval'}"
    tally = _Tally()
    start = spec_of(about, log_id)
    if kind == "json":
        _write_json(path, rows, start, about, tally)
        return path
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:

        def add(name: str, value: Any) -> None:
            # A fixed date: equal content, equal bytes.
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, json_text(value))

        add("_journal/start.json", start)
        for row in _distinct(rows):
            tally.add(row)
            add(_member(row), row)
        add("summaries.json", tally.summaries)
        add("header.json", tally.header(start, about))
    return path


def scores_of(one: Scored) -> dict[str, Any]:
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
    return re.sub(r"[^\w.-]", "_", str(name))[:100]


def _member(row: Mapping[str, Any]) -> str:
    return f"samples/{_plain(row.get('id'))}_epoch_{_plain(row.get('epoch'))}.json"


def _distinct(rows: Iterator[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The samples, each with a name of its own: of two with one id and epoch the later one gets the next epoch."""
    used: dict[str, int] = {}
    names: set[str] = set()
    for row in rows:
        made, name = row, _member(row)
        while name in names:
            used[_member(row)] = used.get(_member(row), _epoch(row)) + 1
            made = {**row, "epoch": used[_member(row)]}
            name = _member(made)
        names.add(name)
        yield made


def _epoch(row: Mapping[str, Any]) -> int:
    epoch = row.get("epoch")
    return epoch if isinstance(epoch, int) and 0 < epoch < MOST else 1


def _object(value: Any) -> dict[str, Any]:
    """A value of a foreign row that should be an object; anything else counts as empty."""
    return value if isinstance(value, dict) else {}


class _Tally:
    """What the header and the viewer's list say of all samples."""

    def __init__(self) -> None:
        self.summaries: list[dict[str, Any]] = []
        self.ids: dict[str, Any] = {}
        self.usage: dict[str, dict[str, int]] = {}
        self.values: dict[str, dict[str, list[float]]] = {}
        self.epochs = 1

    def add(self, row: Mapping[str, Any]) -> None:
        """Count one sample."""
        kept = ("id", "epoch", "target", "choices", "scores", "model_usage", "uuid")
        shown, messages = question_of(row.get("input"), {}), row.get("messages")
        # Chosen names, not all: what is carried for ourselves has no place in a list.
        metadata = {k: v for k, v in _object(row.get("metadata")).items() if k != PROVENANCE and isinstance(v, str)}
        self.summaries.append(
            {**{name: row[name] for name in kept if name in row}, "input": shown[:_CUT], "metadata": metadata,
             "completed": True, "message_count": len(messages) if isinstance(messages, list) else 0}
        )  # fmt: skip
        key = json.dumps(row.get("id"))
        self.ids[key] = row.get("id")
        self.epochs = max(self.epochs, _epoch(row))
        for model, usage in _object(row.get("model_usage")).items():
            total = self.usage.setdefault(model, {})
            for name, count in _object(usage).items():
                if isinstance(count, int):
                    total[name] = total.get(name, 0) + count
        for name, score in _object(row.get("scores")).items():
            value = _object(score).get("value")
            value = _NUMBERS.get(value) if isinstance(value, str) else value
            if isinstance(value, int | float) and abs(value) < MOST:
                self.values.setdefault(name, {}).setdefault(key, []).append(float(value))

    def header(self, start: Mapping[str, Any], about: About) -> dict[str, Any]:
        """The whole log but its samples: accuracy is the mean over questions of the mean over their samples."""
        count = len(self.summaries)
        scores = []
        for name, by_id in self.values.items():
            means = [sum(values) / len(values) for values in by_id.values()]
            accuracy = {"name": "accuracy", "value": sum(means) / len(means), "params": {}}
            scores.append(
                {"name": name, "scorer": name, "params": {}, "scored_samples": len(means),
                 "unscored_samples": len(self.ids) - len(means), "metrics": {"accuracy": accuracy}}
            )  # fmt: skip
        ids = list(self.ids.values())
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


def spec_of(about: About, log_id: str) -> dict[str, Any]:
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
        for number, row in enumerate(_distinct(rows)):
            tally.add(row)
            handle.write((",\n" if number else "\n") + json_text(row))
    with path.open("w", encoding="utf-8", newline="\n") as handle, samples.open(encoding="utf-8", newline="") as held:
        handle.write(json_text(tally.header(start, about))[:-1] + ', "samples": [')
        shutil.copyfileobj(held, handle)
        handle.write("\n]}\n")
    samples.unlink()
