"""Rows survive Arrow and Parquet; tables survive kills, and what is not whole never looks complete."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import types
import typing
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from conftest import MakePool, MakeTrace
from long1k import tables
from long1k.errors import DataError, IncompleteError
from long1k.rows import (
    Example,
    Message,
    Prediction,
    Problem,
    Reject,
    Score,
    Span,
    Trace,
    canonical_json,
    content_id,
    derive_seed,
    from_arrow,
    from_dict,
    schema_of,
    to_arrow,
    to_dict,
)
from long1k.tables import (
    MANIFEST,
    PROGRESS,
    TableWriter,
    begin,
    content_digest,
    fingerprint,
    is_current,
    keep_finished,
    read_manifest,
    read_rejected,
    read_table,
    write_atomic,
    written_aside,
)

ROW_TYPES = (Problem, Trace, Example, Prediction, Score, Reject)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.sampled_from(
    ["", "\x00", "é\u0301😀", "\n"]
)


def _values(hint: Any) -> st.SearchStrategy[Any]:
    """Any value that an annotation of a row type allows."""
    if isinstance(hint, types.UnionType):
        return st.one_of([st.none() if arg is type(None) else _values(arg) for arg in typing.get_args(hint)])
    if typing.get_origin(hint) is tuple:
        return st.lists(_values(typing.get_args(hint)[0]), max_size=3).map(tuple)
    if dataclasses.is_dataclass(hint):
        return _rows(hint)
    return {
        str: TEXT,
        int: st.integers(-(2**63), 2**63 - 1),
        float: st.floats(allow_nan=False),
        bool: st.booleans(),
    }[hint]


def _rows(row_type: Any) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(row_type)
    return st.builds(row_type, **{name: _values(hint) for name, hint in hints.items()})


def _through_parquet(table: pa.Table) -> pa.Table:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return pq.read_table(io.BytesIO(buffer.getvalue()))


def _reject(row: int, reason: str = "bad") -> Reject:
    return Reject(reason, f"evidence {row}", "test", str(row), "…")


def _score(row: int, **changes: Any) -> Score:
    values: dict[str, Any] = {
        "prediction_id": f"y-{row}", "part": 0, "grader": "math", "grader_version": "1", "status": "correct",
        "extracted": "5", "span": (1, 2), "note": None,
    }  # fmt: skip
    return Score(**(values | changes))


# --- rows -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row_type", ROW_TYPES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_rows_come_back_from_arrow_and_parquet(row_type: Any, data: st.DataObject) -> None:
    rows = data.draw(st.lists(_rows(row_type), max_size=4))
    table = to_arrow(rows, row_type)
    assert table.schema == schema_of(row_type)
    assert list(from_arrow(table, row_type)) == rows
    again = _through_parquet(table)
    assert list(from_arrow(again, row_type)) == rows
    assert content_digest(again) == content_digest(_through_parquet(again))
    assert [from_dict(to_dict(row), row_type) for row in rows] == rows


@pytest.mark.parametrize("row_type", ROW_TYPES)
def test_only_optional_fields_are_nullable(row_type: Any) -> None:
    hints = typing.get_type_hints(row_type)
    optional = {name for name, hint in hints.items() if type(None) in typing.get_args(hint)}
    assert {field.name for field in schema_of(row_type) if field.nullable} == optional


def test_a_table_of_another_version_is_a_sentence() -> None:
    with pytest.raises(DataError, match="no column 'example_id'"):
        from_dict({"prompt": []}, Example)


@pytest.mark.parametrize("row_type", ROW_TYPES)
def test_rows_are_immutable(row_type: Any) -> None:
    values = dict.fromkeys(typing.get_type_hints(row_type))
    row = row_type(**values)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(row, next(iter(values)), "changed")


def test_ids_and_seeds_depend_on_every_part_and_its_place() -> None:
    assert content_id("p", "a", "b") == content_id("p", "a", "b")
    assert len({content_id("p", *parts) for parts in (("a", "b"), ("b", "a"), ("ab",), ("a", "", "b"))}) == 4
    assert content_id("p", "\ud800").startswith("p-")
    assert derive_seed(1, "a") == derive_seed("1", "a")
    assert len({derive_seed(*parts) for parts in ((1, 23), (12, 3), (123,), (3, 12))}) == 4
    assert 0 <= derive_seed("x") < 2**63
    assert canonical_json({"b": 1, "a": "é"}) == '{"a":"é","b":1}'


# --- the digest -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("row_type", ROW_TYPES)
def test_digest_is_the_same_in_memory_and_in_parquet(row_type: Any) -> None:
    table = to_arrow([], row_type)
    assert content_digest(_through_parquet(table)) == content_digest(table)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(_rows(Example), min_size=1, max_size=6), cuts=st.lists(st.integers(0, 6), max_size=3))
def test_digest_does_not_depend_on_chunks_or_slices(rows: list[Example], cuts: list[int]) -> None:
    table = to_arrow(rows, Example)
    edges = sorted({0, len(rows), *(cut for cut in cuts if cut <= len(rows))})
    pieces = [table.slice(a, b - a) for a, b in pairwise(edges)]
    chunked = pa.concat_tables(pieces)
    padded = pa.concat_tables([table, table]).slice(len(rows), len(rows))
    assert content_digest(chunked) == content_digest(table)
    assert content_digest(padded) == content_digest(table)
    assert content_digest(pa.concat_tables([table.slice(0, 0), table])) == content_digest(table)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_digest_changes_with_any_cell(data: st.DataObject) -> None:
    row_type = data.draw(st.sampled_from(ROW_TYPES))
    rows = data.draw(st.lists(_rows(row_type), min_size=1, max_size=3))
    at = data.draw(st.integers(0, len(rows) - 1))
    name, hint = data.draw(st.sampled_from(sorted(typing.get_type_hints(row_type).items(), key=lambda item: item[0])))
    changed = data.draw(_values(hint).filter(lambda value: value != getattr(rows[at], name)))
    others = [dataclasses.replace(row, **{name: changed}) if i == at else row for i, row in enumerate(rows)]
    assert content_digest(to_arrow(rows, row_type)) != content_digest(to_arrow(others, row_type))


def test_digest_tells_null_from_empty_and_text_by_its_borders() -> None:
    def digest(*rows: Score) -> str:
        return content_digest(to_arrow(list(rows), Score))

    digests = [
        digest(_score(0, extracted=None)), digest(_score(0, extracted="")), digest(_score(0, span=None)),
        digest(_score(0, span=())), digest(_score(0, note="ab"), _score(1, note="c")),
        digest(_score(0, note="a"), _score(1, note="bc")), digest(), digest(_score(0), _score(0)),
        digest(_score(0, span=(1,)), _score(1, span=(2, 3))), digest(_score(0, span=(1, 2)), _score(1, span=(3,))),
    ]  # fmt: skip
    assert len(set(digests)) == len(digests)


# --- a table from beginning to end ------------------------------------------------------------------------

CONFIG, INPUTS = {"a": 1}, {"source": "d"}


def _writer(folder: Path, config: dict[str, Any] | None = None) -> TableWriter[Score]:
    return TableWriter(folder, Score, stage="score/1", config=config or CONFIG, inputs=INPUTS)


def _work(folder: Path) -> tables.Manifest:
    """Three parts, rejected rows in the first and the last; parts that are there are kept."""
    writer = _writer(folder)
    for part in range(3):
        if not writer.has_part(part):
            rejected = [] if part == 1 else [_reject(10 * part), _reject(10 * part + 1, "worse")]
            writer.write_part(part, [_score(10 * part + i) for i in range(4)], rejected)
    return writer.commit(3, {"note": "whole"})


def _wanted() -> str:
    return fingerprint("score/1", CONFIG, INPUTS)


def test_a_finished_table_says_what_it_holds(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    manifest = _work(folder)
    assert (manifest.rows_in, manifest.rows_out, manifest.rejected) == (16, 12, {"bad": 2, "worse": 2})
    assert read_manifest(folder) == manifest
    assert manifest.info == {"note": "whole"}
    assert read_table(folder, Score) == [_score(10 * part + i) for part in range(3) for i in range(4)]
    assert read_rejected(folder) == [_reject(0), _reject(1, "worse"), _reject(20), _reject(21, "worse")]
    assert sorted(path.name for path in folder.iterdir()) == [
        MANIFEST, "part-00000.parquet", "part-00001.parquet", "part-00002.parquet", "rejected.parquet",
    ]  # fmt: skip
    assert manifest.files == {path.name: path.stat().st_size for path in folder.iterdir() if path.name != MANIFEST}
    assert is_current(folder, _wanted())
    assert not is_current(folder, fingerprint("score/2", CONFIG, INPUTS))
    assert "pyarrow" in manifest.versions


def test_the_manifest_is_written_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    real = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (written.append(Path(b).name), real(a, b))[1])
    _work(tmp_path / "out")
    assert written[0] == PROGRESS
    assert written[-2:] == ["rejected.parquet", MANIFEST]
    assert written.index("rejected-00000.parquet") < written.index("part-00000.parquet")


def test_an_unfinished_table_cannot_be_read(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    _writer(folder).write_part(0, [_score(0)])
    assert not is_current(folder, _wanted())
    for read in (read_manifest, read_rejected, lambda path: read_table(path, Score)):
        with pytest.raises(IncompleteError, match=r"never finished[\s\S]*-> run score again with the same --out"):
            read(folder)


def test_a_table_of_other_rows_or_no_table_is_a_data_error(tmp_path: Path) -> None:
    _work(tmp_path / "out")
    with pytest.raises(DataError, match="holds no Trace rows"):
        read_table(tmp_path / "out", Trace)
    with pytest.raises(DataError, match="there is no folder"):
        read_manifest(tmp_path / "absent")
    (tmp_path / "out" / MANIFEST).write_text("{")
    assert not is_current(tmp_path / "out", _wanted())
    with pytest.raises(DataError, match="not a manifest"):
        read_manifest(tmp_path / "out")


class Killed(BaseException):
    """Stands for a kill: nothing may catch it and go on."""


def _kill_before(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.replace

    def replace(source: Any, target: Any) -> None:
        if Path(target).name == name:
            raise Killed
        real(source, target)

    monkeypatch.setattr(os, "replace", replace)


def _kill_clean_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the manifest, while rejected parts are being removed."""
    real = Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self.name == "rejected-00002.parquet":
            raise Killed
        real(self, missing_ok)

    monkeypatch.setattr(Path, "unlink", unlink)


