"""predict, killed with SIGKILL at random moments and started again, gives the table of an undisturbed run."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from long1k.chat import Chat
from long1k.cli import app
from long1k.tokens import load_tokenizer
from realdata import need_extra

need_extra("trl")
import torch  # noqa: E402

from long1k.training.checkpoint import new_model  # noqa: E402
from long1k.training.config import ModelInit  # noqa: E402
from long1k.training.saving import save_checkpoint  # noqa: E402

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "kill_and_resume.py"


def here(command: list[str], *, check: bool, stdout: Any) -> None:
    """A command of ours that nobody kills, in this process: torch is loaded already."""
    assert (command[1:3], check, stdout) == (["-m", "long1k.cli"], True, subprocess.DEVNULL)
    done = CliRunner().invoke(app, command[3:])
    assert done.exit_code == 0, done.output


@pytest.mark.slow
def test_predict_killed_at_random_moments_gives_the_same_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.set_num_threads(1)
    chat = Chat(load_tokenizer("package:micro"))
    # A model of noise, wide enough that its outputs take some seconds and few of them end by themselves.
    model = new_model(ModelInit(hidden_size=128, num_heads=4, initializer_range=0.1), chat.tokenizer, chat.end_id)
    save_checkpoint(model, chat.tokenizer, chat.end_id, tmp_path / "model")
    command = (
        f"predict {tmp_path / 'model'} --benchmark micro --option count=20 --option 'steps=[1, 3]' --threads 1 "
        "--set samples=4 --set temperature=1.0 --set max_new_tokens=128 --engine-option batch_size=8"
    )
    spec = importlib.util.spec_from_file_location("kill_and_resume", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    # The runs that are killed are processes of their own (Popen).
    ours = SimpleNamespace(run=here, Popen=subprocess.Popen, DEVNULL=subprocess.DEVNULL)
    monkeypatch.setattr(script, "subprocess", ours)
    arguments = ["--kills", "2", "--seed", "3", "--by-outputs", "--work", str(tmp_path / "kills"), "--command", command]
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), *arguments])
    code = script.main()
    said = capsys.readouterr().out
    assert code == 0, said
    assert "1 of 1 digests equal" in said, said
    kept = [int(number) for number in re.findall(r"kill \d at .*: 0 finished, (\d+) outputs kept", said)]
    assert len(kept) == 2, said  # each kill hit a run under way
    assert 0 < kept[0] < kept[-1] < 80, said
