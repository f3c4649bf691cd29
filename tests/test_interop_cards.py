"""Dataset cards, the upload to the hub, and the commands that move data."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import MakePool, MakeTrace
from long1k import cli
from long1k.chat import Chat
from long1k.errors import DataError, EngineError, IncompleteError, MissingExtraError, RecipeError
from long1k.interop import hub
from long1k.interop.card import hub_license, row_type_of, write_card
from long1k.interop.export import export_samples
from long1k.interop.export_config import export_config
from long1k.interop.facts import describe_lengths, table_facts, unknown_licenses, without_paths
from long1k.interop.hub import plan_upload, push
from long1k.joining.spec import JoinSpec
from long1k.rows import Example, Trace
from long1k.stages.synthesize import synthesize
from long1k.tables import is_current, read_manifest, read_table
from realdata import need_extra


@pytest.fixture
def pool(tmp_path: Path, make_pool: MakePool, make_trace: MakeTrace) -> Path:
    """Eight traces of two teachers; all but one have a licence."""
    traces = [
        make_trace(
            f"{s}⊕b", f"{s}⊕b=c.", "\\boxed{c}", "c", teacher="Long | Teacher" if s < "e" else "other",
            license=None if s == "a" else "MIT", source="toy",
        )
        for s in "abcdefgh"
    ]  # fmt: skip
    make_pool(tmp_path / "pool", traces)
    return tmp_path / "pool"


@pytest.fixture
def samples(tmp_path: Path, pool: Path, micro_chat: Chat) -> Path:
    """Four samples of two traces each."""
    spec = JoinSpec(target=31, samples=4, num_problems=(2, 2), tolerance=0.2, layout="turns", linkers="none")
    synthesize(tmp_path / "samples", pool, arm="L31", specs=[spec], seed=1, chat=micro_chat)
    return tmp_path / "samples"


def head(folder: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((folder / "README.md").read_text().split("---\n")[1]))


# --- cards ------------------------------------------------------------------------------------------------


def test_a_pool_gets_a_card(pool: Path) -> None:
    manifest = read_manifest(pool)
    write_card(pool, manifest, Trace)
    text = (pool / "README.md").read_text()
    found = head(pool)
    assert found["license"] == "other"
    assert found["license_details"] == "MIT, unknown"
    assert found["configs"] == [
        {"config_name": "default", "default": True, "data_files": [{"split": "train", "path": "part-*.parquet"}]}
    ]
    assert found["size_categories"] == ["n<1K"]
    assert "| Long \\| Teacher | 4 |" in text
    assert "| unknown | 1 |" in text
    assert "Not checked against any benchmark." in text
    assert "The licence of 1 traces is unknown." in text
    assert manifest.digest in text
    assert str(pool.parent) not in text


def test_a_card_changes_nothing_and_is_written_once(pool: Path) -> None:
    manifest = read_manifest(pool)
    path = write_card(pool, manifest, Trace)
    assert is_current(pool, manifest.fingerprint)
    assert read_manifest(pool) == manifest
    path.write_text(path.read_text() + "\nMy own words.\n")
    write_card(pool, manifest, Trace)
    assert path.read_text().endswith("My own words.\n")
    write_card(pool, replace(manifest, digest="0" * 64), Trace)
    assert "My own words" not in path.read_text()
    assert [p.name for p in pool.iterdir() if p.name.startswith(".")] == []


def test_a_folder_with_a_card_can_be_made_again(pool: Path, samples: Path, micro_chat: Chat) -> None:
    write_card(samples, read_manifest(samples), Example, pool=pool)
    before = read_manifest(samples)
    spec = JoinSpec(target=31, samples=3, num_problems=(2, 2), tolerance=0.2, layout="turns", linkers="none")
    after = synthesize(samples, pool, arm="L31", specs=[spec], seed=1, chat=micro_chat)
    assert after.fingerprint != before.fingerprint
    assert not (samples / "README.md").exists()  # the card of another table went with it


def test_samples_name_lengths_balance_and_the_pools_teachers(pool: Path, samples: Path) -> None:
    manifest = read_manifest(samples)
    write_card(samples, manifest, Example)
    assert "Teachers are not recorded" in (samples / "README.md").read_text()
    write_card(samples, manifest, Example, pool=pool)
    text = (samples / "README.md").read_text()
    rows = read_table(samples, Example)
    lengths = sorted(row.num_tokens for row in rows)
    assert "| Long \\| Teacher | 4 |" in text
    assert f"| all | {len(rows)} | {lengths[0]} |" in text
    assert f"| 2 | {len(rows)} |" in text
    assert f"{sum(lengths):,} tokens" in text
    assert manifest.config["chat"]["tokenizer"] in text
    assert manifest.config["chat"]["template"] in text


def test_what_was_checked_against_benchmarks_is_said(pool: Path) -> None:
    manifest = read_manifest(pool)
    checked = replace(
        manifest, info={**manifest.info, "excluded_questions": 530}, rejected={"in_benchmark": 3}, rows_in=11
    )
    write_card(pool, checked, Trace)
    text = (pool / "README.md").read_text()
    assert "Checked against 530 benchmark questions; traces taken out: 3 in\\_benchmark" in text
    assert "11 rows in = 8 out + 3 rejected" in text


def test_hostile_names_stay_in_their_cells(tmp_path: Path, make_pool: MakePool, make_trace: MakeTrace) -> None:
    evil = "x |\n# Title\n[click](http://a) <b> `c`"
    make_pool(tmp_path / "p", [make_trace("a⊕b", "x", "\\boxed{c}", teacher=evil, license=evil, source=evil)])
    write_card(tmp_path / "p", read_manifest(tmp_path / "p"), Trace)
    text = (tmp_path / "p" / "README.md").read_text()
    assert "\n# Title" not in text.split("---\n", 2)[2]
    assert "[click]" not in text.split("---\n", 2)[2]
    assert head(tmp_path / "p")["license_details"] == evil


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["MIT"], "mit"),
        (["Apache-2.0", "apache 2.0"], "apache-2.0"),
        (["MIT", "Apache-2.0"], "other"),
        (["my own"], "other"),
        (["unknown"], "unknown"),
        (["unknown", "MIT"], "other"),
    ],
)
def test_the_hubs_name_of_a_licence(names: list[str], expected: str) -> None:
    assert hub_license(dict.fromkeys(names, 1)) == expected


def test_facts_are_counts() -> None:
    from collections import Counter

    assert describe_lengths(Counter({10: 1, 20: 2, 30: 1})) == {
        "rows": 4, "min": 10, "p25": 10, "median": 20, "p75": 20, "max": 30, "mean": 20.0,
    }  # fmt: skip
    assert describe_lengths(Counter()) == {"rows": 0}
    assert unknown_licenses(["MIT", "unknown", " Unknown ", ""]) == 3
    assert without_paths({"a": ["/home/me/tokenizer", "x/y"], "b": 1}) == {"a": ["tokenizer", "x/y"], "b": 1}


def test_facts_of_a_table_and_of_its_export_agree(samples: Path, tmp_path: Path) -> None:
    made = export_samples(tmp_path / "out", samples, export_config("messages"))
    assert made.info["facts"] == json.loads(json.dumps(table_facts(samples, read_manifest(samples), Example)))


# --- push -------------------------------------------------------------------------------------------------


class StandIn:
    """Does what the hub's client does with a folder, and remembers it."""

    def __init__(self, fault: Exception | None = None) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.files: dict[str, bytes] = {}
        self.fault = fault

    def create_repo(self, repo_id: str, **options: Any) -> None:
        self.calls.append(("repo", {"repo_id": repo_id, **options}))

    def create_branch(self, repo_id: str, **options: Any) -> None:
        self.calls.append(("branch", {"repo_id": repo_id, **options}))

    def upload_folder(self, **options: Any) -> str:
        self.calls.append(("folder", options))
        if self.fault is not None:
            raise self.fault
        root = Path(options["folder_path"])
        self.files = {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
        return "https://hub/commit/1"


def test_an_upload_is_the_table_with_its_card_and_no_paths(samples: Path) -> None:
    plan = plan_upload(samples, "me/long", allow_unknown_license=True)
    client = StandIn()
    assert push(plan, private=True, revision="v1", client=client) == "https://hub/commit/1"
    assert [name for name, _ in client.calls] == ["repo", "branch", "folder"]
    assert client.calls[0][1] == {"repo_id": "me/long", "repo_type": "dataset", "private": True, "exist_ok": True}
    assert client.calls[2][1]["revision"] == "v1"
    assert set(client.files) == {*read_manifest(samples).files, "README.md", "manifest.json"} == set(plan.files)
    assert client.files["part-00000.parquet"] == (samples / "part-00000.parquet").read_bytes()
    sent = json.loads(client.files["manifest.json"])
    assert sent["digest"] == read_manifest(samples).digest
    assert sent["info"]["tokenizer_folder"] == "micro"
    assert {name: len(data) for name, data in client.files.items()} == plan.files


def test_exports_are_pushed_with_their_folders(samples: Path, tmp_path: Path, micro_chat: Chat) -> None:
    config = export_config("llamafactory", template="mine")
    export_samples(tmp_path / "out", samples, config, chat=micro_chat)
    client = StandIn()
    push(plan_upload(tmp_path / "out", "me/x", allow_unknown_license=True), client=client)
    assert "samples/data-00000-of-00001.jsonl" in client.files
    assert client.calls[0][1]["private"] is False
    assert head(tmp_path / "out")["configs"][0]["data_files"][0]["path"] == "samples/data-*.jsonl"


def test_what_must_not_be_uploaded_is_refused(samples: Path, pool: Path, tmp_path: Path) -> None:
    for name in ("long", "a/b/c", "me/..", "-a/b", "me/a--b"):
        with pytest.raises(RecipeError, match="expected owner/name"):
            plan_upload(samples, name)
    with pytest.raises(DataError, match="the licence of 1 of 8 entries is unknown"):
        plan_upload(pool, "me/x")
    assert plan_upload(pool, "me/x", allow_unknown_license=True).licenses == {"MIT": 7, "unknown": 1}
    (samples / "part-00000.parquet").rename(tmp_path / "aside")
    with pytest.raises(IncompleteError, match="files are missing"):
        plan_upload(samples, "me/x", allow_unknown_license=True)
    (pool / "manifest.json").unlink()
    with pytest.raises(IncompleteError, match="never finished"):
        plan_upload(pool, "me/x", allow_unknown_license=True)


def test_only_traces_and_samples_are_pushed(pool: Path) -> None:
    manifest = read_manifest(pool)
    assert row_type_of(manifest) is Trace
    replace(manifest, stage="score/1").write(pool)
    with pytest.raises(DataError, match="holds the result of score"):
        plan_upload(pool, "me/x")


def test_a_hub_that_refuses_is_a_message(samples: Path) -> None:
    plan = plan_upload(samples, "me/x", allow_unknown_license=True)
    with pytest.raises(EngineError, match="ValueError: no token") as caught:
        push(plan, client=StandIn(ValueError("no token\n found")))
    assert "hf auth login" in str(caught.value)
    with pytest.raises(EngineError, match="check the network"):
        push(plan, client=StandIn(OSError("unreachable")))


def test_a_missing_client_names_the_extra(samples: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_upload(samples, "me/x", allow_unknown_license=True)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(MissingExtraError, match=r"long1k\[hub\]"):
        push(plan)


class _Hub(BaseHTTPRequestHandler):
    """The few answers of the hub that one commit needs; every file is an ordinary one."""

    seen: list[tuple[str, bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        self.seen.append((self.path, body))
        base = f"http://{self.headers['Host']}"
        if "/preupload/" in self.path:
            names = [one["path"] for one in json.loads(body)["files"]]
            answer: dict[str, Any] = {
                "files": [{"path": name, "uploadMode": "regular", "shouldIgnore": False} for name in names]
            }
        elif "/commit/" in self.path:
            answer = {"commitUrl": f"{base}/datasets/me/long/commit/abc", "commitOid": "abc", "success": True}
        elif "/repos/create" in self.path:
            answer = {"url": f"{base}/datasets/me/long"}
        else:
            answer = {"errors": [], "warnings": []}
        self._answer(answer)

    def do_GET(self) -> None:
        self.seen.append((self.path, b""))
        self._answer({"id": "me/long", "sha": "abc", "siblings": [], "name": "me", "type": "user"})

    def _answer(self, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def loopback() -> Iterator[tuple[str, list[tuple[str, bytes]]]]:
    seen: list[tuple[str, bytes]] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Hub,), {"seen": seen}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", seen
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_real_client_sends_every_file(
    samples: Path, loopback: tuple[str, list[tuple[str, bytes]]], tmp_path: Path
) -> None:
    need_extra("huggingface_hub")
    address, seen = loopback
    # Without what tests before this one may have left: training keeps the hub's client offline in its process.
    kept = ("_proxy", "hf_hub_offline")
    hidden = {name: value for name, value in os.environ.items() if not name.lower().endswith(kept)}
    ran = subprocess.run(
        [sys.executable, "-m", "long1k.cli", "push", str(samples), "--to", "me/long", "--allow-unknown-licence"],
        capture_output=True, text=True, timeout=120, check=False,
        env={**hidden, "HF_ENDPOINT": address, "HF_TOKEN": "hf_stand_in", "HF_HOME": str(tmp_path / "hf"),
             "HF_HUB_DISABLE_TELEMETRY": "1"},
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert f"uploaded: {address}/datasets/me/long/commit/abc" in ran.stdout
    [commit] = [body for path, body in seen if "/commit/" in path]
    lines = [json.loads(line) for line in commit.splitlines()]
    sent = {
        line["value"]["path"]: base64.b64decode(line["value"]["content"]) for line in lines if line["key"] == "file"
    }
    assert set(sent) == {*read_manifest(samples).files, "README.md", "manifest.json"}
    local = (samples / "README.md").read_text()
    assert 'load_dataset("samples"' in local
    assert sent["README.md"].decode() == local.replace('load_dataset("samples"', 'load_dataset("me/long"')
    assert str(tmp_path).encode() not in sent["manifest.json"]


# --- commands ---------------------------------------------------------------------------------------------


def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: object) -> tuple[int, str, str]:
    monkeypatch.setattr(sys, "argv", ["long1k", *map(str, words)])
    monkeypatch.setattr(cli.signal, "signal", lambda *_: None)
    code = 0
    try:
        cli.main()
    except SystemExit as end:
        code = int(end.code or 0)
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_out_in_and_out_again(
    samples: Path, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def long1k(*words: object) -> tuple[int, str, str]:
        return run(capsys, monkeypatch, *words)

    code, out, _ = long1k("export", samples, "--format", "sharegpt", "--out", tmp_path / "sg", "--pool", pool)
    assert code == 0
    assert "4 rows in = 4 out + 0 rejected" in out
    assert "Long \\| Teacher" in (tmp_path / "sg" / "README.md").read_text()
    code, out, _ = long1k("import", tmp_path / "sg", "--tokenizer", "package:micro", "--out", tmp_path / "back")
    assert code == 0
    assert "4 rows in = 4 out + 0 rejected; 1 files, 4 rows with their provenance" in " ".join(out.split())
    assert read_table(tmp_path / "back", Example) == read_table(samples, Example)
    assert head(tmp_path / "back")["tags"]
    code, out, _ = long1k("export", tmp_path / "back", "--format", "tokenized", "--out", tmp_path / "tok")
    assert code == 0
    code, out, _ = long1k("push", tmp_path / "tok", "--to", "me/tok", "--dry-run", "--allow-unknown-licence")
    assert code == 0
    assert "4 rows, 3 files" in out
    assert "uploaded" not in out


MISTAKES: dict[str, tuple[str, int, str]] = {
    "format": ("export {samples} --format llama-factory -o {out}", 2, "did you mean 'llamafactory'"),
    "pool": ("export {pool} --format jsonl -o {out}", 1, "holds no samples"),
    "pool tokenized": ("export {pool} --format tokenized -o {out}", 1, "holds no samples"),
    "same folder": ("export {samples} --format jsonl -o {samples}", 1, "holds the result of synthesize"),
    "template": ("export {samples} --format llamafactory -o {out}", 1, "no LLaMA-Factory template is known"),
    "not a table": ("export {tmp} --format jsonl -o {out}", 1, "has no manifest.json"),
    "no tokenizer": ("import {rows} -o {out}", 2, "samples need --tokenizer"),
    "as what": ("import {rows} --as sample -o {out}", 2, "expected predictions or samples"),
    "arm of samples": ("import {rows} --as samples --arm x -o {out}", 2, "--arm goes with predictions"),
    "two predictions": ("import {rows} {rows} --as predictions -o {out}", 2, "come from one file"),
    "to": ("push {samples} --to x", 2, "expected owner/name"),
    "licence": ("push {pool} --to a/b", 1, "is unknown"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_messages(
    mistake: str, samples: Path, pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "a", "output": "b"}\n')
    words, code, message = MISTAKES[mistake]
    places = {"samples": samples, "pool": pool, "tmp": tmp_path, "out": tmp_path / "out", "rows": rows}
    ended, _, shown = run(capsys, monkeypatch, *(word.format(**places) for word in words.split()))
    assert ended == code
    assert message in " ".join(shown.split())
    assert "Traceback" not in shown
    assert is_current(samples, read_manifest(samples).fingerprint)


@pytest.mark.parametrize(
    ("row", "kind"),
    [
        ({"question": "q", "answer": "5", "response": "r"}, "predictions"),
        ({"problem": "q", "gold": 5, "output": "r"}, "predictions"),
        ({"instruction": "q", "answer": "5", "output": "r"}, "predictions"),
        ({"instruction": "q", "input": "", "output": "r"}, "samples"),
        ({"prompt": [], "completion": []}, "samples"),
        ({"messages": []}, "samples"),
        ({"text": "<|im_start|>"}, "samples"),
        ({"input_ids": [1], "labels": [1]}, "samples"),
        ({"a": 1}, "predictions"),
    ],
)
def test_rows_tell_what_they_are(row: dict[str, Any], kind: str, tmp_path: Path) -> None:
    from long1k.cli_data import _kind

    path = tmp_path / "x.jsonl"
    path.write_text("[broken\n" + json.dumps(row) + "\n")
    assert _kind([path], None, [], None) == kind
    assert _kind([path], None, ["question=a"], None) == "predictions"
    assert _kind([path], "samples", ["question=a"], None) == "samples"


def test_help_names_the_commands(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for command in ("export", "import", "push"):
        code, out, _ = run(capsys, monkeypatch, command, "--help")
        assert code == 0
        assert "Example:  long1k " + command in out
    assert hub.CARD == "README.md"


def test_a_card_that_is_there_is_pushed_as_it_is(samples: Path, pool: Path) -> None:
    path = write_card(samples, read_manifest(samples), Example, pool=pool, language="de")
    path.write_text(path.read_text() + "\nMy own words.\n")
    before = path.read_text()
    plan = plan_upload(samples, "me/long", allow_unknown_license=True)
    assert path.read_text() == before
    client = StandIn()
    push(plan, client=client)
    loads = 'load_dataset("{}"'
    assert client.files["README.md"].decode() == before.replace(loads.format(samples.name), loads.format("me/long"))
    assert "Long \\| Teacher" in before


def test_the_pool_of_a_card_must_be_the_one_behind_the_samples(
    samples: Path, pool: Path, tmp_path: Path, make_pool: MakePool, make_trace: MakeTrace
) -> None:
    other = tmp_path / "other"
    make_pool(other, [make_trace("a⊕b", "x", "\\boxed{c}", teacher="Somebody Else")])
    with pytest.raises(DataError, match="another pool"):
        write_card(samples, read_manifest(samples), Example, pool=other)
    with pytest.raises(DataError, match="no trace pool"):
        write_card(samples, read_manifest(samples), Example, pool=samples)
    export_samples(tmp_path / "out", samples, export_config("messages"))
    with pytest.raises(DataError, match="another pool"):
        write_card(tmp_path / "out", read_manifest(tmp_path / "out"), Example, pool=other)
    assert "Long \\| Teacher" in write_card(
        tmp_path / "out", read_manifest(tmp_path / "out"), Example, pool=pool
    ).read_text()  # fmt: skip


def test_one_licence_that_the_hub_does_not_know_is_named(
    tmp_path: Path, make_pool: MakePool, make_trace: MakeTrace
) -> None:
    make_pool(tmp_path / "p", [make_trace("a⊕b", "x", "\\boxed{c}", license="my own terms")])
    write_card(tmp_path / "p", read_manifest(tmp_path / "p"), Trace)
    found = head(tmp_path / "p")
    assert (found["license"], found["license_name"]) == ("other", "my own terms")


def test_imported_samples_are_shown(
    samples: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run(capsys, monkeypatch, "export", samples, "--format", "messages", "--out", tmp_path / "out")
    run(capsys, monkeypatch, "import", tmp_path / "out", "--tokenizer", "package:micro", "--out", tmp_path / "back")
    code, shown, _ = run(capsys, monkeypatch, "show", tmp_path / "back", "--row", 1)
    assert code == 0
    assert read_table(tmp_path / "back", Example)[1].example_id in shown
    assert "trained:" in shown
