"""Rows come back as they were written, whatever the file; what cannot be read is a bad row or an error that helps."""

from __future__ import annotations

import csv
import gzip
import io
import json
import pickle
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from long1k import readers
from long1k.errors import DataError, RecipeError
from long1k.jsonlines import BadRow, iter_lines, read_json_lines
from long1k.plugins import validate
from long1k.sources.files import FilesConfig, FilesSource
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.sources.raw import RawTrace, RowsChunk, chunks_of, gold_of
from realdata import real_data

ROW = {"question": "q", "answer": "5", "response": "<think>t</think>\\boxed{5}"}
LINE = json.dumps(ROW)
SUFFIXES = (
    ".jsonl", ".jsonl.gz", ".jsonl.zst", ".json", ".json.gz", ".json.zst", ".ndjson", ".parquet", ".csv", ".csv.gz",
    ".csv.zst", ".tsv",
)  # fmt: skip


def _pack(data: bytes, suffix: str) -> bytes:
    if suffix.endswith(".gz"):
        return gzip.compress(data)
    if suffix.endswith(".zst"):
        packed: bytes = pa.Codec("zstd").compress(data, asbytes=True)
        return packed
    return data


def write_rows(path: Path, rows: list[dict[str, Any]], row_group_size: int = 5) -> Path:
    """The rows in the format that the file's name says."""
    name = path.name
    if ".parquet" in name:
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=row_group_size)
        return path
    if ".csv" in name or ".tsv" in name:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(rows[0]), delimiter="\t" if ".tsv" in name else ",")
        writer.writeheader()
        writer.writerows(rows)
        data = text.getvalue().encode()
    elif ".json" in name and ".jsonl" not in name:
        data = json.dumps(rows, indent=1).encode()
    else:
        data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    path.write_bytes(_pack(data, name))
    return path


def _files(path: Path | str, **config: Any) -> FilesSource:
    made = FilesSource(FilesConfig(path=str(path), **config))
    return made


def _load(path: Path | str, **config: Any) -> list[RawTrace | BadRow]:
    """All rows; read in chunks they must be the same."""
    source = _files(path, **config)
    rows = list(source.load())
    assert rows == list(source.load())
    for size in (1, 7, 1000):
        chunks = list(source.chunks(size))
        again = pickle.loads(pickle.dumps(chunks))
        assert [row for chunk in again for row in chunk.load()] == rows
        assert all(1 <= len(chunk.load()) <= size for chunk in chunks)
    return rows


def _reasons(rows: list[RawTrace | BadRow]) -> list[str]:
    return [row.reason if isinstance(row, BadRow) else "trace" for row in rows]


# --- every format and shape -------------------------------------------------------------------------------

_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=12)
_ROWS = st.lists(
    st.fixed_dictionaries({"question": _TEXT, "answer": _TEXT, "response": _TEXT, "subject": _TEXT}),
    min_size=1, max_size=25,
)  # fmt: skip


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(rows=_ROWS)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_written_rows_are_read_back(suffix: str, tmp_path_factory: pytest.TempPathFactory, rows: list[Any]) -> None:
    path = write_rows(tmp_path_factory.mktemp("rows") / f"rows{suffix}", rows)
    found = _load(path)
    assert all(isinstance(row, RawTrace) for row in found)
    assert [{name: getattr(row, name) for name in rows[0]} for row in found] == rows
    assert [row.source_row for row in found] == [str(number) for number in range(1, len(rows) + 1)]


