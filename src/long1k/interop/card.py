"""README.md of a table or an export: a dataset card that says what it is, how it was made, and its limits.

The card is no part of a table's digest or file list: it can be written, or written again, at any time.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from long1k import __version__
from long1k.errors import DataError
from long1k.interop.export import REJECTED
from long1k.interop.export_config import ExportConfig, row_schema
from long1k.interop.facts import UNKNOWN, data_files, table_facts, unknown_licenses, without_paths
from long1k.rows import Example, Trace
from long1k.tables import Manifest, digest_json, read_manifest, write_atomic

CARD = "README.md"
# Identifiers of the Hugging Face hub for licences that sources name in other ways.
_HUB_LICENSES = {
    "apache-2.0": "apache-2.0", "apache 2.0": "apache-2.0", "apache license 2.0": "apache-2.0", "mit": "mit",
    "mit license": "mit", "cc-by-4.0": "cc-by-4.0", "cc by 4.0": "cc-by-4.0", "cc-by-sa-4.0": "cc-by-sa-4.0",
    "cc-by-nc-4.0": "cc-by-nc-4.0", "cc0-1.0": "cc0-1.0", "cc0": "cc0-1.0", "bsd-3-clause": "bsd-3-clause",
    "odc-by": "odc-by", "gpl-3.0": "gpl-3.0",
}  # fmt: skip
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
_NOTES = {
    "parquet": "every field of every sample",
    "jsonl": "every field of every sample",
    "prompt-completion": "TRL's conversational prompt and completion. TRL also trains the line feed after a turn's end "
    "token; in samples of several turns it trains the later questions too, unless `assistant_only_loss=True`",
    "messages": "one list of messages; every assistant turn is to be trained (TRL: `assistant_only_loss=True`)",
    "sharegpt": "ShareGPT turns (human, gpt) with the system text in a column of its own",
    "alpaca": "Alpaca rows; `input` is empty, earlier turns stand in `history`",
    "llamafactory": "ShareGPT turns in `samples/`, with `dataset_info.json` and `train.yaml` for LLaMA-Factory",
    "tokenized": "token ids, and labels with -100 where no loss is taken, as long1k's own trainer has them; where rows "
    "hold two conversations, `lengths` says how long each is and `position_ids` begin again at 0: neither may see the "
    "other",
}


def write_card(
    folder: Path, manifest: Manifest, row_type: type, *, pool: Path | None = None, language: str = "en"
) -> Path:
    """Write README.md into a finished table or export; a card that is up to date is left alone.

    Args:
        row_type: Trace or Example.
        pool: the trace pool that samples were made of; it names teachers and the check against benchmarks.
        language: language code of the texts; it cannot be found from the table.

    Raises:
        DataError: ``pool`` is no trace pool, or another than the one that the samples name.
    """
    path = folder / CARD
    origin = _origin(manifest, pool)
    decided = [manifest.digest, manifest.fingerprint, language, origin.get("manifest", {}).get("digest")]
    mark = f"<!-- long1k card {digest_json(decided)[:32]} -->"
    if path.is_file() and mark in path.read_text(encoding="utf-8", errors="replace"):
        return path
    facts = manifest.info.get("facts") or table_facts(folder, manifest, row_type)
    head = yaml.safe_dump(_head(folder, manifest, facts, row_type, language), sort_keys=False, allow_unicode=True)
    body = "\n".join(_body(folder, manifest, facts, row_type, origin))
    write_atomic(path, f"---\n{head}---\n\n{mark}\n\n{body}\n".encode())
    return path


def row_type_of(manifest: Manifest) -> type | None:
    """The row type that a stage makes, if a card can be written for it."""
    kinds: dict[str, type] = {
        "collect": Trace, "synthesize": Example, "export": Example, "import-samples": Example,
    }  # fmt: skip
    return kinds.get(manifest.stage.split("/")[0])


def hub_license(licenses: Mapping[str, int]) -> str:
    """The hub's identifier if all rows have one licence that it knows; else ``other``, or ``unknown``."""
    found = {_HUB_LICENSES.get(name.strip().lower(), "other") for name in licenses}
    if unknown_licenses(licenses):
        return "unknown" if len(licenses) == 1 else "other"
    return found.pop() if len(found) == 1 else "other"


def _origin(manifest: Manifest, pool: Path | None) -> dict[str, Any]:
    """Teachers and what was left out before: of this table, of the given pool, or unknown."""
    if manifest.stage.startswith("collect/"):
        return {"manifest": manifest.__dict__}
    if pool is None:
        return {}
    source = read_manifest(pool)
    if row_type_of(source) is not Trace:
        raise DataError(f"{pool} is no trace pool but the result of {source.stage.split('/')[0]}", "give --pool FOLDER")
    made_of = manifest.inputs.get("pool") or manifest.info.get("source", {}).get("inputs", {}).get("pool")
    if made_of not in (None, source.digest):
        raise DataError(
            f"the samples were made from another pool than {pool} (the digests differ)", "give the pool they came from"
        )
    return {"manifest": source.__dict__, "pool": pool}


