"""Logs of inspect_ai: what a log holds, archives that mean harm, and the shape that its reader asks for."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from long1k.errors import DataError
from long1k.interop.results import format_of, import_results
from long1k.interop.results_export import export_results
from long1k.interop.streams import Archive
from long1k.rows import Prediction
from long1k.tables import read_rejected, read_table
from test_interop_results import exported, prediction, some, table, verdicts


def sample(**changes: Any) -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": [{"type": "reasoning", "reasoning": "hm"}, {"type": "text", "text": "4"}],
    }
    return {
        "id": 1, "epoch": 2, "input": [{"role": "system", "content": "s"}, {"role": "user", "content": "2+2?"}],
        "target": ["4", "four"], "scores": {"match": {"value": "C"}, "judge": {"value": 0}}, "events": [{"a": 1}],
        "output": {"choices": [{"message": message, "stop_reason": "max_tokens"}],
                   "usage": {"input_tokens": 3, "output_tokens": 9, "reasoning_tokens": 4}},
        **changes,
    }  # fmt: skip


HEADER = {"version": 2, "status": "success", "eval": {"task": "sums", "model": "m/1"}}


def archive(path: Path, members: dict[str, Any]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, value in members.items():
            made.writestr(name, value if isinstance(value, str | bytes) else json.dumps(value))
    return path


def zstd_archive(path: Path, members: dict[str, Any], claimed: int | None = None) -> Path:
    """A zip archive with method 93, which Python writes only from 3.14 on."""
    body, directory = b"", b""
    for name, value in members.items():
        data = json.dumps(value).encode()
        packed = pa.compress(data, "zstd", asbytes=True)
        size = len(data) if claimed is None else claimed
        common = struct.pack("<HHHHHIIIHH", 20, 0, 93, 0, 33, zlib.crc32(data), len(packed), size, len(name), 0)
        directory += b"PK\1\2" + struct.pack("<H", 20) + common + struct.pack("<HHHII", 0, 0, 0, 0, len(body))
        directory += name.encode()
        body += b"PK\3\4" + common + name.encode() + packed
    end = struct.pack("<HHHHIIH", 0, 0, len(members), len(members), len(directory), len(body), 0)
    path.write_bytes(body + directory + b"PK\5\6" + end)
    return path


@pytest.mark.parametrize("pack", [archive, zstd_archive])
def test_a_log_is_read_sample_by_sample(pack: Any, tmp_path: Path) -> None:
    long = "x" * 200
    attached = sample(
        id="b", epoch=1, input="attachment://k", target="5", attachments={"k": long}, scores={},
        output={"choices": [{"message": {"content": "attachment://k"}, "stop_reason": "stop"}]},
    )  # fmt: skip
    members = {
        "header.json": HEADER, "summaries.json": [], "samples/1_epoch_2.json": sample(),
        "samples/b_epoch_1.json": attached, "samples/c_epoch_1.json": sample(id="c", output={"choices": []},
        error={"message": "rate limit"}), "samples/d_epoch_1.json": sample(target=None),
    }  # fmt: skip
    path = pack(tmp_path / "x.eval", members)
    assert format_of(path) == "inspect"
    made = import_results(tmp_path / "p", path, "inspect", name="n")
    assert (made.rows_in, made.rows_out) == (4, 2)
    assert [(one.reason, one.evidence) for one in read_rejected(tmp_path / "p")] == [
        ("no_output", "rate limit"), ("missing_field", "no text in 'target'"),
    ]  # fmt: skip
    first, second = read_table(tmp_path / "p", Prediction)
    assert (first.question, first.answers, first.text) == ("2+2?", ("4",), "<think>\nhm\n</think>\n\n4")
    assert (first.thinking, first.answer_text, first.label, first.sample_index) == ("hm", "4", True, 1)
    assert (first.finish_reason, first.num_tokens, first.num_thinking_tokens) == ("length", 9, 4)
    assert (first.benchmark, first.checkpoint) == ("sums", "m/1")
    assert (second.question, second.text, second.label, second.finish_reason) == (long, long, None, "stop")
    import_results(tmp_path / "o", path, "inspect", name="n", options={"scorer": "judge"})
    assert read_table(tmp_path / "o", Prediction)[0].label is False


def test_a_json_log(tmp_path: Path) -> None:
    path = tmp_path / "log.json"
    path.write_text(json.dumps({**HEADER, "samples": [sample(), "none"]}))
    made = import_results(tmp_path / "p", path, "inspect", name="n")
    assert (made.rows_out, made.rejected) == (1, {"not_an_object": 1})
    export_results(tmp_path / "x", tmp_path / "p", "inspect", provenance=False, options={"log": "json"})
    (again,) = json.loads(exported(tmp_path / "x").read_text())["samples"]
    assert again == {**sample(), "events": []}


def test_archives_that_mean_harm(tmp_path: Path) -> None:
    good = {"header.json": HEADER, "samples/a_epoch_1.json": sample()}
    bomb = archive(tmp_path / "bomb.eval", {**good, "samples/b_epoch_1.json": b'"' + b"0" * 3_000_000 + b'"'})
    one = Archive(bomb, max_bytes=1_000_000)
    with pytest.raises(ValueError, match="unpacks to 3,000,002 bytes"):
        one.read("samples/b_epoch_1.json")
    assert json.loads(one.read("header.json")) == HEADER
    one.close()
    # A member that claims to be small is stopped where it is not.
    liar = zstd_archive(tmp_path / "liar.eval", {"header.json": "0" * 3_000_000}, claimed=10)
    two = Archive(liar, max_bytes=1_000_000)
    with pytest.raises(ValueError, match="more than 1,000,000"):
        two.read("header.json")
    two.close()
    damaged = bytearray(zstd_archive(tmp_path / "d.eval", good).read_bytes())
    damaged[damaged.index(b"samples/a_epoch_1.json") + 40] ^= 255
    (tmp_path / "d.eval").write_bytes(damaged)
    with pytest.raises(DataError, match="malformed_json"):
        import_results(tmp_path / "p", tmp_path / "d.eval", "inspect", name="n")
    deep = archive(tmp_path / "deep.eval", {**good, "samples/c_epoch_1.json": b"[" * 200_000, "../up.json": "{}"})
    made = import_results(tmp_path / "q", deep, "inspect", name="n")
    assert (made.rows_out, made.rejected) == (1, {"malformed_json": 1})
    assert not (tmp_path.parent / "up.json").exists()
    (tmp_path / "no.eval").write_bytes(b"PK\3\4 no archive")
    with pytest.raises(DataError, match="no zip archive"):
        import_results(tmp_path / "r", tmp_path / "no.eval", "inspect", name="n")
    with pytest.raises(DataError, match="no log of inspect_ai"):
        import_results(tmp_path / "s", archive(tmp_path / "e.eval", {"a": "b"}), "inspect", name="n")


def test_a_log_of_ours_has_what_the_viewer_reads(tmp_path: Path) -> None:
    rows = some(tmp_path)
    statuses = ["correct", "wrong", "no_answer", "truncated", "timeout", "correct"] * 2
    verdicts(tmp_path / "s", tmp_path / "p", statuses[: len(rows)])
    export_results(tmp_path / "x", tmp_path / "p", "inspect", scores=tmp_path / "s")
    log = Archive(exported(tmp_path / "x"))
    header = json.loads(log.read("header.json"))
    names = [name for name in log.names if name.startswith("samples/")]
    samples = [json.loads(log.read(name)) for name in names]
    summaries = json.loads(log.read("summaries.json"))
    log.close()
    assert {"version", "status", "eval", "plan", "results", "stats"} == set(header)
    assert header["eval"]["dataset"]["sample_ids"] == list(dict.fromkeys(one["id"] for one in samples))
    assert header["eval"]["config"] == {"epochs": 3}
    assert len(samples) == len(summaries) == header["results"]["total_samples"]
    for one, short in zip(samples, summaries, strict=True):
        assert f"samples/{one['id']}_epoch_{one['epoch']}.json" in names
        assert one["output"]["choices"][0]["message"] == one["messages"][-1]
        assert (one["id"], one["epoch"], one.get("scores")) == (short["id"], short["epoch"], short["scores"])
        assert "long1k" not in short["metadata"]
    values = [one["scores"].get("math", {}).get("value") for one in samples]
    assert values[:5] == ["C", "I", "N", "N", None]  # a failed grade is no score
    assert samples[4]["metadata"]["grade"].startswith("timeout")


def test_reasoning_stands_apart_and_cut_outputs_say_so(tmp_path: Path) -> None:
    table(tmp_path / "p", [prediction("q", "<think>\na\n</think>\n\nb", thinking="a", answer_text="b"),
                           prediction("q", "<think>cut", 1, thinking="cut", answer_text=None, finish_reason="length")])  # fmt: skip
    export_results(tmp_path / "x", tmp_path / "p", "inspect", options={"log": "json"})
    first, second = json.loads(exported(tmp_path / "x").read_text())["samples"]
    assert first["output"]["choices"][0]["message"]["content"] == [
        {"type": "reasoning", "reasoning": "a"}, {"type": "text", "text": "b"},
    ]  # fmt: skip
    assert second["output"]["choices"][0]["stop_reason"] == "max_tokens"
    assert second["messages"][-1]["content"][1]["text"] == ""