def _shaped(shape: str, question: str, reply: str) -> dict[str, Any]:
    turns = [("system", "Think."), ("user", question), ("assistant", reply)]
    if shape == "messages":
        return {"messages": [{"role": role, "content": text} for role, text in turns], "answer": "5"}
    if shape == "prompt":
        made = [{"role": role, "content": text} for role, text in turns]
        return {"prompt": made[:2], "completion": made[2:], "answer": "5"}
    if shape == "sharegpt":
        names = {"system": "system", "user": "human", "assistant": "gpt"}
        return {"conversations": [{"from": names[role], "value": text} for role, text in turns], "answer": "5"}
    if shape == "alpaca":
        first, _, rest = question.partition("\n\n")
        return {"instruction": first, "input": rest, "output": reply, "answer": "5"}
    return {"problem": question, "output": reply, "answer": "5"}


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".parquet"])
@pytest.mark.parametrize("shape", ["messages", "prompt", "sharegpt", "alpaca", "qa"])
@given(pairs=st.lists(st.tuples(_TEXT, _TEXT), min_size=1, max_size=9))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_shape_gives_the_same_traces(
    suffix: str, shape: str, tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    # The shape of an instruction with its input is cut at the first empty line: something must stand before it.
    pairs = [(f"{question}\n\nmore", reply) for question, reply in pairs if question != "\n" and "\n\n" not in question]
    pairs = pairs or [("a\n\nmore", "b")]
    path = write_rows(tmp_path_factory.mktemp("rows") / f"rows{suffix}", [_shaped(shape, *pair) for pair in pairs])
    named = {"prompt": "messages"}.get(shape, shape)
    for wanted in ("auto", named):
        found = _load(path, shape=wanted)
        assert all(isinstance(row, RawTrace) and row.answer == "5" for row in found)
        assert [(row.question, row.response) for row in found if isinstance(row, RawTrace)] == pairs


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([], "missing_field"),
        (["text"], "wrong_type"),
        ([{"role": "user", "content": "q"}], "not_one_turn"),
        ([{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}] * 2, "not_one_turn"),
        ([{"role": "user", "content": ["q"]}, {"role": "assistant", "content": "a"}], "wrong_type"),
        ([{"role": "user", "content": ""}, {"role": "assistant", "content": "a"}], "missing_field"),
        ([{"role": "user", "content": "q"}, {"role": "assistant"}], "missing_field"),
        ("text", "missing_field"),
    ],
)
def test_conversations_that_are_no_single_turn_are_bad_rows(messages: Any, reason: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [{"messages": messages}, ROW])
    assert _reasons(_load(path)) == [reason, "trace"]


def test_thinking_beside_the_reply_is_kept_apart(tmp_path: Path) -> None:
    reply = {"role": "assistant", "content": "s", "reasoning_content": "t"}
    (row,) = _load(write_rows(tmp_path / "rows.jsonl", [{"messages": [{"role": "user", "content": "q"}, reply]}]))
    assert isinstance(row, RawTrace)
    assert (row.question, row.thinking, row.solution, row.response) == ("q", "t", "s", None)


def test_mapped_fields_win_over_messages(tmp_path: Path) -> None:
    row = {**_shaped("messages", "not this", "nor this"), "Frage": "q", "Antwort": "a", "worked": "long\ngold"}
    fields = {"question": "Frage", "response": "Antwort", "gold_solution": "worked"}
    (found,) = _load(write_rows(tmp_path / "rows.parquet", [row]), fields=fields)
    assert isinstance(found, RawTrace)
    assert (found.question, found.response, found.gold_solution) == ("q", "a", "long\ngold")


def test_verdicts_and_answers_in_parts(tmp_path: Path) -> None:
    rows = [{**ROW, "is_correct": True}, {**ROW, "is_correct": "yes"}, {**ROW, "answer": None, "golds": ["1", "2"]}]
    first, second, third = _load(write_rows(tmp_path / "rows.jsonl", rows), fields={"gold_parts": "golds"})
    assert isinstance(first, RawTrace)
    assert isinstance(second, RawTrace)
    assert isinstance(third, RawTrace)
    assert (first.correct, second.correct, first.gold_parts) == (True, None, ())
    assert (third.answer, third.gold_parts) == ("1; 2", ("1", "2"))
    mapped = _load(tmp_path / "rows.jsonl", fields={"correct": "is_correct"})
    assert _reasons(mapped) == ["trace", "wrong_type", "trace"]
    path = write_rows(tmp_path / "parts.jsonl", [{**ROW, "gold_parts": "1"}, {**ROW, "gold_parts": [1]}])
    assert _reasons(_load(path)) == ["wrong_type", "wrong_type"]


