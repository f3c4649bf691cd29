"""Samples made elsewhere (files or folders of them) as a table of samples, counted in the training tokenizer."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from long1k.chat import Chat
from long1k.errors import DataError, IncompleteError, Long1kError
from long1k.interop.formats import Refusal
from long1k.interop.formats_reading import Parsed, read_row, restore
from long1k.interop.tokenized import from_tokenized
from long1k.jsonlines import BadRow, read_json_lines, unstorable
from long1k.rows import Example, Reject, content_id
from long1k.tables import PART_ROWS, Manifest, TableWriter, file_digest, fingerprint, is_current, read_manifest

STAGE = "import-samples/1"
SUFFIXES = (".json", ".json.gz", ".jsonl", ".jsonl.gz", ".parquet")
_NO_DATA = ("manifest.json", "progress.json", "dataset_info.json", "dataset_infos.json", "findings.json", "recipe.json")
_OURS = re.compile(r"rejected(-\d+)?\.parquet|ds_\w+\.json")  # rejected rows of a table, settings of DeepSpeed
_BATCH_ROWS = 64
_LABEL = re.compile(r"^[ \t]*(?:[#]{1,6}[ \t]*)?(?:\*\*)?(?:problem|question)[ \t]*#?(\d{1,3})[ \t]*[:.)]", re.I | re.M)


def natural_key(path: Path) -> tuple[tuple[bool, int, str], ...]:
    """Sorts part 10 after part 2."""
    pieces = re.split(r"(\d+)", path.as_posix().lower())
    return tuple((piece.isdigit(), int(piece) if piece.isdigit() else 0, piece) for piece in pieces)


def data_paths(paths: Sequence[Path]) -> list[Path]:
    """The data files behind files and folders, folders in natural order (1, 2, …, 10).

    Raises:
        DataError: a path is not there, or a folder holds no data.
        IncompleteError: a folder of ours that was never finished.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_file():
            found.append(path)
            continue
        if not path.is_dir():
            raise DataError(f"there is no file {path}, nor a folder", "check the path")
        if (path / "progress.json").is_file() and not (path / "manifest.json").is_file():
            raise IncompleteError(f"{path} was never finished", "run the command that makes it again")
        inside = [
            one for one in path.rglob("*")
            if one.is_file() and one.name.lower().endswith(SUFFIXES) and not one.name.startswith(".")
            and one.name not in _NO_DATA and _OURS.fullmatch(one.name) is None
        ]  # fmt: skip
        if not inside:
            raise DataError(f"{path} holds no data files", f"known endings: {', '.join(SUFFIXES)}")
        found += sorted(inside, key=natural_key)
    return found


def read_rows(path: Path) -> Iterator[tuple[str, Mapping[str, Any] | BadRow]]:
    """(row number from 1, row or bad row) of JSON Lines, a JSON list or Parquet.

    Raises:
        DataError: the file cannot be read as a whole (a shard that was cut, say).
    """
    name = path.name.lower()
    if name.endswith((".jsonl", ".jsonl.gz")):
        for line, row in read_json_lines(path):
            yield str(line), row
        return
    try:
        if name.endswith(".parquet"):
            with pq.ParquetFile(path) as file:
                stream = (row for batch in file.iter_batches(_BATCH_ROWS) for row in batch.to_pylist())
                yield from ((str(number), row) for number, row in enumerate(stream, 1))
            return
        with gzip.open(path, "rb") if name.endswith(".gz") else path.open("rb") as handle:
            values = json.load(handle)
    except (OSError, EOFError, ValueError, RecursionError, pa.ArrowInvalid) as error:
        if name.endswith(".json"):  # some publish JSON Lines under this ending
            rows = list(islice(read_json_lines(path), 2))
            if rows and not any(isinstance(row, BadRow) for _, row in rows):
                yield from ((str(line), row) for line, row in read_json_lines(path))
                return
        raise DataError(f"{path} cannot be read: {error}", "fetch the file again") from None
    if isinstance(values, dict):  # one row
        values = [values]
    if not isinstance(values, list):
        raise DataError(f"{path} holds a {type(values).__name__}, no list of rows", "give a JSON list or JSON Lines")
    for number, row in enumerate(values, 1):
        if isinstance(row, dict):
            yield str(number), row
        else:
            yield str(number), BadRow(str(number), "not_an_object", f"holds a {type(row).__name__}", str(row)[:2000])


def first_row(paths: Sequence[Path]) -> Mapping[str, Any] | None:
    """The first row that is an object; it decides whether a file holds samples or outputs."""
    for path in data_paths(paths):
        for _, row in islice(read_rows(path), 50):
            if not isinstance(row, BadRow):
                return row
    return None


