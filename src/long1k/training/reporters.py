"""Metrics on TensorBoard, trackio or wandb, through transformers' own callbacks."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from long1k.errors import MissingExtraError
from long1k.plugins import need

FOLDER, PROJECT = "tensorboard", "long1k"


def check_reporters(log_to: Sequence[str]) -> None:
    """Refuse reporters that are not installed, before anything else is done.

    Raises:
        MissingExtraError: naming the package.
    """
    for name in log_to:
        if importlib.util.find_spec(name) is None:
            raise MissingExtraError(name, name)


def reporter_settings(log_to: Sequence[str], work: Path) -> dict[str, Any]:
    """Arguments of the trainer: a run's name on trackio and wandb (in a study: the arm and its seed); nothing is put
    on the hub."""
    name = " ".join(work.parts[-4:-2]) or str(work)
    hub = {"trackio_static_space_id": False} if "trackio" in log_to else {}
    return {"run_name": name, "project": PROJECT, "report_to": "none", **hub}


def reporters(log_to: Sequence[str], folder: Path, resumed_from: int) -> list[Any]:
    """Callbacks for the trainer.

    Args:
        folder: TensorBoard's files go into ``folder/tensorboard``; lines after ``resumed_from`` of a run that
            was stopped are replaced there.
    """
    check_reporters(log_to)
    if not log_to:
        return []
    need("transformers")
    from transformers.integrations import integration_utils as known

    found: list[Any] = []
    for one in log_to:
        if one == "tensorboard":
            from torch.utils.tensorboard import SummaryWriter

            if int(os.environ.get("RANK", "0")) == 0:
                writer = SummaryWriter(str(folder / FOLDER), purge_step=resumed_from + 1 if resumed_from else None)
                found.append(known.TensorBoardCallback(writer))
        else:
            os.environ.setdefault("WANDB_PROJECT", PROJECT)
            found.append(known.get_reporting_integration_callbacks([one])[0]())
    return found
