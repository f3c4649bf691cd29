"""Checkpoints that a run can go on from: saved whole or not at all, the old ones kept until the new one is whole.

The trainer writes many files into ``checkpoint-N``; only a mark, written last, makes the folder count.
The mark holds the files' sizes, so that a folder that lost something later does not count either.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from long1k.errors import EngineError, StoppedError
from long1k.plugins import need
from long1k.tables import write_atomic
from long1k.training.signals import asked_by_any_rank, current_stop

COMPLETE = "complete"
_NO_ROOM = 1 << 20  # bytes that are free on a disk that is called full
KEPT = 2  # the newest checkpoints; one more is on disk while it is being written


def mark_whole(folder: Path, content: dict[str, Any]) -> None:
    """Bring a checkpoint's files to the disk, then write the mark that makes it count."""
    sizes = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != COMPLETE:
            flush(path)
            sizes[str(path.relative_to(folder))] = path.stat().st_size
    write_atomic(folder / COMPLETE, json.dumps({**content, "files": sizes}).encode())


def flush(path: Path) -> None:
    """Have the system write a file to the disk: a mark must not outlive, in a power cut, what it vouches for."""
    with path.open("rb") as handle:
        os.fsync(handle.fileno())


def is_whole(folder: Path) -> bool:
    """Whether a checkpoint has its mark, and all files with the sizes that they had then."""
    try:
        sizes = json.loads((folder / COMPLETE).read_text()).get("files", {})
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except (OSError, ValueError, AttributeError):
        return False


def step_of(folder: Path) -> int:
    """The number of steps that a checkpoint holds."""
    return int(folder.name.rsplit("-", 1)[1])


def checkpoints(work: Path) -> list[Path]:
    """All folders of checkpoints, whole or not, the oldest first."""
    found = [path for path in work.glob("checkpoint-*") if path.is_dir() and path.name[11:].isdecimal()]
    return sorted(found, key=step_of)


def last_whole(work: Path) -> Path | None:
    """The newest checkpoint that is whole; rank 0 removes the broken ones."""
    whole = [folder for folder in checkpoints(work) if is_whole(folder)]
    if int(os.environ.get("RANK", "0")) == 0:
        for folder in set(checkpoints(work)) - set(whole):
            shutil.rmtree(folder)
    return whole[-1] if whole else None


def remove_old(work: Path, kept: int = KEPT) -> None:
    """Remove all but the newest whole checkpoints; the mark first, so that half a folder never counts."""
    for folder in [folder for folder in checkpoints(work) if is_whole(folder)][:-kept]:
        (folder / COMPLETE).unlink()
        shutil.rmtree(folder)


def keep_resumable(trainer: Any, work: Path, metrics: list[dict[str, float]], layout: dict[str, Any]) -> None:
    """Make a trainer's checkpoints whole or absent, and let a signal end its run after a step.

    Args:
        work: the trainer's output_dir; the trainer itself must delete nothing (save_total_limit None).
        metrics: what was logged so far, kept in each checkpoint.
        layout: what a checkpoint must say of the layout that it was saved under.
    """
    transformers = need("transformers")
    save = trainer._save_checkpoint

    def save_or_explain(*arguments: Any, **keywords: Any) -> None:
        check_finite(trainer.model)
        folder = work / f"checkpoint-{trainer.state.global_step}"
        with explained(folder):
            save(*arguments, **keywords)

    class Resumable(transformers.TrainerCallback):  # type: ignore[misc, name-defined, unused-ignore]
        """Marks whole checkpoints, removes old ones, stops on a signal."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del control
            # A resumed state brings the intervals of the run that saved it; those asked for now count.
            state.save_steps, state.logging_steps = args.save_steps, args.logging_steps
            stop = current_stop()
            if stop is not None:
                stop.armed = True

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del state
            if asked_by_any_rank(current_stop(), args.device) is not None:
                control.should_save = control.should_training_stop = True
            # A logged loss is a mean since the last one: none may reach over the point where a run goes on.
            control.should_log = control.should_log or control.should_save

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            del control
            wait_for_all_ranks()
            if args.process_index == 0:
                folder = work / f"checkpoint-{state.global_step}"
                with explained(folder):
                    mark_whole(folder, {"metrics": metrics, "layout": layout})
                remove_old(work)
            wait_for_all_ranks()

    trainer._save_checkpoint = save_or_explain
    trainer.add_callback(Resumable())


def check_stopped(trainer: Any, work: Path) -> None:
    """After training: say that it was stopped, if it was.

    Raises:
        StoppedError: a signal came; the checkpoint of the last step is whole.
    """
    number = asked_by_any_rank(current_stop(), trainer.args.device)
    step, steps = trainer.state.global_step, trainer.state.max_steps
    if number is None or step >= steps or not is_whole(work / f"checkpoint-{step}"):
        return
    raise StoppedError(
        f"stopped after step {step:,} of {steps:,}, which is saved", "the same command goes on from here", number
    )


def check_finite(model: Any) -> None:
    """Refuse to save weights that are no numbers: a run that went on from them could never recover.

    Raises:
        EngineError: naming the first such weight (of this rank's part of them).
    """
    torch = need("torch")
    for name, value in model.named_parameters():
        part = getattr(value, "ds_tensor", value)
        part = part.to_local() if hasattr(part, "to_local") else part
        if value.requires_grad and not bool(torch.isfinite(part.detach()).all()):
            raise EngineError(
                f"the weight {name} is not finite any more: training has diverged",
                "lower train.learning_rate, check the data; the last saved checkpoint is from before",
            )


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    """While something is saved into a folder: a failure removes what was written, and says what to do.

    Raises:
        EngineError: the disk is full, or what else the system said.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError, need("safetensors").SafetensorError) as error:
        free = shutil.disk_usage(folder.parent).free if folder.parent.is_dir() else 0
        written = _size(folder)
        shutil.rmtree(folder, ignore_errors=True)
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        full = "the disk is full: " if free < _NO_ROOM else ""
        before = max((_size(other) for other in checkpoints(folder.parent)), default=0)
        raise EngineError(
            f"cannot save {folder}: {full}{reason} ({_megabytes(free)} free, {_megabytes(written)} written)",
            f"make room{f' for {_megabytes(before)} and some more' if before else ''}, or raise the quota or the limit "
            "of a file's size; the same command then goes on from the last saved step",
        ) from error


def _size(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.1f} MB"


def wait_for_all_ranks() -> None:
    """Go on when every rank has come here."""
    distributed = need("torch").distributed
    if distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1:
        distributed.barrier()
