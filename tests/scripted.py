"""An engine that says what a test tells it to: predict and doctor without a model."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Collection, Sequence
from functools import cache
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel

from long1k.chat import Chat
from long1k.generation.base import Done, Job, Output, Sampling, Serving
from long1k.tokens import load_tokenizer

Says = Callable[[str, int], tuple[str, str]]  # (prompt, sample) -> (text, finish_reason)


class ScriptedConfig(BaseModel):
    """Nothing to set."""


class ScriptedEngine:
    """Answers each job with ``says``."""

    Config = ScriptedConfig
    says: ClassVar[Says]

    def __init__(self, config: ScriptedConfig, serving: Serving) -> None:
        self.name, self.max_positions, self.chat = "scripted", 4096, serving.chat

    def run(self, jobs: Sequence[Job], sampling: Sampling, done: Done, finished: Collection[str] = ()) -> None:
        for job in jobs:
            if job.key in finished:
                continue
            text, reason = type(self).says(self.chat.tokenizer.decode(job.prompt_ids), int(job.key.split("/")[1]))
            ids = self.chat.tokenizer.encode(text) + ([self.chat.end_id] if reason == "stop" else [])
            done(Output(job.key, ids, reason))

    def close(self) -> None:
        """Nothing to free."""


@cache
def letters() -> Chat:
    """A renderer whose tokenizer has one token a character, and the tiny template."""
    folder = Path(tempfile.mkdtemp()) / "letters"
    shutil.copytree(load_tokenizer("package:micro").folder, folder)
    values = json.loads((folder / "tokenizer.json").read_text())
    words = [one["content"] for one in values["added_tokens"]] + [chr(code) for code in (10, *range(32, 127))]
    values["model"]["vocab"] = {word: at for at, word in enumerate(words)}
    values["pre_tokenizer"]["pattern"] = {"Regex": "[\\s\\S]"}
    (folder / "tokenizer.json").write_text(json.dumps(values))
    return Chat(load_tokenizer(str(folder)))


def model_folder(folder: Path, **config: object) -> Path:
    """A folder with the tokenizer of ``letters`` and weights of nothing."""
    shutil.copytree(letters().tokenizer.folder, folder)
    end = letters().end_id
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 4096, **config}))
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": end}))
    (folder / "model.safetensors").write_bytes((2).to_bytes(8, "little") + b"{}")
    return folder
