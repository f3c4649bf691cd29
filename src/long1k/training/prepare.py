"""From a table of samples to the file of rows that the trainer reads: encoded once, one sample in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from long1k.chat import Chat
from long1k.errors import DataError
from long1k.rows import Example
from long1k.training.config import TrainConfig
from long1k.training.data import TrainRow, join_rows, make_row, plan_packs
from long1k.training.limits import Limit, OverLong
from long1k.training.prepared import RowFile, write_rows


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of a table's samples: rows of the trainer, and samples that were left out."""

    num_samples: int
    num_rows: int
    left_out: list[OverLong]


def prepare_rows(examples: Iterable[Example], chat: Chat, config: TrainConfig, limit: Limit, path: Path) -> Prepared:
    """Encode, mask, sort out what is too long, pack, and write the rows.

    Args:
        limit: what a sample may be long; the model's positions, extended or not, are part of it.
        path: the file of rows; with packing, the samples lie unpacked beside it while it is written.

    Raises:
        DataError: no sample is left, one is faulty, or some are too long and ``over_limit`` is stop.
    """
    left_out: list[OverLong] = []
    num_samples = 0

    def kept() -> Iterator[TrainRow]:
        nonlocal num_samples
        for example in examples:
            row = make_row(example, chat)
            num_samples += 1
            found = limit.check(row.names[0], row.lengths)
            if found is None:
                yield row
            else:
                left_out.append(found)

    unpacked = path.with_name(f"{path.name}.unpacked") if config.packing is not None else path
    try:
        write_rows(unpacked, kept())
        if left_out and config.over_limit == "stop":
            raise limit.refuse(left_out, num_samples)
        if num_samples == len(left_out):
            if left_out:
                raise DataError(
                    f"all {num_samples:,} samples are over the limit ({limit.describe()})", "raise the limit"
                )
            raise DataError("the table of samples is empty", "synthesize samples first")
        num_rows = num_samples - len(left_out)
        if config.packing is not None:
            samples = RowFile(unpacked)
            packs = plan_packs(samples.num_tokens.tolist(), config.packing)
            write_rows(path, (join_rows([samples[at] for at in pack]) for pack in packs))
            num_rows = len(packs)
            unpacked.unlink()
    except BaseException:
        unpacked.unlink(missing_ok=True)
        raise
    return Prepared(num_samples, num_rows, left_out)
