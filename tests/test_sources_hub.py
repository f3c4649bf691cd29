"""The hub's own client against a server on this machine: fetched or streamed, the rows are those of local files."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hubserver import COMMITS, FakeHub, fake_hub
from long1k import hub as hub_module
from long1k.errors import DataError, MissingExtraError
from long1k.plugins import need
from long1k.sources.files import FilesConfig, FilesSource
from long1k.sources.openr1 import OpenR1Config, OpenR1Source
from long1k.sources.openthoughts import OpenThoughtsConfig, OpenThoughtsSource
from long1k.sources.raw import RawTrace
from long1k.sources.s1k import S1kConfig, S1kSource
from realdata import need_extra
from test_sources_files import write_rows

need_extra("huggingface_hub")
ROWS = [{"question": f"q{i}", "answer": str(i), "response": f"<think>t{i}</think>{i}"} for i in range(30)]
CARD = """---
configs:
- config_name: default
  data_files:
  - split: train
    path: data/train-*
  - split: test
    path: [data/test-*]
- config_name: lines
  data_files: rows/*.jsonl.gz
---
# A data set
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    constants = need("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_PROGRESS_BARS", True)
    need("huggingface_hub").HfFileSystem.clear_instance_cache()
    made = tmp_path / "made"
    made.mkdir()
    files = {
        "data/train-0.parquet": write_rows(made / "a.parquet", ROWS[:20], 6),
        "data/train-1.parquet": write_rows(made / "b.parquet", ROWS[20:], 6),
        "data/test-0.parquet": write_rows(made / "c.parquet", ROWS[:2]),
        "rows/part.jsonl.gz": write_rows(made / "d.jsonl.gz", ROWS),
        "rows/part.csv": write_rows(made / "e.csv", ROWS),
        "rows/part.jsonl": write_rows(made / "f.jsonl", ROWS),
    }
    data = {name: path.read_bytes() for name, path in files.items()}
    with fake_hub({"a/carded": {"README.md": CARD.encode(), **data}, "a/bare": data}) as server:
        yield server


def _source(hub: FakeHub, repo: str = "a/carded", **config: Any) -> FilesSource:
    return FilesSource(FilesConfig(hub=repo, endpoint=hub.endpoint, **config))


def _questions(source: Any) -> list[str]:
    rows = list(source.load())
    assert all(isinstance(row, RawTrace) for row in rows)
    assert len({row.source_row for row in rows}) == len(rows)
    chunks = pickle.loads(pickle.dumps(list(source.chunks(4))))
    assert [row for chunk in chunks for row in chunk.load()] == rows
    return [row.question for row in rows]


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize(
    ("repo", "config", "expected"),
    [
        ("a/carded", {}, 30),
        ("a/carded", {"split": "test"}, 2),
        ("a/carded", {"config": "lines"}, 30),
        ("a/carded", {"files": ["rows/*.csv"]}, 30),
        ("a/carded", {"files": ["rows/part.jsonl"]}, 30),
        ("a/carded", {"revision": "v1", "limit": 25}, 25),
        ("a/bare", {}, 30),
        ("a/bare", {"split": "test"}, 2),
        ("a/bare", {"config": "data"}, 30),
    ],
)
def test_rows_are_the_same_fetched_or_streamed(
    repo: str, config: dict[str, Any], expected: int, streaming: bool, hub: FakeHub
) -> None:
    source = _source(hub, repo, streaming=streaming, **config)
    assert _questions(source) == [row["question"] for row in ROWS[:expected]]
    assert source.describe() == f"files {repo}"


def test_streaming_reads_no_more_of_a_file_than_it_needs(hub: FakeHub, tmp_path: Path) -> None:
    assert _questions(_source(hub, streaming=True, files=["data/*"])) == [row["question"] for row in ROWS[:2] + ROWS]
    assert not any("rows/" in asked for asked in hub.asked)
    assert not list((tmp_path / "cache").rglob("*.parquet"))


def test_files_are_fetched_once_and_then_read_without_the_network(hub: FakeHub) -> None:
    source = _source(hub)
    first = _questions(source)
    fetched = len([asked for asked in hub.asked if asked.startswith("GET") and ".parquet" in asked])
    assert fetched == 2
    assert _questions(_source(hub)) == first
    assert len([asked for asked in hub.asked if asked.startswith("GET") and ".parquet" in asked]) == fetched
    hub.data.clear()  # the server now knows nothing
    offline = _source(hub)
    assert _questions(offline) == first
    assert offline.digest() == source.digest()
    with pytest.raises(DataError, match="no data set a/carded"):
        list(_source(hub, config="lines").load())


def test_where_the_network_is_forbidden_the_cache_will_do(hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _questions(_source(hub))
    monkeypatch.setattr(need("huggingface_hub.constants"), "HF_HUB_OFFLINE", True)
    asked = len(hub.asked)
    assert _questions(_source(hub)) == first
    assert len(hub.asked) == asked
    for config in ({"files": ["rows/*.csv"]}, {"revision": "v1"}):
        with pytest.raises(DataError, match=r"HF_HUB_OFFLINE forbids[\s\S]*-> export HF_HUB_OFFLINE=0"):
            list(_source(hub, **config).load())


def test_the_digest_is_that_of_commit_and_files(hub: FakeHub) -> None:
    made = [_source(hub), _source(hub, revision="v1"), _source(hub, split="test"), _source(hub, config="lines")]
    digests = [source.digest() for source in made]
    assert len(set(digests)) == 4
    assert digests[0] == _source(hub, revision=COMMITS["main"]).digest() == _source(hub, streaming=True).digest()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"hub": "a/absent"}, r"the hub has no data set a/absent[\s\S]*-> check hub: OWNER/NAME"),
        ({"hub": "a/carded", "revision": "v9"}, r"no such revision[\s\S]*-> give a branch"),
        ({"hub": "a/carded", "config": "x"}, r"no configuration 'x'[\s\S]*-> config: one of default, lines"),
        ({"hub": "a/carded", "split": "x"}, r"no split 'x'[\s\S]*-> split: one of train, test"),
        ({"hub": "a/carded", "files": ["x/*"]}, r"no file for x/\*[\s\S]*it has README.md, data/train-0.parquet"),
        ({"hub": "a/bare", "split": "x"}, "no file for x"),
        ({"hub": "a/b/c"}, r"cannot be a data set[\s\S]*-> hub: OWNER/NAME"),
        ({"hub": "a/b", "endpoint": "http://127.0.0.1:9"}, r"the hub cannot give[\s\S]*-> check the network"),
    ],
)
def test_what_the_hub_cannot_give_is_an_error_that_helps(config: dict[str, Any], message: str, hub: FakeHub) -> None:
    source = FilesSource(FilesConfig.model_validate({"endpoint": hub.endpoint, **config}))
    for call in (source.digest, lambda: list(source.load())):
        with pytest.raises(DataError, match=message):
            call()


def test_a_server_that_goes_away_is_an_error_that_helps(hub: FakeHub) -> None:
    source = _source(hub, streaming=True, files=["data/train-*"])
    source.digest()
    hub.data.clear()
    with pytest.raises(DataError, match=r"a/carded[\s\S]*->"):
        list(source.load())


def test_without_the_hubs_client_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(module: str) -> Any:
        raise MissingExtraError(module, "hub")

    monkeypatch.setattr(hub_module, "need", absent)
    with pytest.raises(MissingExtraError, match=r"long1k\[hub\]"):
        FilesSource(FilesConfig(hub="a/b")).digest()


def test_named_sources_know_their_data_set_and_its_files(tmp_path: Path, hub: FakeHub) -> None:
    chat = {"conversations": [{"from": "user", "value": "q"}, {"from": "assistant", "value": "r"}]}
    meta = {"problem": "p", "deepseek_reasoning": "t", "deepseek_solution": "s", "domain": "math"}
    s1k = {"question": "q", "deepseek_thinking_trajectory": "t", "deepseek_attempt": "s", "solution": "5"}
    openr1 = {"problem": "p", "answer": "5", "generations": ["<think>a</think>5"]}

    def stored(row: dict[str, Any]) -> bytes:
        return write_rows(tmp_path / "rows.parquet", [row]).read_bytes()

    hub.data.update({
        "open-thoughts/OpenThoughts-114k": {
            "data/train-0.parquet": stored(chat), "metadata/train-0.parquet": stored(meta), "README.md": b"",
        },
        "open-thoughts/OpenThoughts3-1.2M": {"data/train-0.parquet": stored({**chat, "difficulty": 9, "domain": "code"})},
        "simplescaling/s1K-1.1": {"data/train-0.parquet": stored(s1k)},
        "open-r1/OpenR1-Math-220k": {
            "data/train-0.parquet": stored(openr1), "all/train-0.parquet": stored({**openr1, "problem": "all"}),
        },
    })  # fmt: skip
    thoughts: dict[str, Any] = {"endpoint": hub.endpoint, "hub": True}
    assert _questions(OpenThoughtsSource(OpenThoughtsConfig(**thoughts))) == ["p"]
    assert _questions(OpenThoughtsSource(OpenThoughtsConfig(**thoughts, config="default"))) == ["q"]
    third = {**thoughts, "hub": "open-thoughts/OpenThoughts3-1.2M"}
    (row,) = OpenThoughtsSource(OpenThoughtsConfig(**third)).load()
    assert isinstance(row, RawTrace)
    assert (row.teacher, row.difficulty, row.subject) == ("QwQ-32B", 9.0, "code")
    assert _questions(S1kSource(S1kConfig(**thoughts))) == ["q"]
    assert _questions(OpenR1Source(OpenR1Config(**thoughts, streaming=True))) == ["p"]
    assert _questions(OpenR1Source(OpenR1Config(**thoughts, config="all"))) == ["all"]
    assert json.loads(OpenR1Config(**thoughts).model_dump_json())["hub"] == "open-r1/OpenR1-Math-220k"