def _head(folder: Path, manifest: Manifest, facts: Mapping[str, Any], row_type: type, language: str) -> dict[str, Any]:
    name = hub_license(facts["licenses"])
    head: dict[str, Any] = {"license": name}
    if name == "other":
        named = list(facts["licenses"])
        head |= {"license_name": named[0] if len(named) == 1 else "several", "license_details": ", ".join(named)}
    head["language"] = [language]
    size = next((label for limit, label in _SIZES if facts["rows"] < limit), "n>1M")
    head["task_categories"] = ["text-generation"] if row_type is Example else ["text-generation", "question-answering"]
    head |= {"tags": ["reasoning", "long-chain-of-thought", "sft", "synthetic", "long1k"], "size_categories": [size]}
    first = Path(data_files(manifest)[0])
    pattern = (first.parent / re.sub(r"-\d+.*", f"-*{first.suffix}", first.name)).as_posix()
    configs: list[dict[str, Any]] = [
        {"config_name": "default", "default": True, "data_files": [{"split": "train", "path": pattern}]}
    ]
    if manifest.rejected and REJECTED in manifest.files:
        configs.append({"config_name": "rejected", "data_files": [{"split": "train", "path": REJECTED}]})
    head["configs"] = configs
    if first.suffix == ".jsonl":
        head["dataset_info"] = {"features": _features(row_schema(ExportConfig(**manifest.config["export"])))}
    return head


def _features(schema: pa.Schema) -> list[dict[str, Any]]:
    """Column types as the hub writes them, so that a reader need not guess them from the first rows."""

    def listed(kind: pa.DataType) -> Any:
        """What stands under ``list``: a type's name, the fields of a struct, or a list in it."""
        if pa.types.is_struct(kind):
            return [{"name": one.name, "dtype": str(one.type)} for one in kind]
        return {"list": listed(kind.value_type)} if pa.types.is_list(kind) else str(kind)

    return [
        {"name": one.name, **(listed(one.type) if pa.types.is_list(one.type) else {"dtype": str(one.type)})}
        for one in schema
    ]


def _body(
    folder: Path, manifest: Manifest, facts: Mapping[str, Any], row_type: type, origin: Mapping[str, Any]
) -> Iterable[str]:
    kind = manifest.config.get("export", {}).get("format")
    what = (
        "solved problems (question, thinking, solution)" if row_type is Trace else "samples for supervised fine-tuning"
    )
    yield f"# {as_cell(folder.resolve().name)}\n"
    version = manifest.versions.get("long1k", __version__)
    yield f"{facts['rows']:,} {what}, {facts['tokens']:,} tokens, made with long1k {version}."
    if kind is not None:
        yield f"Format `{kind}`: {_NOTES[kind]}."
    yield "\n## Load it\n\n```python\nfrom datasets import load_dataset\n"
    yield f'rows = load_dataset("{folder.resolve().name}", split="train")   # a folder, or owner/name on the hub\n```'
    if row_type is Example and kind not in ("parquet", "jsonl", None):
        column = "the column `long1k`" if manifest.config["export"]["provenance"] else "nothing (it was left out)"
        yield f"\nWhere each sample comes from, and its labels' positions: {column}, as JSON."
    yield "\n## Lengths\n"
    yield from _lengths(facts, row_type)
    if row_type is Example:
        yield "\n## Balance\n"
        yield from counted("problems in a sample", "samples", facts["problems_a_row"])
        most = facts["most_uses_of_a_problem"]
        yield f"\n{facts['unique_problems']:,} different problems, one problem in at most {most:,} samples."
    yield "\n## Sources and licences\n"
    yield from counted("source", "traces", facts["sources"])
    yield ""
    yield from counted("licence", "traces", facts["licenses"])
    teachers = facts["teachers"]
    if "pool" in origin:
        teachers = table_facts(origin["pool"], read_manifest(origin["pool"]), Trace)["teachers"]
    yield ""
    if teachers:
        of = "this table" if facts["teachers"] else "the pool that the samples were drawn from"
        yield f"Teachers of {of}:\n"
        yield from counted("teacher", "traces", teachers)
    else:
        yield "Teachers are not recorded in this table; the trace pool that it was made of names them."
    yield "\n## How it was made\n"
    yield from _account(manifest)
    yield from _decontamination(manifest, origin)
    yield "\n```json"
    yield json.dumps(
        without_paths(_settings(manifest)), indent=1, ensure_ascii=False, sort_keys=True, default=str
    ).replace("```", "'''")
    yield "```"
    yield f"\nDigest of the content `{manifest.digest}`; made {manifest.created}; "
    yield "versions: " + ", ".join(f"{name} {version}" for name, version in manifest.versions.items()) + "."
    yield "\n## Limits\n"
    yield from (f"- {line}" for line in _limits(facts, manifest, row_type, bool(teachers)))