KILLS = [PROGRESS, "rejected-00000.parquet", "part-00000.parquet", "part-00001.parquet", "rejected-00002.parquet",
         "part-00002.parquet", "rejected.parquet", MANIFEST]  # fmt: skip


@pytest.mark.parametrize("step", [*KILLS, "clean-up"])
def test_work_goes_on_after_a_kill_as_if_there_was_none(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = _work(tmp_path / "undisturbed")
    folder = tmp_path / "killed"
    with monkeypatch.context() as patch:
        if step == "clean-up":
            _kill_clean_up(patch)
        else:
            _kill_before(step, patch)
        with pytest.raises(Killed):
            _work(folder)
    assert (folder / MANIFEST).exists() == (step == "clean-up")
    assert is_current(folder, _wanted()) == (step == "clean-up")
    kept = sorted(path.name for path in folder.glob("part-*"))
    if step != "clean-up":
        made = _work(folder)
        assert made.digest == undisturbed.digest
        assert (made.rows_in, made.rows_out, made.rejected) == (16, 12, {"bad": 2, "worse": 2})
    assert read_manifest(folder).digest == undisturbed.digest
    assert read_rejected(folder) == read_rejected(tmp_path / "undisturbed")
    assert read_table(folder, Score) == read_table(tmp_path / "undisturbed", Score)
    assert kept == [f"part-{i:05d}.parquet" for i in range(len(kept))]


def test_finished_parts_are_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    with monkeypatch.context() as patch:
        _kill_before("part-00002.parquet", patch)
        with pytest.raises(Killed):
            _work(folder)
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("part-*")}
    assert len(before) == 2
    _work(folder)
    assert {name: (folder / name).stat().st_mtime_ns for name in before} == before


