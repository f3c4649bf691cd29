"""The GPU measurements at toy size on the CPU: every part runs and says what it should; no speed is judged."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest

from realdata import need_extra

need_extra("trl")
sys.path.insert(0, str(Path(__file__).parents[1]))
import torch  # noqa: E402
from bench.gpu import parts, run  # noqa: E402
from bench.gpu.common import Place, most_layers, random_rows, train_once  # noqa: E402

HERE = Place("cpu", True)
pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> None:
    torch.set_num_threads(1)


def test_parity_is_seen_and_so_is_a_leak() -> None:
    found = list(parts.parity(HERE))
    assert [entry["precision"] for entry in found] == ["fp32", "bf16"]
    for entry in found:
        close = 1e-5 if entry["precision"] == "fp32" else 1e-2
        assert max(entry[name] for name in ("padded, sdpa", "one line, isolated", "packed, isolated")) < close
        assert entry["leaking on purpose"] > 3 * close


def test_both_losses_are_the_same() -> None:
    for pieces, logits in zip(*[iter(parts.head(HERE))] * 2, strict=True):
        assert (pieces["loss"], logits["loss"]) == ("in pieces", "all logits")
        assert pieces["value"] == pytest.approx(logits["value"], abs=2e-2)
        assert math.log(300) - 1 < logits["value"] < math.log(300) + 1


def test_ours_and_the_peer_take_the_same_steps() -> None:
    ours, eager, sdpa = parts.peer(HERE)
    assert len(ours["losses"]) == len(eager["losses"]) == len(sdpa["losses"]) == 8
    assert max(eager["losses_apart"], sdpa["losses_apart"]) < 2e-2  # bf16
    assert eager["tokens_per_second"] * eager["seconds"] == pytest.approx(ours["tokens_per_second"] * ours["seconds"])


def test_lengths_memory_and_levers() -> None:
    steps = list(parts.lengths(HERE))
    assert [entry["tokens_a_sample"] for entry in steps] == [128, 64, 32, 16]
    assert {entry["tokens_a_step"] for entry in steps} == {128}
    assert all(entry["predicted_gib"] > 0 and entry["mfu"] is None for entry in steps)
    assert len(list(parts.memory(HERE))) == 7
    assert len({entry["what"] for entry in parts.levers(HERE)}) == 6
    assert most_layers("Qwen2.5-7B", 128, HERE, 0.9) == 2
    rows = random_rows([16], 300)
    with pytest.raises(AssertionError, match="not in force"):
        train_once(HERE.shape("", 1), rows, HERE, batch=1, steps=1, layout={"attention": "sdpa"}, lined=True)


def test_the_stage_and_ddp_of_one() -> None:
    plain, again, alone = parts.stage(HERE)
    assert len(plain["losses"]) == plain["steps"] == 8
    assert plain["parameters"] == plain["reloaded_parameters"]
    assert again["losses"] == pytest.approx(plain["losses"], abs=2e-2)
    assert alone["exit_code"] == 0
    assert alone["losses_apart"] < 1e-4


def test_decoding_beside_the_bandwidth() -> None:
    found = list(parts.decode(HERE))
    assert [(entry["engine"], entry["rows"]) for entry in found] == [("transformers, our loop", n) for n in (1, 4)]
    for entry in found:
        assert entry["tokens_per_second"] == pytest.approx(entry["rows"] / entry["step_seconds"])
        assert entry["share_of_limit"] == pytest.approx(entry["tokens_per_second"] / entry["limit_tokens_per_second"])


def test_parts_are_written_at_once_and_not_repeated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = ["--out", str(tmp_path), "--device", "cpu", "--tiny"]
    (tmp_path / "head.json").write_text(json.dumps({"part": "head", "state": "done", "rows": [{"extra_gib": 0.5}]}))
    assert run.main(["machine", "head", *wanted]) == 0
    assert json.loads((tmp_path / "machine.json").read_text())["rows"][0]["device"] == "CPU"
    table = (tmp_path / "results.md").read_text()
    assert "## machine" in table
    assert "| 0.5 |" in table
    written = (tmp_path / "machine.json").stat().st_mtime_ns
    assert run.main(["machine", *wanted]) == 0
    assert (tmp_path / "machine.json").stat().st_mtime_ns == written
    assert run.main(["parity", "--seconds", "-1", *wanted]) == 1
    assert run.main(["other", *wanted]) == 2
    assert "no such part: other" in capsys.readouterr().err
