"""From any trace back to its row of the source, and on to every sample it stands in."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from long1k import cli
from long1k.errors import DataError
from long1k.provenance import trace_walk
from long1k.recipe import load_recipe
from long1k.rows import Example, Trace
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.study import run_study
from long1k.tables import read_manifest, read_table
from realdata import real_data

Show = Callable[..., str]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A finished study of data only, from a file of 80 rows and from the micro-world itself."""
    rows = []
    for at, raw in enumerate(MicroSource(MicroConfig(count=80, steps=(1, 4), seed=4)).load()):
        row = {key: getattr(raw, key) for key in ("question", "answer", "thinking", "solution")}
        rows.append(json.dumps({**row, "id": f"row-{at}", "teacher": "by hand", "license": "CC0-1.0"}) + "\n")
    (tmp_path / "rows.jsonl").write_text("".join(rows), encoding="utf-8")
    recipe = {
        "name": "traced", "tokenizer": "package:micro",
        "sources": {
            "file": {"type": "jsonl", "path": str(tmp_path / "rows.jsonl")},
            "made": {"type": "micro", "count": 40, "seed": 9},
        },
        "arms": [{"kind": "ladder", "targets": [60, 120], "samples": 6, "num_problems": [1, 4], "linkers": "micro"},
                 {"kind": "repeated", "of": "L120", "short": "L60"}],
        "train": None,
    }  # fmt: skip
    (tmp_path / "traced.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    run_study(load_recipe(str(tmp_path / "traced.yaml")), tmp_path / "runs", num_workers=1, say=lambda _: None)
    return tmp_path / "runs" / "traced"


def _some(run: Path, source: str) -> tuple[str, Example, int, int]:
    """A trace of a source that stands in a sample: its id, the sample, the sample's row and the part."""
    for row, example in enumerate(read_table(run / "arms" / "L120" / "seed-0" / "synthesize", Example)):
        for part, origin in enumerate(example.sources):
            if origin.startswith(source):
                return example.trace_ids[part], example, row, part
    raise AssertionError(f"no sample has a trace of {source}")


@pytest.fixture
def show(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Show:
    """The output of ``long1k show`` in this process; errors come back as text."""
    monkeypatch.setattr("signal.signal", lambda *_: None)

    def ran(*arguments: Any) -> str:
        monkeypatch.setattr("sys.argv", ["long1k", "show", *map(str, arguments)])
        with pytest.raises(SystemExit):
            cli.main()
        printed = capsys.readouterr()
        return printed.out + printed.err

    return ran


@pytest.mark.parametrize("source", ["file", "made"])
def test_a_trace_is_walked_from_its_samples_to_its_source(run: Path, source: str) -> None:
    trace_id, example, row, part = _some(run, source)
    walk = trace_walk(run, trace_id)
    assert walk.trace == read_table(run / "collect", Trace)[walk.pool_row]
    assert walk.pool == run / "collect"
    here = [use for use in walk.uses if use.example_id == example.example_id]
    assert [(use.arm, use.row, use.part, use.num_parts) for use in here] == [
        ("L120", row, part, len(example.trace_ids))
    ]
    if example.linkers:
        assert here[0].linker == example.linkers[part]
    assert walk.origin.state == "unchanged since the pool was made"
    assert walk.origin.row is not None
    assert (walk.origin.row["question"], walk.origin.row["thinking"]) == (walk.trace.question, walk.trace.thinking)
    assert walk.origin.row["source_row"] == walk.trace.source_row


def test_every_use_is_found_and_none_is_invented(run: Path) -> None:
    tables = sorted(run.glob("arms/*/seed-0/synthesize"))
    stands = [
        (t, row, trace_id) for t in tables for row, e in enumerate(read_table(t, Example)) for trace_id in e.trace_ids
    ]
    found = []
    for trace in read_table(run / "collect", Trace):
        found += [(use.table, use.row, trace.trace_id) for use in trace_walk(run, trace.trace_id).uses]
    assert sorted(found) == sorted(stands)


def test_a_pool_a_table_and_a_run_tell_the_same(run: Path) -> None:
    trace_id = _some(run, "file")[0]
    table = run / "arms" / "L120" / "seed-0" / "synthesize"
    of_run, of_pool, of_table = (trace_walk(folder, trace_id) for folder in (run, run / "collect", table))
    assert [use.example_id for use in of_run.uses] == [use.example_id for use in of_pool.uses]
    assert [use.example_id for use in of_table.uses] == [u.example_id for u in of_run.uses if u.arm == "L120"]
    assert of_run.origin == of_pool.origin == of_table.origin
    # The beginning of an id is enough where it is one trace's alone.
    assert trace_walk(run, trace_id[:12]).trace.trace_id == trace_id


def test_a_table_alone_needs_its_pool(run: Path, tmp_path: Path) -> None:
    trace_id = _some(run, "file")[0]
    alone, pool = tmp_path / "alone", tmp_path / "pool"
    shutil.copytree(run / "arms" / "L120" / "seed-0" / "synthesize", alone)
    shutil.copytree(run / "collect", pool)
    with pytest.raises(DataError, match="does not say where its pool lies"):
        trace_walk(alone, trace_id)
    assert [use.arm for use in trace_walk(alone, trace_id, pool).uses] == ["L120"]
    assert trace_walk(pool, trace_id).uses == []  # a pool of its own knows no samples
    assert trace_walk(pool, trace_id).origin.row is not None
    with pytest.raises(DataError, match="no trace pool"):
        trace_walk(alone, trace_id, alone)


def test_another_pool_is_refused(run: Path, tmp_path: Path) -> None:
    trace_id = _some(run, "file")[0]
    other = tmp_path / "other"
    shutil.copytree(run / "collect", other)
    manifest = json.loads((other / "manifest.json").read_text())
    (other / "manifest.json").write_text(json.dumps({**manifest, "digest": "0" * 64}))
    with pytest.raises(DataError, match="made from another pool"):
        trace_walk(run / "arms" / "L120" / "seed-0" / "synthesize", trace_id, other)


def test_a_source_that_changed_or_went_is_said_so(run: Path, tmp_path: Path) -> None:
    trace_id = _some(run, "file")[0]
    with (tmp_path / "rows.jsonl").open("a") as handle:
        handle.write("\n")
    changed = trace_walk(run, trace_id).origin
    assert changed.row is None
    assert changed.state.startswith("changed since the pool was made")
    (tmp_path / "rows.jsonl").unlink()
    gone = trace_walk(run, trace_id).origin
    assert gone.row is None
    assert gone.state.startswith("not there any more")
    assert str(tmp_path / "rows.jsonl") in gone.place


def test_a_pool_that_does_not_know_its_sources_asks_the_run(run: Path, tmp_path: Path) -> None:
    trace_id = _some(run, "file")[0]
    path = run / "collect" / "manifest.json"
    manifest = json.loads(path.read_text())
    del manifest["info"]["source_configs"]
    path.write_text(json.dumps(manifest))
    assert trace_walk(run, trace_id).origin.state == "unchanged since the pool was made"
    shutil.copytree(run / "collect", tmp_path / "moved")
    assert "neither the pool nor a run" in trace_walk(tmp_path / "moved", trace_id).origin.state


def test_ids_that_are_none_or_many(run: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="has no trace t-zz"):
        trace_walk(run, "t-zz")
    with pytest.raises(DataError, match=r"\d+ traces of .* begin with t-"):
        trace_walk(run, "t-")
    with pytest.raises(DataError, match="there is no folder"):
        trace_walk(tmp_path / "nowhere", "t-0")
    with pytest.raises(DataError, match="holds no traces and no samples"):
        trace_walk(run / "report", "t-0")


def test_show_prints_the_walk(run: Path, show: Show) -> None:
    trace_id, example, row, part = _some(run, "file")
    said = show(run, "--trace", trace_id)
    pool = read_manifest(run / "collect")
    assert f"row {row}: part {part + 1} of {len(example.trace_ids)}" in said
    for expected in ("teacher: by hand", "licence: CC0-1.0", str(pool.info["tokenizer"]), str(pool.info["template"])):
        assert expected in said
    assert f"{example.sources[part]}, " in said
    assert "unchanged since the pool was made" in said
    assert "  question: " in said
    assert "-> give more of the id" in show(run, "--trace", "t-")


def test_show_names_the_source_of_every_part(run: Path, show: Show) -> None:
    _, example, row, _ = _some(run, "file")
    said = show(run / "arms" / "L120" / "seed-0" / "synthesize", "--row", row)
    for trace_id, source, problem_id, license_ in zip(
        example.trace_ids, example.sources, example.problem_ids, example.licenses, strict=True
    ):
        assert trace_id in said
        assert f"from {source}, {problem_id}, licence {license_}" in said


def test_a_study_of_data_prints_its_balance(run: Path, tmp_path: Path) -> None:
    said: list[str] = []
    run_study(load_recipe(str(tmp_path / "traced.yaml")), tmp_path / "runs", num_workers=1, say=said.append)
    assert any("balance.md  (kept)" in line for line in said)
    table = said[-1].strip().splitlines()
    assert [line.split()[0] for line in table[:4]] == ["arm", "L60", "L120", "repeat-L60-as-L120"]
    assert (run / "arms" / "balance.json").is_file()


def test_a_real_trace_is_walked_back_to_its_row(tmp_path: Path, show: Show, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LONG1K_DATA", str(real_data()))
    source = real_data("traces", "aime_journey_shortcut.jsonl.gz")
    monkeypatch.setattr(
        "sys.argv",
        [
            "long1k",
            "collect",
            str(source),
            "--tokenizer",
            str(real_data("tokenizer_qwen2")),
            "--out",
            str(tmp_path / "pool"),
        ],
    )
    with pytest.raises(SystemExit):
        cli.main()
    trace = read_table(tmp_path / "pool", Trace)[7]
    walk = trace_walk(tmp_path / "pool", trace.trace_id)
    assert walk.origin.row is not None
    assert walk.origin.row["question"] == trace.question
    assert trace.thinking[:200] in walk.origin.row["response"]
    assert str(source) in show(tmp_path / "pool", "--trace", trace.trace_id)