def test_other_work_starts_from_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    writer = _writer(folder)
    writer.write_part(0, [_score(7)], [_reject(7)])
    other = _writer(folder, {"a": 2})
    assert not other.has_part(0)
    other.write_part(0, [_score(1)])
    made = other.commit(1)
    assert (made.rows_in, made.rejected) == (1, {})
    assert read_table(folder, Score) == [_score(1)]


def test_a_kill_while_old_work_is_removed_never_mixes_it_with_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    _work(folder)
    real = Path.unlink

    def unlink(self: Path, missing_ok: bool = False) -> None:
        if self.suffix == ".parquet":
            raise Killed
        real(self, missing_ok)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", unlink)
        with pytest.raises(Killed):
            _writer(folder, {"a": 2})
    assert not _writer(folder, {"a": 2}).has_part(0)


def test_a_kill_after_the_old_manifest_is_gone_does_not_block_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "out"
    _work(folder)
    with monkeypatch.context() as patch:
        _kill_before(PROGRESS, patch)
        with pytest.raises(Killed):
            _writer(folder, {"a": 2})
    assert not _writer(folder, {"a": 2}).has_part(0)


def test_rejected_rows_of_a_killed_try_do_not_outlive_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "out"
    with monkeypatch.context() as patch:
        _kill_before("part-00000.parquet", patch)
        with pytest.raises(Killed):
            _writer(folder).write_part(0, [_score(0)], [_reject(1, "verify_timeout")])
    writer = _writer(folder)  # this time the grader was not too slow
    writer.write_part(0, [_score(0), _score(1)])
    made = writer.commit(1)
    assert (made.rows_in, made.rows_out, made.rejected) == (2, 2, {})