# --- bad rows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json"])
@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ('{"question": "q", "question": "p", "response": "r"}', "duplicate_key"),
        ('{"question": "q", "response": "r", "more": {"a": 1, "a": 2}}', "duplicate_key"),
        ('{"question": ["q"], "response": "r"}', "wrong_type"),
        ('{"question": [["q"]], "response": "r"}', "wrong_type"),
        ('{"question": "q", "response": null}', "missing_field"),
        ('{"question": null, "response": "r"}', "missing_field"),
        ('{"question": "q", "response": "r", "answer": true}', "wrong_type"),
        ('{"question": "q", "response": "r", "answer": [5]}', "wrong_type"),
        ("[1]", "not_an_object"),
        ("{}", "missing_field"),
    ],
)
def test_a_bad_row_says_why(line: str, reason: str, suffix: str, tmp_path: Path) -> None:
    text = f"[{LINE}, {line}, {LINE}]" if suffix == ".json" else f"{LINE}\n{line}\n{LINE}\n"
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(_pack(text.encode(), suffix))
    rows = _load(path)
    assert _reasons(rows) == ["trace", reason, "trace"]
    bad = rows[1]
    assert isinstance(bad, BadRow)
    assert bad.source_row == "2"
    assert bad.evidence


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.zst", ".json", ".csv"])
def test_bytes_that_are_not_utf8_spoil_their_row_alone(suffix: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / f"rows{suffix}", [ROW, {**ROW, "question": "SPOIL"}, ROW])
    plain = b"".join(_unpacked(path)).replace(b"SPOIL", b"\xff\xfe")
    path.write_bytes(_pack(plain, suffix))
    assert _reasons(_load(path)) == ["trace", "invalid_utf8", "trace"]


def _unpacked(path: Path) -> Iterator[bytes]:
    if path.suffix == ".zst":
        yield pa.input_stream(str(path), compression="zstd").read()
    else:
        yield path.read_bytes()


def test_a_parquet_cell_that_is_not_utf8_spoils_its_row_alone(tmp_path: Path) -> None:
    values = pa.array([b"q", b"\xff\xfe", b"r"]).view(pa.string())
    table = pa.table({"question": values, "response": ["a", "b", "c"]})
    pq.write_table(table, tmp_path / "rows.parquet")
    assert _reasons(_load(tmp_path / "rows.parquet")) == ["trace", "invalid_utf8", "trace"]


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
def test_a_row_above_the_limit_is_rejected_without_being_held(suffix: str, tmp_path: Path) -> None:
    long = b'{"question": "' + b"x" * 50_000_000 + b'"}'
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(_pack(b"\n".join([LINE.encode(), long, LINE.encode()]), suffix))
    del long
    source = _files(path, max_row_bytes=1 << 20)
    tracemalloc.start()
    rows = list(source.load())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert _reasons(rows) == ["trace", "row_too_large", "trace"]
    assert isinstance(rows[1], BadRow)
    assert "50,000,016 bytes" in rows[1].evidence
    assert len(rows[1].row) == 2000
    assert peak < 25_000_000
    assert rows == [row for chunk in source.chunks(2) for row in chunk.load()]


def test_a_line_just_at_the_limit_is_read() -> None:
    lines = dict(iter_lines(io.BytesIO(b"12345\n123456\n\n   \n12345"), 5))
    assert lines[1] == b"12345\n"
    assert not isinstance(lines[2], bytes)
    assert lines[2].num_bytes == 6
    assert lines[5] == b"12345"
    assert sorted(lines) == [1, 2, 5]


