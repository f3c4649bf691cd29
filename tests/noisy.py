"""A source from outside the package that prints, draws bars, and waits for a file before its last rows."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from long1k.jsonlines import BadRow
from long1k.sources.micro import MicroConfig, MicroSource
from long1k.sources.raw import RawTrace


class NoisyConfig(BaseModel):
    """Where the file is that lets it go on."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    until: str
    count: int = 300
    fails: bool = False


class NoisySource:
    """Traces of the micro-world, with much ado."""

    Config = NoisyConfig

    def __init__(self, config: NoisyConfig) -> None:
        self.config = config

    def describe(self) -> str:
        return "noisy"

    def digest(self) -> str:
        return "noisy-1"

    def load(self) -> Iterator[RawTrace | BadRow]:
        print("printed by a \x1b[31mlibrary\x1b[0m", flush=True)
        sys.stderr.write("   0%|   | 0/9\r 50%|#  | 4/9\r")
        sys.stderr.flush()
        os.write(2, b"written below Python\n")
        yield from MicroSource(MicroConfig(count=self.config.count)).load()
        Path(self.config.until + ".here").touch()
        while not Path(self.config.until).exists():
            time.sleep(0.05)
        if self.config.fails:
            raise OSError(28, "No space left on device", "pool")
