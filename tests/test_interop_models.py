"""Model cards of checkpoints, with figures, and their upload."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from long1k.errors import DataError
from long1k.interop.hub import plan_upload, push
from long1k.interop.model_card import Figure, read_figure, write_model_card
from long1k.tables import begin, finish, is_current, read_manifest
from test_interop_cards import StandIn

CHAT = {"tokenizer": "a" * 64, "template": "b" * 64, "thinking": "think", "system": None}
DATA = {
    "rows": 4, "lengths": {"rows": 4, "min": 30, "max": 33, "mean": 31.5}, "unique_problems": 8,
    "sources": {"toy": 8}, "licenses": {"MIT": 7, "unknown": 1},
}  # fmt: skip


def made(folder: Path, stage: str, config: dict[str, Any], inputs: dict[str, str], digest: str, **info: Any) -> Path:
    begin(folder, stage, config, inputs)
    (folder / "model.safetensors").write_bytes(b"weights")
    finish(
        folder, stage=stage, config=config, inputs=inputs, digest=digest, files=[folder / "model.safetensors"],
        started=0.0, rows_in=4, rows_out=4, info=info,
    )  # fmt: skip
    return folder


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    config = {"train": {"learning_rate": 1e-5, "steps": None}, "seed": 3, "chat": CHAT}
    return made(
        tmp_path / "checkpoint", "train/2", config, {"examples": "e" * 64, "model": "m" * 64}, "c" * 64, data=DATA,
        base_model="Qwen2.5-7B", steps=10, tokens=1000, supervised_tokens=800, parameters=123456, final_loss=0.5,
    )  # fmt: skip


def scored(tmp_path: Path, samples: int = 1, checkpoint: str = "c" * 64) -> tuple[Path, Path]:
    sampling = {"samples": samples, "temperature": 0.0 if samples == 1 else 0.6, "max_new_tokens": 64}
    predictions = made(
        tmp_path / f"predictions{samples}", "predict/1", {"benchmark": "math|500", "sampling": sampling},
        {"checkpoint": checkpoint}, "d" * 64, items=10, finish_reasons={"stop": 8, "length": 2},
    )  # fmt: skip
    scores = made(
        tmp_path / f"scores{samples}", "score/1", {"grader": "math", "version": "2"}, {"predictions": "d" * 64},
        "f" * 64, statuses={"correct": 7 * samples, "wrong": 2 * samples, "timeout": samples},
    )  # fmt: skip
    return predictions, scores


def test_a_card_says_what_it_was_trained_on_and_how_well_it_does(checkpoint: Path, tmp_path: Path) -> None:
    before = read_manifest(checkpoint)
    text = write_model_card(checkpoint).read_text()
    assert "not scored on any benchmark yet" in text
    assert "licence of the weights is not named" in text
    assert "licence of 1 traces of its data is unknown" in text
    assert "e" * 64 in text
    assert "learning_rate | 1e-05" in text
    assert "steps |" not in text  # null leaves stay out
    figure = read_figure(before, *scored(tmp_path))
    assert (figure.rate, figure.cut, figure.answers) == (0.7, 2, 10)
    low, high = figure.interval() or (0, 0)
    assert (round(low, 4), round(high, 4)) == (0.3968, 0.8922)  # Wilson's interval for 7 of 10
    text = write_model_card(
        checkpoint, figures=[figure], license="Apache 2.0", base_model="Qwen/Qwen2.5-7B"
    ).read_text()
    assert "| math\\|500 | 7 of 10 | 70.0 % | 39.7 to 89.2 | 2 | greedy, at most 64 tokens | math 2 |" in text
    assert "not scored" not in text
    assert "weights is not named" not in text
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "apache-2.0"
    assert head["base_model"] == "Qwen/Qwen2.5-7B"
    assert is_current(checkpoint, before.fingerprint)
    assert read_manifest(checkpoint) == before


def test_several_answers_a_question_have_no_interval(checkpoint: Path, tmp_path: Path) -> None:
    figure = read_figure(read_manifest(checkpoint), *scored(tmp_path, samples=4))
    assert figure.interval() is None
    assert "no interval here" in write_model_card(checkpoint, figures=[figure]).read_text()


def test_a_card_that_is_up_to_date_is_left_alone(checkpoint: Path) -> None:
    path = write_model_card(checkpoint)
    path.write_text(path.read_text() + "\nEdited.\n")
    assert write_model_card(checkpoint).read_text().endswith("Edited.\n")
    assert "Edited." not in write_model_card(checkpoint, license="mit").read_text()


def test_figures_of_something_else_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    manifest = read_manifest(checkpoint)
    predictions, scores = scored(tmp_path)
    with pytest.raises(DataError, match="another checkpoint"):
        read_figure(replace(manifest, digest="0" * 64), predictions, scores)
    with pytest.raises(DataError, match="not predictions"):
        read_figure(manifest, scores, predictions)
    replace(read_manifest(scores), inputs={"predictions": "0"}).write(scores)
    with pytest.raises(DataError, match="other predictions"):
        read_figure(manifest, predictions, scores)
    with pytest.raises(DataError, match="holds the result of score"):
        write_model_card(scores)


def test_a_checkpoint_is_pushed_as_a_model(checkpoint: Path) -> None:
    with pytest.raises(DataError, match="licence of 1 of 8"):
        plan_upload(checkpoint, "me/m")
    plan = plan_upload(checkpoint, "me/m", allow_unknown_license=True)
    assert plan.kind == "model"
    assert "a checkpoint" in plan.lines()[0]
    client = StandIn()
    push(plan, client=client)
    assert {options["repo_type"] for _, options in client.calls} == {"model"}
    assert set(client.files) == {"README.md", "manifest.json", "model.safetensors"} == set(plan.files)
    assert b'from_pretrained("me/m")' in client.files["README.md"]
    assert json.loads(client.files["manifest.json"])["digest"] == "c" * 64


def test_a_status_that_is_not_known_counts_as_not_correct() -> None:
    figure = Figure("b", "math 2", {"error": 3}, 3, 1, 0.0, 10, 0, "x")
    assert figure.rate == 0