def test_json_lines_of_benchmarks_have_the_same_rules(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\xef\xbb\xbf" + LINE.encode() + b'\r\n{"a": 1, "a": 1}\n' + LINE.encode())
    rows = dict(read_json_lines(path, max_row_bytes=1000))
    assert rows[1] == ROW == rows[3]
    assert isinstance(rows[2], BadRow)
    assert rows[2].reason == "duplicate_key"


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst"])
@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        (f"\ufeff{LINE}\r\n{LINE}\r\n", ["1", "2"]),
        (f"{LINE}\n\n\r\n   \n{LINE}", ["1", "5"]),
        (f"\n  {LINE}\n\t{LINE}\n", ["2", "3"]),
        (f"\ufeff\n{LINE}", ["2"]),
        ("\ufeff", []),
        ("", []),
        ("\n\n \r\n", []),
    ],
)
def test_marks_line_ends_and_blank_lines(text: str, numbers: list[str], suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"rows{suffix}"
    path.write_bytes(_pack(text.encode(), suffix))
    rows = _load(path)
    assert [row.source_row for row in rows] == numbers
    assert set(_reasons(rows)) <= {"trace"}


@given(
    lines=st.lists(st.sampled_from([LINE, "", " ", "\r", "\t \r", f" {LINE}", LINE + "\r", "5", "x" * 90]), max_size=40),
    end=st.sampled_from(["", "\n"]), block=st.integers(1, 200), size=st.integers(1, 9),
    limit=st.none() | st.integers(1, 9),
)  # fmt: skip
@settings(max_examples=120, deadline=None)
def test_where_blocks_and_chunks_end_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], end: str, block: int, size: int, limit: int | None
) -> None:
    path = tmp_path_factory.mktemp("rows") / "rows.jsonl"
    path.write_text("\n".join(lines) + end, encoding="utf-8", newline="")
    expected = [str(number) for number, line in enumerate(lines, 1) if line.strip()][:limit]
    source = _files(path, limit=limit, max_row_bytes=80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(readers, "_BLOCK", block)
        chunks = list(source.chunks(size))
    assert [row.source_row for chunk in chunks for row in chunk.load()] == expected
    assert [len(chunk.load()) for chunk in chunks[:-1]] == [size] * (len(chunks) - 1)


def test_numbers_nulls_and_nan_of_data_frames(tmp_path: Path) -> None:
    table = pa.table({
        "question": pa.array(["q"] * 3, pa.large_string()), "response": pa.array(["r"] * 3).dictionary_encode(),
        "answer": pa.array([5.5, float("nan"), None]), "level": pa.array([1, 2, None], pa.int32()),
        "subject": pa.array([None] * 3, pa.null()), "id": pa.array([7, 8, 9], pa.uint8()),
    })  # fmt: skip
    pq.write_table(table, tmp_path / "rows.parquet")
    rows = _load(tmp_path / "rows.parquet")
    assert [row.answer for row in rows if isinstance(row, RawTrace)] == ["5.5", None, None]
    assert [row.difficulty for row in rows if isinstance(row, RawTrace)] == [1.0, 2.0, None]
    assert [row.source_row for row in rows] == ["1:7", "2:8", "3:9"]


def test_csv_fields_may_hold_quotes_commas_and_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_bytes(
        b'\xef\xbb\xbfquestion,answer,response\r\n"a, ""b""\r\nc",5,"r\n\nr"\r\n\r\nq,,\r\nq,5,r,too many\r\nq,5,r'
    )
    rows = _load(path)
    assert _reasons(rows) == ["trace", "missing_field", "wrong_columns", "trace"]
    assert isinstance(rows[0], RawTrace)
    assert (rows[0].question, rows[0].response) == ('a, "b"\r\nc', "r\n\nr")
    long = write_rows(tmp_path / "long.csv", [{**ROW, "response": "x" * 300_000}])
    (row,) = _load(long)
    assert isinstance(row, RawTrace)
    assert len(row.response or "") == 300_000


# --- broken files -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("rows.jsonl.gz", LINE.encode(), r"not a whole gzip file[\s\S]*-> fetch the file again"),
        ("rows.jsonl.gz", gzip.compress(LINE.encode() * 99, mtime=0)[:-9], r"not a whole gzip file[\s\S]*-> fetch"),
        ("rows.jsonl.zst", LINE.encode(), r"not a whole zstd file[\s\S]*-> fetch"),
        ("rows.jsonl.zst", _pack(LINE.encode() * 99, ".zst")[:-9], r"not a whole zstd file[\s\S]*-> fetch"),
        ("rows.jsonl", gzip.compress(LINE.encode(), mtime=0), r"is compressed \(gzip\)[\s\S]*-> give it .* \.gz"),
        ("rows.csv", _pack(LINE.encode(), ".zst"), r"is compressed \(zstd\)[\s\S]*-> give it the ending \.zst"),
        ("rows.jsonl", b"PAR1....PAR1", r"is a Parquet file[\s\S]*-> give it the ending \.parquet"),
        ("rows.parquet", LINE.encode(), "is not a Parquet file"),
        ("rows.parquet", b"", "is not a Parquet file"),
        ("rows.parquet", b"PAR1" + b"\0" * 90, "is not a whole Parquet file"),
        ("rows.parquet", b"version https://git-lfs.github.com/spec/v1\noid x", r"Git LFS pointer[\s\S]*-> git lfs pull"),
        ("rows.json", f"[{LINE}, {LINE}".encode(), r"not a whole JSON array: row 2: neither , nor \]"),
        ("rows.json", f"[{LINE}, {{".encode(), "not a whole JSON array: row 2"),
        ("rows.json", f"[{LINE}] 5".encode(), r"not a whole JSON array: row 1: text after the closing \]"),
        ("rows.json", b"[" * 99_999, "not a whole JSON array: row 1"),
        ("rows.csv", b'question,response\nq,"never closed', r"not a whole CSV file: line 2[\s\S]*-> a quoted field"),
        ("rows.csv", b"question,question\nq,r\n", "two columns 'question'"),
    ],
)  # fmt: skip
def test_a_broken_file_is_an_error_that_helps(name: str, data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        list(_files(tmp_path / name).load())
    with pytest.raises(DataError, match=message):
        _ = [chunk.load() for chunk in _files(tmp_path / name).chunks(3)]


@pytest.mark.parametrize(
    "name", ["rows.jsonl", "rows.jsonl.gz", "rows.jsonl.zst", "rows.json", "rows.csv", "rows.tsv.gz"]
)
def test_an_empty_file_has_no_rows(name: str, tmp_path: Path) -> None:
    for data in (b"", _pack(b"", name), _pack(b"\n", name)):
        (tmp_path / name).write_bytes(data)
        assert _load(tmp_path / name) == []
    (tmp_path / "empty.json").write_text(" [ ] ")
    assert _load(tmp_path / "empty.json") == []
    pq.write_table(pa.table({"question": pa.array([], pa.string())}), tmp_path / "rows.parquet")
    assert _load(tmp_path / "rows.parquet") == []
    (tmp_path / "header.csv").write_text("question,response\n")
    assert _load(tmp_path / "header.csv") == []


def test_an_array_that_cannot_be_held_must_be_converted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_rows(tmp_path / "rows.json.gz", [ROW] * 50)
    monkeypatch.setattr(readers, "MAX_ARRAY_BYTES", 1000)
    with pytest.raises(DataError, match=r"must be held whole[\s\S]*-> convert it to JSON Lines"):
        list(_files(path).load())


def test_a_csv_line_above_the_limit_is_an_error(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", [{**ROW, "response": "x" * 5000}])
    with pytest.raises(DataError, match="a line above max_row_bytes"):
        list(_files(path, max_row_bytes=4000).load())


@pytest.mark.parametrize("suffix", [".parquet", ".csv"])
def test_a_column_that_is_not_there_is_named_with_the_nearest(suffix: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / f"rows{suffix}", [{"Problem": "q", "answer": "5", "response": "r"}])
    with pytest.raises(DataError, match=r"no column 'question'[\s\S]*its columns: Problem, answer, response"):
        list(_files(path).load())
    with pytest.raises(DataError, match=r"no column 'problem'[\s\S]*did you mean 'Problem'\?"):
        list(_files(path, fields={"question": "problem"}).load())
    (row,) = _load(path, fields={"question": "Problem"})
    assert isinstance(row, RawTrace)
    lines = write_rows(tmp_path / "rows.jsonl", [ROW])
    assert _reasons(_load(lines, fields={"question": "problem"})) == ["missing_field"]


def test_a_file_that_shrinks_while_it_is_read_is_noticed(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", [ROW] * 9)
    chunks = list(_files(path).chunks(4))
    write_rows(path, [ROW] * 5)
    assert len(chunks[0].load()) == 4
    with pytest.raises(DataError, match=r"changed while it was read[\s\S]*-> start again"):
        chunks[1].load()


# --- paths ------------------------------------------------------------------------------------------------


def test_a_folder_is_read_in_order_and_rows_keep_their_file(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a.jsonl.gz", "deep/c.jsonl.zst", ".hidden.jsonl", ".cache/d.jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_rows(tmp_path / name, [{**ROW, "id": 1}, {**ROW, "id": 1}])
    (tmp_path / "dataset_info.json").write_text("{}")
    (tmp_path / "README.md").write_text("notes")
    rows = _load(tmp_path)
    expected = [f"{name}:{i}:1" for name in ("a.jsonl.gz", "b.jsonl", "deep/c.jsonl.zst") for i in (1, 2)]
    assert [row.source_row for row in rows] == expected
    assert [row.source_row for row in _load(tmp_path, limit=3)] == expected[:3]
    assert [row.source_row for row in _load(tmp_path / "*.jsonl*")] == expected[:4]
    assert [row.source_row for row in _load(f"{tmp_path}/**/c.*")] == ["1:1", "2:1"]
    write_rows(tmp_path / "rows.parquet", [ROW])
    assert [row.source_row for row in _load(tmp_path)] == ["1"]


def test_small_files_share_a_chunk(tmp_path: Path) -> None:
    for number in range(6):
        write_rows(tmp_path / f"{number}.jsonl", [ROW] * 3)
    assert [len(chunk.load()) for chunk in _files(tmp_path).chunks(7)] == [6, 6, 6]


@pytest.mark.parametrize("what", ["file", "glob", "folder"])
def test_a_path_without_rows_is_an_error(what: str, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("notes")
    path, message = {
        "file": (tmp_path / "absent.jsonl", r"there is no file[\s\S]*-> check the path"),
        "glob": (tmp_path / "*.jsonl", r"no file matches[\s\S]*-> check the path"),
        "folder": (tmp_path, r"holds no file with rows[\s\S]*-> it needs \.jsonl"),
    }[what]
    for call in (lambda: list(_files(path).load()), _files(path).digest):
        with pytest.raises(DataError, match=message):
            call()


def test_the_format_may_be_said(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.csv", [ROW]).rename(tmp_path / "rows.data")
    assert _reasons(_load(path, format="csv")) == ["trace"]
    assert set(_reasons(_load(path))) == {"malformed_json"}
    path = write_rows(tmp_path / "rows.parquet", [ROW]).rename(tmp_path / "rows.bin")
    assert _reasons(_load(path)) == ["trace"]


def test_the_digest_changes_with_a_file_its_name_and_their_number(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [ROW])
    seen = {_files(tmp_path / "a.jsonl").digest(), _files(tmp_path).digest()}
    write_rows(tmp_path / "b.jsonl", [ROW])
    seen.add(_files(tmp_path).digest())
    (tmp_path / "b.jsonl").rename(tmp_path / "c.jsonl")
    seen.add(_files(tmp_path).digest())
    write_rows(tmp_path / "c.jsonl", [ROW, ROW])
    seen.add(_files(tmp_path).digest())
    assert len(seen) == 5
    assert _files(tmp_path).digest() in seen


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "exactly one of path and hub"),
        ({"path": "x", "hub": "a/b"}, "exactly one of path and hub"),
        ({"path": "x", "streaming": True, "split": "test"}, "split, streaming: for hub only"),
        ({"hub": True}, "hub: OWNER/NAME"),
        ({"path": "x", "format": "xml"}, "format"),
        ({"path": "x", "shape": "table"}, "shape"),
        ({"path": "x", "fields": {"quest": "q"}}, "unknown field"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_a_recipe_error(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        validate(FilesConfig, values, "source")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (1e-05, 1e-05), (-1.0, -1.0), ("Level 4", 4.0), ("Level-4", 4.0), ("3-4", 3.0), ("(-2.5)", -2.5), (2e30, 2e30),
        ("9" * 400, None), ("hard", None), ("", None), (float("inf"), None), (".5", 0.5),
    ],
)  # fmt: skip
def test_a_difficulty_is_the_number_that_it_says(given: object, read: float | None, tmp_path: Path) -> None:
    [row] = _load(write_rows(tmp_path / "rows.jsonl", [{**ROW, "difficulty": given}]))
    assert isinstance(row, RawTrace)
    assert row.difficulty == read
    assert (row.difficulty_origin is None) == (read is None)


def test_a_cell_that_python_cannot_hold_spoils_its_row_alone(tmp_path: Path) -> None:
    times = pa.array([0, 1 << 62, 5], pa.timestamp("us"))
    pq.write_table(
        pa.table({**{name: [value] * 3 for name, value in ROW.items()}, "id": times}), tmp_path / "r.parquet"
    )
    rows = _load(tmp_path / "r.parquet", fields={"teacher": "id"})
    assert _reasons(rows) == ["wrong_type"] * 3
    assert [row.source_row for row in rows] == ["1", "2", "3"]


def test_an_object_of_many_members_is_read_in_time_that_grows_with_them(tmp_path: Path) -> None:
    members = ",".join(f'"{i}":0' for i in range(200_000))
    (tmp_path / "rows.jsonl").write_text(f'{{{members},"199999":1}}')
    [row] = list(_files(tmp_path / "rows.jsonl").load())
    assert isinstance(row, BadRow)
    assert (row.reason, row.evidence) == ("duplicate_key", "the key '199999' stands twice")


@pytest.mark.parametrize("pattern", ["a**b/*.jsonl", "**.jsonl"])
def test_a_pattern_that_is_none_is_an_error(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no pattern of files"):
        list(_files(tmp_path / pattern).load())


def test_a_name_that_is_not_utf8_is_refused() -> None:
    with pytest.raises(RecipeError, match="is not UTF-8"):
        _files("r\udcffws.jsonl")


# --- chunks -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".json", ".csv", ".parquet"])
def test_no_more_rows_are_read_than_asked_for(suffix: str, tmp_path: Path) -> None:
    path = write_rows(tmp_path / f"rows{suffix}", [{**ROW, "answer": str(i)} for i in range(20)])
    for limit in (1, 4, 6, 7, 19, 20, 21):
        for size in (3, 4, 7, 30):
            rows = [row for chunk in _files(path, limit=limit).chunks(size) for row in chunk.load()]
            assert [row.answer for row in rows if isinstance(row, RawTrace)] == [str(i) for i in range(min(limit, 20))]


@pytest.mark.parametrize("row_group_size", [1, 3, 10, 100])
@pytest.mark.parametrize("limit", [None, 1, 10, 37])
def test_parquet_chunks_do_not_depend_on_row_groups(row_group_size: int, limit: int | None, tmp_path: Path) -> None:
    rows = [{**ROW, "answer": str(i)} for i in range(40)]
    path = write_rows(tmp_path / "rows.parquet", rows, row_group_size)
    found = _load(path, limit=limit)
    assert [row.answer for row in found if isinstance(row, RawTrace)] == [str(i) for i in range(limit or 40)]


def test_columns_that_nobody_asks_for_are_not_read(tmp_path: Path) -> None:
    table = pa.table({**{name: [value] for name, value in ROW.items()}, "big": [b"\0" * 5_000_000]})
    pq.write_table(table, tmp_path / "rows.parquet", compression="none", use_dictionary=False)
    for size in (1, 5):
        for chunk in _files(tmp_path / "rows.parquet").chunks(size):
            assert len(pickle.dumps(chunk)) < 100_000
            assert _reasons(list(chunk.load())) == ["trace"]


def test_a_chunk_of_a_plain_file_is_an_address(tmp_path: Path) -> None:
    rows = [{**ROW, "question": "x" * 5000}] * 60
    for name in ("rows.jsonl", "rows.parquet"):
        path = write_rows(tmp_path / name, rows, 20)
        assert all(len(pickle.dumps(chunk)) < 3000 for chunk in _files(path).chunks(20))


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz", ".jsonl.zst", ".csv.gz", ".parquet"])
def test_iterating_chunks_does_not_hold_the_file(suffix: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    rows = [{**ROW, "response": noise.bytes(10_000).hex()} for _ in range(1500)]
    path = write_rows(tmp_path / f"rows{suffix}", rows)
    if suffix == ".parquet":  # one row group of small pages: a page is the least that Parquet can hold
        pq.write_table(pa.Table.from_pylist(rows), path, use_dictionary=False, write_batch_size=20)
    del rows
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    most = count = 0
    for chunk in _files(path).chunks(50):
        most = max(most, tracemalloc.get_traced_memory()[0] + pa.total_allocated_bytes() - before)
        count += 1
        del chunk
    tracemalloc.stop()
    assert count == 30
    assert most < 20_000_000  # of 30 MB of rows; the block that is scanned has 8 MiB


def test_sources_from_outside_and_micro_give_chunks_too() -> None:
    micro = MicroSource(MicroConfig(count=23))
    rows = list(micro.load())
    chunks = pickle.loads(pickle.dumps(list(chunks_of(micro, 7))))
    assert [len(chunk.load()) for chunk in chunks] == [7, 7, 7, 2]
    assert [row for chunk in chunks for row in chunk.load()] == rows

    class Plain:
        Config = MicroConfig
        config = micro.config
        describe, digest, load = micro.describe, micro.digest, micro.load

    held = list(chunks_of(Plain(), 10))
    assert all(isinstance(chunk, RowsChunk) for chunk in held)
    assert [row for chunk in held for row in chunk.load()] == rows


def test_a_gold_text_is_an_answer_or_a_solution() -> None:
    assert gold_of(None) == gold_of("  ") == (None, None)
    assert gold_of(" 128\n") == ("128", None)
    for text in ("So it is \\boxed{5}.", "first\nsecond", "x" * 101):
        assert gold_of(text) == (None, text)


# --- real data --------------------------------------------------------------------------------------------


def test_real_traces_are_read_whole(tmp_path: Path) -> None:
    # Field by field what the rows hold, through one glob and through Parquet.
    expected: dict[str, dict[str, Any]] = {}
    for path in sorted(real_data("traces").glob("*.jsonl.gz")):
        for number, row in read_json_lines(path):
            assert isinstance(row, dict)
            expected[f"{path.name}:{number}:{row['id']}"] = row
    found = list(_files(real_data("traces") / "*.jsonl.gz").load())
    assert len(found) == 3897
    by_row = {row.source_row: row for row in found}
    assert by_row.keys() == expected.keys()
    for key, row in expected.items():
        trace = by_row[key]
        if isinstance(trace, BadRow):
            assert trace.reason == "missing_field"
            assert row.keys().isdisjoint({"question", "problem"})
            continue
        assert trace.question == row.get("question", row.get("problem"))
        assert trace.response == row["response"]
        assert trace.answer == (None if row.get("answer") is None else str(row["answer"]))
        assert trace.teacher == row.get("model")
    rows = [{name: row.get(name) for name in ("problem", "answer", "response", "model")} for row in expected.values()]
    table = write_rows(tmp_path / "rows.parquet", rows, 1000)
    again = [row for chunk in _files(table).chunks(300) for row in chunk.load()]
    keep = ("question", "answer", "response", "teacher")
    assert [tuple(getattr(row, name, None) for name in keep) for row in again] == [
        tuple(getattr(row, name, None) for name in keep) for row in found
    ]