def _lengths(facts: Mapping[str, Any], row_type: type) -> Iterable[str]:
    exact = (
        "of the whole sample after the chat template" if row_type is Example else "of question, thinking and solution"
    )
    yield f"Tokens {exact}, in the tokenizer named below.\n"
    yield "| target | rows | min | 25 % | median | 75 % | max | mean |\n|---|---|---|---|---|---|---|---|"
    groups = facts["by_target"] if len(facts["by_target"]) > 1 else {}
    for name, one in (*groups.items(), ("all", facts["lengths"])):
        cells = (f"{one[key]:,}" for key in ("rows", "min", "p25", "median", "p75", "max", "mean") if key in one)
        yield f"| {name} | {' | '.join(cells)} |"
    if row_type is Example and facts["tokens"]:
        share = 100 * facts["supervised_tokens"] / facts["tokens"]
        yield f"\n{facts['supervised_tokens']:,} tokens ({share:.1f} %) carry loss."


def counted(name: str, unit: str, counts: Mapping[str, int], most: int = 30) -> Iterable[str]:
    """Counts as a Markdown table."""
    yield f"| {name} | {unit} |\n|---|---|"
    shown = list(counts.items())[:most]
    yield from (f"| {as_cell(key)} | {count:,} |" for key, count in shown)
    if len(counts) > most:
        yield f"| … {len(counts) - most:,} more | {sum(counts.values()) - sum(count for _, count in shown):,} |"


def as_cell(text: str) -> str:
    """A text of the data as one table cell: it may have been written by anyone."""
    flat = " ".join(str(text).split())[:120]
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", flat)


def _account(manifest: Manifest) -> Iterable[str]:
    rejected = sum(manifest.rejected.values())
    if manifest.rows_in == manifest.rows_out + rejected:
        yield f"{manifest.rows_in:,} rows in = {manifest.rows_out:,} out + {rejected:,} rejected.\n"
    else:
        yield f"{manifest.rows_out:,} rows out.\n"
    if manifest.rejected:
        yield from counted("reason", "rows", manifest.rejected)
        yield ""
    for name, key in (("Tokenizer", "tokenizer"), ("Chat template", "template")):
        found = _chat_of(manifest).get(key)
        if found:
            yield f"{name}, SHA-256: `{found}`  "


def _chat_of(manifest: Manifest) -> Mapping[str, Any]:
    found = manifest.config.get("chat") or manifest.info.get("source", {}).get("config", {}).get("chat")
    return found if isinstance(found, Mapping) else {}


def _decontamination(manifest: Manifest, origin: Mapping[str, Any]) -> Iterable[str]:
    source = origin.get("manifest")
    if source is None:
        yield "\nWhether benchmark questions were taken out is recorded with the trace pool, not here."
        return
    questions = source["info"].get("excluded_questions", 0)
    found = {reason: n for reason, n in source["rejected"].items() if "benchmark" in reason or "contamina" in reason}
    if not questions:
        yield "\nNot checked against any benchmark."
        return
    rows = ", ".join(f"{n:,} {as_cell(reason)}" for reason, n in found.items()) or "none"
    yield f"\nChecked against {questions:,} benchmark questions; traces taken out: {rows} (the pool has the evidence)."


def _settings(manifest: Manifest) -> dict[str, Any]:
    """The configuration; what was exported is shown with its own."""
    shown: dict[str, Any] = {"stage": manifest.stage, "config": manifest.config, "inputs": manifest.inputs}
    source = manifest.info.get("source")
    if source:
        shown["made from"] = {key: source[key] for key in ("stage", "config", "inputs")}
    return shown


def _limits(facts: Mapping[str, Any], manifest: Manifest, row_type: type, teachers: bool) -> Iterable[str]:
    yield "The reasoning was written by language models; it can be wrong even where the final answer is right."
    if row_type is Trace:
        checked = facts["modes"].get("correct", 0)
        yield f"{checked:,} of {facts['rows']:,} answers were compared with gold and agree."
    else:
        yield "Lengths hold for the tokenizer and chat template named above; another one counts differently."
        if facts["problems_a_row"].keys() - {"1"}:
            yield "Samples of several problems are joined from traces of single problems; no model wrote them whole."
    if facts["modes"].get("imported"):
        yield "Some samples were made elsewhere: their traces, answers and problems are not known."
    unknown = unknown_licenses(facts["licenses"])
    if unknown:
        yield f"The licence of {unknown:,} traces is {UNKNOWN}."
    if not teachers:
        yield "The models that wrote the reasoning are not named here; their terms may bind what it is used for."
