"""predict, killed with SIGKILL at random moments and started again, gives the table of an undisturbed run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from long1k.chat import Chat
from long1k.tokens import load_tokenizer
from realdata import need_extra

need_extra("trl")
import torch  # noqa: E402

from long1k.training.checkpoint import new_model  # noqa: E402
from long1k.training.config import ModelInit  # noqa: E402
from long1k.training.saving import save_checkpoint  # noqa: E402

SCRIPT = Path(__file__).resolve().parents[1] / "scripts" / "kill_and_resume.py"


@pytest.mark.slow
def test_predict_killed_at_random_moments_gives_the_same_table(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    chat = Chat(load_tokenizer("package:micro"))
    # A model of noise, wide enough that its outputs take some seconds and few of them end by themselves.
    model = new_model(ModelInit(hidden_size=128, num_heads=4, initializer_range=0.1), chat.tokenizer, chat.end_id)
    save_checkpoint(model, chat.tokenizer, chat.end_id, tmp_path / "model")
    command = (
        f"predict {tmp_path / 'model'} --benchmark micro --option count=20 --option 'steps=[1, 3]' --threads 1 "
        "--set samples=8 --set temperature=1.0 --set max_new_tokens=128 --engine-option batch_size=16"
    )
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "2", "--seed", "3", "--by-outputs", "--work", str(tmp_path / "kills"),
         "--command", command],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 of 1 digests equal" in done.stdout, done.stdout
    kept = [int(number) for number in re.findall(r"kill \d at .*: 0 finished, (\d+) outputs kept", done.stdout)]
    assert len(kept) == 2, done.stdout  # each kill hit a run under way
    assert 0 < kept[0] < kept[-1] < 160, done.stdout
    assert kept == sorted(kept), done.stdout  # nothing that was kept is lost