def import_samples(
    out: Path, paths: Sequence[Path], *, chat: Chat, name: str, license_name: str | None = None
) -> Manifest:
    """Read samples of any known shape; a row that is none is rejected with the reason.

    Fields that an export of ours stored beside the messages are restored; any other row becomes a sample of the
    arm ``name``, mode "imported", without traces, its problems counted by their labels.

    Args:
        chat: counts the samples, and reads token ids back.
        license_name: the licence of rows that state none; None leaves them unknown.

    Raises:
        DataError: a file is missing or unreadable, or no row is a sample.
    """
    files = data_paths(paths)
    settings: dict[str, Any] = {
        "name": name, "license": license_name, "chat": chat.describe(), "part_rows": PART_ROWS,
        "files": [file.name for file in files],
    }  # fmt: skip
    inputs = {f"{number:04d}/{file.name}": file_digest(file) for number, file in enumerate(files, 1)}
    if is_current(out, fingerprint(STAGE, settings, inputs)):
        return read_manifest(out)
    writer = TableWriter(out, Example, stage=STAGE, config=settings, inputs=inputs)
    stream = ((file, number, row) for file in files for number, row in read_rows(file))
    account = {"recounted": 0, "restored": 0}
    parts, usable, first = 0, 0, ""
    while chunk := list(islice(stream, PART_ROWS)):
        rows: list[Example] = []
        rejected: list[Reject] = []
        for file, number, row in chunk:
            made = _sample(file, number, row, chat, name, license_name, account)
            if isinstance(made, Example):
                rows.append(made)
            else:
                rejected.append(_reject(file, number, row, made))
                first = first or f": {file.name}, row {number}: {made.reason}: {made.evidence}"
        writer.write_part(parts, rows, rejected)
        usable += len(rows)
        parts += 1
    if not usable:
        raise DataError(
            f"no usable samples in {', '.join(str(path) for path in paths)}{first}",
            "known shapes: prompt + completion, messages, conversations, instruction + output, ChatML in text",
        )
    info = {
        "tokenizer": chat.tokenizer.digest, "tokenizer_folder": str(chat.tokenizer.folder),
        "template": chat.tokenizer.template_digest, "files": len(files), **account,
    }  # fmt: skip
    return writer.commit(parts, info)


def _reject(file: Path, number: str, row: Mapping[str, Any] | BadRow, why: Refusal) -> Reject:
    text = row.row if isinstance(row, BadRow) else json.dumps(row, ensure_ascii=True, default=str)
    clean = [t.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\0") for t in (why.evidence, text)]
    return Reject(why.reason, clean[0][:500], file.name, number, clean[1][:4000])


def _sample(
    file: Path,
    number: str,
    row: Mapping[str, Any] | BadRow,
    chat: Chat,
    name: str,
    license_name: str | None,
    account: dict[str, int],
) -> Example | Refusal:
    if isinstance(row, BadRow):
        return Refusal(row.reason, row.evidence)
    parsed = from_tokenized(row, chat) if "input_ids" in row else read_row(row)
    if isinstance(parsed, Refusal):
        return parsed
    messages = [*parsed.prompt, *parsed.completion]
    for at, message in enumerate(messages):
        fault = unstorable(message.content)
        if fault is not None:
            return Refusal("invalid_unicode", f"message {at}: {fault}")
        special = next((token for token in chat.tokenizer.special_tokens if token in message.content), None)
        if special is not None:
            return Refusal("special_token", f"message {at} holds {special!r}, which would end a turn in training")
    try:
        mode = "" if parsed.provenance is None else parsed.provenance["mode"]
        total, supervised = chat.count_documents_of(mode, parsed.prompt, parsed.completion)
    except Long1kError as error:
        return Refusal("template", error.what)
    texts = [text for message in messages for text in (message.role, message.content)]
    example_id = parsed.example_id or content_id("e", name, *texts)
    if parsed.provenance is not None:
        account["restored"] += 1
        account["recounted"] += parsed.provenance["num_tokens"] != total
        return restore(parsed, example_id, total, supervised)
    return _foreign(parsed, example_id, (total, supervised), f"{name}#{file.name}:{number}", name, row, license_name)


def _foreign(
    parsed: Parsed,
    example_id: str,
    counts: tuple[int, int],
    source: str,
    name: str,
    row: Mapping[str, Any],
    license_name: str | None,
) -> Example:
    stated = row.get("license")
    return Example(
        example_id=example_id, arm=name, prompt=parsed.prompt, completion=parsed.completion, answers=(), trace_ids=(),
        problem_ids=(), sources=(source,),
        licenses=(stated if isinstance(stated, str) and stated else license_name or "unknown",), linkers=(), spans=(),
        mode="imported", target_tokens=None, num_tokens=counts[0], num_supervised_tokens=counts[1],
        num_problems=count_problems(parsed),
    )  # fmt: skip


def count_problems(parsed: Parsed) -> int:
    """How many problems a sample poses: those labelled 1, 2, … in its user turns, else the turns themselves."""
    users = [m.content for m in (*parsed.prompt, *parsed.completion) if m.role == "user"]
    labels = {int(number) for text in users for number in _LABEL.findall(text)}
    labelled = next(n for n in range(len(labels) + 1) if n + 1 not in labels)
    return max(len(users), labelled)