# --- folders that are not ours ----------------------------------------------------------------------------


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "holiday.jpg").write_bytes(b"precious")
    (folder / "sub").mkdir()
    with pytest.raises(DataError, match=r"did not make[\s\S]*new folder"):
        _writer(folder)
    assert (folder / "holiday.jpg").read_bytes() == b"precious"
    assert sorted(path.name for path in folder.iterdir()) == ["holiday.jpg", "sub"]


def test_the_result_of_another_stage_is_refused_and_left_alone(
    tmp_path: Path, make_trace: MakeTrace, make_pool: MakePool
) -> None:
    folder = tmp_path / "pool"
    trace = make_trace("a⊕b", "a⊕b=c.", "\\boxed{c}", "c")
    make_pool(folder, [trace])
    with pytest.raises(DataError):
        begin(folder, "synthesize/1", CONFIG, INPUTS)
    assert read_table(folder, Trace) == [trace]


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    assert begin(tmp_path, "score/1", CONFIG, INPUTS) == _wanted()
    assert json.loads((tmp_path / PROGRESS).read_text()) == {
        "stage": "score/1", "fingerprint": _wanted(), "config": CONFIG, "inputs": INPUTS,
    }  # fmt: skip


def test_an_unwritable_folder_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("kept")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(DataError, match=r"cannot write to the output folder .*file[\s\S]*another folder"):
            _writer(folder)
    assert (tmp_path / "file").read_text() == "kept"


# --- is_current and the account ---------------------------------------------------------------------------


def _remove(path: Path) -> None:
    path.unlink()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


@pytest.mark.parametrize("name", ["part-00000.parquet", "part-00002.parquet", "rejected.parquet"])
@pytest.mark.parametrize("damage", [_remove, _truncate])
def test_a_missing_or_short_file_is_noticed_and_made_again(
    damage: Callable[[Path], None], name: str, tmp_path: Path
) -> None:
    folder = tmp_path / "out"
    digest = _work(folder).digest
    damage(folder / name)
    assert not is_current(folder, _wanted())
    if name.startswith("part"):
        with pytest.raises(DataError, match=rf"{name} cannot be read[\s\S]*run the stage again"):
            read_table(folder, Score)
    assert _work(folder).digest == digest
    assert is_current(folder, _wanted())


@pytest.mark.parametrize("rows_in", [0, 2, 4])
def test_rows_in_must_be_rows_out_and_rejected(rows_in: int, tmp_path: Path) -> None:
    writer = _writer(tmp_path / "out")
    writer.write_part(0, [_score(0), _score(1)], [_reject(2)], rows_in=rows_in)
    with pytest.raises(AssertionError, match=f"{rows_in} rows in, but 2 out"):
        writer.commit(1)
    assert not (tmp_path / "out" / MANIFEST).exists()
    assert writer.commit(1, balanced=False).rows_in == rows_in


def test_examples_of_nested_rows_are_rebuilt_as_rows(tmp_path: Path) -> None:
    example = Example(
        "e-1", "L1", (Message("user", "q"),), (Message("assistant", "a"),), ("1",), ("t-1",), ("p-1",), ("s#1",), ("MIT",), (),
        (Span("question", 0, 0, 0, 1),), "single", None, 5, 2, 1,
    )  # fmt: skip
    writer = TableWriter(tmp_path / "out", Example, stage="synthesize/1", config={}, inputs={})
    writer.write_part(0, [example])
    writer.commit(1)
    assert read_table(tmp_path / "out", Example) == [example]
    assert isinstance(read_table(tmp_path / "out", Example)[0].prompt[0], Message)


def test_a_finished_result_is_kept_where_folders_are_named_by_hand(tmp_path: Path) -> None:
    digest = _work(tmp_path / "out").digest
    before = keep_finished.set(True)
    try:
        with pytest.raises(DataError, match="finished result of score with other settings"):
            _writer(tmp_path / "out", {"a": 2})
        assert _work(tmp_path / "out").digest == digest
    finally:
        keep_finished.reset(before)
    _writer(tmp_path / "out", {"a": 2})
    assert not (tmp_path / "out" / MANIFEST).exists()


def test_what_failed_while_it_was_written_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "kept.json"
    write_atomic(path, b"old")

    def half() -> None:
        with written_aside(path) as temporary:
            temporary.write_bytes(b"new, but ha")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        half()
    assert (path.read_bytes(), [one.name for one in tmp_path.iterdir()]) == (b"old", ["kept.json"])
